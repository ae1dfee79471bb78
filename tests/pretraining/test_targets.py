import numpy as np

from augury import audio
from augury.pretraining.targets import Summary


def test_summaries_add_up_to_the_summary_of_all():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((1000, 3)) * [1, 1e-3, 1e4] + [0, 1e3, -7e5]
    values[rng.random(values.shape) < 0.1] = np.nan
    parts = np.split(values, [1, 17, 17, 400])
    total = Summary.of(parts[0])
    for part in parts[1:]:
        total = total + Summary.of(part)
    np.testing.assert_array_equal(total.count, np.isfinite(values).sum(axis=0))
    # The second mean is a million standard deviations: sums of squares would lose the variance.
    np.testing.assert_allclose(total.mean, np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(total.standard_deviation, np.nanstd(values, axis=0), rtol=1e-9)


def test_a_summary_without_values_has_count_0():
    total = Summary.of(np.full((3, 1), np.nan)) + Summary.of(np.array([2.0, 4.0]))
    assert (total.count[0], total.mean[0], total.standard_deviation[0]) == (2, 3, 1)


def test_mfccs_are_scipys_dct():
    from scipy import fft

    mel = np.random.default_rng(0).standard_normal((5, 80))
    expected = fft.dct(mel, axis=1, norm="ortho")[:, :40]
    np.testing.assert_allclose(
        mel @ audio.cepstral_basis(80, 40), expected, atol=1e-6
    )  # float32 matrix
