"""Confusions, accuracy and F1: by hand, against loops, a law, and odd cases."""

import numpy as np
import pytest

from augury.downstream.scores import classification

import oracles_metrics


def test_all_by_hand():
    truth, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 3, 3]
    assert classification.confusion(truth, predicted, 4).tolist() == [
        [2, 1, 0, 0],
        [0, 1, 0, 1],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
    ]
    assert classification.accuracy(truth, predicted) == 1 / 2
    # Recalls 2/3, 1/2, 0, and none of class 3; F1 4/5, 1/2, 0, 0. To one rounding.
    assert classification.balanced_accuracy(truth, predicted) == pytest.approx(7 / 18, rel=1e-15)
    assert classification.macro_f1(truth, predicted) == pytest.approx(1.3 / 4, rel=1e-15)


def test_all_equal_plain_loops():
    rng = np.random.default_rng(2)
    for _ in range(200):
        n, classes = rng.integers(2, 12), int(rng.integers(2, 5))
        truth, predicted = rng.integers(0, classes, (2, n))
        truth[:2] = [0, 1]
        a, b = truth.tolist(), predicted.tolist()
        assert classification.confusion(
            truth, predicted, classes
        ).tolist() == oracles_metrics.confusion(a, b, classes)
        # A mean of a few rounded fractions.
        balanced = float(oracles_metrics.balanced_accuracy(a, b))
        assert classification.balanced_accuracy(truth, predicted) == pytest.approx(
            balanced, rel=1e-14
        )
        f1 = float(oracles_metrics.macro_f1(a, b))
        assert classification.macro_f1(truth, predicted) == pytest.approx(f1, rel=1e-14)


def test_renaming_classes_changes_no_rate():
    rng = np.random.default_rng(8)
    truth, predicted = rng.integers(0, 5, (2, 100))
    names = np.array([17, -3, 4, 0, 1000])
    for rate in (
        classification.accuracy,
        classification.balanced_accuracy,
        classification.macro_f1,
    ):
        # Summed in another order.
        renamed = rate(names[truth], names[predicted])
        assert renamed == pytest.approx(rate(truth, predicted), rel=1e-14)


@pytest.mark.parametrize("rate", [classification.balanced_accuracy, classification.macro_f1])
def test_a_single_class_is_refused(rate):
    with pytest.raises(
        ValueError, match=r"all 3 points are of class 4, for which .* has no meaning"
    ):
        rate([4, 4, 4], [4, 4, 5])
    assert classification.accuracy([4, 4, 4], [4, 4, 5]) == 2 / 3


def test_invalid_codes_are_refused():
    with pytest.raises(ValueError, match="truth is float64, but integer codes"):
        classification.accuracy([0.0, 1.0], [0, 1])
    with pytest.raises(ValueError, match="2 points have a truth, but 1 are predicted"):
        classification.accuracy([0, 1], [0])
    with pytest.raises(ValueError, match=r"predicted has shape \(0,\)"):
        classification.accuracy([0], np.array([], int))
    with pytest.raises(
        ValueError, match="predicted has codes from 0 to 2, but 2 classes are 0 to 1"
    ):
        classification.confusion([0, 1], [0, 2], 2)
    with pytest.raises(ValueError, match="truth has codes from -1 to 1"):
        classification.confusion([-1, 1], [0, 1], 2)
