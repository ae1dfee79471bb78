import numpy as np
import pytest

from augury.hsic.clusters import cluster_measures


def counts_of(units, segments, categories):
    z = np.zeros((segments.max() + 1, categories), np.uint16)
    np.add.at(z, (segments, units), 1)
    return z


def frames(seed=0, share=0.5, recordings=60, categories=12):
    """Units of frames, of which a share knows the label of its segment."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, recordings * 5)
    segments = np.repeat(np.arange(len(y)), rng.integers(1, 12, len(y)))
    drawn = rng.integers(0, categories - 1, len(segments))
    units = np.where(rng.random(len(segments)) < share, y[segments], drawn)
    return counts_of(units, segments, categories), y, units, y[segments]


def test_measures_are_those_of_the_published_definitions():
    z, y, units, labels = frames()
    measures = cluster_measures(z, y, replicates=0)
    n = len(units)
    joint = np.zeros((12, 4))
    np.add.at(joint, (units, labels), 1 / n)
    outer = joint.sum(1, keepdims=True) * joint.sum(0)
    there = joint > 0
    label_nats = -(joint.sum(0) * np.log(joint.sum(0))).sum()
    assert measures.pnmi == pytest.approx(
        (joint[there] * np.log(joint[there] / outer[there])).sum() / label_nats
    )
    assert measures.label_purity == pytest.approx(joint.max(axis=1).sum())
    assert measures.cluster_purity == pytest.approx(joint.max(axis=0).sum())
    shares = joint.sum(1)[:11]
    assert measures.entropy == pytest.approx(-(shares * np.log(shares)).sum())
    assert (measures.used, measures.categories) == (11, 12)
    assert measures.pnmi_interval is None


def test_the_label_itself_and_nothing():
    y = np.repeat(np.arange(4), 25)
    perfect = cluster_measures(np.eye(4, dtype=np.uint8)[y] * 3, y)
    assert (perfect.pnmi, perfect.label_purity, perfect.cluster_purity) == pytest.approx((1, 1, 1))
    constant = cluster_measures(np.zeros(100, int), y)
    assert constant.pnmi == pytest.approx(0, abs=1e-12)
    assert (constant.label_purity, constant.cluster_purity, constant.used) == (0.25, 1.0, 1)
    codes = cluster_measures(y + 3, y)
    assert (codes.pnmi, codes.used, codes.categories) == (pytest.approx(1), 4, 4)


def test_intervals_stay_within_0_and_1():
    rng = np.random.default_rng(0)
    own = cluster_measures(rng.integers(0, 2, 60), rng.integers(0, 2, 60))
    for low, high in (own.pnmi_interval, own.label_purity_interval, own.cluster_purity_interval):
        assert 0 <= low <= high <= 1
    halves = cluster_measures(np.arange(60) % 3, np.arange(60) % 2, np.arange(60) // 30)
    assert halves.pnmi_interval is not None
    assert (
        cluster_measures(np.arange(60) % 3, np.arange(60) % 2, np.zeros(60)).pnmi_interval is None
    )


def test_intervals_hold_the_true_value_over_recordings():
    """The truth from very many recordings; 100 draws of 60, whose share held varies by 2 points."""
    truth = cluster_measures(*frames(9, recordings=6000)[:2], replicates=0)
    held = []
    for seed in range(100):
        z, y, *_ = frames(seed + 20)
        own = cluster_measures(z, y, np.arange(len(y)) // 5, seed=seed)
        low, high = own.cluster_purity_interval
        held.append(low <= truth.cluster_purity <= high)
        assert own.pnmi_interval[0] < own.pnmi < own.pnmi_interval[1]
    assert 0.86 <= np.mean(held) <= 1
