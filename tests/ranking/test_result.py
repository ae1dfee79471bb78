import copy
import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from augury import Ranking, rank, read_corpus
from augury.corpus.corpus import Rejected
from ranking.test_report import CASES, candidate, ranking, several

import toy


def test_the_result_of_rank_is_read_back(own_store, tmp_path):
    manifest = toy.corpus(tmp_path)
    with manifest.open("a") as file:
        file.write('"gone, or ""lost"".wav",low,7,red\nno\nline.wav,low,7,red\n')
    corpus = read_corpus(manifest)
    for name, part in (("whole", corpus), ("cut", corpus.select(np.arange(len(corpus)) != 3))):
        result = rank(
            part, ("own:rms", "own:noise", "column:age", "column:colour", "toy:bands"),
            label="label", jobs=1, max_bad=0.5, group="age", exclude=("middle",),
            out=tmp_path / name,
        )  # fmt: skip
        assert result.rejected
        assert result.timings
        assert Ranking.read(tmp_path / name) == result
        assert Ranking.read(tmp_path / name / "ranking.json") == result


@pytest.mark.parametrize(
    "name", ["seven", "unsure", "noisy", "published", "none ranked", "nothing"]
)
def test_rankings_of_all_kinds_are_read_back(name, tmp_path):
    original = CASES[name]()
    original.write(tmp_path)
    assert Ranking.read(tmp_path) == original


def test_timings_and_quarantine_are_read_from_their_own_files(tmp_path):
    rejected = (Rejected(3, "a\u2028b\n,.wav", 0.1, None, "too-short", 'a "b", c'),)
    original = replace(GOOD, rejected=rejected, timings={"HSIC": 0.125})
    original.write(tmp_path)
    assert Ranking.read(tmp_path) == original
    (tmp_path / "timings.json").unlink()
    (tmp_path / "quarantine.csv").unlink()
    assert Ranking.read(tmp_path) == replace(original, rejected=(), timings={})


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("timings.json", "[1]"), ("timings.json", '{"a": "b"}'), ("timings.json", "{"),
        ("timings.json", '{"a": true}'), ("quarantine.csv", "x\n1\n"),
        ("quarantine.csv", "row,path,start,end,reason,detail\nx,p,,,r,d\n"),
        ("quarantine.csv", "row,path,start,end,reason,detail\n1,p,a,,r,d\n"),
        ("quarantine.csv", "row,path,start,end,reason,detail\n1,p\n"),
    ],
)  # fmt: skip
def test_a_damaged_file_beside_it_is_named(file, text, tmp_path):
    GOOD.write(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=rf"{re.escape(file)}: not a {re.escape(file)}"):
        Ranking.read(tmp_path)


GOOD = ranking(
    (
        candidate("a", 0.1, 2), candidate("b", 0.2, 2, relevant=False),
        candidate("flat", None, 2), candidate("c", 0.3, 2),
    ),
    2,
    redundancy=(
        (1.0, -0.5, None, 0.2), (-0.5, 1.0, None, None), (None,) * 4, (0.2, None, None, 1.0),
    ),
)  # fmt: skip
PLAIN = json.loads(json.dumps(GOOD.to_dict()))


def damaged(**fields):
    plain = copy.deepcopy(PLAIN)
    plain["results"][1] |= fields
    return json.dumps(plain)


def without(name):
    return json.dumps({k: v for k, v in PLAIN.items() if k != name})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        json.dumps(PLAIN)[:200],
        "[" * 200_000,
        json.dumps(PLAIN | {"redundancy": [[1.0]]}),
        json.dumps(PLAIN | {"redundancy": [[7.0] * 4] * 4}),
        json.dumps(PLAIN | {"redundancy": None}),
        json.dumps(PLAIN | {"settings": 3}),
        without("settings"),
        without("origin"),
        without("results"),
        json.dumps(PLAIN | {"more": 1}),
        json.dumps(PLAIN | {"settings": {"label": "phone", "estimator": "robus"}}),
        json.dumps(PLAIN | {"origin": {"manifest": "m.csv", "stretches": [[1]]}}),
        json.dumps(PLAIN | {"results": {}}),
        json.dumps(PLAIN | {"segments": 1.5}),
        json.dumps(PLAIN | {"hours": "1"}),
        json.dumps(PLAIN | {"class_shares": [1.0]}),
        json.dumps(PLAIN | {"better": [[0.5]]}),
        json.dumps(PLAIN | {"redundancy": [[1.00001] * 4] * 4}),
        "null",
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
        Ranking.read(path)


def test_correlations_above_1_by_rounding_are_read_and_invalid_utf8_is_refused(tmp_path):
    """A correlation slightly above 1 is due to rounding."""
    path = tmp_path / "ranking.json"
    path.write_text(json.dumps(PLAIN | {"redundancy": [[1 + 9e-7] * 4] * 4}))
    assert Ranking.read(path).redundancy[0][0] > 1
    path.write_bytes(b'{"label": "\xff"}')
    with pytest.raises(ValueError, match=r"ranking\.json: not a ranking"):
        Ranking.read(path)


def test_a_missing_ranking_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ranking\.json: there is no such file"):
        Ranking.read(tmp_path / "ranking.json")


def test_the_table_has_ranks_of_kinds_and_shares_of_relevance(tmp_path):
    several().write(tmp_path)
    with (tmp_path / "ranking.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert [rows[name]["rank"] for name in ("F0", "ZCR", "speaker", "noise")] == ["1", "2", "1", ""]
    assert rows["bands"]["kind"] == "vector"
    assert rows["ZCR"]["relevance_strength"] == "faint"
    assert float(rows["F0"]["relevance_share"]) == pytest.approx(0.3 / 0.5)
    by_chance = candidate("a", 0.1, 2, dependence=-0.01, chance_sd=0.1)
    assert by_chance.relevance_share == pytest.approx(0.3 / 0.1)


def test_ranked_and_relevant_results():
    assert [result.name for result in GOOD.ranked_results] == ["a", "b", "c"]
    assert [result.name for result in GOOD.relevant_results] == ["a", "c"]
