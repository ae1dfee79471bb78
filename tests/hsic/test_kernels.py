import numpy as np
import pytest

from augury.hsic import kernels


def test_unit_rows_keep_the_type_and_survive_extreme_scales():
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    plain = kernels.unit_rows(x)
    assert plain.shape == (5, 6)
    assert np.allclose(np.square(plain).sum(axis=1), 1, rtol=1e-14)
    for scale in (1e-305, 1e-250, 1e250, 1e307):
        assert np.allclose(kernels.unit_rows(x * scale), plain, rtol=1e-12)
    assert kernels.unit_rows(x.astype(np.float32)).dtype == np.float32
    assert kernels.unit_rows(x.astype(np.float16)).dtype == np.float32
    assert kernels.unit_rows((10 * x).astype(int)).dtype == np.float64
    assert not kernels.unit_rows(np.zeros((2, 3))).any()


def test_unit_rows_leave_their_input_alone():
    x = np.full((2, 3), 2.0)
    kernels.unit_rows(x)
    assert (x == 2).all()


@pytest.mark.parametrize("dims", [1, 4])
def test_the_kernel_is_exact_for_large_close_values(dims):
    z = 1e8 + np.random.default_rng(0).integers(0, 4, (9, dims)) / 4
    expected = np.exp(-np.square(z[:, None] - z[None]).sum(axis=2) / (2 * 0.5**2))
    assert np.allclose(kernels.label_kernel(z, width=0.5), expected, rtol=1e-14)


def test_the_median_distance_of_vectors_leaves_out_pairs_that_are_equal():
    corners = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [0.0, 10.0]])
    # 0 once, 5 and 10 twice each, and from (3, 4) to (0, 10) √45 once.
    assert kernels.median_distance(corners) == pytest.approx(np.sqrt(45))
    assert kernels.median_distance(np.ones((5, 2))) == 1.0  # none differ
    assert kernels.median_distance(np.ones((5, 1))) == 1.0
    assert kernels.median_distance(np.zeros((1, 2))) == 1.0
