"""Our own descriptors of a voice's periods: how alike neighbouring ones are, from the waveform.

All return one value a frame, (frames,) float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from augury import audio
from augury.pseudolabels.pitch import HIGHEST, LOWEST, Pitch
from augury.pseudolabels.spectra import HOP, SHORT, Spectra, Values, smooth, smooth_voice

#: Seconds that are compared with those one period later: RAPT's, of Talkin, "A robust algorithm for
#: pitch tracking", in "Speech coding and synthesis", Elsevier 1995, table 2.
MATCH = 0.0075
#: Seconds, and least periods, whose mean is a voice's harmonic part. Of 5 to 25 ms, this parts
#: TIMIT's phone labels best (`benchmarks/own_seven.py --choose`).
MEAN, LEAST = 0.0125, 2
#: How far a period may be from the pitch's, as its share: a step of the pitch's grid, at which it
#: was found; and from its neighbours' for jitter.
REACH, JITTER_REACH = 0.015, 0.1
#: Log HNR where there is no voice, as openSMILE has it.
NO_VOICE = -100.0
#: Points and samples (40 ms: three periods of 75 Hz) of a frame's autocorrelation.
_POINTS, _FRAME = 1024, 640
_LONGEST = round(audio.RATE / LOWEST)  # samples of the longest period
_PAD = 4 * _LONGEST


@dataclass(frozen=True)
class Waveform:
    """A signal, and the energy of its stretches."""

    signal: Values  # (samples,), padded on both sides

    @cached_property
    def _before(self) -> NDArray[np.float64]:
        """The energy (samples + 1,) of all samples before each."""
        return np.concatenate([[0.0], np.cumsum(np.square(self.signal), dtype=np.float64)])

    def energy(
        self, begin: NDArray[np.int64], size: int | NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The energy (places,) of so many samples from each place on."""
        return self._before[begin + size] - self._before[begin]


@dataclass(frozen=True)
class Periods:
    """The voiced frames of a recording, and the length of the period at each; `of` finds them."""

    wave: Waveform
    voiced: NDArray[np.bool_]  # (frames,)
    centre: NDArray[np.int64]  # (voiced,) samples, in the padded signal
    guess: NDArray[np.float64]  # (voiced,) samples of a period, from the pitch
    length: NDArray[np.int64]  # (voiced,) samples, from the waveform

    @classmethod
    def of(cls, spectra: Spectra, pitch: Pitch) -> Periods:
        """Match the waveform around each voiced frame with itself one period later."""
        wave = Waveform(np.pad(spectra.signal, (_PAD, _PAD + SHORT)))
        centre = SHORT // 2 + HOP * np.flatnonzero(pitch.has_voice) + _PAD
        guess = audio.RATE / pitch.hertz[pitch.has_voice]
        length = np.rint(match_periods(wave, centre, guess, REACH)).astype(np.int64)
        return cls(wave, pitch.has_voice, centre, guess, length)

    def spread(self, values: NDArray[np.floating], silent: float) -> Values:
        """Values (voiced,) as (frames,), smoothed within voiced stretches; `silent` elsewhere."""
        every = np.zeros(len(self.voiced))
        every[self.voiced] = values
        return smooth_voice(every, self.voiced, silent)


def match_periods(
    wave: Waveform,
    centre: NDArray[np.int64],
    guess: NDArray[np.float64],
    reach: float,
    *,
    fine: bool = False,
) -> NDArray[np.float64]:
    """The lag (places,), in samples, at which 7.5 ms around each place are most like themselves.

    Alike is 2 Σxy / (Σx² + Σy²). If `fine`, lags between samples count, by a parabola.

    Args:
        centre, guess: (places,) samples.
        reach: share by which lags may differ from the guess, at least one sample.
    """
    size = round(MATCH * audio.RATE)
    stretches = sliding_window_view(wave.signal, size)
    middle = np.rint(guess).astype(np.int64)
    steps = np.maximum(1, np.ceil(reach * guess)).astype(np.int64)
    most = int(steps.max(initial=0))
    likeness = np.full((2 * most + 3, len(centre)), -2.0)
    for step in range(-most, most + 1):
        used = np.flatnonzero(np.abs(step) <= steps)
        lag = middle[used] + step
        begin = centre[used] - (size + lag) // 2
        later = begin + lag
        product = np.einsum("ij,ij->i", stretches[begin], stretches[later])
        both = wave.energy(begin, size) + wave.energy(later, size)
        likeness[step + most + 1, used] = 2 * product / np.maximum(both, 1e-20)
    best = likeness[1:-1].argmax(axis=0) + 1
    lag = (middle + best - most - 1).astype(np.float64)
    if fine:
        places = np.arange(len(centre))
        left, top, right = (likeness[best + step, places] for step in (-1, 0, 1))
        bend = np.minimum(left - 2 * top + right, -1e-12)
        lag += np.where((left > -2) & (right > -2), (left - right) / (2 * bend), 0).clip(-0.5, 0.5)
    return lag


def log_hnr(periods: Periods) -> Values:
    """Harmonics-to-noise ratio, dB, about -60 to 60; -100 where there is no voice.

    Yumoto, Gould and Baer, "Harmonics-to-noise ratio as an index of the degree of hoarseness", J.
    Acoust. Soc. Am. 71 (6), 1982, eq. 1 to 3: the energy of the mean period, in all periods, over
    that of what remains. Here of the periods in 12.5 ms around the frame, and at least two.
    """
    if not len(periods.length):
        return periods.spread(np.empty(0), NO_VOICE)
    length = periods.length
    span = np.maximum(round(MEAN * audio.RATE), LEAST * length)
    phases = int(length.max())
    begin = periods.centre - span // 2
    stretches = sliding_window_view(periods.wave.signal, phases)
    phase = np.arange(phases)
    sums = np.zeros((len(span), phases), np.float32)
    used = np.arange(len(span))
    for turn in range(int((span // length).max()) + 1):
        used = used[turn * length[used] < span[used]]
        limit = np.minimum(length[used], span[used] - turn * length[used])
        inside = phase < limit[:, None]
        sums[used] += stretches[begin[used] + turn * length[used]] * inside
    counts = (span[:, None] - phase - 1) // length[:, None] + 1  # of a phase's samples
    harmonic = (np.square(sums) / np.maximum(counts, 1)).sum(axis=1)
    noise = (periods.wave.energy(begin, span) - harmonic).clip(0)
    least = 1e-6 * (harmonic + noise) + 1e-30
    return periods.spread(10 * np.log10((harmonic + least) / (noise + least)), NO_VOICE)


def jitter(periods: Periods) -> Values:
    """Change of length from period to period, as a share of their mean; 0 without a voice.

    "Jitter (local)" of Praat's manual, "Voice 2. Jitter", over three periods around the frame:
    Farrús et al., "Jitter and shimmer measurements for speaker recognition", Interspeech 2007.
    """
    lengths = np.stack(
        [
            match_periods(
                periods.wave,
                periods.centre + place * periods.length,
                periods.length.astype(np.float64),
                JITTER_REACH,
                fine=True,
            )
            for place in (-1, 0, 1)
        ]
    )
    return periods.spread(_local_change(lengths), 0.0)


def shimmer(periods: Periods) -> Values:
    """Change of amplitude from period to period, as a share of their mean; 0 without a voice.

    "Shimmer (local)" of Praat's manual, "Voice 3. Shimmer", over four periods around the frame,
    each one's amplitude its highest less its lowest sample; the source is that of `jitter`.
    """
    if not len(periods.length):
        return periods.spread(np.empty(0), 0.0)
    longest = int(periods.length.max())
    stretches = sliding_window_view(periods.wave.signal, longest)
    inside = np.arange(longest) < periods.length[:, None]
    heights: list[NDArray[np.floating]] = []
    for place in (-2, -1, 0, 1):
        waves = stretches[periods.centre + place * periods.length]
        top = np.where(inside, waves, -np.inf).max(axis=1)
        heights.append(top - np.where(inside, waves, np.inf).min(axis=1))
    return periods.spread(_local_change(np.stack(heights)), 0.0)


def harmonicity(spectra: Spectra) -> Values:
    """The highest autocorrelation at lags of 55 to 600 Hz, of 1 for no lag: 0..1, 0 where silent.

    Boersma 1993 (see `augury.pseudolabels.pitch`), eq. 9, in frames of 40 ms: divided by the
    window's own autocorrelation. Shared with no other descriptor, and defined without a voice.
    """
    lags = slice(int(audio.RATE / HIGHEST), _FRAME * 3 // 5)
    window = np.hanning(_FRAME).astype(np.float32)
    own = _correlate(window[None])[0]
    found = np.empty(spectra.count, np.float32)
    frames = spectra.frames(_FRAME)
    for first in range(0, len(frames), 256):
        part = frames[first : first + 256]
        own_part = _correlate((part - part.mean(axis=1, keepdims=True)) * window)
        ratio = own_part[:, lags] / (own[lags] / own[0])
        found[first : first + 256] = ratio.max(axis=1) / np.maximum(own_part[:, 0], 1e-12)
    return smooth(found.clip(0, 1))


def _correlate(waves: Values) -> Values:
    """The autocorrelation (rows, lags) of waves (rows, samples)."""
    spectrum: NDArray[np.complex64] = np.asarray(fft.rfft(waves, _POINTS, axis=1, workers=1))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.asarray(fft.irfft(power, _POINTS, axis=1, workers=1), np.float32)


def _local_change(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean difference of neighbours over the mean: (places, frames) to (frames,)."""
    change = np.abs(np.diff(values, axis=0)).mean(axis=0)
    mean = values.mean(axis=0)
    return np.where(mean > 0, change / np.where(mean > 0, mean, 1), 0.0)
