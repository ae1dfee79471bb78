"""Vectors of our own: several numbers a frame of 25 ms, every 10 ms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from augury.audio import cepstral_basis, log_mel

NAMES = ("mel", "mfcc")
#: Cepstral coefficients, without their changes.
COEFFICIENTS = 13

Frames = NDArray[np.float32]


def mel(signal: NDArray[np.float32], rate: int) -> Frames:
    """The log-mel spectrogram, (frames, 80) dB, as pretraining and embeddings have it.

    >>> mel(np.sin(np.arange(1600, dtype=np.float32)), 16000).shape
    (8, 80)
    """
    return log_mel(signal, rate)


def mfcc(signal: NDArray[np.float32], rate: int) -> Frames:
    """13 cepstral coefficients (frames, 39) of the log-mel, their first and their second change.

    Changes are half the difference of both neighbours, at the ends of one: HuBERT's first targets
    are k-means of as many numbers (Hsu et al. 2021), with Kaldi's filters and windows of changes.

    >>> mfcc(np.sin(np.arange(1600, dtype=np.float32)), 16000).shape
    (8, 39)
    """
    spectrum = log_mel(signal, rate)
    cepstrum = spectrum @ cepstral_basis(spectrum.shape[1], COEFFICIENTS)
    change = _change(cepstrum)
    return np.concatenate([cepstrum, change, _change(change)], axis=1)


def _change(values: Frames) -> Frames:
    """From frame to frame; 0 for a single one."""
    if len(values) < 2:
        return np.zeros_like(values)
    return np.asarray(np.gradient(values, axis=0), np.float32)
