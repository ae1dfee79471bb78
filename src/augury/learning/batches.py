"""Batches of clips of like length, in an order that a seed and an epoch decide."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError

#: Batches' worth of clips that are sorted by length together: their order is random beyond that.
POOL_BATCHES = 50
#: Batches read ahead of the one that is trained on.
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
    """All clips in batches that pad little.

    Args:
        lengths: (clips,) frames.
        most: frames of a batch, padding included.
        rng: of the order; None: sorted by length, all the same every time.
        least: clips that a batch must have, one for each process that trains.

    Returns:
        Each batch's places in `lengths`; every clip is in one batch, and once.
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
    found: list[NDArray[np.int64]] = []
    for pool in pools:
        pool = pool[np.argsort(-lengths[pool], kind="stable")]
        at = 0
        while at < len(pool):
            count = max(min_clips, max_frames // int(lengths[pool[at]]))  # the first is the longest
            left = len(pool) - at - count
            if 0 < left < min_clips:  # too few for all processes: they come along
                count += left
            found.append(pool[at : at + count])
            at += count
    return found if rng is None else [found[k] for k in rng.permutation(len(found))]


def padding_share(lengths: NDArray[np.int64], plan: list[NDArray[np.int64]]) -> float:
    """The share of the batches' frames that are padding."""
    whole = sum(len(one) * int(lengths[one].max()) for one in plan)
    return 1 - float(lengths.sum()) / whole


def read_ahead(
    read: Callable[[Item], Read], items: Iterable[Item], *, threads: int = 2
) -> Iterator[Read]:
    """read(item) for every item, in order, a few of them in advance.

    Memory holds `AHEAD` results at most, however many items there are.
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
            for one in waiting:
                one.cancel()
