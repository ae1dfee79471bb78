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
