import numpy as np

from augury.extraction.segments import frame_range, range_counts, range_means


def test_a_segment_is_its_frames_by_time():
    first, stop = frame_range(
        np.array([0.0, 0.1, 0.25, 0.999]), np.array([0.0125, 0.2, 0.251, 1.0]), 0.0125, 0.010, 98
    )
    # Centres at 12.5, 22.5, … ms. [0, 12.5) has none: the nearest; 12.5 itself is excluded.
    assert first.tolist() == [0, 9, 24, 97]
    assert stop.tolist() == [1, 19, 25, 98]


def test_means_skip_what_is_not_finite():
    frames = np.array([1.0, np.nan, 3.0, np.inf, np.nan])
    means = range_means(frames, np.array([0, 1, 3]), np.array([3, 3, 5]))
    assert means[:2].tolist() == [2.0, 3.0]
    assert np.isnan(means[2])
    huge = range_means(np.array([1e30, 1.0, 1.0]), np.array([0, 1]), np.array([1, 3]))
    assert huge.tolist() == [1e30, 1.0]


def test_counts_of_overlapping_ranges_are_those_of_each():
    rng = np.random.default_rng(0)
    units = rng.integers(0, 5, 40).astype(np.int16)
    first = rng.integers(0, 39, 12)
    stop = first + 1 + rng.integers(0, 40 - first)
    counts = np.zeros((12, 5), int)
    ranges, ids, number = range_counts(units, first, stop)
    counts[ranges, ids] = number
    expected = [np.bincount(units[a:b], minlength=5) for a, b in zip(first, stop, strict=True)]
    assert np.array_equal(counts, expected)
