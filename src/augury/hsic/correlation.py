# pyright: reportMissingTypeStubs=false
"""The unbiased, normalised HSIC of one class, and tail probabilities, from sums over pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc, ndtr

from augury.hsic.kernels import Matrix
from augury.hsic.sums import PairSums, SpeechSums


def u_centred_sum(inner: float, ab: float, a: float, b: float, n: float) -> float:
    """Σ K∘L of U-centred kernels, n(n − 3) times the U-statistic of HSIC, from doubly centred ones.

    Centring adds constants to whole rows and columns, to which the U-statistic is invariant.
    Centred rows sum to 0, so that only the diagonals remain in its correction terms.

    Args:
        inner: Σ K∘L.
        ab, a, b: Σ aᵢ bᵢ, Σ aᵢ and Σ bᵢ of the diagonals.
        n: the number of points.
    """
    p = 1 / max(n - 2, 1)
    corrected = inner - n * p * ab + a * b * p / max(n - 1, 1)
    # Where all terms cancel, as when a single point differs, only rounding remains.
    return corrected if abs(corrected) > 1e-12 * inner else 0.0


def u_centred_sum_of_columns(A: Matrix, B: Matrix) -> float:
    """`u_centred_sum` of the kernels AAᵀ and BBᵀ of centred columns (n, …).

    >>> A = np.array([[-3.0], [-1.0], [1.0], [3.0]])
    >>> u_centred_sum_of_columns(A, -A) == u_centred_sum_of_columns(A, A) > 0
    True
    """
    a, b, cross = np.vecdot(A, A), np.vecdot(B, B), A.T @ B
    inner = float(np.vdot(cross, cross))
    return u_centred_sum(inner, float(a @ b), float(a.sum()), float(b.sum()), len(A))


def normalise(KL: float, KK: float, LL: float, n: float) -> float:
    """KL / √(KK·LL); 0 if either kernel is constant, as a constant is independent of everything."""
    if min(KK, LL) <= 1e-24 * n**2:  # 1e-12 of the kernels' entries, squared: rounding
        return 0.0
    return float(KL / (np.sqrt(KK) * np.sqrt(LL)))


@dataclass(frozen=True)
class USums:
    """Σ K∘L, Σ K∘K and Σ L∘L of a class's U-centred kernels; n(n − 3) times HSICu."""

    KL: float
    KK: float
    LL: float

    @classmethod
    def of(cls, speech: SpeechSums, pair: PairSums, n: float) -> USums:
        """From the sums of doubly centred kernels."""
        return cls(
            u_centred_sum(pair.KL, pair.ab, speech.a, pair.b, n),
            max(u_centred_sum(speech.KK, speech.aa, speech.a, speech.a, n), 0.0),
            max(u_centred_sum(pair.LL, pair.bb, pair.b, pair.b, n), 0.0),
        )


def gamma_tail(value: float, variance: float, third: float) -> float:
    """P(T ≥ value) for T of mean 0, by the gamma distribution with these central moments.

    Pearson's type III, as for the permutation moments of such statistics since Mielke (1979) and
    Josse, Pagès and Husson (2008): a weighted sum of χ² variables is skewed to the right.
    """
    if variance <= 0:
        return 1.0
    skew, t = third / variance**1.5, value / np.sqrt(variance)
    if skew < 1e-3:
        return float(ndtr(-t))
    argument = 4 / skew**2 + 2 * t / skew
    return float(gammaincc(4 / skew**2, argument)) if argument > 0 else 1.0
