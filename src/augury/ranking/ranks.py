"""Ranks of values, and Spearman's correlation of every pair of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Segments whose ranks are multiplied at a time.
BLOCK = 8192


def average_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks (n,) from 1; equal values share the mean of theirs. No value may be NaN.

    >>> average_ranks(np.array([0.3, 0.1, 0.3])).tolist()
    [2.5, 1.0, 2.5]
    """
    return (_centred_ranks(_places(values)) + len(values) + 1) / 2


def redundancy(
    columns: Sequence[NDArray[Any] | None], *, block: int = BLOCK
) -> tuple[tuple[float | None, ...], ...]:
    """Spearman's correlation of every pair of candidates, over segments where both have a value.

    None for categories, vectors, constants, and fewer than three common values.

    Args:
        columns: each candidate's values (segments,), NaN where it has none.
        block: segments whose ranks are multiplied at a time; no effect on the result.

    >>> redundancy([np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])])
    ((1.0, -1.0), (-1.0, 1.0))
    """
    table: list[list[float | None]] = [[None] * len(columns) for _ in columns]
    for one, other in combinations_with_replacement(_group_by_missing(columns), 2):
        common = one.known & other.known
        if common.sum() < 3:
            continue
        left = one.ranks_among(common)
        right = left if other is one else other.ranks_among(common)
        lengths = np.sqrt(np.outer(_squares(left), _squares(right)))
        products = _products(left, right, block)
        for i, j in np.argwhere(lengths > 0).tolist():
            first, second = one.members[i], other.members[j]
            value = float(np.clip(products[i, j] / lengths[i, j], -1, 1))
            table[first][second] = table[second][first] = value
    return tuple(map(tuple, table))


@dataclass(frozen=True)
class _Group:
    """Candidates with values of the same segments."""

    members: list[int]
    known: NDArray[np.bool_]  # (segments,)
    ranks: NDArray[np.int32]  # (members, known segments) see `_centred_ranks`

    def ranks_among(self, common: NDArray[np.bool_]) -> NDArray[np.int32]:
        """The members' ranks among some of the known segments alone."""
        inside = common[self.known]
        if inside.all():
            return self.ranks
        return np.stack([_centred_ranks(row[inside] + len(inside)) for row in self.ranks])


def _group_by_missing(columns: Sequence[NDArray[Any] | None]) -> list[_Group]:
    groups: dict[bytes, tuple[list[int], NDArray[np.bool_], list[NDArray[np.int32]]]] = {}
    for k, z in enumerate(columns):
        if z is None or z.dtype.kind in "iu" or z.ndim > 1:
            continue  # no order to correlate
        known = ~np.isnan(z)
        members, _, ranks = groups.setdefault(np.packbits(known).tobytes(), ([], known, []))
        members.append(k)
        ranks.append(_centred_ranks(_places(z if known.all() else z[known])))
    return [_Group(members, known, np.stack(ranks)) for members, known, ranks in groups.values()]


def _places(values: NDArray[Any]) -> NDArray[np.int64]:
    """Each value's place (n,) among the distinct ones."""
    return np.unique(values, return_inverse=True)[1]


def _centred_ranks(places: NDArray[np.integer]) -> NDArray[np.int32]:
    """Twice the average ranks (n,) minus their mean: whole numbers, of which all sums are exact.

    Args:
        places: (n,) whole numbers from 0, ordered as the values.
    """
    counts = np.bincount(places)
    return (2 * np.cumsum(counts) - counts - len(places))[places].astype(np.int32)


def _squares(ranks: NDArray[np.int32]) -> NDArray[np.float64]:
    """The sum of squares of each row."""
    return np.array([np.square(row, dtype=np.float64).sum() for row in ranks])


def _products(left: NDArray[np.int32], right: NDArray[np.int32], block: int) -> NDArray[np.float64]:
    """left @ right.T, in float64 block by block: exact up to 300,000 segments."""
    products = np.zeros((len(left), len(right)))
    for begin in range(0, left.shape[1], block):
        own = left[:, begin : begin + block].astype(np.float64)
        other = own if right is left else right[:, begin : begin + block].astype(np.float64)
        products += own @ other.T
    return products
