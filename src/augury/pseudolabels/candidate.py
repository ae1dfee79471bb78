"""Pseudo-labels: values computed from the signal itself, frame by frame.

A candidate is a number (scalar), several (vector) or a category, and is named in one of these ways:

- one of the paper's seven (`F0`, `loudness`, …; `SEVEN`), from openSMILE;
- `opensmile:SET:COLUMN`, any low-level descriptor of an openSMILE feature set;
- `own:NAME`, Augury's own, under its own licence: counterparts of the paper's seven (`own:F0`,
  `own:loudness`, …; `OWN_SEVEN`), and others; or `module:function`, one of yours:
  `(signal, rate) -> (frames,)` or `(frames, dims)`, frames evenly spaced over the recording, or
  `(signal, rate, recording)`, see `RecordingInfo`;
- `units:FILE@RATE` and `frames:FOLDER@RATE`, categories and vectors of frames in files of yours,
  RATE of them a second, see `augury.pseudolabels.files`;
- `number:NAME` or `category:NAME`, a column of the manifest; `column:NAME` takes it for numbers if
  all of it can be read as such, else for categories.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np

from augury.errors import InputError, did_you_mean
from augury.pseudolabels import own, seven, vectors
from augury.pseudolabels.dependencies import version_of
from augury.pseudolabels.seven import OWN_SEVEN

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

#: Prefixes of the openSMILE columns that are undefined in unvoiced frames.
VOICED_ONLY = (
    "F0", "logHNR", "HNRdBACF", "jitter", "shimmer", "logRelF0",
    "F1amplitude", "F2amplitude", "F3amplitude",
)  # fmt: skip
#: Each feature set's pitch column, 0 in unvoiced frames.
PITCH = {
    "ComParE_2016": "F0final_sma",
    "GeMAPSv01b": "F0semitoneFrom27.5Hz_sma3nz",
    "eGeMAPSv02": "F0semitoneFrom27.5Hz_sma3nz",
}
#: Kinds of candidates: a number, several numbers, one of some names.
KINDS = ("scalar", "vector", "category")
#: Prefixes of names of manifest columns, by the kind that they declare.
COLUMN_OF = {"": "column", "scalar": "number", "category": "category"}
#: Prefixes of names of files of frames, and the kind of their values.
FILE_KINDS = {"units": "category", "frames": "vector"}
#: Frames a second that files may have.
MIN_RATE, MAX_RATE = 0.1, 10_000
#: Larger values count as missing: their squares would overflow.
LARGEST = 1e100


@dataclass(frozen=True)
class Candidate:
    """A pseudo-label that may be pretrained with.

    >>> import augury
    >>> augury.parse_candidates(["F0"])[0].source
    'opensmile:ComParE_2016:F0final_sma'
    """

    name: str  # as the user wrote it
    provider: str  # "opensmile", "own", "function", "column", or for files "units" or "frames"
    origin: str  # feature set, or module of a function, or ""
    item: str  # openSMILE column, descriptor of `seven`, function, manifest column, or file
    kind: str = ""  # of `KINDS` where the name says so, "" where its values tell
    rate: float = field(default=0.0, repr=False)  # frames a second, of a file

    @cached_property
    def source(self) -> str:
        """The full name: provider (or a column's declared kind), origin and item."""
        first = COLUMN_OF[self.kind] if self.provider == "column" else self.provider
        item = f"{self.item}@{self.rate:g}" if self.from_file else self.item
        return ":".join(part for part in (first, self.origin, item) if part)

    @property
    def from_file(self) -> bool:
        """Whether its values are read frame by frame from files."""
        return self.provider in FILE_KINDS

    @property
    def of_user(self) -> bool:
        """Whether its values are those of a function of the user's."""
        return self.provider == "function" and not self.origin.startswith("augury.")

    @property
    def from_signal(self) -> bool:
        """Whether its values are computed from the signal."""
        return self.provider != "column" and not self.from_file


def default_candidates() -> tuple[str, ...]:
    """The paper's seven, or Augury's own where openSMILE is not installed.

    >>> default_candidates()[1] in ("F0", "own:F0")
    True
    """
    try:
        installed = importlib.util.find_spec("opensmile") is not None
    except (ImportError, ValueError):
        installed = False
    return tuple(SEVEN) if installed else OWN_SEVEN


def parse_candidate(name: str) -> Candidate:
    """The candidate of a name; InputError, with the nearest name, if there is none.

    >>> parse_candidate("F0")  # doctest: +NORMALIZE_WHITESPACE
    Candidate(name='F0', provider='opensmile', origin='ComParE_2016', item='F0final_sma',
        kind='scalar')
    """
    prefix, _, rest = SEVEN.get(name, name).partition(":")
    if prefix == "opensmile":
        feature_set, _, column = rest.partition(":")
        if not column:
            raise InputError(f"{name}: write opensmile:SET:COLUMN, such as {SEVEN['F0']}")
        return Candidate(name, "opensmile", feature_set, column, "scalar")
    kinds = {prefix: kind for kind, prefix in COLUMN_OF.items()}
    if prefix in kinds and rest:
        return Candidate(name, "column", "", rest, kinds[prefix])
    if prefix in FILE_KINDS:
        return _parse_file(name, prefix, rest)
    if prefix == "own" and rest:
        return _parse_own(name, rest)
    if prefix and rest:
        module = prefix.removesuffix(".py")
        hint = "" if module == prefix else f"; write {module}:{rest}"
        if hint or not all(part.isidentifier() for part in prefix.split(".")):
            raise InputError(f"{name}: {prefix} is not a module name{hint}")
        return Candidate(name, "function", prefix, rest)
    raise InputError(
        f"{name}: no such candidate; there are {', '.join(SEVEN)}, or opensmile:SET:COLUMN, "
        f"own:NAME, module:function, units:FILE@RATE, frames:FOLDER@RATE, number:NAME, "
        f"category:NAME{did_you_mean(name, SEVEN)}"
    )


def _parse_own(name: str, item: str) -> Candidate:
    """The candidate of own:ITEM; InputError, with the nearest name, if there is none."""
    if item in seven.NAMES:
        return Candidate(name, "own", "", item, "scalar")
    for module, kind in ((own, "scalar"), (vectors, "vector")):
        if item in module.NAMES:
            return Candidate(name, "function", module.__name__, item, kind)
    names = (*seven.NAMES, *own.NAMES, *vectors.NAMES)
    raise InputError(f"{name}: own: has {', '.join(names)}{did_you_mean(item, names)}")


def _parse_file(name: str, prefix: str, rest: str) -> Candidate:
    """The candidate of FILE@RATE; InputError, with what to write, without a file or a rate."""
    path, _, rate = rest.rpartition("@")
    hertz = float(rate) if re.fullmatch(r"\d+(\.\d*)?", rate) else 0.0
    if not path or not MIN_RATE <= hertz <= MAX_RATE:
        raise InputError(
            f"{name}: say how many frames a second it has, from {MIN_RATE} to {MAX_RATE:,}, after "
            f"an @: {prefix}:{path or rest or 'FILE'}@50"
        )
    return Candidate(name, prefix, "", path, FILE_KINDS[prefix], hertz)


def parse_candidates(names: Sequence[str]) -> list[Candidate]:
    """The candidates of several names; InputError if there are none or two are the same.

    >>> [candidate.kind for candidate in parse_candidates(["F0", "number:age", "category:accent"])]
    ['scalar', 'scalar', 'category']
    """
    candidates = [parse_candidate(name.strip()) for name in names if name.strip()]
    if not candidates:
        raise InputError("no candidate was given")
    sources = [candidate.source for candidate in candidates]
    for candidate in candidates:
        if sources.count(candidate.source) > 1:
            same = ", ".join(twin.name for twin in candidates if twin.source == candidate.source)
            raise InputError(f"{same} are the same candidate; give it once")
    return candidates


def pitch_of(candidate: Candidate) -> Candidate | None:
    """The pitch, above 0 in voiced frames, of a candidate that is undefined in others; else None.

    >>> pitch_of(parse_candidate("own:log_hnr")).name, pitch_of(parse_candidate("own:zcr"))
    ('own:F0', None)
    """
    if candidate.provider == "opensmile" and candidate.item.startswith(VOICED_ONLY):
        return replace(candidate, item=PITCH[candidate.origin])
    if candidate.provider == "own" and candidate.item in seven.VOICED_ONLY:
        return parse_candidate("own:F0")
    return None


def require_no_files(candidates: Sequence[Candidate]) -> None:
    """Raise InputError where values are in files: these can be ranked only, so far."""
    for candidate in candidates:
        if candidate.from_file:
            raise InputError(
                f"{candidate.name}: values in files can be ranked, but not pretrained with yet; "
                "write a function module:function that returns them"
            )


def is_voiced_only(candidate: Candidate) -> bool:
    """Whether a candidate describes the voice, and is undefined in unvoiced frames.

    >>> [is_voiced_only(parse_candidate(name)) for name in ("log_hnr", "own:jitter", "loudness")]
    [True, True, False]
    """
    return pitch_of(candidate) is not None


def packages(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The packages needed to compute some candidates' values, beside Augury's own requirements."""
    from_opensmile = any(candidate.provider == "opensmile" for candidate in candidates)
    return ("opensmile",) if from_opensmile else ()


def load_function(candidate: Candidate) -> Callable[..., np.ndarray]:
    """The function of a `module:function` candidate; InputError if it can't be imported."""
    if str(Path.cwd()) not in sys.path:  # like `python -m`, to find modules in the current folder
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(candidate.origin)
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise InputError(
            f"{candidate.name}: module {candidate.origin} can't be imported: {error!r}"
        ) from error
    function = getattr(module, candidate.item, None)
    if not callable(function):
        raise InputError(
            f"{candidate.name}: module {candidate.origin} has no function {candidate.item}"
        )
    return cast(Callable[..., np.ndarray], function)


def function_version(candidate: Candidate) -> str:
    """A digest of all that a function depends on: its values are recomputed after an edit.

    That is its file, the modules of the user's that it imports, and the files it declares, see
    `augury.pseudolabels.dependencies`; or all files of `augury.pseudolabels.seven`.
    """
    if candidate.provider == "own":
        return seven.version()
    return version_of(load_function(candidate), candidate.origin, candidate.name)


@dataclass(frozen=True)
class RecordingInfo:
    """What a function of three arguments is told of the recording, beside its signal."""

    name: str  # as the manifest wrote it
    path: Path  # absolute
    row: dict[str, str]  # the manifest's columns, those that are the same in all of its segments


def takes_recording(candidate: Candidate) -> bool:
    """Whether a function has a third argument: one without a default, or named `recording`."""
    try:
        parameters = inspect.signature(load_function(candidate)).parameters.values()
    except (TypeError, ValueError):  # a builtin
        return False
    third = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][2:3]
    return any(p.default is p.empty or p.name == "recording" for p in third)


def call_function(
    candidate: Candidate, signal: np.ndarray, rate: int, recording: RecordingInfo | None = None
) -> np.ndarray:
    """A function candidate's values over a recording: (frames,) or (frames, dims) float64.

    Vectors in half or single precision stay so: they would take two or four times the space.
    `recording` is for a function that takes it.

    >>> square = np.sign(np.sin(np.arange(16000)))
    >>> call_function(parse_candidate("own:rms"), square, 16000).round(2)[:3].tolist()
    [1.0, 1.0, 1.0]
    """
    told = () if recording is None else (recording,)
    output = load_function(candidate)(signal, rate, *told)
    values = np.ma.filled(output, np.nan) if np.ma.isMaskedArray(output) else np.asarray(output)
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or not values.size:
        raise InputError(
            f"{candidate.name} returned an array of shape {values.shape} and type {values.dtype}; "
            "it should return numbers, (frames,) or (frames, dims), with at least one frame"
        )
    narrow = values.ndim == 2 and values.dtype.kind == "f" and values.dtype.itemsize <= 4
    return values if narrow else values.astype(np.float64)
