import numpy as np
import pytest
from scipy.stats import pearson3

from augury import hsic
from augury.errors import InputError
from augury.hsic import relevance
from augury.hsic.factors import factor
from augury.hsic.kernels import centre, label_kernel, median_distance, standardise, unit_rows
from augury.hsic.relevance import Association
from augury.hsic.sums import PairSums, SpeechSums


def skew(A):
    return np.trace(A @ A @ A) / np.square(A).sum() ** 1.5


# -------------------------------------------------------------------------------- one association


def test_the_chance_to_exceed_a_value_is_pearson_s():
    found = Association(value=0.3, shuffled_sd=0.1, skew=0.8)
    assert found.p_above() == pytest.approx(pearson3.sf(3.0, 0.8))
    assert found.p_above(0.1) == pytest.approx(pearson3.sf(2.0, 0.8))
    # What is exceeded is uncertain itself, with a symmetric error: √(0.1² + 0.2²).
    sd = np.sqrt(0.05)
    expected = pearson3.sf(0.2 / sd, 0.8 * 0.1**3 / sd**3)
    assert found.p_above(0.1, 0.2) == pytest.approx(expected)


def test_moments_over_shuffles_by_hand():
    speech = SpeechSums(0.0, 6.0, aa=6.0, KK=9.0, skew=0.5)
    pair = PairSums(KL=4.0, LL=8.0, ab=3.0, b=5.0, bb=4.0, L=1.0, skew=0.4)
    found = relevance._association(speech, pair, 6)
    assert found.shuffled_sd == pytest.approx(np.sqrt(2 / 18))
    assert found.skew == pytest.approx(8 / 6**3 * 0.5 * 0.4 / (2 / 18) ** 1.5)


@pytest.mark.parametrize("counts", [(2, 3, 5), (1, 9), (4, 4)])
def test_sums_of_the_label_s_kernel_are_those_of_the_matrix(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    Y = centre((labels[:, None] == labels).astype(float))
    a = np.diag(Y)
    sums, by_class = relevance.label_kernel_sums(np.array(counts, float))
    assert np.allclose(by_class[labels], a)
    assert sums.total == 0
    assert (sums.a, sums.aa) == pytest.approx((a.sum(), a @ a))
    assert (sums.KK, sums.skew) == pytest.approx((np.square(Y).sum(), skew(Y)))


def test_sums_within_classes_whose_points_lie_in_several_blocks():
    n = 10_000
    rng = np.random.default_rng(0)
    codes = np.sort(rng.integers(0, 5, n))
    codes[-1] = 5  # a class of one point
    z = rng.random(n)
    own = factor(z, 0.5, 1e-8)
    centre_of = rng.random(len(own))
    phi = own.columns(z) - centre_of
    within, diagonal = relevance.within_class_sums(np.empty(0), z, codes, own, centre_of)
    sums = [phi[codes == c].sum(axis=0) for c in range(6)]
    assert within == pytest.approx(sum(s @ s for s in sums), rel=1e-10)
    squares = np.square(phi).sum(axis=1)
    assert np.allclose(diagonal, [squares[codes == c].sum() for c in range(6)], rtol=1e-10)


# ----------------------------------------------------------------------------------- associations


@pytest.mark.parametrize("engine", ["auto", "dense", "exact", "strips"])
def test_values_and_skewness_are_those_of_matrices(engine):
    n, rng = 60, np.random.default_rng(0)
    x, y = rng.standard_normal((n, 5)) + 1, rng.permutation(np.arange(n) % 3)
    z = x[:, 0] + y
    standard = standardise(z)
    K, L = (
        centre(unit_rows(x - x.mean(axis=0)) @ unit_rows(x - x.mean(axis=0)).T),
        label_kernel(standard, width=median_distance(standard)),
    )
    Y = (y[:, None] == y).astype(float)
    (dependence,), (of_label,) = hsic.associations(x, [z], y, engine=engine)
    variance = 2 / (n * (n - 3))
    for found, M in ((dependence, K), (of_label, centre(Y.copy()))):
        expected = hsic.unbiased_hsic(M, L)
        expected /= np.sqrt(hsic.unbiased_hsic(M, M) * hsic.unbiased_hsic(L, L))
        assert found.value == pytest.approx(expected, rel=1e-8)
        assert found.shuffled_sd == pytest.approx(np.sqrt(variance))
        third = 8 / n**3 * skew(M) * skew(centre(L.copy()))
        assert found.skew == pytest.approx(third / variance**1.5, rel=1e-6)


def test_scalars_and_categories_count_all_points_however_many():
    """More than the 1,000 that vectors are reduced to."""
    n, rng = 1050, np.random.default_rng(0)
    x, y = rng.standard_normal((n, 3)) + 1, np.arange(n) % 3
    zs = [x[:, 0] + rng.standard_normal(n), rng.integers(0, 4, n) + y]
    exact, found = (hsic.associations(x, zs, y, engine=engine) for engine in ("dense", "auto"))
    for own, other in zip(exact, found, strict=True):
        for one, same in zip(own, other, strict=True):
            assert same.value == pytest.approx(one.value, rel=1e-6)
            assert same.shuffled_sd == one.shuffled_sd == np.sqrt(2 / (n * (n - 3)))
    (estimate, _), *both = hsic.robust_with_associations(x, zs, y)
    assert (estimate.p_value, estimate.influence) == (None, None)  # only with points
    for own, other in zip(both, found, strict=True):
        for one, same in zip(own, other, strict=True):
            assert one.value == pytest.approx(same.value, rel=1e-9)


def test_associations_need_four_points_and_two_classes():
    x, z = np.random.default_rng(0).standard_normal((2, 5))
    x = x[:, None] * np.eye(5) + 1
    hsic.associations(x[:4], [z[:4]], [0, 1, 0, 1])
    for n, y in ((3, [0, 1, 0]), (5, [0] * 5)):
        for function in (hsic.associations, hsic.robust_with_associations):
            with pytest.raises(InputError, match="four points"):
                function(x[:n], [z[:n]], y)


# -------------------------------------------------------------------------------- noise's relevance
