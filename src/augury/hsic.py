"""How far a pseudo-label depends on the speech, given the downstream label.

HSIC (eq. 3) and its class-wise mean (eq. 4), in three named forms that are never mixed: `paper`,
`released` and `robust`. Lower is better: the pseudo-label says less about the speech than the label
already does.

Letters are the paper's: K is the speech kernel, L the pseudo-label kernel, H the centring matrix,
n a class's number of points, M that of all; a and b are the diagonals of HKH and HLH. What the
estimators are made of are sums over pairs of points, see `augury.engines`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincc, ndtr

from augury.engines import dense, sums_of, sums_of_all, survey
from augury.factors import Factor
from augury.kernels import label_kernel, median_distance, spaced, standardised, unit_rows
from augury.moments import Moments
from augury.sums import ClassSums, PairSums, SpeechSums, Wanted
from augury.threads import Run, alone, threads

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Labels = NDArray[np.int64]

#: Largest relative error of a class's sum over pairs.
TOLERANCE = 1e-6
#: Rows taken at once by passes over the labels alone.
BLOCK = 4096


@dataclass(frozen=True)
class Dependence:
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
class Ingredient:
    """An unbiased, normalised HSIC (a correlation: 0 for independent, at most 1)."""

    value: float
    shuffled_sd: float  # its exact standard deviation when the points are shuffled (mean 0)
    p_value: float  # of independence, by moments


# ------------------------------------------------------------------- eqs. 2, 3 and 4, as written
# The label kernel L is `kernels.label_kernel`.


def cosine_kernel(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """K of eq. 2, (n, n)."""
    rows = unit_rows(x)
    return rows @ rows.T


def hsic(K: Matrix, L: Matrix) -> float:
    """tr(K H L H) / n² with H = I − 11ᵀ/n (eq. 3)."""
    n = len(K)
    centred = K - K.mean(axis=0) - K.mean(axis=1)[:, None] + K.mean()
    return float(np.vdot(centred, L)) / n**2


def conditional_hsic(x: Any, z: NDArray, y: ArrayLike, *, width: float = 0.05) -> float:
    """HSIC(X, Z | Y) (eq. 4): each class's HSIC, weighted by its share of the points."""
    return paper(x, [z], y, width=width)[0].score


@alone
def paper(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    width: float = 0.05,
    tolerance: float = TOLERANCE,
    points: bool = False,
    run: Run = threads,
) -> list[Dependence]:
    """Eqs. 1–4 exactly, for several pseudo-labels that share the speech.

    Args:
        x: (n, …) embeddings: an array, or anything that gives one for x[rows]. Products are made
            in their precision, sums in float64.
        zs: pseudo-labels, each (n,) or (n, dims) float in its own units, or integer categories.
        y: (n,) downstream labels.
        width: σ of the RBF kernel, in the pseudo-label's units.
        tolerance: largest relative error of a class's value by approximating L.
        points: whether each point's influence on the score is wanted, at twice the cost.
        run: who runs the work, see `augury.threads`.
    """
    groups = classes(y)
    counts = np.array([len(rows) for rows in groups], np.float64)
    wanted = Wanted.of(
        zs, [width] * len(zs), max(map(len, groups)), tolerance=tolerance, points=points
    )
    sums, _ = survey(x, groups, zs, wanted, whole=False, run=run)
    return _published(sums, zs, counts**2, counts / counts.sum(), weighted=True)


@alone
def released(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    scale: float = 1.0,
    tolerance: float = TOLERANCE,
    points: bool = False,
    run: Run = threads,
) -> list[Dependence]:
    """The arithmetic of the authors' released code, to compare with numbers it produced.

    It centres with I − 11ᵀ/n² (next to none), divides by (n − 1)², takes exp(−d²/(2·0.05)), scores
    classes of at most three points 0, and takes the unweighted mean of the classes. `scale` is a
    factor of the kernel's width, to see what it matters. The rest is as in `paper`.
    """
    groups = classes(y)
    counts = np.array([len(rows) for rows in groups], np.float64)
    scored = [rows for rows in groups if len(rows) > 3]
    widths = [scale * np.sqrt(0.05)] * len(zs)
    largest = max(map(len, groups))
    wanted = Wanted.of(zs, widths, largest, tolerance=tolerance, points=points, slip=True)
    of_scored = iter(survey(x, scored, zs, wanted, whole=False, run=run)[0])
    sums = [next(of_scored) if len(rows) > 3 else None for rows in groups]
    divisor = np.where(counts > 3, (counts - 1) ** 2, 1.0)
    return _published(sums, zs, divisor, np.full(len(groups), 1 / len(groups)), weighted=False)


def _published(
    sums: Sequence[ClassSums | None],
    zs: Sequence[NDArray],
    divisor: Vector,
    shares: Vector,
    *,
    weighted: bool,
) -> list[Dependence]:
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
            # K's sum; it is not centred in the released code.
            left = (1 - 1 / n) * one.speech.mean if not weighted else np.zeros(1)
            rest = n**2 * float(left @ left) - one.speech.a
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
            Dependence(
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


@alone
def robust(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    scale: float = 1.0,
    tolerance: float = TOLERANCE,
    points: bool = False,
    run: Run = threads,
) -> list[Dependence]:
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
    return _robust(x, zs, y, scale, tolerance, points, run, whole=False)[0]


@alone
def robust_with_ingredients(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    points: bool = False,
    run: Run = threads,
) -> tuple[list[Dependence], list[Ingredient], list[Ingredient]]:
    """`robust` and `ingredients` from one pass over the speech."""
    found, standard, wanted, moments = _robust(x, zs, y, 1.0, tolerance, points, run, whole=True)
    assert moments is not None
    return found, *_ingredients(x, standard, y, wanted, moments, run)


def _robust(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    scale: float,
    tolerance: float,
    points: bool,
    run: Run,
    *,
    whole: bool,
) -> tuple[list[Dependence], list[NDArray], Wanted, Moments | None]:
    groups = classes(y)
    counts = np.array([len(rows) for rows in groups], np.float64)
    scored = counts >= 4
    if not scored.any():
        raise ValueError("no class has four points, which the unbiased estimator needs")
    zs = [standardised(z) for z in zs]
    widths = [scale * median_distance(z) for z in zs]
    largest = len(zs[0]) if whole else max(map(len, groups))
    wanted = Wanted.of(zs, widths, largest, tolerance=tolerance, norms=True, points=points)
    found_, moments = survey(
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
            value, bound, points_of = _correlation(one.speech, pair, int(n))
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
            Dependence(
                score=score,
                classes=values,
                shares=shares,
                shuffled=0.0,
                shuffled_sd=float(np.sqrt(variance)),
                spread=_ratio(pairs - alike, pairs),
                error=_ratio(float(shares @ errors), max(abs(score), float(np.sqrt(variance)))),
                p_value=_tail(score, variance, third) if points else None,
                influence=influence,
            )
        )
    return found, zs, wanted, moments


@alone
def ingredients(
    x: Any, zs: Sequence[NDArray], y: ArrayLike, *, tolerance: float = TOLERANCE, run: Run = threads
) -> tuple[list[Ingredient], list[Ingredient]]:
    """What conditional independence leaves out, on the scale of `robust`, over all points.

    Returns:
        For each pseudo-label: total dependence, HSIC(X,Z); and relevance, HSIC(Z,Y), with Y's
        kernel 1 for equal labels and 0 otherwise. Needs four points and two classes. For labels
        of more than one dimension that have no factor of few columns, or with far outliers, at
        most 1,000 points are used, see `kernels.spaced`.
    """
    zs = [standardised(z) for z in zs]
    widths = [median_distance(z) for z in zs]
    wanted = Wanted.of(zs, widths, len(zs[0]), tolerance=tolerance, norms=True)
    moments = sums_of_all(x, np.arange(len(zs[0])), zs, wanted, run=run)
    return _ingredients(x, zs, y, wanted, moments, run)


def _ingredients(
    x: Any,
    zs: Sequence[NDArray],
    y: ArrayLike,
    wanted: Wanted,
    moments: Moments,
    run: Run,
) -> tuple[list[Ingredient], list[Ingredient]]:
    """Both from the centred moments of all points, for standardised labels."""
    groups = classes(y)
    n = sum(map(len, groups))
    if len(groups) < 2 or n < 4:
        raise ValueError("dependence needs at least four points, and relevance two classes")
    order = np.concatenate(groups)
    counts = np.array([len(rows) for rows in groups])
    codes = np.repeat(np.arange(len(groups)), counts)
    of_speech, pairs, _ = sums_of(moments, replace(wanted, points=True))
    quick = [k for k, pair in enumerate(pairs) if np.isfinite(pair.error)]
    tasks = ((relevance, zs[k][order], codes, counts, wanted.factors[k]) for k in quick)
    found = dict(zip(quick, run(x, tasks), strict=True))
    total, relevances = [], []
    for k, z in enumerate(zs):
        if k in found:
            value, *_ = _correlation(of_speech, pairs[k], n)
            total.append(_ingredient(value, n, of_speech.skew, pairs[k].skew))
            relevances.append(found[k])
        else:  # all pairs would be needed: fewer points, and a larger chance
            among = np.sort(spaced(z[order]))
            few, width = z[order][among], median_distance(z[order][among])
            alone = Wanted((width,), (None,), norms=True, points=True)
            sums = dense(x, order[among], [few], alone)
            value, *_ = _correlation(sums.speech, sums.pairs[0], len(few))
            total.append(_ingredient(value, len(few), sums.speech.skew, sums.pairs[0].skew))
            relevances.append(_dense_relevance(few, width, codes[among]))
    return total, relevances


def relevance(x: Any, z: NDArray, codes: Labels, counts: Labels, factor: Factor) -> Ingredient:
    """HSIC(Z,Y), unbiased and normalised; points in class order, `x` of no effect."""
    n = len(z)
    blocks = [slice(begin, begin + BLOCK) for begin in range(0, n, BLOCK)]
    mean = np.sum([factor.columns(z[own]).sum(axis=0) for own in blocks], axis=0) / n
    of_class, b_of_class = np.zeros((len(counts), len(factor))), np.zeros(len(counts))
    FF, bb = np.zeros((len(factor), len(factor))), 0.0
    for own in blocks:
        phi = factor.columns(z[own]) - mean
        b = np.vecdot(phi, phi)
        here, first = np.unique(codes[own], return_index=True)
        of_class[here] += np.add.reduceat(phi, first, axis=0)
        b_of_class[here] += np.add.reduceat(b, first)
        FF += phi.T @ phi
        bb += float(b @ b)
    ZZ = float(np.vdot(FF, FF))
    skew = float(np.vdot(FF @ FF, FF)) / ZZ**1.5 if ZZ > 1e-24 else 0.0
    return _with_classes(
        float(np.vdot(of_class, of_class)), b_of_class, ZZ, bb, skew, counts.astype(np.float64)
    )


def _dense_relevance(z: NDArray, width: float, codes: Labels) -> Ingredient:
    """The same from L as a matrix."""
    L = label_kernel(z, width=width)
    L -= L.mean(axis=0)
    L -= L.mean(axis=1)[:, None]
    _, codes, counts = np.unique(codes, return_inverse=True, return_counts=True)
    of_class = np.zeros((len(counts), len(L)))
    np.add.at(of_class, codes, L)
    b = np.diag(L)
    inner = sum(float(of_class[c, codes == c].sum()) for c in range(len(counts)))
    ZZ = float(np.vdot(L, L))
    skew = float(np.vdot(L @ L, L)) / ZZ**1.5 if ZZ > 1e-24 else 0.0
    b_of_class = np.bincount(codes, b).astype(np.float64)
    return _with_classes(inner, b_of_class, ZZ, float(b @ b), skew, counts.astype(np.float64))


def _with_classes(
    ZY: float, b_of_class: Vector, ZZ: float, bb: float, skew: float, counts: Vector
) -> Ingredient:
    """From sums over Z, and the closed forms of Y's kernel: 1 in a class, 0 outside, centred."""
    n = float(counts.sum())
    if len(counts) < 2:  # among a sample of the points
        return _ingredient(0.0, int(n), 0.0, 0.0)
    squares = float(counts @ counts)
    a = 1 - 2 * counts / n + squares / n**2
    cubes = float((counts**3).sum())
    YY = squares - 2 * cubes / n + (squares / n) ** 2
    # tr (D − vvᵀ/n)³ with D = diag v, v the counts.
    third = (
        cubes - 3 * float((counts**4).sum()) / n + 3 * cubes * squares / n**2 - squares**3 / n**3
    )
    trace = n - squares / n
    total_b = float(b_of_class.sum())
    value = _normalised(
        _unbiased(ZY, float(a @ b_of_class), trace, total_b, int(n)),
        _unbiased(YY, float(counts @ a**2), trace, trace, int(n)),
        _unbiased(ZZ, bb, total_b, total_b, int(n)),
    )
    return _ingredient(value, int(n), third / YY**1.5, skew)


def _ingredient(value: float, n: int, skew: float, other: float) -> Ingredient:
    variance = 2 / (n * (n - 3))
    return Ingredient(
        value, float(np.sqrt(variance)), _tail(value, variance, 8 / n**3 * skew * other)
    )


# ------------------------------------------------------------------------------------- pieces


def unbiased_hsic(K: Matrix, L: Matrix) -> float:
    """The U-statistic of HSIC (Song et al. 2012, eq. 5) of two dense kernels; n ≥ 4."""
    n = len(K)
    K, L = (M - np.diag(np.diag(M)) for M in (K, L))
    a, b = K.sum(axis=0), L.sum(axis=0)
    terms = np.vdot(K, L) + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a @ b) / (n - 2)
    return float(terms) / (n * (n - 3))


def _unbiased(inner: float, ab: float, a: float, b: float, n: int) -> float:
    """The same from doubly centred kernels: Σ K∘L, and of the diagonals Σ ab, Σ a and Σ b.

    Centring adds the same to whole rows and columns, which the U-statistic does not see, and the
    rows then sum to 0, so that only diagonals are left of its correction terms.
    """
    corrected = inner - n / (n - 2) * ab + a * b / ((n - 1) * (n - 2))
    # Where all terms cancel, as when one point alone differs, what is left is their rounding.
    return corrected / (n * (n - 3)) if abs(corrected) > 1e-13 * inner else 0.0


def _normalised(KL: float, KK: float, LL: float) -> float:
    """KL / √(KK·LL), and 0 where either kernel is constant: a constant depends on nothing."""
    if LL <= 1e-24 or KK <= 1e-24:  # 1e-12 of the kernels' entries, squared: rounding
        return 0.0
    return float(KL / (np.sqrt(KK) * np.sqrt(LL)))


def _correlation(one: SpeechSums, pair: PairSums, n: int) -> tuple[float, float, Vector]:
    """A class's normalised HSIC, a bound on its error, and its derivatives by the points' weights.

    To first order weights change the sums over pairs, not the centring (C = E[φψᵀ] of centred φ, ψ
    has no first-order term in their means).
    """
    KL = _unbiased(pair.KL, pair.ab, one.a, pair.b, n)
    KK = _unbiased(one.KK, one.aa, one.a, one.a, n)
    LL = _unbiased(pair.LL, pair.bb, pair.b, pair.b, n)
    value = _normalised(KL, KK, LL)
    error = pair.error / (n * (n - 3)) / np.sqrt(KK * LL) if value else 0.0
    if pair.each_KL is None or pair.each_LL is None or one.each_KK is None or value == 0:
        return value, error, np.zeros(n)
    points = pair.each_KL / np.sqrt(KK * LL) - value / 2 * (one.each_KK / KK + pair.each_LL / LL)
    return value, error, 2 / (n * (n - 3)) * (points - points.mean())


def _tail(value: float, variance: float, third: float) -> float:
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


def classes(y: ArrayLike) -> list[Labels]:
    """The points of each class, in the order of np.unique(y)."""
    codes = np.unique(np.asarray(y), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
