from dataclasses import replace

import numpy as np

from augury.ranking.caveats import find_caveats
from ranking.test_report import candidate


def said(*results, counts=(20, 20), recordings=40, **more):
    rates = [16000] * recordings
    return " ".join(
        find_caveats(results, np.array(counts), rates, estimator="robust", label="phone", **more)
    )


ONE = candidate("one", 0.1, 2, tier=1)
TWO = candidate("two", 0.2, 2, tier=2)


def test_a_settled_order_on_enough_data_is_not_doubted():
    assert said(ONE, TWO) == ""
    assert said(ONE, TWO, resampled=("speaker", 20)) == ""


def test_the_best_tier_s_members_are_named():
    text = said(ONE, replace(TWO, tier=1))
    assert "one, two: this data can't tell which of them is best (tier 1)" in text
    # What is useless is no rival, wherever it stands.
    noise = candidate("noise", 0.0, 2, tier=1, relevant=False)
    assert "which of them" not in said(noise, ONE, TWO)
    text = said(noise, replace(ONE, tier=2), TWO)
    assert "one, two: this data can't tell which of them is best (tier 2)" in text
    many = [replace(ONE, name=f"c{k}") for k in range(60)]
    assert "c7 and 52 more: this data" in said(*many)
    assert "which of them" not in said(replace(ONE, tier=None), replace(TWO, tier=None))


def test_few_groups_make_intervals_too_narrow():
    assert "rest on 19 groups (speaker)" in said(ONE, TWO, resampled=("speaker", 19))
    assert "evidence of its own" in said(ONE, TWO, recordings=10)
    assert "evidence of its own" not in said(ONE, TWO, recordings=10, resampled=("file", 30))


def test_chance_is_judged_by_p_where_there_is_one():
    weak = "one: no dependence on the speech beyond chance"
    assert weak in said(replace(ONE, p_value=0.06), TWO)
    assert weak not in said(replace(ONE, p_value=0.04, shuffled_sd=1.0), TWO)
    assert weak in said(replace(ONE, p_value=None, shuffled_sd=0.05), TWO)
    assert weak not in said(replace(ONE, p_value=None, shuffled_sd=0.03), TWO)
    assert weak not in said(replace(ONE, p_value=None, shuffled_sd=None), TWO)
    assert "one: no relevance beyond that of noise (p ≥ .01)" in said(
        replace(ONE, relevant=False), TWO
    )
