"""From the store to arrays over the segments of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio, pseudolabels
from augury.embeddings import Embeddings, Indices, Selected
from augury.errors import InputError, UnusableFile
from augury.extraction.corpus import Extraction, RecordingEntry
from augury.extraction.extract import extract
from augury.extraction.plan import Plan, Recording, embedding_key, function_key, opensmile_key
from augury.extraction.segments import frame_range, range_means, segment_edges
from augury.pseudolabels import opensmile, own
from augury.pseudolabels.candidate import Candidate
from augury.store import Store


@dataclass(frozen=True)
class Gathered:
    """Arrays over the usable segments of a corpus, in its order."""

    embeddings: list[Embeddings]  # those asked for; x[rows] is (rows, …) float32 of each
    values: dict[str, NDArray[Any]]  # candidate → (usable, [dims]) float64; NaN: no value
    usable: NDArray[np.bool_]  # (segments,)
    problems: list[tuple[int, str, str]]  # (index of a segment, reason, detail)


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
        candidates: those of the plan whose values are wanted; columns of the manifest are not here.
        which: the embeddings wanted, by their places in the plan.
        empty: makes the arrays that hold them, of a shape.

    Raises:
        InputError: a function's values have another shape in another recording.
        OSError: a recording changed since it was extracted, and the store lost its values.
    """
    count = extraction.segments
    usable = np.zeros(count, bool)
    problems: list[tuple[int, str, str]] = []
    filled: list[NDArray[np.float32]] = []
    values: dict[str, NDArray[Any]] = {}
    for entry in extraction.entries:
        if entry.extracted.problem:
            problems += entry.describe_problems()
            continue
        name = embedding_key(entry.extracted.digest, extraction.plan, entry.recording)
        content = entry.extracted.digest
        arrays, frames = read_or_extract(
            extraction.plan, entry.recording, content, name, candidates
        )
        problems += entry.describe_problems(arrays["problem"])
        good = arrays["problem"] == 0
        rows = entry.segments[good]
        usable[rows] = True
        if not filled:
            shapes = [arrays[f"embedding{k}"].shape[1:] for k in which]
            filled = [empty((count, *shape)) for shape in shapes]
        for k, into in zip(which, filled, strict=True):
            into[rows] = arrays[f"embedding{k}"]
        means = _segment_means(extraction.plan, entry, frames, candidates, good)
        _fill(values, means, rows, count, entry.recording)
    embeddings: list[Embeddings] = list(filled)
    if not usable.all():
        embeddings = [Selected.of(array, np.flatnonzero(usable)) for array in filled]
        values = {name: array[usable] for name, array in values.items()}
    return Gathered(embeddings, values, usable, sorted(problems))


def _segment_means(
    plan: Plan,
    entry: RecordingEntry,
    frames: dict[str, NDArray[Any]],
    candidates: Sequence[Candidate],
    good: NDArray[np.bool_],
) -> dict[str, NDArray[np.float64]]:
    """Candidates' means over a recording's good segments: (good,) or (good, dims)."""
    recording, duration = entry.recording, entry.extracted.duration
    start, end = (edge[good] for edge in segment_edges(recording.start, recording.end, duration))
    ranges: dict[tuple[float, float, int], tuple[Indices, Indices]] = {}
    means: dict[str, NDArray[np.float64]] = {}
    for candidate in candidates:
        if candidate.kind == "column":
            continue
        values, timing = candidate_values(plan, candidate, frames, duration)
        grid = (*timing, len(values))
        if grid not in ranges:
            ranges[grid] = frame_range(start, end, *grid)
        means[candidate.name] = range_means(values, *ranges[grid])
    return means


def _fill(
    values: dict[str, NDArray[Any]],
    means: dict[str, NDArray[np.float64]],
    rows: NDArray[np.int64],
    count: int,
    recording: Recording,
) -> None:
    """Put a recording's means into the arrays of the corpus; InputError for another shape."""
    for name, mean in means.items():
        if name not in values:
            values[name] = np.full((count, *mean.shape[1:]), np.nan)
        into = values[name]
        if mean.shape[1:] != into.shape[1:]:
            raise InputError(
                f"{name} has values of shape {mean.shape[1:]} for {recording.name}, and of shape "
                f"{into.shape[1:]} for an earlier recording"
            )
        into[rows] = mean


def read_or_extract(
    plan: Plan, recording: Recording, content: str, name: str, candidates: Sequence[Candidate]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """One recording's artefact of that name, and the candidates' frames by source.

    What was damaged, or deleted, since it was written is computed again.

    Raises:
        UnusableFile: the recording's bytes are no longer those of `content`.
    """
    for _ in range(2):
        arrays = Store(plan.store).read(name)
        frames = read_frames(plan, content, candidates)
        if arrays is not None and frames is not None:
            return arrays, frames
        if extract(plan, recording).digest != content:
            raise UnusableFile(
                f"{recording.name}: changed since this run began, and what was extracted of it is "
                "no longer in the store; restore it, or start anew"
            )
    raise RuntimeError(f"{plan.store}: what was just written there can't be read back")


def read_frames(
    plan: Plan,
    content: str,
    candidates: Sequence[Candidate],
    read: Callable[[str], dict[str, NDArray[Any]] | None] | None = None,
) -> dict[str, NDArray[Any]] | None:
    """One recording's values, frame by frame, by source; None if the store lacks any.

    `read` reads an artefact by its name; if not given, the store's own, which checks checksums.
    """
    read = read or Store(plan.store).read
    frames: dict[str, NDArray[Any]] = {}
    if any(candidate.kind == "opensmile" for candidate in candidates):
        columns = read(opensmile_key(content)) or {}
        frames = {f"opensmile:{column}": values for column, values in columns.items()}
    for candidate, version in plan.functions:
        if candidate in candidates:
            stored = read(function_key(content, candidate, version))
            if stored:
                frames[candidate.source] = stored["values"]
    complete = all(c.source in frames for c in candidates if c.kind != "column")
    return frames if complete else None


def candidate_values(
    plan: Plan, candidate: Candidate, frames: dict[str, NDArray[Any]], duration: float
) -> tuple[NDArray[Any], tuple[float, float]]:
    """A candidate's values over a recording, and when: its first frame's centre and hop, seconds.

    Where the plan's `unvoiced` is "published", values are as openSMILE writes them where there is
    no voice; where it is "voiced", a column that describes the voice is NaN there.

    Args:
        plan, frames: what was extracted, and what `read_frames` read of it.
        duration: of the recording, seconds.
    """
    values = frames[candidate.source]
    if candidate.kind == "opensmile" and plan.unvoiced == "voiced":
        values = _mask_silence(candidate, values, frames)
    return values, _timing(plan, candidate, len(values), duration)


def _mask_silence(
    candidate: Candidate, values: NDArray[Any], frames: dict[str, NDArray[Any]]
) -> NDArray[Any]:
    """A column that describes the voice, NaN where there is none; any other column as it is.

    Columns are smoothed over three frames: a frame counts if it and both its neighbours have a
    pitch.
    """
    if not candidate.item.startswith(pseudolabels.VOICED_ONLY):
        return values
    pitch = frames[f"opensmile:{candidate.origin}:{pseudolabels.PITCH[candidate.origin]}"] > 0
    around = np.concatenate([pitch[:1], pitch, pitch[-1:]])
    return np.where(around[:-2] & pitch & around[2:], values, np.nan)


def _timing(plan: Plan, candidate: Candidate, frames: int, duration: float) -> tuple[float, float]:
    if candidate.kind == "opensmile":
        assert plan.extractor is not None
        column = plan.extractor.columns.index(f"{candidate.origin}:{candidate.item}")
        return plan.extractor.centres[column], opensmile.HOP
    if candidate.origin == own.__name__:
        return audio.WINDOW / 2, audio.HOP
    return duration / frames / 2, duration / frames
