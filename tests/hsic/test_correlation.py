import numpy as np
import pytest
from scipy.stats import norm, pearson3

from augury.hsic.correlation import gamma_tail, normalise, u_centred_sum


def u_centred(K):
    """Székely and Rizzo's U-centring, as defined."""
    n = len(K)
    K = K - np.diag(np.diag(K))
    rows = K.sum(axis=1) / (n - 2)
    K = K - rows[:, None] - rows[None, :] + K.sum() / ((n - 1) * (n - 2))
    return K - np.diag(np.diag(K))


def doubly_centred(K):
    H = np.eye(len(K)) - 1 / len(K)
    return H @ K @ H


def sum_of(K, L):
    K, L = doubly_centred(K), doubly_centred(L)
    a, b = np.diag(K), np.diag(L)
    return u_centred_sum((K * L).sum(), a @ b, a.sum(), b.sum(), len(K))


@pytest.mark.parametrize("n", [3, 4, 5, 9])
def test_the_sum_is_that_of_u_centred_kernels(n):
    x, z = np.random.default_rng(n).standard_normal((2, n))
    K, L = (np.exp(-(np.subtract.outer(v, v) ** 2)) for v in (x, z))
    assert sum_of(K, L) == pytest.approx((u_centred(K) * u_centred(L)).sum(), rel=1e-10, abs=1e-15)


def test_the_sum_by_hand_where_too_few_points_would_divide_by_0():
    # inner − n p ab + a b p / (n − 1), with p = 1 / (n − 2), and nothing below 1.
    assert u_centred_sum(5.0, 2.0, 3.0, 4.0, 1) == 5 - 2 + 12
    assert u_centred_sum(5.0, 2.0, 3.0, 4.0, 2) == 5 - 4 + 12
    assert u_centred_sum(5.0, 2.0, 3.0, 4.0, 3) == 5 - 6 + 6
    assert u_centred_sum(5.0, 2.0, 3.0, 4.0, 5) == pytest.approx(5 - 10 / 3 + 1)
    # A rest up to 1e-12 of the sum is rounding.
    for rest in (1.1e-12, -1.1e-12):
        assert u_centred_sum(1.0, (1 - rest) / 3, 0.0, 0.0, 3) == pytest.approx(rest, rel=1e-3)
    assert u_centred_sum(1.0, (1 - 0.9e-12) / 3, 0.0, 0.0, 3) == 0.0


def test_what_is_left_of_terms_that_cancel_is_0():
    # One point alone differs: U-centring leaves nothing of its kernel.
    L = np.ones((7, 7))
    L[0, 1:] = L[1:, 0] = 0.1
    x = np.random.default_rng(0).standard_normal(7)
    assert sum_of(np.exp(-(np.subtract.outer(x, x) ** 2)), L) == 0.0


def test_a_kernel_that_is_constant_but_for_rounding_correlates_with_nothing():
    n = 10
    assert normalise(3.0, 4.0, 9.0, n) == pytest.approx(0.5)
    assert normalise(-3.0, 4.0, 9.0, n) == pytest.approx(-0.5)
    for size, expected in ((1.01, 1.0), (1.0, 0.0), (0.0, 0.0)):
        rounding = size * 1e-24 * n**2  # at most this of squared entries is rounding
        assert normalise(rounding, rounding, rounding, n) == pytest.approx(expected)
    assert normalise(1.0, 1.0, 0.0, n) == 0.0


def test_the_tail_is_pearson_s_type_iii():
    for value in (-1.0, 0.5, 2.0, 6.0):
        expected = pearson3.sf(value / np.sqrt(2.0), 1.2 / 2.0**1.5)
        assert gamma_tail(value, 2.0, 1.2) == pytest.approx(expected)
    assert gamma_tail(-30.0, 2.0, 1.2) == 1.0  # below all that it may be
    # Hardly skewed, it is a normal's.
    for value in (-1.0, 0.0, 3.0):
        assert gamma_tail(value, 4.0, 0.0) == pytest.approx(norm.sf(value / 2))
        assert gamma_tail(value, 4.0, 0.0079) == pytest.approx(norm.sf(value / 2), abs=1e-3)
        assert gamma_tail(value, 4.0, 0.0081) == pytest.approx(norm.sf(value / 2), abs=1e-3)
    # At 0 half of a normal's mass is above, and less of a skewed one's: from 1e-3 on it counts.
    assert gamma_tail(0.0, 4.0, 8 * 0.9e-3) == 0.5
    assert gamma_tail(0.0, 4.0, 8 * 1.1e-3) == pytest.approx(pearson3.sf(0.0, 1.1e-3))
    assert gamma_tail(0.0, 4.0, 8 * 1.1e-3) < 0.5
    assert gamma_tail(-10.0, 1.0, 0.2) == 1.0  # the end of its range, −2 / skewness
    assert gamma_tail(0.0, 0.0, 0.0) == 1.0  # nothing varies: as large in every draw
