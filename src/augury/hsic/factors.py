# pyright: reportMissingTypeStubs=false
"""L as a product of few columns, L = Φ Φᵀ, so that sums over pairs become sums over points.

A factor maps values of a pseudo-label to rows of Φ. It is computed once for all points and then
applied chunk by chunk. The remainder L − ΦΦᵀ is positive semidefinite with a small diagonal, which
bounds the error of every sum:
0 ≤ tr(K(L − ΦΦᵀ)) ≤ ‖K‖ · Σ (1 − ‖φᵢ‖²).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from array_api_compat import array_namespace
from scipy.linalg import solve_triangular  # pyright: ignore[reportUnknownVariableType]

from augury.hsic.kernels import (
    Array,
    Matrix,
    Values,
    Vector,
    gaussian,
    has_counts,
    label_kernel,
    spaced_points,
    unit_rows,
)

#: Largest error of an entry of L by the grid itself, before columns are left out: rounding.
ROUNDING = 1e-15
#: A factor with more columns costs more than it saves.
MOST_COLUMNS = 512
#: The same for the frames' categories of vectors of counts, which have a column each.
MOST_CATEGORIES = 2048
#: Number of points among which the pivots of a vector-valued label are chosen.
PIVOT_POINTS = 4096


@dataclass(frozen=True)
class Factor:
    """φ(z) = (exp(−‖z − p‖²/width²) for each p) @ transform; of categories, their columns."""

    points: Values  # (p,) or (p, dims) float, (p,) codes of categories, or (p, categories) counts
    width: float
    transform: Matrix  # (p, r)

    def __len__(self) -> int:
        """The number r of columns."""
        return self.transform.shape[1]

    def columns(self, z: Array) -> Array:
        """Φ, (n, r) float64."""
        xp = array_namespace(z)
        points = xp.asarray(self.points, device=z.device)
        codes = xp.isdtype(points.dtype, "integral") and points.ndim == 1
        if codes and z.ndim == 2:
            return unit_rows(z)[:, points]
        near = gaussian(z, points, self.width)
        if codes:
            return near
        return near @ xp.asarray(self.transform, device=z.device)


def factor(z: Values, width: float, left_out: float, most: int | None = None) -> Factor | None:
    """The factor of a pseudo-label's kernel, or None if it would have too many columns.

    Args:
        z: all its values: (n,) or (n, dims) float, (n,) codes of categories, or counts of them.
        width: σ of the kernel.
        left_out: the largest allowed 1 − ‖φ(z)‖².
        most: the largest useful number of columns; MOST_COLUMNS if None.
    """
    most = MOST_COLUMNS if most is None else min(most, MOST_COLUMNS)
    if z.dtype.kind in "iu":
        if has_counts(z):
            most, points = MOST_CATEGORIES, np.flatnonzero(z.any(axis=0))
        else:
            points = np.unique(z)
        return Factor(points, 1.0, np.eye(len(points))) if len(points) <= most else None
    if z.ndim == 1 or z.shape[1] == 1:
        return _scalar_factor(np.asarray(z, np.float64).ravel(), width, left_out)
    return _vector_factor(np.asarray(z, np.float64), width, left_out, most)


def _scalar_factor(z: Vector, width: float, left_out: float) -> Factor | None:
    """The factor of a scalar: a Gaussian as an integral of products, computed on a grid.

    exp(−(a−b)²/2σ²) = 1/(σ√(π/2)) ∫ exp(−(a−t)²/σ²) exp(−(b−t)²/σ²) dt; the trapezoid rule with
    step h has a relative error of at most 2·exp(−π²σ²/2h²). A rotation then removes columns with
    very little weight, so that their number is close to the kernel's rank on the occupied range.
    """
    step = width * np.pi / np.sqrt(2 * np.log(2 / ROUNDING))
    reach = int(np.ceil(width * np.sqrt(-np.log(ROUNDING)) / step))
    low, high = float(z.min()), float(z.max())
    if max(-low, high) > 1e5 * step:
        return None  # rounding would shift the values relative to the grid
    cells = np.floor(z / step).astype(np.int64)
    first, last = (int(np.floor(end / step)) for end in (low, high))
    if last - first > 1e3 * MOST_COLUMNS:
        occupied = np.unique(cells)
    else:
        occupied = np.flatnonzero(np.bincount(cells - first, minlength=1)) + first
    if len(occupied) > MOST_COLUMNS:
        return None
    nodes = np.unique((occupied[:, None] + np.arange(-reach, reach + 2)).ravel())
    if len(nodes) > MOST_COLUMNS:
        return None
    points = nodes * step  # integer multiples of the step, whatever the data
    scale = np.sqrt(step / (width * np.sqrt(np.pi / 2)))
    # Denser than the kernel's rank requires, so that the bound also holds between them.
    tests = ((occupied[:, None] + np.linspace(0, 1, 17)) * step).ravel()
    columns = scale * gaussian(tests, points, width)
    rotation = np.linalg.eigh(columns.T @ columns)[1][:, ::-1]
    kept = np.cumsum(np.square(columns @ rotation), axis=1)
    enough = np.flatnonzero((kept[:, -1:] - kept).max(axis=0) <= left_out)[0] + 1
    return Factor(points, width, scale * rotation[:, :enough])


def _vector_factor(z: Matrix, width: float, left_out: float, most: int) -> Factor | None:
    """Pivoted Cholesky (Fine, Scheinberg 2001) on evenly spaced points, applicable to any point."""
    z = z[np.sort(spaced_points(z, PIVOT_POINTS))]
    left = np.ones(len(z))
    columns = np.empty((len(z), most), order="F")
    pivots: list[int] = []
    while left.max() > max(left_out, 1e-12):
        if len(pivots) == min(most, len(z)):
            return None
        pivot, rank = int(left.argmax()), len(pivots)
        column = label_kernel(z, z[pivot : pivot + 1], width=width)[:, 0]
        column -= columns[:, :rank] @ columns[pivot, :rank]
        column /= np.sqrt(left[pivot])
        columns[:, rank] = column
        left -= column * column
        left[pivot] = 0.0
        pivots.append(pivot)
    lower = np.tril(columns[pivots, : len(pivots)])  # of L among the pivots
    inverse = cast(Matrix, solve_triangular(lower, np.eye(len(pivots)), lower=True))
    return Factor(z[pivots], np.sqrt(2) * width, inverse.T)
