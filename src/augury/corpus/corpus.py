"""A corpus: labelled segments of recordings, stored in columns.

A corpus may have millions of segments, so columns are arrays, and `Segment` objects are created
only while iterating.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury.errors import InputError, did_you_mean
from augury.store import digest, key

Texts = NDArray[np.object_]  # of str; equal strings are one object


@dataclass(frozen=True)
class Rejected:
    """A row that can't be used, and why."""

    row: (
        int  # 1-based data row of the manifest, or line of the file that `detail` names; 0: neither
    )
    path: str  # as written in the manifest
    start: float | None  # seconds
    end: float | None  # seconds
    reason: str  # a fixed identifier, such as "missing-file"
    detail: str  # a sentence for the user


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of a recording."""

    path: Path
    start: float | None  # seconds; None: the recording's beginning
    end: float | None  # seconds; None: the recording's end
    labels: dict[str, str]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Segments in columns, in the manifest's order.

    >>> import augury
    >>> from pathlib import Path
    >>> manifest = Path(augury.__file__).parent / "demo_data" / "manifest.csv"
    >>> corpus = augury.read_corpus(manifest)
    >>> len(corpus.select(corpus.label("digit") == "3")) < len(corpus)
    True
    """

    source: Path  # the manifest, or the folder that was read
    recordings: tuple[Path, ...]  # absolute, without repetition, in order of first appearance
    names: tuple[str, ...]  # of the recordings, as first written in the manifest
    recording: NDArray[np.int64]  # (n,) index of each segment's recording
    start: NDArray[np.float64]  # (n,) seconds, NaN: the recording's beginning
    end: NDArray[np.float64]  # (n,) seconds, NaN: the recording's end
    columns: dict[str, Texts]  # each (n,); "": absent
    rows: NDArray[np.int64]  # (n,) row of the manifest, 1-based; 0 where there is none
    rejected: tuple[Rejected, ...]  # rows rejected while reading
    allow_outside: bool = False  # whether recordings outside the source's folder were accepted
    level: str | None = None  # the argument of `read_corpus`, for TIMIT
    kept: NDArray[np.int64] | None = None  # (n,) indices among the segments read; None: all

    def __len__(self) -> int:
        return len(self.recording)

    def __iter__(self) -> Iterator[Segment]:
        for i in range(len(self)):
            labels = {column: values[i] for column, values in self.columns.items()}
            path = self.recordings[int(self.recording[i])]
            yield Segment(
                path, seconds_or_none(self.start[i]), seconds_or_none(self.end[i]), labels
            )

    def select(self, keep: ArrayLike) -> Corpus:
        """The segments of a boolean mask (n,) or of indices, in their order.

        Recordings without segments are dropped; `rejected` stays.
        """
        chosen = np.asarray(keep)
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise InputError(
                f"keep has shape {chosen.shape}, but there are {len(self)} segments; give one "
                "true or false for each, or indices"
            )
        if chosen.dtype != bool:
            chosen = chosen.astype(np.int64, casting="same_kind" if chosen.size else "unsafe")
        indices, recording = _by_first_appearance(self.recording[chosen])
        used: list[int] = indices.tolist()
        places = np.arange(len(self)) if self.kept is None else self.kept
        return replace(
            self,
            recordings=tuple(self.recordings[i] for i in used),
            names=tuple(self.names[i] for i in used),
            recording=recording,
            start=self.start[chosen],
            end=self.end[chosen],
            columns={column: values[chosen] for column, values in self.columns.items()},
            rows=self.rows[chosen],
            kept=places[chosen],
        )

    def in_split(self, split: str) -> NDArray[np.bool_]:
        """Mask (n,) of the segments of a split; InputError if there are none."""
        splits = self.label("split")
        mask = np.asarray(splits == split, bool)
        if not mask.any():
            names = ", ".join(sorted(set(map(str, splits))))
            raise InputError(f"no segment is of split {split!r}; there are {names}")
        return mask

    def by_recording(self) -> list[NDArray[np.int64]]:
        """The indices of each recording's segments, in order."""
        order = np.argsort(self.recording, kind="stable")
        counts = np.bincount(self.recording, minlength=len(self.recordings))
        return np.split(order, np.cumsum(counts)[:-1])

    def reject(self, segment: int, reason: str, detail: str) -> Rejected:
        """A `Rejected` for a segment of this corpus."""
        name = self.names[int(self.recording[segment])]
        start, end = seconds_or_none(self.start[segment]), seconds_or_none(self.end[segment])
        return Rejected(int(self.rows[segment]), name, start, end, reason, detail)

    def digest(self, *columns: str) -> str:
        """A digest of the segments: their recordings' names, their times, and `columns`."""
        spans = np.stack([self.start, self.end]).tobytes()
        parts = [list(self.names), self.recording.tolist(), digest(spans)]
        return key(*parts, *(list(self.label(column)) for column in columns))

    def label(self, column: str) -> Texts:
        """A label column (n,) of str; InputError, with the nearest name, if there is none."""
        try:
            return self.columns[column]
        except KeyError:
            names = ", ".join(map(repr, self.columns)) or "none"
            raise InputError(
                f"{self.source}: no label column {column!r}; there are {names}"
                f"{did_you_mean(column, self.columns, cutoff=0.6)}"
            ) from None


class TooManyBad(InputError):
    """A larger share of unusable segments than allowed; `rejected` lists them."""

    def __init__(self, message: str, rejected: tuple[Rejected, ...]) -> None:
        super().__init__(message)
        self.rejected = rejected

    def __reduce__(self) -> tuple[type[TooManyBad], tuple[str, tuple[Rejected, ...]]]:
        return TooManyBad, (str(self), self.rejected)  # so that it crosses processes


def refuse_too_many(rejected: tuple[Rejected, ...], kept: int, max_bad: float) -> None:
    """Raise TooManyBad if a larger share than `max_bad` was rejected, or no segment is left."""
    total = kept + len(rejected)
    if not total:
        raise InputError("there is no segment")
    if len(rejected) <= max_bad * total and kept:
        return
    reasons = Counter(row.reason for row in rejected)
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    enough = -(-len(rejected) * 100 // total) / 100
    hint = f"; --max-bad {enough:g} (in a recipe, max_bad) would go on without them" if kept else ""
    if reasons["lone-label"] > total / 2:
        hint = "; nearly every row has a label of its own: is this a column of classes?"
    raise TooManyBad(
        f"{len(rejected)} of {total} segments can't be used ({counted}), more than the "
        f"{max_bad:.0%} allowed{hint}. quarantine.csv names each. The first: {rejected[0].detail}",
        rejected,
    )


def _by_first_appearance(
    recording: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The recordings in use, in order of first appearance, and each segment's index among them."""
    used, first, place = np.unique(recording, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(used), np.int64)
    rank[order] = np.arange(len(used))
    return used[order], rank[place.reshape(-1)]


def seconds_or_none(value: float) -> float | None:
    """A time in seconds; None for NaN, which stands for the recording's beginning or end."""
    return None if np.isnan(value) else float(value)
