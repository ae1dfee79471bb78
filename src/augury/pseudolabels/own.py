"""Pseudo-labels of our own, free to use under this package's licence.

All take (signal, rate) and return one value a frame of 25 ms, every 10 ms.
They are close relatives of openSMILE's descriptors, not equal to them.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

NAMES = ("rms", "zero_crossings", "centroid", "rolloff", "flatness", "flux", "slope", "noise")

Frames = NDArray[np.float32]
_TINY = 1e-10  # power below which a frame counts as silent


def rms(signal: NDArray[np.float32], rate: int) -> Frames:
    """Root mean square of the samples, 0..1."""
    return np.sqrt(np.square(_windows(signal, rate)).mean(axis=1))


def zero_crossings(signal: NDArray[np.float32], rate: int) -> Frames:
    """Share of neighbouring samples that differ in sign, 0..1."""
    negative = _windows(signal, rate) < 0
    return (negative[:, 1:] != negative[:, :-1]).mean(axis=1, dtype=np.float32)


def centroid(signal: NDArray[np.float32], rate: int) -> Frames:
    """Centre of mass of the power spectrum, Hz; 0 where silent."""
    power, frequency = _spectrum(signal, rate)
    return _safe(power @ frequency, power.sum(axis=1))


def rolloff(signal: NDArray[np.float32], rate: int) -> Frames:
    """Frequency below which 85 % of the power lies, Hz."""
    power, frequency = _spectrum(signal, rate)
    reached = np.cumsum(power, axis=1)
    return frequency[(reached >= 0.85 * reached[:, -1:]).argmax(axis=1)]


def flatness(signal: NDArray[np.float32], rate: int) -> Frames:
    """Geometric over arithmetic mean of the power spectrum: 1 for white noise, 0 for a tone."""
    power = _spectrum(signal, rate)[0] + np.float32(_TINY)
    return np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)


def flux(signal: NDArray[np.float32], rate: int) -> Frames:
    """Change of the normalised magnitude spectrum since the frame before; 0 for the first."""
    magnitude = np.sqrt(_spectrum(signal, rate)[0])
    magnitude = _safe(magnitude, magnitude.sum(axis=1)[:, None])
    change = np.sqrt(np.square(np.diff(magnitude, axis=0)).sum(axis=1))
    return np.concatenate([np.zeros(1, np.float32), change])


def slope(signal: NDArray[np.float32], rate: int) -> Frames:
    """Slope of the power spectrum in dB over frequency, dB per kHz."""
    power, frequency = _spectrum(signal, rate)
    level = 10 * np.log10(np.maximum(power, _TINY))
    kilohertz = frequency / 1000 - frequency.mean() / 1000
    return (level @ kilohertz / np.square(kilohertz).sum()).astype(np.float32)


def noise(signal: NDArray[np.float32], rate: int) -> Frames:
    """Gaussian noise that knows nothing of the signal: a useless candidate to compare with.

    Its seed is a digest of the samples, so that it is the same each time.
    """
    frames = len(_windows(signal, rate))
    seed = int.from_bytes(hashlib.blake2b(signal.tobytes(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).standard_normal(frames, np.float32)


def _windows(signal: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    length, hop = round(0.025 * rate), round(0.010 * rate)
    if len(signal) < length:
        signal = np.pad(signal, (0, length - len(signal)))
    return sliding_window_view(signal, length)[::hop]


def _spectrum(signal: NDArray[np.float32], rate: int) -> tuple[Frames, Frames]:
    windows = _windows(signal, rate)
    shape = np.hanning(windows.shape[1]).astype(np.float32)
    spectrum = np.asarray(fft.rfft(windows * shape, axis=1))
    power = (np.square(np.abs(spectrum)) / windows.shape[1]).astype(np.float32)
    return power, np.fft.rfftfreq(windows.shape[1], 1 / rate).astype(np.float32)


def _safe(part: Frames, whole: Frames) -> Frames:
    return np.asarray(part / np.where(whole > 0, whole, 1), np.float32)
