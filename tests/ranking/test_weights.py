from dataclasses import replace

import numpy as np
import pytest

from augury import rank, read_corpus
from augury.hsic import unbiased_hsic
from augury.pretraining.choice import read_weights
from augury.ranking import weights as module
from augury.ranking.result import Ranking
from augury.ranking.weights import learn_weights, learn_weights_from_store, sparsemax

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
    total = 0.0
    zs = []
    for z in values.values():
        if z.dtype.kind == "i":
            zs.append((z[:, None] == np.unique(z)).astype(float))  # categories are 2 apart
            continue
        z = z.reshape(len(z), -1).astype(float)
        z = (z - z.mean(axis=0)) / z.std(axis=0)
        zs.append(z / np.sqrt(z.shape[1]))
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
        value = np.trace(H @ K @ H @ H @ L @ H) / n**2
        if normalised:
            value = unbiased_hsic(K, L)
            value /= np.sqrt(unbiased_hsic(K, K) * unbiased_hsic(L, L))
        total += n / len(y) * value
    return total


def objective_of(values, x, y, normalised, keep=True):
    """The objective under test: weights → value and slope."""
    zs = [module._scale(z) for z in values.values()]
    groups = [np.flatnonzero(y == c) for c in np.unique(y)]
    terms = [module._ClassTerm.of(x[g], [z[g] for z in zs], normalised, keep) for g in groups]

    def objective(weights):
        pairs = [term.value(weights, 1.0) for term in terms]
        shares = np.array([len(g) for g in groups]) / len(y)
        return float(shares @ [item for item, _ in pairs]), shares @ [item for _, item in pairs]

    return objective


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
    value, slope = objective_of(values, x, y, normalised, keep)(weights)
    # Distances are float32.
    assert value == pytest.approx(oracle(values, x, y, weights, normalised=normalised), rel=1e-5)
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
    objective, W = objective_of(values, x, y, normalised), np.array([0.5, -0.3, 0.2, 0.0])

    def by_loops(W):
        weights = np.exp(W) / np.exp(W).sum()
        ridge = module.RIDGE * (W**2).sum()
        return oracle(values, x, y, weights, normalised=normalised) / 0.01 + ridge

    value, slope = module.through_softmax(objective, W, 0.01)
    assert value == pytest.approx(by_loops(W), rel=1e-5)
    for k, step in enumerate(1e-3 * np.eye(4)):
        differences = (by_loops(W + step) - by_loops(W - step)) / 2e-3
        assert slope[k] == pytest.approx(differences, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
def test_the_learned_weights_are_a_stationary_point(kind, normalised):
    """Slopes by loops: 0 through softmax; on the simplex, lowest where there is weight."""
    values, x, y = planted(60)
    selection = learn_weights(values, x, y, kind=kind, normalised=normalised)
    weights = np.array([selection.weights.get(name, 0.0) for name in values])
    slope = np.zeros(3)
    for k, step in enumerate(1e-4 * np.eye(3)):
        up, down = (
            oracle(values, x, y, weights + s * step, normalised=normalised) for s in (1, -1)
        )
        slope[k] = (up - down) / 2e-4
    unit = selection.about["objective"]["equal"]
    slope /= unit
    if kind == "softmax":
        W = np.log(weights) - np.log(weights).mean()  # the ridge makes the mean of W 0
        assert weights * (slope - weights @ slope) + 2 * module.RIDGE * W == pytest.approx(
            np.zeros(3),
            abs=5e-3,  # the optimisation stops at changes of 1e-6
        )
    else:
        assert slope.min() == pytest.approx(weights @ slope, abs=5e-2)
    assert selection.about["objective"]["learned"] == pytest.approx(
        oracle(values, x, y, weights, normalised=normalised), abs=1e-4 * unit
    )


@pytest.mark.parametrize("normalised", [True, False])
def test_classes_count_by_their_shares(normalised):
    values, x, y = unequal()
    first = learn_weights(values, x, y, normalised=normalised).about["objective"]["equal"]
    assert first == pytest.approx(oracle(values, x, y, [0.25] * 4, normalised=normalised), rel=1e-5)


def test_the_normalised_form_is_the_mean_over_quadruples():
    values, x, y = unequal(21)  # classes of 7
    weights = np.array([0.2, 0.4, 0.3, 0.1])
    zs = [module._scale(z).astype(float) for z in list(values.values())[:3]]
    total = 0.0
    for c in range(3):
        own = np.flatnonzero(y == c)

        def like(i, j):
            d = sum(w * ((z[i] - z[j]) ** 2).sum() for w, z in zip(weights, zs, strict=False))
            return float(
                np.exp(-(d + weights[3] * 2 * (values["kind"][i] != values["kind"][j])) / 2)
            )

        K = oracles.matrix(x[own].reshape(7, -1), oracles.cosine)
        total += oracles.correlation(K, oracles.matrix(own, like)) / 3
    assert objective_of(values, x, y, True)(weights)[0] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
def test_the_independent_candidate_gets_the_weight(kind):
    values, x, y = planted()
    selection = learn_weights(values, x, y, kind=kind)
    assert sum(selection.weights.values()) == pytest.approx(1)
    assert max(selection.weights, key=selection.weights.__getitem__) == "free"
    assert selection.about["objective"]["learned"] < selection.about["objective"]["equal"]
    assert selection.about["converged"]
    # Sums are in another order, and the optimisation stops at small changes.
    reordered = learn_weights(values, x, y, list(values)[::-1], kind=kind)
    assert reordered.weights == pytest.approx(selection.weights, abs=0.02)
    rescaled = {name: 1000 * z - 7 for name, z in values.items()}
    assert learn_weights(rescaled, x, y, kind=kind).weights == pytest.approx(
        selection.weights, abs=0.02
    )
    fewer = learn_weights(values, x, y, ["free", "tied"], kind=kind)
    alone = learn_weights({"free": values["free"], "tied": values["tied"]}, x, y, kind=kind)
    assert fewer == alone


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
    assert len(learn_weights(values, x, y, kind="sparsemax").weights) < 3
    assert len(learn_weights(values, x, y, kind="softmax").weights) == 3


def test_copies_share_the_weight_of_a_single_one():
    values, x, y = planted()
    alone = learn_weights(values, x, y).weights["free"]
    twice = learn_weights(values | {"again": values["free"]}, x, y).weights
    assert twice["free"] == pytest.approx(twice["again"], rel=1e-3)
    assert twice["free"] + twice["again"] == pytest.approx(alone, abs=0.05)


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
    assert drawn.weights != other.weights
    assert drawn.about["points"] == 75
    assert max(drawn.weights, key=drawn.weights.__getitem__) == "free"
    # Small classes are used whole, whatever the seed.
    assert learn_weights(values, x, y, seed=1) == learn_weights(values, x, y, seed=2)


def test_distances_are_kept_class_by_class_while_they_fit(monkeypatch):
    """Three candidates' float32 distances of 30² pairs: 10,800 bytes a class."""
    values, x, y = planted()
    of, kept = module._ClassTerm.of, []

    def spy(x, zs, normalised, keep):
        kept.append(keep)
        return of(x, zs, normalised, keep)

    monkeypatch.setattr(module._ClassTerm, "of", spy)
    for cache, count in ((10_799, 0), (10_800, 1), (21_599, 1), (21_600, 2), (32_400, 3)):
        kept.clear()
        learn_weights(values, x, y, cache_bytes=cache)
        assert kept == [k < count for k in range(3)]


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
    flat = lambda weights: (0.0, np.zeros(2))  # noqa: E731
    value, slope = module.through_softmax(flat, np.array([1.0, -2.0]), 1.0)
    assert value == pytest.approx(0.02 * 5)
    assert slope == pytest.approx([0.04, -0.08])


@pytest.mark.parametrize("normalised", [True, False])
def test_a_gain_within_chance_is_not_magnified(monkeypatch, normalised):
    """The objective is divided by its value at equal weights, or by chance where that is more."""
    minimise, units = module._minimise_softmax, []

    def spy(objective, count, unit):
        units.append(unit)
        return minimise(objective, count, unit)

    monkeypatch.setattr(module, "_minimise_softmax", spy)
    values, x, y = planted()
    about = learn_weights(values, x, y, normalised=normalised).about
    equal = abs(about["objective"]["equal"])
    assert not normalised or equal > about["chance"]
    rng = np.random.default_rng(0)
    noise = {name: rng.standard_normal(90) for name in "abc"}
    chance = learn_weights(noise, x, y, normalised=normalised).about
    least = chance["chance"] if normalised else abs(chance["objective"]["equal"])
    assert units == pytest.approx([equal, least])
    # Speech that is everywhere the same has no objective to divide by.
    learn_weights(noise, np.ones((90, 3)), y, normalised=False)
    assert units[2] == pytest.approx(1e-12)


def test_weights_below_a_thousandth_count_as_none(monkeypatch):
    values, x, y = planted()
    learned = np.array([0.0009, 0.0011, 0.998])
    monkeypatch.setattr(module, "_minimise_softmax", lambda *_: (learned, 0.0, True))
    selection = learn_weights(values, x, y)
    assert selection.about["without_weight"] == ["tied"]
    assert selection.weights == pytest.approx({"vector": 0.0011 / 0.9991, "free": 0.998 / 0.9991})
    learned[:] = 0.001, 0.009, 0.99
    assert list(learn_weights(values, x, y).weights) == list(values)


@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
def test_weights_that_are_still_moving_have_not_converged(monkeypatch, kind):
    values, x, y = planted()
    assert learn_weights(values, x, y, kind=kind).about["converged"]
    monkeypatch.setattr(module, "STEPS", 1)
    assert not learn_weights(values, x, y, kind=kind).about["converged"]


def test_a_class_without_any_distance_has_no_dependence():
    x = np.random.default_rng(0).standard_normal((5, 3))
    for normalised in (True, False):
        term = module._ClassTerm.of(x, [np.ones((5, 1)), np.ones((5, 2))], normalised, True)
        value, slope = term.value(np.array([0.5, 0.5]), 1.0)
        assert value == pytest.approx(0, abs=1e-7)  # K is float32
        assert slope.tolist() == [0, 0]


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
    """Three classes of 30: Σ (1/3)² · 2/(30 · 27)."""
    values, x, y = planted()
    assert learn_weights(values, x, y).about["chance"] == pytest.approx(np.sqrt(2 / (3 * 30 * 27)))
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


# -------------------------------------------------------------------------------- from a ranking

NAMES = ["toy:bands", "own:zero_crossings", "own:centroid"]


def ranked(corpus, folder):
    rank(corpus, NAMES, label="label", jobs=1, bootstrap=0, out=folder, sensitivity=False)
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
    assert selection.weights != learn_weights_from_store(whole, jobs=1).weights
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
    with pytest.raises(ValueError, match="is not what was ranked: the segments differ"):
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
    ranking = ranked(read_corpus(inner, allow_outside=True), tmp_path / "out")
    assert "--allow-outside" in ranking.command
    assert learn_weights_from_store(ranking, jobs=1).weights


def test_a_single_relevant_candidate_is_refused(own_store, tmp_path):
    corpus = read_corpus(toy.corpus(tmp_path, each=20))
    ranking = rank(corpus, ["own:centroid", "own:noise"], label="label", jobs=1, bootstrap=0)
    with pytest.raises(ValueError, match="1 of the ranked candidates are relevant to label"):
        learn_weights_from_store(ranking, jobs=1)
