import numpy as np
import pytest
from scipy.special import erf, erfinv
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
    sums, by_class = relevance._label_kernel_sums(np.array(counts, float))
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
        centre(unit_rows(x) @ unit_rows(x).T),
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


def noise_by_quadrature(seconds, y, step):
    """The same from the whole matrix of points, and integrals over noise by Gauss and Hermite.

    `step`: which points count as equally long.
    """
    seconds, y, step = map(np.asarray, (seconds, y, step))
    n = len(seconds)
    variance = np.array([np.mean(1 / seconds[step == s]) for s in step])
    apart = variance[:, None] + variance  # the variance of a difference
    low, high = 0.0, 100.0
    for _ in range(100):  # the median distance, of a point to itself included
        width = (low + high) / 2
        below = erf(width / np.sqrt(2 * apart)).mean() < 0.5
        low, high = (width, high) if below else (low, width)
    # E exp(−d² / 2w²) of a normal d.
    expected = width / np.sqrt(width**2 + apart)
    Y = (y[:, None] == y).astype(float)

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = np.tile(weights / weights.sum(), n) / n
    values = (np.sqrt(variance)[:, None] * nodes).ravel()
    L = label_kernel(values, width=width)
    means = L @ weights
    L += weights @ means - means - means[:, None]
    norm = np.sqrt(hsic.unbiased_hsic(Y, Y) * (weights @ L**2 @ weights))
    at = np.repeat(np.arange(n), len(nodes))
    points = (centre(Y.copy())[np.ix_(at, at)] * L) @ weights
    spread = weights @ points**2 - (weights @ points) ** 2
    # The variance of the sum over n² pairs is 4 n³ that of a point's mean.
    KK = n * (n - 3) * hsic.unbiased_hsic(Y, Y)
    LL = n * (n - 3) * (weights @ L**2 @ weights)
    return (
        hsic.unbiased_hsic(Y, expected) / norm,
        2 * n * np.sqrt(n * spread) / np.sqrt(KK * LL),
    )


@pytest.mark.parametrize(
    ("seconds", "y"),
    [
        ([1, 1, 1, 4, 4, 4], [0, 0, 1, 0, 1, 1]),
        ([0.5, 0.5, 0.5, 0.5, 3.0, 3.0, 3.0, 1.0, 1.0], [0, 0, 0, 1, 1, 1, 1, 2, 2]),
    ],
)
def test_the_relevance_of_noise_is_the_integral_over_noise(seconds, y):
    steps = np.unique(seconds, return_inverse=True)[1]
    value, sd = relevance.noise_relevance(seconds, y)
    expected, expected_sd = noise_by_quadrature(seconds, y, steps)
    # The grid ends at four standard deviations, beyond which lie 6e-5 of the longest noise.
    assert value == pytest.approx(max(expected, 0), rel=2e-4, abs=1e-6)
    assert sd == pytest.approx(expected_sd, rel=2e-4)


def test_lengths_are_rounded_to_32_steps_of_equally_many():
    seconds = np.geomspace(0.2, 5, 64)
    y = (seconds > 0.9).astype(int)
    value, sd = relevance.noise_relevance(seconds, y)
    expected = noise_by_quadrature(seconds, y, np.arange(64) // 2)
    assert (value, sd) == pytest.approx(expected, rel=2e-4)


def test_noise_is_less_relevant_than_chance_where_lengths_are_balanced():
    """The U-statistic of such labels would be negative."""
    seconds, y = [1, 1, 4, 4], [0, 1, 0, 1]
    assert noise_by_quadrature(seconds, y, [0, 0, 1, 1])[0] < -0.01
    assert relevance.noise_relevance(seconds, y)[0] == 0


def test_lengths_that_are_too_few_or_impossible():
    for seconds, y in (([1, 2, 3], [0, 1, 0]), ([1, 2, 3, 0], [0, 1, 0, 1]), ([1] * 4, [5] * 4)):
        with pytest.raises(InputError, match="four segments longer than 0 s, and two classes"):
            relevance.noise_relevance(seconds, y)


def test_the_median_distance_of_normal_noise():
    # Of one standard deviation s: |d| has the median 2 s erf⁻¹(½) with d's variance 2 s².
    for sd in (0.01, 1.0, 100.0):
        width = relevance._median_width(np.array([[sd]]), np.ones((1, 1)))
        assert width == pytest.approx(2 * sd * erfinv(0.5))
    # Of a mixture it has half of the mass on either side.
    sds, shares = np.array([[1.0, 2.0], [2.0, 30.0]]), np.array([[0.04, 0.16], [0.16, 0.64]])
    width = relevance._median_width(sds, shares)
    assert (shares * erf(width / 2 / sds)).sum() == pytest.approx(0.5)
