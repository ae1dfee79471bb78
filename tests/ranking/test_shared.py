import numpy as np
import pytest

from augury.ranking.shared import MOST_SEGMENTS, SharedDependence


def test_pairs_of_any_kind_with_values_missing():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(80)
    category = np.digitize(z, [0.0])
    values = {
        "scalar": np.where(np.arange(80) % 5 == 0, np.nan, z),
        "category": np.where(np.arange(80) % 5 == 1, -1, category),
        "copy": np.where(np.arange(80) % 5 == 1, -1, 4 - category),
        "noise": rng.standard_normal((80, 2)),
    }
    shared = SharedDependence(values)
    assert shared("category", "copy") == pytest.approx(1)
    assert shared("scalar", "scalar") == pytest.approx(1)
    assert shared("scalar", "category") == shared("category", "scalar")
    assert 0.3 < shared("scalar", "category") < 1
    assert abs(shared("scalar", "noise")) < 0.1


def test_many_segments_are_sampled():
    rng = np.random.default_rng(0)
    n = 3 * MOST_SEGMENTS
    z = rng.integers(0, 3, n)
    other = np.where(rng.random(n) < 0.5, z, rng.integers(0, 3, n))
    shared = SharedDependence({"z": z, "other": other})
    # Half of the one is the other: the kernel's correlation is ½². Of 2,000 points: ± .01.
    assert shared("z", "other") == pytest.approx(0.25, abs=0.04)
    assert shared("z", "other") == SharedDependence({"other": other, "z": z})("other", "z")
    assert len(shared._values["z"]) == MOST_SEGMENTS
