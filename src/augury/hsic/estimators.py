"""The CI estimate: how far a pseudo-label depends on the speech, given the downstream label.

HSIC (eq. 3) and its class-wise mean (eq. 4), in three named forms that are never mixed: `paper`,
`released` and `robust`. Lower is better: the pseudo-label shares less information with the speech
beyond the label. `augury.hsic.equations` has the definitions; these run on any engine.

Letters are the paper's: K is the speech kernel, L the pseudo-label kernel, H the centring matrix,
n a class's number of points; a and b are the diagonals of HKH and HLH. The estimators are computed
from sums over pairs of points, see `augury.hsic.engines`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from augury.compute import RunTasks, run_in_threads, with_one_blas_thread
from augury.embeddings import Embeddings, Indices
from augury.errors import InputError
from augury.hsic import equations
from augury.hsic.correlation import USums, gamma_tail, normalise
from augury.hsic.engines import class_sums_of
from augury.hsic.kernels import Matrix, Values, Vector, median_distance, standardise
from augury.hsic.moments import Moments, as_numpy, subtract_mean
from augury.hsic.sums import ClassSums, Engine, SumPlan

#: Target of the relative error of a class's value by factors of L; `CIEstimate.error` bounds it.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class CIEstimate:
    """The conditional dependence of one pseudo-label on the speech, with its components.

    >>> import numpy as np
    >>> estimates = paper(np.eye(4), [np.array([0.0, 0.05, 0.1, 0.15])], ["a", "a", "b", "b"])
    >>> estimates[0].classes.round(4).tolist(), estimates[0].shares.tolist()
    ([0.0984, 0.0984], [0.5, 0.5])
    """

    score: float  # the CI estimate; lower is better
    classes: Vector  # (classes,) each class's value; NaN where the estimator can't score the class
    shares: Vector  # (classes,) score = Σ shares · classes over the scored classes
    shuffled: float  # mean score over all shuffles of z inside the classes (exact, no sampling)
    shuffled_sd: float | None  # their standard deviation, where it has a closed form
    spread: float  # mean of 1 − L over pairs within classes: the pseudo-label's spread, without X
    error: float  # bound on the score's error by approximating L, relative to it or to chance
    p_value: float | None = None  # of independence, by moments (robust, with `points`)
    influence: Vector | None = None  # (points,) d score / d weight of each point, with `points`
    by_chance: Vector | None = None  # (classes,) parts of shuffled_sd², where it is known
    design_effect: float = 1.0  # of units that repeat on the variance under independence


@with_one_blas_thread
def paper(
    x: Embeddings,
    zs: Sequence[Values],
    y: ArrayLike,
    *,
    width: float = 0.05,
    tolerance: float = TOLERANCE,
    points: bool = False,
    engine: Engine = "auto",
    run: RunTasks = run_in_threads,
) -> list[CIEstimate]:
    """The CI estimates of eqs. 1–4 for several pseudo-labels of the same speech.

    >>> import numpy as np
    >>> round(paper(np.eye(2), [np.array([0.0, 0.05])], [0, 0])[0].score, 6)
    0.098367

    Args:
        x: (n, …) embeddings: an array, or an object that returns one for x[rows]. Products are
            computed in their precision, sums in float64.
        zs: pseudo-labels, each (n,) or (n, dims) float in its own units, or integer categories.
        y: (n,) downstream labels.
        width: σ of the RBF kernel, in the pseudo-label's units.
        tolerance: target of the relative error of a class's value by approximations of L; each
            result's `error` is the bound that was reached.
        points: whether to also compute each point's influence on the score, at twice the cost.
        engine: how sums over pairs are computed. "auto" takes the cheapest. "dense" computes n × n
            matrices; "factored" L = ΦΦᵀ if Φ has few columns, else strips; "strips" K only where L
            is not 0, or tiles of both for vectors. "exact" computes the score by
            `augury.hsic.equations`, and everything else from matrices.
        run: runs the tasks, see `augury.compute`.

    Raises:
        InputError: there is no such engine.
    """
    groups, widths = class_rows(y), [width] * len(zs)
    counts = np.array([len(rows) for rows in groups], np.float64)
    plan = SumPlan.of(
        zs, widths, max(map(len, groups)), tolerance=tolerance, engine=engine, points=points
    )
    sums, _ = class_sums_of(x, groups, zs, plan, whole=False, run=run)
    estimates = _from_sums(sums, zs, counts**2, counts / counts.sum(), weighted=True)
    return _by_definition(estimates, x, groups, zs, plan, equations.hsic)


def released_hsic(K: Matrix, L: Matrix) -> float:
    """The authors' released code: H = I − 11ᵀ/n², divided by (n − 1)²; 0 for n ≤ 3.

    >>> round(released_hsic(np.eye(4), np.eye(4)), 4)
    0.3958
    """
    n = len(K)
    H = np.eye(n) - 1 / n**2
    return float(np.trace(K @ H @ L @ H)) / (n - 1) ** 2 if n > 3 else 0.0


@with_one_blas_thread
def released(
    x: Embeddings,
    zs: Sequence[Values],
    y: ArrayLike,
    *,
    scale: float = 1.0,
    tolerance: float = TOLERANCE,
    points: bool = False,
    engine: Engine = "auto",
    run: RunTasks = run_in_threads,
) -> list[CIEstimate]:
    """The arithmetic of the authors' released code, to compare with its numbers.

    It centres with I − 11ᵀ/n² (almost not at all), divides by (n − 1)², has the kernel
    exp(−d²/(2·0.05)), gives classes of at most three points the score 0, and takes the unweighted
    mean of the classes. `scale` multiplies the kernel's width, for tests of sensitivity. Everything
    else is as in `paper`.

    >>> import numpy as np
    >>> round(released(np.eye(4), [np.arange(4.0)], [0, 0, 0, 0])[0].score, 4)
    0.3958
    """
    groups = class_rows(y)
    counts = np.array([len(rows) for rows in groups], np.float64)
    scored = [rows for rows in groups if len(rows) > 3]
    widths = [scale * np.sqrt(0.05)] * len(zs)
    largest = max(map(len, groups))
    plan = SumPlan.of(
        zs, widths, largest, tolerance=tolerance, engine=engine, points=points, slip=True
    )
    of_scored = iter(class_sums_of(x, scored, zs, plan, whole=False, run=run)[0])
    sums = [next(of_scored) if len(rows) > 3 else None for rows in groups]
    divisor = np.where(counts > 3, (counts - 1) ** 2, 1.0)
    shares = np.full(len(groups), 1 / len(groups))
    estimates = _from_sums(sums, zs, divisor, shares, weighted=False)
    return _by_definition(estimates, x, groups, zs, plan, released_hsic)


def _from_sums(
    sums: Sequence[ClassSums | None],
    zs: Sequence[Values],
    divisor: Vector,
    shares: Vector,
    *,
    weighted: bool,
) -> list[CIEstimate]:
    """Scores Σ share · tr(KHLH) / divisor; `weighted`: shares are proportional to class sizes."""
    estimates: list[CIEstimate] = []
    for k, z in enumerate(zs):
        values, shuffled, errors = (np.zeros(len(sums)) for _ in range(3))
        apart, pairs = 0.0, 0
        points = np.zeros(len(z))
        for c, class_sums in enumerate(sums):
            if class_sums is None:
                continue
            n, pair = len(class_sums.rows), class_sums.pairs[k]
            off_diagonal = class_sums.speech.total - class_sums.speech.a
            mean = class_sums.speech.a + off_diagonal * _ratio(pair.L, n * (n - 1))
            values[c], shuffled[c], errors[c] = pair.KL, mean, pair.error
            apart, pairs = apart + n * (n - 1) - pair.L, pairs + n * (n - 1)
            if pair.each_KL is not None and pair.each_ab is not None:
                each = 2 * pair.each_KL + pair.each_ab
                points[class_sums.rows] = shares[c] / divisor[c] * (each - each.mean())
        weights = shares / divisor
        score = float(weights @ values)
        has_points = any(
            class_sums and class_sums.pairs[k].each_KL is not None for class_sums in sums
        )
        if has_points and weighted:  # a point also increases its class's share
            total = sum(len(class_sums.rows) for class_sums in sums if class_sums)
            for c, class_sums in enumerate(sums):
                if class_sums:
                    points[class_sums.rows] += (values[c] / divisor[c] - score) / total
        estimates.append(
            CIEstimate(
                score=score,
                classes=values / divisor,
                shares=shares,
                shuffled=float(weights @ shuffled),
                shuffled_sd=None,
                spread=_ratio(apart, pairs),
                error=_ratio(float(weights @ errors), max(score, float(weights @ shuffled))),
                influence=points if has_points else None,
            )
        )
    return estimates


@with_one_blas_thread
def robust(
    x: Embeddings,
    zs: Sequence[Values],
    y: ArrayLike,
    *,
    scale: float = 1.0,
    tolerance: float = TOLERANCE,
    points: bool = False,
    engine: Engine = "auto",
    run: RunTasks = run_in_threads,
) -> list[CIEstimate]:
    """Eq. 4 unbiased, normalised over all classes, and free of units, gain and class sizes.

        Σ n HSICu(K, L) / √(Σ n HSICu(K, K) · Σ n HSICu(L, L)), sums over classes

    HSICu is the U-statistic of Song et al. (2012, eq. 5). The mean embedding of all points is
    subtracted before the cosine, which removes a gain or equalisation common to all recordings of
    log-mel in dB. The pseudo-label is standardised, and its kernel width is the median distance
    between different points. The ratio is a correlation, as in centred kernel alignment; over
    shuffles of z inside the classes its mean is exactly 0 for all kernels, and `shuffled_sd` is
    exactly its standard deviation. Each sum is unbiased: the score stays the same whether a
    population is divided into classes of few or many points, unlike a mean of the classes' ratios.
    HSICu needs four points: smaller classes are not scored (NaN). A class's own value is its ratio,
    0 where z is constant, and its share √(n HSICu(K, K) · n HSICu(L, L)) over the denominator.
    `scale` multiplies the median width. Changes of z's units, of x's scale or offset, or of the
    order of points change the score by rounding only: 1e-9 of it in float64, and about 1e-6 if x is
    float32, as in `augury.rank`. Everything else is as in `paper`.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 8))
    >>> [round(r.score, 2) for r in robust(x, [x[:, 0], np.arange(200)], np.zeros(200))]
    [0.24, 0.0]

    Raises:
        InputError: no class has four points, or there is no such engine.
    """
    x, groups = subtract_mean(x, run), class_rows(y)
    zs = [standardise(z) for z in zs]
    widths = [scale * median_distance(z) for z in zs]
    plan = SumPlan.of(
        zs, widths, max(map(len, groups)),
        tolerance=tolerance, engine=engine, norms=True, points=points,
    )  # fmt: skip
    sums, _ = robust_sums(x, zs, groups, plan, whole=False, run=run)
    return robust_estimates(x, zs, groups, sums, plan)


def robust_sums(
    x: Embeddings,
    zs: Sequence[Values],
    groups: Sequence[Indices],
    plan: SumPlan,
    *,
    whole: bool,
    run: RunTasks,
) -> tuple[dict[int, ClassSums], Moments | None]:
    """The sums of every class with at least four points; if `whole`, the moments of all points."""
    scored = [c for c, rows in enumerate(groups) if len(rows) >= 4]
    if not scored:
        raise InputError("no class has four points, which the unbiased estimator needs")
    others = [rows for rows in groups if len(rows) < 4]
    large = [groups[c] for c in scored]
    sums, moments = class_sums_of(x, large, zs, plan, whole=whole, run=run, others=others)
    return dict(zip(scored, sums, strict=True)), moments


def robust_estimates(
    x: Embeddings,
    zs: Sequence[Values],
    groups: Sequence[Indices],
    sums: Mapping[int, ClassSums],
    plan: SumPlan,
) -> list[CIEstimate]:
    """`robust` for standardised pseudo-labels, from the sums of the scored classes."""
    counts = np.array([len(rows) for rows in groups], np.float64)
    estimates = [_robust_estimate(k, counts, sums, plan.points) for k in range(len(zs))]
    if plan.engine != "exact":
        return estimates
    kernels = [
        [
            (equations.cosine_kernel(as_numpy(x[groups[c]])), equations.rbf_kernel(z[groups[c]], w))
            for c in sums
        ]
        for z, w in zip(zs, plan.widths, strict=True)
    ]
    return [
        replace(estimate, score=equations.normalised_hsic(*own))
        for estimate, own in zip(estimates, kernels, strict=True)
    ]


def _robust_estimate(
    k: int, counts: Vector, sums: Mapping[int, ClassSums], points: bool
) -> CIEstimate:
    """The estimate of pseudo-label k."""
    scored = np.array(sorted(sums))
    n = counts[scored]
    speech, pairs = zip(*((sums[c].speech, sums[c].pairs[k]) for c in sums), strict=True)
    u_sums = [USums.of(*own) for own in zip(speech, pairs, n, strict=True)]
    KL, KK, LL = (
        np.array([getattr(own, name) for own in u_sums]) / (n - 3) for name in ("KL", "KK", "LL")
    )  # n HSICu of each class
    score = normalise(KL.sum(), KK.sum(), LL.sum(), float(n @ n) / n.sum())
    unit = np.sqrt(KK.sum()) * np.sqrt(LL.sum()) if score else np.inf
    values, shares = np.full(len(counts), np.nan), np.zeros(len(counts))
    values[scored] = [
        normalise(own.KL, own.KK, own.LL, m) for own, m in zip(u_sums, n, strict=True)
    ]
    shares[scored] = own_shares = np.sqrt(KK) * np.sqrt(LL) / unit
    skews = np.array([own.skew * pair.skew for own, pair in zip(speech, pairs, strict=True)])
    by_chance = np.zeros(len(counts))
    by_chance[scored] = 2 / (n * (n - 3)) * own_shares**2
    variance = float(by_chance.sum())
    third = float((8 / n**3 * skews * own_shares**3).sum())
    error = float(np.sum([pair.error for pair in pairs] / (n - 3)) / unit)
    influence = np.zeros(int(counts.sum())) if points else None
    if influence is not None and score:
        ends = float(KK.sum()), float(LL.sum())
        for c, own in zip(scored, u_sums, strict=True):
            influence[sums[c].rows] = _derivatives(sums[c], k, own, score, ends)
    all_pairs = float(n @ (n - 1))
    return CIEstimate(
        score=score,
        classes=values,
        shares=shares,
        shuffled=0.0,
        shuffled_sd=float(np.sqrt(variance)),
        spread=_ratio(all_pairs - sum(pair.L for pair in pairs), all_pairs),
        error=_ratio(error, max(abs(score), float(np.sqrt(variance)))),
        p_value=gamma_tail(score, variance, third) if points else None,
        influence=influence,
        by_chance=by_chance,
    )


def _derivatives(
    own: ClassSums, k: int, sums: USums, score: float, ends: tuple[float, float]
) -> Vector:
    """The score's derivatives by the weights of a class's points.

    n HSICu is Σ wᵢwⱼ Kᵢⱼ Lᵢⱼ / Σ w of U-centred kernels, whose centring has no first-order term in
    the weights (C = E[φψᵀ] of centred φ, ψ has none in their means).

    Args:
        own, k, sums: of the class and the pseudo-label.
        score: of all classes.
        ends: Σ n HSICu(K, K) and Σ n HSICu(L, L) over all classes.
    """
    n, pair = len(own.rows), own.pairs[k]
    each = pair.each_KL, own.speech.each_KK, pair.each_LL
    KL, KK, LL = (
        (2 * points - total / n) / (n - 3)
        for points, total in zip(each, (sums.KL, sums.KK, sums.LL), strict=True)
        if points is not None
    )
    return KL / np.sqrt(ends[0] * ends[1]) - score / 2 * (KK / ends[0] + LL / ends[1])


def _by_definition(
    estimates: list[CIEstimate],
    x: Embeddings,
    groups: Sequence[Indices],
    zs: Sequence[Values],
    plan: SumPlan,
    definition: Callable[[Matrix, Matrix], float],
) -> list[CIEstimate]:
    """The estimates, with scores by the definition if the engine is "exact"."""
    if plan.engine != "exact":
        return estimates
    classes = np.stack([estimate.classes for estimate in estimates])
    scored = np.isfinite(classes[0])
    for c in map(int, np.flatnonzero(scored)):
        K = equations.cosine_kernel(as_numpy(x[groups[c]]))
        for k, (z, width) in enumerate(zip(zs, plan.widths, strict=True)):
            classes[k, c] = definition(K, equations.rbf_kernel(z[groups[c]], width))
    return [
        replace(estimate, score=float(estimate.shares[scored] @ values[scored]), classes=values)
        for estimate, values in zip(estimates, classes, strict=True)
    ]


def class_rows(y: ArrayLike) -> list[Indices]:
    """The indices of each class's points, in the order of np.unique(y).

    >>> [rows.tolist() for rows in class_rows(["b", "a", "b"])]
    [[1], [0, 2]]
    """
    codes = np.unique(np.asarray(y), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
