"""When openSMILE's columns see a change, against half a window: by synthetic changes, and on speech.

python benchmarks/timing.py [SET ...]
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass

import numpy as np

from augury import pseudolabels
from augury.pseudolabels import opensmile

from changes import KINDS, PITCHES, VOICED, Change, Response
from measure import machine

FAINTEST = 1.5  # standard deviations between the two states: less says nothing


@dataclass(frozen=True)
class Measured:
    """A column's response to a kind of change, at one pitch."""

    kind: str
    pitch: int  # Hz
    late: float  # seconds after the change
    error: float
    contrast: float


def measure(kind: str, pitch: int) -> dict[tuple[str, str], Measured]:
    """Every column's response to a kind of change: (feature set, column) → what was measured."""
    change, found = Change.of(kind, pitch=pitch), {}
    for feature_set in opensmile.SETS:
        columns = opensmile.descriptor_names(feature_set)
        plan = opensmile.extractor([(feature_set, column) for column in columns])
        values = opensmile.extract(plan, change.signal)
        voiced = values[f"{feature_set}:{pseudolabels.PITCH[feature_set]}"] > 0
        for column, window in zip(columns, plan.windows, strict=True):
            frames = values[f"{feature_set}:{column}"]
            if needs_voice(column):
                if kind not in VOICED:
                    continue
                frames = np.where(voiced, frames, np.nan)
            response = Response.of(frames, window / 2, change.at)
            if (contrast := response.contrast()) > FAINTEST:
                found[feature_set, column] = Measured(
                    kind, pitch, response.crossing(), response.error(), contrast
                )
    return found


def needs_voice(column: str) -> bool:
    """Whether a column has values in voiced frames only, the pitch itself apart."""
    return column.startswith(pseudolabels.VOICED_ONLY) and not column.startswith("F0")


def main() -> None:
    warnings.simplefilter("ignore")
    print(machine())
    found = {}
    for kind in KINDS:
        for pitch in PITCHES if kind in (*VOICED, "voice, noise") else PITCHES[1:2]:
            print(kind, pitch, file=sys.stderr, flush=True)
            for column, m in measure(kind, pitch).items():
                found.setdefault(column, {}).setdefault(kind, []).append(m)
    import pickle
    pickle.dump(found, open("/tmp/timing_work/found.pkl", "wb"))


if __name__ == "__main__":
    main()
