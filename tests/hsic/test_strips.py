from dataclasses import replace

import numpy as np
import pytest

from augury.hsic import strips
from augury.hsic.correlation import u_centred_sum
from augury.hsic.kernels import centre, label_kernel, unit_rows
from augury.hsic.strips import RowSums, SortedLabel, TiledLabel
from augury.hsic.sums import SpeechSums, SumPlan, skewness

import oracles

WIDTH = 0.3
#: Float64 sums of up to two thousand terms of order 1.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def data(n, kind, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * n, 4)) + 1
    rows = rng.permutation(2 * n)[:n]  # of a class among others
    z = {
        "scalar": lambda: 20 * rng.random(n),
        "few values": lambda: rng.integers(0, 9, n) / 5,
        "category": lambda: rng.integers(0, 9, n) * 2,
        "vector": lambda: rng.standard_normal((n, 2)),
    }[kind]()
    return x, rows, z


def row_sums(x, rows, label):
    origin = unit_rows(x[rows]).mean(axis=0)
    results = iter([function(x, *rest) for function, *rest in label.tasks(rows, origin)])
    sums = label.add_up(results)
    assert next(results, None) is None
    return sums, unit_rows(x[rows]) - origin


def label_of(z, size):
    return TiledLabel(z, WIDTH, size) if z.ndim > 1 else SortedLabel.of(z, WIDTH, size)


@pytest.mark.parametrize("kind", ["scalar", "few values", "category", "vector"])
@pytest.mark.parametrize(("n", "size"), [(1, 2), (7, 2), (60, 13), (60, 100)])
def test_row_sums_are_those_of_matrices_in_the_order_of_the_points(kind, n, size):
    x, rows, z = data(n, kind)
    sums, U = row_sums(x, rows, label_of(z, size))
    K, L = U @ U.T, label_kernel(z, width=WIDTH)
    assert np.allclose(sums.each, (K * L).sum(axis=1), **CLOSE)
    assert np.allclose(sums.rows, L.sum(axis=1), **CLOSE)
    assert np.allclose(sums.squares, (L * L).sum(axis=1), **CLOSE)
    assert np.allclose(sums.a, np.diag(K), **CLOSE)
    assert np.allclose(sums.projection, L.sum(axis=1) @ U, **CLOSE)


@pytest.mark.parametrize("values", [5, 3000])
def test_many_points_near_each_other_are_summed_in_several_blocks(values):
    """A strip of 2,500 points; equal values are merged, also where a block ends between them."""
    rng = np.random.default_rng(1)
    n = 2500
    x, z = rng.standard_normal((n, 3)) + 1, rng.integers(0, values, n) / values
    label = SortedLabel.of(z, WIDTH, 2 if values == 5 else 400)
    sums, U = row_sums(x, np.arange(n), label)
    K, L = U @ U.T, label_kernel(z, width=WIDTH)
    assert np.allclose(sums.each, (K * L).sum(axis=1), **CLOSE)
    assert np.allclose(sums.rows, L.sum(axis=1), **CLOSE)
    assert np.allclose(sums.squares, (L * L).sum(axis=1), **CLOSE)
    assert np.allclose(sums.a, np.diag(K), **CLOSE)
    assert np.allclose(sums.projection, L.sum(axis=1) @ U, rtol=1e-9, atol=1e-6)


def test_strips_of_values_and_all_values_near_them():
    """L is below 1e-15 from σ·√(2·ln 1e15) = 8.31 σ on."""
    label = SortedLabel.of(np.array([9.0, 0.0, 1.0, 9.0, 9.32, 30.0]), 1.0, 2)
    assert label.values.tolist() == [0, 1, 9, 9.32, 30]
    assert label.order.tolist() == [1, 2, 0, 3, 4, 5]
    assert label.ends.tolist() == [1, 2, 4, 5, 6]
    # 9 is 8 from 1, and 9.32 is just beyond 8.31; 30 is near none.
    assert label.strips == (
        (slice(0, 2), slice(0, 3)),
        (slice(2, 4), slice(1, 4)),
        (slice(4, 5), slice(4, 5)),
    )
    near = SortedLabel.of(np.array([0.0, 8.311]), 1.0, 1)
    assert near.strips == ((slice(0, 1), slice(0, 2)), (slice(1, 2), slice(0, 2)))
    far = SortedLabel.of(np.array([0.0, 8.312]), 1.0, 1)
    assert far.strips == ((slice(0, 1), slice(0, 1)), (slice(1, 2), slice(1, 2)))
    # A category is near its own only.
    codes = SortedLabel.of(np.array([4, 3, 4]), 1.0, 1)
    assert codes.strips == ((slice(0, 1), slice(0, 1)), (slice(1, 2), slice(1, 2)))


def test_a_tile_off_the_diagonal_counts_for_both_its_sides():
    x, rows, z = data(5, "vector")
    origin = np.array([0.1, 0.0, -0.2, 0.0])
    U = unit_rows(x[rows]) - origin
    K, L = U @ U.T, label_kernel(z, width=WIDTH)
    own, other = slice(0, 2), slice(2, 5)
    first, second = strips.tile_sums(x, rows[own], z[own], rows[other], z[other], WIDTH, origin)
    K, L, V, U = K[own, other], L[own, other], U[other], U[own]
    for sums, axis in ((first, 1), (second, 0)):
        assert np.allclose(sums.each, (K * L).sum(axis=axis), **CLOSE)
        assert np.allclose(sums.rows, L.sum(axis=axis), **CLOSE)
        assert np.allclose(sums.squares, (L * L).sum(axis=axis), **CLOSE)
    assert np.allclose(first.a, np.square(U).sum(axis=1), **CLOSE)
    assert np.allclose(first.projection, L.sum(axis=1) @ U + L.sum(axis=0) @ V, **CLOSE)
    assert len(second.a) == len(second.projection) == 0
    alone, none = strips.tile_sums(x, rows[own], z[own], rows[own], z[own], WIDTH, origin)
    assert none is None
    assert np.allclose(alone.projection, label_kernel(z[own], width=WIDTH).sum(axis=1) @ U)


# ------------------------------------------------------------------------------ sums over pairs


def class_of(n, kind, **choices):
    """A label's sums with those of the rows, K and HLH."""
    x, rows, z = data(n, kind)
    label = label_of(z, 20)
    sums, U = row_sums(x, rows, label)
    K, L = U @ U.T, label_kernel(z, width=WIDTH)
    a = np.diag(K)
    speech = SpeechSums(0.0, float(a.sum()), float(a @ a), float((K * K).sum()))
    plan = SumPlan((WIDTH,), (None,), **choices)
    return label.pair_sums(sums, speech, plan), speech, K, L, sums


@pytest.mark.parametrize("kind", ["scalar", "category", "vector"])
@pytest.mark.parametrize("norms", [False, True])
def test_sums_over_pairs_follow_from_those_of_rows(kind, norms):
    pair, speech, K, L, _ = class_of(60, kind, norms=norms)
    M = centre(L.copy())
    a, b = np.diag(K), np.diag(M)
    assert pair.KL == pytest.approx((K * M).sum(), rel=1e-9)
    assert pair.LL == pytest.approx((M * M).sum(), rel=1e-9)
    assert pair.ab == pytest.approx(a @ b, rel=1e-9)
    assert (pair.b, pair.bb) == pytest.approx((b.sum(), b @ b), rel=1e-9)
    assert pair.L == pytest.approx(L.sum() - 60, rel=1e-9)
    assert pair.each_KL is pair.each_LL is pair.each_ab is None
    # Of each of n points at most n entries of L below 1e-15 are left out, of weight ≤ a.
    strips_of_floats = 60 * 1e-15 * speech.a
    assert pair.error == pytest.approx(strips_of_floats if kind != "category" else 0.0, rel=1e-12)


def test_with_the_released_code_s_slip_the_diagonal_is_1():
    pair, _, K, _, _ = class_of(60, "scalar", slip=True)
    assert pair.ab == pytest.approx(np.trace(K), rel=1e-12)
    assert (pair.b, pair.bb) == (60.0, 60.0)


@pytest.mark.parametrize(("factor", "constant"), [(0.99, True), (1.01, False)])
def test_a_label_that_is_constant_but_for_rounding_has_no_norm(factor, constant):
    """Below 1e-12 a pair; without norms nothing is divided by it."""
    n = 10
    rows = np.full(n, 5.0)
    # LL = Σ squares + (Σ rows / n)² − 2/n Σ rows²: 25 − 50 + what stands in squares.
    squares = np.full(n, (25 + factor * 1e-12 * n**2) / n)
    label = SortedLabel.of(np.linspace(0, 1, n), WIDTH, 5)
    sums = RowSums(np.ones(n), rows, squares, np.full(n, 0.5), np.zeros(3))
    speech = SpeechSums(0.0, 5.0)
    pair = label.pair_sums(sums, speech, SumPlan((WIDTH,), (None,), norms=True))
    assert (pair.LL == 0) == constant
    assert pair.LL == pytest.approx(0 if constant else factor * 1e-10, rel=1e-3)
    b = 0.0 if constant else 1 - 2 / n * 5 + 50 / n**2
    assert (pair.b, pair.bb, pair.ab) == pytest.approx((n * b, n * b**2, 0.5 * n * b))
    plain = label.pair_sums(sums, speech, SumPlan((WIDTH,), (None,)))
    assert plain.LL == pytest.approx(factor * 1e-10, rel=1e-3)


def test_sums_of_each_point_are_exact_where_row_sums_are_equal():
    """As on a circle of values: then nothing of what is left out remains."""
    n = 40
    z = np.repeat(np.arange(8.0), 5)[np.random.default_rng(0).permutation(n)] * 100
    rng = np.random.default_rng(2)
    U = rng.standard_normal((n, 3))
    U -= U.mean(axis=0)
    K, L = U @ U.T, label_kernel(z, width=1.0)
    M = centre(L.copy())
    a, b = np.diag(K), np.diag(M)
    label = SortedLabel.of(z, 1.0, 3)
    sums = RowSums((K * L).sum(axis=1), L.sum(axis=1), (L * L).sum(axis=1), a, L.sum(axis=1) @ U)
    speech = SpeechSums(0.0, float(a.sum()), float(a @ a), float((K * K).sum()))
    pair = label.pair_sums(sums, speech, SumPlan((1.0,), (None,), norms=True, points=True))
    assert np.allclose(pair.each_KL, (K * M).sum(axis=1) - a * b, **CLOSE)
    assert np.allclose(pair.each_ab, a * b, **CLOSE)
    assert np.allclose(pair.each_LL, (M * M).sum(axis=1) - b * b, **CLOSE)
    assert pair.skew == pytest.approx(skewness(M, float((M * M).sum())))


def test_each_point_s_square_where_row_sums_differ():
    """Centred as if near points had equal row sums: Σ L² − 3n l² + 2n m l + Σ l² − n m²."""
    z = np.array([0.0, 0.1, 0.5])
    L = label_kernel(z, width=WIDTH)
    l, m = L.mean(axis=1), L.mean()
    b = 1 - 2 * l + m
    expected = (L * L).sum(axis=1) - 9 * l**2 + 6 * m * l + l @ l - 3 * m**2 - b**2
    sums = RowSums(np.ones(3), 3 * l, (L * L).sum(axis=1), np.ones(3), np.zeros(2))
    plan = SumPlan((WIDTH,), (None,), points=True)
    pair = SortedLabel.of(z, WIDTH, 5).pair_sums(sums, SpeechSums(0.0, 3.0), plan)
    assert np.allclose(pair.each_LL, expected, **CLOSE)


# ---------------------------------------------------------------------------- sums of each point


def centred_points(n=50, spread=100.0):
    """A label of groups of equal values, of equal sizes: its L's rows have equal sums."""
    rng = np.random.default_rng(3)
    z = np.repeat(np.arange(n // 5) * spread, 5)
    U = rng.standard_normal((n, 3))
    U -= U.mean(axis=0)
    K, L = U @ U.T, label_kernel(z, width=1.0)
    a = np.diag(K)
    off = K - np.diag(a)
    each_KK = (off**2).sum(axis=1)  # not U-centred: any bound will do
    speech = SpeechSums(0.0, float(a.sum()), float(a @ a), float((K * K).sum()), each_KK=each_KK)
    label = SortedLabel.of(z, 1.0, 3)
    sums = RowSums((K * L).sum(axis=1), L.sum(axis=1), (L * L).sum(axis=1), a, L.sum(axis=1) @ U)
    pair = label.pair_sums(sums, speech, SumPlan((1.0,), (None,), norms=True, points=True))
    return pair, speech, K, L, a, U @ sums.projection


def test_centred_point_sums_are_u_centred_but_for_the_product_with_k_s_diagonal():
    pair, speech, K, L, a, along = centred_points()
    n = len(a)
    result = strips.centre_point_sums(pair, speech, a, along)
    M = centre(L.copy())
    b = np.diag(M)  # the same for all, so that nothing else is left out

    KU, LU = oracles.u_centred(K), oracles.u_centred(M)
    assert np.allclose(b, b[0])
    assert np.allclose(result.each_LL, (LU * LU).sum(axis=1), **CLOSE)
    bound = 1.1 * np.sqrt(speech.each_KK * result.each_LL)
    exact = (KU * LU).sum(axis=1) - M @ a / (n - 2)  # the product that is left out
    inside = np.abs(exact) < 0.95 * bound
    assert inside.sum() > n / 2
    assert np.allclose(result.each_KL[inside], exact[inside], rtol=1e-6, atol=1e-6)
    assert (result.each_LL >= 0).all()
    assert result.each_LL.sum() == pytest.approx(u_centred_sum(pair.LL, pair.bb, pair.b, pair.b, n))


def test_products_with_the_label_s_diagonal_count_where_it_varies():
    """Groups of unequal sizes; with a bound that cuts nothing, only M a / (n − 2) is left out."""
    rng = np.random.default_rng(5)
    z = np.repeat(np.arange(4.0) * 100, [3, 5, 9, 13])
    n = len(z)
    U = rng.standard_normal((n, 3))
    U -= U.mean(axis=0)
    K, L = U @ U.T, label_kernel(z, width=1.0)
    a = np.diag(K)
    label, projection = SortedLabel.of(z, 1.0, 3), L.sum(axis=1) @ U
    sums = RowSums((K * L).sum(axis=1), L.sum(axis=1), (L * L).sum(axis=1), a, projection)
    speech = SpeechSums(0.0, float(a.sum()), float(a @ a), 1.0, each_KK=np.full(n, 1e12))
    pair = label.pair_sums(sums, speech, SumPlan((1.0,), (None,), norms=True, points=True))
    result = strips.centre_point_sums(pair, speech, a, U @ projection)
    M = centre(L.copy())
    exact = (oracles.u_centred(K) * oracles.u_centred(M)).sum(axis=1) - M @ a / (n - 2)
    assert np.allclose(result.each_KL, exact, rtol=1e-6, atol=1e-8)


def test_point_sums_keep_to_the_bound_of_cauchy_and_schwarz():
    pair, speech, _, _, a, along = centred_points()
    low = replace(speech, each_KK=np.full(len(a), 1e-6))
    plain, cut = (strips.centre_point_sums(pair, s, a, along) for s in (speech, low))
    bound = 1.1 * np.sqrt(1e-6 * cut.each_LL)
    assert np.allclose(np.abs(cut.each_KL), np.minimum(np.abs(plain.each_KL), bound))
    assert (np.sign(cut.each_KL) == np.sign(plain.each_KL)).all()
    # Rounding below 0 bounds like 0.
    none = strips.centre_point_sums(pair, replace(speech, each_KK=np.full(len(a), -1.0)), a, along)
    assert not none.each_KL.any()


def test_a_point_at_the_origin_has_a_diagonal_of_0():
    pair, speech, _, _, a, along = centred_points()
    a, each_ab = a.copy(), pair.each_ab.copy()
    a[0] = each_ab[0] = 0.0
    with np.errstate(all="raise"):
        result = strips.centre_point_sums(replace(pair, each_ab=each_ab), speech, a, along)
    assert np.isfinite(result.each_KL).all()


def test_a_label_without_a_norm_has_no_sums_of_points():
    pair, speech, _, _, a, along = centred_points()
    flat = replace(pair, LL=0.0, b=0.0, bb=0.0, ab=0.0, each_ab=np.zeros(len(a)))
    with np.errstate(all="raise"):
        result = strips.centre_point_sums(flat, speech, a, along)
        # Rounding may make the whole sum negative, which no square is.
        negative = strips.centre_point_sums(replace(pair, LL=0.0), speech, a, along)
    assert u_centred_sum(0.0, pair.bb, pair.b, pair.b, len(a)) < 0
    for none in (result, negative):
        assert not none.each_LL.any()
        assert not none.each_KL.any()


def test_without_norms_only_the_products_with_row_sums_are_taken_away():
    pair, speech, _, _, a, along = centred_points()
    result = strips.centre_point_sums(pair, replace(speech, each_KK=None), a, along)
    assert np.allclose(result.each_KL, pair.each_KL - along / len(a), **CLOSE)
    assert result.each_LL is pair.each_LL
