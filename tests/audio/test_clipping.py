import numpy as np

from augury.audio import clipped_share


def test_rows_of_three_or_more_at_the_extremes_are_clipped():
    signal = np.array([0, 0.9, 0.9, 0, 0.9, 0.9, 0.9, -1, -1, -1, -1, 0.5, 0.5, 0.5], np.float32)
    assert clipped_share(signal) == 7 / 14
    assert clipped_share(signal / 2) == 7 / 14  # made quieter later
    assert clipped_share(signal / 100) == 0  # few steps: rows come by chance
    assert clipped_share(signal[7:]) == 7 / 7


def test_speech_that_is_not_clipped():
    rng = np.random.default_rng(0)
    noise = np.round(rng.standard_normal(16000) * 2000).astype(np.int16) / np.float32(32768)
    assert clipped_share(noise) == 0
    loud = np.clip(4 * noise, -0.3, 0.25)
    at = (loud == loud.max()) | (loud == loud.min())
    assert 0 < clipped_share(loud) < at.mean()
