"""Candidate pseudo-labels: what their names stand for, and how their values are computed."""

from augury.pseudolabels.candidate import (
    LARGEST,
    PITCH,
    SEVEN,
    Candidate,
    RecordingInfo,
    call_function,
    default_candidates,
    function_version,
    load_function,
    packages,
    parse_candidate,
    parse_candidates,
    pitch_of,
    require_no_files,
    takes_recording,
)
from augury.pseudolabels.seven import OWN_SEVEN

__all__ = [
    "LARGEST",
    "OWN_SEVEN",
    "PITCH",
    "SEVEN",
    "Candidate",
    "RecordingInfo",
    "call_function",
    "default_candidates",
    "function_version",
    "load_function",
    "packages",
    "parse_candidate",
    "parse_candidates",
    "pitch_of",
    "require_no_files",
    "takes_recording",
]
