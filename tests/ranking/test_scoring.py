import numpy as np
import pytest

from augury.compute import run_in_threads
from augury.pseudolabels.candidate import Candidate
from augury.ranking.scoring import score_candidates
from augury.ranking.settings import RankSettings

N = 120
#: The published estimators don't standardise: the width is that of the values.
ESTIMATORS = [
    {"estimator": "robust"},
    {"estimator": "paper", "kernel_width": 1.0},
    {"estimator": "released"},
]


def data(n=N, seed=1):
    """Embeddings, three classes, and candidates from fully dependent to pure noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.standard_normal((n, 6)) + 2
    noise = rng.standard_normal((3, n))
    values = {
        "copy": x[:, 0] + y,
        "half": x[:, 0] + noise[0] + y,
        "same": x[:, 0] + noise[1] + y,
        "noise": noise[2],
    }
    return x, y, values


def result_of(x, y, values, units=None, seconds=None, kind="function", **choices):
    chosen = [Candidate(name, kind, "", name) for name in values]
    settings = RankSettings(label="phone", **choices)
    lengths = np.ones(len(y)) if seconds is None else seconds
    return score_candidates(chosen, values, x, y, lengths, units, settings, run_in_threads)


def by_name(scores):
    return {result.name: result for result in scores.results}


@pytest.mark.parametrize("choices", ESTIMATORS)
def test_results_are_in_order_with_intervals_around_them(choices):
    *relevant, noise = (ranked := result_of(*data(), **choices)).results
    scores = [result.score for result in relevant]
    assert scores == sorted(scores)
    assert relevant[-1].name == "copy"
    better = np.array(ranked.better)
    assert better.shape == (4, 4)
    better = better[:3, :3].astype(float)
    assert better + better.T == pytest.approx(np.ones((3, 3)))
    assert better[0, 2] > 0.99
    tiers = [result.tier for result in relevant]
    assert tiers[0] == 1
    assert tiers == sorted(tiers)
    assert tiers[2] > 1
    for rank, result in enumerate(relevant, 1):
        assert result.rank_interval[0] <= rank <= result.rank_interval[1]
    # Noise has no place in the order: it depends least on the speech.
    assert noise.name == "noise"
    assert (noise.tier, noise.rank_interval, noise.relevance_strength) == (None, None, "none")
    assert ranked.better[3] == (None,) * 4
    for result in ranked.results:
        assert result.interval[0] < result.score < result.interval[1]
        assert result.error >= 0
        assert (result.p_value is None) == (choices["estimator"] != "robust")


def test_kinds_have_orders_of_their_own():
    """Each kind is ranked as if it were alone, whatever the scores of the others."""
    x, y, values = data()
    rng = np.random.default_rng(3)
    values["wide"] = np.stack([values["copy"], rng.standard_normal(N)], axis=1)
    values["two"] = np.stack([values["half"], values["copy"]], axis=1)
    values["sign"] = (values["half"] > np.median(values["half"])).astype(int)
    values["class"] = y.copy()
    ranked = result_of(x, y, values)
    kinds = [result.kind for result in ranked.results]
    assert kinds == [*["scalar"] * 3, *["vector"] * 2, *["category"] * 2, "scalar"]
    assert ranked.results[-1].name == "noise"
    for kind in ("scalar", "vector", "category"):
        own = {name: z for name, z in values.items() if by_name(ranked)[name].kind == kind}
        alone = result_of(x, y, own)
        mine = [result for result in ranked.results if result.kind == kind]
        assert [result.name for result in mine] == [result.name for result in alone.results]
        assert mine[0].tier == 1
        for result, other in zip(mine, alone.results, strict=True):
            assert result.score == pytest.approx(other.score, rel=1e-9, abs=1e-9)
            if result.rank_interval:
                assert result.rank_interval[1] <= len(mine)
    table = np.array([[value is not None for value in row] for row in ranked.better])
    same = np.equal.outer(kinds, kinds)
    same[-1] = same[:, -1] = False  # noise
    assert (table == same).all()


def test_information_is_in_one_unit_for_all_kinds():
    x, y, values = data(600)
    values = {"codes": y.copy(), "hot": np.eye(3)[y], "number": y * 1.0, "noise": values["noise"]}
    results = by_name(result_of(x, y, values))
    for name in ("codes", "hot", "number"):
        assert results[name].information == pytest.approx(np.log(3)), name
    assert results["noise"].information == pytest.approx(0, abs=0.03)


def test_relevance_is_decided_by_p():
    results = by_name(result_of(*data()))
    assert results["copy"].relevant
    assert results["copy"].relevance_p < 1e-6
    assert not results["noise"].relevant
    assert results["noise"].relevance_p > 0.01
    assert results["noise"].note == "no relevance: unrelated to phone"


def test_noise_is_not_relevant_though_lengths_depend_on_the_label():
    rng = np.random.default_rng(0)
    y = np.arange(4000) % 8
    frames = 3 + 4 * y
    noise = rng.standard_normal(len(y)) / np.sqrt(frames)
    x = rng.standard_normal((len(y), 3))
    values = {"noise": noise, "label": noise + 0.3 * (y % 2)}
    results = by_name(result_of(x, y, values, seconds=frames / 100))
    assert results["noise"].relevance == pytest.approx(results["noise"].noise_relevance, rel=0.3)
    assert results["noise"].noise_relevance > 10 * results["noise"].chance_sd
    assert not results["noise"].relevant
    assert results["label"].relevant
    # Values of a column are not means over frames.
    column = by_name(result_of(x, y, values, seconds=frames / 100, kind="column"))
    assert column["noise"].noise_relevance == 0
    assert column["noise"].relevant


def test_a_candidate_without_some_values_is_scored_on_the_others_alone():
    x, y, values = data()
    gaps = np.arange(N) % 7 == 0
    gappy = values | {"half": np.where(gaps, np.nan, values["half"])}
    results, complete = by_name(result_of(x, y, gappy)), by_name(result_of(x, y, values))
    part = {name: z[~gaps] for name, z in values.items()}
    alone = by_name(result_of(x[~gaps], y[~gaps], part))["half"]
    assert results["half"].missing == gaps.sum()
    for name in ("score", "p_value", "relevance", "relevance_p", "classes", "histogram"):
        assert getattr(results["half"], name) == getattr(alone, name)
    for name in ("copy", "same", "noise"):
        # Factors depend on the group of candidates: the last digits may differ.
        assert results[name].score == pytest.approx(complete[name].score, rel=1e-9)
        assert results[name].interval == pytest.approx(complete[name].interval, rel=0.2)
    assert len(results["half"].interval) == 2


def test_a_candidate_without_values_in_a_class_keeps_the_others_in_their_places():
    x, y, values = data()
    result = by_name(result_of(x, y, {"half": np.where(y == 1, np.nan, values["half"])}))["half"]
    assert result.classes[1] is None
    assert None not in (result.classes[0], result.classes[2])


def test_unrankable_candidates_come_last_and_have_no_numbers():
    x, y, values = data()
    candidates = {"flat": np.ones(N), "none": np.full(N, np.nan), "half": values["half"]}
    ranked = result_of(x, y, candidates)
    assert [result.status for result in ranked.results] == ["ranked", "constant", "missing"]
    for result in ranked.results[1:]:
        assert {result.score, result.interval, result.tier, result.p_value, result.relevant} == {
            None
        }
    assert ranked.better == ((0.5,),)
    empty = result_of(x, y, {"flat": np.ones(N)})
    assert empty.better == ()


def test_without_bootstrap_scores_are_the_same_without_intervals():
    ranked, without = result_of(*data()), result_of(*data(), bootstrap=0)
    assert [result.score for result in without.results] == [
        result.score for result in ranked.results
    ]
    assert without.better == ()
    assert {(result.interval, result.rank_interval, result.tier) for result in without.results} == {
        (None,) * 3
    }


def test_repeated_segments_do_not_narrow_intervals_of_whole_groups():
    """Each segment five times: five times as many segments, but equally many groups."""
    x, y, values = data()
    five = np.tile(np.arange(N), 5)
    many = {name: z[five] for name, z in values.items()}

    def width(scores):
        low, high = by_name(scores)["half"].interval
        return high - low

    # Interval ends from 1,000 replicates are accurate to a few percent.
    once = width(result_of(x, y, values, np.arange(N)))
    whole = width(result_of(x[five], y[five], many, five))
    single = width(result_of(x[five], y[five], many))
    assert whole == pytest.approx(once, rel=0.15)
    assert single == pytest.approx(once / np.sqrt(5), rel=0.15)


def test_shuffles_of_the_released_score_are_refused():
    with pytest.raises(ValueError, match="hardly centres"):
        RankSettings(label="y", estimator="released", permutations=99)


@pytest.mark.parametrize("choices", ESTIMATORS[:2])
def test_permutations_give_p_values(choices):
    results = by_name(result_of(*data(), **choices, permutations=199))
    assert results["copy"].p_value == 1 / 200  # none of the shuffles comes near
    assert results["noise"].p_value > 0.05
    assert results["noise"].p_value * 200 == pytest.approx(round(results["noise"].p_value * 200))


def test_by_moments_and_by_permutation_agree():
    x, y, values = data()
    weak = {"weak": x[:, 0] + 5 * values["noise"]}
    moments = result_of(x, y, weak).results[0].p_value
    shuffled = result_of(x, y, weak, permutations=4999).results[0].p_value
    # The p-value of 4,999 permutations has a standard deviation of at most 0.007.
    assert moments == pytest.approx(shuffled, abs=0.03)


def test_equal_seeds_give_equal_results_and_other_seeds_similar_ones():
    first, again, other = (result_of(*data(), permutations=99, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    for result, other_result in zip(first.results, other.results, strict=True):
        assert result.score == other_result.score
        assert result.interval == pytest.approx(other_result.interval, abs=0.05)
