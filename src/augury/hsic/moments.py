# pyright: reportConstantRedefinition=false
"""Sums over points, which add up over chunks and give all sums over pairs if L = Φ Φᵀ.

Each point has its speech u, a unit row minus an origin, and for each pseudo-label its row φ of the
factor, minus a centre. With a = ‖u‖² and b = ‖φ‖², HSIC, its unbiased form and their normalisers
follow from sums of products of (u, a, 1) with (φ, b, 1). Origin and centre are chosen beforehand
near the means, so that no large terms cancel, and moved to the exact means at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from augury.compute import RunTasks
from augury.embeddings import Centred, Embeddings, Indices
from augury.hsic.factors import Factor
from augury.hsic.kernels import Array, Matrix, Values, Vector, to_unit_rows

#: Rows whose products are computed in the embedding's precision before summing in float64: so many
#: that they stay in a core's cache, and more if the sums themselves are large.
BLOCK, LARGE_BLOCK = 256, 1024
#: Rows whose mean is summed at a time.
MEAN_ROWS = 1024
#: The same for a GPU.
DEVICE_BLOCK = 65_536


@dataclass(frozen=True)
class Moments:
    """Sums over some points, relative to an origin and a centre for each pseudo-label."""

    n: int
    origin: Vector  # (d,)
    centres: tuple[Vector, ...]  # each (r,)
    cross: tuple[Matrix, ...]  # each (d + 2, r + 2): Σ (u, a, 1) ⊗ (φ, b, 1)
    labels: tuple[Matrix, ...]  # each (r + 2, r + 2): Σ (φ, b, 1) ⊗ (φ, b, 1)
    ones: Vector  # (d + 2,): Σ (u, a, 1)
    gram: Matrix | None  # (d, d): Σ u ⊗ u
    cubes: Vector  # (d,): Σ a u
    fourth: float  # Σ a²

    def __add__(self, other: Moments) -> Moments:
        """The sums over both sets of points, with the same origin and centres."""
        return Moments(
            self.n + other.n,
            self.origin,
            self.centres,
            tuple(a + b for a, b in zip(self.cross, other.cross, strict=True)),
            tuple(a + b for a, b in zip(self.labels, other.labels, strict=True)),
            self.ones + other.ones,
            None if self.gram is None or other.gram is None else self.gram + other.gram,
            self.cubes + other.cubes,
            self.fourth + other.fourth,
        )

    def shift_to(self, origin: Vector, centres: Sequence[Vector]) -> Moments:
        """The same sums relative to another origin and other centres."""
        t = origin - self.origin
        shifts = [new - old for new, old in zip(centres, self.centres, strict=True)]
        squared = float(t @ t)
        u, a = self.ones[:-2], float(self.ones[-2])
        gram, cubes, fourth = self.gram, self.cubes, self.fourth
        if gram is not None:  # a' = a − 2 u·t + ‖t‖²
            gram_t = gram @ t
            ut, ct = float(u @ t), float(self.cubes @ t)
            fourth = fourth + 4 * float(gram_t @ t) + self.n * squared**2
            fourth += -4 * ct + 2 * squared * a - 4 * squared * ut
            cubes = cubes - 2 * gram_t + squared * u - t * (a - 2 * ut + self.n * squared)
            half = np.stack([u - self.n / 2 * t, t])
            moved = half.T @ half[::-1]
            gram = np.subtract(gram, moved, out=moved)
        return Moments(
            self.n,
            origin,
            tuple(centres),
            tuple(_shift(_shift(own, t).T, s).T for own, s in zip(self.cross, shifts, strict=True)),
            tuple(
                _shift(_shift(own, s).T, s).T for own, s in zip(self.labels, shifts, strict=True)
            ),
            _shift(self.ones[:, None], t)[:, 0],
            gram,
            cubes,
            fourth,
        )

    def centre(self) -> Moments:
        """The same sums relative to the means of the points."""
        means = [
            c + labels[-1, :-2] / self.n
            for c, labels in zip(self.centres, self.labels, strict=True)
        ]
        return self.shift_to(self.origin + self.ones[:-2] / self.n, means)


def _shift(sums: Matrix, t: Vector) -> Matrix:
    """Σ (v − t, ‖v − t‖², 1) ⊗ … from Σ (v, ‖v‖², 1) ⊗ …"""
    moved = sums.copy()
    moved[:-2] -= np.outer(t, sums[-1])
    moved[-2] += float(t @ t) * sums[-1] - 2 * (t @ sums[:-2])
    return moved


def rows_at_once(x: Array, large: bool) -> int:
    """Number of rows whose products are computed together; `large`: for large sums."""
    if not is_numpy_array(x):
        return DEVICE_BLOCK
    return LARGE_BLOCK if large else BLOCK


def unit_speech(x: Embeddings, rows: Indices, origin: Vector | None = None) -> Array:
    """Unit rows minus an origin: (len(rows), d), a copy."""
    U = to_unit_rows(x[rows])
    if origin is not None:
        xp = array_namespace(U)
        U -= xp.astype(xp.asarray(origin, device=U.device), U.dtype)
    return U


def sum_moments(
    x: Embeddings,
    rows: Indices,
    zs: Sequence[Values],
    factors: Sequence[Factor],
    origin: Vector,
    centres: Sequence[Vector],
    gram: bool,
    block: int | None = None,
) -> Moments:
    """The sums over some rows, which are read once, block by block.

    Args:
        x: (all, …) embeddings.
        rows: the points' indices in it.
        zs: their pseudo-labels.
        factors: of each pseudo-label's kernel.
        origin, centres: subtracted from unit rows and from the factors' rows.
        gram: whether to also sum products of the speech with itself, which costs n·d².
        block: rows at a time, see `rows_at_once`.
    """
    d = len(origin)
    sizes = [len(factor) + 2 for factor in factors]
    ends = np.cumsum([0, *sizes])
    cross = np.zeros((d + 2, ends[-1] + 2))  # the last two columns: with a and 1
    labels = [np.zeros((size, size)) for size in sizes]
    square = np.zeros((d, d)) if gram else None
    size = block or rows_at_once(x[rows[:1]], large=gram or int(ends[-1]) > BLOCK)
    for begin in range(0, len(rows), size):
        own = slice(begin, begin + size)
        U = unit_speech(x, rows[own], origin)
        xp, place = array_namespace(U), U.device
        a = xp.astype(xp.vecdot(U, U), xp.float64)
        ones = xp.ones((U.shape[0], 1), dtype=xp.float64, device=place)
        parts: list[Array] = []
        for k, (z, factor, centre) in enumerate(zip(zs, factors, centres, strict=True)):
            phi = factor.columns(xp.asarray(z[own], device=place))
            phi -= xp.asarray(centre, device=place)
            part = xp.concat([phi, xp.vecdot(phi, phi)[:, None], ones], axis=1)
            labels[k] += as_numpy(part.T @ part)
            parts.append(part)
        right = xp.concat([*parts, a[:, None], ones], axis=1)
        cross[:-2] += as_numpy(U.T @ xp.astype(right, U.dtype))
        cross[-2] += as_numpy(a @ right)
        cross[-1] += as_numpy(xp.sum(right, axis=0))
        if square is not None:
            square += as_numpy(U.T @ U)
    return Moments(
        len(rows),
        origin,
        tuple(centres),
        tuple(cross[:, i:j].copy() for i, j in pairwise(ends)),
        tuple(labels),
        cross[:, -1].copy(),
        square,
        cross[:-2, -2].copy(),
        float(cross[-2, -2]),
    )


def leading_eigenvectors(gram: Matrix, left_out: float = 1e-4) -> tuple[Matrix, Vector]:
    """Eigenvectors (d, few) and eigenvalues that carry all but `left_out` of ‖gram‖².

    `gram` must be positive semidefinite. Its products are of single precision, unless `left_out`
    is near that: only the eigenvectors depend on them, not which share of the norm they carry.
    """
    d = len(gram)
    share = (1 - left_out) * float(np.vdot(gram, gram))
    few = max(32, d // 12)
    narrow = gram.astype(np.float32 if left_out >= 1e-5 else np.float64, copy=False)
    rng = np.random.default_rng(0)  # start vectors, which hardly affect the result
    while 4 * few < d and share > 0:
        values, vectors = _nystrom_eigenvectors(narrow, rng.standard_normal((d, few)))
        if np.square(values).sum() >= share:
            break
        few *= 2
    else:
        values, vectors = np.linalg.eigh(gram)
    carried = np.cumsum(np.square(values[::-1]))
    count = min(int(np.searchsorted(carried, share)) + 1, len(values))
    return vectors[:, -count:], values[-count:]


def _nystrom_eigenvectors(gram: NDArray[np.floating], start: Matrix) -> tuple[Vector, Matrix]:
    """Leading eigenvalues, ascending, and eigenvectors, from two products with few columns.

    The range of gram @ start gives a Nyström approximation (Halko, Martinsson, Tropp 2011,
    algorithm 5.5), gram·Q (Qᵀ·gram·Q)⁻¹ Qᵀ·gram, whose eigenvalues are never above the true ones.
    """
    basis = gram @ start.astype(gram.dtype)
    basis = (basis @ _whiten(basis.T @ basis)).astype(gram.dtype)
    product = gram @ basis
    columns = (product @ _whiten(basis.T @ product)).astype(np.float64)
    values, rotation = np.linalg.eigh(columns.T @ columns)
    kept = values > 0
    return values[kept], columns @ (rotation[:, kept] / np.sqrt(values[kept]))


def _whiten(square: NDArray[np.floating]) -> Matrix:
    """W (k, ≤ k) with W Wᵀ = square⁻¹, without directions in which it is 0 but for rounding."""
    values, rotation = np.linalg.eigh(square.astype(np.float64))
    kept = values > 1e-7 * values.max(initial=0.0)
    return rotation[:, kept] / np.sqrt(values[kept])


def subtract_mean(x: Embeddings, run: RunTasks) -> Embeddings:
    """The embeddings less their mean over all rows, which `run` reads once."""
    if isinstance(x, Centred):
        return x
    n = len(x)
    size = max(MEAN_ROWS, -(-n // 64))
    tasks = ((sum_rows, np.arange(begin, min(begin + size, n))) for begin in range(0, n, size))
    return Centred(x, np.asarray(sum(run(x, tasks)) / n, np.float64))


def sum_rows(x: Embeddings, rows: Indices) -> Values:
    """Σ of some rows (…), float64, read in blocks."""
    total: Any = 0.0
    for begin in range(0, len(rows), MEAN_ROWS):
        own = x[rows[begin : begin + MEAN_ROWS]]
        xp = array_namespace(own)
        total = total + as_numpy(xp.sum(own, axis=0, dtype=xp.float64))
    return total


def as_numpy(array: Array) -> Values:
    """An array of any library as a NumPy array."""
    return (
        array
        if is_numpy_array(array)
        else np.asarray(array.cpu() if hasattr(array, "cpu") else array)
    )
