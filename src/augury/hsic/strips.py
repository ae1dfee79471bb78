"""Sums over pairs for pseudo-labels whose kernel has no factor of few columns.

A scalar or a category is sorted, and K made only where L is not 0: strips of neighbours, equal
values put together. Of a vector every point is near every other: tiles of both matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from augury.embeddings import Indices
from augury.hsic.factors import ROUNDING
from augury.hsic.kernels import Array, centre, label_kernel, spaced_points
from augury.hsic.moments import as_numpy, rows_at_once, unit_speech
from augury.hsic.sums import (
    PairSums,
    SpeechSums,
    SumPlan,
    skewness,
    u_centred_row_sums,
    u_centred_sum,
)

Vector = NDArray[np.float64]

#: Values of a strip, and points along a tile's side.
STRIP, TILE = 256, 512


@dataclass(frozen=True)
class RowSums:
    """Sums of some points with all or some of their class; L not centred."""

    each: Vector  # (points,) Σⱼ (K∘L)ᵢⱼ
    rows: Vector  # (points,) Σⱼ Lᵢⱼ
    squares: Vector  # (points,) Σⱼ Lᵢⱼ²
    a: Vector  # (points,)
    projection: Vector  # (d,) Σᵢ (Σⱼ Lᵢⱼ) uᵢ


@dataclass(frozen=True)
class LabelWithoutFactor:
    """One pseudo-label of one class, without a factor."""

    z: NDArray
    width: float

    def pair_sums(self, sums: RowSums, of_speech: SpeechSums, wanted: SumPlan) -> PairSums:
        """What the rows add up to; `sums` in the order of the class's points."""
        n, total = len(self.z), float(sums.rows.sum())
        LL = float(sums.squares.sum())
        LL += (total / n) ** 2 - 2 / n * float(sums.rows @ sums.rows)
        b = 1 - 2 / n * sums.rows + total / n**2
        if wanted.slip:  # neither K nor L is centred
            b = np.ones(n)
        # Strips end where L is that small.
        error = ROUNDING * n * of_speech.a if self.z.dtype.kind == "f" else 0.0
        if wanted.norms and LL < 1e-12 * n**2:  # not centred: rounding, or as good as constant
            LL, b = 0.0, np.zeros(n)
        found = PairSums(
            float(sums.each.sum()), LL, float(sums.a @ b), float(b.sum()), float(b @ b),
            total - n, error,
        )  # fmt: skip
        if not wanted.points:
            return found
        L = centre(label_kernel(self.z[spaced_points(self.z)], width=self.width))
        # Centred as if near points had the same sum of their rows of L, which changes slowly.
        l, mean = sums.rows / n, total / n**2
        each_LL = sums.squares - 3 * n * l**2 + 2 * n * mean * l + float(l @ l) - n * mean**2
        return replace(
            found,
            skew=skewness(L, float(np.vdot(L, L))),
            each_KL=sums.each - sums.a * b,
            each_ab=sums.a * b,
            each_LL=each_LL - b * b,
        )


def centre_point_sums(pair: PairSums, of_speech: SpeechSums, a: Vector, along: Vector) -> PairSums:
    """A label's sums with L centred for those of each point, too; with norms U-centred, nearly.

    Args:
        pair: what `pair_sums` gave.
        of_speech: of the same class; with each_KK where norms are asked for.
        a: (n,) K's diagonal.
        along: (n,) Σⱼₖ Kᵢⱼ Lⱼₖ, each point's u times `RowSums.towards`.
    """
    assert pair.each_KL is not None
    assert pair.each_LL is not None
    assert pair.each_ab is not None
    n = len(a)
    each = pair.each_KL - along / n
    if of_speech.each_KK is None:
        return replace(pair, each_KL=each)
    b, none = pair.each_ab / np.where(a > 0, a, 1), np.zeros(n)
    # Products of L with the diagonals are left out: they hardly vary along it.
    each = u_centred_row_sums(each, a, b, -2 / n * along, none, n, (of_speech.a, pair.b, pair.ab))
    squares = u_centred_row_sums(pair.each_LL, b, b, none, none, n, (pair.b, pair.b, pair.bb))
    # Approximate, and off where the label hardly varies: scaled to their known sum, and products
    # kept within what Cauchy and Schwarz allow.
    squares = np.maximum(squares, 0)
    known = u_centred_sum(pair.LL, pair.bb, pair.b, pair.b, n)
    squares *= max(known, 0) / max(float(squares.sum()), 1e-300)
    bound = 1.1 * np.sqrt(np.maximum(of_speech.each_KK, 0) * squares)
    return replace(pair, each_KL=np.clip(each, -bound, bound), each_LL=squares)


@dataclass(frozen=True)
class TiledLabel(LabelWithoutFactor):
    """A vector-valued one: every point is near every other."""

    @classmethod
    def of(cls, z: NDArray, width: float) -> TiledLabel:
        """In tiles."""
        return cls(z, width)

    def _tiles(self) -> list[tuple[slice, slice]]:
        sides = [slice(k, k + TILE) for k in range(0, len(self.z), TILE)]
        return [(one, other) for k, one in enumerate(sides) for other in sides[k:]]

    def tasks(self, rows: Indices, origin: Vector) -> Iterator[tuple[Any, ...]]:
        """One for each tile on or above the diagonal."""
        for one, other in self._tiles():
            yield tile_sums, rows[one], self.z[one], rows[other], self.z[other], self.width, origin

    def add_up(self, parts: Iterator[tuple[RowSums, RowSums | None]]) -> RowSums:
        """The rows' sums over their tiles."""
        n = len(self.z)
        each, rows, squares, a, towards = (np.zeros(n) for _ in range(5))
        towards = 0.0
        for one, other in self._tiles():
            of_one, of_other = next(parts)
            towards = towards + of_one.projection
            a[one] = of_one.a
            for place, part in ((one, of_one), (other, of_other)):
                if part is not None:
                    each[place] += part.each
                    rows[place] += part.rows
                    squares[place] += part.squares
        return RowSums(each, rows, squares, a, np.asarray(towards))


def tile_sums(
    x: Any,
    rows: Indices,
    z: NDArray,
    other_rows: Indices,
    other_z: NDArray,
    width: float,
    origin: Vector,
) -> tuple[RowSums, RowSums | None]:
    """Some points with others: for both the sums of their rows; for one set with itself, once."""
    U = unit_speech(x, rows, origin)
    xp, place = array_namespace(U), device(U)
    itself = np.array_equal(rows, other_rows)
    V = U if itself else unit_speech(x, other_rows, origin)
    z, other_z = xp.asarray(z, device=place), xp.asarray(other_z, device=place)
    L = label_kernel(z, other_z, width=width)
    KL = xp.astype(U @ V.T, xp.float64) * L
    a, l, m = xp.vecdot(U, U), xp.sum(L, axis=1), xp.sum(L, axis=0)
    # Both towards' are returned with the first: they are only ever added up.
    towards = xp.astype(l, U.dtype) @ U
    if not itself:
        towards = towards + xp.astype(m, U.dtype) @ V
    L *= L
    sums = [xp.sum(KL, axis=1), l, xp.sum(L, axis=1), a, towards]
    one = RowSums(*(as_numpy(v).astype(np.float64) for v in sums))
    if itself:
        return one, None
    of_other = (as_numpy(v) for v in (xp.sum(KL, axis=0), m, xp.sum(L, axis=0)))
    return one, RowSums(*of_other, a=np.empty(0), projection=np.empty(0))


@dataclass(frozen=True)
class SortedLabel(LabelWithoutFactor):
    """A scalar or a category: points in order, and strips of them with all that are near."""

    order: Indices  # (n,) places of the points, equal values side by side
    values: NDArray  # (m,) the different ones
    ends: Indices  # (m,) where each value's points end in the order
    strips: tuple[tuple[slice, slice], ...]  # values of each strip, and all near them

    @classmethod
    def of(cls, z: NDArray, width: float) -> SortedLabel:
        """In strips."""
        order = np.argsort(z, kind="stable")
        values, counts = np.unique(z[order], return_counts=True)
        reach = 0.5 if z.dtype.kind in "iu" else width * np.sqrt(-2 * np.log(ROUNDING))
        begins = np.arange(0, len(values), STRIP)
        stops = np.minimum(begins + STRIP, len(values))
        low = np.searchsorted(values, values[begins] - reach)
        high = np.searchsorted(values, values[stops - 1] + reach, "right")
        strips = [
            (slice(int(i), int(j)), slice(int(p), int(q)))
            for i, j, p, q in zip(begins, stops, low, high, strict=True)
        ]
        return cls(z, width, order, values, np.cumsum(counts), tuple(strips))

    def tasks(self, rows: Indices, origin: Vector) -> Iterator[tuple[Any, ...]]:
        """One for each strip."""
        begins = np.append(0, self.ends[:-1])
        for own, near in self.strips:
            first = begins[near.start]
            points = rows[self.order[first : self.ends[near.stop - 1]]]
            inside = slice(own.start - near.start, own.stop - near.start)
            ends = self.ends[near] - first
            yield strip_sums, points, self.values[near], ends, inside, self.width, origin

    def add_up(self, parts: Iterator[RowSums]) -> RowSums:
        """The rows' sums, in the order of the points."""
        found = [next(parts) for _ in self.strips]
        back = np.empty(len(self.z), np.int64)
        back[self.order] = np.arange(len(self.z))
        each, rows, squares, a = (
            np.concatenate([getattr(one, name) for one in found])[back]
            for name in ("each", "rows", "squares", "a")
        )
        return RowSums(each, rows, squares, a, np.sum([one.projection for one in found], axis=0))


def strip_sums(
    x: Any,
    points: Indices,
    values: NDArray,
    ends: Indices,
    own: slice,
    width: float,
    origin: Vector,
) -> RowSums:
    """Some values' points with all points near them.

    Args:
        points: rows of x of all near points, equal values side by side.
        values: the near values, (m,).
        ends: (m,) where each value's points end.
        own: the values that are this strip's.
        origin: what is taken off unit rows.
    """
    which = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))  # the value of each point
    rows, squares = np.zeros(own.stop - own.start), np.zeros(own.stop - own.start)
    W: Array = None  # Σⱼ Lᵢⱼ uⱼ of each own value
    size = rows_at_once(x[points[:1]], large=True)
    for begin in range(0, len(points), size):
        block = slice(begin, begin + size)
        U = unit_speech(x, points[block], origin)
        xp, place = array_namespace(U), device(U)
        first, last = which[block][[0, -1]]
        counts = np.bincount(which[block] - first)
        if len(counts) < U.shape[0]:  # equal values as one
            among = which[block] == np.arange(first, last + 1)[:, None]
            U = xp.astype(xp.asarray(among, device=place), U.dtype) @ U
        near = xp.asarray(values[first : last + 1], device=place)
        L = label_kernel(xp.asarray(values[own], device=place), near, width=width)
        weights = xp.asarray(counts.astype(np.float64), device=place)
        rows += as_numpy(L @ weights)
        squares += as_numpy((L * L) @ weights)
        product = xp.astype(L, U.dtype) @ U
        W = product if W is None else W + product
    which = which[(own.start <= which) & (which < own.stop)] - own.start
    points = points[ends[own.start - 1] if own.start else 0 : ends[own.stop - 1]]
    towards = np.zeros(len(origin))
    each, a = np.empty(len(points)), np.empty(len(points))
    for begin in range(0, len(points), size):
        block = slice(begin, begin + size)
        U = unit_speech(x, points[block], origin)
        xp, place = array_namespace(U), device(U)
        index = xp.asarray(which[block], device=place)
        each[block] = as_numpy(xp.vecdot(U, xp.take(W, index, axis=0)))
        a[block] = as_numpy(xp.vecdot(U, U))
        own_rows = xp.astype(xp.asarray(rows[which[block]], device=place), U.dtype)
        towards += as_numpy(own_rows @ U)
    return RowSums(each, rows[which], squares[which], a, towards)
