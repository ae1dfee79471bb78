import math

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal

from augury.downstream.scores import plda
from augury.downstream.scores.plda import Plda


def model(dims, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, dims, dims + 2))
    return Plda(rng.standard_normal(dims), a @ a.T / dims, b @ b.T / dims)


def draw_vectors(plda, counts, seed=0):
    """Vectors of the model, `counts` of each speaker."""
    rng = np.random.default_rng(seed)
    y = rng.multivariate_normal(plda.mean, plda.B, len(counts))
    speaker = np.repeat(np.arange(len(counts)), counts)
    noise = rng.multivariate_normal(np.zeros(len(plda.W)), plda.W, len(speaker))
    return y[speaker] + noise, speaker


def five_of_many():
    """120 correlated features, whose speakers differ in five directions."""
    mixed = np.random.default_rng(5).standard_normal((120, 120)) / math.sqrt(120)
    B = np.diag(np.repeat([4.0, 0.0], [5, 115]))
    return Plda(np.zeros(120), mixed.T @ B @ mixed, mixed.T @ mixed)


def joint_log_density(plda, x):
    """Log density of the vectors (n, dims) of one speaker, as one stacked Gaussian."""
    n = len(x)
    covariance = np.kron(np.ones((n, n)), plda.B) + block_diag(*[plda.W] * n)
    return multivariate_normal(np.tile(plda.mean, n), covariance).logpdf(x.ravel())


# ------------------------------------------------------------------------- length, cosines


def test_cosines_by_hand():
    enrol, test = [[3.0, 4.0], [0.0, 0.0]], [[6.0, 8.0], [-4.0, 3.0], [0.0, 1.0]]
    # Of unit vectors that are rounded.
    expected = [[1, 0, 0.8], [0, 0, 0]]
    assert np.allclose(plda.cosine_scores(enrol, test), expected, atol=1e-15)
    assert np.allclose(plda.normalise_length(enrol), [[0.6, 0.8], [0, 0]], atol=1e-16)


# ----------------------------------------------------------------------------------- LDA


def test_lda_by_hand():
    # Means (±2, 0), scatter within diag(1, 4): all that separates is the first feature, whose
    # standard deviation within is 1.
    spread = np.array([[1, 2], [1, -2], [-1, 2], [-1, -2]])
    apart = np.array([2, 0])
    x = np.concatenate([spread + apart, spread - apart]) + np.array([10, 20])
    matrix, mean = plda.lda(x, np.repeat([0, 1], 4), dims=1)
    assert np.allclose(mean, [10, 20], rtol=1e-15)
    assert np.allclose(matrix, [[1], [0]], atol=1e-15)  # a few roundings


def test_lda_of_two_speakers_is_fishers_discriminant():
    x, speaker = draw_vectors(model(5), [40, 25])
    matrix, _ = plda.lda(x, speaker, dims=1)
    first, second = x[speaker == 0], x[speaker == 1]
    within = 40 * np.cov(first.T, bias=True) + 25 * np.cov(second.T, bias=True)
    expected = np.linalg.solve(within, first.mean(axis=0) - second.mean(axis=0))
    expected *= np.linalg.norm(matrix) / np.linalg.norm(expected)
    # Two solutions of systems with a condition number of 26.
    assert np.allclose(np.abs(matrix[:, 0]), np.abs(expected), rtol=1e-11)


def test_lda_maximises_the_ratio_with_unit_variance_within():
    x, speaker = draw_vectors(model(6), [5, 9, 3, 8, 6])
    matrix, mean = plda.lda(x, speaker, dims=4)

    def spreads(projected):
        by_speaker = [projected[speaker == s] for s in range(5)]
        within = sum(len(p) * np.cov(p.T, bias=True) for p in by_speaker) / len(x)
        return within, np.cov(projected.T, bias=True) - within

    within, between = spreads((x - mean) @ matrix)
    assert np.allclose(within, np.eye(4), atol=1e-12)  # eigenvectors, to rounding
    assert np.allclose(between, np.diag(np.diag(between)), atol=1e-12)
    assert (np.diff(np.diag(between)) < 0).all()
    rng = np.random.default_rng(1)
    for direction in rng.standard_normal((50, 6, 2)):
        within, other = spreads((x - mean) @ direction)
        assert other[0, 0] / within[0, 0] <= between[0, 0]


def test_lda_is_invariant_under_affine_maps():
    x, speaker = draw_vectors(model(5), [6, 4, 9, 7])
    matrix, mean = plda.lda(x, speaker, dims=3)
    map_ = np.random.default_rng(1).standard_normal((5, 5))
    mapped = x @ map_ * 1e6 + 30
    other, centre = plda.lda(mapped, speaker, dims=3)
    # Signs are fixed in each space by itself. The map's condition number is 12, and squared.
    assert np.allclose(np.abs((mapped - centre) @ other), np.abs((x - mean) @ matrix), atol=1e-10)


def test_lda_is_invariant_under_order_and_names():
    x, speaker = draw_vectors(model(4), [6, 4, 9])
    matrix, _ = plda.lda(x, speaker, dims=2)
    order = np.random.default_rng(0).permutation(len(x))
    other, _ = plda.lda(x[order], np.array(["c", "a", "b"])[speaker[order]], dims=2)
    assert np.allclose(other, matrix, rtol=1e-10)  # sums in another order; signs too
    assert (matrix[np.abs(matrix * x.std(axis=0)[:, None]).argmax(axis=0), [0, 1]] > 0).all()


def test_lda_of_fewer_vectors_than_features_separates_new_vectors():
    truth = five_of_many()
    x, speaker = draw_vectors(truth, [5] * 20)  # 80 degrees of freedom within
    matrix, mean = plda.lda(x, speaker, dims=5)
    new, who = draw_vectors(truth, [20] * 20, seed=1)

    def ratio(p):
        means = np.stack([p[who == s].mean(axis=0) for s in range(20)])
        return np.square(means - means.mean(axis=0)).sum() / np.square(p - means[who]).sum() * 20

    # Measured 1.6; of all features 0.23, and with a ridge of 1e-8 instead 0.37.
    assert ratio((new - mean) @ matrix) > 1.2
    assert ratio(new) < 0.3


def test_shrinkage_equals_ledoit_and_wolf():
    residual = np.random.default_rng(0).standard_normal((7, 10)) * np.arange(1, 11)
    S = residual.T @ residual / 7
    even = np.trace(S) / 10 * np.eye(10)
    noise = sum(np.square(np.outer(r, r) - S).sum() for r in residual) / 7**2
    share = noise / np.square(S - even).sum()
    assert 0.2 < share < 0.9  # neither bound applies
    expected = share * even + (1 - share) * S
    assert np.allclose(plda._shrink(S, residual), expected, rtol=1e-12)  # sums otherwise arranged


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 + 0.1])
def test_a_constant_feature_has_weight_zero_in_lda(constant):
    x, speaker = draw_vectors(model(4), [6, 4, 9])
    matrix, _ = plda.lda(x, speaker, dims=2)
    other, mean = plda.lda(np.insert(x, 2, constant, axis=1), speaker, dims=2)
    assert np.allclose(other, np.insert(matrix, 2, 0, axis=0), rtol=1e-12)  # but for summation
    assert mean[2] == pytest.approx(constant, rel=1e-15)


def test_lda_of_collinear_and_of_tiny_features_is_finite():
    x, speaker = draw_vectors(model(4), [6, 4, 9])
    for odd in (np.c_[x, x[:, 0]], np.c_[x, speaker], np.c_[x, 1e-200 * x[:, :1]]):
        matrix, mean = plda.lda(odd, speaker, dims=2)
        assert np.isfinite((odd - mean) @ matrix).all()


def test_lda_of_equal_residuals_is_finite():
    x = np.array([[0, 1], [0, -1], [3, 1], [3, -1.0]])  # one direction within, another between
    matrix, _ = plda.lda(x, [0, 0, 1, 1], dims=1)
    assert abs(matrix[0, 0]) > 1e3 * abs(matrix[1, 0])


def test_impossible_lda_is_refused():
    x = np.random.default_rng(0).standard_normal((6, 4))
    with pytest.raises(ValueError, match=r"3 dims are asked of 3 speakers and 4 .* ask for 1 to 2"):
        plda.lda(x, [0, 0, 1, 1, 2, 2], dims=3)
    with pytest.raises(ValueError, match="ask for 1 to 2"):
        plda.lda(x, [0, 0, 1, 1, 2, 2], dims=0)
    with pytest.raises(ValueError, match="none of 2 speakers has two vectors that differ"):
        plda.lda(np.ones((6, 4)), [0, 0, 0, 1, 1, 1], dims=1)
    with pytest.raises(ValueError, match="none of 3 speakers has two vectors that differ"):
        plda.lda(np.repeat(x[:3], 2, axis=0), [0, 0, 1, 1, 2, 2], dims=1)


# --------------------------------------------------------------------------------- PLDA: scores


def test_a_score_by_hand():
    # B = W = 1: the pair has covariance [[2, 1], [1, 2]] if of one speaker, 2·I if of two. At
    # (1, 1): log(2 / sqrt 3) − (2/3 − 1)/2.
    plda = Plda(np.zeros(1), np.eye(1), np.eye(1))
    assert plda.score([[1.0]], [[1.0]])[0, 0] == pytest.approx(
        math.log(4 / 3) / 2 + 1 / 6, rel=1e-14
    )
    # Without a difference between speakers nothing tells them apart.
    none = Plda(np.zeros(2), np.zeros((2, 2)), np.eye(2))
    assert not none.score(np.ones((3, 2)), np.ones((4, 2))).any()


def test_scores_are_ratios_of_gaussian_densities():
    plda = model(6)
    x, _ = draw_vectors(plda, [1] * 9)
    scores = plda.score(x[:4], x[4:])
    assert scores.shape == (4, 5)
    for i in range(4):
        for j in range(5):
            pair = x[[i, 4 + j]]
            expected = (
                joint_log_density(plda, pair)
                - joint_log_density(plda, pair[:1])
                - joint_log_density(plda, pair[1:])
            )
            assert scores[i, j] == pytest.approx(expected, abs=1e-8)  # log densities below 100


def test_scores_of_several_enrolled_vectors():
    plda = model(4)
    x, _ = draw_vectors(plda, [3, 1, 5, 2])
    enrolled, test = [x[:3], x[3:4], x[4:9]], x[9:]
    means = np.stack([e.mean(axis=0) for e in enrolled])
    scores = plda.score(means, test, counts=[3, 1, 5])
    for i, e in enumerate(enrolled):
        for j in range(2):
            t = test[j : j + 1]
            expected = (
                joint_log_density(plda, np.concatenate([e, t]))
                - joint_log_density(plda, e)
                - joint_log_density(plda, t)
            )
            assert scores[i, j] == pytest.approx(expected, abs=1e-8)  # as above
    same = plda.score(means, test, counts=3)
    assert np.allclose(same[0], scores[0], rtol=1e-12)  # the same sums, otherwise arranged
    assert np.allclose(
        plda.score(means, test), plda.score(means, test, counts=[1, 1, 1]), rtol=1e-12
    )


def test_scores_are_symmetric_and_invariant_under_affine_maps():
    plda = model(5)
    x, _ = draw_vectors(plda, [1] * 8)
    scores = plda.score(x[:3], x[3:])
    assert np.allclose(plda.score(x[3:], x[:3]).T, scores, atol=1e-12)  # sums of order 10
    map_ = 1e3 * np.random.default_rng(2).standard_normal((5, 5))
    mapped = Plda(plda.mean @ map_ + 7, map_.T @ plda.B @ map_, map_.T @ plda.W @ map_)
    # The map's condition number, 44, is squared in the covariances.
    assert np.allclose(mapped.score(x[:3] @ map_ + 7, x[3:] @ map_ + 7), scores, atol=1e-9)


def test_scores_are_calibrated_on_their_own_model():
    plda = Plda(np.zeros(2), np.eye(2), 2 * np.eye(2))
    x, _ = draw_vectors(plda, [2] * 2000)
    same = plda.score(x[::2], x[1::2])
    targets, nontargets = np.diag(same), same[~np.eye(2000, dtype=bool)]
    # A nontarget's likelihood ratio is 1 on average, and so is the inverse of a target's. Over 25
    # draws their means deviated by .0003 and .016: four times that.
    assert np.exp(nontargets).mean() == pytest.approx(1, abs=0.0012)
    assert np.exp(-targets).mean() == pytest.approx(1, abs=0.064)


# ------------------------------------------------------------------------------------ PLDA: fit


def test_the_likelihood_equals_that_of_stacked_gaussians():
    plda = model(4)
    x, speaker = draw_vectors(plda, [1, 4, 2, 3])
    expected = sum(joint_log_density(plda, x[speaker == s]) for s in range(4))
    assert plda.log_likelihood(x, speaker) == pytest.approx(
        expected, rel=1e-11
    )  # sums of order 100
    assert plda.log_likelihood(x[:1], [0]) == pytest.approx(
        joint_log_density(plda, x[:1]), rel=1e-11
    )


@pytest.mark.parametrize("counts", [[4] * 12, [1, 2, 9, 1, 3, 6], [2, 15]])
def test_em_never_lowers_the_likelihood(counts):
    x, speaker = draw_vectors(model(3), counts, seed=3)
    fitted = [Plda.fit(x, speaker, iterations=i) for i in range(30)]
    likelihood = [m.log_likelihood(x, speaker) for m in fitted]
    direct = [
        sum(joint_log_density(m, x[speaker == s]) for s in range(len(counts))) for m in fitted
    ]
    # Computed twice, to rounding of sums of order 100.
    assert np.allclose(likelihood, direct, rtol=1e-10)
    assert np.diff(likelihood).min() > -1e-10
    assert likelihood[-1] > likelihood[0]


def test_em_takes_twenty_steps():
    x, speaker = draw_vectors(model(3), [1, 2, 9, 1, 3, 6], seed=3)
    usual, twenty, more = (
        Plda.fit(x, speaker, **n) for n in ({}, {"iterations": 20}, {"iterations": 21})
    )
    assert np.array_equal(usual.B, twenty.B)
    assert not np.array_equal(usual.B, more.B)


def test_a_dimension_that_varies_by_rounding_alone_is_centred_to_0():
    x = np.array([[1.0, 1e6, 0.0], [1 + 1e-9, 1e6 + 1e-7, 0.0], [1 - 1e-9, 1e6 - 1e-7, 0.0]])
    centred, mean = plda._centre(x)
    assert mean.tolist() == pytest.approx([1, 1e6, 0])
    assert centred[:, 0] == pytest.approx([0, 1e-9, -1e-9], abs=1e-15)
    assert centred[:, 1:].tolist() == [[0, 0]] * 3
    # Up to 1e-12 of the largest value.
    for size, varies in ((0.9e-12, False), (1.1e-12, True)):
        centred, _ = plda._centre(np.array([[1 - size], [1 + size]]))
        assert centred.any() == varies


def test_a_scatter_is_shrunk_to_the_identity_by_hand():
    # ‖S − 2 I‖² = 8, and no noise where all lengths are equal: 1/n of the identity.
    residual = np.array([[2.0, 0.0], [-2.0, 0.0]])
    assert np.allclose(plda._shrink(np.diag([4.0, 0.0]), residual), np.diag([3.0, 1.0]))
    # Noise (41 − 20.5) / 2 is more than the distance 8: all of it.
    residual = np.array([[3.0, 0.0], [0.0, 1.0]])
    assert np.allclose(plda._shrink(np.diag([4.5, 0.5]), residual), 2.5 * np.eye(2))
    # Nothing to shrink.
    residual = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    with np.errstate(all="raise"):
        assert np.allclose(plda._shrink(0.5 * np.eye(2), residual), 0.5 * np.eye(2))


@pytest.mark.parametrize("counts", [0, [1, 0, 2], [[1], [2], [3]]])
def test_enrolment_takes_a_vector_or_more_and_one_count_each(counts):
    fitted = model(3)
    with pytest.raises(ValueError, match="counts must be 1 or more for each enrolment"):
        fitted.score(np.zeros((3, 3)), np.zeros((2, 3)), counts=counts)


def test_em_converges_to_the_closed_form_of_equal_counts():
    plda = model(3, seed=1)
    x, speaker = draw_vectors(Plda(plda.mean, 20 * plda.B, plda.W), [5] * 60)
    fitted = Plda.fit(x, speaker, iterations=100)
    means = np.stack([x[speaker == s].mean(axis=0) for s in range(60)])
    W = (x - means[speaker]).T @ (x - means[speaker]) / (60 * 4)
    B = np.cov(means.T, bias=True) - W / 5
    assert np.linalg.eigvalsh(B).min() > 0  # or the closed form is not the maximum
    # Converged: what is left is rounding, measured 2e-14. (Where B is near 0, EM is slow.)
    assert np.allclose(fitted.W, W, atol=1e-12)
    assert np.allclose(fitted.B, B, atol=1e-12)
    assert np.allclose(fitted.mean, x.mean(axis=0), atol=1e-12)


def test_em_recovers_the_true_model():
    plda = model(3, seed=2)
    x, speaker = draw_vectors(plda, np.arange(4000) % 7 + 1)
    fitted = Plda.fit(x, speaker, iterations=50)
    # A variance estimated from n draws has a standard error of sqrt(2/n): 2.2 % of B + W or less
    # for B from the 4,000 speakers, 1.3 % of W from 12,000 residuals; four of them.
    std = np.sqrt(np.diag(plda.B + plda.W))
    assert (np.abs(fitted.B - plda.B) < 0.09 * np.outer(std, std)).all()
    std = np.sqrt(np.diag(plda.W))
    assert (np.abs(fitted.W - plda.W) < 0.052 * np.outer(std, std)).all()


def test_fitting_commutes_with_affine_maps():
    x, speaker = draw_vectors(model(4), [3, 5, 2, 8, 4, 4])
    fitted = Plda.fit(x, speaker)
    map_ = np.random.default_rng(2).standard_normal((4, 4))
    mapped = Plda.fit(x @ map_ - 5, speaker)
    # The map's condition number, 11, squared, through twenty iterations.
    assert np.allclose(mapped.B, map_.T @ fitted.B @ map_, rtol=1e-8, atol=1e-10)
    assert np.allclose(mapped.W, map_.T @ fitted.W @ map_, rtol=1e-8, atol=1e-10)
    assert np.allclose(mapped.mean, fitted.mean @ map_ - 5, rtol=1e-9)


def test_fewer_speakers_than_dimensions():
    x, speaker = draw_vectors(model(6), [9, 8, 7])
    fitted = Plda.fit(x, speaker)
    assert np.linalg.matrix_rank(fitted.B, tol=1e-9) == 2
    assert np.isfinite(fitted.score(x, x)).all()


def test_plda_after_lda_of_fewer_vectors_than_dimensions():
    x, speaker = draw_vectors(five_of_many(), [5] * 20)
    with pytest.raises(ValueError, match=r"100 vectors vary in 80 of 120 .*lda, at most 80 dims"):
        Plda.fit(x, speaker)
    matrix, mean = plda.lda(x, speaker, dims=5)
    projected = (x - mean) @ matrix
    assert np.isfinite(Plda.fit(projected, speaker).score(projected, projected)).all()


def test_vectors_that_plda_cannot_be_fitted_to_are_refused():
    x, speaker = draw_vectors(model(4), [6, 4, 9])
    with pytest.raises(ValueError, match=r"there is 1 speaker, .* add recordings of others"):
        Plda.fit(x, np.zeros(len(x), int))
    with pytest.raises(ValueError, match="each of 19 speakers has one vector"):
        Plda.fit(x, np.arange(len(x)))
    for odd in (0.1, speaker / 3):  # constant, or within speakers
        with pytest.raises(ValueError, match=r"vary in 4 of 5 directions.*leave out features"):
            Plda.fit(np.insert(x, 1, odd, axis=1), speaker)
    with pytest.raises(ValueError, match="vary in 4 of 5 directions"):
        Plda.fit(np.c_[x, x @ [1, -2, 3, 0.5] + speaker], speaker)
    x[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 19 vectors hold NaN or infinity; leave them out"):
        Plda.fit(x, speaker)
    with pytest.raises(ValueError, match=r"x has shape \(19, 4\) and speaker \(18,\)"):
        Plda.fit(x, speaker[1:])
    with pytest.raises(ValueError, match="counts must be 1 or more"):
        model(4).score(x, x, counts=0)
