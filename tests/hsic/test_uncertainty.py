import itertools
from functools import partial

import numpy as np
import pytest
from scipy import stats

from augury import hsic
from augury.compute import run_in_threads
from augury.hsic import estimators, uncertainty
from augury.hsic.kernels import median_distance, standardise
from augury.hsic.sums import SumPlan


def data(n=60, classes=2, d=6, link=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.standard_normal((n, d)) + 1 + y[:, None]
    return x, link * x[:, 0] + rng.standard_normal(n), y


# ------------------------------------------------------------------------------- influence


def influences(function, x, z, y):
    """As estimated, and by the jackknife: n − 1 times what leaving the point out changes."""
    n, (whole,) = len(z), function(x, [z], y, points=True)
    left = []
    for i in range(n):
        keep = np.arange(n) != i
        left.append(function(x[keep], [z[keep]], y[keep])[0].score)
    return whole.influence, (n - 1) / n * (np.mean(left) - np.array(left))


def robust_of_a_held_width(x, zs, y, *, points=False, engine):
    groups = hsic.class_rows(y)
    plan = SumPlan.of(
        zs, [1.0] * len(zs), len(y), tolerance=1e-6, engine=engine, norms=True, points=points
    )
    classes, _ = estimators.robust_sums(x, zs, groups, plan, whole=False, run=run_in_threads)
    return estimators.robust_estimates(x, zs, groups, classes, plan)


@pytest.mark.parametrize("estimator", ["paper", "released", "robust"])
@pytest.mark.parametrize("engine", ["dense", "factored"])
def test_influences_are_what_leaving_a_point_out_changes(estimator, engine):
    x, z, y = data(n=120)
    z = z if estimator == "robust" else 0.1 * z  # the others have a width of their own
    function = robust_of_a_held_width if estimator == "robust" else getattr(hsic, estimator)
    values, jackknife = influences(partial(function, engine=engine), x, z, y)
    assert values.shape == (120,)
    # 0 but for what leading columns leave out of single points.
    assert abs(values.sum()) < 1e-7 * np.abs(values).sum()
    # To order 1/n: measured, a correlation of .991 and 5 % at worst, with 480 points .999 and 1 %.
    assert np.corrcoef(jackknife, values)[0, 1] > 0.985
    assert values.std() == pytest.approx(jackknife.std(), rel=0.06)


def test_influences_leave_out_what_moves_the_median_width():
    # Whatever n: measured, .9935 and 9 % here, .9904 and 6 % with 480 points.
    values, jackknife = influences(hsic.robust, *data(n=120))
    assert np.corrcoef(jackknife, values)[0, 1] > 0.985
    assert 0.88 < values.std() / jackknife.std() < 0.96


@pytest.mark.parametrize("engine", ["dense", "factored", "strips"])
def test_influences_stay_small_where_a_label_hardly_varies(engine):
    """As log HNR in voiceless phones: one or two points that differ among hundreds."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((900, 5)), np.repeat([0, 1, 2], 300)
    z = np.where(y == 2, rng.standard_normal(900), 0.0)
    z[[0, 300, 301]] = 3.0, 3.0, 2.5
    (one,) = hsic.robust(x, [z], y, points=True, engine=engine)
    # Two points alone differ in the second class: each has half of its correlation, which weighs a
    # third. Strips approximate: measured, 1.28 times that.
    assert np.abs(one.influence).max() < 1.3 * abs(one.classes[1]) / 6


def replicates_of(one, y, units=None, count=200):
    by_chance = None if one.by_chance is None else one.by_chance[:, None]
    return uncertainty.bootstrap(
        np.array([one.score]), one.influence[:, None], y, units,
        by_chance=by_chance, effects=np.array([one.design_effect]), replicates=count, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("link", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("classes", "size"), [(2, 100), (50, 4), (40, 5), (30, 8)])
def test_the_bootstrap_s_spread_is_that_of_new_samples(classes, size, link):
    """Whether pairs of points vary most (no link), or single points, and in classes of any size."""
    y, scores, spreads = np.arange(classes * size) % classes, [], []
    for seed in range(60):
        x, z, _ = data(n=len(y), seed=seed, link=link)
        (one,) = hsic.robust(x, [z], y, points=True)
        scores.append(one.score)
        spreads.append(replicates_of(one, y).std())
    # The standard deviation of 60 draws is known to 9 %: three of those.
    assert np.mean(spreads) == pytest.approx(np.std(scores), rel=0.3)


def test_repeated_measures_do_not_fake_precision():
    x, z, y = data(n=80)
    x4, z4, y4, group = (np.repeat(v, 4, axis=0) for v in (x, z, y, np.arange(80)))
    (one,) = hsic.paper(x, [z], y, width=0.5, points=True)
    (four,) = hsic.paper(x4, [z4], y4, width=0.5, points=True)
    honest = replicates_of(one, y, count=2000).std()
    assert replicates_of(four, y4, group, 2000).std() == pytest.approx(honest, rel=0.15)
    assert replicates_of(four, y4, count=2000).std() < 0.6 * honest


def test_few_units_have_the_tails_of_a_t_distribution():
    influence = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    draws = uncertainty.bootstrap(
        np.zeros(1), influence, np.zeros(4, int), np.arange(4), replicates=40_000, seed=0
    )
    # Variance 4 · 4/3, three degrees of freedom.
    expected = stats.t(3, scale=np.sqrt(16 / 3)).ppf([0.05, 0.5, 0.95])
    assert np.quantile(draws, [0.05, 0.5, 0.95]) == pytest.approx(expected, rel=0.05, abs=0.05)


def test_tiny_classes_without_u_centring_are_units():
    """Their points' influences cancel, though new samples of such classes differ."""
    influence = np.array([1.0, 1.0, -1.0, -1.0])[:, None]
    y = np.array([0, 0, 1, 1])
    common = {"replicates": 4000, "seed": 0}
    by_class = uncertainty.bootstrap(np.zeros(1), influence, y, y, **common)
    assert (uncertainty.bootstrap(np.zeros(1), influence, y, **common) == by_class).all()


def test_the_same_seed_gives_the_same_replicates():
    influence = np.random.default_rng(0).standard_normal((50, 3))
    one, same, other = (
        uncertainty.bootstrap(
            np.zeros(3), influence, np.zeros(50, int), np.arange(50), replicates=100, seed=seed
        )
        for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).any()


# -------------------------------------------------------------------------- order and tiers


def test_ranks_and_probabilities_by_hand():
    replicates = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [1.0, 1.0, 0.0], [1.0, 2.0, 3.0]])
    assert uncertainty.ranks(replicates).tolist() == [
        [1, 2, 3],
        [2, 1, 3],
        [2.5, 2.5, 1],
        [1, 2, 3],
    ]
    better = uncertainty.probability_better(replicates)
    assert better[0].tolist() == [0.5, 0.625, 0.75]
    assert np.allclose(better + better.T, 1)


def test_a_tier_starts_where_one_of_the_last_is_clearly_better():
    rng = np.random.default_rng(0)
    scores = np.array([0.3, 0.1, 0.2, 0.9])
    for sd, expected in ((0.01, [3, 1, 2, 4]), (0.05, [2, 1, 1, 3]), (1.0, [1, 1, 1, 1])):
        draws = scores + rng.normal(0, sd, (2000, 4))
        assert uncertainty.tiers(scores, draws).tolist() == expected
    # An unsure best hides no clear difference further down.
    draws = np.array([0.1, 0.15, 0.3]) + rng.normal(0, [0.2, 0.01, 0.01], (2000, 3))
    assert uncertainty.tiers(np.array([0.1, 0.15, 0.3]), draws).tolist() == [1, 1, 2]
    assert uncertainty.tiers(np.zeros(0), np.zeros((9, 0))).tolist() == []
    # Candidates that move together differ clearly by little; copies never.
    together = np.array([0.1, 0.11, 0.1]) + rng.normal(0, 1, (2000, 1)) * [1, 1, 1]
    together[:, 1] += rng.normal(0, 0.001, 2000)
    assert uncertainty.tiers(np.array([0.1, 0.11, 0.1]), together).tolist() == [1, 2, 1]


@pytest.mark.parametrize("count", [2, 30])
def test_equals_are_divided_in_a_twentieth_of_samples(count):
    rng, divided = np.random.default_rng(0), 0
    for _ in range(200):
        scores = rng.standard_normal(count)
        draws = scores + rng.standard_normal((1000, count))
        divided += uncertainty.tiers(scores, draws).max() > 1
    # 5 % with a standard error of 1.5 %; below it, as some differences are not compared.
    assert divided / 200 < 0.09


# ------------------------------------------------------------------------------ permutation


def shuffles(x, z, y, **choices):
    groups = hsic.class_rows(y)
    counts = np.array([len(rows) for rows in groups])
    return uncertainty.permutation_p(x, [z], groups, counts / counts.sum(), **choices)


@pytest.mark.parametrize("estimator", ["paper", "robust"])
def test_the_shuffled_statistic_is_the_score_of_shuffled_labels(estimator):
    """Over all 120 orders of five points, up to a constant factor and offset."""
    x, z, y = data(n=5, classes=1)
    robust = estimator == "robust"
    standard = standardise(z)
    width = median_distance(standard) if robust else 0.5
    label = standard if robust else z
    one = uncertainty._shuffle_statistic(
        x - x.mean(axis=0) if robust else x,
        np.arange(5),
        [label],
        [width],
        [None],
        1.0,
        robust=robust,
        left_out=0,
        run=run_in_threads,
    )
    orders = np.array(list(itertools.permutations(range(5))))
    values = uncertainty._statistic(one, orders)[:, 0]
    if robust:
        scores = [hsic.robust(x, [z[order]], y)[0].score for order in orders]
    else:
        scores = [hsic.conditional_hsic(x, z[order], y, width=0.5) for order in orders]
    slope, offset = np.polyfit(scores, values, 1)
    # Columns are kept in float32.
    assert np.allclose(slope * np.array(scores) + offset, values, atol=1e-5 * np.ptp(values))


@pytest.mark.parametrize("n", [40, 1500])
def test_both_p_values_agree(n):
    """On data whose dependence is just at the edge of being seen."""
    x, z, y = data(n=n, link=0)
    zs = [z + shift * x[:, 0] for shift in np.linspace(0, 2 / np.sqrt(n), 6)]
    groups = hsic.class_rows(y)
    moments = [one.p_value for one in hsic.robust(x, zs, y, points=True)]
    shuffled = uncertainty.permutation_p(
        x, zs, groups, np.full(2, 0.5), widths=None, permutations=999, seed=0
    )
    # A p-value of 999 shuffles has a standard error of 0.016 at most.
    assert np.allclose(moments, shuffled, atol=0.05)


def test_p_values_count_the_order_as_observed():
    x, z, y = data(n=40, link=5)
    assert shuffles(x, z, y, widths=None, permutations=19, seed=0)[0] == 1 / 20
    assert shuffles(x, z, y, widths=[5.0], permutations=19, seed=0)[0] == 1 / 20
    # A label that is constant inside the classes: all shuffles are the same.
    assert shuffles(x, y * 1.0, y, widths=None, permutations=19, seed=0)[0] == 1


def test_classes_without_information_weigh_nothing():
    """One value that differs, or none: what is left of the norms is rounding."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(20), 6)
    x = rng.standard_normal((120, 5))
    values = []
    for seed in range(40):
        z = np.where(np.random.default_rng(seed).random(120) < 0.8, 0.0, rng.standard_normal(120))
        values.append(shuffles(x, z, y, widths=None, permutations=39, seed=seed)[0])
    assert 0.3 < np.mean(values) < 0.7


def test_labels_without_a_factor_have_p_values_too():
    rng = np.random.default_rng(0)
    n = 1300
    x = rng.standard_normal((n, 5))
    zs = [300 * rng.random(n), 300 * x[:, 0], rng.standard_normal((n, 8))]
    values = uncertainty.permutation_p(
        x, zs, [np.arange(n)], np.ones(1), widths=[0.05, 20.0, 2.0], permutations=39, seed=0
    )
    assert values[0] > 0.05
    assert values[1] == 1 / 40
    assert values[2] > 0.05


# --------------------------------------------------------------------------- what is usual


def test_intervals_hold_the_middle_95_percent():
    replicates = np.stack([np.arange(201.0), 2 * np.arange(201.0)], axis=1)
    assert np.allclose(uncertainty.intervals(replicates), [[5, 195], [10, 390]])
    assert np.allclose(uncertainty.intervals(replicates, level=0.5), [[50, 150], [100, 300]])


def test_shuffles_that_score_the_same_count():
    """Two points have the same statistic in either order."""
    x, z = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([0.0, 1.0])
    p = uncertainty.permutation_p(
        x, [z], [np.arange(2)], np.ones(1), widths=[1.0], permutations=19, seed=0
    )
    assert p.tolist() == [1.0]


def variance_of(influence, classes, units=None, by_chance=0.0, score=0.0):
    """Of the replicates, without drawing them."""
    counts = np.bincount(classes)
    return uncertainty._u_centred_covariance(
        influence[:, None],
        np.arange(len(classes)) if units is None else units,
        classes,
        counts,
        np.full((len(counts), 1), by_chance) * (1 - abs(score)) ** 3,
        None,
        cautious=False,
    )[0, 0]


@pytest.mark.parametrize("size", [4, 15])
def test_small_classes_are_units_where_there_are_twenty(size):
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(20), size)
    influence = rng.standard_normal(20 * size)
    sums = influence.reshape(20, size).sum(axis=1)
    assert variance_of(influence, classes) == pytest.approx(sums @ sums * 20 / 19)
    # A unit and a class count once what they share.
    units = np.arange(20 * size) % 10
    of_units = np.bincount(units, influence)
    cells = np.bincount(classes * 10 + units, influence)
    used = len(np.unique(classes * 10 + units))
    expected = (
        of_units @ of_units * 10 / 9 + sums @ sums * 20 / 19 - cells @ cells * used / (used - 1)
    )
    assert variance_of(influence, classes, units) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "size"), [(19, 8), (30, 16)])
def test_other_classes_have_what_points_and_pairs_contribute(count, size):
    """The squares of influences are a V₁ + f V₂; what is wanted is V₁ + V₂."""
    classes = np.repeat(np.arange(count), size)
    influence = np.random.default_rng(1).standard_normal(count * size) / count / size
    squares = np.square(influence.reshape(count, size)).sum(axis=1)
    a, f = 1 - 0.75 / (size - 3), 2 * (size - 3) / (size - 2) - 3 / size
    by_chance = 0.3 * squares.mean()
    # Of each class by itself: V₂ = B − V₁/(n − 3), or nothing if points have more than that.
    pairs = np.array(
        [
            max(np.linalg.solve([[a, f], [1 / (size - 3), 1]], [own, by_chance])[1], 0)
            for own in squares
        ]
    )
    n = count * size
    total = squares.sum() / a * n / (n - 1) - (f / a - 1) * pairs.sum()
    assert total > by_chance * count
    expected = total
    assert variance_of(influence, classes, by_chance=by_chance) == pytest.approx(expected)
