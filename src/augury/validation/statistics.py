"""How well does a ranking predict what was measured? Correlations, regret, intervals, ceilings.

The estimate of each candidate is compared with its downstream error; both are better when lower,
and a good ranking's association is positive. Estimates count by their order alone, and where they
are equal no order is made up: the figures are then means over all ways of breaking the ties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from augury.errors import InputError

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Orders = NDArray[np.int64]

#: Up to so many candidates all orders are gone through, 40,320 of them.
EXACT = 8
#: Random orders made at once.
BATCH = 5000
#: Of fewer candidates a correlation says nothing: of two it is 1 or -1.
FEWEST = 3
#: Fewer candidates are not resampled.
FEWEST_RESAMPLED = 4
#: Share of the replicates in an interval.
LEVEL = 0.95


# --------------------------------------------------------------------------- correlation


@dataclass(frozen=True)
class Correlation:
    """How far two orders agree; None where one of them is no order, or of fewer than three."""

    value: float | None  # -1..1, higher is better
    p_value: float | None  # one-sided: of an association at least as positive by chance


def spearman(
    estimate: ArrayLike, error: ArrayLike, *,
    draws: int = 99_999, seed: int = 0, exact_up_to: int = EXACT,
) -> Correlation:  # fmt: skip
    """Spearman's ρ, the correlation of mid-ranks, with its one-sided permutation p-value.

    Exact, ties or not: over all orders of up to 8 candidates, and (1 + orders that reach it) /
    (1 + draws) with random orders of more.

    Args:
        estimate: (candidates,), infinite ones are in order, NaN is refused.
        error: (candidates,), finite.
        draws: random orders.
        seed: of the draws.
        exact_up_to: candidates up to which all orders are gone through.

    Raises:
        InputError: shapes that differ, or values that are not numbers in order.

    >>> spearman([1, 2, 3, 4], [0.1, 0.3, 0.2, 0.4]).value
    0.8
    """
    estimate, error = _check_pair(estimate, error)
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
    """Kendall's τ-b with its one-sided permutation p-value; all else as in `spearman`.

    >>> round(kendall([1, 2, 3, 4], [0.1, 0.3, 0.2, 0.4]).value, 3)
    0.667
    """
    estimate, error = _check_pair(estimate, error)
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
    """`spearman` without the p-value, as `bootstrap` wants it."""
    return _rho(*_check_pair(estimate, error))


def tau(estimate: ArrayLike, error: ArrayLike) -> float | None:
    """`kendall` without the p-value, as `bootstrap` wants it."""
    return _tau(*_check_pair(estimate, error))


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
    """Mid-ranks along the last axis, doubled and less their mean.

    Whole numbers, and so are their products: what is equal is equal without a tolerance.
    """
    return 2 * rankdata(values, axis=-1) - (values.shape[-1] + 1)


def _correlations(a: Vector, b: Vector) -> Vector:
    """Of centred values along the last axis, NaN where either is constant."""
    scale = np.sqrt(np.vecdot(a, a) * np.vecdot(b, b))
    return np.divide(np.vecdot(a, b), scale, out=np.full_like(scale, np.nan), where=scale > 0)


def _signs(values: Vector) -> NDArray[np.int32]:
    """(n, n): 1 where the column's value is above the row's, -1 where below, 0 where equal."""
    row, column = values[:, None], values[None]
    return (column > row).astype(np.int32) - (column < row)


def _concordance(signs: NDArray[np.int32], ranks: NDArray[np.int32]) -> Orders:
    """(orders,) concordant less discordant pairs, of whole ranks (orders, n)."""
    total = np.zeros(len(ranks), np.int64)
    for i in range(len(signs) - 1):
        total += np.sign(ranks[:, i + 1 :] - ranks[:, i : i + 1]) @ signs[i, i + 1 :]
    return total


def _p_value(
    statistic: Callable[[Orders], NDArray],
    candidates: int,
    draws: int,
    seed: int,
    exact_up_to: int,
) -> float:
    """The share of orders whose statistic reaches that of the order as observed."""
    places = np.arange(candidates)
    observed = statistic(places[None])[0]
    if candidates <= exact_up_to:
        return float((statistic(_all_orders(candidates)) >= observed).mean())
    rng, reached = np.random.default_rng(seed), 0
    for done in range(0, draws, BATCH):
        orders = rng.permuted(np.tile(places, (min(BATCH, draws - done), 1)), axis=1)
        reached += np.count_nonzero(statistic(orders) >= observed)
    return (1 + reached) / (1 + draws)


@cache
def _all_orders(n: int) -> Orders:
    return np.array(list(permutations(range(n))))


# ---------------------------------------------------------------- what a choice would cost


def regret(estimate: ArrayLike, error: ArrayLike, top: int) -> float:
    """How much less the error could be than the least among the `top` candidates put first.

    In the error's own units; 0 is perfect. Of candidates tied across the edge, some are drawn by
    chance: the least of k drawn from t is their j-th best with probability C(t-j, k-1) / C(t, k).

    >>> regret([2, 1, 3], [0.25, 0.5, 1.0], top=1)
    0.25
    """
    estimate, error = _check_pair(estimate, error)
    if not 1 <= top <= len(error):
        raise InputError(f"top is {top}, but there are {len(error)} candidates; take 1 to all")
    edge = np.sort(estimate)[top - 1]
    sure, tied = error[estimate < edge], np.sort(error[estimate == edge])
    t, k = len(tied), top - len(sure)
    chances = np.array([comb(t - j, k - 1) / comb(t, k) for j in range(1, t + 1)])
    return float(chances @ (np.minimum(tied, sure.min(initial=np.inf)) - error.min()))


def ndcg(estimate: ArrayLike, error: ArrayLike) -> float | None:
    """Normalised discounted cumulative gain over all candidates, up to 1; None of equal errors.

    The gain is linear, 1 for the least error and 0 for the greatest, and the discount
    1 / log2(1 + rank) (Järvelin & Kekäläinen 2002, in Burges et al.'s form). Ties share the mean of
    their discounts (McSherry & Najork 2008).

    >>> round(ndcg([2, 1, 3], [0, 1, 4]), 3)
    0.937
    """
    estimate, error = _check_pair(estimate, error)
    gain = error.max() - error  # its unit cancels
    if not gain.any():
        return None
    discount = 1 / np.log2(np.arange(len(error)) + 2)
    _, group, size = np.unique(estimate, return_inverse=True, return_counts=True)
    shared = np.bincount(np.sort(group), discount) / size
    return float(gain @ shared[group] / (np.sort(gain)[::-1] @ discount))


def beats_random(estimate: ArrayLike, error: ArrayLike) -> float:
    """Probability that the candidate put first has less error than one drawn from the others.

    0.5 is chance, 1 the best. Equal errors count half.

    >>> beats_random([1, 2, 3], [0.25, 0.5, 0.125])
    0.5
    """
    estimate, error = _check_pair(estimate, error)
    if len(error) < 2:
        raise InputError("there is one candidate, but it is held against others; pass two or more")
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
    """The middle 95 % of a statistic, with candidates and each one's runs drawn anew.

    Candidates are drawn with replacement, and then, for each copy by itself, as many of its runs as
    it has. The estimate is held: what its own sample adds is not in the interval. Runs drawn anew
    have their noise twice: with few noisy runs the interval lies somewhat below the statistic, and
    of a near perfect one may leave it out.

    Args:
        statistic: of estimates and mean errors, (candidates,) each; `rho`, `tau`, `ndcg`.
        estimate: (candidates,).
        errors: (candidates, seeds), NaN where a run failed; each candidate has one that did not.
        replicates: those where the statistic is None are left out.
        seed: of the draws; the same give the same, whatever the statistic.

    Returns:
        None of fewer than four candidates, or if the statistic is None in over half of the
        replicates.
    """
    errors = _check_runs(errors)
    estimate, _ = _check_pair(estimate, np.nanmean(errors, axis=1))
    if len(estimate) < FEWEST_RESAMPLED:
        return None
    drawn = zip(*_resample(errors, replicates, seed), strict=True)
    found = [statistic(estimate[candidates], means) for candidates, means in drawn]
    return _middle_interval(np.array(found, np.float64))


def bootstrap_spearman(
    estimates: ArrayLike, errors: ArrayLike, *, replicates: int = 2000, seed: int
) -> list[tuple[float, float] | None]:
    """`bootstrap` of `rho` for each row of estimates, (estimators, candidates), all on one draw."""
    errors = _check_runs(errors)
    means = np.nanmean(errors, axis=1)
    rows = [_check_pair(estimate, means)[0] for estimate in np.asarray(estimates, np.float64)]
    if len(errors) < FEWEST_RESAMPLED:
        return [None] * len(rows)
    candidates, means = _resample(errors, replicates, seed)
    ranks = _doubled_ranks(means)
    return [_middle_interval(_correlations(_doubled_ranks(row[candidates]), ranks)) for row in rows]


def _resample(errors: Matrix, replicates: int, seed: int) -> tuple[Orders, Matrix]:
    """Candidates drawn and the mean error of the runs drawn of each, (replicates, candidates)."""
    rng = np.random.default_rng(seed)
    n, seeds = errors.shape
    candidates = rng.integers(n, size=(replicates, n))
    # Failed runs are sorted last, never drawn, and the column past them adds nothing.
    runs = np.isfinite(errors).sum(axis=1)[candidates]
    values = np.pad(np.nan_to_num(np.sort(errors, axis=1)), ((0, 0), (0, 1)))
    drawn = rng.integers(runs[:, :, None], size=(replicates, n, seeds))
    drawn[np.arange(seeds) >= runs[:, :, None]] = seeds
    drawn.sort(axis=2)  # copies with the same runs are then equal to the last bit
    return candidates, values[candidates[:, :, None], drawn].sum(axis=2) / runs


def _middle_interval(found: Vector) -> tuple[float, float] | None:
    """The middle of the replicates, unless over half of them are NaN."""
    kept = found[~np.isnan(found)]
    if not len(kept) or 2 * len(kept) < len(found):
        return None
    ends = (1 - LEVEL) / 2
    low, high = np.quantile(kept, [ends, 1 - ends])
    return float(low), float(high)


# ------------------------------------------------------------------------- noise ceiling


def noise_ceiling(errors: ArrayLike) -> float | None:
    """Mean ρ of the orders that two seeds give the candidates: how far one run can be believed.

    A reliability: of one run a perfect ranking reaches about its square root.

    Args:
        errors: (candidates, seeds), NaN where a run failed: a pair of seeds is compared on the
            candidates that have both.

    Returns:
        None if no pair of seeds has three candidates in common, whose errors differ.

    >>> noise_ceiling([[1, 1], [2, 3], [3, 2], [4, 4]])
    0.8
    """
    found = []
    for pair in combinations(_check_errors(errors).T, 2):
        both = ~np.isnan(pair).any(axis=0)
        value = _rho(pair[0][both], pair[1][both])
        if value is not None:
            found.append(value)
    return float(np.mean(found)) if found else None


def corrected_ceiling(errors: ArrayLike) -> float | None:
    """Reliability of the mean over the seeds, k r / (1 + (k - 1) r), with r the noise ceiling.

    Spearman's and Brown's prediction (1910). Seeds that disagree, r < 0, give 0, where the formula
    has a pole. With failed runs k is the mean number of runs of a candidate that has any.

    >>> round(corrected_ceiling([[1, 1], [2, 3], [3, 2], [4, 4]]), 3)
    0.889
    """
    errors = _check_errors(errors)
    r = noise_ceiling(errors)
    if r is None:
        return None
    runs = np.isfinite(errors).sum(axis=1)
    k, r = float(runs[runs > 0].mean()), max(r, 0.0)
    return k * r / (1 + (k - 1) * r)


# --------------------------------------------------------------------------------- input


def _check_pair(estimate: ArrayLike, error: ArrayLike) -> tuple[Vector, Vector]:
    estimate, error = np.asarray(estimate, np.float64), np.asarray(error, np.float64)
    if estimate.ndim != 1 or estimate.shape != error.shape or not len(error):
        raise InputError(
            f"estimate has shape {estimate.shape} and error {error.shape}, but both are to be "
            "(candidates,); pass one of each for every candidate"
        )
    for name, bad in (("estimate", np.isnan(estimate)), ("error", ~np.isfinite(error))):
        if bad.any():
            raise InputError(
                f"{name}: {bad.sum()} of {len(bad)} are not numbers in order (the first is of "
                f"candidate {bad.argmax()}); leave those candidates out"
            )
    return estimate, error


def _check_errors(errors: ArrayLike) -> Matrix:
    errors = np.asarray(errors, np.float64)
    if errors.ndim != 2:
        raise InputError(
            f"errors has shape {errors.shape}, but (candidates, seeds) is wanted; a single seed is "
            "one column"
        )
    if np.isinf(errors).any():
        raise InputError("errors: some are infinite; a run that failed is NaN")
    return errors


def _check_runs(errors: ArrayLike) -> Matrix:
    errors = _check_errors(errors)
    failed = np.isnan(errors).all(axis=1)
    if failed.any():
        raise InputError(
            f"errors: {failed.sum()} of {len(errors)} candidates have no run that succeeded (the "
            f"first is candidate {failed.argmax()}); leave them out"
        )
    return errors
