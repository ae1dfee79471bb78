"""The frames of a recording and their spectra, which our own descriptors of it share.

All frames are centred on the same instants, 10 ms apart, whatever their length: the first is at
10 ms, the middle of the first 20 ms of signal. Before and after the recording there is silence.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from augury import audio

#: Seconds from the recording's beginning to the centre of frame 0.
CENTRE = 0.010
#: Samples from frame to frame, and of a short frame (20 ms), at 16 kHz.
HOP, SHORT = 160, 320
#: Points of a short frame's Fourier transform.
SIZE = 512
_BLOCK = 32  # frames

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Spectra:
    """A recording's frames and short spectra, computed when first asked for.

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> spectra = Spectra.of(tone, 16000)
    >>> spectra.count, int(spectra.power[5].argmax()) * audio.RATE // SIZE
    (99, 1000)
    """

    signal: Values  # (samples,) at 16 kHz, full scale ±1

    @classmethod
    def of(cls, signal: NDArray[np.floating], rate: int) -> Spectra:
        """The spectra of a signal (samples,) of any rate, in Hz."""
        return cls(audio.resample(np.asarray(signal, np.float32), rate))

    @property
    def count(self) -> int:
        """Number of frames: at least one, and those of which 20 ms lie within the recording."""
        return 1 + max(0, len(self.signal) - SHORT) // HOP

    def frames(self, length: int) -> Values:
        """A view (frames, length) of the frames of so many samples."""
        before = length // 2 - round(CENTRE * audio.RATE)
        after = (self.count - 1) * HOP + length - before - len(self.signal)
        padded = np.pad(self.signal, (max(before, 0), max(after, 0)))
        return sliding_window_view(padded, length)[::HOP][: self.count]

    @cached_property
    def power(self) -> Values:
        """Power spectra (frames, 257) of short frames under a Hamming window."""
        power = np.empty((self.count, SIZE // 2 + 1), np.float32)
        for part, block in power_blocks(self.frames(SHORT), hamming(SHORT), SIZE):
            power[part] = block
        return power


def power_blocks(frames: Values, window: Values, size: int) -> Generator[tuple[slice, Values]]:
    """Power spectra (…, size // 2 + 1) of frames under a window, with the rows that they are of.

    A few at a time, so that they stay in the cache.
    """
    waves = np.zeros((_BLOCK, size), np.float32)
    for first in range(0, len(frames), _BLOCK):
        part = frames[first : first + _BLOCK]
        np.multiply(part, window, out=waves[: len(part), : len(window)])
        spectrum: NDArray[np.complex64] = np.asarray(
            fft.rfft(waves[: len(part)], axis=1, workers=1)
        )
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        yield slice(first, first + len(part)), power


@cache
def hamming(length: int) -> Values:
    """A Hamming window (length,)."""
    return np.hamming(length).astype(np.float32)


def smooth(values: NDArray[np.floating]) -> Values:
    """The mean (frames,) of each frame and its two neighbours, as published descriptors have.

    Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS)", IEEE Trans. Affective
    Computing 7 (2), 2016, section 3: "a symmetric moving average filter 3 frames long".

    >>> smooth(np.array([0.0, 0, 3, 0])).tolist()
    [0.0, 1.0, 1.0, 1.0]
    """
    around = np.concatenate([values[:1], values, values[-1:]])
    return ((around[:-2] + around[1:-1] + around[2:]) / 3).astype(np.float32)


def smooth_voice(values: NDArray[np.floating], voiced: NDArray[np.bool_], silent: float) -> Values:
    """The same within voiced stretches, whose edges have two frames; `silent` elsewhere.

    The same source: "for pitch, jitter and shimmer the smoothing is only performed within voiced
    regions".

    >>> voiced = np.array([False, True, True, False])
    >>> smooth_voice(np.array([9.0, 1, 2, 9]), voiced, 0).tolist()
    [0.0, 1.5, 1.5, 0.0]
    """
    around = np.pad(np.where(voiced, values, 0.0), 1)
    counts = np.pad(voiced.astype(np.int64), 1)
    sums = around[:-2] + around[1:-1] + around[2:]
    numbers = counts[:-2] + counts[1:-1] + counts[2:]
    return np.where(voiced, sums / np.maximum(numbers, 1), silent).astype(np.float32)
