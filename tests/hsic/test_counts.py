"""Frames' categories: (n, categories) integers, how many frames of a segment have each."""

import numpy as np
import pytest

from augury import hsic
from augury.hsic.information import mutual_information
from augury.hsic.kernels import label_kernel
from augury.ranking.values import histogram_of, value_mask

K = 30


def data(n=700, classes=3, seed=0):
    """Speech, counts of 1 to 40 frames that depend on it, and a label."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.standard_normal((n, 8)) + y[:, None]
    z = np.zeros((n, K), np.uint8)
    for k, frames in enumerate(rng.integers(1, 41, n)):
        own = np.floor(3 * x[k, 0] + 2 * rng.standard_normal(frames)).astype(int) % K
        np.add.at(z[k], own, 1)
    return x, z, y


@pytest.mark.parametrize("engine", ["auto", "factored", "dense"])
def test_every_engine_has_the_cosine_of_the_counts(engine):
    x, z, y = data()
    (exact,) = hsic.robust(x, [z], y, engine="exact")
    (own,) = hsic.robust(x, [z], y, engine=engine, points=True)
    assert own.score == pytest.approx(exact.score, rel=1e-9)
    assert own.error < 1e-9
    units = z / np.linalg.norm(z.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(label_kernel(z, width=1.0), units @ units.T, atol=1e-12)
    assert own.score == pytest.approx(
        hsic.normalised_hsic(
            *(
                (
                    hsic.cosine_kernel((x - x.mean(axis=0))[y == c]),
                    (units @ units.T)[y == c][:, y == c],
                )
                for c in range(3)
            )
        ),
        rel=1e-9,
    )


def test_segments_of_one_frame_are_categories():
    x, _, y = data(n=500)
    codes = np.random.default_rng(1).integers(0, K, 500) // (1 + y)
    counts = np.zeros((500, K), np.uint16)
    counts[np.arange(500), codes] = np.random.default_rng(2).integers(1, 300, 500)
    for function in (hsic.paper, hsic.released, hsic.robust):
        of_codes, of_counts = function(x, [codes, counts], y)
        assert of_counts.score == pytest.approx(of_codes.score, rel=1e-9)
    _, dependence, relevance = hsic.robust_with_associations(x, [codes, counts], y)
    for pair in (dependence, relevance):
        assert pair[1].value == pytest.approx(pair[0].value, rel=1e-9)
    units = np.arange(500) // 5
    _, _, relevance = hsic.robust_with_associations(x, [codes, counts], y, units=units)
    assert relevance[1].value == pytest.approx(relevance[0].value, rel=1e-6)


def test_more_categories_than_a_factor_has_columns_are_tiled():
    x, z, y = data(n=90, classes=2)
    wide = np.zeros((90, 2100), np.uint8)
    wide[:, ::70] = z
    wide[np.arange(90), np.random.default_rng(0).integers(0, 2100, 90)] += 1
    exact, strips = (hsic.robust(x, [wide], y, engine=engine)[0] for engine in ("exact", "strips"))
    assert strips.score == pytest.approx(exact.score, rel=1e-9)


def test_what_a_frame_tells_of_the_label():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 5, 2000)
    truth = np.zeros((2000, 5), np.uint8)
    truth[np.arange(2000), y] = rng.integers(1, 40, 2000)
    assert mutual_information(truth, y) == pytest.approx(np.log(5), abs=0.01)
    # Half of the frames know it: a mixture of the label and noise, to four digits by its table.
    joint = np.full((5, 5), 0.5 / 25) + np.eye(5) * 0.5 / 5
    expected = (joint * np.log(joint * 25)).sum()
    counts = np.zeros((2000, 5), np.uint8)
    for k in range(2000):
        own = np.where(rng.random(30) < 0.5, y[k], rng.integers(0, 5, 30))
        np.add.at(counts[k], own, 1)
    assert mutual_information(counts, y) == pytest.approx(expected, abs=0.02)
    noise = np.zeros((2000, 500), np.uint8)
    for k in range(2000):
        np.add.at(noise[k], rng.integers(0, 500, 6), 1)
    assert abs(mutual_information(noise, y)) < 0.01
    assert abs(mutual_information(noise, y, np.arange(2000) // 10)) < 0.01


def test_a_segment_without_frames_has_no_value():
    z = np.array([[0, 3], [0, 0], [1, 0]], np.uint8)
    assert value_mask(z).tolist() == [True, False, True]
    counts, low, high = histogram_of(np.full((300, 2), 200, np.uint8))
    assert (counts[0], counts[-1], sum(counts), low, high) == (60_000, 60_000, 120_000, 0, 1)


def test_counts_of_a_single_category_tell_nothing():
    assert mutual_information(np.arange(1, 41)[:, None].astype(np.uint8), np.arange(40) // 20) == 0
