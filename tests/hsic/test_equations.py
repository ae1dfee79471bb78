import numpy as np
import pytest

from augury.hsic import equations


def test_cosines_by_hand_and_0_for_a_row_of_zeros():
    x = [[3.0, 4.0], [6.0, 8.0], [-4.0, 3.0], [0.0, 0.0]]
    with np.errstate(all="raise"):
        K = equations.cosine_kernel(x)
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert pytest.approx(np.array(expected)) == K
    assert pytest.approx(K) == equations.cosine_kernel(np.reshape(x, (4, 2, 1)))  # flattened
    assert pytest.approx(K) == equations.cosine_kernel(0.01 * np.array(x))  # whatever the length


def test_label_kernels_by_hand():
    L = equations.rbf_kernel([0.0, 1.0, 3.0], 2.0)
    one, two, three = np.exp([-1 / 8, -4 / 8, -9 / 8])
    assert pytest.approx(np.array([[1, one, three], [one, 1, two], [three, two, 1]])) == L
    L = equations.rbf_kernel([[0.0, 0.0], [3.0, 4.0]], 5.0)
    assert L[0, 1] == pytest.approx(np.exp(-0.5))
    assert equations.rbf_kernel([7, 7, 9], 5.0).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_of_two_points_by_hand():
    K = L = np.eye(2)  # KH = H, tr(HH) = 1
    assert equations.hsic(K, L) == pytest.approx(1 / 4)
    assert equations.hsic(K, np.ones((2, 2))) == pytest.approx(0)


def test_classes_weigh_as_many_as_they_are():
    rng = np.random.default_rng(0)
    x, z, y = rng.standard_normal((7, 3)), rng.random(7), np.array([0, 1, 0, 1, 1, 1, 0])
    parts = []
    for c in (0, 1):
        K, L = equations.cosine_kernel(x[y == c]), equations.rbf_kernel(z[y == c], 0.05)
        parts.append(equations.hsic(K, L))
    expected = (3 * parts[0] + 4 * parts[1]) / 7
    assert equations.conditional_hsic(x, z, y) == pytest.approx(expected)
    assert equations.conditional_hsic(x, z, y) != pytest.approx(
        equations.conditional_hsic(x, z, y, width=0.1)
    )


def test_the_u_statistic_is_the_mean_over_quadruples():
    rng = np.random.default_rng(1)
    K, L = (M @ M.T for M in rng.standard_normal((2, 5, 3)))
    values = [
        K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q])
        for i in range(5)
        for j in range(5)
        for q in range(5)
        for r in range(5)
        if len({i, j, q, r}) == 4
    ]
    assert equations.unbiased_hsic(K, L) == pytest.approx(np.mean(values))


def test_normalised_it_is_a_correlation():
    rng = np.random.default_rng(2)
    K, L = (M @ M.T for M in rng.standard_normal((2, 6, 2)))
    assert equations.normalised_hsic(K, K) == pytest.approx(1)
    assert equations.normalised_hsic(K, 3 * L) == pytest.approx(equations.normalised_hsic(K, L))
    assert equations.normalised_hsic(K, np.ones((6, 6))) == 0.0


def test_kernels_that_vary_by_rounding_alone_have_no_correlation():
    K = np.diag([1.0, 2.0, 3.0, 5.0]) + np.outer([1, 0, 2, 1], [1, 0, 2, 1])
    own = equations.unbiased_hsic(K, K)
    for size, expected in ((1.1e-14, 1.0), (0.9e-14, 0.0)):
        small = np.sqrt(size / own) * K
        assert equations.normalised_hsic(small, small) == pytest.approx(expected)
        assert equations.normalised_hsic(K, small) == pytest.approx(expected)
