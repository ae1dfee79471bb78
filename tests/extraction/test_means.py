from pathlib import Path

import numpy as np
import pytest

from augury.errors import InputError
from augury.extraction.means import SegmentMeans
from augury.extraction.plan import Recording
from augury.extraction.segments import frame_range, range_means, segment_edges


def draw_recordings(rng, count=12):
    """Recordings with their usable segments and two candidates' frames, on grids of their own."""
    for r in range(count):
        duration = float(rng.uniform(1, 3))
        segments = int(rng.integers(0, 5))
        start = rng.uniform(0, duration / 2, segments)
        end = start + rng.uniform(0, duration, segments)
        start[::3], end[::4] = np.nan, np.nan
        recording = Recording(Path(f"{r}.wav"), f"{r}.wav", tuple(start), tuple(end))
        columns = rng.standard_normal(int(duration * 100)).astype(np.float32)
        columns[rng.integers(0, 4) :: 7] = np.nan
        vectors = rng.standard_normal((int(duration * 30), 2))
        frames = {
            "column": (columns, (0.0125, 0.01)),
            "vector": (vectors, (duration / len(vectors) / 2, duration / len(vectors))),
        }
        yield recording, duration, rng.random(segments) < 0.8, frames


@pytest.mark.parametrize("size", [1, 5000, 10**9])
def test_means_of_batches_are_those_of_each_recording(size):
    recordings = list(draw_recordings(np.random.default_rng(0)))
    count = sum(len(usable) for _, _, usable, _ in recordings)
    means = SegmentMeans(count, size=size)
    expected = {"column": np.full(count, np.nan), "vector": np.full((count, 2), np.nan)}
    places = np.random.default_rng(1).permutation(count)
    for recording, duration, usable, frames in recordings:
        own, places = places[: len(usable)], places[len(usable) :]
        rows = own[usable]
        start, end = segment_edges(recording.start, recording.end, duration)
        for name, (values, timing) in frames.items():
            first, stop = frame_range(start[usable], end[usable], *timing, len(values))
            if len(rows):
                expected[name][rows] = range_means(values, first, stop)
        nbytes = sum(values.nbytes for values, _ in frames.values())
        means.add(recording, duration, usable, rows, frames, nbytes)
    means.finish()
    for name, values in expected.items():  # not only nearly: whatever the batches
        assert np.array_equal(means.values[name], values, equal_nan=True)
    assert np.isfinite(expected["column"]).sum() > 10


def test_values_of_another_shape_name_the_recording():
    means, usable = SegmentMeans(2), np.array([True])
    for name, values in (("a.wav", np.ones(5)), ("b.wav", np.ones((5, 2)))):
        recording = Recording(Path(name), name, (np.nan,), (np.nan,))
        add = (recording, 1.0, usable, np.array([0]), {"z": (values, (0.1, 0.2))}, 1)
        if name == "a.wav":
            means.add(*add)
        else:
            with pytest.raises(InputError, match=r"z has values of shape \(2,\) for b.wav"):
                means.add(*add)


@pytest.mark.parametrize("size", [1, 10**9])
def test_units_are_counted_in_the_narrowest_type(size):
    """Segments of 0.1 s, of two recordings; K is of all frames; a recording without units has 0."""
    means = SegmentMeans(5, size=size)
    timing, both = (0.01, 0.02), np.array([True, True])
    units = {"a.wav": [4, 4, 1, 1, 1, 0, 0, 0, 0, 9], "b.wav": None, "c.wav": [2] * 300}
    for k, (name, values) in enumerate(units.items()):
        spans = ((0.0, 0.1), (0.05, 0.051)) if k < 2 else ((0.0, 6.0),)
        recording = Recording(Path(name), name, *zip(*spans, strict=True))
        frames = {} if values is None else {"z": (np.array(values, np.int16), timing)}
        frames["w"] = np.full(300, k + 0.5), timing
        usable = both[: len(spans)]
        means.add(recording, 6.0, usable, 2 * k + np.arange(len(spans)), frames, 1)
    means.finish()
    counts = means.values["z"]
    assert (counts.shape, counts.dtype) == ((5, 10), np.uint16)
    assert counts[0].tolist() == [0, 3, 0, 0, 2, 0, 0, 0, 0, 0]
    assert counts[1].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]  # the nearest frame
    assert not counts[2:4].any()
    assert counts[4].nonzero()[0].tolist() == [2]
    assert counts[4, 2] == 300
    assert means.values["w"].tolist() == [0.5, 0.5, 1.5, 1.5, 2.5]
