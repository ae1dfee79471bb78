# pyright: reportConstantRedefinition=false, reportMissingTypeStubs=false
"""The relevance that pure noise has where the lengths of segments depend on the label."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq  # pyright: ignore[reportUnknownVariableType]
from scipy.special import erf

from augury.errors import InputError
from augury.hsic.correlation import normalise, u_centred_sum
from augury.hsic.kernels import Matrix, Values, Vector, gaussian
from augury.hsic.relevance import label_kernel_sums, label_relevance, repeating_units
from augury.hsic.units import relevance_by_units

#: Segments of which counts are drawn again.
MOST_SEGMENTS = 20_000
#: Number of steps to which lengths are rounded.
LENGTH_STEPS = 32


def noise_relevance(
    seconds: ArrayLike, y: ArrayLike, units: ArrayLike | None = None
) -> tuple[float, float]:
    """The relevance of pure noise, one number per frame, averaged over segments.

    The mean of m frames of noise has 1/m of the variance of a frame. If lengths depend on the
    label, so does the typical distance of such means from 0. (Correlated neighbouring frames count
    as fewer frames.)

    Args:
        seconds: (n,) lengths of the segments, in any unit, rounded to `LENGTH_STEPS` steps.
        y: (n,) label.
        units: (n,) codes of what repeats, as in `associations`. Only pairs of segments in different
            units count then, and lengths are independent from unit to unit.

    Returns:
        The expected relevance of normal noise, with its median distance as kernel width, on the
        scale of `associations` and at least 0; and its standard deviation, without that of chance.

    >>> noise_relevance([0.1, 0.1, 0.1, 5.0, 5.0, 5.0], [0, 0, 0, 1, 1, 1])[0] > 0.1
    True
    """
    seconds = np.asarray(seconds, np.float64)
    labels = np.unique(np.asarray(y), return_inverse=True)[1]
    n = len(seconds)
    if n < 4 or labels.max() == 0 or not (seconds > 0).all():
        raise InputError("needs at least four segments longer than 0 s, and two classes")
    edges = np.unique(np.quantile(seconds, np.linspace(0, 1, LENGTH_STEPS + 1)[1:-1]))
    step = np.unique(np.searchsorted(edges, seconds), return_inverse=True)[1]
    sizes = np.bincount(step).astype(np.float64)
    cells = np.bincount(labels * len(sizes) + step, minlength=(labels.max() + 1) * len(sizes))
    cells = cells.reshape(-1, len(sizes)).astype(np.float64)
    counts = cells.sum(axis=1)

    P, L = _noise_kernel(sizes, np.bincount(step, 1 / seconds) / sizes)
    overall = sizes / n @ P
    LL = n * (n - 3) * float(overall @ L**2 @ overall)

    # The U-statistic with Y's kernel is linear in L: its expectation is that of the expected L.
    expected = P @ L @ P.T
    of_label, a = label_kernel_sums(counts)
    KK = u_centred_sum(of_label.KK, of_label.aa, of_label.a, of_label.a, n)
    codes = repeating_units(units)
    if codes is None:
        b = np.diag(expected)
        inner, ab = float((cells @ expected * cells).sum()), float(a @ cells @ b)
        KL = u_centred_sum(inner, ab, of_label.a, float(sizes @ b), n)
    else:
        KL = relevance_by_units(_columns_of(expected)[step], labels, codes).value

    # `points`: the mean of K∘L, both centred, for a point of each class at each value. Its mean
    # for each class and length is what units have in common.
    shares, by_class = counts / n, cells @ P
    points = (by_class / n) @ L - shares**2 @ (by_class / counts[:, None] @ L)
    means = points @ P.T
    own = means[labels, step] - (cells * means).sum() / n
    within = float((by_class * points**2).sum() - (cells * means**2).sum())
    own = own if codes is None else np.bincount(codes, own)
    sd = normalise(2 * n * np.sqrt(max(within + float(own @ own), 0.0)), KK, LL, n)
    return max(normalise(KL, KK, LL, n), 0.0), sd


def _noise_kernel(sizes: Vector, variances: Vector) -> tuple[Matrix, Matrix]:
    """The density (steps, values) of noise for each length on a grid, and the centred kernel there.

    Args:
        sizes: (steps,) segments of each length.
        variances: (steps,) of their means.
    """
    n, sds = sizes.sum(), np.sqrt(variances)
    grid = np.linspace(-4, 4, 129) * sds.max()
    P = np.exp(-((grid / sds[:, None]) ** 2) / 2)
    P /= P.sum(axis=1, keepdims=True)
    overall = sizes / n @ P
    pair_sds = np.hypot(sds[:, None], sds) / np.sqrt(2)
    pairs = np.outer(sizes, sizes) / n**2
    width = _median_width(pair_sds, pairs)
    L = gaussian(grid[:, None], grid[:, None], np.sqrt(2) * width)
    means = L @ overall
    L += overall @ means - means - means[:, None]
    return P, L


def noise_relevance_of_counts(
    z: Values, y: ArrayLike, units: ArrayLike | None = None, *, draws: int = 4, seed: int = 0
) -> tuple[float, float]:
    """The relevance of categories drawn at random for each frame, as often as they are in z.

    Counts of many frames are more alike than those of few: if lengths depend on the label, so do
    they. Drawn again, for the lengths as they are; of more than `MOST_SEGMENTS` segments some.

    Args:
        z: (n, categories) counts.
        y: (n,) label.
        units: (n,) codes of what repeats, as in `associations`.
        draws, seed: their number, and the seed of the random numbers.

    Returns:
        As `noise_relevance`.

    >>> short, long = np.full((30, 10), 1), np.full((30, 10), 20)
    >>> noise_relevance_of_counts(np.concatenate([short, long]), np.arange(60) // 30)[0] > 0.1
    True
    """
    rng = np.random.default_rng(seed)
    y, codes = np.asarray(y), None if units is None else np.asarray(units)
    if len(z) > MOST_SEGMENTS:
        chosen = np.sort(rng.choice(len(z), MOST_SEGMENTS, replace=False))
        z, y, codes = z[chosen], y[chosen], None if codes is None else codes[chosen]
    frames, shares = z.sum(axis=1, dtype=np.int64), z.sum(axis=0, dtype=np.float64)
    shares /= shares.sum()
    drawn = (rng.multinomial(frames, shares).astype(np.int32) for _ in range(draws))
    values = [label_relevance(counts, y, codes).value for counts in drawn]
    return max(float(np.mean(values)), 0.0), float(np.std(values) / np.sqrt(draws))


def _columns_of(kernel: Matrix) -> Matrix:
    """Columns whose products are a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(kernel)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)), np.float64)


def _median_width(sds: Matrix, shares: Matrix) -> float:
    """The median distance in a mixture of normal pairs, by their standard deviations / √2."""

    def above_half(width: float) -> float:
        return (shares * erf(width / 2 / sds)).sum() - 0.5

    return cast(float, brentq(above_half, 0, 10 * sds.max()))
