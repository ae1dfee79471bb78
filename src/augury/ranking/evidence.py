"""Whether there is enough data to say how certain an order is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from augury.report.text import count

#: Fewest units, of those that are resampled, behind intervals and tiers; with fewer they are
#: clearly too narrow.
FEWEST_UNITS = 20
#: Fewest classes with a score.
FEWEST_CLASSES = 2
#: Fewest segments of a class that the robust estimator scores.
FEWEST_SEGMENTS = 4


def shortage(
    counts: NDArray[np.integer], estimator: str, groups: tuple[str, int] | None = None
) -> str:
    """What there is too little of for intervals and tiers, "" if there is enough.

    >>> shortage(np.array([4, 2, 2, 2]), "robust")
    '1 class has enough segments to be scored, and 2 are needed'

    Args:
        counts: segments of each class.
        estimator: "robust" scores no small classes.
        groups: what is resampled whole, and the number of these groups; None: segments are.
    """
    scored = counts[counts >= FEWEST_SEGMENTS] if estimator == "robust" else counts
    if len(scored) < FEWEST_CLASSES:
        return (
            f"{count(len(scored), 'class has', 'classes have')} enough segments to be scored, and "
            f"{FEWEST_CLASSES} are needed"
        )
    if groups and groups[1] < FEWEST_UNITS:
        name, number = groups
        return f"{number} groups ({name}) are resampled whole, and {FEWEST_UNITS} are needed"
    if scored.sum() < FEWEST_UNITS:
        return f"{scored.sum()} segments are scored, and {FEWEST_UNITS} are needed"
    return ""
