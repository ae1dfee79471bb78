import numpy as np
import pytest

from augury.hsic import factors, moments
from augury.hsic.kernels import unit_rows


def draw_points(n=50, d=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + 1
    zs = [rng.random(n), rng.integers(0, 3, n)]
    label_factors = [factors.factor(z, 0.3, 1e-14) for z in zs]
    return x, zs, label_factors


def of(x, zs, label_factors, rows, origin, centres, block=None):
    return moments.sum_moments(
        x, rows, [z[rows] for z in zs], label_factors, origin, centres, True, block
    )


def expected(x, zs, label_factors, rows, origin, centres):
    """The same by outer products, point by point."""
    U = unit_rows(x)[rows] - origin
    left = [np.concatenate([u, [u @ u, 1]]) for u in U]
    cross, labels = [], []
    for z, factor, centre in zip(zs, label_factors, centres, strict=True):
        phi = factor.columns(z[rows]) - centre
        right = [np.concatenate([p, [p @ p, 1]]) for p in phi]
        cross.append(sum(np.outer(a, b) for a, b in zip(left, right, strict=True)))
        labels.append(sum(np.outer(b, b) for b in right))
    return cross, labels, sum(np.outer(a, a) for a in left)


def check(sums, wanted):
    cross, labels, speech = wanted
    close = {"rtol": 1e-10, "atol": 1e-11}  # float64 sums of some dozen terms of order 1
    for own, exact in zip(sums.cross + sums.labels, cross + labels, strict=True):
        assert np.allclose(own, exact, **close)
    assert np.allclose(sums.gram, speech[:-2, :-2], **close)
    assert np.allclose(sums.ones, speech[:, -1], **close)
    assert np.allclose(sums.cubes, speech[:-2, -2], **close)
    assert sums.fourth == pytest.approx(speech[-2, -2], rel=1e-9)


@pytest.mark.parametrize("block", [7, 1000])
def test_moments_are_sums_of_outer_products_wherever_the_origin(block):
    x, zs, label_factors = draw_points()
    rows = np.arange(3, 40)
    rng = np.random.default_rng(1)
    first, second = (
        (rng.standard_normal(6), [rng.standard_normal(len(f)) for f in label_factors])
        for _ in range(2)
    )
    sums = of(x, zs, label_factors, rows, *first, block)
    check(sums, expected(x, zs, label_factors, rows, *first))
    check(sums.shift_to(*second), expected(x, zs, label_factors, rows, *second))


def test_moments_of_disjoint_points_add_up():
    x, zs, label_factors = draw_points()
    origin, centres = np.zeros(6), [np.zeros(len(f)) for f in label_factors]
    parts = [
        of(x, zs, label_factors, rows, origin, centres)
        for rows in (np.arange(20), np.arange(20, 50))
    ]
    check(parts[0] + parts[1], expected(x, zs, label_factors, np.arange(50), origin, centres))


def test_centred_moments_have_no_first_moment():
    x, zs, label_factors = draw_points()
    sums = of(
        x, zs, label_factors, np.arange(50), np.ones(6), [np.ones(len(f)) for f in label_factors]
    ).centre()
    assert np.abs(sums.ones[:-2]).max() < 1e-12
    assert np.abs(sums.labels[0][-1, :-2]).max() < 1e-12
    assert np.allclose(sums.origin, unit_rows(x).mean(axis=0), rtol=1e-12)


def test_leading_eigenvectors_carry_the_norm():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((300, 300)))[0]
    gram = (basis * 0.9 ** np.arange(300)) @ basis.T
    vectors, values = moments.leading_eigenvectors(gram)
    assert vectors.shape[1] < 100
    assert np.square(values).sum() == pytest.approx(np.vdot(gram, gram), rel=1e-4)
    assert np.allclose(gram @ vectors[:, -5:], vectors[:, -5:] * values[-5:], atol=1e-3)


def test_leading_eigenvectors_are_those_of_the_whole_decomposition():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((400, 400)) * 0.93 ** np.arange(400)
    gram = root @ root.T
    whole, basis = np.linalg.eigh(gram)
    for left_out in (1e-2, 1e-4, 1e-6):
        vectors, values = moments.leading_eigenvectors(gram, left_out)
        few = len(values)
        assert np.square(values).sum() >= (1 - left_out) * np.square(whole).sum()
        assert np.allclose(vectors.T @ vectors, np.eye(few), atol=1e-10)
        # What is not of the leading ones is bounded by what may be left out.
        error = np.linalg.norm(gram - (vectors * values) @ vectors.T) / np.linalg.norm(gram)
        assert error < 1.5 * np.sqrt(left_out)
        best = np.searchsorted(np.cumsum(np.square(whole[::-1])), (1 - left_out) * whole @ whole)
        assert few <= 1.2 * best + 2
        # An eigenvalue far above what is left out is that of the whole decomposition.
        assert np.allclose(values[-3:], whole[-3:], rtol=1e-3)
        assert np.abs(np.vecdot(vectors[:, -1], basis[:, -1])) > 0.999


@pytest.mark.parametrize("rank", [0, 1, 5])
@pytest.mark.parametrize("d", [20, 500])
def test_leading_eigenvectors_of_few_directions(rank, d):
    root = np.random.default_rng(0).standard_normal((d, rank))
    vectors, values = moments.leading_eigenvectors(root @ root.T)
    assert vectors.shape == (d, max(1, rank)) if rank < 2 else vectors.shape[1] <= rank
    assert np.allclose((vectors * values) @ vectors.T, root @ root.T, atol=1e-2 * rank * d)
