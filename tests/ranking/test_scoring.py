import numpy as np
import pytest

from augury.compute import run_in_threads
from augury.pseudolabels.candidate import Candidate
from augury.ranking.scoring import score_candidates
from augury.ranking.settings import RankSettings

N = 120
#: The published forms don't standardise: widths of the values' own order.
WAYS = [
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


def by_name(found):
    return {one.name: one for one in found.results}


@pytest.mark.parametrize("way", WAYS)
def test_results_are_in_order_with_intervals_around_them(way):
    found = result_of(*data(), **way)
    scores = [one.score for one in found.results]
    assert scores == sorted(scores)
    assert found.results[-1].name == "copy"
    better = np.array(found.better)
    assert better.shape == (4, 4)
    assert better + better.T == pytest.approx(np.ones((4, 4)))
    assert better[0, 3] > 0.99
    tiers = [one.tier for one in found.results]
    assert tiers[0] == 1
    assert tiers == sorted(tiers)
    assert tiers[3] > 1
    for place, one in enumerate(found.results, 1):
        assert one.interval[0] < one.score < one.interval[1]
        assert one.rank_interval[0] <= place <= one.rank_interval[1]
        assert one.error >= 0
        assert (one.p_value is None) == (way["estimator"] != "robust")


def test_relevance_is_decided_by_p():
    found = by_name(result_of(*data()))
    assert found["copy"].relevant
    assert found["copy"].relevance_p < 1e-6
    assert not found["noise"].relevant
    assert found["noise"].relevance_p > 0.01
    assert found["noise"].note == "no relevance: unrelated to phone"


def test_noise_is_not_relevant_though_lengths_depend_on_the_label():
    rng = np.random.default_rng(0)
    y = np.arange(4000) % 8
    frames = 3 + 4 * y
    noise = rng.standard_normal(len(y)) / np.sqrt(frames)
    x = rng.standard_normal((len(y), 3))
    values = {"noise": noise, "label": noise + 0.3 * (y % 2)}
    found = by_name(result_of(x, y, values, seconds=frames / 100))
    assert found["noise"].relevance == pytest.approx(found["noise"].noise_relevance, rel=0.3)
    assert found["noise"].noise_relevance > 10 * found["noise"].chance_sd
    assert not found["noise"].relevant
    assert found["label"].relevant
    # What the manifest gives is no mean over frames.
    column = by_name(result_of(x, y, values, seconds=frames / 100, kind="column"))
    assert column["noise"].noise_relevance == 0
    assert column["noise"].relevant


def test_a_candidate_without_some_values_is_scored_on_the_others_alone():
    x, y, values = data()
    gaps = np.arange(N) % 7 == 0
    gappy = values | {"half": np.where(gaps, np.nan, values["half"])}
    found, whole = by_name(result_of(x, y, gappy)), by_name(result_of(x, y, values))
    part = {name: z[~gaps] for name, z in values.items()}
    alone = by_name(result_of(x[~gaps], y[~gaps], part))["half"]
    assert found["half"].missing == gaps.sum()
    for name in ("score", "p_value", "relevance", "relevance_p", "classes", "histogram"):
        assert getattr(found["half"], name) == getattr(alone, name)
    for name in ("copy", "same", "noise"):
        # Factors are made for all that share their segments: the last digits may differ.
        assert found[name].score == pytest.approx(whole[name].score, rel=1e-9)
        assert found[name].interval == pytest.approx(whole[name].interval, rel=0.2)
    assert len(found["half"].interval) == 2


def test_a_candidate_without_values_in_a_class_keeps_the_others_in_their_places():
    x, y, values = data()
    found = by_name(result_of(x, y, {"half": np.where(y == 1, np.nan, values["half"])}))["half"]
    assert found.classes[1] is None
    assert None not in (found.classes[0], found.classes[2])


def test_what_can_not_be_ranked_stands_last_and_has_no_numbers():
    x, y, values = data()
    given = {"flat": np.ones(N), "none": np.full(N, np.nan), "half": values["half"]}
    found = result_of(x, y, given)
    assert [one.status for one in found.results] == ["ranked", "constant", "missing"]
    for one in found.results[1:]:
        assert {one.score, one.interval, one.tier, one.p_value, one.relevant} == {None}
    assert found.better == ((0.5,),)
    nothing = result_of(x, y, {"flat": np.ones(N)})
    assert nothing.better == ()


def test_without_bootstrap_scores_are_the_same_and_nothing_is_said_of_their_order():
    found, none = result_of(*data()), result_of(*data(), bootstrap=0)
    assert [one.score for one in none.results] == [one.score for one in found.results]
    assert none.better == ()
    assert {(one.interval, one.rank_interval, one.tier) for one in none.results} == {(None,) * 3}


def test_repeated_measures_are_no_evidence_when_groups_are_resampled_whole():
    """Each segment five times: as segments they seem five times as many, as groups they do not."""
    x, y, values = data()
    five = np.tile(np.arange(N), 5)
    many = {name: z[five] for name, z in values.items()}

    def width(found):
        low, high = by_name(found)["half"].interval
        return high - low

    # Ends of intervals from a thousand replicates are known to a few percent.
    once = width(result_of(x, y, values, np.arange(N)))
    whole = width(result_of(x[five], y[five], many, five))
    single = width(result_of(x[five], y[five], many))
    assert whole == pytest.approx(once, rel=0.15)
    assert single == pytest.approx(once / np.sqrt(5), rel=0.15)


def test_shuffles_of_the_released_score_are_refused():
    with pytest.raises(ValueError, match="hardly centres"):
        RankSettings(label="y", estimator="released", permutations=99)


@pytest.mark.parametrize("way", [way for way in WAYS if way.get("estimator") != "released"])
def test_permutations_give_p_values(way):
    found = by_name(result_of(*data(), **way, permutations=199))
    assert found["copy"].p_value == 1 / 200  # none of the shuffles comes near
    assert found["noise"].p_value > 0.05
    assert found["noise"].p_value * 200 == pytest.approx(round(found["noise"].p_value * 200))


def test_by_moments_and_by_permutation_agree():
    x, y, values = data()
    weak = {"weak": x[:, 0] + 5 * values["noise"]}
    moments = result_of(x, y, weak).results[0].p_value
    shuffled = result_of(x, y, weak, permutations=4999).results[0].p_value
    # Drawing 4,999 times leaves a standard deviation of at most 0.007.
    assert moments == pytest.approx(shuffled, abs=0.03)


def test_a_seed_gives_the_same_and_another_seed_hardly_another():
    first, again, other = (result_of(*data(), permutations=99, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    for one, two in zip(first.results, other.results, strict=True):
        assert one.score == two.score
        assert one.interval == pytest.approx(two.interval, abs=0.05)
