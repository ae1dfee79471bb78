"""Means of candidates over segments, for many recordings at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.embeddings import Indices
from augury.errors import InputError
from augury.extraction.plan import Recording
from augury.extraction.segments import frame_range, range_means, segment_edges

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
    frames: dict[str, Frames]


class SegmentMeans:
    """Collects recordings' frames; `values` has each candidate's mean over every segment.

    Averaged batch by batch: a call for each recording and candidate would take far longer than
    the sums. The means are the same to the last bit, whatever the batches.
    """

    def __init__(self, count: int, *, size: int = BYTES) -> None:
        self.values: dict[str, NDArray[np.float64]] = {}
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
            self.finish()

    def finish(self) -> None:
        """Average what still waits."""
        members = [member for member in self._members if len(member.rows)]
        self._members, self._waiting = [], 0
        if not members:
            return
        rows = np.concatenate([member.rows for member in members])
        usable = np.concatenate([member.usable for member in members])
        durations = np.repeat([m.duration for m in members], [len(m.rows) for m in members])
        starts, ends = (
            np.array([t for m in members for t in getattr(m.recording, edge)], np.float64)[usable]
            for edge in ("start", "end")
        )
        start, end = segment_edges(starts, ends, durations)
        ranges: dict[tuple[tuple[float, float, int], ...], tuple[Indices, Indices]] = {}
        for name in members[0].frames:
            parts = [member.frames[name] for member in members]
            grids = tuple((*timing, len(values)) for values, timing in parts)
            if grids not in ranges:
                ranges[grids] = _ranges(start, end, grids, members)
            frames = np.concatenate([values for values, _ in parts])
            self.values[name][rows] = range_means(frames, *ranges[grids])


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
