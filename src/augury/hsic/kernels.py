"""The two kernels of eq. 2, and the units in which a pseudo-label is compared.

Functions of points take arrays of any library that follows the Python array API (NumPy, torch on
a CPU or a GPU), and return arrays of the same library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist

Array = Any  # of any library that follows the array API
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
#: A pseudo-label: (n,) or (n, dims) float in its own units; (n,) integer codes of categories; or
#: (n, categories) integers, how many frames of a point have each category.
Values = NDArray[Any]

#: Largest number of points in a statistic over all pairs of a vector-valued label.
MOST_POINTS = 1000


def unit_rows(x: Array) -> Array:
    """Rows scaled to unit length, so that rows @ rows.T is the cosine kernel (eq. 2).

    Args:
        x: (n, …) embeddings; all but the first axis are flattened.

    Returns:
        (n, d), float32 for float32 and narrower, float64 otherwise. A row of zeros stays zero.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    xp = array_namespace(x)
    x = xp.reshape(x, (x.shape[0], -1))
    if x.dtype not in (xp.float32, xp.float64):
        narrow = xp.isdtype(x.dtype, "real floating") and xp.finfo(x.dtype).bits < 32
        x = xp.astype(x, xp.float32 if narrow else xp.float64)
    return _to_unit_length(xp.asarray(x, copy=True))


def to_unit_rows(x: Array) -> Array:
    """`unit_rows`, in place if the array's type allows."""
    xp = array_namespace(x)
    if x.dtype not in (xp.float32, xp.float64):
        return unit_rows(x)
    return _to_unit_length(xp.reshape(x, (x.shape[0], -1)))


def _to_unit_length(x: Array) -> Array:
    xp = array_namespace(x)
    with np.errstate(over="ignore", under="ignore"):
        squares = xp.vecdot(x, x)
    info = xp.finfo(x.dtype)
    tiny = float(info.smallest_normal) / float(info.eps)
    if x.shape[0] and (float(xp.min(squares)) < tiny or not float(xp.max(squares)) < info.max):
        # Zeros, or squares that overflow or underflow: scale by the largest entry first.
        largest = xp.max(xp.abs(x), axis=1, keepdims=True)
        x /= xp.where(largest > 0, largest, xp.ones_like(largest))
        squares = xp.vecdot(x, x)
    length = xp.sqrt(squares)[:, None]
    x /= xp.where(length > 0, length, xp.ones_like(length))
    return x


def has_counts(z: Values) -> bool:
    """Whether values are counts of frames' categories, (n, categories) integers."""
    return z.dtype.kind in "iu" and z.ndim == 2


def frame_counts(z: Values) -> tuple[NDArray[np.int64], NDArray[np.int64], Vector]:
    """The points, categories and sizes of the counts that are not 0; of codes, one a point.

    >>> [part.tolist() for part in frame_counts(np.array([[0, 3], [1, 0]]))]
    [[0, 1], [1, 0], [3.0, 1.0]]
    """
    if not has_counts(z):
        return np.arange(len(z)), z.astype(np.int64), np.ones(len(z))
    points, categories = np.nonzero(z)
    return points, categories, z[points, categories].astype(np.float64)


def label_kernel(z: Array, other: Array | None = None, *, width: float) -> Array:
    """L of eq. 2: exp(−‖z − z′‖² / 2·width²), or 1 and 0 for equal and unequal categories.

    For frames' categories it is the cosine of the counts, which for points of a single frame, or of
    equal ones, is the same.

    >>> label_kernel(np.array([[2, 0], [0, 3], [1, 1]]), width=1.0).round(2)[:, 2].tolist()
    [0.71, 0.71, 1.0]

    Args:
        z: (n,) or (n, dims) float, (n,) integer codes of categories, or (n, categories) counts.
        other: the columns' points; `z` itself if None.
        width: σ, in z's units; no effect on categories.
    """
    return gaussian(z, z if other is None else other, np.sqrt(2) * width)


def gaussian(a: Array, b: Array, width: float) -> Array:
    """exp(−‖a − b‖² / width²) of all pairs, or `label_kernel` of categories and counts; float64.

    Computed from differences, not from inner products: exact for large, close values.
    """
    xp = array_namespace(a, b)
    if xp.isdtype(a.dtype, "integral") and a.ndim == 2:
        return unit_rows(a) @ unit_rows(b).T
    if xp.isdtype(a.dtype, "integral"):
        return xp.astype(a[:, None] == b[None, :], xp.float64)
    a, b = (xp.reshape(xp.astype(v, xp.float64, copy=False), (v.shape[0], -1)) for v in (a, b))
    if is_numpy_array(a) and a.shape[1] > 1:
        total = cdist(a, b, "sqeuclidean")
    else:
        total = a[:, None, 0] - b[None, :, 0]
        total *= total
        for dim in range(1, a.shape[1]):
            step = a[:, None, dim] - b[None, :, dim]
            step *= step
            total += step
    total *= -1 / float(width) ** 2
    return np.exp(total, out=total) if is_numpy_array(total) else xp.exp(total)


def centre(kernel: Array) -> Array:
    """H @ kernel @ H with H = I − 11ᵀ/n, in place; of several kernels if (…, n, n).

    >>> centre(np.eye(2))
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    xp = array_namespace(kernel)
    kernel -= xp.mean(kernel, axis=-2, keepdims=True)
    kernel -= xp.mean(kernel, axis=-1, keepdims=True)
    return kernel


def standardise(z: Values) -> Values:
    """z with mean 0 and standard deviation 1 in every dimension; categories stay as they are.

    A dimension that does not vary becomes 0.

    >>> standardise(np.array([[1.0, 7.0], [3.0, 7.0]]))
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    if z.dtype.kind in "iu":
        return z
    z = np.asarray(z, np.float64)
    # Scaled first, so that huge units neither overflow nor cost precision.
    unit = np.abs(z).max(axis=0)
    z = z / np.where(unit > 0, unit, 1.0)
    centred = z - z.mean(axis=0)
    largest = np.abs(centred).max(axis=0)
    varies = largest > 1e-12
    centred = np.where(varies, centred / np.where(varies, largest, 1.0), 0.0)
    sd = centred.std(axis=0)
    return centred / np.where(sd > 0, sd, 1.0)


def median_distance(z: Values) -> float:
    """The median distance between different points (the median heuristic); 1 if all are equal.

    Distances below 1e-12 of the largest count as 0, as they are rounding. Exact for scalars; for
    vectors at most 1,000 points are compared, see `spaced_points`.

    >>> round(median_distance(np.array([0.0, 1.0, 3.0])), 9)
    2.0
    """
    if z.dtype.kind in "iu":
        return 1.0
    z = z.reshape(len(z), -1)
    if z.shape[1] > 1:
        distances = pdist(z[spaced_points(z)])
        distances = distances[distances > 1e-12 * distances.max(initial=0.0)]
        return float(np.median(distances)) if len(distances) else 1.0
    values = np.sort(z[:, 0])
    places = np.arange(len(values))

    def pairs_within(distance: float) -> int:
        return int((np.searchsorted(values, values + distance, "right") - places - 1).sum())

    low, high = 0.0, float(values[-1] - values[0]) if len(values) else 0.0
    equal = pairs_within(1e-12 * high)
    different = len(values) * (len(values) - 1) // 2 - equal
    if not different:
        return 1.0
    middle_pair = equal + (different + 1) // 2
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if pairs_within(middle) >= middle_pair else (middle, high)
    if different % 2 or pairs_within(high) > middle_pair:
        return high
    beyond = np.searchsorted(values, values + high, "right")
    beyond, own = beyond[beyond < len(values)], values[beyond < len(values)]
    return (high + float((values[beyond] - own).min())) / 2


def spaced_points(z: Values, most: int | None = None) -> NDArray[np.int64]:
    """Indices of at most `most` points of (n,) or (n, dims), evenly spaced in the order of norms.

    The choice depends neither on the order of the points nor on a seed.
    """
    most = MOST_POINTS if most is None else most
    squares = np.square(z, dtype=np.float64)
    order = np.argsort(squares.reshape(len(z), -1).sum(axis=1), kind="stable")
    return order[np.unique(np.linspace(0, len(z) - 1, min(len(z), most)).round().astype(np.int64))]
