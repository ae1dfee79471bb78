"""Batches of clips of similar length, in random order, and reading them ahead of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError

#: Clips are shuffled, and then sorted by length within pools of so many batches.
POOL_BATCHES = 50
#: Batches that are read ahead of the current one.
READ_AHEAD = 4

Item = TypeVar("Item")
Read = TypeVar("Read")


def make_batches(
    lengths: NDArray[np.int64],
    max_frames: int,
    *,
    rng: np.random.Generator | None,
    min_clips: int = 1,
) -> list[NDArray[np.int64]]:
    """All clips in batches with little padding.

    Args:
        lengths: (clips,) frames.
        max_frames: of a batch, padding included; only `min_clips` may make a batch larger.
        rng: of the order; None: sorted by length, longest first.
        min_clips: of a batch: one for each process that trains.

    Returns:
        The indices of each batch's clips; every clip is in exactly one batch.

    Raises:
        InputError: fewer clips than `min_clips`.

    >>> make_batches(np.array([3, 9, 5, 9]), 18, rng=None)
    [array([1, 3]), array([2, 0])]
    """
    if len(lengths) < min_clips:
        raise InputError(f"{len(lengths)} clips, but {min_clips} processes to train; use fewer")
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    size = (
        len(order)
        if rng is None
        else max(min_clips, round(POOL_BATCHES * max_frames / lengths.mean()))
    )
    pools = [order[k : k + size] for k in range(0, len(order), size)]
    if len(pools) > 1 and len(pools[-1]) < min_clips:
        pools[-2:] = [np.concatenate(pools[-2:])]
    batches: list[NDArray[np.int64]] = []
    for pool in pools:
        pool = pool[np.argsort(-lengths[pool], kind="stable")]
        first = 0
        while first < len(pool):
            count = max(
                min_clips, max_frames // int(lengths[pool[first]])
            )  # the first is the longest
            left = len(pool) - first - count
            if 0 < left < min_clips:  # too few for a batch of their own
                count += left
            batches.append(pool[first : first + count])
            first += count
    return batches if rng is None else [batches[k] for k in rng.permutation(len(batches))]


def padding_share(lengths: NDArray[np.int64], batches: list[NDArray[np.int64]]) -> float:
    """The share of the batches' frames that are padding.

    >>> padding_share(np.array([4, 2]), [np.array([0, 1])])
    0.25
    """
    total = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return 1 - float(lengths.sum()) / total


def read_ahead(
    read: Callable[[Item], Read], items: Iterable[Item], *, threads: int = 2
) -> Iterator[Read]:
    """read(item) for every item, in order, with threads that read ahead.

    At most `READ_AHEAD` results wait in memory, however many items there are.

    >>> list(read_ahead(str.upper, ["a", "b"]))
    ['A', 'B']
    """
    with ThreadPoolExecutor(threads, "augury-read") as pool:
        waiting: deque[Future[Read]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > READ_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
