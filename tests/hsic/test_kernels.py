import numpy as np
import pytest

from augury.hsic import kernels


def test_unit_rows_keep_the_type_and_survive_extreme_scales():
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    plain = kernels.unit_rows(x)
    assert plain.shape == (5, 6)
    assert np.allclose(np.square(plain).sum(axis=1), 1, rtol=1e-14)
    for scale in (1e-305, 1e-250, 1e-157, 1e-154, 1e250, 1e307):
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


def test_equal_but_for_rounding_is_a_share_of_the_largest_distance():
    """Of 0, a, 2a, 1: a twice, 2a, and about 1 three times. Up to 1e-12 counts as 0."""
    for dims in (1, 2):
        for a, expected in ((0.9e-12, 1.0), (1.1e-12, 0.5)):
            z = np.zeros((4, dims))
            z[:, 0] = [0.0, a, 2 * a, 1.0]
            assert kernels.median_distance(z) == pytest.approx(expected)
            # Whatever the unit.
            assert kernels.median_distance(1e-20 * z) == pytest.approx(1e-20 * expected)
    assert kernels.median_distance(np.array([3, 5, 900])) == 1.0  # categories


def test_the_median_distance_of_scalars_by_hand():
    # 1, 2, 3; then 1, 1, 2, 4, 5, 6: halfway between 2 and 4, and of 2 and 2.
    assert kernels.median_distance(np.array([0.0, 1.0, 3.0])) == pytest.approx(2)
    assert kernels.median_distance(np.array([6.0, 0.0, 1.0, 2.0])) == pytest.approx(3)
    assert kernels.median_distance(np.array([0.0, 2.0])) == pytest.approx(2)
    assert kernels.median_distance(np.array([0.0, 2.0, 4.0, 2.0])) == pytest.approx(2)
    assert kernels.median_distance(np.array([5.0])) == 1.0


def test_the_median_distance_of_scalars_counts_all_pairs_however_many():
    """More points than the 1,000 of which vectors are compared."""
    z = np.random.default_rng(0).standard_normal(1501) ** 3
    distances = np.abs(z[:, None] - z)[np.triu_indices(len(z), 1)]
    assert kernels.median_distance(z) == pytest.approx(np.median(distances), rel=1e-9)


def test_what_varies_by_rounding_alone_is_constant():
    for size, expected in ((0.9e-12, 0.0), (1.1e-12, 1.0)):
        z = np.array([1 - size, 1 + size])  # half the range, in units of the largest value
        assert kernels.standardise(z) == pytest.approx([-expected, expected], rel=1e-3)
    assert kernels.standardise(np.zeros(3)).tolist() == [0, 0, 0]
    assert kernels.standardise(np.array([2, 7])).tolist() == [2, 7]  # categories


def test_standardised_dimensions_by_hand():
    z = np.array([[0.0, 5.0, 1.0], [0.0, 7.0, 1.0], [3.0, 9.0, 1.0]])
    expected = [
        [-np.sqrt(0.5), -np.sqrt(1.5), 0], [-np.sqrt(0.5), 0, 0], [np.sqrt(2), np.sqrt(1.5), 0],
    ]  # fmt: skip
    assert np.allclose(kernels.standardise(z), expected)


def test_points_are_spaced_evenly_in_the_order_of_their_norms():
    z = np.array([[5.0, 0.0], [0.0, 1.0], [3.0, 0.0], [2.0, 2.0], [0.0, 4.0]])
    assert kernels.spaced_points(z, 3).tolist() == [1, 2, 0]  # 1, 3 and 5 of 1, √8, 3, 4, 5
    assert kernels.spaced_points(z, 9).tolist() == [1, 3, 2, 4, 0]
    assert kernels.spaced_points(-np.arange(4.0), 2).tolist() == [0, 3]
    assert len(kernels.spaced_points(np.arange(1500.0))) == 1000


def test_kernels_by_hand():
    L = kernels.label_kernel(np.array([[0.0, 0.0], [3.0, 4.0]]), width=5.0)
    assert np.allclose(L, [[1, np.exp(-0.5)], [np.exp(-0.5), 1]])
    L = kernels.label_kernel(np.array([0.0, 1.0]), np.array([2.0]), width=1.0)
    assert np.allclose(L, np.exp([[-2], [-0.5]]))
    assert kernels.label_kernel(np.array([7, 8]), np.array([8, 8, 7]), width=9.0).tolist() == [
        [0, 0, 1],
        [1, 1, 0],
    ]
    assert kernels.gaussian(np.zeros(1), np.array([2.0]), 2.0)[0, 0] == pytest.approx(np.exp(-1))


def test_centring_by_hand():
    # Rows and columns that differ: means 4 and 6, then −1 and 1 are left.
    kernel = np.array([[1.0, 3.0, 5.0], [7.0, 7.0, 7.0]])
    H2, H3 = np.eye(2) - 1 / 2, np.eye(3) - 1 / 3
    expected = H2 @ kernel @ H3
    assert np.allclose(kernels.centre(kernel), expected)
    assert np.allclose(kernel, expected)  # in place
