"""Candidate pseudo-labels: what their names stand for, and how their values are computed."""

from augury.pseudolabels.candidate import (
    LARGEST,
    PITCH,
    SEVEN,
    Candidate,
    RecordingInfo,
    call_function,
    function_version,
    load_function,
    packages,
    parse_candidate,
    parse_candidates,
    require_no_files,
    takes_recording,
)

__all__ = [
    "LARGEST",
    "PITCH",
    "SEVEN",
    "Candidate",
    "RecordingInfo",
    "call_function",
    "function_version",
    "load_function",
    "packages",
    "parse_candidate",
    "parse_candidates",
    "require_no_files",
    "takes_recording",
]
