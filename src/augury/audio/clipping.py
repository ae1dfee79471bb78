"""How much of a recording was cut off because it was too loud for the recorder."""

from __future__ import annotations

import numpy as np

from augury.audio.spectrum import Signal

#: Fewest equal samples in a row, at the highest or lowest value of a recording, that are clipped.
FEWEST = 3
#: Quieter recordings have so few steps that such rows come by chance.
QUIETEST = 0.05


def clipped_share(signal: Signal) -> float:
    """The share of samples that are clipped: rows of equal ones at the highest or lowest value.

    Where a recording was made quieter after it was clipped, that value is not full scale. Lossy
    formats blur such rows: in MP3, Vorbis and Opus clipping is not seen.

    Args:
        signal: (samples,) as decoded, before resampling.

    >>> sine = np.sin(np.arange(1000) / 10).astype(np.float32)
    >>> clipped_share(sine), round(clipped_share(np.clip(2 * sine, -1, 1)), 2)
    (0.0, 0.67)
    """
    clipped = 0
    for extreme in (signal.max(), signal.min()):
        if abs(extreme) < QUIETEST:
            continue
        at = np.flatnonzero(signal == extreme)
        rows = np.diff(np.flatnonzero(np.diff(at, prepend=-2, append=len(signal) + 2) != 1))
        clipped += int(rows[rows >= FEWEST].sum())
    return clipped / len(signal)
