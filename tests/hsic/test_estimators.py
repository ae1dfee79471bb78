import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from augury import hsic
from augury.errors import InputError
from augury.hsic import estimators
from augury.hsic.kernels import label_kernel, median_distance, standardise
from augury.hsic.sums import ClassSums, PairSums, SpeechSums

import oracles


def data(n=60, classes=3, d=7, dims=1, seed=0, link=0.7):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    x = rng.standard_normal((n, d)) + 2
    z = link * x[:, :dims] + rng.standard_normal((n, dims)) + y[:, None]
    return x, z if dims > 1 else z[:, 0], y


def rows(z):
    return np.reshape(z, (len(z), -1)).tolist()


# ---------------------------------------------------------------- against plain-loop oracles

# Sums of a few thousand float64 terms of order 1: rounding is near 1e-13 relative.
TIGHT = 1e-10


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("unit", [1.0, 80.0, 1e-3])
def test_paper_and_released_equal_the_plain_loops(dims, unit):
    x, z, y = data(n=40, dims=dims)
    z = z * unit
    expected = pytest.approx(oracles.paper(x, rows(z), y), rel=TIGHT)
    assert hsic.paper(x, [z], y)[0].score == expected
    assert hsic.conditional_hsic(x, z, y) == expected
    score = hsic.released(x, [z], y)[0].score
    assert score == pytest.approx(oracles.released(x, rows(z), y), rel=TIGHT)


@pytest.mark.parametrize("dims", [1, 2])
def test_robust_equals_the_quadruple_loop(dims):
    x, z, y = data(n=21, dims=dims)
    score = hsic.robust(x, [z], y)[0].score
    assert score == pytest.approx(oracles.robust(x, rows(z), y), rel=TIGHT)


def test_classes_beyond_a_tile_and_beyond_dense_equal_the_plain_formula():
    """Both engines, several tiles: one class of 700 against eq. 3 with matrices."""
    x, z, _ = data(n=700, classes=1, d=5)
    K = hsic.cosine_kernel(x)
    L = label_kernel(z, width=0.05)
    score = hsic.paper(x, [z], np.zeros(700))[0].score
    assert score == pytest.approx(hsic.hsic(K, L), rel=TIGHT)
    z1 = standardise(z)
    L1 = label_kernel(z1, width=median_distance(z1))
    expected = hsic.normalised_hsic((hsic.cosine_kernel(x - x.mean(axis=0)), L1))
    assert hsic.robust(x, [z], np.zeros(700))[0].score == pytest.approx(expected, rel=TIGHT)
    (total,), _ = hsic.associations(x, [z], np.arange(700) % 2)
    assert total.value == pytest.approx(expected, rel=TIGHT)


@pytest.mark.parametrize("estimator", ["paper", "released", "robust"])
@pytest.mark.parametrize("engine", ["dense", "factored", "strips"])
def test_estimators_do_not_depend_on_the_engine(estimator, engine):
    x, z, y = data(n=3000, classes=2, d=20)
    zs = [z, 100 * z, np.stack([z, z**2], axis=1), (z > 0).astype(int)]
    function = getattr(hsic, estimator)
    expected = [estimate.score for estimate in function(x, zs, y)]
    # A factor may be off by 1e-6 by its tolerance; the others are exact.
    scores = [estimate.score for estimate in function(x, zs, y, engine=engine)]
    assert scores == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("estimator", ["paper", "released", "robust"])
@pytest.mark.parametrize("engine", ["auto", "dense", "factored", "strips"])
@pytest.mark.parametrize("n", [7, 40, 450])
def test_every_engine_equals_the_equations(estimator, engine, n):
    x, z, y = data(n=n, classes=2)
    zs = [z, 50 * z, np.stack([z, z**2, x[:, 1]], axis=1), (z > 0).astype(int), np.zeros(n)]
    function = getattr(hsic, estimator)
    defined = function(x, zs, y, engine="exact", points=True)
    estimates = function(x, zs, y, engine=engine, points=True, tolerance=1e-9)
    for exact, estimate in zip(defined, estimates, strict=True):
        # Means of n² terms of order 1: the absolute part is their rounding.
        assert estimate.score == pytest.approx(exact.score, rel=1e-8, abs=1e-13)
        close = {"rtol": 1e-8, "atol": 1e-12, "equal_nan": True}
        assert np.allclose(estimate.classes, exact.classes, **close)
        assert estimate.spread == pytest.approx(exact.spread, rel=1e-9, abs=1e-9)
        assert estimate.shuffled == pytest.approx(exact.shuffled, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("engine", ["auto", "dense", "factored"])
def test_associations_are_normalised_hsic_of_all_points(engine):
    x, z, y = data(n=450, classes=3)
    zs = [z, (z > 0).astype(int)]
    defined = hsic.associations(x, zs, y, engine="exact")
    both = hsic.robust_with_associations(x, zs, y, engine=engine)[1:]
    for exact, found in zip(defined, both, strict=True):
        for one, other in zip(exact, found, strict=True):
            assert other.value == pytest.approx(one.value, rel=1e-8)
            # The skewness of a factor's few columns leaves out 1e-4 of the norm.
            assert (other.shuffled_sd, other.skew) == pytest.approx(
                (one.shuffled_sd, one.skew), rel=1e-3
            )


@pytest.mark.parametrize("estimator", ["paper", "released", "robust", "associations"])
def test_an_unknown_engine_is_an_input_error(estimator):
    x, z, y = data()
    with pytest.raises(InputError, match=r"engine is 'dens', .* did you mean dense\?"):
        getattr(hsic, estimator)(x, [z], y, engine="dens")


def test_unbiased_hsic_equals_its_definition_and_dcor():
    import dcor  # compiles when imported: here, so that not every worker does it at once

    x, z, _ = data(n=9, classes=1)
    K, L = hsic.cosine_kernel(x), label_kernel(z, width=1.0)
    assert hsic.unbiased_hsic(K, L) == pytest.approx(
        oracles.unbiased(K.tolist(), L.tolist()), rel=TIGHT
    )
    # HSIC of minus half the distances is the squared distance covariance (Sejdinovic et al. 2013).
    a, b = (np.abs(v[:, None] - v[None, :]) for v in (x[:, 0], z))
    assert hsic.unbiased_hsic(-a, -b) == pytest.approx(
        float(dcor.u_distance_covariance_sqr(x[:, 0], z)), rel=TIGHT
    )


def test_linear_kernels_give_the_cross_covariance():
    x, z, _ = data(n=30, classes=1, d=4, dims=3)
    X, Z = x - x.mean(axis=0), z - z.mean(axis=0)
    expected = np.square(X.T @ Z).sum() / 30**2
    assert hsic.hsic(x @ x.T, z @ z.T) == pytest.approx(expected, rel=TIGHT)


def test_relevance_equals_the_dense_formula():
    x, z, y = data(n=50, classes=4)
    z1 = standardise(z)
    L = label_kernel(z1, width=median_distance(z1))
    Y = (y[:, None] == y[None, :]).astype(float)
    u = hsic.unbiased_hsic
    _, (relevance,) = hsic.associations(x, [z], y)
    assert relevance.value == pytest.approx(u(L, Y) / math.sqrt(u(L, L) * u(Y, Y)), rel=TIGHT)


# ------------------------------------------------------------------------------------- by hand


def test_two_points_by_hand():
    """Orthogonal speech, labels one width apart: K = I, L_12 = e^-½, HSIC = (1 − e^-½)·½ / 2."""
    x = np.eye(2)
    z = np.array([0.0, 0.05])
    assert hsic.conditional_hsic(x, z, [0, 0]) == pytest.approx((1 - math.exp(-0.5)) / 4, rel=1e-12)


def test_a_score_and_all_that_goes_with_it_by_hand():
    """A class of two points, one that is not scored, and one of three."""
    speech = SpeechSums(total=0.5, a=1.5), SpeechSums(total=0.0, a=2.0)
    first = PairSums(
        KL=0.8, LL=1.0, ab=1.0, b=1.0, bb=1.0, L=1.2, error=0.01,
        each_KL=np.array([0.1, 0.3]), each_ab=np.array([0.2, 0.6]),
    )  # fmt: skip
    second = PairSums(
        KL=1.8, LL=1.0, ab=1.0, b=1.0, bb=1.0, L=1.5, error=0.03,
        each_KL=np.array([0.0, 0.2, 0.4]), each_ab=np.array([0.5, 0.5, 0.2]),
    )  # fmt: skip
    sums = [
        ClassSums(np.array([0, 2]), speech[0], (first,)),
        None,
        ClassSums(np.array([1, 4, 5]), speech[1], (second,)),
    ]
    divisor, shares = np.array([4.0, 1.0, 9.0]), np.array([0.4, 0.1, 0.5])

    def found(weighted):
        (estimate,) = estimators._from_sums(sums, [np.zeros(6)], divisor, shares, weighted=weighted)
        return estimate

    estimate = found(weighted=False)
    assert estimate.score == pytest.approx(0.4 * 0.2 + 0.5 * 0.2)
    assert estimate.classes.tolist() == pytest.approx([0.2, 0, 0.2])
    # Over shuffles: tr K, and the rest of ΣK by the mean of L: (0.5 − 1.5)·0.6 and (0 − 2)/4.
    assert estimate.shuffled == pytest.approx(0.1 * 0.9 + 0.5 / 9 * 1.5)
    assert estimate.shuffled_sd is None
    # Of the 2 + 6 pairs 1.2 + 1.5 are alike.
    assert estimate.spread == pytest.approx((8 - 2.7) / 8)
    assert estimate.error == pytest.approx((0.1 * 0.01 + 0.5 / 9 * 0.03) / 0.18)
    # 2 · each_KL + each_ab: 0.4 and 1.2; 0.5, 0.9 and 1.0.
    slopes = np.array([-0.04, 0.5 / 9 * -0.3, 0.04, 0.0, 0.5 / 9 * 0.1, 0.5 / 9 * 0.2])
    assert estimate.influence == pytest.approx(slopes)
    # A point's weight also increases its class's share, of five points.
    more = np.array([0.02, 0.02, 0.02, 0.0, 0.02, 0.02]) / 5
    assert found(weighted=True).influence == pytest.approx(slopes + more)
    # Where chance scores more, errors are relative to it.
    sums[2] = None
    assert found(weighted=False).error == pytest.approx(0.1 * 0.01 / (0.1 * 0.9))
    sums[0] = None
    empty = found(weighted=False)
    assert (empty.score, empty.spread, empty.error, empty.influence) == (0, 0, 0, None)


@pytest.mark.parametrize("estimator", ["paper", "released"])
def test_the_mean_over_all_shuffles_is_exact(estimator):
    """All 24 orders of a class of four; the other's four values are equal."""
    x, _, _ = data(n=8, classes=1, d=3)
    y = np.repeat([0, 1], 4)
    z = np.array([0.0, 0.1, 0.3, 0.35, 1.0, 1.0, 1.0, 1.0])
    function = getattr(hsic, estimator)
    scores = [
        function(x, [z[[*order, 4, 5, 6, 7]]], y)[0].score
        for order in itertools.permutations(range(4))
    ]
    assert function(x, [z], y)[0].shuffled == pytest.approx(np.mean(scores), rel=1e-12)


def test_the_spread_is_that_of_pairs_within_classes():
    x, _, _ = data(n=5, classes=1)
    y, z = [0, 0, 1, 1, 1], np.array([0.0, 0.05, 0.7, 0.7, 0.7])
    # One pair of four is a width apart, and the rest are equal.
    assert hsic.paper(x, [z], y)[0].spread == pytest.approx((1 - math.exp(-0.5)) / 4)
    # The released code's width is √0.05.
    y, z = [0] * 5, np.array([0.0, math.sqrt(0.05), 0.0, 0.0, 0.0])
    (found,) = hsic.released(x, [z], y)
    assert found.spread == pytest.approx(0.4 * (1 - math.exp(-0.5)))
    (wider,) = hsic.released(x, [z], y, scale=2.0)
    assert wider.spread == pytest.approx(0.4 * (1 - math.exp(-1 / 8)))


def test_the_released_code_scores_classes_of_four_points_and_not_of_three():
    x, z, _ = data(n=11, classes=1, d=3)
    y = np.repeat([0, 1, 2], [4, 3, 4])
    (found,) = hsic.released(x, [z], y, points=True)
    assert found.classes[1] == 0
    assert found.shares.tolist() == [1 / 3] * 3
    parts = [
        hsic.released(x[y == c], [z[y == c]], np.zeros(4), engine="exact")[0].score for c in (0, 2)
    ]
    assert found.classes[[0, 2]] == pytest.approx(parts)
    assert found.score == pytest.approx(sum(parts) / 3)
    K = np.eye(3)
    assert estimators.released_hsic(K, K) == 0
    assert estimators.released_hsic(np.eye(4), np.eye(4)) == pytest.approx(
        np.trace(np.linalg.matrix_power(np.eye(4) - 1 / 16, 2)) / 9
    )
    # Its points have no influence.
    assert not found.influence[y == 1].any()


def test_identity_label_kernel_has_a_closed_form():
    """Labels far apart: L = I, so HSIC = tr(HKH) / n² = (n − ΣK/n) / n²."""
    x, _, _ = data(n=12, classes=1)
    K = hsic.cosine_kernel(x)
    expected = (12 - K.sum() / 12) / 144
    assert hsic.conditional_hsic(x, np.arange(12.0), np.zeros(12)) == pytest.approx(
        expected, rel=TIGHT
    )


def test_shares_and_classes_make_the_score():
    x, z, y = data(n=50, classes=4)
    for found in (
        hsic.paper(x, [z], y)[0],
        hsic.released(x, [z], y)[0],
        hsic.robust(x, [z], y)[0],
    ):
        whole = 0.99 if found.shuffled_sd else 1  # robust: 1 if all classes have the same norms
        assert whole - 0.1 < found.shares.sum() <= 1 + 1e-12
        assert found.shares @ found.classes == pytest.approx(found.score, rel=1e-12)


# ---------------------------------------------------------------------------------------- laws


def test_a_common_gain_and_equalisation_have_no_effect_on_robust():
    """Log-mel in dB: a gain adds a constant, an equalisation one to each band."""
    x, z, y = data(n=60, classes=2)
    for added in (-30.0, 10.0, np.linspace(-20, 20, x.shape[1])):
        before, (dependence,), _ = hsic.robust_with_associations(x, [z], y)
        after, (louder,), _ = hsic.robust_with_associations(x + added, [z], y)
        assert after[0].score == pytest.approx(before[0].score, rel=1e-9)
        assert louder.value == pytest.approx(dependence.value, rel=1e-9)


def test_one_population_has_one_score_whatever_the_classes_sizes():
    """Cut into classes of 4 to 800: a rare event, a scalar, and an event of half the points."""
    rng = np.random.default_rng(0)
    n = 4800
    u = rng.standard_normal((n, 10))
    x = u * np.r_[4, 3, 2, np.ones(7)]
    noise = rng.standard_normal((3, n))
    zs = [
        (u[:, 0] + 0.3 * noise[0] > 1.9) * 1.0,
        0.3 * u[:, 0] + noise[1],
        (u[:, 0] + noise[2] > 0) * 1.0,
    ]
    scores = np.array(
        [
            [own.score for own in hsic.robust(x, zs, np.arange(n) // size)]
            for size in (4, 24, 100, 800)
        ]
    )
    assert (scores.argsort(axis=1) == scores[-1].argsort()).all()
    # The standard deviation by chance is .012 in classes of 4, and far smaller in larger ones.
    assert np.abs(scores - scores[-1]).max() < 0.04
    assert np.abs(scores[1:] - scores[-1]).max() < 0.015


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
    sign=st.sampled_from([-1, 1]),
    gain=st.floats(1e-8, 1e8),
    seed=st.integers(0, 2**31),
)
def test_robust_ignores_units_gain_and_order(scale, shift, sign, gain, seed):
    x, z, y = data(n=80, classes=3, dims=1, seed=seed % 5)
    order = np.random.default_rng(seed).permutation(80)
    moved = (z * scale * sign + shift * scale)[order]
    # shift/scale of 1e3 loses three digits of z's sixteen; 1e-9 is the promise.
    before, after = hsic.robust(x, [z], y), hsic.robust(x[order] * gain, [moved], y[order])
    assert after[0].score == pytest.approx(before[0].score, rel=1e-9)
    before, after = (
        hsic.associations(x, [z], y),
        hsic.associations(x[order] * gain, [moved], y[order]),
    )
    for (one,), (other,) in zip(before, after, strict=True):
        assert other.value == pytest.approx(one.value, rel=1e-9)


def test_paper_depends_on_units_which_is_why_robust_exists():
    x, z, y = data()
    one, other = (hsic.conditional_hsic(x, z * unit, y) for unit in (1.0, 0.02))
    assert abs(one / other - 1) > 0.1


@pytest.mark.parametrize("estimator", ["paper", "released"])
def test_order_of_points_does_not_matter(estimator):
    x, z, y = data()
    order = np.random.default_rng(1).permutation(len(y))
    function = getattr(hsic, estimator)
    before, after = function(x, [z], y)[0], function(x[order], [z[order]], y[order])[0]
    assert after.score == pytest.approx(before.score, rel=TIGHT)


def test_sharing_the_speech_changes_nothing():
    x, z, y = data()
    both = hsic.paper(x, [z, z**2], y)
    assert both[1].score == hsic.paper(x, [z**2], y)[0].score


# ------------------------------------------------------------------- shuffles and independence


@pytest.mark.parametrize("estimator", ["paper", "released", "robust"])
def test_shuffled_is_the_mean_over_shuffles(estimator):
    rng = np.random.default_rng(3)
    x, z, y = data(n=45, classes=3)
    z = z * 0.1

    def score(z):
        return getattr(hsic, estimator)(x, [z], y)[0]

    def shuffled():
        result = z.copy()
        for c in np.unique(y):
            result[y == c] = rng.permutation(result[y == c])
        return result

    exact = score(z)
    scores = np.array([score(shuffled()).score for _ in range(800)])
    error = scores.std() / math.sqrt(len(scores))
    assert abs(scores.mean() - exact.shuffled) < 4 * error
    if estimator == "robust":
        # The sd of an sd over 800 draws is about 3 %; 12 % is four of them.
        assert scores.std() == pytest.approx(exact.shuffled_sd, rel=0.12)


@pytest.mark.parametrize("n", [5, 20, 200])
def test_on_independent_data_robust_is_0_and_the_papers_is_not(n):
    rng = np.random.default_rng(n)
    unbiased, biased = [], []
    for _ in range(300):
        x, z = rng.standard_normal((n, 6)) + 1, rng.standard_normal(n)
        unbiased.append(hsic.robust(x, [z], np.zeros(n))[0].score)
        biased.append(hsic.conditional_hsic(x, z, np.zeros(n)))
    unbiased, biased = np.array(unbiased), np.array(biased)
    error = 1 / math.sqrt(300)
    # Three standard errors: fails once in 370 seeds, and the seed is fixed.
    assert abs(unbiased.mean()) < 3 * unbiased.std() * error
    assert biased.mean() > 10 * biased.std() * error


def test_noise_has_no_relevance_and_a_label_has():
    rng = np.random.default_rng(5)
    x, z, y = data(n=400)
    _, (noise, label) = hsic.associations(x, [rng.standard_normal(400), y + 0.1 * z], y)
    assert abs(noise.value) < 3 * noise.shuffled_sd
    assert label.value > 30 * label.shuffled_sd


def test_noise_averaged_over_segments_has_the_relevance_predicted():
    """Three standard errors of 60 draws, whose lengths spread by label, within, or not at all."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 8, 1500)
    for by_label, within in ((0.5, 0.5), (1.5, 0.2), (0.0, 0.5)):
        shift = by_label * rng.standard_normal(8)
        frames = np.ceil(np.exp(rng.normal(3 + shift[y], within)))
        draws = [rng.standard_normal(1500) / np.sqrt(frames) for _ in range(60)]
        _, found = hsic.associations(np.ones((1500, 1)), draws, y)
        values = np.array([one.value for one in found])
        expected, sd = hsic.noise_relevance(frames / 100, y)
        deviation = math.hypot(sd, found[0].shuffled_sd)
        assert abs(values.mean() - expected) < 3 * deviation / math.sqrt(60) + 0.03 * expected
        assert 0.6 < values.std() / deviation < 1.4
        assert np.mean([one.p_above(expected, sd) < 0.05 for one in found]) < 0.2
        # Whatever the unit of length.
        assert hsic.noise_relevance(frames, y) == pytest.approx((expected, sd), rel=1e-6, abs=1e-9)


# ---------------------------------------------------------------------------------- odd cases


def test_lengths_that_are_equal_or_impossible():
    y = np.arange(40) % 4
    assert hsic.noise_relevance(np.full(40, 0.5), y) == pytest.approx((0, 0), abs=1e-9)
    for lengths, labels in ((np.zeros(40), y), (np.full(40, np.nan), y), (np.ones(40), y * 0)):
        with pytest.raises(ValueError, match="longer than 0 s, and two classes"):
            hsic.noise_relevance(lengths, labels)


def test_one_point_two_points_and_constant_labels():
    x, z, _ = data(n=6, classes=1)
    assert hsic.conditional_hsic(x[:1], z[:1], [0]) == 0
    assert hsic.released(x[:3], [z[:3]], [0, 0, 0])[0].score == 0
    assert hsic.conditional_hsic(x, np.ones(6), np.zeros(6)) == pytest.approx(0, abs=1e-15)
    with pytest.raises(ValueError, match="four points"):
        hsic.robust(x[:3], [z[:3]], [0, 0, 0])


def test_a_class_where_z_is_constant_scores_0_and_small_classes_are_not_scored():
    x, z, _ = data(n=13, classes=1)
    y = np.repeat([0, 1, 2], [5, 6, 2])
    z = np.where(y == 0, 3.0, z)
    (found,) = hsic.robust(x, [z], y)
    assert found.classes[0] == 0
    assert np.isnan(found.classes[2])
    assert found.shares[2] == 0
    assert np.isfinite(found.score)


def test_zero_rows_and_extreme_scales_stay_finite():
    x, z, y = data(n=20, classes=2)
    x[3] = 0
    for scale in (1e-200, 1e200):
        for found in (
            hsic.paper(x * scale, [z], y)[0],
            hsic.robust(x * scale, [z * scale], y)[0],
        ):
            assert np.isfinite(found.score)


def test_categories_use_the_equality_kernel():
    x, _, y = data(n=60, classes=2, d=100)
    codes = np.random.default_rng(0).integers(0, 3, 60)
    one_hot = np.eye(3)[codes]
    K, L = hsic.cosine_kernel((x - x.mean(axis=0))[y == 0]), one_hot[y == 0] @ one_hot[y == 0].T
    expected = hsic.normalised_hsic((K, L))
    (found,) = hsic.robust(x, [codes], y)
    assert found.classes[0] == pytest.approx(expected, rel=TIGHT)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 3)), min_size=2, max_size=40))
def test_median_distance_is_the_median_over_pairs_that_differ(values):
    z = np.array(values)
    distances = np.abs(z[:, None] - z[None, :])[np.triu_indices(len(z), 1)]
    distances = np.sort(distances[distances > 1e-12 * np.ptp(z)])
    if not len(distances):
        assert median_distance(z) == 1
        return
    # Rounding of values + distance can miss a tie by a unit in the last place of the values.
    slack = 1e-9 * np.abs(z).max()
    assert median_distance(z) == pytest.approx(np.median(distances), rel=1e-9, abs=slack)


def test_one_point_that_differs_is_no_dependence():
    """Then every term of the U-statistic cancels: what is left is rounding, and is not a score."""
    rng = np.random.default_rng(0)
    for n in (4, 7, 30):
        z = np.zeros(2 * n)
        z[0], z[n:] = 1.0, rng.standard_normal(n)
        (found,) = hsic.robust(rng.standard_normal((2 * n, 5)), [z], np.repeat([0, 1], n))
        assert found.classes[0] == 0


def test_values_equal_but_for_rounding_are_equal():
    rng = np.random.default_rng(1)
    z = np.where(rng.random(200) < 0.8, 0.1, rng.standard_normal(200))
    noisy = z + rng.choice([-1e-17, 0, 1e-17], 200)
    assert median_distance(noisy) == pytest.approx(median_distance(z), rel=1e-9)


@pytest.mark.parametrize("dims", [2, 13])
def test_vectors_in_large_classes_equal_the_dense_formula(dims):
    x, z, _ = data(n=700, classes=1, d=20, dims=dims)
    z1 = standardise(z)
    K, L = (
        hsic.cosine_kernel(x - x.mean(axis=0)),
        label_kernel(z1, width=median_distance(z1)),
    )
    expected = hsic.normalised_hsic((K, L))
    assert hsic.robust(x, [z], np.zeros(700))[0].score == pytest.approx(expected, rel=1e-9)


def test_ingredients_of_vectors_and_scalars_come_in_the_order_given():
    x, z, y = data(n=1500, classes=3, d=8, dims=4)
    totals, relevances = hsic.associations(x, [z[:, 0], z, z[:, 1]], y)
    for k, one in ((0, z[:, 0]), (2, z[:, 1])):
        (total,), (relevance,) = hsic.associations(x, [one], y)
        assert totals[k].value == pytest.approx(total.value, rel=TIGHT)
        assert relevances[k].value == pytest.approx(relevance.value, rel=TIGHT)
    # The vector is thinned to 1,000 points, and says so by a larger deviation under chance.
    assert totals[1].shuffled_sd == pytest.approx(math.sqrt(2 / (1000 * 997)))
    assert totals[1].value > 0.1


def test_huge_and_tiny_units_are_standardised_alike():
    z = np.random.default_rng(0).standard_normal(50)
    for unit in (1e-300, 1e99, 1e306):
        assert np.allclose(standardise(z * unit), standardise(z), rtol=1e-12)


@pytest.mark.parametrize("estimator", ["paper", "robust_with_associations"])
def test_the_last_bit_does_not_depend_on_blas_threads(estimator):
    x, z, y = data(n=3000, classes=2, d=300)
    found = []
    for count in (1, 2, 4):
        with threadpool_limits(count):
            result = getattr(hsic, estimator)(x, [z, z**2], y, points=True)
        dependences = result if estimator == "paper" else result[0]
        bits = [(one.score, one.classes.tobytes(), one.influence.tobytes()) for one in dependences]
        found.append((bits, result[1:]))
    assert found[0][0] == found[1][0] == found[2][0]
    if estimator != "paper":
        assert found[0][1] == found[1][1] == found[2][1]


def test_a_constant_class_scores_nothing_at_any_tolerance():
    x, z, y = data(n=3000, classes=2, d=5)
    z[y == 0] = 0.123
    for tolerance in (1e-6, 1e-2):
        (one,) = hsic.robust(x, [z], y, tolerance=tolerance)
        assert abs(one.classes[0]) < 1e-9
        assert one.error < tolerance


def test_a_sample_of_one_class_is_irrelevant_and_no_error():
    rng = np.random.default_rng(0)
    y = np.arange(5000) >= 4998
    for seed in range(3):
        z = np.random.default_rng(seed).standard_normal((5000, 9))
        _, (relevance,) = hsic.associations(rng.standard_normal((5000, 3)), [z], y)
        assert np.isfinite(relevance.p_above())
