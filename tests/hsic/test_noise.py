import numpy as np
import pytest
from scipy.special import erf, erfinv

from augury import hsic
from augury.errors import InputError
from augury.hsic import noise, relevance
from augury.hsic.kernels import centre, label_kernel
from augury.hsic.noise import noise_relevance


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
    value, sd = noise_relevance(seconds, y)
    expected, expected_sd = noise_by_quadrature(seconds, y, steps)
    # The grid ends at four standard deviations, beyond which lie 6e-5 of the longest noise.
    assert value == pytest.approx(max(expected, 0), rel=2e-4, abs=1e-6)
    assert sd == pytest.approx(expected_sd, rel=2e-4)


def test_lengths_are_rounded_to_32_steps_of_equally_many():
    seconds = np.geomspace(0.2, 5, 64)
    y = (seconds > 0.9).astype(int)
    value, sd = noise_relevance(seconds, y)
    expected = noise_by_quadrature(seconds, y, np.arange(64) // 2)
    assert (value, sd) == pytest.approx(expected, rel=2e-4)


def test_noise_is_less_relevant_than_chance_where_lengths_are_balanced():
    """The U-statistic of such labels would be negative."""
    seconds, y = [1, 1, 4, 4], [0, 1, 0, 1]
    assert noise_by_quadrature(seconds, y, [0, 0, 1, 1])[0] < -0.01
    assert noise_relevance(seconds, y)[0] == 0


def test_the_relevance_of_noise_where_recordings_share_their_length():
    """Its mean and standard deviation are those of drawing lengths and noise again."""
    rng = np.random.default_rng(4)
    units = np.repeat(np.arange(40), 5)
    kinds = {"own": [], "shared": []}
    values = []
    for _ in range(60):
        y = np.repeat(rng.integers(0, 3, 40), 5)
        seconds = np.where(rng.random(40) < 0.2 + 0.3 * y[::5], 0.2, 3.0)[units]
        kinds["own"].append(noise_relevance(seconds, y))
        kinds["shared"].append(noise_relevance(seconds, y, units))
        z = rng.standard_normal((200, 8)) / np.sqrt(seconds[:, None])
        _, relevances = relevance.associations(z, list(z.T), y, units=units)
        values.append(np.mean([own.value for own in relevances]))
    (alone, _), (mean, sd) = (np.mean(kinds[name], axis=0) for name in ("own", "shared"))
    assert mean == pytest.approx(np.mean(values), rel=0.1)
    assert sd == pytest.approx(np.std([value for value, _ in kinds["shared"]]), rel=0.3)
    assert alone > 1.05 * mean  # it counts pairs inside recordings, which agree in length and label


def test_units_of_single_segments_change_nothing():
    seconds, y = np.tile([0.5, 1.0, 2.0], 20), np.arange(60) // 20
    one_by_one = noise_relevance(seconds * (1 + y), y, np.arange(60))
    assert one_by_one == noise_relevance(seconds * (1 + y), y)


def test_lengths_that_are_too_few_or_impossible():
    for seconds, y in (([1, 2, 3], [0, 1, 0]), ([1, 2, 3, 0], [0, 1, 0, 1]), ([1] * 4, [5] * 4)):
        with pytest.raises(InputError, match="four segments longer than 0 s, and two classes"):
            noise_relevance(seconds, y)


def test_the_median_distance_of_normal_noise():
    # Of one standard deviation s: |d| has the median 2 s erf⁻¹(½) with d's variance 2 s².
    for sd in (0.01, 1.0, 100.0):
        width = noise._median_width(np.array([[sd]]), np.ones((1, 1)))
        assert width == pytest.approx(2 * sd * erfinv(0.5))
    # Of a mixture it has half of the mass on either side.
    sds, shares = np.array([[1.0, 2.0], [2.0, 30.0]]), np.array([[0.04, 0.16], [0.16, 0.64]])
    width = noise._median_width(sds, shares)
    assert (shares * erf(width / 2 / sds)).sum() == pytest.approx(0.5)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_relevance_of_categories_drawn_for_each_frame(grouped):
    """Counts of many frames are alike: lengths that depend on the label make noise relevant."""
    rng = np.random.default_rng(6)
    y = np.repeat(rng.integers(0, 2, 60), 4)
    units = np.repeat(np.arange(60), 4) if grouped else None
    lengths = 2 + 20 * y + rng.integers(0, 3, len(y))
    shares = rng.dirichlet(np.ones(8))
    values = []
    for _ in range(12):
        z = rng.multinomial(lengths, shares)
        values.append(relevance.label_relevance(z, y, units).value)
    mean, sd = noise.noise_relevance_of_counts(z, y, units)
    assert mean == pytest.approx(np.mean(values), abs=4 * np.std(values) / np.sqrt(12) + 4 * sd)
    assert mean > 10 * sd > 0
    assert noise.noise_relevance_of_counts(z, rng.permutation(y), units)[0] < mean / 5
