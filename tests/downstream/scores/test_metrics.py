import itertools
import math

import numpy as np
import pytest

from augury.downstream.scores import metrics
from augury.downstream.scores.metrics import EqualError

import oracles_metrics

# ------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("targets", "nontargets", "rate", "threshold"),
    [
        ([3, 4], [1, 2], 0, 3),  # apart
        ([1, 2], [3, 4], 1, 3),  # the wrong way round
        ([1, 3, 4, 5], [0, 0.5, 2, 2.5], 1 / 4, 2.5),  # at 2.5: misses 1 of 4, alarms 1 of 4
        ([1], [1], 1 / 2, 1),  # one tie: half of it accepted
        ([2, 2], [2, 2, 2], 1 / 2, 2),
        ([1, 2], [1], 1 / 3, 1),  # a of the tie rejected: misses a/2, alarms 1 − a
        ([0, 1], [-1, 0.5, 2], 1 / 2, 0.5),  # a step across: misses 1/2, alarms from 2/3 to 1/3
    ],
)
def test_eer_by_hand(targets, nontargets, rate, threshold):
    assert metrics.eer(targets, nontargets) == EqualError(rate, threshold)  # rounded fractions


def test_min_dcf_by_hand():
    targets, nontargets = [1, 3], [0, 0, 0, 2]
    # From 3 on: misses 1/2, no alarm, cost .5 · .5, over min(.5, .5). From 1 on: alarms 1/4.
    assert metrics.min_dcf(targets, nontargets, p_target=0.5) == 0.25
    # With .01, rejecting all costs .01: from 1 on .99/4, from 3 on .005.
    assert metrics.min_dcf(targets, nontargets) == pytest.approx(0.5, rel=1e-15)
    # A miss at 99 times the cost makes both weigh .99, but for rounding.
    assert metrics.min_dcf(targets, nontargets, cost_miss=99) == pytest.approx(0.25, rel=1e-15)
    assert metrics.min_dcf([3, 4], [1, 2]) == 0
    assert metrics.min_dcf([1, 2], [3, 4]) == 1
    assert metrics.min_dcf([1], [1]) == 1


def test_det_by_hand():
    alarms, misses = metrics.det([1, 3, 4, 5], [0, 0.5, 2, 2.5])
    assert alarms.tolist() == [1, 0.5, 0.5, 0, 0]
    assert misses.tolist() == [0, 0, 0.25, 0.25, 1]
    alarms, misses = metrics.det([1, 1], [1, 1, 1])  # a tie is a diagonal
    assert (alarms.tolist(), misses.tolist()) == ([1, 0], [0, 1])
    # Two ties of the same proportions are one line.
    alarms, misses = metrics.det([1, 2], [1, 1, 2, 2])
    assert (alarms.tolist(), misses.tolist()) == ([1, 0], [0, 1])


# ------------------------------------------------------------------------------- oracles


def draw_scores(rng):
    """A few trials, of few values so that many tie, or of many."""
    a, b = rng.integers(1, 9, 2)
    values = rng.integers(0, rng.choice([1, 3, 6, 50]), a + b, endpoint=True) + 0.0
    return values[:a] + rng.choice([0, 1]), values[a:]


def test_against_every_threshold():
    rng = np.random.default_rng(0)
    for _ in range(500):
        targets, nontargets = draw_scores(rng)
        rate, threshold = oracles_metrics.eer(targets.tolist(), nontargets.tolist())
        assert metrics.eer(targets, nontargets) == EqualError(float(rate), threshold)
        p, miss, alarm = rng.uniform(0.01, 0.99), *rng.uniform(0.1, 10, 2)
        dcf = metrics.min_dcf(
            targets, nontargets, p_target=p, cost_miss=miss, cost_false_alarm=alarm
        )
        expected = oracles_metrics.min_dcf(targets.tolist(), nontargets.tolist(), p, miss, alarm)
        assert dcf == pytest.approx(expected, rel=1e-14)  # a handful of roundings


def test_det_has_all_corners_and_nothing_else():
    rng = np.random.default_rng(1)
    for _ in range(300):
        targets, nontargets = draw_scores(rng)
        alarms, misses = metrics.det(targets, nontargets)
        curve = [(float(f), float(m)) for _, m, f in oracles_metrics.points(targets, nontargets)]
        corners = list(zip(alarms, misses, strict=True))
        assert set(corners) <= set(curve)
        assert (corners[0], corners[-1]) == ((1, 0), (0, 1))
        along = misses - alarms  # rises from -1 to 1 without a stop: a place on the curve
        for f, m in curve:
            # Rates below 1 are rounded to 1e-16, and interpolation to a few of those.
            assert np.interp(m - f, along, misses) == pytest.approx(m, abs=1e-15)
        for (f, m), (g, n), (h, o) in zip(corners, corners[1:], corners[2:], strict=False):
            # Of at most 8 trials each, a corner's cross product is at least 1/64.
            assert abs((g - f) * (o - n) - (h - g) * (n - m)) > 1e-3


# ---------------------------------------------------------------------------------- laws


def test_rates_depend_on_the_order_of_scores_only():
    rng = np.random.default_rng(3)
    targets, nontargets = rng.standard_normal(300) + 1, rng.standard_normal(500)
    as_is = metrics.eer(targets, nontargets)
    mapped = metrics.eer(np.exp(targets), np.exp(nontargets))
    assert mapped == EqualError(as_is.rate, float(np.exp(as_is.threshold)))
    assert metrics.min_dcf(targets, nontargets) == metrics.min_dcf(targets**3, nontargets**3)
    permuted = rng.permutation(targets), rng.permutation(nontargets)
    assert metrics.eer(*permuted) == as_is
    assert metrics.min_dcf(*permuted) == metrics.min_dcf(targets, nontargets)


def test_negated_scores_swap_the_kinds_or_give_one_minus_the_rate():
    rng = np.random.default_rng(4)
    for _ in range(200):
        targets, nontargets = draw_scores(rng)
        rate = metrics.eer(targets, nontargets).rate
        assert metrics.eer(-nontargets, -targets).rate == rate
        assert metrics.eer(-targets, -nontargets).rate == pytest.approx(1 - rate, abs=1e-15)
        # Equal but for roundings of the costs.
        assert metrics.min_dcf(
            -nontargets, -targets, p_target=0.7, cost_miss=2, cost_false_alarm=3
        ) == pytest.approx(
            metrics.min_dcf(targets, nontargets, p_target=0.3, cost_miss=3, cost_false_alarm=2),
            rel=1e-14,
        )


def test_min_dcf_is_between_0_and_1():
    rng = np.random.default_rng(5)
    for _ in range(300):
        p, costs = rng.uniform(0.001, 0.999), rng.uniform(0.1, 10, 2)
        cost = metrics.min_dcf(
            *draw_scores(rng), p_target=p, cost_miss=costs[0], cost_false_alarm=costs[1]
        )
        assert 0 <= cost <= 1


def test_the_threshold_gives_the_rate():
    rng = np.random.default_rng(6)
    targets, nontargets = rng.standard_normal(1000) + 2, rng.standard_normal(1500)
    result = metrics.eer(targets, nontargets)
    # No ties: one trial more or less is all between the rates there and the crossing.
    assert (targets < result.threshold).mean() == pytest.approx(result.rate, abs=1 / 1000)
    assert (nontargets >= result.threshold).mean() == pytest.approx(result.rate, abs=1 / 1500)


def test_eer_of_two_normal_distributions():
    rng = np.random.default_rng(7)
    targets, nontargets = rng.standard_normal(200_000) + 2, rng.standard_normal(200_000)
    # Φ(−1); its standard error is sqrt(.1587 · .8413 / 200,000 / 2) = .0006: four of them.
    expected = math.erfc(1 / math.sqrt(2)) / 2
    assert metrics.eer(targets, nontargets).rate == pytest.approx(expected, abs=0.0024)


# ----------------------------------------------------------------------------- bootstrap


def trials(speakers, utterances, rng):
    """All pairs of utterances, scored by how near they are; some speakers vary more than others."""
    speaker = np.repeat(np.arange(speakers), utterances)
    x = 1.5 * rng.standard_normal((speakers, 2))[speaker]
    x += np.exp(0.5 * rng.standard_normal((speakers, 1)))[speaker] * rng.standard_normal(x.shape)
    a, b = np.triu_indices(len(x), 1)
    scores = -np.square(x[a] - x[b]).sum(axis=1)
    return scores, speaker[a] == speaker[b], speaker[a], speaker[b]


@pytest.mark.parametrize("seed", range(8))
def test_a_replicate_is_the_eer_of_repeated_trials(seed):
    scores, is_target, enrol, test = trials(5, 3, np.random.default_rng(0))
    scores = scores.round(1)  # some tie
    interval = metrics.bootstrap_eer(scores, is_target, enrol, test, replicates=1, seed=seed)
    copies = np.random.default_rng(seed).multinomial(5, np.full(5, 1 / 5))
    people = [(s, copy) for s in range(5) for copy in range(copies[s])]
    targets, nontargets = [], []
    for (s, i), (t, j) in itertools.product(people, people):
        between = scores[(enrol == s) & (test == t)]
        if (s, i) == (t, j):
            targets.extend(between)
        elif s != t:  # between two copies of one there is no trial
            nontargets.extend(between)
    rate, _ = oracles_metrics.eer(targets, nontargets)
    assert interval.low == interval.high == float(rate)
    assert interval.rate == metrics.eer(scores[is_target], scores[~is_target]).rate


def test_intervals_have_their_nominal_coverage():
    """Not so those of as many independent trials."""
    rng = np.random.default_rng(1)
    truth = np.mean(
        [metrics.eer(s[y], s[~y]).rate for s, y, *_ in (trials(15, 10, rng) for _ in range(300))]
    )
    covered, naive = 0, 0
    for _ in range(60):
        scores, is_target, enrol, test = trials(15, 10, rng)
        interval = metrics.bootstrap_eer(scores, is_target, enrol, test, replicates=200, seed=0)
        covered += interval.low <= truth <= interval.high
        std = math.sqrt(truth * (1 - truth) / is_target.sum())
        naive += abs(interval.rate - truth) < 1.96 * std
    # Of 60 at 95 %: below 52 in less than 1 % of draws. Measured on 150, 95 % and 69 %.
    assert covered >= 52
    assert naive < 52


def test_bootstrap_is_invariant_under_names_and_order():
    rng = np.random.default_rng(2)
    scores, is_target, enrol, test = trials(8, 3, rng)
    interval = metrics.bootstrap_eer(scores, is_target, enrol, test, replicates=50, seed=1)
    assert 0 <= interval.low <= interval.rate <= interval.high <= 1
    names = np.array(["ada", "bea", "cy", "dee", "eve", "fay", "gus", "hal"])
    order = rng.permutation(len(scores))
    again = metrics.bootstrap_eer(
        scores[order],
        is_target[order],
        names[enrol][order],
        names[test][order],
        replicates=50,
        seed=1,
    )
    assert again == interval
    other = metrics.bootstrap_eer(scores, is_target, enrol, test, replicates=50, seed=2)
    assert (other.low, other.high) != (interval.low, interval.high)


def test_the_interval_is_the_middle_share_of_the_replicates():
    scores, is_target, enrol, test = trials(8, 3, np.random.default_rng(2))
    rng, rates = np.random.default_rng(5), []
    for _ in range(101):
        times = rng.multinomial(8, np.full(8, 1 / 8))
        copies = np.where(is_target, times[enrol], times[enrol] * times[test])
        of_targets, of_others = (np.repeat(scores[m], copies[m]) for m in (is_target, ~is_target))
        rates.append(metrics.eer(of_targets, of_others).rate)
    interval = metrics.bootstrap_eer(
        scores, is_target, enrol, test, replicates=101, seed=5, level=0.8
    )  # fmt: skip
    assert (interval.low, interval.high) == pytest.approx(np.quantile(rates, [0.1, 0.9]))


def test_a_thousand_replicates_and_95_percent_are_usual():
    choices = ({}, {"replicates": 1000}, {"level": 0.95}, {"replicates": 999}, {"level": 0.9})
    every = trials(8, 3, np.random.default_rng(2))
    errors, counts = np.random.default_rng(0).integers(0, 9, (2, 40))
    found = [
        (
            metrics.bootstrap_eer(*every, seed=5, **choice),
            metrics.bootstrap_rate(errors, counts + 9, np.arange(40), seed=5, **choice),
        )
        for choice in choices
    ]
    assert found[0] == found[1] == found[2]
    assert len({rates for _, rates in found}) == 3
    assert found[4][0] != found[0][0]  # error rates of 999 replicates have the same quantiles


def test_replicates_without_trials_of_both_kinds_are_counted():
    scores, is_target, enrol, test = trials(2, 3, np.random.default_rng(3))
    interval = metrics.bootstrap_eer(scores, is_target, enrol, test, replicates=400, seed=0)
    # Both draws of one speaker in half of them: no nontargets. Four standard errors of 10.
    assert abs(interval.undefined - 200) < 40


# ----------------------------------------------------------------------------- odd cases


def test_infinite_scores_are_allowed():
    inf = float("inf")
    assert metrics.eer([1, inf], [-inf, 0]).rate == 0
    assert metrics.eer([-inf, inf], [-inf, inf]).rate == 0.5
    assert metrics.min_dcf([-inf, inf], [-inf, 0], p_target=0.5) == 0.5


@pytest.mark.parametrize("rate", [metrics.eer, metrics.min_dcf, metrics.det])
def test_invalid_scores_are_refused(rate):
    with pytest.raises(ValueError, match=r"nontargets: 1 of 2 are NaN; leave those trials out"):
        rate([1.0], [0.0, np.nan])
    with pytest.raises(ValueError, match="targets: there are none"):
        rate([], [0.0])
    with pytest.raises(ValueError, match=r"targets have shape \(1, 1\)"):
        rate([[1.0]], [0.0])


def test_invalid_costs_are_refused():
    for p_target in (0, 1):
        with pytest.raises(ValueError, match=f"p_target is {p_target}, but it is a probability"):
            metrics.min_dcf([1], [0], p_target=p_target)
    with pytest.raises(ValueError, match="cost_false_alarm is 0, but a cost is positive"):
        metrics.min_dcf([1], [0], cost_false_alarm=0)
    for cost in (math.inf, math.nan, -1.0):
        with pytest.raises(ValueError, match=f"cost_miss is {cost:g}, but a cost is positive and"):
            metrics.min_dcf([1], [0], cost_miss=cost)


def test_trial_lists_that_contradict_themselves_are_refused():
    def bootstrap(scores, is_target, enrol, test, *, seed=0, **choices):
        metrics.bootstrap_eer(scores, is_target, enrol, test, seed=seed, **choices)

    with pytest.raises(
        ValueError, match="trial 1 is marked as a target, but its speakers are a and"
    ):
        bootstrap([1, 2], [True, True], ["a", "a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"trial 0 is marked as a nontarget.*one of 1 such"):
        bootstrap([1, 2], [False, False], ["a", "a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"none of 1 trials is among the nontargets"):
        bootstrap([1], [True], ["a"], ["a"])
    with pytest.raises(ValueError, match=r"test_speaker has shape \(1,\), but scores \(2,\)"):
        bootstrap([1, 2], [True, False], ["a", "a"], ["a"])
    with pytest.raises(ValueError, match=r"0 replicates at level 0\.95"):
        bootstrap([1, 2], [True, False], ["a", "a"], ["a", "b"], replicates=0)
    with pytest.raises(ValueError, match="scores: 1 of 2 are NaN"):
        bootstrap([1, np.nan], [True, False], ["a", "a"], ["a", "b"])
    # The target is of c, the nontarget of a and b: a draw of three needs one of each. That of
    # this seed is not.
    with pytest.raises(ValueError, match="none of 1 draws of 3 speakers has both"):
        bootstrap([1, 0], [True, False], ["c", "a"], ["c", "b"], replicates=1, seed=1)


# ------------------------------------------------------------------------- rates of whole groups


def test_interval_of_a_rate_contains_it_and_shrinks():
    rng = np.random.default_rng(0)
    wide = None
    for groups in (10, 160):
        group = np.repeat(np.arange(groups), 20)
        errors = rng.random(len(group)) < rng.beta(2, 6, groups)[group]
        low, high = metrics.bootstrap_rate(errors, np.ones(len(group)), group, seed=0)
        assert low < errors.mean() < high
        assert wide is None or high - low < wide / 2
        wide = high - low


def test_interval_of_a_rate_equals_a_plain_loop():
    errors, counts, group = [1, 0, 2, 5], [4, 3, 5, 9], ["a", "b", "a", "c"]
    times = np.random.default_rng(3).multinomial(3, np.full(3, 1 / 3), 200)
    rates = []
    for a, b, c in times:
        rates.append((3 * a + 0 * b + 5 * c) / (9 * a + 3 * b + 9 * c))
    expected = np.quantile(rates, [0.05, 0.95])
    interval = metrics.bootstrap_rate(errors, counts, group, replicates=200, seed=3, level=0.9)
    assert interval == pytest.approx(expected)


def test_interval_of_a_rate_without_tokens_is_refused():
    assert metrics.bootstrap_rate([1, 1], [2, 2], ["a", "b"], seed=0) == (0.5, 0.5)
    with pytest.raises(ValueError, match="no group has any token"):
        metrics.bootstrap_rate([0], [0], ["a"], seed=0)
