"""Signals that change at known instants, and the instant at which a column is seen to change.

A signal is in one of two states by turns; its instants lie at all offsets to a grid of 10 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin2, lfilter

RATE = 16_000
HOP = 0.010  # seconds between frames
TURN = 0.6  # seconds, about, in each state
PITCHES = (90, 120, 160, 220, 300)  # Hz

Spectrum = Callable[[float], float]


@dataclass(frozen=True)
class Change:
    """A signal, and where it changes; `of` makes one."""

    signal: NDArray[np.float32]
    at: NDArray[np.float64]  # (changes,) seconds; into the second state, back into the first, …

    @classmethod
    def of(cls, kind: str, *, count: int = 40, pitch: float = 160.0, seed: int = 0) -> Change:
        """A signal with `count` changes of one of `KINDS`; the first is at 1.000 s."""
        turn = np.arange(count)
        # Multiples of the golden ratio: offsets to the grid are spread evenly, however many.
        at = np.round((1 + TURN * turn + HOP * (0.618034 * turn % 1)) * RATE).astype(int)
        samples = at[-1] + RATE
        second = np.searchsorted(at, np.arange(samples), side="right") % 2 == 1
        voice = _Voice(second, float(pitch), np.random.default_rng(seed))
        return cls(KINDS[kind](voice).astype(np.float32), at / RATE)


@dataclass(frozen=True)
class _Voice:
    """Noise and a voice, made for the states of a signal."""

    second: NDArray[np.bool_]  # (samples,) which are in the second state
    pitch: float  # Hz
    rng: np.random.Generator

    def choose(self, first: object, second: object) -> NDArray[np.float64]:
        """The first in the first state, the second in the second."""
        return np.where(self.second, second, first)  # type: ignore[arg-type]

    def noise(self, *points: tuple[float, float]) -> NDArray[np.float64]:
        """Noise of standard deviation 1, with a spectrum through points (Hz, dB); none: white."""
        white = self.rng.standard_normal(len(self.second) + 256)
        if not points:
            return white[256:]
        hertz, decibels = np.array(points).T
        impulses = np.asarray(firwin2(257, hertz / 8000, 10 ** (decibels / 20)))
        coloured = np.convolve(white, impulses, "valid")
        return coloured / coloured.std()

    def periods(
        self,
        *,
        ratio: float = 1.0,
        jitter: tuple[float, float] = (0, 0),
        shimmer: tuple[float, float] = (0, 0),
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Phase in periods and amplitude, sample by sample.

        Args:
            ratio: of the second state's pitch to the first's.
            jitter, shimmer: largest relative change of a period's length and amplitude, by state.
        """
        samples, begin, number = len(self.second), 0.0, 0
        phase, amplitude = np.empty(samples), np.empty(samples)
        while begin < samples:
            # The state in the middle of a period decides, so that no direction is seen earlier.
            middle = min(int(begin + RATE / self.pitch / 2), samples - 1)
            state = int(self.second[middle])
            length = RATE / (self.pitch * (ratio if state else 1))
            length *= 1 + jitter[state] * self.rng.uniform(-1, 1)
            inside = np.arange(int(np.ceil(begin)), min(int(np.ceil(begin + length)), samples))
            phase[inside] = number + (inside - begin) / length
            amplitude[inside] = 1 + shimmer[state] * self.rng.uniform(-1, 1)
            begin, number = begin + length, number + 1
        return phase, amplitude

    def buzz(
        self, phase: NDArray[np.float64], first: Spectrum, second: Spectrum | None = None
    ) -> NDArray[np.float64]:
        """Harmonics up to 5 kHz with a spectrum in each state, of the same power in both."""
        spectra = [first] if second is None else [first, second]
        turn = np.exp(2j * np.pi * phase)
        harmonic = np.ones_like(turn)
        sums = np.zeros((len(spectra), len(phase)))
        count = int(5000 / self.pitch)
        for h in range(1, count + 1):
            harmonic *= turn
            # Phases of a chirp: no pulse that would clip.
            wave = (harmonic * np.exp(1j * np.pi * h * h / count)).real
            for row, spectrum in zip(sums, spectra, strict=True):
                row += spectrum(h * self.pitch) * wave
        sums /= sums.std(axis=1, keepdims=True)
        return sums[0] if second is None else self.choose(sums[0], sums[1])


def _vowel(*formants: tuple[float, float]) -> Spectrum:
    """A spectrum with formants (Hz, width)."""
    denominator = _resonances(*formants)

    def spectrum(hertz: float) -> float:
        turns = np.exp(-2j * np.pi * hertz / RATE * np.arange(len(denominator)))
        return float(1 / abs(denominator @ turns))

    return spectrum


def _resonances(*formants: tuple[float, float]) -> NDArray[np.float64]:
    """The denominator of an all-pole filter with formants (Hz, width)."""
    denominator = np.ones(1)
    for centre, width in formants:
        radius = np.exp(-np.pi * width / RATE)
        pole = [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2]
        denominator = np.convolve(denominator, pole)
    return denominator


def _tilt(decibels: float) -> Spectrum:
    """A spectrum with so many dB more an octave."""
    return lambda hertz: 10 ** (decibels * np.log2(hertz / 100) / 20)


_AH = ((750, 80), (1250, 100), (2450, 150), (3500, 200), (4500, 250))
_EE = ((350, 160), (2100, 200), (2950, 300), (3700, 400), (4500, 500))
_OPEN, _FRONT = _vowel(*_AH), _vowel(*_EE)
_FALLING = ((0, 0), (200, 0), (400, -6), (800, -12), (1600, -18), (3200, -24), (8000, -30))
_RISING = ((0, -30), (500, -20), (2000, -6), (4000, 0), (8000, 0))
_HISS = 0.02  # of noise beside a voice of 1


def _voice_level(voice: _Voice) -> NDArray[np.float64]:
    speech = voice.buzz(voice.periods()[0], _OPEN) + _HISS * voice.noise()
    return 0.02 * voice.choose(1, 4) * speech


def _voicing(voice: _Voice) -> NDArray[np.float64]:
    return 0.06 * voice.choose(voice.buzz(voice.periods()[0], _OPEN), voice.noise())


def _tone(voice: _Voice) -> NDArray[np.float64]:
    time = np.arange(len(voice.second)) / RATE
    tone = np.sqrt(2) * np.sin(2 * np.pi * 900 * time) + 0.01 * voice.noise()
    return 0.05 * voice.choose(tone, voice.noise())


def _pitch(voice: _Voice) -> NDArray[np.float64]:
    return 0.06 * (voice.buzz(voice.periods(ratio=1.4)[0], _OPEN) + _HISS * voice.noise())


def _harmonicity(voice: _Voice) -> NDArray[np.float64]:
    noise = voice.choose(0.05, 0.5) * voice.noise(*_FALLING)
    return 0.06 * (voice.buzz(voice.periods()[0], _OPEN) + noise)


def _jitter(voice: _Voice) -> NDArray[np.float64]:
    phase, _ = voice.periods(jitter=(0.002, 0.04))
    return 0.06 * (voice.buzz(phase, _OPEN) + _HISS * voice.noise())


def _shimmer(voice: _Voice) -> NDArray[np.float64]:
    phase, amplitude = voice.periods(shimmer=(0.02, 0.35))
    return 0.06 * (amplitude * voice.buzz(phase, _OPEN) + _HISS * voice.noise())


def _vowels(voice: _Voice) -> NDArray[np.float64]:
    return 0.06 * (voice.buzz(voice.periods()[0], _OPEN, _FRONT) + _HISS * voice.noise())


def _whisper(voice: _Voice) -> NDArray[np.float64]:
    noise = voice.noise()
    both = [np.asarray(lfilter([1], _resonances(*formants), noise)) for formants in (_AH, _EE)]
    return 0.05 * voice.choose(*(vowel / vowel.std() for vowel in both))


def _voice_tilt(voice: _Voice) -> NDArray[np.float64]:
    speech = voice.buzz(voice.periods()[0], _tilt(-12), _tilt(-3))
    return 0.06 * (speech + _HISS * voice.noise())


#: What changes → the signal. Those of `VOICED` have a voice throughout.
KINDS: dict[str, Callable[[_Voice], NDArray[np.float64]]] = {
    "noise level": lambda voice: 0.02 * voice.choose(1, 4) * voice.noise(),
    "noise tilt": lambda voice: 0.05 * voice.choose(voice.noise(*_FALLING), voice.noise(*_RISING)),
    "tone, noise": _tone,
    "whispered vowel": _whisper,
    "voice, noise": _voicing,
    "voice level": _voice_level,
    "pitch": _pitch,
    "harmonicity": _harmonicity,
    "jitter": _jitter,
    "shimmer": _shimmer,
    "vowel": _vowels,
    "voice tilt": _voice_tilt,
}
VOICED = ("voice level", "pitch", "harmonicity", "jitter", "shimmer", "vowel", "voice tilt")

#: Seconds from a change at which its response is read.
GRID = np.arange(-0.2, 0.2, 0.0005)


@dataclass(frozen=True)
class Response:
    """A column's frames around each change of a signal; `of` cuts them out."""

    time: NDArray[np.float64]  # (changes,) seconds from the change to the centre of its first frame
    values: NDArray[np.float64]  # (changes, frames)

    @classmethod
    def of(cls, values: NDArray[np.floating], centre: float, at: NDArray[np.float64]) -> Response:
        """The frames up to 0.25 s around each change, for a centre (seconds) of frame 0."""
        first = np.floor((at - centre - 0.25) / HOP).astype(int)
        index = first[:, None] + np.arange(51)
        inside = (index >= 0) & (index < len(values))
        cut = np.where(inside, values[np.clip(index, 0, len(values) - 1)], np.nan)
        return cls(centre + HOP * first - at, cut.astype(np.float64))

    def mean(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The mean over changes at the times of `GRID`: of each change, the nearest frame."""
        frame = np.rint((GRID - self.time[rows, None]) / HOP).astype(int)
        return np.nanmean(np.take_along_axis(self.values[rows], frame, 1), axis=0)

    def contrast(self) -> float:
        """Difference of the two states' means over their standard deviation; at most 1000."""
        late = [self.values[start::2, -13:] for start in (0, 1)]
        difference = abs(np.nanmean(late[0]) - np.nanmean(late[1]))
        spread = np.sqrt((np.nanvar(late[0]) + np.nanvar(late[1])) / 2)
        return float(difference / max(spread, difference / 1000, 1e-30))

    def crossing(self, rows: NDArray[np.int64] | None = None) -> float:
        """Seconds from the change to where the response, there and back averaged, is half done.

        Where it is seen earlier one way, as in decibels, it is seen later the other way.
        """
        rows = np.arange(len(self.values)) if rows is None else rows
        there, back = (self.mean(rows[rows % 2 == parity]) for parity in (0, 1))
        step = there - back
        low, high = step[GRID < -0.1].mean(), step[GRID > 0.1].mean()
        done = (step - low) / (high - low)
        below, above = np.flatnonzero(done < 0.5), np.flatnonzero(done >= 0.5)
        if not len(below) or not len(above):
            return float("nan")
        return float(GRID[above[0]] + GRID[below[-1]]) / 2

    def error(self, draws: int = 10) -> float:
        """Standard error of `crossing`, in seconds: changes drawn again with replacement."""
        rng = np.random.default_rng(0)
        count = len(self.values)
        with np.errstate(all="ignore"):
            drawn = [self.crossing(rng.integers(0, count, count)) for _ in range(draws)]
        return float(np.std(drawn))
