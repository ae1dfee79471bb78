"""Audio: files decoded to signals, signals resampled and turned into log-mel spectrograms."""

from augury.audio.clipping import clipped_share
from augury.audio.containers import BadAudio
from augury.audio.decoding import Header, decode, header
from augury.audio.spectrum import (
    BANDS,
    FLOOR,
    HOP,
    RATE,
    WINDOW,
    Signal,
    cepstral_basis,
    log_mel,
    resample,
    window_and_filters,
)

__all__ = [
    "BANDS",
    "FLOOR",
    "HOP",
    "RATE",
    "WINDOW",
    "BadAudio",
    "Header",
    "Signal",
    "cepstral_basis",
    "clipped_share",
    "decode",
    "header",
    "log_mel",
    "resample",
    "window_and_filters",
]
