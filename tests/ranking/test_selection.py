import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from augury import rank, read_corpus
from augury.cli.app import app
from augury.hsic import unbiased_hsic
from augury.pretraining.choice import read_weights
from augury.ranking import selection
from augury.ranking.selection import Ranked, learn_weights, sparsemax
from augury.store import digest

import oracles
import toy

ALIKE = np.array(
    [[1.0, 0.9, 0.1, 0.0], [0.9, 1.0, 0.2, 0.3], [0.1, 0.2, 1.0, 0.8], [0.0, 0.3, 0.8, 1.0]]
)
RANKED = Ranked(
    ("noise", "a", "b", "c"),
    np.array([0.0, 0.1, 0.2, 0.3]),
    np.array([0.0, 0.5, 0.45, 0.3]),
    np.array([False, True, True, True]),
    ALIKE,
    {},
    "",
)


def names(found):
    return list(found.weights)


def test_groups_by_hand():
    assert names(selection.best(RANKED, 2)) == ["a", "b"]
    assert names(selection.worst(RANKED, 2)) == ["c", "b"]
    assert names(selection.everything(RANKED)) == ["noise", "a", "b", "c"]
    assert selection.best(RANKED, 1).weights == {"a": 1.0}
    with pytest.raises(ValueError, match="4 pseudo-labels are asked for, but 3 of the 4"):
        selection.best(RANKED, 4)
    with pytest.raises(ValueError, match="one at least"):
        selection.worst(RANKED, 0)


def test_redundancy_counts():
    # After a (0.5): b 0.45 − 0.2, c 0.3 − 0.3, noise 0 − 0.9.
    assert names(selection.mrmr(RANKED, 3)) == ["a", "b", "c"]
    # Places 1/3, 2/3, 1; after a: b 2/3 + 0.2, c 1 + 0.3. Were a and b alike, c would be next.
    assert names(selection.greedy(RANKED, 2)) == ["a", "b"]
    twins = ALIKE.copy()
    twins[1, 2] = twins[2, 1] = 0.95
    assert names(selection.greedy(replace(RANKED, alike=twins), 2)) == ["a", "c"]
    assert names(selection.mrmr(replace(RANKED, alike=twins), 2)) == ["a", "c"]
    with pytest.raises(ValueError, match="3 of the 4"):
        selection.greedy(RANKED, 4)


def test_random_groups_follow_from_names_and_seed():
    turned = Ranked(
        RANKED.names[::-1], RANKED.scores, RANKED.relevance, RANKED.relevant, ALIKE, {}, ""
    )
    assert set(selection.random(RANKED, 4).weights) == set(RANKED.names)
    with pytest.raises(ValueError, match="5 pseudo-labels are asked for"):
        selection.random(RANKED, 5)
    drawn = {seed: set(selection.random(RANKED, 2, seed).weights) for seed in range(20)}
    assert all(set(selection.random(turned, 2, seed).weights) == drawn[seed] for seed in drawn)
    assert len({frozenset(one) for one in drawn.values()}) > 3


# ------------------------------------------------------------------------------- learned weights


def planted(n=90, seed=0):
    """Embeddings, three classes, and pseudo-labels: one independent of the speech in them."""
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


def plain(values, x, y, weights, *, normalised, width=1.0):
    """The objective by loops, with H written out."""
    total = 0.0
    zs = []
    for z in values.values():
        if z.dtype.kind == "i":
            zs.append((z[:, None] == np.unique(z)).astype(float))  # unlike ones are 2 apart
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


def ours(values, x, y, normalised, keep=True):
    """The package's objective, a function of the weights that gives its slope too."""
    kept = [selection._scaled(z) for z in values.values()]
    groups = [np.flatnonzero(y == c) for c in np.unique(y)]
    parts = [selection._Part.of(x[g], [z[g] for z in kept], normalised, keep) for g in groups]

    def objective(weights):
        both = [part.value(weights, 1.0) for part in parts]
        shares = np.array([len(g) for g in groups]) / len(y)
        return float(shares @ [one for one, _ in both]), shares @ [one for _, one in both]

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
    value, slope = ours(values, x, y, normalised, keep)(weights)
    # Distances are float32.
    assert value == pytest.approx(plain(values, x, y, weights, normalised=normalised), rel=1e-5)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-3
        up, down = (plain(values, x, y, weights + s * step, normalised=normalised) for s in (1, -1))
        assert slope[k] == pytest.approx((up - down) / 2e-3, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("normalised", [True, False])
def test_the_slope_through_softmax_against_differences(normalised):
    values, x, y = unequal()
    objective, W = ours(values, x, y, normalised), np.array([0.5, -0.3, 0.2, 0.0])

    def by_loops(W):
        weights = np.exp(W) / np.exp(W).sum()
        held = selection.HOLD * (W**2).sum()
        return plain(values, x, y, weights, normalised=normalised) / 0.01 + held

    value, slope = selection.through_softmax(objective, W, 0.01)
    assert value == pytest.approx(by_loops(W), rel=1e-5)
    for k, step in enumerate(1e-3 * np.eye(4)):
        differences = (by_loops(W + step) - by_loops(W - step)) / 2e-3
        assert slope[k] == pytest.approx(differences, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
def test_at_the_end_no_direction_leads_down(kind, normalised):
    """The slope by plain loops: through softmax it is 0, on the simplex least where weight is."""
    values, x, y = planted(60)
    found = learn_weights(values, x, y, kind=kind, normalised=normalised)
    weights = np.array([found.weights.get(name, 0.0) for name in values])
    slope = np.zeros(3)
    for k, step in enumerate(1e-4 * np.eye(3)):
        up, down = (plain(values, x, y, weights + s * step, normalised=normalised) for s in (1, -1))
        slope[k] = (up - down) / 2e-4
    unit = found.about["objective"]["equal"]
    slope /= unit
    if kind == "softmax":
        W = np.log(weights) - np.log(weights).mean()  # what is held near 0 has a mean of 0
        assert weights * (slope - weights @ slope) + 2 * selection.HOLD * W == pytest.approx(
            np.zeros(3),
            abs=5e-3,  # the search ends at changes of 1e-6
        )
    else:
        assert slope.min() == pytest.approx(weights @ slope, abs=5e-2)
    assert found.about["objective"]["learned"] == pytest.approx(
        plain(values, x, y, weights, normalised=normalised), abs=1e-4 * unit
    )


@pytest.mark.parametrize("normalised", [True, False])
def test_classes_count_by_their_shares(normalised):
    values, x, y = unequal()
    first = learn_weights(values, x, y, normalised=normalised).about["objective"]["equal"]
    assert first == pytest.approx(plain(values, x, y, [0.25] * 4, normalised=normalised), rel=1e-5)


def test_the_normalised_form_is_the_mean_over_quadruples():
    values, x, y = unequal(21)  # classes of 7
    weights = np.array([0.2, 0.4, 0.3, 0.1])
    zs = [selection._scaled(z).astype(float) for z in list(values.values())[:3]]
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
    assert ours(values, x, y, True)(weights)[0] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
def test_the_independent_one_gets_the_weight(kind):
    values, x, y = planted()
    found = learn_weights(values, x, y, kind=kind)
    assert sum(found.weights.values()) == pytest.approx(1)
    assert max(found.weights, key=found.weights.__getitem__) == "free"
    assert found.about["objective"]["learned"] < found.about["objective"]["equal"]
    assert found.about["ended"]
    # The search adds in another order, and ends where little changes.
    turned = learn_weights(values, x, y, list(values)[::-1], kind=kind)
    assert turned.weights == pytest.approx(found.weights, abs=0.02)
    units = {name: 1000 * z - 7 for name, z in values.items()}
    assert learn_weights(units, x, y, kind=kind).weights == pytest.approx(found.weights, abs=0.02)
    fewer = learn_weights(values, x, y, ["free", "tied"], kind=kind)
    alone = learn_weights({"free": values["free"], "tied": values["tied"]}, x, y, kind=kind)
    assert fewer == alone


def test_no_pseudo_label_is_chosen_for_how_it_spreads():
    rng = np.random.default_rng(0)
    n, y = 1200, np.arange(1200) % 3
    x = rng.standard_normal((n, 1, 300))  # so wide that the kernel is nearly the identity
    values = {"free": rng.standard_normal(n), "tied": np.abs(x[:, 0, 0]) ** 3 + x[:, 0, 0]}
    assert learn_weights(values, x, y).weights["free"] > 0.6
    follow_up = learn_weights(values, x, y, normalised=False).weights
    assert follow_up["tied"] > 0.6  # its mass lies close together, and that is all it takes


def test_sparsemax_leaves_out_and_softmax_does_not():
    values, x, y = planted()
    assert len(learn_weights(values, x, y, kind="sparsemax").weights) < 3
    assert len(learn_weights(values, x, y, kind="softmax").weights) == 3


def test_copies_share_what_one_would_have():
    values, x, y = planted()
    alone = learn_weights(values, x, y).weights["free"]
    twice = learn_weights(values | {"again": values["free"]}, x, y).weights
    assert twice["free"] == pytest.approx(twice["again"], rel=1e-3)
    assert twice["free"] + twice["again"] == pytest.approx(alone, abs=0.05)


def test_no_simplex_point_found_by_force_is_lower():
    values, x, y = planted(30)
    found = learn_weights(values, x, y, kind="sparsemax")
    grid = [(a / 10, b / 10) for a in range(11) for b in range(11 - a)]
    least = min(plain(values, x, y, (a, b, 1 - a - b), normalised=True) for a, b in grid)
    assert found.about["objective"]["learned"] <= least + 1e-4


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    rng = np.random.default_rng(0)
    for _ in range(5):
        W = rng.standard_normal(3)
        ours = sparsemax(W)
        assert ours.sum() == pytest.approx(1)
        assert ours.min() >= 0
        assert sparsemax(W + 5) == pytest.approx(ours)  # a shift is of no effect
        grid = [(a / 200, b / 200) for a in range(201) for b in range(201 - a)]
        points = np.array([(a, b, 1 - a - b) for a, b in grid])
        nearest = np.square(points - W).sum(axis=1).min()
        assert np.square(ours - W).sum() <= nearest + 1e-12
    assert sparsemax([5.0, 0.0]).tolist() == [1.0, 0.0]


def test_segments_without_a_value_are_counted():
    values, x, y = planted()
    values["free"][:5] = np.nan
    values["tied"][5] = np.inf
    values["vector"][6, 1] = np.nan
    values["kind"] = np.where(np.arange(90) // 2 == 4, -1, np.arange(90) % 2)
    found = learn_weights(values, x, y, most=20)
    assert (found.about["left_out"], found.about["points"]) == (9, 60)
    tiny = learn_weights(values, x, np.where(np.arange(90) > 86, 9, y))
    assert (tiny.about["points"], tiny.about["in_small_classes"]) == (78, 3)


def test_large_classes_are_drawn_from_by_a_seed():
    values, x, y = planted(300)
    few, again, other = (learn_weights(values, x, y, most=25, seed=seed) for seed in (1, 1, 2))
    assert few == again
    assert few.weights != other.weights
    assert few.about["points"] == 75
    assert max(few.weights, key=few.weights.__getitem__) == "free"
    # Classes that are small enough are taken whole, whatever the seed.
    assert learn_weights(values, x, y, seed=1) == learn_weights(values, x, y, seed=2)


def test_distances_that_do_not_fit_are_made_anew(monkeypatch):
    values, x, y = planted()
    found = learn_weights(values, x, y)
    monkeypatch.setattr(selection, "KEPT", 4 * 3 * 30**2)  # one class of three
    assert learn_weights(values, x, y) == found


def test_what_chance_alone_gives_is_told():
    """Three classes of 30: Σ (1/3)² · 2/(30 · 27)."""
    values, x, y = planted()
    assert learn_weights(values, x, y).about["chance"] == pytest.approx(np.sqrt(2 / (3 * 30 * 27)))
    assert learn_weights(values, x, y, normalised=False).about["chance"] is None


def test_what_has_no_weight_is_named():
    values, x, y = planted()
    found = learn_weights(values, x, y, kind="sparsemax")
    assert found.about["without_weight"]
    assert sorted([*found.weights, *found.about["without_weight"]]) == sorted(values)


def test_what_can_not_be_weighed_is_refused():
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
    with pytest.raises(ValueError, match="width is 0"):
        learn_weights(values, x, y, width=0)
    with pytest.raises(ValueError, match="flat: the same for all 90"):
        learn_weights(values | {"flat": np.full(90, 3.0)}, x, y)
    with pytest.raises(ValueError, match="no class has four"):
        learn_weights(values | {"none": np.full(90, np.nan)}, x, y)
    with pytest.raises(ValueError, match="no class has four"):
        learn_weights(values, x, np.arange(90))


# ---------------------------------------------------------------------------------- from a ranking


@pytest.fixture
def ranking(own_store, tmp_path):
    own = ["toy:bands", "own:zero_crossings", "own:centroid", "own:noise"]
    manifest = toy.corpus(tmp_path, each=20)
    found = rank(read_corpus(manifest), own, label="label", jobs=1, bootstrap=0)
    found.write(tmp_path / "r")
    return tmp_path / "r" / "ranking.json"


def test_the_command_line(ranking, tmp_path):
    def run(*words):
        done = CliRunner().invoke(app, ["select", str(ranking), *words, "--out", str(out)])
        return done.exit_code, done.output + (done.stderr or "")

    out = tmp_path / "w.json"
    assert run("--best", "1")[0] == 0
    relevant = [
        one["name"] for one in json.loads(ranking.read_text())["results"] if one["relevant"]
    ]
    assert read_weights(str(out)) == {relevant[0]: 1.0}
    for words in (["--weights", "sparsemax"], ["--weights", "softmax", "--jobs", "1"]):
        code, text = run(*words)
        assert code == 0, text
        weights = read_weights(str(out))
        assert set(weights) <= set(relevant)
        assert sum(weights.values()) == pytest.approx(1)
        assert "at equal weights" in text
    for name in ("--worst", "--greedy", "--mrmr", "--random"):
        assert run(name, "2")[0] == 0
        assert len(read_weights(str(out))) == 2
    assert run("--all")[0] == 0
    assert len(read_weights(str(out))) == 4
    code, text = run("--best", "1", "--worst", "1")
    assert code == 2
    assert "say how to choose" in text
    assert run("--best", "9")[0] == 2
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",low,", ",high,", 1))
    code, text = run("--weights", "softmax")
    assert code == 2
    assert "does not hold what was ranked: the segments differ" in text


def one(name, score, relevance, relevant: bool | None = True, status="ranked"):
    return {
        "name": name, "score": score, "relevance": relevance, "relevant": relevant,
        "status": status,
    }  # fmt: skip


GOOD = {
    "results": [
        one("a", 0.1, 0.5),
        one("b", 0.2, 0.4, False),
        one("flat", None, None, None, "constant"),
        one("c", 0.3, 0.3),
    ],
    "redundancy": [
        [1.0, -0.5, None, 0.2], [-0.5, 1.0, None, None], [None] * 4, [0.2, None, None, 1.0],
    ],
    "settings": {"label": "phone"},
    "command": "augury rank m.csv",
    "label": "phone",
    "estimator": "robust",
    "versions": {"augury": "1"},
    "inputs": {"audio": "x"},
}  # fmt: skip


def test_what_is_read_of_a_ranking(tmp_path):
    path = tmp_path / "ranking.json"
    path.write_text(json.dumps(GOOD))
    ranked = selection.read_ranking(path)
    assert ranked.names == ("a", "b", "c")
    assert ranked.scores.tolist() == [0.1, 0.2, 0.3]
    assert ranked.relevance.tolist() == [0.5, 0.4, 0.3]
    assert ranked.relevant.tolist() == [True, False, True]
    assert ranked.alike.tolist() == [[1.0, 0.5, 0.2], [0.5, 1.0, 0.0], [0.2, 0.0, 1.0]]
    assert (ranked.label, ranked.command) == ("phone", "augury rank m.csv")
    assert ranked.settings == {"label": "phone"}
    assert (ranked.estimator, ranked.versions) == ("robust", {"augury": "1"})
    assert ranked.inputs == {"audio": "x"}
    assert ranked.digest == digest(path.read_bytes())


def damaged(**places):
    plain = copy.deepcopy(GOOD)
    plain["results"][1] |= places
    return json.dumps(plain)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        json.dumps(GOOD)[:200],
        "[" * 200_000,
        json.dumps(GOOD | {"redundancy": [[1.0]]}),
        json.dumps(GOOD | {"redundancy": [[7.0] * 4] * 4}),
        json.dumps(GOOD | {"redundancy": None}),
        json.dumps(GOOD | {"settings": 3}),
        json.dumps({k: v for k, v in GOOD.items() if k != "command"}),
        damaged(score=float("nan")),
        damaged(score="0.2"),
        damaged(score=10**400),
        damaged(relevance=None),
        damaged(relevant="no"),
        damaged(name="a"),
    ],
)
def test_a_damaged_ranking_is_named(text, tmp_path):
    path = tmp_path / "ranking.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"ranking\.json: not a ranking"):
        selection.read_ranking(path)


def test_no_ranking_at_all(tmp_path):
    with pytest.raises(ValueError, match=r"ranking\.json: No such file"):
        selection.read_ranking(tmp_path / "ranking.json")


def test_weights_are_read_back_as_written(tmp_path):
    values, x, y = planted()
    found = learn_weights(values, x, y)
    found.write(tmp_path / "new" / "w.json")
    assert read_weights(str(tmp_path / "new" / "w.json")) == found.weights
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["w.json"]
