# SciPy has no types:
# pyright: reportMissingTypeStubs=false
"""How well a ranking predicts measured errors: correlations, regret, intervals, noise ceilings.

The estimate of each candidate is compared with its downstream error. Both are better when lower, so
a good ranking has a positive correlation. Only the order of the estimates matters. Ties are not
broken at random: the statistics are means over all ways of breaking them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata  # pyright: ignore[reportUnknownVariableType]

from augury.errors import InputError
from augury.validation.inputs import Matrix, Vector, check_errors, check_pair, check_runs

Orders = NDArray[np.int64]

#: Up to so many candidates, p-values are exact, over all orders: 40,320 of eight candidates.
EXACT = 8
#: Random orders drawn at once.
BATCH = 5000
#: With fewer candidates a correlation is meaningless: with two it is 1 or -1.
FEWEST = 3
#: Fewer candidates are not resampled.
FEWEST_RESAMPLED = 4
#: Share of the replicates in an interval.
LEVEL = 0.95


# --------------------------------------------------------------------------- correlation


@dataclass(frozen=True)
class Correlation:
    """A rank correlation; None if all values of one side are equal, or with fewer than three."""

    value: float | None  # from -1 to 1, higher is better
    p_value: float | None  # one-sided: the probability of a correlation this high by chance


def spearman(
    estimate: ArrayLike, error: ArrayLike, *,
    draws: int = 99_999, seed: int = 0, exact_up_to: int = EXACT,
) -> Correlation:  # fmt: skip
    """Spearman's ρ, the Pearson correlation of mid-ranks, with a one-sided permutation p-value.

    ρ = Σ r s / √(Σ r² Σ s²) with centred ranks r and s, from -1 to 1. The p-value is the share of
    all orders whose ρ is as high, with up to 8 candidates; with more, of random orders: (1 + orders
    as high) / (1 + draws). Both hold with ties, too.

    Args:
        estimate: (candidates,), which may be infinite, but not NaN.
        error: (candidates,), finite.
        draws: number of random orders.
        seed: of the draws.
        exact_up_to: largest number of candidates for which all orders are used.

    Raises:
        InputError: shapes that differ, or values that can't be ordered.

    >>> spearman([1, 2, 3, 4], [0.1, 0.3, 0.2, 0.4]).value
    0.8
    """
    estimate, error = check_pair(estimate, error)
    value = _rho(estimate, error)
    if value is None:
        return Correlation(None, None)
    a, b = _doubled_ranks(estimate), _doubled_ranks(error)
    return Correlation(
        value, _p_value(lambda orders: b[orders] @ a, len(a), draws, seed, exact_up_to)
    )


def kendall(
    estimate: ArrayLike, error: ArrayLike, *,
    draws: int = 99_999, seed: int = 0, exact_up_to: int = EXACT,
) -> Correlation:  # fmt: skip
    """Kendall's τ-b with a one-sided permutation p-value; everything else as in `spearman`.

    τ-b = (C - D) / √((n - t) (n - u)) from C concordant and D discordant of n pairs, of which t are
    tied in the estimate and u in the error; from -1 to 1.

    >>> round(kendall([1, 2, 3, 4], [0.1, 0.3, 0.2, 0.4]).value, 3)
    0.667
    """
    estimate, error = check_pair(estimate, error)
    value = _tau(estimate, error)
    if value is None:
        return Correlation(None, None)
    signs = _signs(estimate)
    ranks = rankdata(error, "dense").astype(np.int32)
    p = _p_value(
        lambda orders: _concordance(signs, ranks[orders]), len(ranks), draws, seed, exact_up_to
    )
    return Correlation(value, p)


def rho(estimate: ArrayLike, error: ArrayLike) -> float | None:
    """`spearman` without the p-value, for `bootstrap`.

    >>> rho([1, 2, 3, 4], [0.1, 0.3, 0.2, 0.4])
    0.8
    """
    return _rho(*check_pair(estimate, error))


def tau(estimate: ArrayLike, error: ArrayLike) -> float | None:
    """`kendall` without the p-value, for `bootstrap`.

    >>> tau([1, 2, 3], [0.1, 0.2, 0.4])
    1.0
    """
    return _tau(*check_pair(estimate, error))


def _rho(estimate: Vector, error: Vector) -> float | None:
    if len(estimate) < FEWEST:
        return None
    value = float(_correlations(_doubled_ranks(estimate), _doubled_ranks(error)))
    return None if np.isnan(value) else value


def _tau(estimate: Vector, error: Vector) -> float | None:
    a, b = _signs(estimate), _signs(error)
    untied = np.count_nonzero(a) * np.count_nonzero(b)
    if len(a) < FEWEST or not untied:
        return None
    return float((a * b).sum(dtype=np.int64) / np.sqrt(untied))


def _doubled_ranks(values: Vector) -> Vector:
    """Centred mid-ranks along the last axis, doubled.

    They are whole numbers, and so are their products: equal values need no tolerance.
    """
    return 2 * rankdata(values, axis=-1) - (values.shape[-1] + 1)


def _correlations(a: Vector, b: Vector) -> Vector:
    """Correlations of centred values along the last axis; NaN if either is constant."""
    scale = np.sqrt(np.vecdot(a, a) * np.vecdot(b, b))
    return np.divide(np.vecdot(a, b), scale, out=np.full_like(scale, np.nan), where=scale > 0)


def _signs(values: Vector) -> NDArray[np.int32]:
    """(n, n): 1 where the column's value is above the row's, -1 where below, 0 where equal."""
    row, column = values[:, None], values[None]
    return (column > row).astype(np.int32) - (column < row)


def _concordance(signs: NDArray[np.int32], ranks: NDArray[np.int32]) -> Orders:
    """(orders,) concordant minus discordant pairs, of whole ranks (orders, n)."""
    total = np.zeros(len(ranks), np.int64)
    for i in range(len(signs) - 1):
        total += np.sign(ranks[:, i + 1 :] - ranks[:, i : i + 1]) @ signs[i, i + 1 :]
    return total


def _p_value(
    statistic: Callable[[Orders], NDArray[Any]],
    candidates: int,
    draws: int,
    seed: int,
    exact_up_to: int,
) -> float:
    """The share of orders whose statistic is at least that of the observed order."""
    identity = np.arange(candidates)
    observed = statistic(identity[None])[0]
    if candidates <= exact_up_to:
        return float((statistic(_all_orders(candidates)) >= observed).mean())
    rng, reached = np.random.default_rng(seed), 0
    for done in range(0, draws, BATCH):
        orders = rng.permuted(np.tile(identity, (min(BATCH, draws - done), 1)), axis=1)
        reached += np.count_nonzero(statistic(orders) >= observed)
    return (1 + reached) / (1 + draws)


@cache
def _all_orders(n: int) -> Orders:
    return np.array(list(permutations(range(n))))


# ------------------------------------------------------------------------ regret and gain


def regret(estimate: ArrayLike, error: ArrayLike, top: int) -> float:
    """The least error among the `top` candidates ranked first, minus the least error of all.

    In the units of the error; 0 is perfect. If candidates are tied for the last of the `top`
    places, it is the mean over all choices: the best of k drawn from t is their j-th best with
    probability C(t-j, k-1) / C(t, k).

    Raises:
        InputError: as `spearman`, or `top` is not from 1 to the number of candidates.

    >>> regret([2, 1, 3], [0.25, 0.5, 1.0], top=1)
    0.25
    """
    estimate, error = check_pair(estimate, error)
    if not 1 <= top <= len(error):
        raise InputError(f"top is {top}, but there are {len(error)} candidates; take 1 to all")
    edge = np.sort(estimate)[top - 1]
    sure, tied = error[estimate < edge], np.sort(error[estimate == edge])
    t, k = len(tied), top - len(sure)
    chances = np.array([comb(t - j, k - 1) / comb(t, k) for j in range(1, t + 1)])
    return float(chances @ (np.minimum(tied, sure.min(initial=np.inf)) - error.min()))


def ndcg(estimate: ArrayLike, error: ArrayLike) -> float | None:
    """Normalised discounted cumulative gain over all candidates; None if all errors are equal.

    Above 0, and 1 for the perfect order. The gain is linear, 1 for the least error and 0 for the
    greatest, and the discount 1 / log2(1 + rank) (Järvelin & Kekäläinen 2002, in Burges et al.'s
    form). Ties share the mean of their discounts (McSherry & Najork 2008).

    >>> round(ndcg([2, 1, 3], [0, 1, 4]), 3)
    0.937
    """
    estimate, error = check_pair(estimate, error)
    gain = error.max() - error  # its unit cancels
    if not gain.any():
        return None
    discount = 1 / np.log2(np.arange(len(error)) + 2)
    _, group, size = np.unique(estimate, return_inverse=True, return_counts=True)
    shared = np.bincount(np.sort(group), discount) / size
    return float(gain @ shared[group] / (np.sort(gain)[::-1] @ discount))


def beats_random(estimate: ArrayLike, error: ArrayLike) -> float:
    """Probability that the candidate ranked first has a lower error than a random other one.

    From 0 to 1, the best; 0.5 is chance. Equal errors count half.

    Raises:
        InputError: as `spearman`, or there is only one candidate.

    >>> beats_random([1, 2, 3], [0.25, 0.5, 0.125])
    0.5
    """
    estimate, error = check_pair(estimate, error)
    if len(error) < 2:
        raise InputError("there is one candidate, but it is compared with others; pass two or more")
    first = error[estimate == estimate.min()][:, None]
    won = (first < error).sum(axis=1) + (first == error).sum(axis=1) / 2
    own = 0.5  # each is equal to itself
    return float((won - own).mean() / (len(error) - 1))


# ----------------------------------------------------------------------------- bootstrap


def bootstrap(
    statistic: Callable[[Vector, Vector], float | None],
    estimate: ArrayLike,
    errors: ArrayLike,
    *,
    replicates: int = 2000,
    seed: int,
) -> tuple[float, float] | None:
    """The 95 % percentile interval of a statistic, candidates and their runs resampled.

    Candidates are drawn with replacement (Efron 1979); then, for each copy of a candidate, as many
    of its runs as it has. Estimates are kept: the interval does not include their sampling error.
    Resampled runs have their noise twice: with few noisy runs the interval lies somewhat below the
    statistic, and may exclude one that is nearly perfect.

    Args:
        statistic: of estimates and mean errors, (candidates,) each; `rho`, `tau`, `ndcg`.
        estimate: (candidates,).
        errors: (candidates, seeds), NaN where a run failed; each candidate needs one that did not.
        replicates: number of resamples; those whose statistic is None are not counted.
        seed: of the draws, which do not depend on the statistic.

    Returns:
        Its ends; None with fewer than four candidates, or if the statistic is None in over half of
        the replicates.

    >>> errors = [[0.1, 0.2], [0.3, 0.2], [0.4, 0.5], [0.6, 0.6]]
    >>> low, high = bootstrap(tau, [1, 2, 3, 4], errors, replicates=200, seed=0)
    >>> round(low, 2), round(high, 2)
    (0.77, 1.0)
    """
    errors = check_runs(errors)
    estimate, _ = check_pair(estimate, np.nanmean(errors, axis=1))
    if len(estimate) < FEWEST_RESAMPLED:
        return None
    drawn = zip(*_resample(errors, replicates, seed), strict=True)
    values = [statistic(estimate[candidates], means) for candidates, means in drawn]
    return _middle_interval(np.array(values, np.float64))


def bootstrap_spearman(
    estimates: ArrayLike, errors: ArrayLike, *, replicates: int = 2000, seed: int
) -> list[tuple[float, float] | None]:
    """`bootstrap` of `rho` for each row of estimates (estimators, candidates), on the same draws.

    >>> errors = [[0.1, 0.2], [0.3, 0.2], [0.4, 0.5], [0.6, 0.6]]
    >>> ends = bootstrap_spearman([[1, 2, 3, 4], [4, 3, 2, 1]], errors, replicates=200, seed=0)
    >>> np.round(ends, 2).tolist()
    [[0.82, 1.0], [-1.0, -0.82]]
    """
    errors = check_runs(errors)
    means = np.nanmean(errors, axis=1)
    rows = [check_pair(estimate, means)[0] for estimate in np.asarray(estimates, np.float64)]
    if len(errors) < FEWEST_RESAMPLED:
        return [None] * len(rows)
    candidates, means = _resample(errors, replicates, seed)
    ranks = _doubled_ranks(means)
    return [_middle_interval(_correlations(_doubled_ranks(row[candidates]), ranks)) for row in rows]


def _resample(errors: Matrix, replicates: int, seed: int) -> tuple[Orders, Matrix]:
    """Resampled candidates and means over their resampled runs, each (replicates, candidates)."""
    rng = np.random.default_rng(seed)
    n, seeds = errors.shape
    candidates = rng.integers(n, size=(replicates, n))
    # Failed runs are sorted last and never drawn; a column of zeros is added for the draws left.
    runs = np.isfinite(errors).sum(axis=1)[candidates]
    values = np.pad(np.nan_to_num(np.sort(errors, axis=1)), ((0, 0), (0, 1)))
    drawn = rng.integers(runs[:, :, None], size=(replicates, n, seeds))
    drawn[np.arange(seeds) >= runs[:, :, None]] = seeds
    drawn.sort(axis=2)  # so that copies with the same runs are equal to the last bit
    return candidates, values[candidates[:, :, None], drawn].sum(axis=2) / runs


def _middle_interval(values: Vector) -> tuple[float, float] | None:
    """The ends of the middle share `LEVEL` of the replicates; None if over half of them are NaN."""
    defined = values[~np.isnan(values)]
    if not len(defined) or 2 * len(defined) < len(values):
        return None
    ends = (1 - LEVEL) / 2
    low, high = np.quantile(defined, [ends, 1 - ends])
    return float(low), float(high)


# ------------------------------------------------------------------------- noise ceiling


def noise_ceiling(errors: ArrayLike) -> float | None:
    """Mean Spearman's ρ between the errors of two seeds: the reliability of a single run.

    From -1 to 1. A perfect ranking has a correlation of about its square root with one run.

    Args:
        errors: (candidates, seeds), NaN where a run failed: two seeds are compared on the
            candidates that have both.

    Returns:
        None if no two seeds have three candidates in common whose errors differ.

    >>> noise_ceiling([[1, 1], [2, 3], [3, 2], [4, 4]])
    0.8
    """
    correlations: list[float] = []
    for pair in combinations(check_errors(errors).T, 2):
        both = ~np.isnan(pair).any(axis=0)
        value = _rho(pair[0][both], pair[1][both])
        if value is not None:
            correlations.append(value)
    return float(np.mean(correlations)) if correlations else None


def corrected_ceiling(errors: ArrayLike) -> float | None:
    """Reliability of the mean over k seeds, k r / (1 + (k - 1) r), with the noise ceiling r.

    The Spearman-Brown prediction (1910), from 0 to 1. If r < 0, it is 0, as the formula has a pole
    there. With failed runs, k is the mean number of runs of the candidates that have any. None as
    in `noise_ceiling`.

    >>> round(corrected_ceiling([[1, 1], [2, 3], [3, 2], [4, 4]]), 3)
    0.889
    """
    errors = check_errors(errors)
    r = noise_ceiling(errors)
    if r is None:
        return None
    runs = np.isfinite(errors).sum(axis=1)
    k, r = float(runs[runs > 0].mean()), max(r, 0.0)
    return k * r / (1 + (k - 1) * r)
