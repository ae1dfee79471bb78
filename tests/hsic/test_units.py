import numpy as np
import pytest

from augury import hsic
from augury.hsic import units


def recordings(count, mean, rng):
    """Codes of recordings with at least one segment."""
    return np.repeat(np.arange(count), np.maximum(1, rng.poisson(mean, count)))


# ------------------------------------------------------------------------------ by hand, by loop


def test_chance_of_flips_is_that_of_all_signs():
    rng = np.random.default_rng(0)
    G = rng.standard_normal((6, 6))
    G += G.T
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    off = G - np.diag(np.diag(G))
    values = ((signs @ off) * signs).sum(axis=1)
    chance = units.chance_of_flips(float(off.sum()), G, 6)
    assert chance.variance == pytest.approx(values.var())
    assert chance.third == pytest.approx((values**3).mean())


def test_the_moments_of_some_units_stand_for_those_of_all():
    G = np.ones((4, 4))
    chance = units.chance_of_flips(1.0, G, 8)  # 56 of 12 pairs, 336 of 24 triples
    assert chance.variance == pytest.approx(2 * 12 * 56 / 12)
    assert chance.third == pytest.approx(8 * 24 * 336 / 24)


def relevance_by_loop(columns, y, codes):
    shares = np.bincount(y) / len(y)
    M = (y[:, None] == y) - shares[y][:, None] - shares[y] + shares @ shares
    product = (columns @ columns.T) * M
    members = np.eye(codes.max() + 1)[codes]
    G = members.T @ product @ members
    R = len(G)
    G -= np.diag(np.diag(G))
    return G.sum(), 2 * (R - 1) / (R - 3) * (G**2).sum()


@pytest.mark.parametrize("constant", [True, False])
def test_relevance_counts_pairs_of_different_units(constant):
    rng = np.random.default_rng(1)
    codes = recordings(12, 4, rng)
    y = codes % 3 if constant else rng.integers(0, 3, len(codes))
    columns = rng.standard_normal((len(codes), 2))
    columns -= columns.mean(axis=0)
    value, variance = relevance_by_loop(columns, y, codes)
    chance = units.relevance_by_units(columns, y, codes)
    assert chance.value == pytest.approx(value)
    assert chance.variance == pytest.approx(variance)


def test_single_points_have_the_relevance_of_all_pairs():
    """Up to the correction of the unbiased statistic, which is of order 1/n."""
    rng = np.random.default_rng(0)
    y = np.arange(900) % 3
    x, z = rng.standard_normal((900, 2)), y + rng.standard_normal(900)
    _, (of_pairs,) = hsic.associations(x, [z], y)
    _, (of_units,) = hsic.associations(x, [z], y, units=np.arange(900) // 1)
    assert of_units == of_pairs
    _, (doubled,) = hsic.associations(
        x.repeat(2, 0), [z.repeat(2)], y.repeat(2), units=np.arange(900).repeat(2)
    )
    assert doubled.value == pytest.approx(of_pairs.value, rel=0.02)
    assert doubled.skew > of_pairs.skew / 2


def test_the_statistic_is_that_of_means_and_of_covariances():
    """Against matrices: the unbiased HSIC of cells' means, and pairs of cells' covariances."""
    rng = np.random.default_rng(2)
    codes = recordings(9, 3, rng)
    n = len(codes)
    A, B = rng.standard_normal((n, 3)), rng.standard_normal((n, 2))
    y = np.arange(n) % 2
    value, variance = 0.0, 0.0
    for c in range(2):
        rows = np.flatnonzero(y == c)
        names, cell, sizes = np.unique(codes[rows], return_inverse=True, return_counts=True)
        of_cells = np.eye(len(names))[cell] / sizes[cell][:, None]
        a, b = of_cells.T @ A[rows], of_cells.T @ B[rows]
        m, own, weight = len(names), len(rows), len(rows) / len(names) ** 2
        K, L = a @ a.T, b @ b.T
        KL, KK, LL = (m * (m - 3) * hsic.unbiased_hsic(*p) for p in ((K, L), (K, K), (L, L)))
        value += weight * KL
        variance += weight**2 * KK * LL * 2 / (m * (m - 3))
        C = [
            (A[rows] - a[cell])[cell == k].T @ (B[rows] - b[cell])[cell == k]
            for k in range(len(names))
            if sizes[k] > 1
        ]
        G = np.array([[np.vdot(p, q) for q in C] for p in C])
        np.fill_diagonal(G, 0)
        value += G.sum() / own
        variance += 2 * (G**2).sum() / own**2
    cells = [units.ClassCells.of(np.flatnonzero(y == c), codes, A) for c in range(2)]
    chance, effect = units.dependence_by_units(cells, B, 9)
    assert chance.value == pytest.approx(value)
    assert chance.variance == pytest.approx(variance * effect)


# ---------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("agreement", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("label", ["speaker", "phone"])
def test_what_recordings_share_is_no_evidence(label, agreement):
    """z without information on label or speech, part of which its recording decides."""
    rng = np.random.default_rng(0)
    relevance, dependence = [], []
    for _ in range(12):
        codes = recordings(40, 4, rng)
        n = len(codes)
        y = codes // 4 if label == "speaker" else rng.integers(0, 5, n)
        x = rng.standard_normal((n, 8)) + rng.standard_normal((40, 8))[codes] + 3
        zs = [
            np.sqrt(agreement) * rng.standard_normal(40)[codes]
            + np.sqrt(1 - agreement) * rng.standard_normal(n)
            for _ in range(40)
        ]
        estimates, _, relevances = hsic.robust_with_associations(x, zs, y, points=True, units=codes)
        relevance += [own.p_above() for own in relevances]
        dependence += [own.p_value for own in estimates]
    # Standard errors of .01 and .005; benchmarks/calibration.py measures it closely.
    assert np.mean(np.array(dependence) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(relevance) < 0.01) < 0.025


def test_real_dependence_is_seen_through_recordings():
    rng = np.random.default_rng(0)
    codes = recordings(60, 5, rng)
    y = codes // 4
    x = rng.standard_normal((len(codes), 8)) + 3
    z = x[:, 0] + 0.5 * y
    (one,), _, (relevance,) = hsic.robust_with_associations(x, [z], y, points=True, units=codes)
    assert one.p_value < 1e-6
    assert relevance.p_above() < 1e-4


def test_units_may_be_many():
    rng = np.random.default_rng(0)
    codes = np.arange(3000) // 2
    y = rng.integers(0, 4, 3000)
    x, z = rng.standard_normal((3000, 6)), rng.standard_normal(3000)
    (one,), _, (relevance,) = hsic.robust_with_associations(x, [z], y, points=True, units=codes)
    assert 0 < one.p_value < 1
    assert relevance.shuffled_sd > 0
    assert one.design_effect == pytest.approx(1, abs=0.1)
