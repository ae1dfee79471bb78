import math

import numpy as np
import pytest

from augury.hsic.factors import factor
from augury.hsic.kernels import centre
from augury.hsic.sums import (
    ClassSums,
    PairSums,
    SpeechSums,
    SumPlan,
    skewness,
    u_centre,
    u_centred_row_sums,
)


def u_centred(A):
    """Székely and Rizzo's U-centring, entry by entry; divided by at least 1."""
    n = len(A)
    off = [[A[i][j] if i != j else 0.0 for j in range(n)] for i in range(n)]
    rows = [sum(row) for row in off]
    total = sum(rows)
    by_row, by_all = max(n - 2, 1), max((n - 1) * (n - 2), 1)
    return np.array(
        [
            [
                0.0 if i == j else off[i][j] - (rows[i] + rows[j]) / by_row + total / by_all
                for j in range(n)
            ]
            for i in range(n)
        ]
    )


def centred_kernels(n):
    vectors = np.random.default_rng(n).standard_normal((2, n, 3))
    return [centre(v @ v.T) for v in vectors]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_u_centring_as_defined(n):
    K, L = centred_kernels(n)
    expected = u_centred(K)
    a, b = np.diag(K).copy(), np.diag(L).copy()
    close = {"rtol": 1e-12, "atol": 1e-13}  # a handful of roundings of terms of order 1
    assert np.allclose(u_centre(K, a), expected, **close)
    each = (K * L).sum(axis=1) - a * b
    sums = u_centred_row_sums(each, a, b, K @ b, L @ a, n, (a.sum(), b.sum(), a @ b))
    assert np.allclose(sums, (expected * u_centred(L)).sum(axis=1), **close)


def test_skewness_by_hand():
    # Eigenvalues 2 and 1: (8 + 1) / (4 + 1)^1.5.
    assert skewness(np.diag([2.0, 1.0]), 5.0) == pytest.approx(9 / 5**1.5)
    rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert skewness(rotation @ np.diag([2.0, -1.0]) @ rotation.T, 5.0) == pytest.approx(7 / 5**1.5)
    # A kernel of squared norm 1e-24 or less is rounding.
    one = np.array([[1.1e-12]])
    assert skewness(one, 1.21e-24) == pytest.approx(1)
    assert skewness(one, 1e-24) == 0.0
    assert skewness(one, 0.9e-24) == 0.0


def test_a_plan_computes_no_more_than_it_is_asked_for():
    plans = SumPlan((1.0,), (None,)), SumPlan.of([np.arange(3.0)], [1.0], 3, tolerance=1e-6)
    for plan in plans:
        assert (plan.widths, plan.factors, plan.engine) == ((1.0,), (None,), "auto")
        assert (plan.slip, plan.norms, plan.points) == (False, False, False)
    assert PairSums(0.0, 0.0, 0.0, 0.0, 0.0, 0.0).error == 0.0
    speech = SpeechSums(0.0, 1.0)
    assert all(map(math.isnan, (speech.aa, speech.KK, speech.skew)))
    assert ClassSums(np.arange(2), speech, ()).speech.each_KK is None


def test_factors_leave_out_a_thirtieth_of_the_tolerance_shared_by_the_points():
    z = np.linspace(0, 1, 200)
    counts = set()
    for tolerance in np.geomspace(1e-9, 1, 40):
        for largest in (0, 1, 500):  # no class and one point count alike
            plan = SumPlan.of([z], [0.1], largest, tolerance=tolerance, engine="factored")
            expected = factor(z, 0.1, 0.03 * tolerance / max(largest, 1))
            assert len(plan.factors[0]) == len(expected)
            counts.add(len(expected))
    assert len(counts) > 10  # so that twice or half as much would show
    # What is asked for below rounding is not to be had.
    plan = SumPlan.of([z], [0.1], 500, tolerance=0.0, engine="factored")
    assert len(plan.factors[0]) == len(factor(z, 0.1, 1e-15))


def test_factors_are_used_where_they_pay():
    def has_factor(largest, codes, engine="auto"):
        z = np.arange(codes)
        return SumPlan.of([z], [1.0], largest, tolerance=1e-6, engine=engine).factors[0] is not None

    assert not has_factor(400, 2)  # matrices are cheaper
    assert has_factor(401, 2)
    assert has_factor(401, 100)  # with columns up to a quarter of the points
    assert not has_factor(401, 101)
    assert has_factor(10, 300, "factored")  # whatever it costs
    for engine in ("exact", "dense", "strips"):
        assert not has_factor(401, 2, engine)


def test_the_size_up_to_which_kernels_are_matrices():
    scalar, vector = np.zeros(5), np.zeros((5, 2))
    some = factor(scalar, 1.0, 1e-6)

    def largest(zs, factors, engine="auto", norms=False):
        return SumPlan((1.0,) * len(zs), factors, engine, norms=norms).largest_matrix(zs)

    assert largest([scalar, scalar], (None, some)) == 400
    assert largest([scalar, vector], (None, some)) == 400
    # K is needed anyway: for its norm, or for tiles of it.
    assert largest([scalar, vector], (some, None)) == 1024
    assert largest([scalar], (some,), norms=True) == 1024
    for engine, limit in (("dense", math.inf), ("exact", math.inf), ("factored", 0), ("strips", 0)):
        assert largest([vector], (None,), engine, norms=True) == limit


def test_labels_with_a_factor_keep_their_order():
    zs = [np.zeros(2), np.ones(2), np.full(2, 2.0)]
    some = factor(zs[0], 1.0, 1e-6)
    plan = SumPlan((1.0,) * 3, (some, None, some))
    assert [(z[0], f) for z, f in plan.with_factors(zs)] == [(0.0, some), (2.0, some)]
