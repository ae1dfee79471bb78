from dataclasses import replace

import numpy as np
import pytest

from augury.hsic import points
from augury.hsic.factors import factor
from augury.hsic.kernels import centre, label_kernel, unit_rows
from augury.hsic.moments import sum_moments
from augury.hsic.sums import ClassSums, PairSums, SpeechSums, SumPlan

import oracles

N = 1100  # more than the points whose products are computed together


def data(kinds=("scalar", "category")):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 4)) + 1
    labels = {"scalar": rng.random(N), "category": rng.integers(0, 3, N)}
    zs = [labels[kind] for kind in kinds]
    return x, zs, [factor(z, 0.3, 1e-14) for z in zs]


def sums_of_points(x, zs, factors, projections=(), *, slip=False, norms=False):
    rows = np.arange(len(x))
    centres = [np.zeros(len(f)) for f in factors]
    moments = sum_moments(x, rows, zs, factors, np.zeros(x.shape[1]), centres, True).centre()
    eigenvalues, vectors = np.linalg.eigh(moments.gram)
    return points.point_sums(
        x, rows, zs, factors, moments, (vectors, eigenvalues), projections, slip, norms
    )


def kernels(x, zs):
    U = unit_rows(x)
    K = centre(U @ U.T)
    return K, [centre(label_kernel(z, width=0.3)) for z in zs]


def others(A):
    """Each row's sum without its own entry on the diagonal."""
    return A.sum(axis=1) - np.diag(A)


#: Float64 sums of a thousand terms of order 1.
CLOSE = {"rtol": 1e-8, "atol": 1e-9}


def test_sums_of_each_point_are_those_of_its_rows():
    x, zs, factors = data()
    projections = np.random.default_rng(1).standard_normal((2, x.shape[1]))
    sums = sums_of_points(x, zs, factors, list(projections))
    K, Ls = kernels(x, zs)
    a = np.diag(K)
    for k, L in enumerate(Ls):
        assert np.allclose(sums.KL[:, k], others(K * L), **CLOSE)
        assert np.allclose(sums.LL[:, k], others(L * L), **CLOSE)
        assert np.allclose(sums.ab[:, k], a * np.diag(L), **CLOSE)
    assert np.allclose(sums.KK, others(K * K), **CLOSE)
    assert np.allclose(sums.a, a, **CLOSE)
    assert np.allclose(sums.Ka, K @ a, **CLOSE)
    U = unit_rows(x)
    assert np.allclose(sums.projections, (U - U.mean(axis=0)) @ projections.T, **CLOSE)


def test_with_norms_they_are_those_of_u_centred_rows():
    x, zs, factors = data()
    sums = sums_of_points(x, zs, factors, norms=True)
    K, Ls = kernels(x, zs)
    KU = oracles.u_centred(K)
    for k, L in enumerate(Ls):
        LU = oracles.u_centred(L)
        assert np.allclose(sums.KL[:, k], (KU * LU).sum(axis=1), **CLOSE)
        assert np.allclose(sums.LL[:, k], (LU * LU).sum(axis=1), **CLOSE)


def test_with_the_released_code_s_slip_the_label_is_not_centred():
    x, zs, factors = data()
    sums = sums_of_points(x, zs, factors, slip=True)
    U = unit_rows(x)
    U -= U.mean(axis=0) / N
    K = U @ U.T
    for k, z in enumerate(zs):
        assert np.allclose(sums.KL[:, k], others(K * label_kernel(z, width=0.3)), **CLOSE)
        assert np.allclose(sums.ab[:, k], np.diag(K), **CLOSE)
    assert np.allclose(sums.a, np.diag(K), **CLOSE)


def test_without_a_label_that_has_a_factor_there_are_only_sums_of_the_speech():
    x, _, _ = data()
    sums = sums_of_points(x, [], [])
    assert sums.KL.shape == sums.ab.shape == sums.LL.shape == (N, 0)
    K, _ = kernels(x, [])
    assert np.allclose(sums.KK, others(K * K), **CLOSE)


def parts_of(sums, ends=(400, N)):
    """As from tasks of consecutive points."""
    names = ("KL", "ab", "LL", "KK", "a", "Ka", "projections")
    begins = (0, *ends[:-1])
    return [
        points.PointSums(*(getattr(sums, name)[i:j] for name in names))
        for i, j in zip(begins, ends, strict=True)
    ]


@pytest.mark.parametrize("norms", [False, True])
def test_a_class_s_sums_get_those_of_its_points_label_by_label(norms):
    """The first label has no factor: its row sums of K∘L are only centred."""
    x, zs, factors = data()
    L = label_kernel(zs[0], width=0.3)
    U = unit_rows(x)
    U -= U.mean(axis=0)
    K, (HLH, category) = kernels(x, zs)
    a, b = np.diag(K), np.diag(HLH)
    sums = sums_of_points(x, zs[1:], factors[1:], [L.sum(axis=0) @ U], norms=norms)
    speech = SpeechSums(0.0, float(a.sum()), float(a @ a), float((K * K).sum()))
    pairs = [
        PairSums(
            float((K * M).sum()), float((M * M).sum()), float(a @ np.diag(M)), float(np.trace(M)),
            float(np.diag(M) @ np.diag(M)), 0.0,
        )
        for M in (HLH, category)
    ]  # fmt: skip
    pairs[0] = replace(
        pairs[0], each_KL=(K * L).sum(axis=1) - a * b, each_LL=others(HLH * HLH), each_ab=a * b
    )
    plan = SumPlan((0.3, 0.3), (None, factors[1]), norms=norms, points=True)
    before = ClassSums(np.arange(N), speech, tuple(pairs))
    after = points.add_point_sums(before, parts_of(sums), plan)
    assert after.rows is before.rows
    first, second = after.pairs
    assert np.array_equal(second.each_KL, sums.KL[:, 0])
    assert norms or np.array_equal(second.each_ab, sums.ab[:, 0])
    assert np.array_equal(second.each_LL, sums.LL[:, 0])
    # K is centred, so that centring L takes away only the products with L's row sums.
    centred = (K * L).sum(axis=1) - a * b - K @ L.sum(axis=1) / N
    if norms:
        KU = oracles.u_centred(K)
        assert np.allclose(after.speech.each_KK, (KU * KU).sum(axis=1), **CLOSE)
        exact = (KU * oracles.u_centred(HLH)).sum(axis=1)
        # Of terms that U-centring adds, those that hardly vary are left out.
        assert np.corrcoef(first.each_KL, exact)[0, 1] > 0.999
        assert np.abs(first.each_KL - exact).max() < 0.05 * np.abs(exact).max()
    else:
        assert after.speech.each_KK is None
        assert np.allclose(first.each_KL, centred, **CLOSE)
        # With the slip nothing is centred.
        plan = replace(plan, slip=True)
        same = points.add_point_sums(before, parts_of(sums), plan).pairs[0]
        assert np.array_equal(same.each_KL, pairs[0].each_KL)
