"""Our own pitch: subharmonic summation in the spectrum, and the best path over frames.

Hermes, "Measurement of pitch by subharmonic summation", J. Acoust. Soc. Am. 83 (1), 1988 (SHS
below); Boersma, "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 1993 (the path).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from augury import audio
from augury.pseudolabels.spectra import Spectra, Values, power_blocks, smooth, smooth_voice

#: Samples (60 ms) and points of a frame, and its Gaussian window's standard deviation in half
#: frames: 60 ms and 0.4 are GeMAPS's, see `augury.pseudolabels.spectral`.
FRAME, SIZE, WIDTH = 960, 1024, 0.4
#: Hz: GeMAPS's lowest pitch; the ceiling of Boersma's method is 600 Hz.
LOWEST, HIGHEST = 55.0, 600.0
#: Points an octave, harmonics, and the weight of each against the one before: SHS, section II.
OCTAVE, HARMONICS, DECAY = 48, 15, 0.84
#: The summed spectrum's lowest point, Hz: where hearing begins.
FLOOR = 20.0
#: Candidates a frame.
CANDIDATES = 3
#: A candidate stronger than this is a voice: the documented default of openSMILE's `voicingCutoff`
#: (audeering.github.io/opensmile, cPitchShs).
VOICE = 0.7
#: Cost of a jump by an octave, and of a change between voice and none: Boersma 1993, as in Praat.
JUMP, CHANGE = 0.35, 0.14
_BLOCK = 256  # frames whose sums are computed at a time


@dataclass(frozen=True)
class Pitch:
    """The pitch of a recording's frames; `of` finds it.

    >>> pulses = (np.arange(16000) % 80 == 0).astype(np.float32)
    >>> pitch = Pitch.of(Spectra.of(pulses, 16000))
    >>> pitch.hertz[5].round(), pitch.has_voice.all()
    (np.float64(200.0), np.True_)
    """

    hertz: NDArray[np.float64]  # (frames,), 0 where there is no voice
    strength: NDArray[np.float64]  # (frames,), of the frame's candidate

    @classmethod
    def of(cls, spectra: Spectra) -> Pitch:
        """The best path through the candidates of all frames."""
        hertz, strength = find_candidates(spectra)
        state = best_path(hertz, strength)
        rows, chosen = np.arange(len(state)), np.maximum(state - 1, 0)
        voiced = state > 0
        return cls(np.where(voiced, hertz[rows, chosen], 0.0), strength[rows, chosen])

    @property
    def has_voice(self) -> NDArray[np.bool_]:
        """(frames,): which frames have a voice."""
        return self.hertz > 0

    def f0(self) -> Values:
        """Fundamental frequency, Hz, 55 to 600; 0 where there is no voice."""
        return smooth_voice(self.hertz, self.has_voice, 0.0)

    def voicing(self) -> Values:
        """How far the pitch stands out, up to 1: above 0.7 is a voice; 0 where silent.

        One minus the mean of the subharmonic sum over its peak, as the openSMILE book describes
        it: Eyben, "Real-time speech and music classification", Springer 2016, section 2.2.11.
        """
        return smooth(self.strength)


def find_candidates(spectra: Spectra) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pitches in Hz, and their strengths, of the highest peaks: (frames, 4), strongest first.

    Where there are fewer peaks, the rest have strength 0.
    """
    matrix, points = _summation()
    sums = np.empty((spectra.count, matrix.shape[1]), np.float32)
    frames = spectra.frames(FRAME)
    for first in range(0, len(frames), _BLOCK):
        block = frames[first : first + _BLOCK]
        magnitudes = np.empty((len(block), len(matrix)), np.float32)
        for part, power in power_blocks(block, _gaussian(), SIZE):
            np.sqrt(power, out=magnitudes[part])
        np.matmul(_near_peaks(magnitudes), matrix, out=sums[first : first + _BLOCK])
    sums, mean = sums[:, :-1], sums[:, -1]
    peaks = np.zeros_like(sums)
    inner = sums[:, 1:-1]
    highest = (inner > sums[:, :-2]) & (inner >= sums[:, 2:])
    np.multiply(inner, highest, out=peaks[:, 1:-1])
    rows = np.arange(len(sums))
    hertz, strength = np.empty((2, len(sums), CANDIDATES))
    for k in range(CANDIDATES):
        place = np.clip(peaks.argmax(axis=1), 1, len(points) - 2)
        height = peaks[rows, place]
        left, middle, right = (sums[rows, place + step] for step in (-1, 0, 1))
        bend = np.minimum(left - 2 * middle + right, -1e-12)
        shift = np.clip((left - right) / (2 * bend), -0.5, 0.5)  # the vertex of a parabola
        hertz[:, k] = points[0] * 2 ** ((place + shift) / OCTAVE)
        found = height > mean
        strength[:, k] = np.where(found, 1 - mean / np.where(found, height, 1), 0)
        peaks[rows, place] = 0
    return hertz, strength


def best_path(
    hertz: NDArray[np.float64], strength: NDArray[np.float64], *, voice: float = VOICE
) -> NDArray[np.int64]:
    """The state (frames,) of each frame on the best path: 0 for no voice, k for candidate k - 1.

    A path's worth is the sum of its candidates' strengths, `voice` for none, less the costs of its
    jumps. The best is Viterbi's, found by halves so that NumPy sees all frames at once.

    Args:
        hertz, strength: (frames, candidates)
    """
    count = len(hertz)
    local = np.concatenate([np.full((1, count), voice), strength.T]).astype(np.float32)
    octaves = np.log2(hertz.T)
    # steps[i, j, t]: worth of being in state j at t + 1 after i at t.
    steps = np.full((len(local), len(local), count - 1), -CHANGE, np.float32)
    steps[0, 0] = 0
    steps[1:, 1:] = -JUMP * np.abs(octaves[None, :, 1:] - octaves[:, None, :-1])
    after = _accumulate(steps + local[None, :, 1:])
    before = _accumulate((steps + local[:, None, :-1]).transpose(1, 0, 2)[:, :, ::-1])
    reached, left = local.copy(), np.zeros_like(local)
    if count > 1:
        reached[:, 1:] = (local[:, :1, None] + after).max(axis=0)
        left[:, :-1] = (local[:, -1:, None] + before).max(axis=0)[:, ::-1] - local[:, :-1]
    return (reached + left).argmax(axis=0)


def _accumulate(steps: Values) -> Values:
    """The worth of the best way from state i at the beginning to j after each step, (i, j, t)."""
    steps = np.ascontiguousarray(steps)
    count = steps.shape[2]
    if count <= 1:
        return steps
    result = np.empty_like(steps)
    pairs = _accumulate(_join(steps[:, :, : count // 2 * 2 : 2], steps[:, :, 1::2]))
    result[:, :, 0] = steps[:, :, 0]
    result[:, :, 1::2] = pairs
    odd = steps[:, :, 2::2]
    result[:, :, 2::2] = _join(pairs[:, :, : odd.shape[2]], odd)
    return result


def _join(first: Values, second: Values) -> Values:
    """The best ways (i, j, t) of some steps after others: a product of matrices in (max, +).

    All ways of a t are less by the best of them, which changes no choice and keeps float32 exact.
    """
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    best = first[:, :1] + second[:1]
    for state in range(1, len(second)):
        np.maximum(best, first[:, state, None] + second[state], out=best)
    best -= best.max(axis=(0, 1))
    return best


def _near_peaks(spectra: Values) -> Values:
    """Spectra (frames, points) with 0 but within two points of a maximum: SHS, section II.

    Points of a row and of the next are neighbours here, but an edge is no maximum.
    """
    values = spectra.reshape(-1)
    peak = np.zeros(len(values) + 4, bool)
    inner = peak[2:-2]
    np.greater(values[1:-1], values[:-2], out=inner[1:-1])
    inner[1:-1] &= values[1:-1] >= values[2:]
    inner.reshape(spectra.shape)[:, [0, -1]] = False
    near = inner.copy()
    for shift in (0, 1, 3, 4):
        near |= peak[shift : len(values) + shift]
    values *= near
    return spectra


@cache
def _summation() -> tuple[Values, NDArray[np.float64]]:
    """The subharmonic sum as a matrix (points of a spectrum, pitches + 1), and the pitches in Hz.

    The last column gives the sum's mean over all pitches from 20 Hz to 8 kHz. SHS smooths the
    spectrum (¼, ½, ¼), reads it by cubic splines at points evenly spaced in octaves, and adds it to
    itself moved down by log2(n). Left out: its weight for the ear's dullness at low frequencies.
    """
    from scipy.interpolate import CubicSpline  # it takes long to load

    size = SIZE // 2 + 1
    smoothing = np.eye(size) / 2 + (np.eye(size, k=1) + np.eye(size, k=-1)) / 4
    smoothing[:, [0, -1]] = np.eye(size)[:, [0, -1]]
    count = int(np.log2(audio.RATE / 2 / FLOOR) * OCTAVE) + 1
    points = FLOOR * 2 ** (np.arange(count) / OCTAVE)
    read = np.asarray(CubicSpline(np.arange(size), np.eye(size))(points / (audio.RATE / SIZE)).T)
    spectrum = smoothing @ read
    sums = np.zeros_like(spectrum)
    for harmonic in range(1, HARMONICS + 1):
        moved = round(OCTAVE * np.log2(harmonic))
        sums[:, : count - moved] += DECAY ** (harmonic - 1) * spectrum[:, moved:]
    inside = (points >= LOWEST) & (points <= HIGHEST)
    columns = [sums[:, inside], sums.mean(axis=1, keepdims=True)]
    matrix = np.concatenate(columns, axis=1)
    # A spline's tails are below what float32 keeps normal, and the processor is slow with those.
    matrix[np.abs(matrix) < 1e-7] = 0
    return matrix.astype(np.float32), points[inside]


@cache
def _gaussian() -> Values:
    time = (np.arange(FRAME) - (FRAME - 1) / 2) / (FRAME / 2)
    return np.exp(-np.square(time / WIDTH) / 2).astype(np.float32)
