# pyright: reportConstantRedefinition=false
"""Sums over pairs for pseudo-labels whose kernel has no factor with few columns.

Scalars and categories are sorted, and K is computed only where L is not 0: in strips of neighbours,
with equal values merged. For vectors L is nowhere 0: both matrices are computed in tiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from augury.embeddings import Embeddings, Indices
from augury.hsic.correlation import u_centred_sum
from augury.hsic.factors import ROUNDING
from augury.hsic.kernels import Array, Matrix, Values, Vector, centre, label_kernel, spaced_points
from augury.hsic.moments import as_numpy, rows_at_once, unit_speech
from augury.hsic.sums import PairSums, SpeechSums, SumPlan, skewness, u_centred_row_sums


@dataclass(frozen=True)
class RowSums:
    """Sums of some points with all or some of their class; L not centred."""

    each: Vector  # (points,) Σⱼ (K∘L)ᵢⱼ
    rows: Vector  # (points,) Σⱼ Lᵢⱼ
    squares: Vector  # (points,) Σⱼ Lᵢⱼ²
    a: Vector  # (points,)
    projection: Vector  # (d,) Σᵢ (Σⱼ Lᵢⱼ) uᵢ


@dataclass(frozen=True)
class LabelWithoutFactor(ABC):
    """One pseudo-label of one class, without a factor."""

    z: Values
    width: float

    @abstractmethod
    def tasks(self, rows: Indices, origin: Vector) -> Iterator[tuple[Any, ...]]:
        """Tasks for the sums of the class's points, whose rows of x are `rows`."""

    @abstractmethod
    def add_up(self, results: Iterator[Any]) -> RowSums:
        """The sums of the rows of K and L, from the tasks' results, in the order of the points."""

    def pair_sums(self, sums: RowSums, of_speech: SpeechSums, plan: SumPlan) -> PairSums:
        """The label's sums over all pairs, from those of the rows, in the order of the points."""
        n, total = len(self.z), float(sums.rows.sum())
        LL = float(sums.squares.sum())
        LL += (total / n) ** 2 - 2 / n * float(sums.rows @ sums.rows)
        b = 1 - 2 / n * sums.rows + total / n**2
        if plan.slip:  # neither K nor L is centred
            b = np.ones(n)
        # Strips end where L is this small.
        error = ROUNDING * n * of_speech.a if self.z.dtype.kind == "f" else 0.0
        if plan.norms and LL < 1e-12 * n**2:  # rounding, or nearly constant
            LL, b = 0.0, np.zeros(n)
        pair = PairSums(
            float(sums.each.sum()), LL, float(sums.a @ b), float(b.sum()), float(b @ b),
            total - n, error,
        )  # fmt: skip
        if not plan.points:
            return pair
        L: Matrix = centre(label_kernel(self.z[spaced_points(self.z)], width=self.width))
        # Centred as if near points had equal row sums of L, which change slowly.
        l, mean = sums.rows / n, total / n**2
        each_LL = sums.squares - 3 * n * l**2 + 2 * n * mean * l + float(l @ l) - n * mean**2
        return replace(
            pair,
            skew=skewness(L, float(np.vdot(L, L))),
            each_KL=sums.each - sums.a * b,
            each_ab=sums.a * b,
            each_LL=each_LL - b * b,
        )


def centre_point_sums(pair: PairSums, of_speech: SpeechSums, a: Vector, along: Vector) -> PairSums:
    """A label's sums, with each point's sums for centred L; with norms, nearly U-centred.

    Args:
        pair: of `LabelWithoutFactor.pair_sums`.
        of_speech: of the same class; with each_KK if there are norms.
        a: (n,) K's diagonal.
        along: (n,) Σⱼₖ Kᵢⱼ Lⱼₖ, each point's u times `RowSums.projection`.
    """
    assert pair.each_KL is not None
    assert pair.each_LL is not None
    assert pair.each_ab is not None
    n = len(a)
    each = pair.each_KL - along / n
    if of_speech.each_KK is None:
        return replace(pair, each_KL=each)
    b, none = pair.each_ab / np.where(a > 0, a, 1), np.zeros(n)
    # Products of L with the diagonals are omitted, as they hardly vary along it.
    each = u_centred_row_sums(each, a, b, -2 / n * along, none, n, (of_speech.a, pair.b, pair.ab))
    squares = u_centred_row_sums(pair.each_LL, b, b, none, none, n, (pair.b, pair.b, pair.bb))
    # Inaccurate if the label hardly varies: scaled to the known sum, and products clipped to the
    # Cauchy-Schwarz bound.
    squares = np.maximum(squares, 0)
    known = u_centred_sum(pair.LL, pair.bb, pair.b, pair.b, n)
    squares *= max(known, 0) / max(float(squares.sum()), 1e-300)
    bound = 1.1 * np.sqrt(np.maximum(of_speech.each_KK, 0) * squares)
    return replace(pair, each_KL=np.clip(each, -bound, bound), each_LL=squares)


@dataclass(frozen=True)
class TiledLabel(LabelWithoutFactor):
    """A vector-valued label, whose kernel is nowhere 0."""

    tile: int  # points along a tile's side

    def _tiles(self) -> list[tuple[slice, slice]]:
        sides = [slice(k, k + self.tile) for k in range(0, len(self.z), self.tile)]
        return [(own, other) for k, own in enumerate(sides) for other in sides[k:]]

    def tasks(self, rows: Indices, origin: Vector) -> Iterator[tuple[Any, ...]]:
        """One for each tile on or above the diagonal."""
        for own, other in self._tiles():
            yield tile_sums, rows[own], self.z[own], rows[other], self.z[other], self.width, origin

    def add_up(self, results: Iterator[tuple[RowSums, RowSums | None]]) -> RowSums:
        """The rows' sums over their tiles."""
        each, rows, squares, a = (np.zeros(len(self.z)) for _ in range(4))
        projection = 0.0
        for own, other in self._tiles():
            of_own, of_other = next(results)
            projection = projection + of_own.projection
            a[own] = of_own.a
            for place, part in ((own, of_own), (other, of_other)):
                if part is not None:
                    each[place] += part.each
                    rows[place] += part.rows
                    squares[place] += part.squares
        return RowSums(each, rows, squares, a, np.asarray(projection))


def tile_sums(
    x: Embeddings,
    rows: Indices,
    z: Values,
    other_rows: Indices,
    other_z: Values,
    width: float,
    origin: Vector,
) -> tuple[RowSums, RowSums | None]:
    """The row sums of some points with others, and of the others unless both are the same."""
    U = unit_speech(x, rows, origin)
    xp, place = array_namespace(U), U.device
    itself = np.array_equal(rows, other_rows)
    V = U if itself else unit_speech(x, other_rows, origin)
    z, other_z = xp.asarray(z, device=place), xp.asarray(other_z, device=place)
    L = label_kernel(z, other_z, width=width)
    KL = xp.astype(U @ V.T, xp.float64) * L
    a, l, m = xp.vecdot(U, U), xp.sum(L, axis=1), xp.sum(L, axis=0)
    # The first result has the sum of both projections, as they are only ever added up.
    projection = xp.astype(l, U.dtype) @ U
    if not itself:
        projection = projection + xp.astype(m, U.dtype) @ V
    L *= L
    sums = [xp.sum(KL, axis=1), l, xp.sum(L, axis=1), a, projection]
    of_own = RowSums(*(as_numpy(v).astype(np.float64) for v in sums))
    if itself:
        return of_own, None
    of_other = (as_numpy(v) for v in (xp.sum(KL, axis=0), m, xp.sum(L, axis=0)))
    return of_own, RowSums(*of_other, a=np.empty(0), projection=np.empty(0))


@dataclass(frozen=True)
class SortedLabel(LabelWithoutFactor):
    """A scalar or a category: sorted points, and strips of them with all points near them."""

    order: Indices  # (n,) indices of the points, sorted by value
    values: Values  # (m,) the distinct values
    ends: Indices  # (m,) where each value's points end in the order
    strips: tuple[tuple[slice, slice], ...]  # values of each strip, and all values near them

    @classmethod
    def of(cls, z: Values, width: float, strip: int) -> SortedLabel:
        """In strips of `strip` values each."""
        order = np.argsort(z, kind="stable")
        values, counts = np.unique(z[order], return_counts=True)
        reach = 0.5 if z.dtype.kind in "iu" else width * np.sqrt(-2 * np.log(ROUNDING))
        begins = np.arange(0, len(values), strip)
        stops = np.minimum(begins + strip, len(values))
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

    def add_up(self, results: Iterator[RowSums]) -> RowSums:
        """The rows' sums, in the order of the points."""
        parts = [next(results) for _ in self.strips]
        back = np.empty(len(self.z), np.int64)
        back[self.order] = np.arange(len(self.z))
        each, rows, squares, a = (
            np.concatenate([getattr(part, name) for part in parts])[back]
            for name in ("each", "rows", "squares", "a")
        )
        return RowSums(each, rows, squares, a, np.sum([part.projection for part in parts], axis=0))


def strip_sums(
    x: Embeddings,
    points: Indices,
    values: Values,
    ends: Indices,
    own: slice,
    width: float,
    origin: Vector,
) -> RowSums:
    """The sums of a strip's points with all points near them.

    Args:
        points: rows of x of all near points, sorted by value.
        values: (m,) the near values.
        ends: (m,) where each value's points end.
        own: the strip's own values among them.
        origin: subtracted from unit rows.
    """
    value_of = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))  # the value of each point
    rows, squares = np.zeros(own.stop - own.start), np.zeros(own.stop - own.start)
    W: Array = None  # Σⱼ Lᵢⱼ uⱼ of each own value
    size = rows_at_once(x[points[:1]], large=True)
    for begin in range(0, len(points), size):
        block = slice(begin, begin + size)
        U = unit_speech(x, points[block], origin)
        xp, place = array_namespace(U), U.device
        first, last = (int(place) for place in value_of[block][[0, -1]])
        counts = np.bincount(value_of[block] - first)
        if len(counts) < U.shape[0]:  # merge equal values
            indicator = value_of[block] == np.arange(first, last + 1)[:, None]
            U = xp.astype(xp.asarray(indicator, device=place), U.dtype) @ U
        near = xp.asarray(values[first : last + 1], device=place)
        L = label_kernel(xp.asarray(values[own], device=place), near, width=width)
        weights = xp.asarray(counts.astype(np.float64), device=place)
        rows += as_numpy(L @ weights)
        squares += as_numpy((L * L) @ weights)
        product = xp.astype(L, U.dtype) @ U
        W = product if W is None else W + product
    value_of = value_of[(own.start <= value_of) & (value_of < own.stop)] - own.start
    points = points[ends[own.start - 1] if own.start else 0 : ends[own.stop - 1]]
    projection = np.zeros(len(origin))
    each, a = np.empty(len(points)), np.empty(len(points))
    for begin in range(0, len(points), size):
        block = slice(begin, begin + size)
        U = unit_speech(x, points[block], origin)
        xp, place = array_namespace(U), U.device
        index = xp.asarray(value_of[block], device=place)
        each[block] = as_numpy(xp.vecdot(U, xp.take(W, index, axis=0)))
        a[block] = as_numpy(xp.vecdot(U, U))
        own_rows = xp.astype(xp.asarray(rows[value_of[block]], device=place), U.dtype)
        projection += as_numpy(own_rows @ U)
    return RowSums(each, rows[value_of], squares[value_of], a, projection)
