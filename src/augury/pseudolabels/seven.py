"""Our own counterparts of the paper's seven, and four relatives, under this package's licence.

They follow published descriptions, cited where they are computed, and nothing of openSMILE's code
or configuration. Frames are 10 ms apart. `benchmarks/own_seven.py` compares them with openSMILE's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augury.pseudolabels import periods, pitch, spectra, spectral
from augury.store import digest

#: Candidates that take the place of the paper's seven, in the paper's order.
OWN_SEVEN = (
    "own:loudness", "own:F0", "own:voicing", "own:alpha_ratio", "own:zcr", "own:rasta_l1",
    "own:log_hnr",
)  # fmt: skip
#: Those that are undefined in unvoiced frames; F0 is 0 there.
VOICED_ONLY = ("F0", "log_hnr", "jitter", "shimmer")
#: Seconds from a frame's centre to the instant that is seen in it, by `benchmarks/timing.py`: RASTA
#: is a causal filter.
OFFSETS = {"rasta_l1": -0.007}


@dataclass(frozen=True)
class _Parts:
    """What several descriptors share, each part computed once."""

    spectra: spectra.Spectra

    @cached_property
    def pitch(self) -> pitch.Pitch:
        return pitch.Pitch.of(self.spectra)

    @cached_property
    def periods(self) -> periods.Periods:
        return periods.Periods.of(self.spectra, self.pitch)


_DESCRIPTORS: dict[str, Callable[[_Parts], spectra.Values]] = {
    "F0": lambda parts: parts.pitch.f0(),
    "voicing": lambda parts: parts.pitch.voicing(),
    "loudness": lambda parts: spectral.loudness(parts.spectra),
    "alpha_ratio": lambda parts: spectral.alpha_ratio(parts.spectra),
    "zcr": lambda parts: spectral.zcr(parts.spectra),
    "rasta_l1": lambda parts: spectral.rasta_l1(parts.spectra),
    "log_hnr": lambda parts: periods.log_hnr(parts.periods),
    "jitter": lambda parts: periods.jitter(parts.periods),
    "shimmer": lambda parts: periods.shimmer(parts.periods),
    "entropy": lambda parts: spectral.entropy(parts.spectra),
    "harmonicity": lambda parts: periods.harmonicity(parts.spectra),
}
NAMES = tuple(_DESCRIPTORS)


def values(
    names: Sequence[str], signal: NDArray[np.floating], rate: int
) -> dict[str, spectra.Values]:
    """Descriptors of a recording, name → (frames,) float32; what they share is computed once.

    >>> tone = np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
    >>> descriptors = values(["F0", "zcr"], tone, 16000)
    >>> {name: round(float(array[9]), 2) for name, array in descriptors.items()}
    {'F0': 200.34, 'zcr': 0.03}
    """
    parts = _Parts(spectra.Spectra.of(signal, rate))
    return {name: _DESCRIPTORS[name](parts) for name in names}


def centre(name: str) -> float:
    """Seconds from a recording's beginning to the instant that a descriptor's frame 0 describes.

    >>> centre("F0"), round(centre("rasta_l1"), 6)
    (0.01, 0.003)
    """
    return spectra.CENTRE + OFFSETS.get(name, 0.0)


@cache
def version() -> str:
    """A digest of the modules that compute the descriptors: an edit of any makes all anew."""
    modules = (periods, pitch, spectra, spectral)
    files = [Path(str(module.__file__)) for module in modules] + [Path(__file__)]
    return digest(b"".join(file.read_bytes() for file in files))[:16]


def describe(name: str) -> str:
    """What a descriptor is, in a line: the first of its docstring.

    >>> describe("zcr")
    'Share of neighbouring samples in 60 ms that differ in sign, 0..1.'
    """
    methods = {"F0": pitch.Pitch.f0, "voicing": pitch.Pitch.voicing}
    owner = periods if hasattr(periods, name) else spectral
    return (methods.get(name, getattr(owner, name, None)).__doc__ or "").split("\n")[0]
