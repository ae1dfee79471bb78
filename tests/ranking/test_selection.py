import json
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from augury import rank, read_corpus
from augury.cli.app import app
from augury.pretraining.choice import read_weights
from augury.ranking import selection
from ranking.test_report import candidate, ranking

import toy

ALIKE = np.array(
    [[1.0, 0.9, 0.1, 0.0], [0.9, 1.0, 0.2, 0.3], [0.1, 0.2, 1.0, 0.8], [0.0, 0.3, 0.8, 1.0]]
)
RELEVANT = (False, True, True, True)


def four(alike=ALIKE, order=(0, 1, 2, 3)):
    """A ranking of four, with a constant candidate in the middle of the table."""
    numbers = zip(
        ("noise", "a", "b", "c"), (0.0, 0.1, 0.2, 0.3), (0.0, 0.5, 0.45, 0.3), RELEVANT, strict=True
    )
    results = [candidate(n, s, 2, relevance=r, relevant=y) for n, s, r, y in numbers]
    results = [results[k] for k in order]
    table = np.insert(np.insert(alike, 2, 0.0, axis=0), 2, 0.0, axis=1)
    signs = np.where(np.arange(5) % 2, -1.0, 1.0)  # the sign of a correlation does not count
    rows = tuple(map(tuple, (table * signs * signs[:, None]).tolist()))
    return ranking((*results[:2], candidate("flat", None, 2), *results[2:]), 2, redundancy=rows)


FOUR = four()


def names(chosen):
    return list(chosen.weights)


def test_groups_by_hand():
    assert names(selection.best(FOUR, 2)) == ["a", "b"]
    assert names(selection.worst(FOUR, 2)) == ["c", "b"]
    assert names(selection.everything(FOUR)) == ["noise", "a", "b", "c"]
    assert selection.best(FOUR, 1).weights == {"a": 1.0}
    with pytest.raises(ValueError, match="4 pseudo-labels are asked for, but only 3 of the 4"):
        selection.best(FOUR, 4)
    with pytest.raises(ValueError, match="k is 0, but must be 1 or more"):
        selection.worst(FOUR, 0)


def test_redundancy_counts():
    # After a (0.5): b 0.45 − 0.2, c 0.3 − 0.3, noise 0 − 0.9.
    assert names(selection.mrmr(FOUR, 3)) == ["a", "b", "c"]
    # Ranks 1/3, 2/3, 1; after a: b 2/3 + 0.2, c 1 + 0.3. Were a and b alike, c would be next.
    assert names(selection.greedy(FOUR, 2)) == ["a", "b"]
    twins = ALIKE.copy()
    twins[1, 2] = twins[2, 1] = 0.95
    assert names(selection.greedy(four(twins), 2)) == ["a", "c"]
    assert names(selection.mrmr(four(twins), 2)) == ["a", "c"]
    with pytest.raises(ValueError, match="3 of the 4"):
        selection.greedy(FOUR, 4)


def test_likeness_covers_ranked_candidates_and_is_0_where_unknown():
    assert selection.likeness(FOUR) == pytest.approx(ALIKE)
    table = [list(row) for row in FOUR.redundancy]
    table[0][1] = table[1][0] = None
    likeness = selection.likeness(replace(FOUR, redundancy=tuple(map(tuple, table))))
    assert likeness[0, 1] == likeness[1, 0] == 0
    assert likeness[2:].tolist() == selection.likeness(FOUR)[2:].tolist()


def test_unknown_relevance_counts_as_relevant():
    results = tuple(
        replace(r, relevant=None if r.name == "a" else r.relevant) for r in FOUR.results
    )
    assert names(selection.best(replace(FOUR, results=results), 1)) == ["a"]


def test_ties_and_ranks_decide_a_greedy_choice():
    """Ranks are scaled to 0..1: 1 for the last of four."""
    level = 0.5 + 0.5 * np.eye(4)
    assert names(selection.greedy(four(level), 3)) == ["a", "b", "c"]
    # After a: b 2/3 + 0.6, c 1 + 0.3; with 0.7 for c, b is next.
    near = level.copy()
    near[1, 2] = near[2, 1] = 0.6
    near[1, 3] = near[3, 1] = 0.3 - 0.04
    assert names(selection.greedy(four(near), 2)) == ["a", "c"]
    near[1, 3] = near[3, 1] = 0.3
    assert names(selection.greedy(four(near), 2)) == ["a", "b"]


def test_the_mean_likeness_counts_not_the_largest():
    """After a and b: c 0.3 − mean(0.9, 0), noise 0 − mean(0.1, 0.1)."""
    table = np.eye(4)
    table[1, 3] = table[3, 1] = 0.9
    table[0, 1:3] = table[1:3, 0] = 0.1
    assert names(selection.mrmr(four(table), 3)) == ["a", "b", "noise"]
    table[1, 3] = table[3, 1] = 0.7
    assert names(selection.mrmr(four(table), 3)) == ["a", "b", "c"]


def test_random_groups_follow_from_names_and_seed():
    reversed_four = four(order=(3, 2, 1, 0))
    assert set(selection.random(FOUR, 4).weights) == {"noise", "a", "b", "c"}
    with pytest.raises(ValueError, match="5 pseudo-labels are asked for"):
        selection.random(FOUR, 5)
    drawn = {seed: set(selection.random(FOUR, 2, seed).weights) for seed in range(20)}
    assert all(
        set(selection.random(reversed_four, 2, seed).weights) == drawn[seed] for seed in drawn
    )
    assert len({frozenset(group) for group in drawn.values()}) > 3


def test_what_is_written_is_read_by_people_too(tmp_path):
    selection.Selection({"a": 0.75, "b": 0.25}, "by hand").write(tmp_path / "w.json")
    assert (tmp_path / "w.json").read_text() == '{\n "a": 0.75,\n "b": 0.25\n}\n'


def test_a_random_group_has_the_seed_0():
    groups = [names(selection.random(FOUR, 2, *seed)) for seed in ((), (0,))]
    assert groups[0] == groups[1]
    assert any(names(selection.random(FOUR, 2, seed)) != groups[0] for seed in (1, 2))


def test_a_single_candidate_can_be_chosen():
    one = replace(FOUR, results=FOUR.results[1:2], redundancy=((1.0,),))
    assert [r.name for r in one.ranked_results] == ["a"]
    for choose in (selection.greedy, selection.mrmr, selection.best, selection.worst):
        assert names(choose(one, 1)) == ["a"]


@pytest.fixture
def written(own_store, tmp_path):
    own = ["toy:bands", "own:zero_crossings", "own:centroid", "own:noise"]
    manifest = toy.corpus(tmp_path, each=20)
    result = rank(read_corpus(manifest), own, label="label", jobs=1, bootstrap=0)
    result.write(tmp_path / "r")
    return tmp_path / "r" / "ranking.json"


def test_the_command_line(written, tmp_path):
    def run(*words):
        outcome = CliRunner().invoke(app, ["select", str(written), *words, "--out", str(out)])
        return outcome.exit_code, outcome.output + (outcome.stderr or "")

    out = tmp_path / "w.json"
    assert run("--best", "1")[0] == 0
    relevant = [
        result["name"]
        for result in json.loads(written.read_text())["results"]
        if result["relevant"]
    ]
    assert read_weights(str(out)) == {relevant[0]: 1.0}
    for words in (["--weights", "sparsemax"], ["--weights", "softmax", "--jobs", "1"]):
        code, text = run(*words)
        assert code == 0, text
        weights = read_weights(str(out))
        assert set(weights) <= set(relevant)
        assert sum(weights.values()) == pytest.approx(1)
        single = re.search("with all weight on (.*), the best single one", text)
        assert single
        assert single[1] in relevant
        assert "at equal weights" in text
        assert ("no weights were found" in text) == (weights == {single[1]: 1.0})
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
    assert "is not what was ranked: the segments differ" in text
