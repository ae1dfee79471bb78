"""Guesses of how long jobs take."""

from dataclasses import asdict, replace

import pytest

pytest.importorskip("torch")

from augury.pretraining.settings import PretrainSettings
from augury.validation.jobs import Job, JobCorpus
from augury.validation.plan import duration_class, function_versions, guess_seconds

HOUR = JobCorpus("speech.csv", "", "digest", 1.0)


def pretraining(preset, **choices):
    return Job("p", "pretrain", HOUR, asdict(PretrainSettings.of(preset, {}, **choices)))


def judged(encoder, needs=None, **choices):
    settings = {
        "task": "classify", "mode": "frozen", "encoder": encoder, "random_encoder": "small",
        "epochs": 5, "seeds": 1, "folds": 0,
    } | choices  # fmt: skip
    return Job("e", "evaluate", HOUR, settings, needs)


def test_a_guess_grows_with_the_work():
    small, paper = pretraining("small", epochs=10), pretraining("paper", epochs=10)
    # As `benchmarks/training.py small paper` measured, within half of it: an hour, ten epochs.
    assert guess_seconds(small, {}) == pytest.approx(10 * 3600 / 91, rel=0.5)
    assert guess_seconds(paper, {}) == pytest.approx(10 * 3600 / 2, rel=0.5)
    assert guess_seconds(pretraining("small", epochs=20), {}) == pytest.approx(
        2 * guess_seconds(small, {})
    )
    longer = replace(small, data=replace(HOUR, hours=3.0))
    assert guess_seconds(longer, {}) == pytest.approx(3 * guess_seconds(small, {}))

    mel, random = judged("mel"), judged("random")
    assert 0 < guess_seconds(mel, {}) < guess_seconds(random, {})
    # A pretrained encoder of the same sizes costs as much; one that is trained along much more.
    assert (
        guess_seconds(judged("", small), {})
        == guess_seconds(random, {})
        < guess_seconds(judged("", paper), {})
    )
    assert guess_seconds(judged("", small, mode="finetune"), {}) > 4 * guess_seconds(random, {})
    assert guess_seconds(judged("mel", folds=4, seeds=3), {}) == pytest.approx(
        12 * guess_seconds(mel, {})
    )


def test_a_guess_is_the_mean_of_similar_jobs():
    job = pretraining("paper", epochs=10)
    other = pretraining("paper", epochs=10, seed=7)
    assert guess_seconds(other, {duration_class(job): [10.0, 20.0]}) == 15.0


def test_only_columns_with_a_measured_centre_have_a_version():
    """It is in the keys of jobs: what was made with another centre must not be found again."""
    names = ["F0", "log_hnr", "loudness", "opensmile:eGeMAPSv02:spectralFlux_sma3", "column:age"]
    assert function_versions(names) == {
        "log_hnr": "centre -32 ms", "opensmile:eGeMAPSv02:spectralFlux_sma3": "centre -5 ms",
    }  # fmt: skip
