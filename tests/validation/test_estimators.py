import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from augury import read_corpus
from augury.compute import run_in_threads
from augury.ranking.dataset import open_dataset, select_segments
from augury.ranking.scoring import estimate
from augury.ranking.settings import RankSettings
from augury.validation import estimators
from augury.validation.estimators import DEFAULT, ESTIMATORS, RECOMMENDED
from augury.validation.validate import EXTRA_EMBEDDINGS

OWN = ("own:rms", "own:zero_crossings", "own:noise", "column:colour", "toy:bands", "toy:constant")


@pytest.fixture
def table(manifest, tmp_path):
    settings = RankSettings(label="label", candidates=OWN, sensitivity=False)
    embeddings = (settings.base_embedding(), *EXTRA_EMBEDDINGS)
    corpus = select_segments(read_corpus(manifest), settings)
    with open_dataset(
        corpus, settings, embeddings=embeddings, which=range(3), store=tmp_path / "s", jobs=1
    ) as data:
        yield data, estimators.estimates(data)


def test_every_estimator_has_an_estimate_for_each_candidate_that_can_be_ranked(table):
    _, estimates = table
    assert set(estimates) == set(ESTIMATORS)
    for name, values in estimates.items():
        assert list(values) == list(OWN), name
        assert [candidate for candidate in OWN if values[candidate] is None] == ["toy:constant"], (
            name
        )
        assert all(math.isfinite(v) for v in values.values() if v is not None), name


def test_independence_estimates_are_those_of_rank(table):
    data, estimates = table
    names = [name for name in OWN if name != "toy:constant"]
    zs = [data.values[name] for name in names]
    for name, choices in (
        (DEFAULT, {}),
        ("paper 0.05", {"estimator": "paper"}),
        ("robust × 1 svcca", {"embedding": "svcca"}),
        ("released", {"estimator": "released", "parts": 10}),
    ):
        settings = RankSettings(label="label", **choices)
        embedding = {"svcca": 2}.get(
            settings.embedding, 1 if settings.estimator == "released" else 0
        )
        expected = estimate(data.x[embedding], zs, data.y, settings, run=run_in_threads)
        assert [estimates[name][candidate] for candidate in names] == pytest.approx(
            [candidate.score for candidate in expected]
        )


def test_combinations_by_hand(table):
    _, estimates = table
    candidate = "own:zero_crossings"
    ci, relevance, dependence = (
        estimates[k][candidate] for k in (DEFAULT, "relevance", "dependence")
    )
    assert estimates["dependence × relevance"][candidate] == pytest.approx(-relevance * dependence)
    assert max(relevance, dependence) < 0  # both are turned: higher is better
    assert estimates["dependence − CI"][candidate] == pytest.approx(ci + dependence)
    assert estimates["CI − relevance"][candidate] == pytest.approx(ci + relevance)
    assert estimates[RECOMMENDED]["own:noise"] == pytest.approx(estimates[DEFAULT]["own:noise"] + 2)
    order = sorted(name for name in OWN if name != "toy:constant")
    assert [estimates["alphabetical"][name] for name in order] == sorted(
        estimates["alphabetical"][o] for o in order
    )


def test_h_score_is_the_correlation_ratio_in_one_dimension():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    z = rng.standard_normal(90) + y
    between = sum((y == c).sum() * (z[y == c].mean() - z.mean()) ** 2 for c in range(3))
    assert estimators.h_score(z, y) == pytest.approx(between / np.square(z - z.mean()).sum())
    wide = np.stack([z, rng.standard_normal(90)], axis=1)
    turned = wide @ np.array([[2.0, 1.0], [0.5, -3.0]])  # no basis is special
    assert estimators.h_score(turned, y) == pytest.approx(estimators.h_score(wide, y))


def test_log_me_is_the_largest_evidence_of_a_gaussian_model():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    z = rng.standard_normal((60, 2)) * [1, 50] + y[:, None] + 7
    features = np.column_stack([np.ones(60), (z - z.mean(axis=0)) / z.std(axis=0)])

    def least(truth):
        def minus(logs):
            spread = np.eye(60) / np.exp(logs[1]) + features @ features.T / np.exp(logs[0])
            return -multivariate_normal(np.zeros(60), spread).logpdf(truth)

        return minimize(minus, [0.0, 0.0], method="Nelder-Mead").fun

    expected = -np.mean([least((y == c).astype(float)) for c in range(3)]) / 60
    assert estimators.log_me(z, y) == pytest.approx(expected, abs=1e-6)
    assert estimators.log_me(z * 3 - 2, y) == pytest.approx(estimators.log_me(z, y))


def test_log_me_is_higher_for_values_that_separate_the_classes():
    y = np.arange(300) % 3
    noise = np.random.default_rng(0).standard_normal(300)
    assert estimators.log_me(y + 0.1 * noise, y) > estimators.log_me(y + noise, y)
    assert estimators.log_me(y + noise, y) > estimators.log_me(noise, y)
    assert estimators.log_me(y, y) > 1  # a copy: of categories nothing is left to explain
    assert np.isfinite(estimators.log_me(np.ones(300), y))


def test_the_linear_probe_predicts_values_that_are_linear_in_the_speech():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 4, 10))
    mean = x.mean(axis=1)
    line, noise = mean @ rng.standard_normal(10), rng.standard_normal(600)
    recording = np.arange(600) // 10
    of_line, of_noise, of_both = estimators.linear_probe(
        x, [line, noise, np.stack([line, noise], axis=1)], recording
    )
    assert of_line > 0.99
    assert -0.1 < of_noise < 0.02
    assert of_both == pytest.approx((of_line + of_noise) / 2)
    assert estimators.linear_probe(x, [line], np.zeros(600, int))[0] > 0.99  # one recording


def test_variance_is_in_the_labels_units():
    z = np.array([1.0, 2.0, 3.0])
    assert estimators.variance(1000 * z) == pytest.approx(1e6 * 2 / 3)
    assert estimators.variance(np.array([0, 1, 0, 1])) == pytest.approx(0.5)
