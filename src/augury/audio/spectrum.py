# SciPy and soxr have no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""From a signal to its log-mel spectrogram, and to another sampling rate."""

from __future__ import annotations

from functools import cache

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from augury.errors import InputError

RATE = 16_000  # Hz, of all embeddings
WINDOW = 0.025  # seconds of signal per spectrum
HOP = 0.010  # seconds between spectra
BANDS = 80  # mel bands, as in the paper
FLOOR = 1e-10  # power: -100 dB
_FRAMES = 512  # spectra computed at a time, so that they stay in the cache

Signal = NDArray[np.float32]


def resample(signal: Signal, rate: int, new_rate: int = RATE) -> Signal:
    """The signal (samples,) at another rate; the same array if the rates are equal.

    >>> resample(np.zeros(8000, np.float32), 8000).shape
    (16000,)
    """
    if rate == new_rate:
        return signal
    return soxr.resample(signal, rate, new_rate, quality="HQ")


def log_mel(
    signal: Signal,
    rate: int = RATE,
    *,
    bands: int = BANDS,
    window: float = WINDOW,
    hop: float = HOP,
) -> NDArray[np.float32]:
    """Log-mel spectrogram: (frames, bands) float32 dB, at least -100, without normalisation.

    Hann window, power spectrum without zero padding, triangular filters evenly spaced in mel (HTK's
    formula) from 0 to half the rate. Frame i starts at sample i * hop, without padding at the
    edges: there are 1 + (samples - window) // hop frames, frame i centred at window/2 + i * hop.
    InputError if the signal is shorter than one window.

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    >>> mel = log_mel(tone)
    >>> mel.shape, int(mel[0].argmax())  # the band of 1 kHz
    ((98, 80), 28)
    """
    width, step = round(window * rate), round(hop * rate)
    if len(signal) < width:
        raise InputError(
            f"the signal has {len(signal)} samples, but one window of {window:g} s at {rate} Hz "
            f"needs {width}; leave out recordings shorter than that"
        )
    hann, mel = window_and_filters(rate, bands, window)
    frames = sliding_window_view(np.asarray(signal, np.float32), width)[::step]
    db = np.empty((len(frames), bands), np.float32)
    for i in range(0, len(frames), _FRAMES):
        windowed = frames[i : i + _FRAMES] * hann
        spectra: NDArray[np.complex64] = np.asarray(fft.rfft(windowed, axis=1, workers=1))
        power = np.square(spectra.real)
        power += np.square(spectra.imag)
        np.matmul(power, mel, out=db[i : i + _FRAMES])
    np.maximum(db, np.float32(FLOOR), out=db)
    np.log(db, out=db)
    db *= np.float32(10 / np.log(10))
    return db


@cache
def cepstral_basis(bands: int, count: int) -> NDArray[np.float32]:
    """(bands, count): an orthonormal DCT (type 2); log-mel @ this is the first `count` MFCCs."""
    return _read_only(np.asarray(fft.dct(np.eye(bands), axis=1, norm="ortho"))[:, :count])


def window_and_filters(
    rate: int, bands: int, window: float = WINDOW
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The window (samples,) and the mel filters (bins, bands) of `log_mel`."""
    width = round(window * rate)
    return _hann(width), _mel_filters(rate, width, bands)


@cache
def _hann(width: int) -> NDArray[np.float32]:
    return _read_only(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width))  # periodic


@cache
def _mel_filters(rate: int, width: int, bands: int) -> NDArray[np.float32]:
    """Triangles (bins, bands) of height 1, linear in Hz between points evenly spaced in mel."""
    top = float(2595 * np.log10(1 + rate / 2 / 700))
    points = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)  # Hz
    left, centre, right = points[:-2], points[1:-1], points[2:]
    hertz = np.arange(width // 2 + 1)[:, None] * (rate / width)
    rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
    filters = np.maximum(0, np.minimum(rising, falling))
    if not filters.any(axis=0).all():
        raise InputError(
            f"{bands} mel bands at {rate} Hz are finer than the spectrum's {rate / width:g} Hz, so "
            "some would be empty; ask for fewer bands or a longer window"
        )
    return _read_only(filters)


def _read_only(values: np.ndarray) -> NDArray[np.float32]:
    array = values.astype(np.float32)
    array.flags.writeable = False  # it is cached and shared
    return array
