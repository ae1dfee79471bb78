"""How far a pseudo-label depends on the speech, given the downstream label.

HSIC (eq. 3) and its class-wise mean (eq. 4), in three named forms that are never mixed: `paper`,
`released` and `robust`. Lower is better: the pseudo-label says less about the speech than the label
already does.

Letters are the paper's: K is the speech kernel, L the pseudo-label kernel, H the centring matrix,
n a class's number of points, M that of all; a and b are the diagonals of HKH and HLH. What the
estimators are made of are sums over pairs of points, see `augury.hsic.engines`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import erf, gammaincc, ndtr

from augury.compute import RunTasks, run_in_threads, with_one_blas_thread
from augury.errors import InputError
from augury.hsic.engines import class_sums_of, dense_sums, moments_of, sums_from_moments
from augury.hsic.factors import Factor
from augury.hsic.kernels import (
    centre,
    gaussian,
    median_distance,
    spaced_points,
    standardise,
    unit_rows,
)
from augury.hsic.moments import Moments
from augury.hsic.sums import ClassSums, PairSums, SpeechSums, SumPlan, correlation_of, u_centred_sum

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Labels = NDArray[np.int64]

#: Relative error of a class's value that factors of L aim at; a result's `error` is its bound.
TOLERANCE = 1e-6
#: Steps of length that `noise_relevance` tells apart.
LENGTH_STEPS = 32
#: Rows taken at once by passes over the labels alone.
BLOCK = 4096


@dataclass(frozen=True)
class CIEstimate:
    """The conditional dependence of one pseudo-label on the speech, and what it is made of."""

    score: float  # the CI estimate; lower is better
    classes: Vector  # (classes,) each class's value; NaN where the estimator can't score the class
    shares: Vector  # (classes,) weights; score = Σ shares · classes over the scored classes
    shuffled: float  # mean score over all shuffles of z inside the classes (exact, no sampling)
    shuffled_sd: float | None  # their standard deviation, where it has a closed form
    spread: float  # mean of 1 − L over pairs within classes: the label's own spread, X never used
    error: float  # bound on the score's error by approximating L, relative to it or to chance
    p_value: float | None = None  # of independence, by moments (robust, where points are asked for)
    influence: Vector | None = None  # (points,) d score / d weight of a point, where asked for


@dataclass(frozen=True)
class Association:
    """An unbiased, normalised HSIC (a correlation: 0 for independent, at most 1)."""

    value: float
    shuffled_sd: float  # its exact standard deviation when the points are shuffled (mean 0)
    skew: float  # and its skewness then

    def p_above(self, value: float = 0.0, sd: float = 0.0) -> float:
        """How probable one so far above `value`, itself known to `sd`, is by chance, by moments."""
        variance = self.shuffled_sd**2 + sd**2
        return gamma_tail(self.value - value, variance, self.skew * self.shuffled_sd**3)


# ------------------------------------------------------------------- eqs. 2, 3 and 4, as written
# The label kernel L is `kernels.label_kernel`.


def cosine_kernel(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """K of eq. 2, (n, n)."""
    rows = unit_rows(x)
    return rows @ rows.T


def hsic(K: Matrix, L: Matrix) -> float:
    """tr(K H L H) / n² with H = I − 11ᵀ/n (eq. 3)."""
    n = len(K)
    return float(np.vdot(centre(K.copy()), L)) / n**2


def conditional_hsic(x: Any, z: NDArray, y: ArrayLike, *, width: float = 0.05) -> float:
    """HSIC(X, Z | Y) (eq. 4): each class's HSIC, weighted by its share of the points."""
    return paper(x, [z], y, width=width)[0].score


@with_one_blas_thread
def paper(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    width: float = 0.05,
    tolerance: float = TOLERANCE,
    points: bool = False,
    run: RunTasks = run_in_threads,
) -> list[CIEstimate]:
    """Eqs. 1–4 exactly, for several pseudo-labels that share the speech.

    Args:
        x: (n, …) embeddings: an array, or anything that gives one for x[rows]. Products are made
            in their precision, sums in float64.
        zs: pseudo-labels, each (n,) or (n, dims) float in its own units, or integer categories.
        y: (n,) downstream labels.
        width: σ of the RBF kernel, in the pseudo-label's units.
        tolerance: relative error of a class's value that approximations of L aim at; what bounds it
            is each result's `error`.
        points: whether each point's influence on the score is wanted, at twice the cost.
        run: who runs the work, see `augury.compute`.
    """
    groups = class_rows(y)
    counts = np.array([len(rows) for rows in groups], np.float64)
    wanted = SumPlan.of(
        zs, [width] * len(zs), max(map(len, groups)), tolerance=tolerance, points=points
    )
    sums, _ = class_sums_of(x, groups, zs, wanted, whole=False, run=run)
    return _from_sums(sums, zs, counts**2, counts / counts.sum(), weighted=True)


@with_one_blas_thread
def released(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    scale: float = 1.0,
    tolerance: float = TOLERANCE,
    points: bool = False,
    run: RunTasks = run_in_threads,
) -> list[CIEstimate]:
    """The arithmetic of the authors' released code, to compare with numbers it produced.

    It centres with I − 11ᵀ/n² (next to none), divides by (n − 1)², takes exp(−d²/(2·0.05)), scores
    classes of at most three points 0, and takes the unweighted mean of the classes. `scale` is a
    factor of the kernel's width, to see what it matters. The rest is as in `paper`.
    """
    groups = class_rows(y)
    counts = np.array([len(rows) for rows in groups], np.float64)
    scored = [rows for rows in groups if len(rows) > 3]
    widths = [scale * np.sqrt(0.05)] * len(zs)
    largest = max(map(len, groups))
    wanted = SumPlan.of(zs, widths, largest, tolerance=tolerance, points=points, slip=True)
    of_scored = iter(class_sums_of(x, scored, zs, wanted, whole=False, run=run)[0])
    sums = [next(of_scored) if len(rows) > 3 else None for rows in groups]
    divisor = np.where(counts > 3, (counts - 1) ** 2, 1.0)
    return _from_sums(sums, zs, divisor, np.full(len(groups), 1 / len(groups)), weighted=False)


def _from_sums(
    sums: Sequence[ClassSums | None],
    zs: Sequence[NDArray],
    divisor: Vector,
    shares: Vector,
    *,
    weighted: bool,
) -> list[CIEstimate]:
    """Scores Σ share · tr(KHLH) / divisor; `weighted` where a class's share is its size's."""
    found = []
    for k, z in enumerate(zs):
        values, shuffled, errors = (np.zeros(len(sums)) for _ in range(3))
        unlike, pairs = 0.0, 0
        points = np.zeros(len(z))
        for c, one in enumerate(sums):
            if one is None:
                continue
            n, pair = len(one.rows), one.pairs[k]
            rest = one.speech.total - one.speech.a
            mean = one.speech.a + rest * _ratio(pair.L, n * (n - 1))
            values[c], shuffled[c], errors[c] = pair.KL, mean, pair.error
            unlike, pairs = unlike + n * (n - 1) - pair.L, pairs + n * (n - 1)
            if pair.each_KL is not None and pair.each_ab is not None:
                each = 2 * pair.each_KL + pair.each_ab
                points[one.rows] = shares[c] / divisor[c] * (each - each.mean())
        weights = shares / divisor
        score = float(weights @ values)
        asked = any(one and one.pairs[k].each_KL is not None for one in sums)
        if asked and weighted:  # a point also makes its class's share larger
            total = sum(len(one.rows) for one in sums if one)
            for c, one in enumerate(sums):
                if one:
                    points[one.rows] += (values[c] / divisor[c] - score) / total
        found.append(
            CIEstimate(
                score=score,
                classes=values / divisor,
                shares=shares,
                shuffled=float(weights @ shuffled),
                shuffled_sd=None,
                spread=_ratio(unlike, pairs),
                error=_ratio(float(weights @ errors), max(score, float(weights @ shuffled))),
                influence=points if asked else None,
            )
        )
    return found


# ----------------------------------------------------------------- the unbiased, unit-free form


@with_one_blas_thread
def robust(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    scale: float = 1.0,
    tolerance: float = TOLERANCE,
    points: bool = False,
    run: RunTasks = run_in_threads,
) -> list[CIEstimate]:
    """Eq. 4 with each class's HSIC unbiased and normalised, so that units and class sizes drop out.

    The pseudo-label is standardised and its width is the median distance between two points that
    differ. HSIC is the U-statistic of Song et al. (2012, eq. 5), divided by √(HSIC(K,K)·HSIC(L,L))
    as centred kernel alignment does: a correlation whose mean over shuffles of z is exactly 0 and
    whose variance is exactly 2/(n(n−3)), whatever the kernels, so that small or spread-out classes
    bring no bias. It needs four points: smaller classes are not scored (NaN). A class in which z is
    constant scores 0. `scale` is a factor of the median width. Any change of z's units, scaling of
    x or order of points changes the score by rounding only: 1e-9 of it in float64, and about 1e-7
    where x is float32, as `augury.rank` keeps it. The rest is as in `paper`.
    """
    return _robust(x, zs, class_rows(y), scale, tolerance, points, run, whole=False)[0]


@with_one_blas_thread
def robust_with_associations(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    points: bool = False,
    run: RunTasks = run_in_threads,
) -> tuple[list[CIEstimate], list[Association], list[Association]]:
    """`robust` and `ingredients` from one pass over the speech."""
    groups = class_rows(y)
    found, zs, wanted, moments = _robust(x, zs, groups, 1.0, tolerance, points, run, whole=True)
    assert moments is not None
    return found, *_associations(x, zs, groups, wanted, moments, run)


def _robust(
    x: Any,
    zs: Sequence[NDArray],
    groups: list[Labels],
    scale: float,
    tolerance: float,
    points: bool,
    run: RunTasks,
    *,
    whole: bool,
) -> tuple[list[CIEstimate], list[NDArray], SumPlan, Moments | None]:
    counts = np.array([len(rows) for rows in groups], np.float64)
    scored = counts >= 4
    if not scored.any():
        raise InputError("no class has four points, which the unbiased estimator needs")
    zs = [standardise(z) for z in zs]
    widths = [scale * median_distance(z) for z in zs]
    largest = len(zs[0]) if whole else max(map(len, groups))
    wanted = SumPlan.of(zs, widths, largest, tolerance=tolerance, norms=True, points=points)
    found_, moments = class_sums_of(
        x,
        [groups[c] for c in np.flatnonzero(scored)],
        zs,
        wanted,
        whole=whole,
        run=run,
        others=[groups[c] for c in np.flatnonzero(~scored)],
    )
    sums = dict(zip(np.flatnonzero(scored), found_, strict=True))
    shares = np.where(scored, counts, 0) / counts[scored].sum()
    pairs = float((counts * (counts - 1))[scored].sum())
    found = []
    for k, z in enumerate(zs):
        values, errors = np.full(len(groups), np.nan), np.zeros(len(groups))
        alike, variance, third = 0.0, 0.0, 0.0
        influence = np.zeros(len(z)) if points else None
        for c in np.flatnonzero(scored):
            one, n = sums[c], counts[c]
            pair = one.pairs[k]
            value, bound, points_of = correlation(one.speech, pair, int(n))
            values[c], alike = value, alike + pair.L
            errors[c] = bound
            if value != 0:
                variance += 2 / (n * (n - 3)) * shares[c] ** 2
                third += 8 / n**3 * one.speech.skew * pair.skew * shares[c] ** 3
            if influence is not None:
                influence[one.rows] = shares[c] * points_of
        score = float(shares[scored] @ values[scored])
        if influence is not None:  # a point also makes its class's share larger
            for c in np.flatnonzero(scored):
                influence[groups[c]] += (values[c] - score) / counts[scored].sum()
        found.append(
            CIEstimate(
                score=score,
                classes=values,
                shares=shares,
                shuffled=0.0,
                shuffled_sd=float(np.sqrt(variance)),
                spread=_ratio(pairs - alike, pairs),
                error=_ratio(float(shares @ errors), max(abs(score), float(np.sqrt(variance)))),
                p_value=gamma_tail(score, variance, third) if points else None,
                influence=influence,
            )
        )
    return found, zs, wanted, moments


@with_one_blas_thread
def associations(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    run: RunTasks = run_in_threads,
) -> tuple[list[Association], list[Association]]:
    """What conditional independence leaves out, on the scale of `robust`, over all points.

    Returns:
        For each pseudo-label: total dependence, HSIC(X,Z); and relevance, HSIC(Z,Y), with Y's
        kernel 1 for equal labels and 0 otherwise. Needs four points and two classes. For labels
        of more than one dimension that have no factor of few columns, or with far outliers, at
        most 1,000 points are used, see `kernels.spaced`.
    """
    zs = [standardise(z) for z in zs]
    widths = [median_distance(z) for z in zs]
    wanted = SumPlan.of(zs, widths, len(zs[0]), tolerance=tolerance, norms=True)
    moments = moments_of(x, np.arange(len(zs[0])), zs, wanted, run=run)
    return _associations(x, zs, class_rows(y), wanted, moments, run)


def _associations(
    x: Any,
    zs: Sequence[NDArray],
    groups: Sequence[Labels],
    wanted: SumPlan,
    moments: Moments,
    run: RunTasks,
) -> tuple[list[Association], list[Association]]:
    """Both from the centred moments of all points, for standardised labels."""
    order = np.concatenate(groups)
    n = len(order)
    if len(groups) < 2 or n < 4:
        raise InputError("dependence needs at least four points, and relevance two classes")
    counts = np.array([len(rows) for rows in groups])
    codes = np.repeat(np.arange(len(groups)), counts)
    of_speech, pairs, _ = sums_from_moments(moments, replace(wanted, points=True))
    of_label, diagonal = _label_kernel_sums(counts.astype(np.float64))
    tasks = (
        (within_class_sums, z[order], codes, factor, centre)
        for (z, factor), centre in zip(wanted.with_factors(zs), moments.centres, strict=True)
    )
    by_class = run(x, tasks)
    total, relevance = [], []
    for z, pair in zip(zs, pairs, strict=True):
        if pair is not None:
            inner, b = next(by_class)
            total.append(_association(of_speech, pair, n))
            with_label = replace(pair, KL=inner, ab=float(diagonal @ b))
            relevance.append(_association(of_label, with_label, n))
        else:  # all pairs would be needed: fewer points, and a larger chance
            among = np.sort(spaced_points(z[order]))
            few, own = z[order][among], codes[among]
            one_hot = (own[:, None] == np.unique(own)).astype(np.float64)
            total.append(_dense_association(x, order[among], few))
            relevance.append(_dense_association(one_hot, np.arange(len(few)), few))
    assert next(by_class, None) is None
    return total, relevance


def within_class_sums(
    x: Any, z: NDArray, codes: Labels, factor: Factor, centre: Vector
) -> tuple[float, Vector]:
    """Σ HLH over pairs within classes, and its diagonal's sum in each; `x` of no effect.

    Args:
        z, codes: of points in the order of their classes.
        centre: the mean of the factor's rows.
    """
    sums, b_sums = np.zeros((codes[-1] + 1, len(factor))), np.zeros(codes[-1] + 1)
    for begin in range(0, len(z), BLOCK):
        own = slice(begin, begin + BLOCK)
        phi = factor.columns(z[own]) - centre
        here, first = np.unique(codes[own], return_index=True)
        sums[here] += np.add.reduceat(phi, first, axis=0)
        b_sums[here] += np.add.reduceat(np.vecdot(phi, phi), first)
    return float(np.vdot(sums, sums)), b_sums


def _label_kernel_sums(counts: Vector) -> tuple[SpeechSums, Vector]:
    """Y's kernel, 1 in a class and 0 outside, in the place of K; and its diagonal in each class."""
    n, squares, cubes, fourths = (float((counts**power).sum()) for power in (1, 2, 3, 4))
    a = 1 - 2 * counts / n + squares / n**2
    KK = squares - 2 * cubes / n + (squares / n) ** 2
    # tr (D − vvᵀ/n)³ with D = diag v, v the counts.
    third = cubes - 3 * fourths / n + 3 * cubes * squares / n**2 - squares**3 / n**3
    sums = SpeechSums(0.0, n - squares / n, float(counts @ a**2), KK, third / KK**1.5)
    return sums, a


def _association(one: SpeechSums, pair: PairSums, n: int) -> Association:
    value, *_ = correlation(one, pair, n)
    variance, third = 2 / (n * (n - 3)), 8 / n**3 * one.skew * pair.skew
    return Association(value, float(np.sqrt(variance)), float(third / variance**1.5))


def noise_relevance(seconds: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """The relevance that pure noise has, a number a frame, once it is averaged over segments.

    The mean of m frames of noise varies by 1/m of what one varies: where lengths depend on the
    label, how far such means lie from 0 does, too. (Frames that resemble their neighbours count as
    fewer frames.)

    Args:
        seconds: (n,) lengths of the segments, in any unit; `LENGTHS` steps are told apart.
        y: (n,) label.

    Returns:
        The relevance expected of normal noise in the kernel of its median distance, on the scale of
        `ingredients` and at least 0; and its standard deviation, beside that of chance.
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

    # Noise of each length on a grid of values, and the kernel there, centred.
    deviations = np.sqrt(np.bincount(step, 1 / seconds) / sizes)
    grid = np.linspace(-4, 4, 129) * deviations.max()
    P = np.exp(-((grid / deviations[:, None]) ** 2) / 2)
    P /= P.sum(axis=1, keepdims=True)
    every = sizes / n @ P
    apart = np.hypot(deviations[:, None], deviations) / np.sqrt(2)
    pairs = np.outer(sizes, sizes) / n**2
    width = brentq(lambda w: (pairs * erf(w / 2 / apart)).sum() - 0.5, 0, 10 * apart.max())
    L = gaussian(grid[:, None], grid[:, None], np.sqrt(2) * width)
    towards = L @ every
    L += every @ towards - towards - towards[:, None]
    LL = n * (n - 3) * float(every @ L**2 @ every)

    # The U-statistic with Y's kernel is linear in L, and so expected where L is.
    expected = P @ L @ P.T
    of_label, a = _label_kernel_sums(counts)
    b = np.diag(expected)
    inner, ab = float((cells @ expected * cells).sum()), float(a @ cells @ b)
    KL = u_centred_sum(inner, ab, of_label.a, float(sizes @ b), n)
    KK = u_centred_sum(of_label.KK, of_label.aa, of_label.a, of_label.a, n)

    # A point of class c at a value has a mean of K∘L, both centred, of `points`.
    shares, among = counts / n, cells @ P
    points = (among / n) @ L - shares**2 @ (among / counts[:, None] @ L)
    variance = float((among * points**2).sum()) / n - (float((among * points).sum()) / n) ** 2
    sd = correlation_of(2 * n * np.sqrt(max(variance, 0.0) * n), KK, LL, n)
    return max(correlation_of(KL, KK, LL, n), 0.0), sd


def _dense_association(x: Any, rows: Labels, z: NDArray) -> Association:
    """Of few points, x[rows] with z."""
    wanted = SumPlan((median_distance(z),), (None,), norms=True, points=True)
    sums = dense_sums(x, rows, [z], wanted)
    return _association(sums.speech, sums.pairs[0], len(z))


# ------------------------------------------------------------------------------------- pieces


def unbiased_hsic(K: Matrix, L: Matrix) -> float:
    """The U-statistic of HSIC (Song et al. 2012, eq. 5) of two dense kernels; n ≥ 4."""
    n = len(K)
    K, L = (M - np.diag(np.diag(M)) for M in (K, L))
    a, b = K.sum(axis=0), L.sum(axis=0)
    terms = np.vdot(K, L) + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a @ b) / (n - 2)
    return float(terms) / (n * (n - 3))


def correlation(one: SpeechSums, pair: PairSums, n: int) -> tuple[float, float, Vector]:
    """A class's normalised HSIC, a bound on its error, and its derivatives by the points' weights.

    To first order weights change the sums over pairs, not the centring (C = E[φψᵀ] of centred φ, ψ
    has no first-order term in their means).
    """
    KL = u_centred_sum(pair.KL, pair.ab, one.a, pair.b, n)
    KK = u_centred_sum(one.KK, one.aa, one.a, one.a, n)
    LL = u_centred_sum(pair.LL, pair.bb, pair.b, pair.b, n)
    value = correlation_of(KL, KK, LL, n)
    error = pair.error / np.sqrt(KK * LL) if value else 0.0
    if pair.each_KL is None or pair.each_LL is None or one.each_KK is None or value == 0:
        return value, error, np.zeros(n)
    points = 2 * pair.each_KL / np.sqrt(KK * LL) - value * (one.each_KK / KK + pair.each_LL / LL)
    return value, error, points - points.mean()


def gamma_tail(value: float, variance: float, third: float) -> float:
    """P(T ≥ value) for T of mean 0, by the gamma distribution with these central moments.

    Pearson's type III, as for the permutation moments of such statistics since Mielke (1979) and
    Josse, Pagès and Husson (2008): a weighted sum of χ² variables is skewed to the right.
    """
    if variance <= 0:
        return 1.0
    skew, t = third / variance**1.5, value / np.sqrt(variance)
    if skew < 1e-3:
        return float(ndtr(-t))
    at = 4 / skew**2 + 2 * t / skew
    return float(gammaincc(4 / skew**2, at)) if at > 0 else 1.0


def class_rows(y: ArrayLike) -> list[Labels]:
    """The points of each class, in the order of np.unique(y)."""
    codes = np.unique(np.asarray(y), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
