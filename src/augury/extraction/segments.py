"""Segments in time and in frames: their edges, their frames, and why some are unusable.

Arrays in, arrays out; times are in seconds from the recording's beginning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury import audio, pseudolabels
from augury.corpus.check import SLACK
from augury.embeddings import Indices

#: Codes of `segment_problems`: (reason, detail).
SEGMENT_PROBLEMS = {
    1: ("outside-recording", "lies outside its recording, which lasts {duration:.3f} s"),
    2: ("too-short", "is shorter than one analysis window, 0.025 s"),
    3: ("not-finite", "has an embedding that is not finite"),
}


def segment_edges(
    start: ArrayLike, end: ArrayLike, duration: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Starts and ends of segments in recordings of some duration; NaN: the recording's own edge.

    >>> segment_edges([np.nan, 1.0], [0.5, np.nan], 3.0)
    (array([0., 1.]), array([0.5, 3. ]))
    """
    return np.nan_to_num(np.asarray(start, np.float64)), np.fmin(end, duration)


def segment_problems(start: ArrayLike, end: ArrayLike, duration: float) -> NDArray[np.uint8]:
    """Each segment's problem: 0 for none, or a code of `SEGMENT_PROBLEMS`.

    >>> segment_problems([0.0, 2.0, 5.0], [1.0, 2.01, 6.0], 4.0)
    array([0, 2, 1], dtype=uint8)
    """
    start, end = np.asarray(start), np.asarray(end)
    outside = (start >= duration) | (end > duration + SLACK)
    begin, stop = segment_edges(start, end, duration)
    short = stop - begin < audio.WINDOW - 1e-9
    return np.where(outside, 1, np.where(short, 2, 0)).astype(np.uint8)


def frame_range(
    start: NDArray[Any],
    end: NDArray[Any],
    centre: float | NDArray[Any],
    hop: float | NDArray[Any],
    frames: int | NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The frames with centres in [start, end), or the nearest frame if there are none.

    Args:
        start, end: (segments,) seconds.
        centre: seconds from the recording's beginning to the middle of frame 0.
        hop: seconds between frames.
        frames: number of frames; like `centre` and `hop` one for all segments, or (segments,).

    Returns:
        Two arrays (segments,): the first frame, and the frame after the last.

    >>> frame_range(np.array([0.0]), np.array([0.05]), 0.0125, 0.010, 100)
    (array([0]), array([4]))
    """
    # A tolerance, so that rounding does not move a time with few decimals to another frame.
    first, stop = (np.ceil((t - centre) / hop - 1e-6).astype(np.int64) for t in (start, end))
    first, stop = np.clip(first, 0, frames), np.clip(stop, 0, frames)
    nearest = np.clip(np.round(((start + end) / 2 - centre) / hop).astype(np.int64), 0, frames - 1)
    none = stop <= first
    return np.where(none, nearest, first), np.where(none, nearest + 1, stop)


def range_means(frames: NDArray[Any], first: Indices, stop: Indices) -> NDArray[np.float64]:
    """The mean of each range of frames, ignoring frames that are not finite or beyond 1e100.

    Args:
        frames: (frames,) or (frames, dims).
        first, stop: (segments,) non-empty ranges.

    Returns:
        (segments,) or (segments, dims) float64; NaN where no frame of the range is finite.

    >>> range_means(np.array([1.0, np.nan, 3.0]), np.array([0, 1]), np.array([3, 2]))
    array([ 2., nan])
    """
    # The row of zeros allows stops at the end.
    padded = np.concatenate([frames, np.zeros((1, *frames.shape[1:]))], dtype=np.float64)
    finite = np.abs(padded) < pseudolabels.LARGEST  # false for NaN
    ranges = np.stack([first, stop], axis=1).ravel()  # every second sum is from a first to its stop
    if finite.all():
        total = np.add.reduceat(padded, ranges, axis=0)[::2]
        return total / (stop - first).reshape(-1, *[1] * (frames.ndim - 1))
    total, number = (
        np.add.reduceat(values, ranges, axis=0)[::2]
        for values in (np.where(finite, padded, 0.0), finite.astype(np.float64))
    )
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def range_counts(
    units: NDArray[Any], first: Indices, stop: Indices
) -> tuple[Indices, Indices, NDArray[np.int64]]:
    """How often each unit comes in each range of frames.

    Args:
        units: (frames,) whole numbers from 0.
        first, stop: (segments,) non-empty ranges.

    Returns:
        Three arrays with an item for each pair that there is, in order: range, unit, count.

    >>> range_counts(np.array([7, 7, 4, 4]), np.array([0, 1]), np.array([3, 2]))
    (array([0, 0, 1]), array([4, 7, 7]), array([1, 2, 1]))
    """
    lengths = stop - first
    before = np.cumsum(lengths) - lengths  # the frames of the ranges before, one after another
    frames = np.arange(int(lengths.sum())) + np.repeat(first - before, lengths)
    kinds = int(units.max()) + 1
    pairs = np.repeat(np.arange(len(first)), lengths) * kinds + units[frames]
    pairs, counts = np.unique(pairs, return_counts=True)
    return pairs // kinds, pairs % kinds, counts
