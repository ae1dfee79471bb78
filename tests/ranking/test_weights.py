from dataclasses import replace

import numpy as np
import pytest

from augury import rank, read_corpus
from augury.hsic import cosine_kernel, robust, unbiased_hsic
from augury.pretraining.choice import read_weights
from augury.ranking import weighted
from augury.ranking import weights as module
from augury.ranking.result import Ranking
from augury.ranking.simplex import (
    RIDGE,
    descend,
    minimise_on_simplex,
    minimise_softmax,
    sparsemax,
    through_softmax,
)
from augury.ranking.weighted import ClassSample, WeightedDependence, scale
from augury.ranking.weights import learn_weights, learn_weights_from_store

import oracles
import toy


def planted(n=90, seed=0):
    """Embeddings, three classes, and pseudo-labels; "free" is independent of the speech."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.standard_normal((n, 4, 3)) + 1
    noise = rng.standard_normal((2, n))
    values = {
        "tied": x[:, 0, 0] + 0.1 * noise[0] + y,
        "vector": x[:, 1, :2] + y[:, None],
        "free": noise[1] + y,
    }
    return values, x, y


def oracle(values, x, y, weights, *, normalised, width=1.0):
    """The objective by loops, with H written out."""
    sums = np.zeros(3)  # of n · HSICᵤ(K, L), n · HSICᵤ(K, K) and n · HSICᵤ(L, L)
    biased = 0.0
    zs = []
    for z in values.values():
        if z.dtype.kind == "i":
            zs.append((z[:, None] == np.unique(z)).astype(float))  # categories are 2 apart
            continue
        z = z.reshape(len(z), -1).astype(float)
        z = (z - z.mean(axis=0)) / z.std(axis=0)
        apart = np.sqrt(np.square(z[:, None] - z).sum(axis=2))[np.triu_indices(len(z), 1)]
        zs.append(z / (np.median(apart) if normalised else np.sqrt(z.shape[1])))
    for c in np.unique(y):
        rows = np.flatnonzero(y == c)
        n = len(rows)
        K, L = np.zeros((n, n)), np.zeros((n, n))
        for i, a in enumerate(rows):
            for k, b in enumerate(rows):
                u, v = x[a].ravel(), x[b].ravel()
                K[i, k] = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
                d = sum(w * ((z[a] - z[b]) ** 2).sum() for w, z in zip(weights, zs, strict=True))
                L[i, k] = np.exp(-d / (2 * width**2))
        H = np.eye(n) - np.ones((n, n)) / n
        biased += n / len(y) * np.trace(K @ H @ L @ H) / n**2
        sums += n * np.array([unbiased_hsic(A, B) for A, B in ((K, L), (K, K), (L, L))])
    return sums[0] / np.sqrt(sums[1] * sums[2]) if normalised else biased


def dependence_of(values, x, y, normalised=True, cache_bytes=np.inf):
    """The objective under test."""
    groups = [np.flatnonzero(y == c) for c in np.unique(y)]
    return WeightedDependence.of(
        x,
        [ClassSample(group, len(group) / len(y)) for group in groups],
        [scale(z, normalised) for z in values.values()],
        normalised=normalised,
        width=1.0,
        cache_bytes=cache_bytes,
    )


def unequal(n=30):
    """`planted` with classes of unequal size, and categories among the pseudo-labels."""
    values, x, _ = planted(n)
    y = np.minimum(np.arange(n) // 7, 2)
    return values | {"kind": np.arange(n) % 4 % 3}, x, y


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("normalised", [True, False])
def test_the_objective_and_its_slope_against_plain_loops(normalised, keep):
    values, x, y = unequal()
    weights = np.array([0.2, 0.4, 0.3, 0.1])
    objective = dependence_of(values, x, y, normalised, np.inf if keep else 0)
    (value, _), (slope, _) = objective.values_and_slopes(np.array([weights, np.eye(4)[0]]))
    # Distances are float32.
    assert value == pytest.approx(oracle(values, x, y, weights, normalised=normalised), rel=1e-5)
    assert objective.values(weights[None])[0] == pytest.approx(value, rel=1e-5)
    singles = [oracle(values, x, y, single, normalised=normalised) for single in np.eye(4)]
    assert objective.singles() == pytest.approx(singles, rel=1e-5)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-3
        up, down = (
            oracle(values, x, y, weights + s * step, normalised=normalised) for s in (1, -1)
        )
        assert slope[k] == pytest.approx((up - down) / 2e-3, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("normalised", [True, False])
def test_the_slope_through_softmax_against_differences(normalised):
    values, x, y = unequal()
    objective, W = dependence_of(values, x, y, normalised), np.array([0.5, -0.3, 0.2, 0.0])

    def by_loops(W):
        weights = np.exp(W) / np.exp(W).sum()
        ridge = RIDGE * (W**2).sum()
        return oracle(values, x, y, weights, normalised=normalised) / 0.01 + ridge

    (value,), (slope,) = through_softmax(objective.values_and_slopes, W[None], 0.01)
    assert value == pytest.approx(by_loops(W), rel=1e-5)
    for k, step in enumerate(1e-3 * np.eye(4)):
        differences = (by_loops(W + step) - by_loops(W - step)) / 2e-3
        assert slope[k] == pytest.approx(differences, rel=1e-3, abs=1e-4)


def slopes_of(values, x, y, weights, normalised):
    """The oracle's derivatives by the weights, from differences."""
    return np.array(
        [
            (
                oracle(values, x, y, weights + step, normalised=normalised)
                - oracle(values, x, y, weights - step, normalised=normalised)
            )
            / 2e-4
            for step in 1e-4 * np.eye(len(weights))
        ]
    )


@pytest.mark.parametrize("normalised", [True, False])
def test_softmax_ends_at_a_stationary_point(normalised):
    """The slope by loops, through softmax, is that of the ridge alone."""
    values, x, y = planted(60)
    objective = dependence_of(values, x, y, normalised)
    starts = np.vstack([np.full(3, 1 / 3), np.eye(3)])
    unit = float(objective.values(starts[:1])[0])
    ends = minimise_softmax(objective.values_and_slopes, starts, unit, steps=200, tolerance=1e-4)
    assert ends.converged.all()
    assert ends.weights.sum(axis=1) == pytest.approx(np.ones(4))
    weights = ends.weights[ends.values.argmin()]
    slope = slopes_of(values, x, y, weights, normalised) / unit
    W = np.log(weights) - np.log(weights).mean()  # the ridge makes the mean of W 0
    assert weights * (slope - weights @ slope) + 2 * RIDGE * W == pytest.approx(
        np.zeros(3),
        abs=2e-3,  # the optimisation stops at slopes of 1e-4, of float32
    )


@pytest.mark.parametrize("normalised", [True, False])
def test_sparsemax_ends_where_no_slope_leads_down(normalised):
    values, x, y = planted(60)
    selection = learn_weights(values, x, y, kind="sparsemax", normalised=normalised)
    weights = np.array([selection.weights.get(name, 0.0) for name in values])
    slope = slopes_of(values, x, y, weights, normalised)
    slope /= selection.about["objective"]["equal"]
    assert slope.min() == pytest.approx(weights @ slope, abs=1e-3)
    assert selection.about["objective"]["learned"] == pytest.approx(
        oracle(values, x, y, weights, normalised=normalised), abs=1e-6
    )


@pytest.mark.parametrize("normalised", [True, False])
def test_classes_count_by_their_shares(normalised):
    values, x, y = unequal()
    first = learn_weights(values, x, y, normalised=normalised).about["objective"]["equal"]
    assert first == pytest.approx(oracle(values, x, y, [0.25] * 4, normalised=normalised), rel=1e-5)


def test_the_normalised_form_is_a_ratio_of_means_over_quadruples():
    values, x, y = unequal(21)  # classes of 7
    weights = np.array([0.2, 0.4, 0.3, 0.1])
    zs = [scale(z).astype(float) for z in list(values.values())[:3]]
    sums = np.zeros(3)
    for c in range(3):
        own = np.flatnonzero(y == c)

        def like(i, j):
            d = sum(w * ((z[i] - z[j]) ** 2).sum() for w, z in zip(weights, zs, strict=False))
            return float(
                np.exp(-(d + weights[3] * 2 * (values["kind"][i] != values["kind"][j])) / 2)
            )

        K = oracles.matrix(x[own].reshape(7, -1), oracles.cosine)
        L = oracles.matrix(own, like)
        sums += [oracles.unbiased(A, B) for A, B in ((K, L), (K, K), (L, L))]
    total = sums[0] / np.sqrt(sums[1] * sums[2])
    # Distances are float32.
    assert dependence_of(values, x, y).values(weights[None]) == pytest.approx(total, rel=1e-5)


def test_a_single_class_and_candidate_have_the_score_of_the_ranking():
    """All weight on one candidate: the value of `hsic.robust`, of scalars, vectors, categories."""
    values, x, y = unequal()
    y = np.zeros(len(y), int)
    singles = dependence_of(values, x, y).singles()
    scores = [estimate.score for estimate in robust(x, list(values.values()), y)]
    assert singles == pytest.approx(scores, rel=1e-5)  # distances are float32


@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
def test_the_independent_candidate_gets_the_weight(kind):
    values, x, y = planted()
    selection = learn_weights(values, x, y, kind=kind)
    assert sum(selection.weights.values()) == pytest.approx(1)
    assert max(selection.weights, key=selection.weights.__getitem__) == "free"
    assert selection.about["single"] == "free"
    assert selection.about["objective"]["learned"] < selection.about["objective"]["equal"]
    assert selection.about["converged"]
    rescaled = {name: 1000 * z - 7 for name, z in values.items()}
    assert learn_weights(rescaled, x, y, kind=kind).weights == pytest.approx(
        selection.weights, abs=0.02
    )
    fewer = learn_weights(values, x, y, ["free", "tied"], kind=kind)
    alone = learn_weights({"free": values["free"], "tied": values["tied"]}, x, y, kind=kind)
    assert fewer == alone


def random_candidates(seed, n=48):
    """Three or more candidates of random kinds and strengths, and three classes."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, 6)) + 0.5, rng.permutation(np.arange(n) % 3)
    values = {}
    for k in range(rng.integers(3, 6)):
        noise = rng.uniform(0.1, 3) * rng.standard_normal(n)
        scalar = x @ rng.standard_normal(6) * rng.uniform(0, 1) + noise
        vector = np.stack([scalar, rng.standard_normal(n)], axis=1)
        category = np.digitize(scalar, np.quantile(scalar, [0.3, 0.6]))
        values[f"z{k}"] = (scalar, vector, category)[rng.integers(3)]
    return values, x, y


@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
@pytest.mark.parametrize("seed", range(8))
def test_no_single_candidate_is_better_and_the_order_has_no_effect(kind, seed):
    values, x, y = random_candidates(seed)
    selection = learn_weights(values, x, y, kind=kind)
    objective = selection.about["objective"]
    singles = [oracle({"z": z}, x, y, [1.0], normalised=True) for z in values.values()]
    assert objective["single"] == pytest.approx(min(singles), abs=1e-6)  # distances are float32
    assert selection.about["single"] == list(values)[int(np.argmin(singles))]
    weights = [selection.weights.get(name, 0.0) for name in values]
    reached = oracle(values, x, y, weights, normalised=True)
    assert objective["learned"] == pytest.approx(reached, abs=1e-6)
    assert reached <= min(singles) + 1e-6
    again = learn_weights(values, x, y, list(values)[::-1], kind=kind)
    assert again.weights == selection.weights
    assert again.about["objective"] == objective
    assert list(again.weights) == [name for name in list(values)[::-1] if name in again.weights]


def test_each_start_ends_in_a_minimum_of_its_own():
    """The way down from equal weights leads to the second corner; the third is lower."""

    def concave(weights):
        """With minima at the corners: −0.1, −0.3 and −0.5."""
        depths, powers = np.array([0.1, 0.3, 0.5]), np.array([2, 1, 4])
        return -(weights**powers) @ depths, -depths * powers * weights ** (powers - 1)

    starts = np.vstack([np.full(3, 1 / 3), np.eye(3)])
    ends, reached, converged = descend(concave, starts, sparsemax, 1.0, steps=100, tolerance=1e-4)
    assert converged.all()
    assert (reached <= concave(starts)[0]).all()
    assert ends[0] == pytest.approx([0, 1, 0])
    assert ends[reached.argmin()] == pytest.approx([0, 0, 1])


def test_the_spread_of_values_does_not_affect_the_weights():
    rng = np.random.default_rng(0)
    n, y = 1200, np.arange(1200) % 3
    x = rng.standard_normal((n, 1, 300))  # so wide that the kernel is nearly the identity
    values = {"free": rng.standard_normal(n), "tied": np.abs(x[:, 0, 0]) ** 3 + x[:, 0, 0]}
    assert learn_weights(values, x, y).weights["free"] > 0.6
    follow_up = learn_weights(values, x, y, normalised=False).weights
    assert follow_up["tied"] > 0.6  # its values lie close together, which is enough


def test_sparsemax_leaves_out_and_softmax_does_not():
    values, x, y = planted()
    objective, starts = dependence_of(values, x, y), np.full((1, 3), 1 / 3)
    sparse, soft = (
        minimise(objective.values_and_slopes, starts, 0.3, steps=200, tolerance=1e-4).weights[0]
        for minimise in (minimise_on_simplex, minimise_softmax)
    )
    assert (sparse == 0).any()
    assert soft.min() > 0.01
    assert sparse.sum() == pytest.approx(1)
    assert soft.sum() == pytest.approx(1)


def test_copies_share_the_weight_of_a_single_one():
    values, x, y = planted()

    def ends(values):
        objective, count = dependence_of(values, x, y), len(values)
        starts = np.full((1, count), 1 / count)
        return minimise_softmax(
            objective.values_and_slopes, starts, 0.3, steps=200, tolerance=1e-4
        ).weights[0]

    alone, twice = ends(values), ends(values | {"again": values["free"]})
    assert twice[2] == pytest.approx(twice[3], rel=1e-3)
    assert twice[2] + twice[3] == pytest.approx(alone[2], abs=0.05)


def test_no_point_of_a_grid_on_the_simplex_is_lower():
    values, x, y = planted(30)
    selection = learn_weights(values, x, y, kind="sparsemax")
    grid = [(a / 10, b / 10) for a in range(11) for b in range(11 - a)]
    least = min(oracle(values, x, y, (a, b, 1 - a - b), normalised=True) for a, b in grid)
    assert selection.about["objective"]["learned"] <= least + 1e-4


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    rng = np.random.default_rng(0)
    for _ in range(5):
        W = rng.standard_normal(3)
        point = sparsemax(W)
        assert point.sum() == pytest.approx(1)
        assert point.min() >= 0
        assert sparsemax(W + 5) == pytest.approx(point)  # a shift has no effect
        grid = [(a / 200, b / 200) for a in range(201) for b in range(201 - a)]
        points = np.array([(a, b, 1 - a - b) for a, b in grid])
        nearest = np.square(points - W).sum(axis=1).min()
        assert np.square(point - W).sum() <= nearest + 1e-12
    assert sparsemax([5.0, 0.0]).tolist() == [1.0, 0.0]


def test_segments_without_a_value_are_counted():
    values, x, y = planted()
    values["free"][:5] = np.nan
    values["tied"][5] = np.inf
    values["vector"][6, 1] = np.nan
    values["kind"] = np.where(np.arange(90) // 2 == 4, -1, np.arange(90) % 2)
    selection = learn_weights(values, x, y, most=20)
    assert (selection.about["left_out"], selection.about["points"]) == (9, 60)
    tiny = learn_weights(values, x, np.where(np.arange(90) > 86, 9, y))
    assert (tiny.about["points"], tiny.about["in_small_classes"]) == (78, 3)


def test_large_classes_are_sampled_by_a_seed():
    values, x, y = planted(300)
    drawn, again, other = (learn_weights(values, x, y, most=25, seed=seed) for seed in (1, 1, 2))
    assert drawn == again
    assert drawn.about["objective"] != other.about["objective"]
    assert drawn.about["points"] == 75
    assert max(drawn.weights, key=drawn.weights.__getitem__) == "free"
    # Small classes are used whole, whatever the seed.
    assert learn_weights(values, x, y, seed=1) == learn_weights(values, x, y, seed=2)


def test_distances_are_kept_block_by_block_while_they_fit(monkeypatch):
    """Three candidates' float32 distances of 30 · 29 / 2 pairs: 5,220 bytes a class."""
    values, x, y = planted()
    monkeypatch.setattr(weighted, "BLOCK_PAIRS", 1)
    one = dependence_of(values, x, y).singles()
    for cache, count in ((5_219, 0), (5_220, 1), (10_439, 1), (10_440, 2), (15_660, 3)):
        objective = dependence_of(values, x, y, cache_bytes=cache)
        kept = [block.cache is not None for block in objective.blocks]
        assert kept == [k < count for k in range(3)]
        assert (objective.singles() == one).all()


def test_four_points_make_a_class_and_400_are_the_most():
    values, x, y = planted(8)
    four = learn_weights(values, x, np.repeat([0, 1], 4), most=4)
    assert (four.about["points"], four.about["in_small_classes"]) == (8, 0)
    three = learn_weights(values, x, np.repeat([0, 1], [5, 3]), most=4)
    assert (three.about["points"], three.about["in_small_classes"]) == (4, 3)
    values, x, y = planted(450)
    large = learn_weights(values, x, y > 1)  # of 300 and 150
    assert large.about["points"] == 450
    same = [learn_weights(values, x, np.zeros(450), **choices) for choices in ({}, {"seed": 0})]
    assert same[0] == same[1]
    assert same[0].about["points"] == 400


def test_the_ridge_is_a_fiftieth_of_the_squares():
    flat = lambda weights: (np.zeros(1), np.zeros((1, 2)))  # noqa: E731
    value, slope = through_softmax(flat, np.array([[1.0, -2.0]]), 1.0)
    assert value == pytest.approx(0.02 * 5)
    assert slope == pytest.approx(np.array([[0.04, -0.08]]))


@pytest.mark.parametrize("normalised", [True, False])
def test_a_gain_within_chance_is_not_magnified(monkeypatch, normalised):
    """The objective is divided by its value at equal weights, or by chance where that is more."""
    units = []

    def spy(function, starts, unit, **choices):
        units.append(unit)
        return minimise_softmax(function, starts, unit, **choices)

    monkeypatch.setattr(module, "minimise_softmax", spy)
    values, x, y = planted()
    about = learn_weights(values, x, y, normalised=normalised).about
    equal = abs(about["objective"]["equal"])
    assert not normalised or equal > about["chance"]
    rng = np.random.default_rng(0)
    noise = {name: rng.standard_normal(90) for name in "abc"}
    least = abs(learn_weights(noise, x, y, normalised=normalised).about["objective"]["equal"])
    if normalised:
        chance = dependence_of(noise, x, y).chance(np.full(3, 1 / 3))
        assert chance > least
        least = chance
    assert units == pytest.approx([equal, equal, least, least])  # on some points, and on all
    # Speech that is everywhere the same has no objective to divide by.
    learn_weights(noise, np.ones((90, 3)), y, normalised=False)
    assert units[4] == pytest.approx(1e-12)


def test_weights_below_a_thousandth_of_the_largest_count_as_none(monkeypatch):
    values, x, y = planted()
    learned = np.array([0.998, 0.0009, 0.0011])  # by name: free, tied, vector
    monkeypatch.setattr(module, "_search", lambda *_: (learned, True))
    monkeypatch.setattr(WeightedDependence, "singles", lambda self: np.ones(3))
    selection = learn_weights(values, x, y)
    assert selection.about["without_weight"] == ["tied"]
    assert selection.weights == pytest.approx({"vector": 0.0011 / 0.9991, "free": 0.998 / 0.9991})
    learned[:] = 0.99, 0.001, 0.009
    assert list(learn_weights(values, x, y).weights) == list(values)


def test_weights_that_are_still_moving_have_not_converged():
    values, x, y = planted()
    objective, starts = dependence_of(values, x, y), np.full((1, 3), 1 / 3)
    for minimise in (minimise_softmax, minimise_on_simplex):
        for steps, converged in ((1, False), (100, True)):
            ends = minimise(objective.values_and_slopes, starts, 0.3, steps=steps, tolerance=1e-4)
            assert ends.converged.tolist() == [converged]
    for kind in ("softmax", "sparsemax"):
        assert learn_weights(values, x, y, kind=kind).about["converged"]


def test_a_class_without_any_distance_has_no_dependence():
    x = np.random.default_rng(0).standard_normal((5, 3))
    for normalised in (True, False):
        zs = [np.ones((5, 1)), np.ones((5, 2))]
        objective = WeightedDependence.of(
            x, [ClassSample(np.arange(5), 1.0)], zs, normalised=normalised, width=1.0,
            cache_bytes=0,
        )  # fmt: skip
        value, slope = objective.values_and_slopes(np.array([[0.5, 0.5]]))
        assert value == pytest.approx(0, abs=1e-7)  # K is float32
        assert slope.tolist() == [[0, 0]]
    assert objective.singles() == pytest.approx([0, 0], abs=1e-7)


def test_the_width_scales_all_distances():
    values, x, y = planted(30)
    equal = [1 / 3] * 3
    for normalised in (True, False):
        selection = learn_weights(values, x, y, width=2.0, normalised=normalised)
        expected = oracle(values, x, y, equal, normalised=normalised, width=2.0)
        assert selection.about["objective"]["equal"] == pytest.approx(expected, rel=1e-4)
        weights = [selection.weights.get(name, 0.0) for name in values]
        expected = oracle(values, x, y, weights, normalised=normalised, width=2.0)
        assert selection.about["objective"]["learned"] == pytest.approx(expected, rel=1e-3)


def test_distances_that_do_not_fit_are_computed_at_every_step():
    values, x, y = planted()
    selection = learn_weights(values, x, y)
    one_class = 4 * 3 * 30**2
    for cache in (0, one_class, 3 * one_class):
        assert learn_weights(values, x, y, cache_bytes=cache) == selection


def test_the_standard_deviation_under_chance():
    """Σ n² · 2 HSICᵤ(K, K) HSICᵤ(L, L) / n (n − 3), normalised; and what shuffles give."""
    values, x, y = unequal(40)
    values = {name: values[name] for name in ("free", "kind")}
    rng, objectives, parts = np.random.default_rng(0), [], np.zeros(3)
    L = dict(zip(values, (scale(z) for z in values.values()), strict=True))
    for c in range(3):
        rows = np.flatnonzero(y == c)
        n, own = len(rows), L["free"][rows]
        K, kernel = cosine_kernel(x[rows]), np.exp(-((own - own.T) ** 2) / 2)
        KK, LL = unbiased_hsic(K, K), unbiased_hsic(kernel, kernel)
        parts += n**2 * 2 * KK * LL / (n * (n - 3)), n * KK, n * LL
    expected = np.sqrt(parts[0] / parts[1] / parts[2])
    weights = np.array([1.0, 0.0])
    assert dependence_of(values, x, y).chance(weights) == pytest.approx(expected, rel=1e-5)
    for _ in range(300):
        order = np.concatenate([rng.permutation(np.flatnonzero(y == c)) for c in range(3)])
        assert (y[order] == y).all()
        shuffled = {name: z[order] for name, z in values.items()}
        objectives.append(dependence_of(shuffled, x, y).singles()[0])
    # 300 draws know a standard deviation to 4 %; the smallest class has seven points.
    assert np.std(objectives) == pytest.approx(expected, rel=0.2)
    assert np.mean(objectives) == pytest.approx(0, abs=4 * expected / np.sqrt(300))
    assert learn_weights(values, x, y, normalised=False).about["chance"] is None


def test_candidates_without_weight_are_named():
    values, x, y = planted()
    selection = learn_weights(values, x, y, kind="sparsemax")
    assert selection.about["without_weight"]
    assert sorted([*selection.weights, *selection.about["without_weight"]]) == sorted(values)


def test_invalid_arguments_are_refused():
    values, x, y = planted()
    with pytest.raises(ValueError, match="softmax or sparsemax"):
        learn_weights(values, x, y, kind="max")
    with pytest.raises(ValueError, match="two pseudo-labels"):
        learn_weights({"free": values["free"]}, x, y)
    with pytest.raises(ValueError, match="no values of f0; there are tied"):
        learn_weights(values, x, y, ["free", "f0"])
    with pytest.raises(ValueError, match="named twice"):
        learn_weights(values, x, y, ["free", "free"])
    with pytest.raises(ValueError, match="most is 3"):
        learn_weights(values, x, y, most=3)
    for width in (0, np.inf, np.nan, -1.0):
        with pytest.raises(ValueError, match=f"width is {width}, but must be above 0"):
            learn_weights(values, x, y, width=width)
    with pytest.raises(ValueError, match="flat: the same for all 90"):
        learn_weights(values | {"flat": np.full(90, 3.0)}, x, y)
    with pytest.raises(ValueError, match="no class has four"):
        learn_weights(values | {"none": np.full(90, np.nan)}, x, y)
    with pytest.raises(ValueError, match="no class has four"):
        learn_weights(values, x, np.arange(90))


def test_weights_are_read_back_as_written(tmp_path):
    values, x, y = planted()
    selection = learn_weights(values, x, y)
    selection.write(tmp_path / "new" / "w.json")
    assert read_weights(str(tmp_path / "new" / "w.json")) == selection.weights
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["w.json"]


def test_phones_of_timit_where_equal_weights_lead_astray(shared_data, own_store, tmp_path):
    """From equal weights alone the search ended on rms, .325 where flatness has .161."""
    corpus = read_corpus(shared_data / "timit_sample")
    silences = {"h#", "pau", "epi", "bcl", "dcl", "gcl", "pcl", "tcl", "kcl"}
    corpus = corpus.select(~np.isin(corpus.columns["phone"], [*silences]))
    corpus = corpus.select(corpus.recording % 10 < 4)
    own = ("rms", "zero_crossings", "centroid", "rolloff", "flatness", "slope")
    ranking = rank(
        corpus, [f"own:{name}" for name in own], label="phone", jobs=1, bootstrap=0,
        sensitivity=False, max_bad=0.1,
    )  # fmt: skip
    for kind in ("softmax", "sparsemax"):
        selection = learn_weights_from_store(ranking, kind=kind, jobs=1)
        assert selection.about["single"] == "own:flatness"
        assert selection.about["objective"]["learned"] <= selection.about["objective"]["single"]
        assert selection.about["objective"]["single"] == pytest.approx(0.12, abs=0.03)


# -------------------------------------------------------------------------------- from a ranking

NAMES = ["toy:bands", "own:zero_crossings", "own:centroid"]


def ranked(corpus, folder, names=NAMES):
    rank(corpus, names, label="label", jobs=1, bootstrap=0, out=folder, sensitivity=False)
    ranking = Ranking.read(folder)
    # With so little data not all would be relevant.
    return replace(ranking, results=tuple(replace(r, relevant=True) for r in ranking.results))


def test_a_corpus_selected_in_python_is_read_again(own_store, tmp_path):
    corpus = read_corpus(toy.corpus(tmp_path, each=20))
    whole = ranked(corpus, tmp_path / "whole")
    keep = np.arange(len(corpus)) % 7 != 3
    cut = ranked(corpus.select(keep), tmp_path / "cut")
    assert cut.segments == keep.sum() < whole.segments
    assert len(cut.origin.read()) == keep.sum()
    selection = learn_weights_from_store(cut, jobs=1)
    assert selection.about["points"] + selection.about["in_small_classes"] == keep.sum()
    of_whole = learn_weights_from_store(whole, jobs=1)
    assert selection.about["objective"] != of_whole.about["objective"]
    # Selected twice, and in another order.
    order = np.random.default_rng(0).permutation(int(keep.sum()))[:45]
    twice = ranked(corpus.select(keep).select(order), tmp_path / "twice")
    assert learn_weights_from_store(twice, jobs=1).about["points"] == 45


def test_a_manifest_that_moved_or_changed(own_store, tmp_path):
    manifest = toy.corpus(tmp_path, each=20)
    corpus = read_corpus(manifest)
    ranking = ranked(corpus.select(np.arange(len(corpus)) > 2), tmp_path / "cut")
    moved = manifest.rename(tmp_path / "moved.csv")
    with pytest.raises((ValueError, OSError), match="no such manifest"):
        learn_weights_from_store(ranking, jobs=1)
    assert learn_weights_from_store(ranking, manifest=moved, jobs=1).weights
    lines = moved.read_text().splitlines(keepends=True)
    moved.write_text("".join(lines[:-1]))
    with pytest.raises(ValueError, match="has 59 usable segments, but number 60 was ranked"):
        learn_weights_from_store(ranking, manifest=moved, jobs=1)
    moved.write_text("".join(lines).replace(",low,", ",high,", 2))
    with pytest.raises(ValueError, match=r"moved.csv is not what was ranked: the segments differ"):
        learn_weights_from_store(ranking, manifest=moved, jobs=1)


def test_a_corpus_changed_in_python_is_refused(own_store, tmp_path):
    corpus = read_corpus(toy.corpus(tmp_path, each=20))
    corpus.columns["label"] = np.roll(corpus.columns["label"], 1)
    with pytest.raises(ValueError, match="changed in Python must be written to a manifest first"):
        learn_weights_from_store(ranked(corpus, tmp_path / "changed"), jobs=1)


def test_recordings_outside_the_manifest_folder_are_read_again(own_store, tmp_path):
    manifest = toy.corpus(tmp_path, each=20)
    (tmp_path / "inner").mkdir()
    text = manifest.read_text()
    lines = text.splitlines()
    inner = tmp_path / "inner" / "m.csv"
    inner.write_text("\n".join([lines[0], *("../" + line for line in lines[1:])]))
    ranking = ranked(read_corpus(inner, allow_outside=True), tmp_path / "out", NAMES[:2])
    assert "--allow-outside" in ranking.command
    assert learn_weights_from_store(ranking, jobs=1).weights


def test_a_single_relevant_candidate_is_refused(own_store, tmp_path):
    corpus = read_corpus(toy.corpus(tmp_path, each=20))
    ranking = rank(corpus, ["own:centroid", "own:noise"], label="label", jobs=1, bootstrap=0)
    with pytest.raises(ValueError, match="1 of the ranked candidates are relevant to label"):
        learn_weights_from_store(ranking, jobs=1)


def test_the_search_keeps_to_four_million_pairs_and_starts():
    """1,000 points have 500,000 pairs; eight starts of seven candidates are just within."""

    def points(sizes, candidates, most=1000):
        return module._search_points([np.arange(size) for size in sizes], candidates, most)

    assert points([1000], 7) == 1000
    assert points([1000], 8) == 800
    assert points([1000, 300], 7) == 800
    assert points([5000], 7) == 1000  # no more than are learned on
    assert points([5000], 7, most=1001) == 800
    assert points([5000], 10**6) == 8  # nor fewer than eight
    assert points([5000], 10**6, most=5) == 5
