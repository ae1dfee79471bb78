from dataclasses import replace

import numpy as np
import pytest

from augury.ranking.caveats import find_caveats
from ranking.test_report import candidate


def text_of(*results, counts=(20, 20), recordings=40, rates=(), estimator="robust", **more):
    rates = [*rates, *[16000] * (recordings - len(rates))]
    return " ".join(
        find_caveats(results, np.array(counts), rates, estimator=estimator, label="phone", **more)
    )


ONE = candidate("one", 0.1, 2, tier=1)
TWO = candidate("two", 0.2, 2, tier=2)


def test_a_settled_order_on_enough_data_has_no_caveat():
    assert text_of(ONE, TWO) == ""
    assert text_of(ONE, TWO, resampled=("speaker", 20)) == ""


def test_the_members_of_the_best_tier_are_named():
    text = text_of(ONE, replace(TWO, tier=1))
    assert "one, two: this data does not show which of them is best (tier 1)" in text
    # An irrelevant candidate does not count, whatever its rank.
    noise = candidate("noise", 0.0, 2, tier=1, relevant=False)
    assert "which of them" not in text_of(noise, ONE, TWO)
    text = text_of(noise, replace(ONE, tier=2), TWO)
    assert "one, two: this data does not show which of them is best (tier 2)" in text
    eight = [replace(ONE, name=f"c{k}") for k in range(8)]
    assert "c6, c7: this data" in text_of(*eight)
    many = [replace(ONE, name=f"c{k}") for k in range(60)]
    assert "c7 and 52 more: this data" in text_of(*many)
    assert "which of them" not in text_of(replace(ONE, tier=None), replace(TWO, tier=None))


def test_few_groups_make_intervals_too_narrow():
    text = text_of(ONE, TWO, resampled=("speaker", 19))
    assert "19 groups (speaker) are resampled whole, and 20 are needed. There are no" in text
    assert "treat segments as independent" in text_of(ONE, TWO, recordings=10)
    assert "treat segments as independent" not in text_of(
        ONE, TWO, recordings=10, resampled=("file", 30)
    )


def test_chance_is_judged_by_p_where_there_is_one():
    weak = "one: no dependence on the speech beyond chance"
    assert weak in text_of(replace(ONE, p_value=0.06), TWO)
    assert weak not in text_of(replace(ONE, p_value=0.04, shuffled_sd=1.0), TWO)
    assert weak in text_of(replace(ONE, p_value=None, shuffled_sd=0.05), TWO)
    assert weak not in text_of(replace(ONE, p_value=None, shuffled_sd=0.03), TWO)
    assert weak not in text_of(replace(ONE, p_value=None, shuffled_sd=None), TWO)
    assert weak in text_of(replace(ONE, score=0.0, p_value=None, shuffled_sd=0.05), TWO)
    assert weak not in text_of(replace(ONE, score=0.0, p_value=None, shuffled_sd=0.0), TWO)
    assert "one: no relevance beyond that of noise (p ≥ .01)" in text_of(
        replace(ONE, relevant=False), TWO
    )


# ---------------------------------------------------------- both sides of every threshold


def test_a_p_value_of_exactly_the_limit_is_not_weak():
    assert text_of(replace(ONE, p_value=0.05), TWO) == ""
    assert "beyond chance" in text_of(replace(ONE, p_value=0.0501), TWO)


def test_a_score_of_exactly_three_standard_deviations_is_not_weak():
    limit = replace(ONE, score=0.75, p_value=None, shuffled_sd=0.25)
    assert text_of(limit, replace(TWO, score=0.9)) == ""
    assert "beyond chance" in text_of(replace(limit, score=0.7499), replace(TWO, score=0.9))
    assert "beyond chance" in text_of(replace(limit, score=-0.7499), replace(TWO, score=0.9))
    assert text_of(replace(limit, score=-0.75), replace(TWO, score=0.9)) == ""


def test_lengths_that_depend_on_the_label():
    limit = replace(ONE, noise_relevance=0.75, chance_sd=0.25)
    assert text_of(limit, TWO) == ""
    text = text_of(replace(limit, noise_relevance=0.7501), TWO)
    assert (
        "lengths depend on phone: pure noise, averaged over them, has a relevance of 0.75" in text
    )
    # The largest of several is named.
    text = text_of(replace(ONE, noise_relevance=0.9, chance_sd=0.25), replace(limit, chance_sd=0.1))
    assert "a relevance of 0.9." in text
    assert text_of(replace(limit, chance_sd=None), TWO) == ""


@pytest.mark.parametrize("estimator", ["paper", "released"])
def test_a_score_that_is_half_chance(estimator):
    limit = replace(ONE, score=0.5, shuffled=0.25)
    assert "bias, not dependence" not in text_of(limit, TWO, estimator=estimator)
    above = replace(limit, shuffled=0.2501)
    text = text_of(above, TWO, estimator=estimator)
    assert "50% of the score of one remains when the values are shuffled" in text
    assert "bias" not in text_of(above, TWO)
    mostly_chance = replace(TWO, score=0.5, shuffled=0.45)
    assert "50% to 90% of the score of one, two remains" in text_of(
        above, mostly_chance, estimator=estimator
    )


def test_raw_units_affect_all_estimators_except_robust():
    assert "The paper estimator compares" in text_of(ONE, TWO, estimator="paper")
    assert "The released estimator compares" in text_of(ONE, TWO, estimator="released")
    assert "raw units" not in text_of(ONE, TWO)


def ordered(scores, spreads, shuffled=0.0):
    return [
        candidate(f"c{k}", s, 2, tier=k + 1, spread=v, shuffled=shuffled)
        for k, (s, v) in enumerate(zip(scores, spreads, strict=True))
    ]


FOLLOWS = "no better explained by the speech"


def test_a_robust_order_that_follows_the_spread():
    """Spearman of six with a swap of neighbours is 0.94, with two swaps 0.89."""
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    one_swap, two_swaps = [1, 2, 3, 4, 6, 5], [2, 1, 3, 4, 6, 5]
    assert FOLLOWS in text_of(*ordered(scores, one_swap))
    assert "Spearman 0.94 with the spread" in text_of(*ordered(scores, one_swap))
    assert FOLLOWS in text_of(*ordered(scores, one_swap[::-1]))
    assert FOLLOWS not in text_of(*ordered(scores, two_swaps))
    # With four, even an equal order means little.
    assert FOLLOWS not in text_of(*ordered(scores[:4], [1, 2, 3, 4]))
    assert FOLLOWS in text_of(*ordered(scores[:5], [1, 2, 3, 4, 5]))
    assert FOLLOWS not in text_of(*ordered(scores, [1] * 6))


def test_a_raw_order_that_follows_the_spread_more_than_the_speech():
    scores = [0.1, 0.2, 0.3]
    for estimator in ("paper", "released"):
        assert FOLLOWS in text_of(*ordered(scores, [1, 2, 3]), estimator=estimator)
        assert FOLLOWS not in text_of(*ordered(scores, [2, 1, 3]), estimator=estimator)
        assert FOLLOWS not in text_of(*ordered(scores[:2], [1, 2]), estimator=estimator)


def test_the_smallest_number_of_groups_without_a_caveat():
    assert "too little" not in text_of(ONE, TWO, resampled=("speaker", 20))
    assert "Too little data" in text_of(ONE, TWO, resampled=("speaker", 19))


def test_segments_that_are_recordings_are_independent():
    assert "independent" not in text_of(ONE, TWO, recordings=40)
    assert "independent" in text_of(ONE, TWO, recordings=39)
    assert "independent" not in text_of(replace(ONE, tier=None), TWO, recordings=39)


def test_small_classes_of_the_robust_estimator():
    text = "1 of 2 classes have fewer than 4 segments and are not scored"
    assert text in text_of(ONE, TWO, counts=(3, 37))
    assert text not in text_of(ONE, TWO, counts=(4, 36))
    assert text not in text_of(ONE, TWO, counts=(3, 37), estimator="paper")


def test_low_sample_rates():
    assert text_of(ONE, TWO, rates=(16000, 44100)) == ""
    text = text_of(ONE, TWO, rates=(15999, 8000))
    assert "2 of 40 recordings are sampled below 16 kHz (lowest 8000 Hz)" in text


def test_missing_values():
    assert "two: scored on fewer segments" in text_of(ONE, replace(TWO, missing=1))


def test_candidates_that_are_not_ranked_have_no_caveat():
    assert text_of(ONE, TWO, candidate("flat", None, 2, missing=3, relevant=False)) == ""


def test_columns_whose_kind_was_guessed_are_asked_about():
    text = text_of(ONE, TWO, to_declare=["column:unit", "column:age"])
    assert text.startswith("column:unit, column:age: whole numbers that come again and again")
    assert "write category:unit, category:age." in text
    assert "write number:unit, number:age," in text


def test_few_segments_or_classes_are_too_little_data():
    tiny = "10 segments are scored, and 20 are needed"
    assert tiny in text_of(ONE, TWO, counts=(5, 5, 3, 3, 3, 3), recordings=22)
    assert "Too little" not in text_of(ONE, TWO, counts=(10, 10), recordings=20)
    assert "19 segments are scored" in text_of(ONE, TWO, counts=(10, 9), recordings=19)
    one = "1 class has enough segments to be scored, and 2 are needed"
    assert one in text_of(ONE, TWO, counts=(800, 3))
    assert one not in text_of(ONE, TWO, counts=(800, 3), estimator="paper")


def test_frames_without_a_voice_are_named_from_a_tenth_on():
    text = text_of(ONE, TWO, unvoiced={"F0": 0.1, "log_hnr": 0.356, "jitter": 0.099})
    assert "F0 (10%), log_hnr (36%): so many frames have no voice" in text
    assert "--unvoiced voiced" in text
    assert "jitter" not in text


def test_clipped_recordings_are_counted():
    assert text_of(ONE, TWO, clipped=[0.0, 0.0009]) == ""
    text = text_of(ONE, TWO, clipped=[0.0, 0.001, 0.05, 0.0])
    assert "2 of 4 recordings are clipped: 0.1% to 5.0% of their samples" in text
    assert "1.28% of the samples of all" in text


def test_copies_are_named():
    text = text_of(ONE, TWO, copies=["b.wav", "c.wav"])
    assert "2 segments lie in recordings with the bytes of others: b.wav, c.wav." in text
    assert "counted once" in text
