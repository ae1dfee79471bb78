"""What instant openSMILE's frames describe: half a window in, but for columns measured otherwise.

`benchmarks/timing.py` measures every column on signals that change at known instants.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Milliseconds from half the window to the measured centre → the columns. All others are seen
#: changing within 3 ms of half their window; there is none that no change is seen in.
OFFSETS: dict[int, tuple[str, ...]] = {
    # A difference from the frame before.
    -5: ("spectralFlux_sma3", "pcm_fftMag_spectralFlux_sma"),
    # A causal filter, later the faster a change is (2 Hz: early by 22 ms, 4 Hz: late by 5, 6 Hz: by
    # 11, a step's rise: by 13); 7 ms is what fits speech best.
    -7: ("audspecRasta_lengthL1norm_sma", *(f"audSpec_Rfilt_sma[{k}]" for k in range(26))),
    # Of windows of 20 ms, though they stand beside columns of 60 ms.
    -21: (
        "F1frequency_sma3nz", "F1bandwidth_sma3nz", "F2frequency_sma3nz", "F2bandwidth_sma3nz",
        "F3frequency_sma3nz", "F3bandwidth_sma3nz",
    ),
    # Of the few periods around a window's beginning: from -23 to -42, as the pitch is.
    -32: (
        "logHNR_sma", "jitterLocal_sma", "jitterLocal_sma3nz", "shimmerLocal_sma",
        "shimmerLocaldB_sma3nz",
    ),
    -37: ("jitterDDP_sma",),
}  # fmt: skip
_OFFSETS = {column: offset for offset, columns in OFFSETS.items() for column in columns}


def offset(column: str) -> float:
    """Seconds from half a column's window to the instant that its frames describe.

    >>> offset("logHNR_sma"), offset("F0final_sma")
    (-0.032, 0.0)
    """
    return _OFFSETS.get(column, 0) / 1000


def follow_voice(
    values: NDArray[np.floating], voiced: NDArray[np.bool_], frames: int
) -> NDArray[np.floating]:
    """Values moved to earlier frames within each voiced stretch; unvoiced frames stay as they are.

    Whether a frame of jitter or log HNR is voiced describes another instant than its value, so one
    shift cannot be right for both. A stretch's own edges are not moved, as smoothing has mixed
    them with unvoiced values; the value nearest to them is repeated.

    Args:
        values, voiced: (frames,)
        frames: how many frames later a value stands than its instant's voicing.

    >>> hnr = np.array([-100, -30, 1, 2, 3, 4, -30, -100.0])
    >>> follow_voice(hnr, hnr > -50, 2).tolist()
    [-100.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0, -100.0]
    """
    edges = np.flatnonzero(np.diff(voiced, prepend=False, append=False)).reshape(-1, 2)
    first, stop = edges[edges[:, 1] - edges[:, 0] > 2].T
    counts = stop - first
    # The frames of all these stretches, one after another.
    own = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
    source = np.arange(len(values))
    source[own] = np.clip(own + frames, np.repeat(first + 1, counts), np.repeat(stop - 2, counts))
    return values[source]
