"""From the store to arrays over the segments of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio, pseudolabels
from augury.embeddings import Embeddings, Indices, Selected
from augury.errors import UnusableFile
from augury.extraction.corpus import Extraction, RecordingEntry
from augury.extraction.extract import extract
from augury.extraction.means import SegmentMeans
from augury.extraction.plan import Plan, Recording, function_key, opensmile_key
from augury.extraction.segments import range_means
from augury.pseudolabels import opensmile, own, smile_timing
from augury.pseudolabels.candidate import Candidate, is_voiced_only
from augury.store import Store, digest, key, source_version

#: Log HNR without a voice is -100, before smoothing over three frames and rounding.
NO_VOICE = -99.0


@dataclass(frozen=True)
class Gathered:
    """Arrays over the usable segments of a corpus, in its order."""

    embeddings: list[Embeddings]  # the requested ones; x[rows] is (rows, …) float32
    values: dict[str, NDArray[Any]]  # candidate → (usable, [dims]) float64; NaN: missing
    usable: NDArray[np.bool_]  # (segments,)
    problems: list[tuple[int, str, str]]  # (index of a segment, reason, detail)
    unvoiced: dict[str, float]  # candidate → share of frames with openSMILE's value for no voice


def _in_memory(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)


def gather(
    extraction: Extraction,
    candidates: Sequence[Candidate],
    *,
    which: Sequence[int] = (0,),
    empty: Callable[[tuple[int, ...]], NDArray[np.float32]] = _in_memory,
) -> Gathered:
    """Read the embeddings and values of all segments from the store.

    Args:
        extraction: from `extract_corpus`.
        candidates: candidates of the plan to read; columns of the manifest are skipped.
        which: indices, in the plan, of the embeddings to read.
        empty: allocates the embeddings' arrays, given a shape.

    Raises:
        InputError: a function's values have another shape in another recording.
        UnusableFile: a recording changed since its extraction, and its values are not in the store.
    """
    count = extraction.segments
    usable = np.zeros(count, bool)
    problems: list[tuple[int, str, str]] = []
    filled: list[NDArray[np.float32]] = []
    means = _Means(extraction, candidates)
    for entry in extraction.entries:
        if entry.extracted.problem:
            problems += entry.describe_problems()
            continue
        content, name = entry.extracted.digest, entry.extracted.embeddings
        arrays, frames = read_or_extract(
            extraction.plan, entry.recording, content, name, means.missing
        )
        problems += entry.describe_problems(arrays["problem"])
        good_rows = arrays["problem"] == 0
        rows = entry.segments[good_rows]
        usable[rows] = True
        if not filled:
            shapes = [arrays[f"embedding{k}"].shape[1:] for k in which]
            filled = [empty((count, *shape)) for shape in shapes]
        for k, target in zip(which, filled, strict=True):
            target[_as_slice(rows)] = arrays[f"embedding{k}"]
        if means.missing:
            means.add(entry, good_rows, rows, frames)
    values, shares = means.finish()
    embeddings = list[Embeddings](filled)
    if not usable.all():
        embeddings = [Selected.of(array, np.flatnonzero(usable)) for array in filled]
        values = {name: array[usable] for name, array in values.items()}
    unvoiced = shares if extraction.plan.unvoiced == "published" else {}
    return Gathered(embeddings, values, usable, sorted(problems), unvoiced)


class _Means:
    """Candidates' means over all segments of an extraction, which are kept in the store, too."""

    def __init__(self, extraction: Extraction, candidates: Sequence[Candidate]) -> None:
        self._plan = extraction.plan
        self._candidates = [c for c in candidates if c.provider != "column"]
        self._name = _means_key(extraction, self._candidates)
        self._stored = Store(self._plan.store).read(self._name) if self._candidates else {}
        #: Candidates whose frames have to be read; none if their means are stored.
        self.missing = self._candidates if self._stored is None else []
        self._means = SegmentMeans(extraction.segments)
        self._silent = {c.name: np.zeros(2, np.int64) for c in self.missing if is_voiced_only(c)}

    def add(
        self,
        entry: RecordingEntry,
        usable: NDArray[np.bool_],
        rows: Indices,
        frames: dict[str, NDArray[Any]],
    ) -> None:
        """Add a recording, see `SegmentMeans.add`; `frames` from `read_or_extract`."""
        duration = entry.extracted.duration
        values = {c.name: candidate_values(self._plan, c, frames, duration) for c in self.missing}
        for candidate in self.missing:
            if candidate.name in self._silent:
                self._silent[candidate.name] += _count_silence(frames[candidate.source])
        size = sum(array.nbytes for array in frames.values())
        self._means.add(entry.recording, duration, usable, rows, values, size)

    def finish(self) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """Values (segments, …) by candidate, and the shares of frames without a voice."""
        names = [candidate.name for candidate in self._candidates]
        stored = self._stored
        if stored is None:
            self._means.finish()
            values, silent = self._means.values, self._silent
            stored = {f"values{k}": values[name] for k, name in enumerate(names) if name in values}
            stored |= {f"silent{k}": silent[name] for k, name in enumerate(names) if name in silent}
            Store(self._plan.store).write(self._name, stored)
        values = {n: stored[f"values{k}"] for k, n in enumerate(names) if f"values{k}" in stored}
        counts = {n: stored[f"silent{k}"] for k, n in enumerate(names) if f"silent{k}" in stored}
        return values, {name: float(a / max(b, 1)) for name, (a, b) in counts.items()}


def _means_key(extraction: Extraction, candidates: Sequence[Candidate]) -> str:
    """The store's name for the means of candidates over all segments of an extraction."""
    plan = extraction.plan
    versions = {candidate.source: version for candidate, version in plan.functions}
    of = [[c.source, versions.get(c.source, opensmile.version())] for c in candidates]
    windows = plan.extractor and [plan.extractor.columns, plan.extractor.windows]
    functions = (gather, SegmentMeans, range_means, smile_timing.offset, is_voiced_only)
    code = [source_version(function, function.__module__) for function in functions]
    names = [entry.extracted.embeddings for entry in extraction.entries]  # of content and segments
    places = [entry.segments for entry in extraction.entries]
    segments = digest("".join(names).encode() + np.concatenate(places).astype("<i8").tobytes())
    return key("means", code, plan.unvoiced, of, windows, segments)


def _count_silence(values: NDArray[Any]) -> NDArray[np.int64]:
    """How many frames have openSMILE's value for no voice, 0 or (log HNR) -100; and how many."""
    return np.array([((values == 0) | (values <= NO_VOICE)).sum(), len(values)])


def _as_slice(rows: Indices) -> Indices | slice:
    """The rows as a slice, where they are consecutive: copying is faster then."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def read_or_extract(
    plan: Plan, recording: Recording, content: str, name: str, candidates: Sequence[Candidate]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """One recording's artefact of that name, and the candidates' frames by source.

    Artefacts that were damaged or deleted are computed again.

    Raises:
        UnusableFile: the recording's digest is no longer `content`.
    """
    for _ in range(2):
        arrays = Store(plan.store).read(name)
        frames = read_frames(plan, content, candidates)
        if arrays is not None and frames is not None:
            return arrays, frames
        if extract(plan, recording, verify=True).digest != content:
            raise UnusableFile(
                f"{recording.name}: changed since this run began, and its extracted values are no "
                "longer in the store; restore it, or start again"
            )
    raise RuntimeError(f"{plan.store}: an artefact that was just written can't be read back")


def read_frames(
    plan: Plan,
    content: str,
    candidates: Sequence[Candidate],
    read: Callable[[str], dict[str, NDArray[Any]] | None] | None = None,
) -> dict[str, NDArray[Any]] | None:
    """One recording's values, frame by frame, by source; None if any is not in the store.

    `read` reads an artefact by its name; the default is `Store.read`, which verifies checksums.
    """
    read = read or Store(plan.store).read
    frames: dict[str, NDArray[Any]] = {}
    if any(candidate.provider == "opensmile" for candidate in candidates):
        columns = read(opensmile_key(content)) or {}
        frames = {f"opensmile:{column}": values for column, values in columns.items()}
    for candidate, version in plan.functions:
        if candidate in candidates:
            stored = read(function_key(content, candidate, version))
            if stored:
                frames[candidate.source] = stored["values"]
    complete = all(c.source in frames for c in candidates if c.provider != "column")
    return frames if complete else None


def candidate_values(
    plan: Plan, candidate: Candidate, frames: dict[str, NDArray[Any]], duration: float
) -> tuple[NDArray[Any], tuple[float, float]]:
    """A candidate's values over a recording, and their times (centre of frame 0, hop) in seconds.

    If the plan's `unvoiced` is "published", unvoiced frames have openSMILE's values; if it is
    "voiced", columns that describe the voice are NaN there. Voiced frames of a column whose values
    describe another instant than its voicing have those of the right instant.

    Args:
        frames: from `read_frames`.
        duration: of the recording, in seconds.
    """
    values = frames[candidate.source]
    centre, hop = _timing(plan, candidate, len(values), duration)
    if is_voiced_only(candidate):
        pitch = replace(candidate, item=pseudolabels.PITCH[candidate.origin])
        if plan.unvoiced == "voiced":
            values = _mask_silence(values, frames[pitch.source] > 0)
        elif smile_timing.offset(candidate.item):
            voicing, _ = _timing(plan, pitch, len(values), duration)
            later = round((voicing - centre) / hop)
            values = smile_timing.follow_voice(values, frames[pitch.source] > 0, later)
            centre = (centre + later * hop + voicing) / 2  # what rounding left, halved
    return values, (centre, hop)


def _mask_silence(values: NDArray[Any], voiced: NDArray[np.bool_]) -> NDArray[Any]:
    """The values, NaN in unvoiced frames.

    As columns are smoothed over three frames, a frame is voiced if it and both neighbours have a
    pitch.
    """
    around = np.concatenate([voiced[:1], voiced, voiced[-1:]])
    return np.where(around[:-2] & voiced & around[2:], values, np.nan)


def _timing(plan: Plan, candidate: Candidate, frames: int, duration: float) -> tuple[float, float]:
    if candidate.provider == "opensmile":
        assert plan.extractor is not None
        column = plan.extractor.columns.index(f"{candidate.origin}:{candidate.item}")
        return plan.extractor.centres[column], opensmile.HOP
    if candidate.origin == own.__name__:
        return audio.WINDOW / 2, audio.HOP
    return duration / frames / 2, duration / frames
