"""Stretches of recordings, and batches of them."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from augury.downstream.features import CONTEXT, Stretches, cut_stretches, plan_batches, read_batch  # noqa: E402


def cut(recording, first, frames, whole, *, split=None, longest=1000, separate=False):
    split = np.array(split or ["train"] * len(recording), object)
    arrays = (np.array(values) for values in (recording, first, frames))
    order, rows = cut_stretches(*arrays, split, np.array(whole), longest=longest, separate=separate)
    return order.tolist(), rows.tolist()


def test_a_short_recording_is_one_stretch():
    order, rows = cut([0, 0, 1], [30, 10, 5], [10, 10, 20], [100, 40])
    assert order == [1, 0, 2]  # in order of time
    assert rows == [[0, 0, 100, 0, 2], [1, 0, 40, 2, 3]]


def test_a_long_recording_is_cut_between_segments():
    first = [100, 200, 900, 1500]
    order, rows = cut([0] * 4, first, [50] * 4, [5000], longest=500)
    assert order == [0, 1, 2, 3]
    assert rows == [
        [0, 100 - CONTEXT, 150 + 2 * CONTEXT, 0, 2],
        [0, 900 - CONTEXT, 50 + 2 * CONTEXT, 2, 3],
        [0, 1500 - CONTEXT, 50 + 2 * CONTEXT, 3, 4],
    ]
    _, rows = cut([0], [4980], [20], [5000], longest=500)
    assert rows == [[0, 4930, 70, 0, 1]]  # nothing beyond its end


def test_splits_and_separate_segments_have_their_own_stretches():
    split = ["train", "test", "train"]
    order, rows = cut([0, 0, 0], [0, 10, 20], [10] * 3, [30], split=split)
    assert [[order[k] for k in range(*row[3:])] for row in rows] == [[1], [0, 2]]
    _, rows = cut([0, 0], [0, 10], [10, 15], [30], separate=True)
    assert rows == [[0, 0, 10, 0, 1], [0, 10, 15, 1, 2]]


def test_every_segment_lies_in_its_stretch():
    rng = np.random.default_rng(0)
    recording = rng.integers(0, 5, 200)
    first, frames = rng.integers(0, 3000, 200), rng.integers(1, 300, 200)
    split = rng.choice(["train", "test"], 200).astype(object)
    whole = np.full(5, 3400)
    order, rows = cut_stretches(recording, first, frames, split, whole, longest=600, separate=False)
    assert sorted(order.tolist()) == list(range(200))
    for r, begin, count, a, b in rows.tolist():
        inside = order[a:b]
        assert (recording[inside] == r).all()
        assert len(set(split[inside])) == 1
        assert (first[inside] >= begin).all()
        assert (first[inside] + frames[inside] <= begin + count).all()
        assert 0 <= begin
        assert begin + count <= 3400


class Ramp:
    """Frame t of stretch s holds 100 s + t."""

    width = 2

    def __init__(self, frames):
        self.frames = frames

    def read(self, stretch):
        t = np.arange(self.frames[stretch], dtype=np.float32)
        return np.stack([100 * stretch + t, -t], axis=1)


def make_stretches():
    frames = np.array([6, 3, 9])
    clips = SimpleNamespace(frames=frames)
    stretches = Stretches(
        clips, np.array(["train"] * 3), np.array([7, 5, 4, 9]), np.array([0, 0, 1, 2]),
        np.array([0, 2, 0, 1]), np.array([2, 4, 3, 8]),
    )  # fmt: skip
    return stretches, Ramp(frames)


def test_a_batch_by_hand():
    stretches, source = make_stretches()
    plan = np.array([[2, 2, 4], [0, 0, 6]])  # four frames of the third from its third on
    batch = read_batch(source, stretches, lambda places: {"p": torch.tensor(places)}, plan)
    assert batch.lengths.tolist() == [4, 6]
    assert batch.features[0, :, 0].tolist() == [202, 203, 204, 205, 0, 0]
    assert batch.features[1, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.row.tolist() == [0, 1, 1]
    assert batch.segments.tolist() == batch.targets["p"].tolist() == [9, 7, 5]
    # The segment from frame 1 to 9 is cut to the four frames that are there.
    assert (batch.first.tolist(), batch.stop.tolist()) == ([0, 0, 2], [4, 2, 6])


def test_every_stretch_is_planned_and_crops_are_random():
    stretches, _ = make_stretches()
    everything = np.arange(3)
    for plan in (
        plan_batches(stretches, everything, 20),
        plan_batches(stretches, everything, 20, crop=100),
    ):
        rows = np.concatenate(plan)
        assert sorted(rows.tolist()) == [[0, 0, 6], [1, 0, 3], [2, 0, 9]]
    seen = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for stretch, first, count in np.concatenate(
            plan_batches(stretches, everything, 20, rng=rng, crop=4)
        ).tolist():
            assert count == min(4, stretches.clips.frames[stretch])
            assert 0 <= first <= stretches.clips.frames[stretch] - count
            seen.add((stretch, first))
    assert len(seen) == 3 + 1 + 6  # from anywhere
    assert plan_batches(stretches, everything[:0], 20) == []
