import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augury.hsic import factors
from augury.hsic.kernels import label_kernel


def matches(z, width, left_out):
    """The factor's matrix is the kernel, from below, to what may be left out."""
    factor = factors.factor(z, width, left_out)
    assert factor is not None
    columns = factor.columns(z)
    assert columns.shape == (len(z), len(factor))
    missing = label_kernel(z, width=width) - columns @ columns.T
    # Positive semidefinite up to rounding, so that no entry exceeds the largest of the diagonal;
    # a vector's columns go through a triangular inverse of condition 1e6.
    rounding = 1e-13 if z.ndim == 1 else 1e-9
    assert np.abs(missing).max() <= left_out + rounding
    assert np.linalg.eigvalsh(missing).min() > -len(z) * rounding


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=30),
    st.floats(0.3, 20),
    st.sampled_from([1e-13, 1e-9, 1e-3]),
)
def test_a_scalar_s_factor_is_the_kernel(values, width, left_out):
    matches(np.array(values), width, left_out)


@pytest.mark.parametrize("left_out", [1e-10, 1e-6])
def test_a_vector_s_factor_is_the_kernel(left_out):
    rng = np.random.default_rng(0)
    matches(rng.standard_normal((200, 3)), 1.2, left_out)
    matches(np.repeat(rng.standard_normal((3, 2)), 20, axis=0), 1.2, left_out)


def test_a_category_s_factor_is_the_kernel():
    matches(np.random.default_rng(0).integers(0, 5, 60) * 3, 1.0, 1e-10)


def test_columns_are_near_the_kernel_s_rank():
    """Unit range at σ = 0.05: 46 eigenvalues above 1e-13 of the largest."""
    z = np.random.default_rng(0).random(2000)
    values = np.linalg.eigvalsh(label_kernel(z, width=0.05))
    rank = (values > 1e-13 * values[-1]).sum()
    factor = factors.factor(z, 0.05, 1e-13)
    assert factor is not None
    assert len(factor) < 1.3 * rank


def test_points_it_was_not_made_from_are_covered_between_those_it_was():
    factor = factors.factor(np.linspace(0, 1, 50), 0.05, 1e-12)
    assert factor is not None
    columns = factor.columns(np.linspace(0.003, 0.99, 333))
    assert (1 - np.square(columns).sum(axis=1)).max() <= 1.01e-12


def test_there_is_none_where_it_would_not_pay():
    rng = np.random.default_rng(0)
    assert factors.factor(rng.random(2000) * 300, 0.05, 1e-12) is None  # raw Hz
    assert factors.factor(np.array([1e9, 1e9 + 1]), 1.0, 1e-12) is None  # rounding moves the grid
    assert factors.factor(rng.standard_normal((2000, 9)), 1.0, 1e-12) is None
    assert factors.factor(np.arange(1000), 1.0, 1e-12) is None


def test_far_values_cost_only_their_own_columns():
    factor = factors.factor(np.array([0.0, 1e4]), 1.0, 1e-12)
    assert factor is not None
    assert len(factor) < 30


#: σ π / √(2 ln(2 / 1e-15)): the step of the grid of a scalar of σ = 1.
STEP = np.pi / np.sqrt(2 * np.log(2e15))


def test_the_grid_of_a_scalar_by_hand():
    """Nodes as far as exp(−t²) reaches 1e-15 on both sides of the cell: 5.88 is 16 steps."""
    factor = factors.factor(np.array([0.1]), 1.0, 1e-12)
    assert factor is not None
    assert np.allclose(factor.points, STEP * np.arange(-16, 18), rtol=1e-12, atol=0)
    assert factor.width == 1.0
    wide = factors.factor(np.array([0.1, -0.2]), 2.0, 1e-12)
    assert wide is not None
    assert np.allclose(wide.points, 2 * STEP * np.arange(-17, 18), rtol=1e-12, atol=0)
    # Far values have nodes of their own.
    both = factors.factor(np.array([0.1, 100 * STEP + 0.1]), 1.0, 1e-12)
    assert both is not None
    assert len(both.points) == 68


def test_no_column_is_kept_that_may_be_left_out():
    for left_out in (1e-12, 1e-9, 1e-6, 1e-3):
        factor = factors.factor(np.linspace(0, 3, 40), 1.0, left_out)
        assert factor is not None
        cells = np.arange(int(3 / STEP) + 1)
        tests = ((cells[:, None] + np.linspace(0, 1, 17)) * STEP).ravel()
        squares = np.square(factor.columns(tests))
        assert (1 - squares.sum(axis=1)).max() <= left_out + 1e-14
        assert (1 - squares[:, :-1].sum(axis=1)).max() > left_out


def test_limits_beyond_which_there_is_no_factor():
    def has_factor(z, **choices):
        return factors.factor(z, 1.0, 1e-12, **choices) is not None

    # Values up to 1e5 steps from 0, on either side.
    for side in (1, -1):
        assert has_factor(np.array([0.0, side * 0.99e5 * STEP]))
        assert not has_factor(np.array([0.0, side * 1.01e5 * STEP]))
    # 33 nodes more than cells, and 512 at most.
    assert has_factor((np.arange(479) + 0.5) * STEP)
    assert not has_factor((np.arange(480) + 0.5) * STEP)
    assert has_factor(np.arange(512))
    assert not has_factor(np.arange(513))
    assert has_factor(np.arange(7), most=7)
    assert not has_factor(np.arange(7), most=6)
    assert not has_factor(np.arange(600), most=600)
    # As many pivots as points that differ.
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [3.0, 3.0], [0.0, 0.0]])
    assert not has_factor(points, most=3)
    assert has_factor(points, most=4)
    assert has_factor(points)
    assert len(factors.factor(points, 1.0, 1e-12)) == 4


def test_a_vector_of_one_dimension_is_a_scalar():
    z = np.linspace(0, 1, 9)
    one, other = (factors.factor(v, 0.5, 1e-9) for v in (z, z[:, None]))
    assert np.array_equal(one.points, other.points)
    assert np.array_equal(one.transform, other.transform)


def test_a_vector_s_columns_reach_the_tolerance_and_no_further():
    z = np.random.default_rng(0).standard_normal((300, 2))
    counts = []
    for left_out in (1e-3, 1e-6, 1e-9, 1e-12, 0.0):  # below 1e-12 rounding would be fitted
        factor = factors.factor(z, 1.0, left_out)
        columns = factor.columns(z)
        assert (1 - np.square(columns).sum(axis=1)).max() < max(left_out, 1e-12) * 1.01 + 1e-9
        counts.append(len(factor))
    assert counts[:4] == sorted(set(counts[:4]))
    assert counts[3] == counts[4]
    # A pivot more is taken only while a point is further off than that.
    fewer = factors.factor(z, 1.0, 1e-3, most=counts[0] - 1)
    assert fewer is None
