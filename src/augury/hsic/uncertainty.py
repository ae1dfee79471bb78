# pyright: reportConstantRedefinition=false, reportMissingTypeStubs=false
"""How certain a ranking is: intervals, tiers, and p-values.

Multiplier bootstrap: the scores' first-order expansion in the weights of the points is drawn again,
with a random normal weight for each unit, not the scores. Copies of a point are then never compared
with each other, which would increase every replicate, and a thousand replicates of a million
segments take seconds. Two corrections make its variance that of new samples, see `bootstrap`. The
robust form's median width is held fixed.

Permutation: z is shuffled inside the classes, and the same statistic computed each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augury.compute import RunTasks, run_in_threads, with_one_blas_thread
from augury.embeddings import Embeddings, Indices
from augury.hsic.engines import moments_of
from augury.hsic.factors import Factor
from augury.hsic.kernels import (
    Matrix,
    Values,
    Vector,
    centre,
    label_kernel,
    median_distance,
    standardise,
)
from augury.hsic.moments import as_numpy, leading_eigenvectors, subtract_mean, unit_speech
from augury.hsic.projections import (
    LEFT_OUT,
    label_columns,
    leading_columns,
    nystrom,
    project_speech,
)
from augury.hsic.sums import LARGEST_MATRIX, SumPlan

#: Smaller classes are units, where kernels are not U-centred.
SMALLEST_RESAMPLED = 10
#: Where they are, smaller classes are units as well, if there are so many of them.
SMALL, FEWEST_SMALL = 16, 20
#: Bytes of shuffled label columns in memory at once.
BATCH = 32e6


# --------------------------------------------------------------------------------- bootstrap


@with_one_blas_thread
def bootstrap(
    scores: Vector,
    influence: Matrix,
    classes: Indices,
    units: Indices | None = None,
    *,
    by_chance: Matrix | None = None,
    effects: Vector | None = None,
    cautious: bool = False,
    replicates: int,
    seed: int,
) -> Matrix:
    """Scores of all candidates in new samples, (replicates, candidates).

    Replicates have a multivariate t distribution with as many degrees of freedom as units, less
    one. Its covariance is that of the units' sums of influences. For U-centred kernels it is
    corrected, as these vary less in small classes, and vary by pairs of points, too:

    - Classes of fewer than 16 points are units as well, if there are twenty of them: two-way
      clustering (Cameron, Gelbach and Miller 2011), what a class and a unit share counts once.
    - In other classes, of n points, influences have a(n) = 1 − 3/(4(n − 3)) of the variance that
      single points contribute (measured), and f(n) = 2(n − 3)/(n − 2) − 3/n times that of pairs, by
      the second moments of U-centred kernels. They are divided by √a, and f/a − 1 times the
      variance of pairs is subtracted: (1 − |score|)³ of that under independence (measured).

    >>> points = np.random.default_rng(0).standard_normal((400, 1)) / 400
    >>> scores = bootstrap(np.ones(1), points, np.zeros(400, int), replicates=500, seed=0)
    >>> scores.shape, round(float(scores.std()), 2)
    ((500, 1), 0.05)

    Args:
        scores: (candidates,) as estimated.
        influence: (points, candidates), the scores' derivatives by the weight of each point.
        classes: (points,) codes of the label.
        units: (points,) codes of what is independent: recordings, speakers. None: points.
        by_chance: (classes, candidates) each class's part of the scores' variance under
            independence, with U-centred kernels (`robust`). None: without; then classes of fewer
            than ten points are units, if there are no others.
        effects: (candidates,) design effects of units on that variance; None: 1.
        cautious: subtract nothing, for `tiers`: with many candidates, the pair that differs most is
            one whose variance is underestimated.
        replicates, seed: their number, and the seed of the random numbers.
    """
    _, classes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    codes = np.arange(len(classes)) if units is None else units
    if by_chance is None and units is None:
        codes = np.where(counts[classes] < SMALLEST_RESAMPLED, len(codes) + classes, codes)
    codes = np.unique(codes, return_inverse=True)[1]
    freedom = max(int(codes.max()), 1)
    covariance = _covariance(influence, codes)
    if by_chance is not None:
        by_chance = by_chance * (1 - np.minimum(np.abs(scores), 1)) ** 3  # measured
        covariance = _u_centred_covariance(
            influence, codes, classes, counts, by_chance, effects, cautious=cautious
        )
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    rng = np.random.default_rng(seed)
    tails = np.sqrt(freedom / rng.chisquare(freedom, (replicates, 1)))
    return scores + tails * rng.standard_normal((replicates, len(scores))) @ root.T


def _covariance(influence: Matrix, codes: Indices) -> Matrix:
    """(candidates, candidates) of the sums of influences over units."""
    sums = np.stack([np.bincount(codes, column) for column in influence.T], axis=1)
    return np.asarray(sums.T @ sums * (len(sums) / max(len(sums) - 1, 1)), np.float64)


def _u_centred_covariance(
    influence: Matrix,
    codes: Indices,
    classes: Indices,
    counts: Indices,
    by_chance: Matrix,
    effects: Vector | None,
    *,
    cautious: bool,
) -> Matrix:
    """`_covariance`, corrected for U-centred kernels, see `bootstrap`."""
    small = counts < SMALL
    if small.sum() < FEWEST_SMALL:
        small[:] = False
    n = np.maximum(counts, 4).astype(np.float64)
    a = np.where(small, 1.0, 1 - 0.75 / (n - 3))
    surplus = np.where(small, 0.0, (2 * (n - 3) / (n - 2) - 3 / n) / a - 1)
    covariance = _covariance(influence / np.sqrt(a)[classes, None], codes)
    if small.any():
        own = small[classes]
        points, of_class, of_unit = influence[own], classes[own], codes[own]
        cells = np.unique(of_class * (codes.max() + 1) + of_unit, return_inverse=True)[1]
        of_class = np.unique(of_class, return_inverse=True)[1]
        covariance += _covariance(points, of_class) - _covariance(points, cells)
    pairs = _variance_of_pairs(influence, classes, n, a, surplus, by_chance)
    own, chance = np.diag(covariance), by_chance.sum(axis=0)
    effects = np.ones(len(own)) if effects is None else effects
    own_surplus = surplus @ pairs + (effects - 1) * pairs.sum(axis=0)
    wanted = np.maximum(own if cautious else own - own_surplus, effects * chance)
    scale = np.sqrt(np.where(own > 0, wanted / np.where(own > 0, own, 1), 0))
    return covariance * np.outer(scale, scale)


def _variance_of_pairs(
    influence: Matrix,
    classes: Indices,
    n: Vector,
    a: Vector,
    surplus: Vector,
    by_chance: Matrix,
) -> Matrix:
    """(classes, candidates) the part of the scores' variance that pairs of points contribute.

    With V₁ and V₂ the parts of points and of pairs, the influences' squares sum to a V₁ + f V₂; and
    the variance of a pair's term, which under independence is all of V₂, has twice that of a
    point's in it: V₂ = by chance − V₁/(n − 3).
    """
    points = np.stack([np.bincount(classes, np.square(column)) for column in influence.T], axis=1)
    left = (n - 3)[:, None]
    most = 1 - (1 + surplus[:, None]) / left  # 0 at n = 4, where nothing is subtracted
    pairs = (by_chance - points / a[:, None] / left) / np.where(most > 0.1, most, 1)
    return np.maximum(pairs, 0.0)


def intervals(replicates: Values, level: float = 0.95) -> Matrix:
    """(candidates, 2): the middle `level` of each candidate's replicates.

    >>> import numpy as np
    >>> intervals(np.arange(101.0)[:, None], level=0.9)
    array([[ 5., 95.]])
    """
    ends = (1 - level) / 2
    return np.quantile(replicates, [ends, 1 - ends], axis=0).T


def ranks(replicates: Matrix) -> Matrix:
    """Each candidate's rank (replicates, candidates), 1 for the lowest score; means of ties.

    >>> import numpy as np
    >>> ranks(np.array([[0.3, 0.1, 0.2], [0.3, 0.1, 0.1]]))
    array([[3. , 1. , 2. ],
           [3. , 1.5, 1.5]])
    """
    # Ordinal ranks break ties by place: from the left and from the right, they average to the mean.
    return (_ordinal_ranks(replicates) + _ordinal_ranks(replicates[:, ::-1])[:, ::-1]) / 2


def _ordinal_ranks(rows: Matrix) -> NDArray[np.int64]:
    return np.argsort(np.argsort(rows, axis=1, kind="stable"), axis=1, kind="stable") + 1


def probability_better(replicates: Matrix) -> Matrix:
    """(candidates, candidates): the share of replicates in which the row's score is lower.

    >>> import numpy as np
    >>> probability_better(np.array([[0.1, 0.2], [0.1, 0.3]]))[0, 1]
    np.float64(1.0)
    """
    columns = replicates.T
    return np.stack(
        [(own < columns).mean(axis=1) + (own == columns).mean(axis=1) / 2 for own in columns]
    )


def tiers(scores: Vector, replicates: Matrix, level: float = 0.95) -> NDArray[np.int64]:
    """Each candidate's tier (candidates,), 1 the best; the order within a tier is not settled.

    In the order of scores, a new tier begins with the first candidate that is worse than some
    candidate of the last tier. Differences of all pairs are compared with one bound, which the
    largest of them, each over its standard deviation, exceeds in 1 − `level` of the replicates:
    candidates of equal truth are then divided in 1 − `level` of samples, however many there are.

    Args:
        scores: (candidates,) as estimated.
        replicates: (replicates, candidates), from `bootstrap`.
        level: of all bounds together.

    >>> draws = np.array([0.3, 0.1]) + np.random.default_rng(0).normal(0, 0.01, (500, 2))
    >>> tiers(np.array([0.3, 0.1]), draws)
    array([2, 1])
    """
    tier = np.zeros(len(scores), np.int64)
    noise = (replicates - scores).T
    largest = np.zeros(len(replicates))
    deviations = np.zeros((len(scores), len(scores)))
    for k, own in enumerate(noise[:-1]):
        differences = own - noise[k + 1 :]
        sd = np.sqrt(np.square(differences).mean(axis=1))
        deviations[k, k + 1 :] = deviations[k + 1 :, k] = sd
        varies = sd > 1e-12 * np.abs(scores).max()
        if varies.any():
            ratios = np.abs(differences[varies]) / sd[varies, None]
            largest = np.maximum(largest, ratios.max(axis=0))
    bound = np.quantile(largest, level) if len(scores) else 0.0
    own_tier: list[int] = []
    number = 0
    for k in map(int, np.argsort(scores, kind="stable")):
        if not own_tier or (scores[k] - scores[own_tier] > bound * deviations[k, own_tier]).any():
            own_tier, number = [], number + 1
        own_tier.append(k)
        tier[k] = number
    return tier


# ------------------------------------------------------------------------------- permutation


@dataclass(frozen=True)
class ShuffleStatistic:
    """One class's permutation statistic: ‖AᵀB‖² − `pull` · Σ ab."""

    A: NDArray[np.float32]  # (n, p) K's leading columns, K ≈ AAᵀ
    a: Vector  # (n,)
    B: NDArray[np.float32]  # (n, Σ r) those of every pseudo-label's L
    ends: NDArray[np.int64]  # where each pseudo-label's columns begin
    b: Matrix  # (n, candidates)
    pull: float
    share: float  # of the class in the scores


@with_one_blas_thread
def permutation_p(
    x: Embeddings,
    zs: Sequence[Values],
    groups: Sequence[Indices],
    shares: Vector,
    *,
    widths: Sequence[float] | None,
    permutations: int,
    seed: int,
    run: RunTasks = run_in_threads,
) -> Vector:
    """P-values (candidates,) of the scores, by shuffling z inside the classes.

    p = (1 + shuffles that score at least as high) / (1 + shuffles), which is exact for any number
    of shuffles. The statistic is the score without the trailing columns of K and L, which have less
    than 1e-4 of their squared norms.

    >>> x = np.random.default_rng(0).standard_normal((60, 4))
    >>> groups, shares = [np.arange(60)], np.ones(1)
    >>> permutation_p(x, [x[:, 0]], groups, shares, widths=None, permutations=99, seed=0)
    array([0.01])

    Args:
        x, zs: as for `augury.hsic.estimators`.
        groups: rows of each class that counts in the score.
        shares: (classes,) factor of each class's tr(KHLH), or of its
            U-centred sum where `widths` is None.
        widths: σ for the published estimators; None for the robust one, which chooses its own.
    """
    robust = widths is None
    if widths is None:
        x, zs = subtract_mean(x, run), [standardise(z) for z in zs]
        widths = [median_distance(z) for z in zs]
    largest = max(map(len, groups))
    plan = SumPlan.of(zs, widths, largest, tolerance=1e-3, norms=True)
    factors = [
        factor or (nystrom(z, width) if largest > LARGEST_MATRIX else None)
        for z, width, factor in zip(zs, widths, plan.factors, strict=True)
    ]
    seeds = np.random.SeedSequence(seed).spawn(len(groups))
    observed, above = np.zeros(len(zs)), np.zeros((permutations, len(zs)))
    for rows, share, own in zip(groups, shares, seeds, strict=True):
        labels = [z[rows] for z in zs]
        statistic = _shuffle_statistic(
            x, rows, labels, widths, factors, float(share), robust=robust, run=run
        )
        observed += _statistic(statistic, np.arange(len(rows))[None])[0]
        at_once = max(1, int(BATCH / (statistic.B.shape[1] * len(rows) * 4)))
        counts = [min(at_once, permutations - k) for k in range(0, permutations, at_once)]
        tasks = (
            (_shuffled_statistics, statistic, count, child)
            for count, child in zip(counts, own.spawn(len(counts)), strict=True)
        )
        above += np.concatenate(list(run(None, tasks)))
    # Equal up to rounding counts as equal: with few points many shuffles are identical.
    reached = above >= observed - 1e-6 * np.abs(observed)
    return (1 + reached.sum(axis=0)) / (1 + permutations)


def _shuffled_statistics(
    x: Embeddings, statistic: ShuffleStatistic, count: int, seed: np.random.SeedSequence
) -> Matrix:
    """The statistic of `count` shuffles; `x` is ignored."""
    places = np.tile(np.arange(len(statistic.A)), (count, 1))
    return _statistic(statistic, np.random.default_rng(seed).permuted(places, axis=1))


def _statistic(statistic: ShuffleStatistic, order: NDArray[np.int64]) -> Matrix:
    """(shuffles, candidates) for orders of the pseudo-labels' points, (shuffles, n)."""
    squares = np.square(statistic.A.T @ statistic.B[order]).sum(axis=1, dtype=np.float64)
    inner = np.add.reduceat(squares, statistic.ends, axis=1)
    diagonal = np.einsum("i,sik->sk", statistic.a, statistic.b[order])
    return statistic.share * (inner - statistic.pull * diagonal)


def _shuffle_statistic(
    x: Embeddings,
    rows: Indices,
    zs: Sequence[Values],
    widths: Sequence[float],
    factors: Sequence[Factor | None],
    share: float,
    *,
    robust: bool,
    run: RunTasks,
    left_out: float = LEFT_OUT,
) -> ShuffleStatistic:
    n = len(rows)
    if n <= LARGEST_MATRIX:
        U = as_numpy(unit_speech(x, rows)).astype(np.float64)
        U -= U.mean(axis=0)
        a, A = np.vecdot(U, U), leading_columns(U @ U.T, left_out)
    else:
        sums = moments_of(x, rows, [], SumPlan((), (), norms=True), run=run)
        assert sums.gram is not None
        vectors, _ = leading_eigenvectors(sums.gram, left_out)
        A, a = project_speech(x, rows, sums.origin, vectors, run)
    columns: list[tuple[Matrix, Vector]] = []
    for z, width, factor in zip(zs, widths, factors, strict=True):
        if n <= LARGEST_MATRIX:
            L: Matrix = centre(label_kernel(z, width=width))
            columns.append((leading_columns(L, left_out), np.diag(L)))
        else:
            assert factor is not None
            columns.append(label_columns(z, factor, left_out)[:2])
    b = np.stack([diagonal for _, diagonal in columns], axis=1)
    ends = np.cumsum([0, *(B.shape[1] for B, _ in columns)])[:-1]
    B = np.concatenate([B for B, _ in columns], axis=1)
    pull = n / (n - 2) if robust else 0.0
    return ShuffleStatistic(A.astype(np.float32), a, B.astype(np.float32), ends, b, pull, share)
