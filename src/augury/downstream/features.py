"""A model's input: stretches of recordings, as log-mel or as an encoder's features.

A stretch is what the model reads at a time: an utterance, or several neighbouring segments (phones)
of a recording. Features of a frozen encoder are computed once, for whole recordings, and kept in
the store.
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
#: Frames of context before and after the segments of a stretch that is not a whole recording.
CONTEXT = 50
#: Most stretches that mean and standard deviation are estimated from; more would not change them.
MOST_NORMALISED = 2000


@dataclass(frozen=True)
class Stretches:
    """What a model reads at a time, and the segments in each, in the order of the stretches."""

    clips: Clips  # the stretches; none is held out
    split: NDArray  # (stretches,) of str
    segment: NDArray[np.int64]  # (segments,) its place in the corpus
    stretch: NDArray[np.int64]  # (segments,) the stretch it lies in, ascending
    first: NDArray[np.int64]  # (segments,) its first frame, counted from the start of the stretch
    frames: NDArray[np.int64]  # (segments,) its number of frames

    def __len__(self) -> int:
        return len(self.clips)

    def of(self, split: str) -> NDArray[np.int64]:
        """The places of the stretches of a split."""
        return np.flatnonzero(self.split == split)

    def segments(self, stretch: int) -> slice:
        """The range of a stretch's segments among all."""
        begin, end = np.searchsorted(self.stretch, [stretch, stretch + 1])
        return slice(int(begin), int(end))


def cut_stretches(
    recording: NDArray[np.int64],
    first: NDArray[np.int64],
    frames: NDArray[np.int64],
    split: NDArray,
    whole: NDArray[np.int64],
    *,
    longest: int,
    separate: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut recordings into stretches that contain all segments of a corpus.

    A recording of at most `longest` frames is one stretch for each split that it has segments of.

    Args:
        recording, first, frames: (segments,) the recording of each, its first frame and length.
        split: (segments,) of str; a stretch has segments of one split only.
        whole: (recordings,) frames of each recording.
        longest: most frames of a stretch with several segments, without context.
        separate: whether each segment is a stretch of its own.

    Returns:
        The segments (segments,) in the order of their stretches, and the stretches (stretches, 5):
        recording, first frame, frames, and the range of their segments in that order.

    >>> recording, first, frames = np.array([0, 0]), np.array([10, 30]), np.array([5, 5])
    >>> cut_stretches(recording, first, frames, np.array(["test", "test"]), np.array([100]),
    ...               longest=200, separate=False)[1].tolist()
    [[0, 0, 100, 0, 2]]
    """
    order = np.lexsort([first, recording, split.astype(str)])
    stretches: list[list[int]] = []
    for k, i in enumerate(order.tolist()):
        r, begin, end = int(recording[i]), int(first[i]), int(first[i] + frames[i])
        if stretches and not separate:
            last = stretches[-1]
            same = last[0] == r and split[order[last[3]]] == split[i]
            # The segment joins the last stretch if that is a whole recording or stays short enough.
            if same and (whole[r] <= longest or end - last[1] <= longest):
                last[2] = max(last[2], end - last[1])
                last[4] = k + 1
                continue
        stretches.append([r, begin, end - begin, k, k + 1])
    rows = np.array(stretches, np.int64).reshape(-1, 5)
    if not separate:
        r = rows[:, 0]
        small = whole[r] <= longest
        begin = np.where(small, 0, np.maximum(rows[:, 1] - CONTEXT, 0))
        end = np.where(small, whole[r], np.minimum(rows[:, 1] + rows[:, 2] + CONTEXT, whole[r]))
        rows[:, 1], rows[:, 2] = begin, end - begin
    return order, rows


@dataclass
class Batch:
    """A batch of stretches, padded to the longest, and the segments in them."""

    features: Tensor  # (stretches, frames, width), any values beyond a stretch's frames
    lengths: Tensor  # (stretches,) frames
    row: Tensor  # (segments,) the stretch of each
    first: Tensor  # (segments,) its first frame in the stretch
    stop: Tensor  # (segments,) the frame after its last one
    segments: NDArray[np.int64]  # (segments,) places in the corpus
    targets: dict[str, Tensor]  # of the segments, as `Task.targets` returned them

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        targets = {name: values.to(device) for name, values in self.targets.items()}
        return Batch(
            self.features.to(device), self.lengths.to(device), self.row.to(device),
            self.first.to(device), self.stop.to(device), self.segments, targets,
        )  # fmt: skip


class Source(Protocol):
    """Where a model's input comes from."""

    @property
    def width(self) -> int:
        """Dimensions of a frame."""
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
    """An encoder's features, read from a cache folder or computed when first needed."""

    clips: Clips
    encoder: Encoder
    name: str  # a digest that identifies the encoder
    cache: Path | None  # folder that features are kept in; None: they are not kept

    @property
    def width(self) -> int:
        """Dimensions of the features."""
        return self.encoder.settings.dimensions

    def read(self, stretch: int) -> NDArray[np.float32]:
        """One stretch: (frames, dimensions)."""
        r = int(self.clips.recording[stretch])
        cached = Store(self.cache).read(self._key(r)) if self.cache else None
        features = cached["features"] if cached else self._compute(r, self._mel(stretch))
        first = int(self.clips.first[stretch])
        return features[first : first + int(self.clips.frames[stretch])].astype(np.float32)

    def fill(self, group: ProcessGroup, reporter: Reporter | None = None) -> None:
        """Compute the features that the cache lacks; each process of the group does a share."""
        assert self.cache
        store, seconds = Store(self.cache), 0.0
        # Each recording, and one stretch of it, by which its log-mel can be read.
        pairs = np.stack(np.unique(self.clips.recording, return_index=True), axis=1)
        todo = [
            (r, stretch)
            for r, stretch in pairs[group.rank :: group.size].tolist()
            if not store.path(self._key(r)).exists()
        ]
        mels = read_ahead(lambda pair: self._mel(pair[1]), todo)
        for done, ((r, _), mel) in enumerate(zip(todo, mels, strict=True), 1):
            self._compute(r, mel)
            seconds += len(mel) * audio.HOP
            if reporter and not group.rank:
                reporter.progress(ExtractionProgress(done, len(todo), seconds))

    def _mel(self, stretch: int) -> NDArray[np.float32]:
        """The log-mel (frames, bands) of a stretch's whole recording."""
        return self.clips.read_whole(stretch)

    def _compute(self, r: int, mel: NDArray[np.float32]) -> NDArray[np.float16]:
        # Half precision has a relative error below 0.001 and takes half the space.
        features = encode_log_mel(self.encoder, mel).astype(np.float16)
        if self.cache:
            Store(self.cache).write(self._key(r), {"features": features})
        return features

    def _key(self, r: int) -> str:
        return key(self.clips.digests[r], "encoded", VERSION, self.name)


def mean_and_std(source: Source, stretches: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
    """Mean and standard deviation (width,) of the features of stretches, given by their places.

    Of more than `MOST_NORMALISED` a fixed random sample is used. The standard deviation is at least
    0.001 of the largest one, so that rounding errors of constant features are not amplified.
    """
    if len(stretches) > MOST_NORMALISED:
        stretches = np.random.default_rng(0).choice(stretches, MOST_NORMALISED, replace=False)
    total: Summary | None = None
    for values in read_ahead(source.read, stretches.tolist()):
        summary = Summary.of(values)
        total = total + summary if total else summary
    assert total
    std = total.standard_deviation
    return total.mean, np.maximum(std, 1e-3 * max(1.0, float(std.max())))


def read_batch(
    source: Source,
    stretches: Stretches,
    targets: Callable[[NDArray[np.int64]], dict[str, Tensor]],
    plan: NDArray[np.int64],
) -> Batch:
    """Read stretches into a batch, padded with zeros to the longest.

    Args:
        targets: the task's function from places of segments in the corpus to their targets.
        plan: (batch, 3) place of each stretch, first frame and number of frames to take of it.
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
    place, row = np.concatenate(places), np.concatenate(rows)
    # If a stretch is cropped, its segments end with the crop.
    first = stretches.first[place] - plan[row, 1]
    begin = np.clip(first, 0, None)
    end = np.minimum(first + stretches.frames[place], lengths[row])
    segments = stretches.segment[place]
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
    """Plans (batch, 3), as `read_batch` takes them, for batches of stretches of similar length.

    Args:
        chosen: (n,) places of the stretches.
        most: frames of a batch, padding included.
        rng: of the order and of crops; None: sorted by length, longest first.
        crop: frames taken of each stretch, from a random place in it; 0: all of them.
        least: stretches of a batch: one for each process that trains.
    """
    if not len(chosen):
        return []
    frames = stretches.clips.frames[chosen]
    count = np.minimum(frames, crop) if crop else frames
    spare = frames - count
    first = rng.integers(0, spare + 1) if rng and crop else np.zeros_like(spare)
    rows = np.stack([chosen, first, count], axis=1)
    return [rows[batch] for batch in make_batches(count, most, rng=rng, min_clips=least)]
