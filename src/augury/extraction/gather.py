"""From the store to arrays over the segments of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio, pseudolabels
from augury.embeddings import Embeddings, Indices, Selected
from augury.errors import UnusableFile
from augury.extraction.corpus import Extraction
from augury.extraction.extract import extract
from augury.extraction.means import SegmentMeans
from augury.extraction.plan import Plan, Recording, function_key, opensmile_key
from augury.pseudolabels import opensmile, own, seven, smile_timing
from augury.pseudolabels.candidate import Candidate, is_voiced_only
from augury.store import Store

#: Log HNR without a voice is -100, before smoothing over three frames and rounding.
NO_VOICE = -99.0


@dataclass(frozen=True)
class Gathered:
    """Arrays over the usable segments of a corpus, in its order."""

    embeddings: list[Embeddings]  # the requested ones; x[rows] is (rows, …) float32
    values: dict[str, NDArray[Any]]  # candidate → (usable, [dims]) float64; NaN: missing
    usable: NDArray[np.bool_]  # (segments,)
    problems: list[tuple[int, str, str]]  # (index of a segment, reason, detail)
    unvoiced: dict[str, float]  # candidate → share of frames with the value for no voice


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
    from_frames = [candidate for candidate in candidates if candidate.provider != "column"]
    means = SegmentMeans(count)
    silent: dict[str, NDArray[np.int64]] = {}
    for entry in extraction.entries:
        if entry.extracted.problem:
            problems += entry.describe_problems()
            continue
        content, name = entry.extracted.digest, entry.extracted.embeddings
        recording, duration = entry.recording, entry.extracted.duration
        arrays, frames = read_or_extract(extraction.plan, recording, content, name, candidates)
        problems += entry.describe_problems(arrays["problem"])
        good_rows = arrays["problem"] == 0
        rows = entry.segments[good_rows]
        usable[rows] = True
        if not filled:
            shapes = [arrays[f"embedding{k}"].shape[1:] for k in which]
            filled = [empty((count, *shape)) for shape in shapes]
        for k, target in zip(which, filled, strict=True):
            target[_as_slice(rows)] = arrays[f"embedding{k}"]
        of_candidates = {
            candidate.name: candidate_values(extraction.plan, candidate, frames, duration)
            for candidate in from_frames
        }
        for candidate in candidates:
            if is_voiced_only(candidate):
                numbers = _count_silence(frames[candidate.source])
                silent[candidate.name] = silent.get(candidate.name, 0) + numbers
        size = sum(values.nbytes for values in frames.values())
        means.add(recording, duration, good_rows, rows, of_candidates, size)
    means.finish()
    embeddings, values = list[Embeddings](filled), dict[str, NDArray[Any]](means.values)
    if not usable.all():
        embeddings = [Selected.of(array, np.flatnonzero(usable)) for array in filled]
        values = {name: array[usable] for name, array in values.items()}
    shares = {name: float(a / max(b, 1)) for name, (a, b) in silent.items()}
    unvoiced = shares if extraction.plan.unvoiced == "published" else {}
    return Gathered(embeddings, values, usable, sorted(problems), unvoiced)


def _count_silence(values: NDArray[Any]) -> NDArray[np.int64]:
    """How many frames have the value for no voice, 0 or (log HNR) -100; and how many there are."""
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
    wanted = list(candidates)
    for candidate, version in plan.functions:
        if candidate in candidates or candidate.provider == "own":  # the pitch, for its voicing
            wanted.append(candidate)
            stored = read(function_key(content, candidate, version))
            if stored:
                frames[candidate.source] = stored["values"]
    complete = all(c.source in frames for c in wanted if c.provider != "column")
    return frames if complete else None


def candidate_values(
    plan: Plan, candidate: Candidate, frames: dict[str, NDArray[Any]], duration: float
) -> tuple[NDArray[Any], tuple[float, float]]:
    """A candidate's values over a recording, and their times (centre of frame 0, hop) in seconds.

    If the plan's `unvoiced` is "published", unvoiced frames have 0 or (log HNR) -100; if it is
    "voiced", columns that describe the voice are NaN there. Voiced frames of a column whose values
    describe another instant than its voicing have those of the right instant.

    Args:
        frames: from `read_frames`.
        duration: of the recording, in seconds.
    """
    values = frames[candidate.source]
    centre, hop = _timing(plan, candidate, len(values), duration)
    if pitch := pseudolabels.pitch_of(candidate):
        if plan.unvoiced == "voiced":
            voiced = frames[pitch.source] > 0
            if candidate.provider == "opensmile":
                voiced = _with_neighbours(voiced)
            values = np.where(voiced, values, np.nan)
        elif candidate.provider == "opensmile" and smile_timing.offset(candidate.item):
            voicing, _ = _timing(plan, pitch, len(values), duration)
            later = round((voicing - centre) / hop)
            values = smile_timing.follow_voice(values, frames[pitch.source] > 0, later)
            centre = (centre + later * hop + voicing) / 2  # what rounding left, halved
    return values, (centre, hop)


def _with_neighbours(voiced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames that have a pitch, as both neighbours have: openSMILE's columns mix three frames."""
    around = np.concatenate([voiced[:1], voiced, voiced[-1:]])
    return around[:-2] & voiced & around[2:]


def _timing(plan: Plan, candidate: Candidate, frames: int, duration: float) -> tuple[float, float]:
    if candidate.provider == "opensmile":
        assert plan.extractor is not None
        column = plan.extractor.columns.index(f"{candidate.origin}:{candidate.item}")
        return plan.extractor.centres[column], opensmile.HOP
    if candidate.provider == "own":
        return seven.centre(candidate.item), audio.HOP
    if candidate.origin == own.__name__:
        return audio.WINDOW / 2, audio.HOP
    return duration / frames / 2, duration / frames
