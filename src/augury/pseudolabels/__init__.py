"""Candidate pseudo-labels: what their names stand for, and how their values are computed."""

from augury.pseudolabels.candidate import (
    LARGEST,
    PITCH,
    SEVEN,
    Candidate,
    call_function,
    function_version,
    load_function,
    packages,
    parse_candidate,
    parse_candidates,
)

__all__ = [
    "LARGEST",
    "PITCH",
    "SEVEN",
    "Candidate",
    "call_function",
    "function_version",
    "load_function",
    "packages",
    "parse_candidate",
    "parse_candidates",
]
