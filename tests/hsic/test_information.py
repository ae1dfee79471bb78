import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from augury.hsic import information
from augury.hsic.information import (
    design_effect,
    discretise,
    entropy,
    expected_information,
    mutual_information,
)

N, CLASSES = 1500, 30


def label(seed=2):
    return np.random.default_rng(seed).integers(0, CLASSES, N)


def of_normals(distance):
    """Nats that a normal variable tells of two equal classes, whose means are so far apart."""

    def integrand(z):
        p = (norm.pdf(z - distance / 2) + norm.pdf(z + distance / 2)) / 2
        return -p * np.log(p)

    return quad(integrand, -12, 12)[0] - np.log(2 * np.pi * np.e) / 2


def test_by_hand():
    assert entropy([1, 1, 2]) == pytest.approx(1.5 * np.log(2))
    assert entropy([5, 0]) == 0
    # Of 24 shuffles of (0, 0, 1, 1) against itself 8 give ln 2, the others 0.
    assert expected_information([2, 2], [2, 2]) == pytest.approx(np.log(2) / 3)
    # (ln 2 − ln 2 / 3) / (ln 2 − ln 2 / 3) · ln 2, and 0 where the rows are crossed.
    y = np.array([0, 0, 1, 1])
    assert mutual_information(y, y) == pytest.approx(np.log(2))
    assert mutual_information(np.array([0, 1, 0, 1]), y) == pytest.approx(
        -(np.log(2) / 3) / (np.log(2) * 2 / 3) * np.log(2)
    )


def test_the_chance_of_tables_is_that_of_shuffles_and_of_scikit_learn():
    rng = np.random.default_rng(5)
    a = rng.integers(0, 7, 200)
    b = (a + (rng.random(200) < 0.5) * rng.integers(0, 5, 200)) % 5
    margins = np.bincount(a), np.bincount(b)
    # sklearn.metrics.cluster.expected_mutual_information, and adjusted_mutual_info_score with
    # average_method="min" times that entropy (scikit-learn 1.9.1).
    assert expected_information(*margins) == pytest.approx(0.06311428979187327, rel=1e-9)
    least = min(map(entropy, margins))
    assert mutual_information(a, b) / least == pytest.approx(0.18674980737205604, rel=1e-9)
    found = [mutual_information(rng.permutation(a), b) for _ in range(400)]
    assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / 20)


def test_one_hots_and_numbers_of_the_label_tell_as_much_as_categories():
    y = label()
    nats = entropy(np.bincount(y))
    codes = np.random.default_rng(0).permutation(CLASSES)[y]
    for z in (y, codes, np.eye(CLASSES)[y], codes * 1.0, (codes * 1.0)[:, None]):
        assert mutual_information(z, y) == pytest.approx(nats, rel=1e-9)
    # Beside noise, each row is another: then it is a classifier's.
    noise = np.random.default_rng(1).standard_normal((N, 1))
    vector = np.concatenate([noise, np.eye(CLASSES)[y]], axis=1)
    assert mutual_information(vector, y) == pytest.approx(nats, abs=0.01)
    assert mutual_information(np.concatenate([noise, y[:, None]], axis=1), y) > 1


@pytest.mark.parametrize("count", [2, 10, 100, 400])
def test_categories_drawn_at_random_tell_nothing(count):
    """The standard deviation of the estimate is at most 0.05 with 400 categories."""
    rng = np.random.default_rng(count)
    found = [mutual_information(rng.integers(0, count, N), label(k)) for k in range(20)]
    assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / np.sqrt(20))
    assert np.std(found) < 0.06


def test_the_design_effect_is_that_of_its_residuals():
    rng = np.random.default_rng(1)
    codes, labels, groups = (rng.integers(0, k, 300) for k in (4, 3, 40))
    p, q = np.bincount(codes) / 300, np.bincount(labels) / 300
    residuals = ((np.eye(4)[codes] - p) / np.sqrt(p))[:, :, None] * (
        (np.eye(3)[labels] - q) / np.sqrt(q)
    )[:, None]
    residuals = (residuals - residuals.mean(axis=0)).reshape(300, -1)
    sums = np.zeros((40, 12))
    np.add.at(sums, groups, residuals)
    expected = np.square(sums).sum() / np.square(residuals).sum()
    assert design_effect(codes, labels, groups) == pytest.approx(max(expected, 1.0), rel=1e-12)
    assert design_effect(codes, labels, np.arange(300)) == pytest.approx(1.0, rel=1e-12)


def test_vectors_of_a_single_recording_tell_nothing():
    """There is nothing to train on; of two recordings one is held out at a time."""
    rng = np.random.default_rng(0)
    y, z = rng.integers(0, 3, 300), rng.standard_normal((300, 4))
    assert mutual_information(z, y, np.zeros(300)) == 0
    for size in range(20, 280, 20):
        assert mutual_information(z, y, np.arange(300) < size) < 0.05


def test_numbers_of_more_recordings_than_points_are_still_numbers(monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 3000)
    z = y + rng.standard_normal(3000)
    whole = mutual_information(z, y, np.arange(3000) // 2)
    monkeypatch.setattr(information, "MOST_POINTS", 300)
    assert mutual_information(z, y, np.arange(3000) // 2) == pytest.approx(whole, abs=0.15)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["number", "category"])
def test_what_recordings_share_tells_nothing_of_their_speaker(kind, share):
    """A recording decides a share of the pseudo-label, and all of the label."""
    rng = np.random.default_rng(3)
    recordings = np.repeat(np.arange(100), rng.integers(1, 12, 100))
    n = len(recordings)
    found, naive = [], []
    for _ in range(40):
        y = rng.integers(0, 10, 100)[recordings]
        if kind == "number":
            shared = np.sqrt(share) * rng.standard_normal(100)[recordings]
            z = shared + np.sqrt(1 - share) * rng.standard_normal(n)
        else:
            own = rng.random(n) < share
            z = np.where(own, rng.integers(0, 20, 100)[recordings], rng.integers(0, 20, n))
        found.append(mutual_information(z, y, recordings))
        naive.append(mutual_information(z, y))
    assert np.mean(found) == pytest.approx(0, abs=max(4 * np.std(found) / np.sqrt(40), 0.03))
    if share == 1:
        assert np.mean(naive) > 0.3
    assert mutual_information(y, y, recordings) == pytest.approx(entropy(np.bincount(y)), rel=1e-9)


def test_noise_tells_nothing():
    rng = np.random.default_rng(0)
    found = [mutual_information(rng.standard_normal(N), label(k)) for k in range(20)]
    assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / np.sqrt(20))
    assert mutual_information(rng.standard_normal((N, 10)), label()) == 0


@pytest.mark.parametrize("distance", [0.3, 1.0, 2.0, 4.0])
def test_numbers_and_vectors_of_normals_tell_what_the_integral_says(distance):
    """20 draws of 2,000 have a standard deviation of at most 0.011: four of their mean's."""
    rng = np.random.default_rng(1)
    y = np.arange(2000) % 2
    numbers = [(y - 0.5) * distance + rng.standard_normal(len(y)) for _ in range(20)]
    vectors = [np.stack([z, rng.standard_normal(len(y))], axis=1) for z in numbers]
    for zs in (numbers, vectors):
        found = [mutual_information(z, y) for z in zs]
        assert np.mean(found) == pytest.approx(of_normals(distance), abs=0.01)


def test_units_and_order_do_not_matter():
    rng = np.random.default_rng(3)
    y = label()
    z = y + 5 * rng.standard_normal(N)
    for values in (z, np.stack([z, rng.standard_normal(N)], axis=1)):
        expected = mutual_information(values, y)
        order = rng.permutation(N)
        assert mutual_information(values[order], y[order]) == pytest.approx(expected, rel=1e-9)
        assert mutual_information(1000 * values - 7, y) == pytest.approx(expected, rel=1e-6)
    assert mutual_information(np.exp(z / 10), y) == pytest.approx(mutual_information(z, y))


def test_a_vector_of_recordings_says_nothing_of_recordings_held_out():
    """A die rolled once for each recording of one speaker: a classifier that had seen it knows."""
    rng = np.random.default_rng(0)
    recording = np.repeat(np.arange(60), 20)
    speaker = (np.arange(60) % 6)[recording]
    vector = rng.standard_normal((60, 8))[recording] + 1e-3 * rng.standard_normal((1200, 8))
    assert mutual_information(vector, speaker) > 0.1
    assert mutual_information(vector, speaker, recording) == 0


def test_bins():
    assert discretise(np.array([3, 3, 9])).tolist() == [0, 0, 1]
    assert np.bincount(discretise(np.arange(1000.0))).tolist() == pytest.approx([71.4] * 14, abs=1)
    assert len(np.unique(discretise(np.arange(1e5)))) == 32
    assert len(np.unique(discretise(np.arange(16.0)))) == 4
    # Equal values share a bin: half of them are 0, as F0 is where there is no voice.
    zeros = np.concatenate([np.zeros(500), np.arange(1.0, 501)])
    assert len(np.unique(discretise(zeros)[:500])) == 1


def test_units_are_ordered_by_what_they_tell_of_phones():
    """Units of 50 clusters, of which a share is the true phone: from useless to nearly phones.

    A segment's value is the mean of the one-hots of its five frames, as `augury rank` takes it.
    """
    rng = np.random.default_rng(4)
    phone = rng.integers(0, 20, 1200)
    frames = np.repeat(phone[:, None], 5, axis=1)
    found = []
    for share in (0.0, 0.25, 0.5, 0.75):
        units = rng.integers(0, 50, frames.shape)
        units = np.where(rng.random(frames.shape) < share, 50 + frames, units)
        found.append(mutual_information(np.eye(70)[units].mean(axis=1), phone))
    assert found[0] < 0.01
    assert np.all(np.diff(found) > 0.1)
    assert found[-1] < np.log(20) + 0.01
