# SciPy has no types; K, KL, LL are sums and matrices that are filled step by step:
# pyright: reportMissingTypeStubs=false, reportConstantRedefinition=false
"""The CI estimate of a weighted sum of candidates, and its slope, for many weightings at once.

One Gaussian kernel on the weighted distance, L = exp(−Σ_k λ_k d_k² / 2σ²). Where d_k is in units
of its median, L with all weight on one candidate is the kernel that `hsic.robust` gives it. Only
pairs of points within a class count, i < j, and those of many classes are computed together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from augury.embeddings import Embeddings
from augury.hsic.kernels import centre, has_counts, median_distance, standardise, unit_rows
from augury.hsic.sums import u_centre

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Pairs = NDArray[np.float32]  # (pairs, …)
Rows = NDArray[np.int64]

#: Pairs that are computed together: so many that they stay in a core's cache.
BLOCK_PAIRS = 1 << 15
#: Points from which a candidate's median distance is taken.
MEDIAN_POINTS = 4000


@dataclass(frozen=True)
class ClassSample:
    """The points of one class that the estimate is computed from."""

    rows: Rows  # of them
    share: float  # the class's share of all points


@dataclass(frozen=True)
class WeightedDependence:
    """The dependence on the speech, given the label, of weighted candidates.

    Normalised, it is the estimate of `hsic.robust`, pooled over the classes c:
    Σ_c n_c HSICᵤ(K, L) / √(Σ_c n_c HSICᵤ(K, K) · Σ_c n_c HSICᵤ(L, L)), with unbiased HSICᵤ.
    Otherwise it is eq. 4: Σ_c n_c HSIC(K, L) / Σ_c n_c, with tr(KHLH)/n².
    """

    blocks: tuple[_Block, ...]
    candidates: int
    normalised: bool
    speech: float  # Σ_c share · HSICᵤ(K, K); 1 where not normalised
    offset: float  # the diagonals' part of the value; 0 where normalised
    width: float  # σ

    @classmethod
    def of(
        cls,
        x: Embeddings,
        samples: Sequence[ClassSample],
        zs: Sequence[NDArray[Any]],
        *,
        normalised: bool,
        width: float,
        cache_bytes: float,
    ) -> WeightedDependence:
        """From embeddings, and the candidates' values as `scale` returns them.

        Args:
            x: (all, …), or an object that returns them for x[rows].
            samples: classes of four points or more; their rows count in x and in each of `zs`.
            zs: the candidates' scaled values, each over all rows.
            normalised, width: see above.
            cache_bytes: most bytes of distances to keep in memory; others are computed each time.
        """
        blocks: list[_Block] = []
        speech, offset, left = 0.0, 0.0, cache_bytes
        for group in _group(samples):
            kernels = [_speech_kernel(x[s.rows], s.share, normalised) for s in group]
            speech += sum(own for _, own in kernels) if normalised else 0.0
            offset += 0.0 if normalised else sum(own for _, own in kernels)
            block = _Block.of(group, [pairs for pairs, _ in kernels], zs, normalised)
            left -= block.bytes
            blocks.append(block.with_distances() if left >= 0 else block)
        return cls(tuple(blocks), len(zs), normalised, speech if normalised else 1.0, offset, width)

    def values(self, weights: Matrix) -> Vector:
        """(S,) the estimate for each row of weights (S, candidates)."""
        KL, LL = np.zeros(len(weights)), np.zeros(len(weights))
        for block in self.blocks:
            sums = block.sums(self._kernels(block, weights))
            KL, LL = KL + sums.KL, LL + sums.LL
        return self._values(KL, LL)

    def singles(self) -> Vector:
        """(candidates,) the estimate with all weight on each one."""
        KL, LL = np.zeros(self.candidates), np.zeros(self.candidates)
        for block in self.blocks:
            L = block.distances() * np.float32(-0.5 / self.width**2)
            sums = block.sums(np.exp(L, out=L))
            KL, LL = KL + sums.KL, LL + sums.LL
        return self._values(KL, LL)

    def values_and_slopes(self, weights: Matrix) -> tuple[Vector, Matrix]:
        """(S,) the estimate for each row of weights, and its derivatives (S, candidates)."""
        count = len(weights)
        KL, LL = np.zeros(count), np.zeros(count)
        by_KL, by_LL = np.zeros((2, count, self.candidates))
        for block in self.blocks:
            L = self._kernels(block, weights)
            sums = block.sums(L)
            KL, LL = KL + sums.KL, LL + sums.LL
            distances = block.distances()
            by_KL += (distances.T @ (L * block.speech[:, None])).T
            if self.normalised:
                by_LL += 2 * (distances.T @ (L * sums.by_L)).T
        values = self._values(KL, LL)
        if not self.normalised:
            return values, by_KL * (-0.5 / self.width**2)
        varies = self._varies(LL)
        norms = np.sqrt(np.where(varies, self.speech * LL, np.inf))
        pull = values / np.where(varies, LL, np.inf) / 2
        return values, (by_KL / norms[:, None] - by_LL * pull[:, None]) * (-0.5 / self.width**2)

    def chance(self, weights: Vector) -> float:
        """The standard deviation of the normalised estimate under independence given the label.

        To first order that of each class's HSICᵤ is √(2 HSICᵤ(K, K) HSICᵤ(L, L) / n (n − 3)).
        """
        variance, LL = 0.0, 0.0
        for block in self.blocks:
            L = self._kernels(block, weights[None])
            squares = block.by_class((block.sums(L).by_L * L)[:, 0]).clip(0)
            variance += float((2 * block.speech_squares * squares / block.cells).sum())
            LL += float(squares.sum())
        return float(np.sqrt(variance / (self.speech * LL))) if LL > 0 and self.speech > 0 else 0.0

    def _kernels(self, block: _Block, weights: Matrix) -> Pairs:
        """L (pairs, S) of each row of weights."""
        L = block.distances() @ (weights.T * (-0.5 / self.width**2)).astype(np.float32)
        return np.exp(L, out=L)

    def _values(self, KL: Vector, LL: Vector) -> Vector:
        if not self.normalised:
            return KL + self.offset
        varies = self._varies(LL)
        return np.where(varies, KL / np.sqrt(np.where(varies, self.speech * LL, 1.0)), 0.0)

    def _varies(self, LL: Vector) -> NDArray[np.bool_]:
        """Where neither kernel is constant; of L, float32, rounding alone is about 1e-14."""
        return np.asarray((LL > 1e-12) & (self.speech > 1e-24))


@dataclass(frozen=True)
class _Sums:
    """Sums over a block's pairs, for S kernels."""

    KL: Vector  # (S,)
    LL: Vector  # (S,)
    by_L: Pairs  # (pairs, S) half of LL's derivatives by L


@dataclass(frozen=True)
class _Block:
    """The pairs i < j of some classes, one class after the other."""

    zs: tuple[NDArray[Any], ...]  # the candidates' values of the block's points
    first: Rows  # (pairs,) index of i among the points
    second: Rows  # (pairs,) of j
    speech: Pairs  # (pairs,) twice K, U-centred or centred, times the class's weight
    weights: Pairs  # (pairs,) twice the class's weight; 0 where not normalised
    speech_squares: Vector  # (classes,) share · HSICᵤ(K, K)
    cells: Vector  # (classes,) n (n − 3)
    sizes: Rows  # (classes,) n
    to_points: Any  # sparse (points, pairs), 1 where a point is of a pair
    to_pairs: Any  # its transpose
    cache: Pairs | None = None  # the distances

    @classmethod
    def of(
        cls,
        group: Sequence[ClassSample],
        speech: Sequence[Vector],
        zs: Sequence[NDArray[Any]],
        normalised: bool,
    ) -> _Block:
        sizes = np.array([len(sample.rows) for sample in group])
        shares = np.array([sample.share for sample in group])
        starts = np.cumsum(sizes) - sizes
        pairs = [np.triu_indices(n, 1) for n in sizes]
        first = np.concatenate([i + s for (i, _), s in zip(pairs, starts, strict=True)])
        second = np.concatenate([j + s for (_, j), s in zip(pairs, starts, strict=True)])
        counts = sizes * (sizes - 1) // 2
        cells = (sizes * (sizes - 3)).astype(np.float64)
        weights = np.repeat(2 * shares / cells if normalised else 0 * shares, counts)
        members = np.concatenate([sample.rows for sample in group])
        points = np.stack([first, second], axis=1).ravel()
        ends = np.arange(0, len(points) + 1, 2)
        to_pairs: Any = csr_array(
            (np.ones(len(points), np.float32), points, ends), shape=(len(first), len(members))
        )
        squares = np.array([float(np.square(own).sum()) for own in speech])
        return cls(
            tuple(z[members] for z in zs),
            first,
            second,
            np.concatenate(speech).astype(np.float32),
            weights.astype(np.float32),
            squares * cells / (2 * shares),
            cells,
            sizes,
            to_pairs.T.tocsr(),
            to_pairs,
        )

    @property
    def bytes(self) -> int:
        """Bytes of the distances."""
        return 4 * len(self.first) * len(self.zs)

    def with_distances(self) -> _Block:
        """The same, with the distances kept in memory."""
        return replace(self, cache=self.distances())

    def distances(self) -> Pairs:
        """(pairs, candidates) squared distances."""
        if self.cache is not None:
            return self.cache
        distances = np.empty((len(self.first), len(self.zs)), np.float32, order="F")
        for k, z in enumerate(self.zs):
            distances[:, k] = _squared_distances(z, self.first, self.second)
        return distances

    def sums(self, L: Pairs) -> _Sums:
        """The sums with kernels L (pairs, S)."""
        KL = (self.speech @ L).astype(np.float64)
        if not self.weights.any():
            return _Sums(KL, np.zeros(len(KL)), np.zeros((1, 1), np.float32))
        # L U-centred, see `sums.u_centre`: L − (rᵢ + rⱼ) / (n − 2) + s / (n − 1)(n − 2).
        row_sums: Matrix = self.to_points @ L
        starts = np.cumsum(self.sizes) - self.sizes
        totals = np.add.reduceat(row_sums, starts, axis=0)
        n = self.sizes.astype(np.float32)[:, None]
        halves = np.repeat(totals / (2 * (n - 1) * (n - 2)), self.sizes, axis=0)
        pull: Pairs = self.to_pairs @ (row_sums / np.repeat(n - 2, self.sizes, axis=0) - halves)
        by_L = L - pull
        by_L *= self.weights[:, None]
        return _Sums(KL, np.einsum("ps,ps->s", by_L, L).astype(np.float64), by_L)

    def by_class(self, pairs: Pairs) -> Vector:
        """(classes,) sums of (pairs,)."""
        counts = self.sizes * (self.sizes - 1) // 2
        return np.add.reduceat(pairs, np.cumsum(counts) - counts, dtype=np.float64)


def _group(samples: Sequence[ClassSample]) -> Iterator[list[ClassSample]]:
    """Classes that make a block together."""
    group: list[ClassSample] = []
    pairs = 0
    for sample in samples:
        group.append(sample)
        pairs += len(sample.rows) ** 2 // 2
        if pairs >= BLOCK_PAIRS:
            yield group
            group, pairs = [], 0
    if group:
        yield group


def _speech_kernel(x: NDArray[Any], share: float, normalised: bool) -> tuple[Vector, float]:
    """A class's K of pairs i < j with its weight, twice; and share · HSICᵤ(K, K), or the diagonal's
    part of eq. 4."""
    unit: Matrix = unit_rows(np.asarray(x, np.float64))
    K: Matrix = unit @ unit.T
    n = len(K)
    above = np.triu_indices(n, 1)
    centre(K)
    if not normalised:
        return 2 * share / n**2 * K[above], share / n**2 * float(np.einsum("ii", K))
    K = u_centre(K, np.diagonal(K))
    return 2 * share / (n * (n - 3)) * K[above], share / (n * (n - 3)) * float(np.vdot(K, K))


def scale(z: NDArray[Any], normalised: bool = True) -> NDArray[Any]:
    """Values in the units in which distances between candidates add up; categories as they are.

    Standardised, and divided by their median distance; or, for eq. 4, by √dims, as in the follow-up
    paper, so that the mean squared distance is 2.

    >>> scale(np.array([0.0, 1.0, 3.0]))[:, 0].round(2).tolist()
    [-0.67, -0.17, 0.83]
    """
    z = standardise(z)
    if z.dtype.kind in "iu":
        return z
    few, columns = z, z.reshape(len(z), -1)
    if not normalised:
        return columns / np.sqrt(columns.shape[1])
    if len(z) > MEDIAN_POINTS:
        few = z[np.random.default_rng(0).permutation(len(z))[:MEDIAN_POINTS]]
    return columns / median_distance(few)


def _squared_distances(z: NDArray[Any], first: Rows, second: Rows) -> Pairs:
    """(pairs,) squared distances; 2 between unlike categories, and unlike counts of them."""
    if has_counts(z):
        units = unit_rows(z).astype(np.float32)
        return 2 - 2 * np.vecdot(units[first], units[second])
    if z.dtype.kind in "iu":
        return (2 * (z[first] != z[second])).astype(np.float32)
    z = z.astype(np.float32)
    total = np.square(z[first, 0] - z[second, 0])
    for dim in range(1, z.shape[1]):
        total += np.square(z[first, dim] - z[second, dim])
    return total
