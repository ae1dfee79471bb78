import itertools
from functools import partial

import numpy as np
import pytest
from scipy import stats

from augury.validation import statistics
from augury.validation.statistics import (
    Correlation,
    beats_random,
    bootstrap,
    bootstrap_spearman,
    corrected_ceiling,
    kendall,
    ndcg,
    noise_ceiling,
    regret,
    rho,
    spearman,
    tau,
)

#: Rounding of a dozen operations.
CLOSE = 1e-12


def scores(n, seed, *, ties=False):
    """Estimates and errors, mildly associated."""
    rng = np.random.default_rng(seed)
    estimate, noise = rng.standard_normal((2, n))
    error = 20 + estimate + noise
    return (np.round(estimate), np.round(error)) if ties else (estimate, error)


def orders_of(estimate):
    """Every order of the candidates that the estimate allows, best first."""
    n = len(estimate)
    return [
        list(order)
        for order in itertools.permutations(range(n))
        if all(estimate[i] <= estimate[j] for i, j in itertools.pairwise(order))
    ]


# --------------------------------------------------------------------------- correlation


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [3, 6, 20])
def test_values_are_scipy_s(n, ties):
    for seed in range(5):
        estimate, error = scores(n, seed, ties=ties)
        if min(len(set(estimate)), len(set(error))) == 1:
            continue
        assert rho(estimate, error) == pytest.approx(stats.spearmanr(estimate, error)[0], abs=CLOSE)
        assert tau(estimate, error) == pytest.approx(
            stats.kendalltau(estimate, error)[0], abs=CLOSE
        )


def test_correlations_by_hand():
    # One swap of neighbours: 1 - 6 · 2 / (4 · 15), and 5 pairs of 6 agree.
    estimate, error = [1, 2, 3, 4], [10, 30, 20, 40]
    # Orders of four at least as good: the perfect one and three with such a swap.
    assert spearman(estimate, error) == Correlation(pytest.approx(0.8), 4 / 24)
    assert kendall(estimate, error) == Correlation(pytest.approx(4 / 6), 4 / 24)


@pytest.mark.parametrize(("own", "oracle"), [(spearman, "spearmanr"), (kendall, "kendalltau")])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [4, 5])
def test_p_values_of_few_are_the_share_of_all_orders(own, oracle, ties, n):
    function = getattr(stats, oracle)
    seed = {4: 2, 5: 0}[n]
    estimate, error = scores(n, seed, ties=ties)
    observed = function(estimate, error)[0]
    every = [function(estimate, order)[0] for order in itertools.permutations(error)]
    # The oracle's equal values differ by rounding.
    expected = np.mean([value >= observed - 1e-9 for value in every])
    assert own(estimate, error).p_value == expected


def test_p_values_are_one_sided():
    estimate = np.arange(8.0)
    for function in (spearman, kendall):
        assert function(estimate, estimate).p_value == pytest.approx(1 / 40320)
        assert function(estimate, -estimate).p_value == 1


@pytest.mark.parametrize("n", [9, 20])
def test_p_values_of_many_are_near_the_exact_ones(n):
    estimate, error = scores(n, 3)
    exact = stats.kendalltau(estimate, error, method="exact", alternative="greater").pvalue
    assert 0.001 < exact < 0.5
    # Four standard errors of a share of 99,999.
    assert kendall(estimate, error).p_value == pytest.approx(
        exact, abs=4 * np.sqrt(exact * (1 - exact) / 99_999)
    )


@pytest.mark.parametrize("function", [spearman, kendall])
def test_drawn_orders_agree_with_all_orders(function):
    """Ties, where orders that are equal have to count, among them."""
    estimate, error = [1, 1, 2, 3, 3, 4, 5], [3, 2, 2, 5, 4, 4, 6]
    exact = function(estimate, error).p_value
    drawn = function(estimate, error, exact_up_to=0).p_value
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 99_999))


@pytest.mark.parametrize("function", [spearman, kendall])
def test_drawn_p_values_count_the_order_as_observed(monkeypatch, function):
    monkeypatch.setattr(statistics, "BATCH", 7)  # does not divide the draws
    assert function(np.arange(12), np.arange(12), draws=19).p_value == 1 / 20
    # None reaches more than the order as observed, if that is the worst: all do.
    assert function(np.arange(12), -np.arange(12), draws=19).p_value == 1


@pytest.mark.parametrize("function", [spearman, kendall])
def test_defaults_are_99_999_orders_of_seed_0(function):
    estimate, error = scores(12, 0)
    default = function(estimate, error)
    assert default == function(estimate, error, draws=99_999, seed=0)
    # One draw less, or other draws, give another share.
    assert default != function(estimate, error, draws=99_998, seed=0)
    assert default != function(estimate, error, seed=1)


def test_defaults_are_2000_replicates():
    estimate, errors = measured()
    (default,) = bootstrap_spearman([estimate], errors, seed=0)
    assert [default] == bootstrap_spearman([estimate], errors, replicates=2000, seed=0)
    for replicates in (1999, 2001):
        assert [default] != bootstrap_spearman([estimate], errors, replicates=replicates, seed=0)
    assert bootstrap(rho, estimate, errors, seed=0) == pytest.approx(default, abs=CLOSE)


def test_the_seed_sets_the_p_value():
    estimate, error = scores(12, 0)
    first, same, other = (spearman(estimate, error, draws=500, seed=seed) for seed in (1, 1, 2))
    assert first == same
    assert first.p_value != other.p_value


@pytest.mark.parametrize("function", [spearman, kendall])
def test_without_an_order_there_is_no_correlation(function):
    nothing = Correlation(None, None)
    assert function([1, 1, 1, 1], [1, 2, 3, 4]) == nothing
    assert function([1, 2, 3, 4], [1, 1, 1, 1]) == nothing
    assert function([1, 2], [1, 2]) == nothing
    assert function([1], [1]) == nothing
    assert function([1, 2, np.inf], [1, 2, 3]).value == 1


@pytest.mark.parametrize("function", [rho, tau, ndcg, beats_random, lambda a, b: regret(a, b, 1)])
def test_input_that_can_not_be_ordered_is_refused(function):
    with pytest.raises(ValueError, match=r"estimate: 1 of 3 .* candidate 1"):
        function([1, np.nan, 3], [1, 2, 3])
    with pytest.raises(ValueError, match=r"error: 2 of 3 .* candidate 0"):
        function([1, 2, 3], [np.nan, np.inf, 3])
    for estimate, error in (([1, 2, 3], [1, 2]), ([[1, 2]], [[1, 2]]), ([], [])):
        with pytest.raises(ValueError, match="for every candidate"):
            function(estimate, error)


# ----------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [7, 15])
def test_the_estimate_counts_by_its_order_alone(n, ties):
    estimate, error = scores(n, 1, ties=ties)
    quick = [partial(function, draws=2000) for function in (spearman, kendall)]
    for function in (*quick, ndcg, beats_random, lambda a, b: regret(a, b, 2)):
        assert function(np.exp(3 * estimate), error) == function(estimate, error)
    for function in (*quick, beats_random):
        assert function(estimate, error**3) == function(estimate, error)


@pytest.mark.parametrize("function", [rho, tau])
def test_the_reverse_has_the_other_sign(function):
    estimate, error = scores(9, 2, ties=True)
    assert abs(function(estimate, error)) > 0.1
    assert function(-estimate, error) == -function(estimate, error)
    assert function(error, estimate) == function(estimate, error)


def test_the_order_of_candidates_does_not_matter():
    estimate, error = scores(7, 4, ties=True)
    turned = np.random.default_rng(0).permutation(7)
    for function in (spearman, kendall):
        assert function(estimate[turned], error[turned]) == function(estimate, error)
    for function in (ndcg, beats_random, lambda a, b: regret(a, b, 3)):
        assert function(estimate[turned], error[turned]) == pytest.approx(
            function(estimate, error), abs=CLOSE
        )


def test_a_perfect_order_has_the_best_of_all_figures():
    error = np.array([3.0, 1.0, 4.5, 2.0, 9.0])
    assert rho(error, error) == tau(error, error) == 1
    assert ndcg(error, error) == pytest.approx(1, abs=CLOSE)
    assert beats_random(error, error) == 1
    assert [regret(error, error, top) for top in range(1, 6)] == [0] * 5


def test_the_worst_order_has_the_worst():
    error = np.array([3.0, 1.0, 4.5, 2.0, 9.0])
    assert beats_random(-error, error) == 0
    assert [regret(-error, error, top) for top in range(1, 6)] == [8, 3.5, 2, 1, 0]
    every = [ndcg(order, error) for order in itertools.permutations(range(5))]
    assert ndcg(-error, error) == pytest.approx(min(every), abs=CLOSE)


# ------------------------------------------------------------------------ regret and gain


def test_regret_by_hand():
    estimate, error = [1, 2, 2, 2, 3], [7.0, 5.0, 4.0, 9.0, 1.0]
    assert regret(estimate, error, 1) == 6
    # With one of three tied: least is 5, 4 or 7.
    assert regret(estimate, error, 2) == pytest.approx(16 / 3 - 1, abs=CLOSE)
    # With two of three: 4 unless it is the one left out.
    assert regret(estimate, error, 3) == pytest.approx((4 + 4 + 5) / 3 - 1, abs=CLOSE)
    assert regret(estimate, error, 4) == 3
    assert regret(estimate, error, 5) == 0
    for top in (0, 6):
        with pytest.raises(ValueError, match="take 1 to all"):
            regret(estimate, error, top)


def test_ndcg_by_hand():
    # Gains 1, 0.75, 0; discounts 1, 0.6309, 0.5.
    ideal = 1 + 0.75 / np.log2(3)
    assert ndcg([3, 1, 2], [0, 1, 4]) == pytest.approx((0.75 + 0.5) / ideal, abs=CLOSE)
    # All tied: each has the mean discount.
    mean = (1 + 1 / np.log2(3) + 0.5) / 3
    assert ndcg([1, 1, 1], [0, 1, 4]) == pytest.approx(1.75 * mean / ideal, abs=CLOSE)
    assert ndcg([1, 2, 3], [4, 4, 4]) is None


def test_beats_random_by_hand():
    assert beats_random([1, 2, 3, 4], [5, 5, 4, 9]) == 1.5 / 3
    assert beats_random([1, 1, 3, 4], [5, 6, 4, 9]) == (2 / 3 + 1 / 3) / 2
    with pytest.raises(ValueError, match="one candidate"):
        beats_random([1], [1])


def plain_regret(order, error, top):
    return min(error[i] for i in order[:top]) - min(error)


def plain_ndcg(order, error):
    worst, best = max(error), min(error)
    gains = [(worst - error[i]) / (worst - best) for i in order]
    total, ideal = (
        sum(gain / np.log2(rank + 1) for rank, gain in enumerate(list_, 1))
        for list_ in (gains, sorted(gains, reverse=True))
    )
    return total / ideal


def plain_beats_random(order, error):
    first, *others = (error[i] for i in order)
    return np.mean([1 if first < other else 0.5 if first == other else 0 for other in others])


@pytest.mark.parametrize("seed", range(4))
def test_ties_are_averaged_over_every_way_to_break_them(seed):
    rng = np.random.default_rng(seed)
    estimate, error = rng.integers(0, 3, 6), rng.integers(0, 5, 6)
    orders = orders_of(estimate)
    assert len(orders) > 1
    for top in range(1, 7):
        expected = np.mean([plain_regret(order, error, top) for order in orders])
        assert regret(estimate, error, top) == pytest.approx(expected, abs=CLOSE)
    expected = np.mean([plain_ndcg(order, error) for order in orders])
    assert ndcg(estimate, error) == pytest.approx(expected, abs=CLOSE)
    expected = np.mean([plain_beats_random(order, error) for order in orders])
    assert beats_random(estimate, error) == pytest.approx(expected, abs=CLOSE)


def test_regret_of_many_tied_does_not_overflow():
    n = 1200
    expected = (n + 1) / (n // 2 + 1) - 1  # of the least of n/2 drawn from 1 to n
    assert regret(np.zeros(n), np.arange(1, n + 1), n // 2) == pytest.approx(expected, rel=1e-9)


# ----------------------------------------------------------------------------- bootstrap


def measured(n=12, seeds=3, noise=0.5, seed=0, *, failed=False):
    """An estimate and errors over seeds, a few of which failed."""
    rng = np.random.default_rng(seed)
    quality = rng.standard_normal(n)
    errors = quality[:, None] + noise * rng.standard_normal((n, seeds))
    if failed:
        errors[0, 0] = errors[3, 1] = errors[3, 2] = errors[5, 2] = np.nan
    return quality + 0.5 * rng.standard_normal(n), errors


@pytest.mark.parametrize("failed", [False, True])
def test_all_estimators_at_once_are_each_one_alone(failed):
    estimate, errors = measured(failed=failed)
    estimates = np.stack([estimate, -estimate, np.round(estimate)])
    common = {"replicates": 100, "seed": 1}
    intervals = bootstrap_spearman(estimates, errors, **common)
    for row, interval in zip(estimates, intervals, strict=True):
        alone = bootstrap(lambda a, b: stats.spearmanr(a, b)[0], row, errors, **common)
        assert interval == pytest.approx(alone, abs=CLOSE)
        assert interval[0] < rho(row, np.nanmean(errors, axis=1)) < interval[1]


def test_only_runs_that_succeeded_are_drawn_and_each_as_often():
    errors = np.array([[1.0, 2.0, np.nan], [10, 20, 30], [np.nan, 200, np.nan], [4e3, 4e3, 4e3]])
    candidates, means = statistics._resample(errors, 6000, 0)
    # A share of 24,000 has a standard error of 0.003.
    assert np.bincount(candidates.ravel()) / 24_000 == pytest.approx([0.25] * 4, abs=0.012)
    values, counts = np.unique(means[candidates == 0], return_counts=True)
    assert values.tolist() == [1, 1.5, 2]
    assert counts / counts.sum() == pytest.approx([0.25, 0.5, 0.25], abs=0.025)
    assert set(means[candidates == 2]) == {200}
    # The mean of three drawn from three: variance 200/3 a third as large.
    assert means[candidates == 1].var() == pytest.approx(200 / 9, rel=0.1)
    assert means[candidates == 1].mean() == pytest.approx(20, abs=0.25)
    # Copies of a candidate have draws of their own.
    twice = (candidates[:, :2] == 1).all(axis=1)
    assert np.corrcoef(means[twice, :2].T)[0, 1] == pytest.approx(0, abs=0.2)


def test_copies_with_the_same_runs_are_equal():
    errors = np.random.default_rng(0).standard_normal((1, 5))
    _, means = statistics._resample(errors, 5000, 0)
    # To draw five of five, whatever their order, there are C(9, 5) ways.
    assert 100 < len(np.unique(means)) <= 126


def test_the_interval_covers_the_correlation_of_all_candidates():
    """Each of 100 samples' intervals against the correlation in all candidates there are."""
    truth = rho(*(v.mean(axis=1) if v.ndim == 2 else v for v in measured(n=20_000, seed=99)))
    covered = []
    for seed in range(100):
        estimate, errors = measured(n=25, seed=seed)
        ((low, high),) = bootstrap_spearman(estimate[None], errors, replicates=300, seed=0)
        covered.append(low < truth < high)
    # Nominal 0.95, of which 100 samples have a standard error of 0.02.
    assert 0.86 <= np.mean(covered) <= 0.99


def test_noise_of_the_runs_is_in_the_interval():
    """Of an estimate that is the mean error, so that the draw of candidates changes nothing."""
    _, errors = measured(n=15)
    mean = errors.mean(axis=1)
    settled = np.repeat(mean[:, None], 3, axis=1)
    assert bootstrap_spearman([mean], settled, seed=0) == [pytest.approx((1, 1), abs=CLOSE)]
    low, high = bootstrap_spearman([mean], errors, seed=0)[0]
    # And more of it than in the mean itself, as its runs are drawn once more: below its value.
    assert low < high < 1
    assert low < 0.95


def test_the_seed_sets_the_interval():
    estimate, errors = measured()
    first, same, other = (
        bootstrap(ndcg, estimate, errors, replicates=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == same != other


def test_there_is_no_interval_where_there_is_nothing_to_resample():
    estimate, errors = measured(n=3)
    few = {"replicates": 50, "seed": 0}
    assert bootstrap(rho, estimate, errors, **few) is None
    assert bootstrap_spearman([estimate, estimate], errors, **few) == [None, None]
    estimate, errors = measured(n=4)
    assert bootstrap(rho, estimate, errors, **few) is not None
    assert bootstrap(rho, np.ones(4), errors, **few) is None
    constant, other = bootstrap_spearman([np.ones(4), estimate], errors, **few)
    assert constant is None
    assert other is not None


@pytest.mark.parametrize(("every", "defined"), [(2, True), (3, False)])
def test_replicates_without_a_statistic_are_left_out_up_to_half(every, defined):
    calls = itertools.count()

    def statistic(estimate, error):
        return 1.0 if next(calls) % every == 0 else None

    interval = bootstrap(statistic, *measured(), replicates=60, seed=0)
    assert interval == ((1, 1) if defined else None)


def test_candidates_without_a_run_are_refused():
    estimate, errors = measured()
    errors[2] = np.nan
    for function in (
        lambda: bootstrap(rho, estimate, errors, seed=0),
        lambda: bootstrap_spearman([estimate], errors, seed=0),
    ):
        with pytest.raises(ValueError, match=r"1 of 12 candidates .* candidate 2"):
            function()
    with pytest.raises(ValueError, match="failed is NaN"):
        noise_ceiling([[1, 2], [np.inf, 3]])
    with pytest.raises(ValueError, match="one column"):
        noise_ceiling([1, 2, 3])


def test_two_candidates_are_enough_to_be_better_than_a_random_other_one():
    assert beats_random([1, 2], [0.1, 0.2]) == 1
    assert beats_random([1, 2], [0.2, 0.1]) == 0
    assert beats_random([1, 1], [0.2, 0.1]) == 0.5
    with pytest.raises(ValueError, match="there is one candidate"):
        beats_random([1], [0.1])


# ------------------------------------------------------------------------- noise ceiling


def test_ceilings_by_hand():
    # ρ of the pairs: 0.8 (one swap of neighbours), 1 and 0.8.
    errors = np.array([[1, 2, 3, 4], [1, 3, 2, 4], [10, 20, 30, 40]]).T
    r = 2.6 / 3
    assert noise_ceiling(errors) == pytest.approx(r, abs=CLOSE)
    assert corrected_ceiling(errors) == pytest.approx(3 * r / (1 + 2 * r), abs=CLOSE)


def test_ceilings_with_failed_runs():
    # Without the candidates that failed the orders are 1 2 3 4 and 1 3 2 4.
    errors = np.array([[1, 2, np.nan, 3, 4, np.nan], [1, 3, 9, 2, 4, np.nan]]).T
    assert noise_ceiling(errors) == pytest.approx(0.8, abs=CLOSE)
    k = 9 / 5
    assert corrected_ceiling(errors) == pytest.approx(k * 0.8 / (1 + (k - 1) * 0.8), abs=CLOSE)
    # A third seed of which two candidates are there has no part.
    errors = np.column_stack([errors, [1, 2, *[np.nan] * 4]])
    assert noise_ceiling(errors) == pytest.approx(0.8, abs=CLOSE)


@pytest.mark.parametrize("function", [noise_ceiling, corrected_ceiling])
def test_there_is_no_ceiling_without_two_orders(function):
    assert function(np.arange(5.0)[:, None]) is None
    assert function([[1, 2], [3, 4]]) is None
    assert function([[1, 2], [3, 4], [5, np.nan]]) is None
    assert function([[1, 2], [3, 2], [5, 2]]) is None
    assert function([[1, 2], [3, 4], [5, 6]]) == 1


def test_seeds_that_disagree_have_no_reliability():
    assert noise_ceiling([[1, 3], [2, 2], [3, 1]]) == -1
    assert corrected_ceiling([[1, 3], [2, 2], [3, 1]]) == 0


def test_the_corrected_ceiling_is_the_correlation_of_two_means():
    """Of normal errors, whose reliability is known."""
    rng = np.random.default_rng(0)
    quality = rng.standard_normal((2000, 1))
    first, second = (quality + rng.standard_normal((2000, 4)) for _ in range(2))
    agreement = rho(first.mean(axis=1), second.mean(axis=1))
    # A ρ of 2000 has a standard error of 0.01; Spearman's is 0.015 below Pearson's, of which the
    # prediction is true.
    assert corrected_ceiling(first) == pytest.approx(agreement, abs=0.03)
    assert noise_ceiling(first) < agreement - 0.2
