"""Candidates over segments, for many recordings at a time: means, and counts of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.embeddings import Indices
from augury.errors import InputError
from augury.extraction.plan import Recording
from augury.extraction.segments import frame_range, range_counts, range_means, segment_edges

#: Frames of so many bytes are averaged together.
BYTES = 64_000_000

#: A candidate's frames in one recording, and their times (centre of frame 0, hop) in seconds.
Frames = tuple[NDArray[Any], tuple[float, float]]


@dataclass(frozen=True)
class _Member:
    """A recording whose segments wait to be averaged."""

    recording: Recording
    duration: float
    usable: NDArray[np.bool_]  # (segments,)
    rows: Indices  # (usable,) places of its usable segments in the result
    frames: dict[str, Frames]  # of the candidates that have values of it


class SegmentMeans:
    """Collects recordings' frames; `values` has each candidate's mean over every segment.

    Of units, frames of whole numbers, it has counts: (segments, K), in the narrowest unsigned type,
    how many of a segment's frames are of each unit, K one more than the highest of all recordings.
    Without a value a mean is NaN, and a row of counts 0.

    Averaged batch by batch: a call for each recording and candidate would take far longer than
    the sums. The means are the same to the last bit, whatever the batches.
    """

    def __init__(self, count: int, *, size: int = BYTES) -> None:
        self.values: dict[str, NDArray[Any]] = {}
        self._units: dict[str, _UnitCounts] = {}
        self._count, self._size = count, size
        self._members: list[_Member] = []
        self._waiting = 0

    def add(
        self,
        recording: Recording,
        duration: float,
        usable: NDArray[np.bool_],
        rows: Indices,
        frames: dict[str, Frames],
        size: int,
    ) -> None:
        """Add a recording, see `_Member`; `size` is that of its frames in memory, in bytes.

        Raises:
            InputError: a candidate's values have another shape in another recording.
        """
        for name, (values, _) in frames.items():
            if values.dtype.kind in "iu":
                self._units.setdefault(name, _UnitCounts()).see(values)
                continue
            shape = values.shape[1:]
            if name not in self.values:
                self.values[name] = np.full((self._count, *shape), np.nan)
            if shape != (known := self.values[name].shape[1:]):
                raise InputError(
                    f"{name} has values of shape {shape} for {recording.name}, and of shape "
                    f"{known} for an earlier recording"
                )
        self._members.append(_Member(recording, duration, usable, rows, frames))
        self._waiting += size
        if self._waiting >= self._size:
            self._average()

    def finish(self) -> None:
        """Average what still waits, and make arrays of counts."""
        self._average()
        self.values |= {name: units.to_array(self._count) for name, units in self._units.items()}

    def _average(self) -> None:
        members = [member for member in self._members if len(member.rows)]
        self._members, self._waiting = [], 0
        if not members:
            return
        names = dict.fromkeys(name for member in members for name in member.frames)
        having = {
            name: tuple(k for k, m in enumerate(members) if name in m.frames) for name in names
        }
        batches = {
            places: _Together([members[k] for k in places]) for places in set(having.values())
        }
        for name, places in having.items():
            batch = batches[places]
            frames, first, stop = batch.ranges(name)
            if name in self._units:
                self._units[name].count(batch.rows, frames, first, stop)
            else:
                self.values[name][batch.rows] = range_means(frames, first, stop)


class _UnitCounts:
    """Counts of one candidate's units: rows, ids and counts of each batch."""

    def __init__(self) -> None:
        self._highest = 0
        self._counts: list[tuple[Indices, NDArray[np.int32], NDArray[np.int32]]] = []

    def see(self, units: NDArray[Any]) -> None:
        """A recording has these units, in or outside of its segments."""
        self._highest = max(self._highest, int(units.max()))

    def count(self, rows: Indices, units: NDArray[Any], first: Indices, stop: Indices) -> None:
        """Count the units of segments, which stand in these rows."""
        places, ids, counts = range_counts(units, first, stop)
        self._counts.append((rows[places], ids.astype(np.int32), counts.astype(np.int32)))

    def to_array(self, segments: int) -> NDArray[Any]:
        """The counts (segments, K)."""
        most = max((int(counts.max()) for *_, counts in self._counts), default=0)
        array = np.zeros((segments, self._highest + 1), np.min_scalar_type(most))
        for rows, ids, counts in self._counts:
            array[rows, ids] = counts
        return array


class _Together:
    """Recordings that are averaged together, and the frames of their segments."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = members
        self.rows = np.concatenate([member.rows for member in members])
        usable = np.concatenate([member.usable for member in members])
        durations = np.repeat([m.duration for m in members], [len(m.rows) for m in members])
        starts, ends = (
            np.array([t for m in members for t in getattr(m.recording, edge)], np.float64)[usable]
            for edge in ("start", "end")
        )
        self._start, self._end = segment_edges(starts, ends, durations)
        self._known: dict[tuple[tuple[float, float, int], ...], tuple[Indices, Indices]] = {}

    def ranges(self, name: str) -> tuple[NDArray[Any], Indices, Indices]:
        """A candidate's frames, one recording after another; each segment's first, and the stop."""
        parts = [member.frames[name] for member in self._members]
        grids = tuple((*timing, len(values)) for values, timing in parts)
        if grids not in self._known:
            self._known[grids] = _ranges(self._start, self._end, grids, self._members)
        return np.concatenate([values for values, _ in parts]), *self._known[grids]


def _ranges(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    grids: Sequence[tuple[float, float, int]],
    members: Sequence[_Member],
) -> tuple[Indices, Indices]:
    """The frames of each segment, in all members' frames one after another.

    Args:
        start, end: (segments,) seconds in their recording.
        grids: each member's centre of frame 0, hop, and number of frames.
        members: of the batch.
    """
    counts = [len(member.rows) for member in members]
    centre, hop, frames = (np.repeat(column, counts) for column in zip(*grids, strict=True))
    first, stop = frame_range(start, end, centre, hop, frames)
    lengths = np.array([frames for *_, frames in grids])
    before = np.repeat(np.cumsum(lengths) - lengths, counts)
    return first + before, stop + before
