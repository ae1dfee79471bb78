import numpy as np
import pytest

from augury.hsic import associations, normalised_hsic, rbf_kernel
from augury.hsic.kernels import median_distance, standardise
from augury.hsic.shared import FEW_POINTS, LabelColumns


def columns(z, known=None):
    return LabelColumns.of(z, np.ones(len(z), bool) if known is None else known)


def labels(n=60, seed=0):
    """Related pseudo-labels of every kind."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(n)
    vector = np.stack([a + rng.standard_normal(n), rng.standard_normal(n)], axis=1)
    return {
        "scalar": a,
        "curved": a**2 + 0.1 * rng.standard_normal(n),
        "vector": vector,
        "category": np.digitize(a, [-0.5, 0.4]),
        "noise": rng.standard_normal(n),
    }


def dense(first, second):
    """By the definition, from n × n matrices."""
    kernels = [rbf_kernel(z, median_distance(z)) for z in map(standardise, (first, second))]
    return normalised_hsic(tuple(kernels))


def test_scalars_vectors_and_categories_against_matrices():
    zs = labels()
    for first in zs.values():
        for second in zs.values():
            # Factors leave out 1e-6 of each point.
            expected = pytest.approx(dense(first, second), abs=1e-5)
            assert columns(first).correlation_with(columns(second)) == expected


def test_by_hand():
    """Two categories of four points each: kernels are equal, or opposed as far as they can be."""
    one, other = np.array([0, 0, 1, 1] * 2), np.array([0, 1, 0, 1] * 2)
    assert columns(one).correlation_with(columns(1 - one)) == pytest.approx(1)
    # U-centred, an equal pair has 4/7 and an unequal one −3/7: 12 and 16 pairs of 28 points.
    # The kernels agree in 4 + 8 pairs: 4 · (4/7)² + 8 · (3/7)² − 16 · 12/49 = −56/49; the squares
    # are 12 · (4/7)² + 16 · (3/7)² = 336/49.
    assert columns(one).correlation_with(columns(other)) == pytest.approx(-56 / 336)


def test_laws():
    """No unit, sign, name or order of points counts; a value shares all with itself."""
    zs, order = labels(), np.random.default_rng(1).permutation(60)
    for name, z in zs.items():
        assert columns(z).correlation_with(columns(z)) == pytest.approx(1)
        renamed = 5 - 3 * z if name == "category" else 5 - 3e4 * z
        assert columns(z).correlation_with(columns(renamed)) == pytest.approx(1, abs=1e-5)
        for other in zs.values():
            value = columns(z).correlation_with(columns(other))
            assert columns(other).correlation_with(columns(z)) == pytest.approx(value, abs=1e-12)
            permuted = columns(z[order]).correlation_with(columns(other[order]))
            # The pivots of a vector's factor depend on the order.
            assert permuted == pytest.approx(value, abs=1e-5)


def test_the_scale_is_that_of_relevance():
    """A label as a candidate shares with another what this one's relevance is."""
    zs = labels()
    y = zs["category"]
    x = np.random.default_rng(0).standard_normal((60, 4))
    _, relevance = associations(x, [zs["scalar"], zs["vector"]], y)
    for name, found in zip(("scalar", "vector"), relevance, strict=True):
        assert columns(zs[name]).correlation_with(columns(y)) == pytest.approx(
            found.value, abs=1e-5
        )


def test_independent_values_share_nothing_on_average():
    """Mean 0, and √2 / n around it."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal(200)
    one = columns(z)
    values = [one.correlation_with(columns(rng.permutation(z))) for _ in range(200)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.sqrt(2) / 200 / np.sqrt(200))
    # 200 draws know a standard deviation to 5 %, more for a skewed distribution.
    assert np.std(values) == pytest.approx(np.sqrt(2) / 200, rel=0.25)


def test_points_without_a_value_are_left_out():
    zs = labels()
    known = np.arange(60) % 4 != 1
    for name in ("vector", "category"):
        z, part = zs["scalar"], zs[name].copy()
        part[~known] = -1 if name == "category" else np.nan
        expected = columns(z[known]).correlation_with(columns(zs[name][known]))
        # The scalar's width and mean are those of all its points.
        assert columns(z).correlation_with(columns(part, known)) == pytest.approx(
            expected, abs=0.03
        )
    few = np.arange(60) < 3
    assert columns(zs["scalar"]).correlation_with(columns(zs["noise"], few)) == 0
    assert columns(zs["scalar"]).correlation_with(columns(zs["noise"], few & False)) == 0
    more = np.arange(60) < 4
    assert columns(zs["scalar"]).correlation_with(columns(zs["noise"], more)) != 0


def test_a_constant_shares_nothing():
    z = np.arange(20.0)
    assert columns(z).correlation_with(columns(np.full(20, 7.0))) == 0
    assert columns(z).correlation_with(columns(np.zeros(20, int))) == 0


def test_kernels_with_many_columns_use_fewer_points():
    """Wide vectors, and categories of hundreds of codes, on the first 512 points."""
    rng = np.random.default_rng(0)
    n = FEW_POINTS + 200
    wide = rng.standard_normal((n, 30))
    codes = rng.permutation(n) // 2  # 356 codes
    z = wide[:, 0]
    for label in (wide, codes):
        found = columns(label)
        assert found.known.sum() == FEW_POINTS
        first = slice(FEW_POINTS)
        # Their width is that of all points.
        expected = dense(label[first], z[first])
        assert found.correlation_with(columns(z)) == pytest.approx(expected, abs=3e-3)
        assert found.correlation_with(columns(label)) == pytest.approx(1)
