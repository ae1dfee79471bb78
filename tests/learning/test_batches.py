import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augury.learning.batches import READ_AHEAD, make_batches, padding_share, read_ahead


@given(
    st.lists(st.integers(1, 300), min_size=4, max_size=200),
    st.integers(300, 2000),
    st.integers(0, 5),
    st.integers(1, 4),
)
def test_every_clip_is_in_one_batch_and_padding_is_counted(lengths, most, seed, least):
    lengths = np.array(lengths)
    batches = make_batches(lengths, most, rng=np.random.default_rng(seed), min_clips=least)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) >= least
        # Beyond `most` only by the clips that a batch must have for all processes.
        fitting = max(least, most // lengths[batch].max())
        assert len(batch) <= fitting + least - 1


@pytest.mark.parametrize("least", [1, 4, 16])
def test_pools_end_without_batches_that_are_too_small_or_too_large(least):
    lengths = np.random.default_rng(0).integers(300, 800, 30_000)
    batches = make_batches(lengths, 8000, rng=np.random.default_rng(1), min_clips=least)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    sizes = np.array([len(batch) for batch in batches])
    assert sizes.min() >= least
    # 800 frames at most a clip: `least` of them, and fewer than `least` that came along.
    padded = [len(batch) * lengths[batch].max() for batch in batches]
    assert max(padded) <= max(8000, 800 * least) + 800 * (least - 1)


def test_clips_that_each_fill_a_batch():
    batches = make_batches(np.full(1000, 1000), 1000, rng=np.random.default_rng(0), min_clips=64)
    assert {len(batch) for batch in batches} <= set(range(64, 128))


def test_no_batch_exceeds_the_largest_number_of_frames():
    lengths = np.random.default_rng(0).integers(50, 1000, 500)
    batches = make_batches(lengths, 8000, rng=np.random.default_rng(1))
    assert max(len(batch) * lengths[batch].max() for batch in batches) <= 8000


def test_batches_have_similar_lengths_and_a_random_order():
    lengths = np.random.default_rng(0).integers(50, 1000, 5000)
    batches = make_batches(lengths, 8000, rng=np.random.default_rng(1))
    assert padding_share(lengths, batches) < 0.03  # sorted in pools of 50 batches
    naive = np.array_split(np.random.default_rng(1).permutation(5000), len(batches))
    assert padding_share(lengths, naive) > 0.3
    longest = [lengths[batch].max() for batch in batches]
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.2


def test_padding_worked_by_hand():
    # Clips of 4 and 2 together: 8 frames for 6.
    assert padding_share(np.array([4, 2]), [np.array([0, 1])]) == pytest.approx(0.25)


def test_the_seed_sets_the_batches():
    lengths = np.arange(1, 200)
    first, same, other = (
        make_batches(lengths, 500, rng=np.random.default_rng(s)) for s in (0, 0, 1)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=False))


def test_without_a_generator_clips_are_sorted():
    batches = make_batches(np.array([3, 9, 5, 9]), 18, rng=None)
    assert [batch.tolist() for batch in batches] == [[1, 3], [2, 0]]


def test_fewer_clips_than_processes_are_refused():
    with pytest.raises(ValueError, match="2 clips, but 3 processes"):
        make_batches(np.array([1, 2]), 10, rng=None, min_clips=3)


def test_reading_ahead_keeps_the_order_and_few_results():
    begun, taken = [], []

    def read(k):
        begun.append(k)
        time.sleep(0.001 * (k % 3))
        return k

    for k in read_ahead(read, range(40)):
        taken.append(k)
        assert len(begun) <= len(taken) + READ_AHEAD
    assert taken == list(range(40))


def test_an_error_of_a_read_is_raised_in_its_turn():
    def read(k):
        if k == 2:
            raise OSError("gone")
        return k

    results = read_ahead(read, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(results)


def test_leaving_early_ends_the_threads():
    results = read_ahead(lambda k: k, range(1000))
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("augury-read")]
