from __future__ import annotations

import numpy as np
import pytest

from augury.audio import log_mel, resample

from conftest import tone
from oracles_audio import log_mel as slow_log_mel


def test_resample_leaves_the_right_rate_alone():
    signal = tone()
    assert resample(signal, 16_000) is signal


def test_resample_keeps_a_tone():
    at_8k = resample(tone(500, 1.0, 16_000), 16_000, 8_000)
    assert at_8k.dtype == np.float32
    # Inside the edges HQ's pass band is flat to well under a thousandth of the 0.3 amplitude.
    np.testing.assert_allclose(at_8k[400:-400], tone(500, 1.0, 8_000)[400:-400], atol=3e-4)


@pytest.mark.parametrize(("rate", "bands"), [(16_000, 80), (16_000, 40), (8_000, 40)])
def test_log_mel_is_the_plain_loop(rate, bands):
    noise = np.random.default_rng(1).standard_normal(rate // 5)
    signal = (tone(1000, 0.2, rate) + 0.05 * noise).astype(np.float32)
    fast = log_mel(signal, rate, bands=bands)
    assert fast.dtype == np.float32
    # float32 spectra err by some 1e-6 of the loudest bin, 40 dB above the quietest: < 0.01 dB.
    np.testing.assert_allclose(fast, slow_log_mel(signal, rate, bands), atol=0.01)


def test_a_tone_peaks_in_its_band():
    points = 700 * (10 ** (np.linspace(0, 2840.023, 82) / 2595) - 1)
    for band in (20, 40, 60, 75):
        mel = log_mel(tone(points[band + 1], 0.3))
        assert (mel.argmax(axis=1) == band).all()


def test_twice_the_amplitude_is_6_db_more():
    signal = np.random.default_rng(2).standard_normal(8000).astype(np.float32)
    # Powers of two are exact in float32; what is left is the rounding of numbers near 50 dB.
    np.testing.assert_allclose(log_mel(2 * signal) - log_mel(signal), 20 * np.log10(2), atol=1e-5)


def test_a_hop_later_is_a_frame_later():
    signal = np.random.default_rng(3).standard_normal(160_000).astype(np.float32)
    # Another place in the batch may take another path through the same float32 sums.
    np.testing.assert_allclose(log_mel(signal[160:]), log_mel(signal)[1:], atol=1e-3)


def test_number_of_frames():
    for samples, frames in ((400, 1), (559, 1), (560, 2), (16_000, 98)):
        assert log_mel(tone(440, 1.0)[:samples]).shape == (frames, 80)


def test_silence_is_the_floor():
    # The logarithm's float32 rounding near 100.
    np.testing.assert_allclose(log_mel(np.zeros(1000, np.float32)), -100, atol=1e-4)


def test_too_short_for_one_window():
    with pytest.raises(ValueError, match=r"399 samples.*needs 400"):
        log_mel(np.zeros(399, np.float32))


def test_too_many_bands():
    with pytest.raises(ValueError, match="fewer bands"):
        log_mel(tone(), bands=200)


def test_a_click_is_loudest_in_the_frame_centred_on_it():
    signal = np.zeros(16_000, np.float32)
    signal[8_000] = 1  # 0.5 s
    loudest = log_mel(signal).sum(axis=1).argmax()
    assert abs((0.0125 + 0.010 * loudest) - 0.5) <= 0.005  # half a hop
