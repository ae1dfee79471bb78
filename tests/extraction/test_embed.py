import numpy as np
import pytest

from augury.extraction import embed

import oracles

RNG = np.random.default_rng(0)
MEL = RNG.standard_normal((200, 6)) * 10 - 40


def ranges(lengths):
    stop = np.cumsum(lengths)
    return stop - lengths, stop


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gaussian_downsample_equals_the_plain_loop(dtype):
    first, stop = ranges(np.array([1, 2, 7, 7, 20, 33, 130]))
    embeddings = embed.gaussian_downsample(MEL.astype(dtype), first, stop)
    assert embeddings.dtype == dtype
    # Weighted means: a few units in the last place of values near 50.
    tolerance = 1e-11 if dtype == np.float64 else 5e-5
    for k, (a, b) in enumerate(zip(first, stop, strict=True)):
        expected = oracles.gaussian_downsample(MEL[a:b].astype(dtype), 20, 0.07)
        assert np.abs(embeddings[k] - expected).max() < tolerance


def test_released_downsample_equals_the_plain_loop():
    first, stop = ranges(np.array([1, 5, 16, 40]))
    embeddings = embed.released_downsample(MEL, first, stop)
    for k, (a, b) in enumerate(zip(first, stop, strict=True)):
        expected = oracles.released_downsample(MEL[a:b], 10, 0.07, 0.1)
        assert np.abs(embeddings[k] - expected).max() < 1e-9


def test_segments_may_overlap_and_come_in_any_order():
    first, stop = np.array([50, 0, 20]), np.array([90, 60, 27])
    embeddings = embed.gaussian_downsample(MEL, first, stop)
    for k in range(3):
        alone = embed.gaussian_downsample(MEL[first[k] : stop[k]], [0], [stop[k] - first[k]])
        assert np.array_equal(embeddings[k], alone[0])


def test_constant_speech_stays_constant_and_scale_passes_through():
    mel = np.full((37, 4), -20.0)
    assert embed.gaussian_downsample(mel, [0], [37]) == pytest.approx(-20.0, abs=1e-12)
    embedding, scaled = (embed.gaussian_downsample(m, [0], [200]) for m in (MEL, 3 * MEL))
    assert np.allclose(scaled, 3 * embedding, rtol=1e-12)


def test_time_reversal_reverses_the_parts():
    forward = embed.gaussian_downsample(MEL, [0], [200])[0]
    backward = embed.gaussian_downsample(MEL[::-1].copy(), [0], [200])[0]
    assert np.allclose(forward, backward[::-1], rtol=1e-10)


def test_one_frame_is_repeated():
    embeddings = embed.gaussian_downsample(MEL, [5], [6])
    assert np.allclose(embeddings[0], MEL[5], rtol=1e-15)


def test_a_very_narrow_gaussian_is_still_a_mean():
    assert np.isfinite(embed.gaussian_downsample(MEL, [0], [3], width=1e-6)).all()


def test_svcca_inner_products_are_mean_squared_canonical_correlations():
    """Against the definition: singular values of the product of the two orthonormal bases."""
    first, stop = ranges(np.array([50, 90, 3]))
    embeddings = embed.svcca(MEL, first, stop, directions=4)

    def basis(a, b, count):
        block = MEL[a:b] - MEL[a:b].mean(axis=1, keepdims=True)
        return np.linalg.svd(block, full_matrices=False)[2][:count]

    for i, j, ranks in ((0, 1, (4, 4)), (0, 2, (4, 3))):
        one, other = basis(first[i], stop[i], 4), basis(first[j], stop[j], 4)
        correlations = np.linalg.svd(one @ other.T, compute_uv=False)
        cosine = (
            embeddings[i]
            @ embeddings[j]
            / np.linalg.norm(embeddings[i])
            / np.linalg.norm(embeddings[j])
        )
        expected = np.square(correlations).sum() / np.sqrt(np.prod(ranks))
        assert cosine == pytest.approx(expected, rel=1e-9)


def test_svcca_knows_no_order_of_frames():
    order = RNG.permutation(200)
    ordered, shuffled = embed.svcca(MEL, [0], [200]), embed.svcca(MEL[order], [0], [200])
    assert np.allclose(ordered, shuffled, atol=1e-9)


def test_empty_segments_are_refused():
    with pytest.raises(ValueError, match="has no frame"):
        embed.gaussian_downsample(MEL, [3], [3])
    with pytest.raises(ValueError, match="even numbers only"):
        embed.released_downsample(MEL, [0], [9], parts=7)
