import numpy as np
import pytest

from augury import hsic
from augury.ranking.strength import faint_below, strength


def test_words():
    counts = np.array([50, 50])
    assert strength(0.9, 0.0, False, counts) == "none"
    assert strength(0.0099, 0.0, True, counts) == "faint"
    assert strength(0.01, 0.0, True, counts) == "clear"
    # What noise has by the segments' lengths does not count.
    assert strength(0.0149, 0.005, True, counts) == "faint"
    assert strength(0.0151, 0.005, True, counts) == "clear"


@pytest.mark.parametrize("classes", [2, 5, 26])
def test_the_limit_of_equal_classes_by_hand(classes):
    assert faint_below(np.full(classes, 7)) == pytest.approx(0.01 / np.sqrt(classes - 1))
    assert faint_below(np.array([*[7] * classes, 0])) == faint_below(np.full(classes, 7))


@pytest.mark.parametrize("counts", [(100, 900), (500, 500), (10, 990)])
def test_of_two_classes_their_balance_does_not_count(counts):
    """The label is then one number, whatever its mean."""
    assert faint_below(np.array(counts)) == pytest.approx(0.01)


@pytest.mark.parametrize("classes", [2, 10, 40])
@pytest.mark.parametrize(("explained", "word"), [(0.005, "faint"), (0.03, "clear")])
def test_the_limit_is_a_number_of_whose_variance_the_label_explains_a_hundredth(
    classes, explained, word
):
    """Its relevance is about 3/4 of that share: 1.3 % lie on the limit, whatever the classes."""
    rng = np.random.default_rng(classes)
    y = np.arange(8000) % classes
    means = np.linspace(-1, 1, classes)[y]
    zs = [
        np.sqrt(explained) * means / means.std()
        + np.sqrt(1 - explained) * rng.standard_normal(len(y))
    ]
    _, (relevance,) = hsic.associations(rng.standard_normal((len(y), 2)), zs, y)
    assert relevance.p_above() < 0.01
    assert strength(relevance.value, 0.0, True, np.bincount(y)) == word
