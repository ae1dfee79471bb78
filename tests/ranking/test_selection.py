import csv
import itertools
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


NAMES = ("noise", "a", "b", "c")


def four(order=(0, 1, 2, 3), relevance=(0.0, 0.5, 0.45, 0.3), **fields):
    """A ranking of four, with a constant candidate in the middle of the table."""
    numbers = zip(NAMES, (0.0, 0.1, 0.2, 0.3), relevance, RELEVANT, strict=True)
    results = [candidate(n, s, 2, relevance=r, relevant=y) for n, s, r, y in numbers]
    results = [results[k] for k in order]
    return ranking((*results[:2], candidate("flat", None, 2), *results[2:]), 2, **fields)


def shared(table):
    """What two of `NAMES` share, from a table (4, 4)."""
    return lambda one, other: float(table[NAMES.index(one), NAMES.index(other)])


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
    # After a (0.5): b 0.45 − 0.2 · 0.5, c 0.3 − 0.3 · 0.5; noise is never taken.
    assert names(selection.mrmr(FOUR, 3, shared(ALIKE))) == ["a", "b", "c"]
    # Scores 0.1, 0.2, 0.3; after a: b 0.2 + 0.2, c 0.3 + 0.3. Were a and b alike, c would be next.
    assert names(selection.greedy(FOUR, 2, shared(ALIKE))) == ["a", "b"]
    twins = ALIKE.copy()
    twins[1, 2] = twins[2, 1] = 0.95
    assert names(selection.greedy(FOUR, 2, shared(twins))) == ["a", "c"]
    assert names(selection.mrmr(FOUR, 2, shared(twins))) == ["a", "c"]


@pytest.mark.parametrize("choose", [selection.mrmr, selection.greedy])
def test_too_many_none_and_copies_are_refused(choose):
    with pytest.raises(ValueError, match=r"4 .* only 3 of the 4 .* \((mRMR|greedy)\); ask"):
        choose(FOUR, 4, shared(ALIKE))
    with pytest.raises(ValueError, match="k is 0, but must be 1 or more"):
        choose(FOUR, 0, shared(ALIKE))
    copies = ALIKE.copy()
    copies[1, 2] = copies[2, 1] = 0.9991
    assert names(choose(FOUR, 2, shared(copies))) == ["a", "c"]
    with pytest.raises(ValueError, match=r"only 2 of the 4 .*: 1 of the relevant ones are copies"):
        choose(FOUR, 3, shared(copies))
    copies[1, 2] = copies[2, 1] = 0.9985
    assert names(choose(FOUR, 3, shared(copies))) == ["a", "c", "b"]


def test_redundancy_counts_for_the_relevance_of_what_is_shared():
    """b shares half of a, and c nothing: only if b has more than half of a's relevance is it next.

    0.45 − 0.5 · 0.5 = 0.2 with b beside a.
    """
    table = np.eye(4)
    table[1, 2] = table[2, 1] = 0.5
    for last, expected in ((0.19, ["a", "b"]), (0.21, ["a", "c"])):
        ranked = four(relevance=(0.0, 0.5, 0.45, last))
        assert names(selection.mrmr(ranked, 2, shared(table))) == expected


def test_relevance_that_two_explain_together_is_not_counted_twice():
    """a and b share half of each other, and c 0.6 of both: regression, not a sum or a mean.

    Weights of a and b: (1, ½; ½, 1)⁻¹ (0.5, 0.45) = (0.367, 0.267). With a sum, c would keep
    less than 0 (0.4 − 0.6 · 0.95); it keeps 0.4 − 0.6 · 0.633 = 0.02.
    """
    table = np.eye(4)
    table[1, 2] = table[2, 1] = 0.5
    table[3, 1:3] = table[1:3, 3] = 0.6
    ranked = four(relevance=(0.0, 0.5, 0.45, 0.4))
    results = [*ranked.results, candidate("d", 0.4, 2, relevance=0.01, relevant=True)]
    for least, expected in ((0.01, "c"), (0.03, "d")):
        results[-1] = candidate("d", 0.4, 2, relevance=least, relevant=True)
        five = ranking(tuple(results), 2)

        def share(one, other, table=table):
            return float(one == other) if "d" in (one, other) else shared(table)(one, other)

        assert names(selection.mrmr(five, 3, share)) == ["a", "b", expected]


def test_unknown_relevance_counts_as_relevant():
    results = tuple(
        replace(r, relevant=None if r.name == "a" else r.relevant) for r in FOUR.results
    )
    assert names(selection.best(replace(FOUR, results=results), 1)) == ["a"]


def test_ties_are_broken_by_name_whatever_the_order():
    level = 0.5 + 0.5 * np.eye(4)
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        ranked = four(order, relevance=(0.0, 0.4, 0.4, 0.4))
        assert names(selection.mrmr(ranked, 3, shared(level))) == ["a", "b", "c"]
        assert names(selection.greedy(ranked, 3, shared(level))) == ["a", "b", "c"]


def test_scores_in_raw_units_are_replaced_by_ranks():
    """Ranks are scaled to 0..1: 1 for the last relevant one. Scores of robust count themselves."""
    near = 0.5 + 0.5 * np.eye(4)
    near[1, 2] = near[2, 1] = 0.6
    # After a, by ranks: b 1/2 + 0.6, c 1 + 0.05 or 1 + 0.15; by scores: b 0.2 + 0.6, c 0.3 + 0.05.
    for share, expected in ((0.05, ["a", "c"]), (0.15, ["a", "b"])):
        near[1, 3] = near[3, 1] = share
        for estimator in ("paper", "released"):
            ranked = four(estimator=estimator)
            assert names(selection.greedy(ranked, 2, shared(near))) == expected
        assert names(selection.greedy(FOUR, 2, shared(near))) == ["a", "c"]


def test_the_mean_of_what_is_shared_counts_not_the_largest():
    """After a and b, by scores: c 0.3 + mean(0.9, 0), d 0.4 + mean(0.3, 0.3)."""
    results = [*FOUR.results, candidate("d", 0.4, 2, relevance=0.3, relevant=True)]
    for d, expected in ((0.3, "d"), (0.4, "c")):
        pairs = {"ac": 0.9, "ad": d, "bd": d}

        def share(one, other, pairs=pairs):
            return 1.0 if one == other else pairs.get("".join(sorted(one + other)), 0.0)

        five = ranking(tuple(results), 2)
        assert names(selection.greedy(five, 3, share)) == ["a", "b", expected]


def test_random_groups_follow_from_names_and_seed():
    reversed_four = four((3, 2, 1, 0))
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
    for choose in (selection.greedy, selection.mrmr):
        assert names(choose(one, 1, shared(ALIKE))) == ["a"]
    for choose in (selection.best, selection.worst):
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
    assert "several kinds (scalar, vector)" in run("--all")[1]
    assert len(read_weights(str(out))) == 4
    code, text = run("--all", "--kind", "vector")
    assert (code, list(read_weights(str(out)))) == (0, ["toy:bands"])
    assert "several kinds" not in text
    code, text = run("--all", "--kind", "category")
    assert code == 2
    assert "--kind category: it has scalar and vector" in text
    assert run("--all")[0] == 0
    assert len(read_weights(str(out))) == 4
    assert "say how to choose" in run()[1]
    ways = {"--best": "1", "--worst": "1", "--greedy": "1", "--mrmr": "1", "--random": "1"}
    ways |= {"--weights": "softmax", "--all": ""}
    for one, other in itertools.combinations(ways, 2):
        code, text = run(*filter(None, (one, ways[one], other, ways[other])))
        assert code == 2
        assert "can't be combined" in text
        assert one in text
        assert other in text
    assert run("--best", "9")[0] == 2
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",low,", ",high,", 1))
    for words in (["--weights", "softmax"], ["--mrmr", "1"], ["--greedy", "1"]):
        code, text = run(*words)
        assert code == 2
        assert "is not what was ranked: the segments differ" in text


def test_phones_of_timit_noise_and_copies_are_not_chosen(shared_data, own_store, tmp_path):
    """With |Spearman| for redundancy noise was taken, and a category beside its copy."""
    corpus = read_corpus(shared_data / "timit_sample")
    keep = (corpus.recording % 10 < 4) & (corpus.recording < 60)
    rows = corpus.select(keep & ~np.isin(corpus.columns["phone"], ["h#", "pau", "epi"]))
    with (tmp_path / "phones.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "start", "end", "phone", "unit", "again"))
        for place, start, end, phone in zip(
            rows.recording, rows.start, rows.end, rows.columns["phone"], strict=True
        ):
            unit = ord(phone[0]) % 12  # known from the phone: relevant
            path = rows.recordings[place]
            table.writerow((path, start, end, phone, f"c{unit}", f"k{7 * unit}"))
    phones = read_corpus(tmp_path / "phones.csv", allow_outside=True)
    out = tmp_path / "chosen.json"

    def chosen(own, *words):
        names = [f"own:{name}" if ":" not in name else name for name in own]
        ranked = rank(
            phones, names, label="phone", jobs=1, bootstrap=0, sensitivity=False, max_bad=0.2,
            out=tmp_path / "r",
        )  # fmt: skip
        words = ["select", str(tmp_path / "r"), *words, "--jobs", "1", "--out", str(out)]
        outcome = CliRunner().invoke(app, words)
        assert outcome.exit_code == 0, outcome.output
        return ranked, set(read_weights(str(out)))

    own = ("rms", "zero_crossings", "centroid", "flatness", "noise")
    for way in ("--mrmr", "--greedy"):
        ranked, names = chosen(own, way, "2")
        assert names <= {result.name for result in ranked.relevant_results}
        assert "own:noise" not in names
        assert len(names) == 2
        _, names = chosen(("column:unit", "column:again", "centroid", "rms"), way, "2")
        assert len(names & {"column:unit", "column:again"}) < 2
    code = CliRunner().invoke(app, ["select", str(tmp_path / "r"), "--mrmr", "4"])
    assert code.exit_code == 2
    assert "1 of the relevant ones are copies of others" in code.output + (code.stderr or "")
