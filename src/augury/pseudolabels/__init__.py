"""Candidate pseudo-labels: what their names stand for, and how their values are computed."""

from augury.pseudolabels.candidate import (
    LARGEST,
    OF_VOICE,
    PITCH,
    SEVEN,
    Candidate,
    frames_of,
    function_version,
    load_function,
    packages,
    parse_candidate,
    parse_candidates,
)

__all__ = [
    "LARGEST",
    "OF_VOICE",
    "PITCH",
    "SEVEN",
    "Candidate",
    "frames_of",
    "function_version",
    "load_function",
    "packages",
    "parse_candidate",
    "parse_candidates",
]
