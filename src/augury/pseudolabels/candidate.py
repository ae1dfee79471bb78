"""Pseudo-labels: values computed from the signal itself, frame by frame.

A candidate is named in one of four ways:

- one of the paper's seven (`F0`, `loudness`, …; `SEVEN`), from openSMILE;
- `opensmile:SET:COLUMN`, any low-level descriptor of an openSMILE feature set;
- `own:NAME`, one of ours, under this package's own licence, or `module:function`, one of yours:
  `(signal, rate) -> (frames,)` or `(frames, dims)`, frames evenly spread over the recording;
- `column:NAME`, a column of the manifest: numbers, or categories where it holds anything else.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from augury.errors import InputError, did_you_mean
from augury.pseudolabels import own
from augury.store import source_version

#: Table 1 of the paper, and the openSMILE columns behind it.
SEVEN = {
    "loudness": "opensmile:GeMAPSv01b:Loudness_sma3",
    "F0": "opensmile:ComParE_2016:F0final_sma",
    "voicing": "opensmile:ComParE_2016:voicingFinalUnclipped_sma",
    "alpha_ratio": "opensmile:GeMAPSv01b:alphaRatio_sma3",
    "zcr": "opensmile:ComParE_2016:pcm_zcr_sma",
    "rasta_l1": "opensmile:ComParE_2016:audspecRasta_lengthL1norm_sma",
    "log_hnr": "opensmile:ComParE_2016:logHNR_sma",
}

#: Beginnings of the openSMILE columns that mean nothing where there is no voice.
VOICED_ONLY = (
    "F0", "logHNR", "HNRdBACF", "jitter", "shimmer", "logRelF0",
    "F1amplitude", "F2amplitude", "F3amplitude",
)  # fmt: skip
#: Each feature set's pitch, 0 where there is no voice.
PITCH = {
    "ComParE_2016": "F0final_sma",
    "GeMAPSv01b": "F0semitoneFrom27.5Hz_sma3nz",
    "eGeMAPSv02": "F0semitoneFrom27.5Hz_sma3nz",
}
#: A value beyond this is no value: squares of it would overflow.
LARGEST = 1e100


@dataclass(frozen=True)
class Candidate:
    """A pseudo-label that may be pretrained with.

    >>> import augury
    >>> augury.parse_candidates(["F0"])[0].source
    'opensmile:ComParE_2016:F0final_sma'
    """

    name: str  # as asked for
    kind: str  # "opensmile", "function" or "column"
    origin: str  # feature set, module, or "" for a column
    item: str  # openSMILE column, function, or manifest column

    @property
    def source(self) -> str:
        """The full name: kind, place and column or function."""
        return ":".join(part for part in (self.kind, self.origin, self.item) if part)


def parse_candidate(name: str) -> Candidate:
    """What a candidate's name stands for; InputError if it stands for nothing."""
    kind, _, rest = SEVEN.get(name, name).partition(":")
    if kind == "opensmile":
        feature_set, _, column = rest.partition(":")
        if not column:
            raise InputError(f"{name}: write opensmile:SET:COLUMN, such as {SEVEN['F0']}")
        return Candidate(name, "opensmile", feature_set, column)
    if kind == "column" and rest:
        return Candidate(name, "column", "", rest)
    if kind == "own" and rest:
        if rest not in own.NAMES:
            raise InputError(
                f"{name}: own: has {', '.join(own.NAMES)}{did_you_mean(rest, own.NAMES)}"
            )
        return Candidate(name, "function", "augury.pseudolabels.own", rest)
    if kind and rest:
        hint = (
            "" if kind.removesuffix(".py") == kind else f"; write {kind.removesuffix('.py')}:{rest}"
        )
        if hint or not all(part.isidentifier() for part in kind.split(".")):
            raise InputError(f"{name}: {kind} is no module's name{hint}")
        return Candidate(name, "function", kind, rest)
    raise InputError(
        f"{name}: no such candidate; there are {', '.join(SEVEN)}, or opensmile:SET:COLUMN, "
        f"own:NAME, module:function, column:NAME{did_you_mean(name, SEVEN)}"
    )


def parse_candidates(names: Sequence[str]) -> list[Candidate]:
    """Several candidates, each once; InputError if there are none or two are the same.

    >>> [candidate.kind for candidate in parse_candidates(["F0", "own:rms", "column:age"])]
    ['opensmile', 'function', 'column']
    """
    found = [parse_candidate(name.strip()) for name in names if name.strip()]
    if not found:
        raise InputError("no candidate was given")
    sources = [one.source for one in found]
    for one in found:
        if sources.count(one.source) > 1:
            same = ", ".join(other.name for other in found if other.source == one.source)
            raise InputError(f"{same} are the same candidate; give it once")
    return found


def packages(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The packages that compute some candidates' values, beside those that all of Augury needs."""
    return ("opensmile",) if any(one.kind == "opensmile" for one in candidates) else ()


def load_function(one: Candidate) -> Callable[[np.ndarray, int], np.ndarray]:
    """The function of a `module:function` candidate; InputError saying what could not be found."""
    if str(Path.cwd()) not in sys.path:  # as `python -m` does: a module beside the manifest works
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(one.origin)
    except (Exception, SystemExit) as error:  # theirs: anything may happen when it is run
        raise InputError(f"{one.name}: module {one.origin} can't be imported: {error!r}") from error
    function = getattr(module, one.item, None)
    if not callable(function):
        raise InputError(f"{one.name}: module {one.origin} has no function {one.item}")
    return cast(Callable[[np.ndarray, int], np.ndarray], function)


def function_version(one: Candidate) -> str:
    """A digest of the file a function is defined in: edited, it is computed anew."""
    return source_version(load_function(one), one.origin)


def call_function(one: Candidate, signal: np.ndarray, rate: int) -> np.ndarray:
    """A function candidate's values over a recording: (frames,) or (frames, dims) float64."""
    found = load_function(one)(signal, rate)
    values = np.ma.filled(found, np.nan) if np.ma.isMaskedArray(found) else np.asarray(found)
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or not values.size:
        raise InputError(
            f"{one.name} returned an array of shape {values.shape} and type {values.dtype}; "
            "it should return numbers, (frames,) or (frames, dims), with at least one frame"
        )
    return values.astype(np.float64)
