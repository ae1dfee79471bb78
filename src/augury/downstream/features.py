"""What a model is given: stretches of recordings, as log-mel or as an encoder's features.

A stretch is what goes through a model at once: an utterance, or a piece of a recording with many
segments (phones) in it. Features of a frozen encoder are computed once, of whole recordings, and
kept in the store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augury import audio
from augury.learning.batches import make_batches, read_ahead
from augury.learning.processes import ProcessGroup
from augury.pretraining.clips import Clips
from augury.pretraining.encode import encode_log_mel
from augury.pretraining.encoder import Encoder
from augury.pretraining.targets import Summary
from augury.reporter import ExtractionProgress, Reporter
from augury.store import Store, key

#: Changes when the features that an encoder gives change.
VERSION = 1
#: Frames around segments that a stretch shorter than its recording has at both ends.
CONTEXT = 50
#: Stretches that features are normalised by: their mean settles long before.
MOST_NORMALISED = 2000


@dataclass(frozen=True)
class Stretches:
    """What goes through a model at once, and the segments in it, one after another."""

    clips: Clips  # the stretches; nothing of them is held out
    split: NDArray  # (stretches,) of str
    segment: NDArray[np.int64]  # (segments,) place in the corpus
    stretch: NDArray[np.int64]  # (segments,) which stretch it lies in, ascending
    first: NDArray[np.int64]  # (segments,) its first frame, counted from the stretch's
    frames: NDArray[np.int64]  # (segments,)

    def __len__(self) -> int:
        return len(self.clips)

    def of(self, part: str) -> NDArray[np.int64]:
        """The stretches of a part."""
        return np.flatnonzero(self.split == part)

    def segments(self, stretch: int) -> slice:
        """Where a stretch's segments are among all."""
        begin, end = np.searchsorted(self.stretch, [stretch, stretch + 1])
        return slice(int(begin), int(end))


def cut_stretches(
    recording: NDArray[np.int64],
    first: NDArray[np.int64],
    frames: NDArray[np.int64],
    part: NDArray,
    whole: NDArray[np.int64],
    *,
    longest: int,
    separate: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stretches that hold all segments of a corpus.

    Args:
        recording, first, frames, part: (segments,) where each lies, and what it is for.
        whole: (recordings,) frames of each.
        longest: frames that a stretch of several segments has at most.
        separate: whether each segment is a stretch of its own.

    Returns:
        The segments (segments,) in the order of their stretches, and the stretches (stretches, 5):
        recording, first frame, frames, and where their segments begin and end in that order.
    """
    order = np.lexsort([first, recording, part.astype(str)])
    found: list[list[int]] = []
    for at, i in enumerate(order.tolist()):
        r, begin, end = int(recording[i]), int(first[i]), int(first[i] + frames[i])
        if found and not separate:
            last = found[-1]
            same = last[0] == r and part[order[last[3]]] == part[i]
            # Of what would be all of the recording, or short enough.
            if same and (whole[r] <= longest or end - last[1] <= longest):
                last[2] = max(last[2], end - last[1])
                last[4] = at + 1
                continue
        found.append([r, begin, end - begin, at, at + 1])
    rows = np.array(found, np.int64).reshape(-1, 5)
    if not separate:
        r = rows[:, 0]
        small = whole[r] <= longest
        begin = np.where(small, 0, np.maximum(rows[:, 1] - CONTEXT, 0))
        end = np.where(small, whole[r], np.minimum(rows[:, 1] + rows[:, 2] + CONTEXT, whole[r]))
        rows[:, 1], rows[:, 2] = begin, end - begin
    return order, rows


@dataclass
class Batch:
    """Stretches to be computed together, and the segments in them."""

    features: Tensor  # (stretches, frames, width), anything beyond a stretch's frames
    lengths: Tensor  # (stretches,) frames
    row: Tensor  # (segments,) which stretch each lies in
    first: Tensor  # (segments,) its first frame there
    stop: Tensor  # (segments,) the frame after its last
    segments: NDArray[np.int64]  # (segments,) places in the corpus
    targets: dict[str, Tensor]  # the task's, of the segments

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        targets = {name: values.to(device) for name, values in self.targets.items()}
        return Batch(
            self.features.to(device), self.lengths.to(device), self.row.to(device),
            self.first.to(device), self.stop.to(device), self.segments, targets,
        )  # fmt: skip


class Source(Protocol):
    """Where a model's input comes from."""

    @property
    def width(self) -> int:
        """Numbers a frame."""
        ...

    def read(self, stretch: int) -> NDArray[np.float32]:
        """One stretch: (frames, width)."""
        ...


@dataclass(frozen=True)
class Mel:
    """Log-mel in dB."""

    clips: Clips

    @property
    def width(self) -> int:
        """Bands."""
        return audio.BANDS

    def read(self, stretch: int) -> NDArray[np.float32]:
        """One stretch: (frames, bands)."""
        return self.clips.read(stretch)[0]


@dataclass(frozen=True)
class Encoded:
    """An encoder's features, from a folder of them, or computed when first asked for."""

    clips: Clips
    encoder: Encoder
    name: str  # a digest that stands for the encoder
    cached: Path | None  # folder that keeps what was computed; None: nothing is kept

    @property
    def width(self) -> int:
        """Dimensions of the features."""
        return self.encoder.settings.dimensions

    def read(self, stretch: int) -> NDArray[np.float32]:
        """One stretch: (frames, dimensions)."""
        r = int(self.clips.recording[stretch])
        found = Store(self.cached).read(self._key(r)) if self.cached else None
        features = found["features"] if found else self._compute(r, self._mel(stretch))
        first = int(self.clips.first[stretch])
        return features[first : first + int(self.clips.frames[stretch])].astype(np.float32)

    def fill(self, here: ProcessGroup, reporter: Reporter | None = None) -> None:
        """Compute what the folder lacks, this process's share of it."""
        assert self.cached
        store, done, seconds = Store(self.cached), 0, 0.0
        pairs = np.stack(np.unique(self.clips.recording, return_index=True), axis=1)
        mine = [
            (r, stretch)
            for r, stretch in pairs[here.rank :: here.size].tolist()
            if not store.path(self._key(r)).exists()
        ]
        for (r, _), mel in zip(mine, read_ahead(lambda one: self._mel(one[1]), mine), strict=True):
            self._compute(r, mel)
            done, seconds = done + 1, seconds + len(mel) * audio.HOP
            if reporter and not here.rank:
                reporter.progress(ExtractionProgress(done, len(mine), seconds))

    def _mel(self, stretch: int) -> NDArray[np.float32]:
        """All of the log-mel of a stretch's recording."""
        return self.clips.read_whole(stretch)

    def _compute(self, r: int, mel: NDArray[np.float32]) -> NDArray[np.float16]:
        # In half precision: exact to a thousandth, and half the disk.
        features = encode_log_mel(self.encoder, mel).astype(np.float16)
        if self.cached:
            Store(self.cached).write(self._key(r), {"features": features})
        return features

    def _key(self, r: int) -> str:
        return key(self.clips.digests[r], "encoded", VERSION, self.name)


def mean_and_std(source: Source, stretches: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
    """Mean and deviation (width,) of the features of some stretches, or of enough of them."""
    if len(stretches) > MOST_NORMALISED:
        stretches = np.random.default_rng(0).choice(stretches, MOST_NORMALISED, replace=False)
    total: Summary | None = None
    for values in read_ahead(source.read, stretches.tolist()):
        one = Summary.of(values)
        total = total + one if total else one
    assert total
    # What hardly varies should not have its rounding blown up.
    return total.mean, np.maximum(
        total.standard_deviation, 1e-3 * max(1.0, float(total.standard_deviation.max()))
    )


def read_batch(
    source: Source,
    stretches: Stretches,
    targets: Callable[[NDArray[np.int64]], dict[str, Tensor]],
    plan: NDArray[np.int64],
) -> Batch:
    """Some stretches, padded to the longest.

    Args:
        targets: gives the task's targets of segments, by their places in the corpus.
        plan: (stretches, 3): which, and the first frame and the number of frames to take of it.
    """
    lengths = plan[:, 2]
    features = np.zeros((len(plan), int(lengths.max()), source.width), np.float32)
    rows, places = [], []
    for row, (stretch, first, count) in enumerate(plan.tolist()):
        values = source.read(stretch)[first : first + count]
        features[row, : len(values)] = values
        inside = stretches.segments(stretch)
        places.append(np.arange(inside.start, inside.stop))
        rows.append(np.full(inside.stop - inside.start, row))
    at, row = np.concatenate(places), np.concatenate(rows)
    # Of a segment that is cut shorter (a crop), what is left of it.
    begin = np.clip(stretches.first[at] - plan[row, 1], 0, None)
    end = np.minimum(stretches.first[at] + stretches.frames[at] - plan[row, 1], lengths[row])
    segments = stretches.segment[at]
    return Batch(
        torch.from_numpy(features), torch.tensor(lengths), torch.tensor(row), torch.tensor(begin),
        torch.tensor(end), segments, targets(segments),
    )  # fmt: skip


def plan_batches(
    stretches: Stretches,
    chosen: NDArray[np.int64],
    most: int,
    *,
    rng: np.random.Generator | None = None,
    crop: int = 0,
    least: int = 1,
) -> list[NDArray[np.int64]]:
    """Batches (stretches, 3) of like length: see `read_batch`, and `batches` for the rest.

    Args:
        crop: frames that are taken of each, from anywhere in it; 0: all of them.
    """
    if not len(chosen):
        return []
    frames = stretches.clips.frames[chosen]
    count = np.minimum(frames, crop) if crop else frames
    spare = frames - count
    first = rng.integers(0, spare + 1) if rng and crop else np.zeros_like(spare)
    rows = np.stack([chosen, first, count], axis=1)
    return [rows[one] for one in make_batches(count, most, rng=rng, min_clips=least)]
