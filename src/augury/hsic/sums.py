"""What is summed over the pairs of a class, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from augury.embeddings import Indices
from augury.hsic.factors import ROUNDING, Factor, factor
from augury.hsic.kernels import Array

Vector = NDArray[np.float64]

#: Sets up to this size need no factor: matrices are cheaper.
LARGEST_WITHOUT_FACTOR = 400


@dataclass(frozen=True)
class SumPlan:
    """What is to be summed, of all classes alike."""

    widths: tuple[float, ...]  # σ of each pseudo-label's kernel
    factors: tuple[Factor | None, ...]  # of each, or None where it has none of few columns
    slip: bool = False  # K centred by I − 11ᵀ/n², and L not at all, as in the released code
    norms: bool = False  # whether KK and aa are wanted
    points: bool = False  # whether the sums of each point are wanted

    @classmethod
    def of(
        cls,
        zs: Sequence[NDArray],
        widths: Sequence[float],
        largest: int,
        *,
        tolerance: float,
        **choices: Any,
    ) -> SumPlan:
        """With factors that aim at the tolerance in sets of up to `largest` points.

        Where nothing depends KL is about the trace of K, and its error is at most that trace times
        what is left out of all points: a thirtieth of the tolerance leaves room for labels that
        hardly vary. What then bounds the error is said by `PairSums.error`.
        """
        left_out = max(0.03 * tolerance / max(largest, 1), ROUNDING)
        factors = [
            factor(z, width, left_out, largest // 4) if largest > LARGEST_WITHOUT_FACTOR else None
            for z, width in zip(zs, widths, strict=True)
        ]
        return cls(tuple(widths), tuple(factors), **choices)

    def with_factors(self, zs: Sequence[NDArray]) -> list[tuple[NDArray, Factor]]:
        """The pseudo-labels that have a factor, with it."""
        return [(z, one) for z, one in zip(zs, self.factors, strict=True) if one is not None]


@dataclass(frozen=True)
class SpeechSums:
    """The speech of one class; K centred."""

    total: float  # Σ K over all pairs: 0, but not with the released code's slip
    a: float  # Σ aᵢ of K's diagonal
    aa: float = np.nan  # Σ aᵢ², where norms are asked for
    KK: float = np.nan  # Σ K∘K, where norms are asked for
    skew: float = np.nan  # tr K³ / ‖K‖³, where points are asked for
    each_KK: Vector | None = None  # (n,) see `PairSums.each_KL`


@dataclass(frozen=True)
class PairSums:
    """What one pseudo-label's kernel gives with the speech of one class; K and L centred."""

    KL: float  # Σ K∘L over all pairs
    LL: float  # Σ L∘L
    ab: float  # Σ aᵢ bᵢ of K's and L's diagonals
    b: float  # Σ bᵢ
    bb: float  # Σ bᵢ²
    L: float  # Σ L over pairs of different points, not centred
    error: float = 0.0  # bound on what left-out columns or far-off entries of L change of KL
    skew: float = np.nan  # tr L³ / ‖L‖³, where points are asked for
    # Where points are asked for, sums over j ≠ i. With norms K and L are U-centred for them
    # (Székely, Rizzo 2014): they add up to the unbiased statistics, and their ratios are bounded.
    each_KL: Vector | None = None  # (n,) Σⱼ (K∘L)ᵢⱼ
    each_LL: Vector | None = None  # (n,) Σⱼ (L∘L)ᵢⱼ
    each_ab: Vector | None = None  # (n,) aᵢ bᵢ


@dataclass(frozen=True)
class ClassSums:
    """Everything about one class."""

    rows: Indices
    speech: SpeechSums
    pairs: tuple[PairSums, ...]


# ------------------------------------------------------------------- pieces of all engines


def u_centre(kernel: Array, diagonal: Array) -> Array:
    """A doubly centred kernel U-centred: rows without the diagonal, which is 0, sum to 0."""
    xp, n = array_namespace(kernel), kernel.shape[0]
    p = 1 / max(n - 2, 1)
    pull = diagonal * p - float(xp.sum(diagonal)) * p / (2 * max(n - 1, 1))
    off = 1 - xp.eye(n, dtype=xp.float64, device=device(kernel))
    return (kernel + pull[:, None] + pull[None, :]) * off


def u_centred_row_sums(
    each: Array, a: Array, b: Array, Kb: Array, La: Array, n: int, sums: tuple[float, float, float]
) -> Array:
    """Σⱼ of U-centred K∘L from those of the doubly centred, by points.

    Args:
        each: (points,) Σ over j ≠ i of K∘L.
        a, b: (points,) the diagonals.
        Kb, La: (points,) the products with the whole diagonals.
        sums: Σ a, Σ b and Σ ab over all n.
    """
    s_a, s_b, s_ab = sums
    p = 1 / max(n - 2, 1)
    c_a, c_b = s_a * p / max(n - 1, 1), s_b * p / max(n - 1, 1)
    A, B = a * p - c_a, b * p - c_b  # Kᵁ = K + A + aⱼ p
    both = (n - 1) * A * B + p * (A * (s_b - b) + B * (s_a - a)) + p**2 * (s_ab - a * b)
    return each + p * (Kb + La - 4 * a * b) + c_b * a + c_a * b + both


def skewness(kernel: Array, squares: float) -> float:
    """tr A³ / ‖A‖³ of a symmetric matrix; 0 of a constant."""
    xp = array_namespace(kernel)
    cubes = xp.sum(xp.astype(xp.vecdot(kernel @ kernel, kernel), xp.float64))
    return float(cubes) / squares**1.5 if squares > 1e-24 else 0.0


def u_centred_sum(inner: float, ab: float, a: float, b: float, n: int) -> float:
    """Σ K∘L of U-centred kernels, n(n − 3) times the U-statistic of HSIC, from doubly centred ones.

    Centring adds the same to whole rows and columns, which the U-statistic does not see, and the
    rows then sum to 0, so that only diagonals are left of its correction terms.

    Args:
        inner: Σ K∘L.
        ab, a, b: Σ aᵢ bᵢ, Σ aᵢ and Σ bᵢ of the diagonals.
        n: the number of points.
    """
    p = 1 / max(n - 2, 1)
    corrected = inner - n * p * ab + a * b * p / max(n - 1, 1)
    # Where all terms cancel, as when one point alone differs, what is left is their rounding.
    return corrected if abs(corrected) > 1e-12 * inner else 0.0


def correlation_of(KL: float, KK: float, LL: float, n: int) -> float:
    """KL / √(KK·LL), and 0 where either kernel is constant: a constant depends on nothing."""
    if min(KK, LL) <= 1e-24 * n**2:  # 1e-12 of the kernels' entries, squared: rounding
        return 0.0
    return float(KL / (np.sqrt(KK) * np.sqrt(LL)))
