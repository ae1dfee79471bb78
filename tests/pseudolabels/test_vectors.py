import numpy as np
import pytest

from augury.audio import log_mel
from augury.pseudolabels import vectors
from augury.pseudolabels.candidate import call_function, parse_candidate

SPEECH = np.random.default_rng(0).standard_normal(8000).astype(np.float32)


def test_vectors_are_declared_and_stay_in_single_precision():
    for name, dims in (("mel", 80), ("mfcc", 39)):
        candidate = parse_candidate(f"own:{name}")
        values = call_function(candidate, SPEECH, 16000)
        assert (candidate.kind, values.dtype, values.shape) == ("vector", np.float32, (48, dims))


def test_mfccs_are_an_orthonormal_transform_and_its_changes():
    mfcc, spectrum = vectors.mfcc(SPEECH, 16000), log_mel(SPEECH, 16000)
    k = np.arange(13)[:, None] * (2 * np.arange(80) + 1) * np.pi / 160
    basis = np.cos(k) * np.sqrt(np.where(np.arange(13) == 0, 1, 2) / 80)[:, None]
    np.testing.assert_allclose(mfcc[:, :13], spectrum @ basis.T, atol=1e-3)
    np.testing.assert_allclose(mfcc[1:-1, 13:26], (mfcc[2:, :13] - mfcc[:-2, :13]) / 2, atol=1e-4)
    np.testing.assert_allclose(mfcc[0, 26:], mfcc[1, 13:26] - mfcc[0, 13:26], atol=1e-4)


def test_a_single_frame_does_not_change():
    assert vectors.mfcc(SPEECH[:400], 16000)[0, 13:] == pytest.approx(np.zeros(26))
