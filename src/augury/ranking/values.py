"""A candidate's values over the segments: which are missing, of which kind, how they spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.hsic.kernels import has_counts
from augury.pseudolabels.candidate import Candidate


def value_mask(z: NDArray[Any]) -> NDArray[np.bool_]:
    """Which points (n,) have a value: no NaN or infinity, no category below 0, counts of frames.

    >>> value_mask(np.array([0.5, np.nan])).tolist(), value_mask(np.array([2, -1])).tolist()
    ([True, False], [True, False])
    """
    if z.dtype.kind in "iu":
        return np.asarray(z >= 0 if z.ndim == 1 else z.any(axis=1))
    return np.asarray(np.isfinite(z).reshape(len(z), -1).all(axis=1))


def kind_of(candidate: Candidate, z: NDArray[Any] | None) -> str:
    """A candidate's kind, as declared or as its values have it.

    >>> from augury.pseudolabels.candidate import parse_candidate
    >>> kind_of(parse_candidate("column:age"), np.array([30.5, 41.0]))
    'scalar'
    """
    if candidate.kind or z is None:
        return candidate.kind or "scalar"
    if z.dtype.kind in "iu":
        return "category"
    return "scalar" if z.ndim == 1 or z.shape[1] == 1 else "vector"


def histogram_of(z: NDArray[Any]) -> tuple[tuple[int, ...], float, float]:
    """Counts in 30 equal bins of the first dimension, or of frames' categories, and their range.

    >>> histogram_of(np.array([[3, 0, 0], [1, 0, 2]], np.uint8))[0][::10]
    (4, 0, 0)
    """
    weights = None
    first: NDArray[np.float64] = (z if z.ndim == 1 else z[:, 0]).astype(np.float64)
    if has_counts(z):
        first, weights = np.arange(z.shape[1], dtype=np.float64), z.sum(axis=0, dtype=np.float64)
    counts, edges = np.histogram(first, bins=30, weights=weights)
    return tuple(map(int, counts)), float(edges[0]), float(edges[-1])
