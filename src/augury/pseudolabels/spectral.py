"""Our own descriptors of a frame's spectrum and waveform, from published descriptions.

GeMAPS is Eyben et al., "The Geneva minimalistic acoustic parameter set", IEEE Trans. Affective
Computing 7 (2), 2016; PLP is Hermansky, "Perceptual linear predictive analysis of speech", J.
Acoust. Soc. Am. 87 (4), 1990. All functions return one value a frame, (frames,) float32.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from augury import audio
from augury.pseudolabels.spectra import HOP, SHORT, SIZE, Spectra, Values, smooth

#: Bands of the auditory spectrum, and its lowest edge, Hz: GeMAPS, section 3 (26, 20 to 8000).
BANDS, LOWEST = 26, 20.0
#: Loudness grows with the cube root of power: PLP, eq. 8.
EXPONENT = 1 / 3
#: Edges of the alpha ratio's bands, Hz: GeMAPS, section 3.
ALPHA = (50.0, 1000.0, 5000.0)
#: RASTA's pole: 0.94 in ICSI's RASTA-PLP; Hermansky and Morgan, "RASTA processing of speech", IEEE
#: Trans. Speech and Audio Processing 2 (4), 1994, call 0.98 and 0.94 alike good.
POLE = 0.94
#: Samples of the frames whose zero crossings are counted: 60 ms.
CROSSING_FRAME = 960
#: Power that rounding to 16 bits leaves in each point of a spectrum; silence counts as that.
FLOOR = float(np.square(np.hamming(SHORT)).sum() * 2.0**-30 / 12)


def loudness(spectra: Spectra) -> Values:
    """Loudness: the sum of the auditory spectrum, from 0; times 1.59 at twice the amplitude.

    GeMAPS, section 3: mel bands of the power spectrum, weighted by equal loudness and compressed
    by a power law as in PLP, are summed.

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> (loudness(Spectra.of(tone, 16000)) / loudness(Spectra.of(tone / 2, 16000)))[5].round(2)
    np.float32(1.59)
    """
    return smooth(_sum_of_loudness(spectra.power @ mel_filters()))


def rasta_l1(spectra: Spectra) -> Values:
    """The same sum of bands filtered by RASTA, which keeps changes of 1 to 12 Hz; no unit, from 0.

    Hermansky and Morgan 1994 (see `POLE`), eq. 1 and figure 3: the logarithm of each band is
    filtered by 0.1 (2 + z⁻¹ - z⁻³ - 2 z⁻⁴) / (1 - 0.94 z⁻¹), and then compressed as in PLP. The
    filter begins as if the first frame had always been.
    """
    from scipy.signal import lfilter, lfilter_zi  # it takes long to load

    bands = np.log(spectra.power @ mel_filters() + np.float32(FLOOR))
    numerator, denominator = np.array([0.2, 0.1, 0, -0.1, -0.2]), np.array([1, -POLE])
    settled = np.asarray(lfilter_zi(numerator, denominator))[:, None] * bands[0]
    filtered, _ = lfilter(numerator, denominator, bands, axis=0, zi=settled)
    return smooth(_sum_of_loudness(np.exp(filtered)))


def alpha_ratio(spectra: Spectra) -> Values:
    """Power between 1 and 5 kHz over that between 50 Hz and 1 kHz, dB; 0 where silent.

    GeMAPS, section 3, after Frøkjær-Jensen and Prytz, "Registration of voice quality", B&K
    Technical Review 3, 1976.
    """
    low, high = (spectra.power @ _alpha_bands() + np.float32(FLOOR)).T
    return smooth(10 * np.log10(high / low))


def zcr(spectra: Spectra) -> Values:
    """Share of neighbouring samples in 60 ms that differ in sign, 0..1."""
    half = CROSSING_FRAME // 2 - SHORT // 2
    steps = spectra.count - 1 + CROSSING_FRAME // HOP
    negative = np.zeros(steps * HOP + 1, bool)  # silence around the recording crosses nothing
    inside = np.signbit(spectra.signal[: len(negative) - half])
    negative[half : half + len(inside)] = inside
    changes = negative[1:] != negative[:-1]
    changes[:half] = changes[half + len(inside) - 1 :] = False
    sums = changes.reshape(steps, HOP).sum(axis=1, dtype=np.int64)
    frames = sliding_window_view(sums, CROSSING_FRAME // HOP)
    return smooth(frames.sum(axis=1) / CROSSING_FRAME)


def entropy(spectra: Spectra) -> Values:
    """Entropy of the power spectrum taken as probabilities, bits: 0 for one line, 8 for white.

    Misra et al., "Spectral entropy based feature for robust ASR", ICASSP 2004, eq. 1 and 2.
    """
    power = spectra.power + np.float32(FLOOR)
    shares = power / power.sum(axis=1, keepdims=True)
    return smooth(-(shares * np.log2(shares)).sum(axis=1))


def _sum_of_loudness(bands: NDArray[np.floating]) -> Values:
    """Equal loudness and cube root of the power in bands (frames, bands), summed."""
    return np.cbrt(bands * _equal_loudness()).sum(axis=1)


@cache
def mel_filters() -> Values:
    """Triangles (points, bands) of height 1, linear in mel, on points evenly spaced in mel."""
    mel = _mel(np.arange(SIZE // 2 + 1) * (audio.RATE / SIZE))[:, None]
    edges = _edges()
    rising = (mel - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - mel) / np.diff(edges)[1:]
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


@cache
def _equal_loudness() -> Values:
    """The ear's sensitivity (bands,) at their centres: PLP, eq. 6."""
    hertz = 700 * np.expm1(_edges()[1:-1] / 1127)
    square = np.square(2 * np.pi * hertz)
    weight = (square + 56.8e6) * square**2 / ((square + 6.3e6) ** 2 * (square + 0.38e9))
    return weight.astype(np.float32)


def _edges() -> NDArray[np.float64]:
    low, high = _mel(np.array([LOWEST, audio.RATE / 2]))
    return np.linspace(low, high, BANDS + 2)


def _mel(hertz: NDArray[np.floating]) -> NDArray[np.floating]:
    """O'Shaughnessy, "Speech communication", 1987: 1127 log(1 + f / 700)."""
    return 1127 * np.log1p(hertz / 700)


@cache
def _alpha_bands() -> Values:
    """(points, 2): which points lie in the lower band, and in the upper."""
    hertz = np.arange(SIZE // 2 + 1) * (audio.RATE / SIZE)
    low, middle, high = ALPHA
    inside = [(hertz >= low) & (hertz <= middle), (hertz > middle) & (hertz <= high)]
    return np.stack(inside, axis=1).astype(np.float32)
