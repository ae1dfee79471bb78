"""Guesses of how long jobs take."""

from dataclasses import asdict, replace

import pytest

pytest.importorskip("torch")

from augury.settings import PretrainSettings
from augury.validation.jobs import Data, Job
from augury.validation.plan import likeness, seconds

HOUR = Data("speech.csv", "", "digest", 1.0)


def pretraining(preset, **choices):
    return Job("p", "pretrain", HOUR, asdict(PretrainSettings.of(preset, {}, **choices)))


def judged(encoder, needs=None, **choices):
    settings = {
        "task": "classify", "mode": "frozen", "encoder": encoder, "random_encoder": "small",
        "epochs": 5, "seeds": 1, "folds": 0,
    } | choices  # fmt: skip
    return Job("e", "evaluate", HOUR, settings, needs)


def test_a_guess_grows_with_what_there_is_to_do():
    small, paper = pretraining("small", epochs=10), pretraining("paper", epochs=10)
    # As `benchmarks/training.py small paper` measured, within half of it: an hour, ten epochs.
    assert seconds(small, {}) == pytest.approx(10 * 3600 / 91, rel=0.5)
    assert seconds(paper, {}) == pytest.approx(10 * 3600 / 2, rel=0.5)
    assert seconds(pretraining("small", epochs=20), {}) == pytest.approx(2 * seconds(small, {}))
    longer = replace(small, data=replace(HOUR, hours=3.0))
    assert seconds(longer, {}) == pytest.approx(3 * seconds(small, {}))

    mel, random = judged("mel"), judged("random")
    assert 0 < seconds(mel, {}) < seconds(random, {})
    # A pretrained encoder of the same sizes costs as much; one that is trained along much more.
    assert seconds(judged("", small), {}) == seconds(random, {}) < seconds(judged("", paper), {})
    assert seconds(judged("", small, mode="finetune"), {}) > 4 * seconds(random, {})
    assert seconds(judged("mel", folds=4, seeds=3), {}) == pytest.approx(12 * seconds(mel, {}))


def test_what_jobs_took_is_believed_of_others_like_them():
    job = pretraining("paper", epochs=10)
    other = pretraining("paper", epochs=10, seed=7)
    assert seconds(other, {likeness(job): [10.0, 20.0]}) == 15.0
