"""Outcomes over seeds, and back from disk."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from augury.downstream.result import (
    Confusion,
    Evaluation,
    Metric,
    Mistake,
    Model,
    Outcome,
)


def model(*scores):
    return Model("f0", "frozen", ("F0",), tuple(Outcome(k, s) for k, s in enumerate(scores)))


def test_mean_standard_deviation_and_interval_over_seeds():
    several = model(0.10, 0.12, 0.17)
    assert several.mean == pytest.approx(0.13)
    assert several.standard_deviation == pytest.approx(np.std([0.10, 0.12, 0.17], ddof=1))
    expected = ttest_1samp([0.10, 0.12, 0.17], 0).confidence_interval(0.95)
    assert several.interval == pytest.approx((expected.low, expected.high))
    assert several.median_outcome.score == 0.12
    single = model(0.2)
    assert (single.mean, single.standard_deviation, single.interval) == (0.2, None, None)
    assert model(0.3, 0.1).median_outcome.score == 0.1


def test_which_models_are_baselines():
    assert Model("mel", "frozen").baseline
    assert Model("reconstruction", "frozen", ()).baseline
    assert not model().baseline


def test_reading_what_was_written(tmp_path):
    outcome = Outcome(
        0, 0.25, (0.1, 0.4), {"accuracy": 0.75}, {"same gender": 0.3},
        Confusion(("a", ""), ((3, 1), (0, 0))), ((1.0, 0.0), (0.0, 1.0)),
        (Mistake("a.wav", "wrong", "x", "y", "data:audio/ogg;base64,AA"),),
        ({"epoch": 1, "training": {"loss": 1.0}, "validation": {"loss": 2.0}},),
        {"best_epoch": 1, "seconds": 2.0, "parameters": 3},
    )  # fmt: skip
    evaluation = Evaluation(
        "classify", Metric("error", "share of segments whose class is wrong", 0.9), {"epochs": 1},
        {"manifest": "m.csv", "left_out": {}},
        (Model("mel", "frozen", None, (outcome,)), model(0.1)), {"augury": "0"}, ("odd",),
    )  # fmt: skip
    evaluation.write(tmp_path)
    assert Evaluation.read(tmp_path) == evaluation
    assert [model.name for model in evaluation.models_by_error()] == ["f0", "mel"]
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0] == "task,encoder,mode,seed,error,low,high,best_epoch,seconds,parameters"
    assert lines[1] == "classify,mel,frozen,0,0.25,0.1,0.4,1,2.0,3"
    (tmp_path / "results.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="of this version"):
        Evaluation.read(tmp_path)
