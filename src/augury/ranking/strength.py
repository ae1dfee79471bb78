"""How strong a relevance is, in three words: none, faint or clear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: A relevance beyond noise's is faint below that of a number of whose variance the label explains
#: about so much.
EXPLAINED = 0.01


def strength(relevance: float, noise: float, relevant: bool, counts: NDArray[np.integer]) -> str:
    """ "none" if not beyond noise's; else "faint" or "clear", by how far it is beyond.

    A relevance is a correlation of kernels, and the label's is spread over more directions the more
    classes there are: the limit is divided by the root of their number, C − 1 for equal classes.

    >>> counts = np.full(5, 20)
    >>> [strength(r, 0.0, True, counts) for r in (0.004, 0.006)]
    ['faint', 'clear']

    Args:
        relevance: HSIC(Z, Y), normalised.
        noise: the relevance of noise averaged over the segments.
        relevant: whether the difference is significant.
        counts: segments of each class.
    """
    if not relevant:
        return "none"
    return "clear" if relevance - noise >= faint_below(counts) else "faint"


def faint_below(counts: NDArray[np.integer]) -> float:
    """The relevance, beyond noise's, below which it is faint: 0.01 / √(C − 1) for equal classes.

    >>> faint_below(np.array([50, 50])), faint_below(np.array([10, 90]))
    (0.01, 0.01)
    """
    p = counts / max(counts.sum(), 1)
    variance = float((p * (1 - p)).sum())
    squares = float((p**2).sum() - 2 * (p**3).sum() + (p**2).sum() ** 2)
    return round(EXPLAINED * float(np.sqrt(squares)) / variance, 12) if variance else EXPLAINED
