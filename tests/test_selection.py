import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from augury import rank, read_corpus, selection
from augury.cli import app
from augury.hsic import unbiased_hsic
from augury.learning.choice import read_weights
from augury.selection import Ranked, learned, sparsemax

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
    drawn = {seed: set(selection.at_random(RANKED, 2, seed).weights) for seed in range(20)}
    assert all(set(selection.at_random(turned, 2, seed).weights) == drawn[seed] for seed in drawn)
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


@pytest.mark.parametrize("normalised", [True, False])
def test_the_objective_and_its_slope_against_plain_loops(normalised):
    values, x, y = planted(30)
    kept = [selection._scaled(z) for z in values.values()]
    weights = np.array([0.2, 0.5, 0.3])

    def ours(weights):
        value, slope = 0.0, np.zeros(3)
        for c in range(3):
            members = np.flatnonzero(y == c)
            part = selection._Part.of(x, np.arange(30), members, kept, 100)
            one, its = part.value(weights, 1.0, normalised=normalised)
            value, slope = value + one / 3, slope + its / 3
        return value, slope

    value, slope = ours(weights)
    assert value == pytest.approx(plain(values, x, y, weights, normalised=normalised), rel=1e-5)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-3
        up, down = (plain(values, x, y, weights + s * step, normalised=normalised) for s in (1, -1))
        assert slope[k] == pytest.approx((up - down) / 2e-3, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
def test_the_independent_one_gets_the_weight(kind):
    values, x, y = planted()
    found = learned(values, x, y, kind=kind)
    assert sum(found.weights.values()) == pytest.approx(1)
    assert max(found.weights, key=found.weights.__getitem__) == "free"
    assert found.about["objective"]["learned"] < found.about["objective"]["equal"]
    assert found.about["ended"]
    turned = learned(dict(reversed(values.items())), x, y, kind=kind)
    assert turned.weights == pytest.approx(found.weights, abs=0.02)


def test_no_pseudo_label_is_chosen_for_how_it_spreads():
    rng = np.random.default_rng(0)
    n, y = 1200, np.arange(1200) % 3
    x = rng.standard_normal((n, 1, 300))  # so wide that the kernel is nearly the identity
    values = {"free": rng.standard_normal(n), "tied": np.abs(x[:, 0, 0]) ** 3 + x[:, 0, 0]}
    assert learned(values, x, y).weights["free"] > 0.6
    follow_up = learned(values, x, y, normalised=False).weights
    assert follow_up["tied"] > 0.6  # its mass lies close together, and that is all it takes


def test_sparsemax_leaves_out_and_softmax_does_not():
    values, x, y = planted()
    assert len(learned(values, x, y, kind="sparsemax").weights) < 3
    assert len(learned(values, x, y, kind="softmax").weights) == 3


def test_copies_share_what_one_would_have():
    values, x, y = planted()
    alone = learned(values, x, y).weights["free"]
    twice = learned(values | {"again": values["free"]}, x, y).weights
    assert twice["free"] == pytest.approx(twice["again"], rel=1e-3)
    assert twice["free"] + twice["again"] == pytest.approx(alone, abs=0.05)


def test_no_simplex_point_found_by_force_is_lower():
    values, x, y = planted(60)
    found = learned(values, x, y, kind="sparsemax")
    grid = [(a / 20, b / 20) for a in range(21) for b in range(21 - a)]
    least = min(plain(values, x, y, (a, b, 1 - a - b), normalised=True) for a, b in grid)
    assert found.about["objective"]["learned"] <= least + 1e-4


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    rng = np.random.default_rng(0)
    for _ in range(5):
        W = rng.standard_normal(3)
        ours = sparsemax(W)
        assert ours.sum() == pytest.approx(1)
        grid = [(a / 200, b / 200) for a in range(201) for b in range(201 - a)]
        points = np.array([(a, b, 1 - a - b) for a, b in grid])
        nearest = np.square(points - W).sum(axis=1).min()
        assert np.square(ours - W).sum() <= nearest + 1e-12
    assert sparsemax([5.0, 0.0]).tolist() == [1.0, 0.0]


def test_segments_without_a_value_are_counted():
    values, x, y = planted()
    values["free"][:5] = np.nan
    values["kind"] = np.where(np.arange(90) < 7, -1, np.arange(90) % 2)
    found = learned(values, x, y, most=20)
    assert (found.about["left_out"], found.about["points"]) == (7, 60)
    with pytest.raises(ValueError, match="softmax or sparsemax"):
        learned(values, x, y, kind="max")
    with pytest.raises(ValueError, match="two pseudo-labels"):
        learned({"free": values["free"]}, x, y)
    with pytest.raises(ValueError, match="no class has four"):
        learned(values, x, np.arange(90))


# ---------------------------------------------------------------------------------- from a ranking


@pytest.fixture
def ranking(own_store, tmp_path):
    own = ["toy:bands", "own:zero_crossings", "own:centroid", "own:noise"]
    manifest = toy.corpus(tmp_path, each=40)
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


def test_a_damaged_ranking_is_named(ranking):
    good = ranking.read_text()
    for text in (good[: len(good) // 2], "[]", good.replace('"relevance"', '"r"')):
        ranking.write_text(text)
        with pytest.raises(ValueError, match=r"ranking\.json: not a ranking"):
            selection.read_ranking(ranking)
    ranking.unlink()
    with pytest.raises(ValueError, match="No such file"):
        selection.read_ranking(ranking)
