"""The sums over pairs of points from which every estimator follows, and the plan for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from array_api_compat import array_namespace

from augury.embeddings import Indices
from augury.errors import InputError, did_you_mean
from augury.hsic.factors import ROUNDING, Factor, factor
from augury.hsic.kernels import Array, Values, Vector

#: How sums over pairs are computed: "auto" is the cheapest of "dense", "factored" and "strips".
Engine = Literal["auto", "exact", "dense", "factored", "strips"]
#: Classes up to this size use matrices if K is needed anyway: for its norm, or for tiles of it.
LARGEST_MATRIX = 1024
#: Classes up to this size use no factor, as matrices are cheaper.
LARGEST_WITHOUT_FACTOR = 400


@dataclass(frozen=True)
class SumPlan:
    """Which sums to compute and how, for all classes."""

    widths: tuple[float, ...]  # σ of each pseudo-label's kernel
    factors: tuple[Factor | None, ...]  # of each pseudo-label; None: too many columns
    engine: Engine = "auto"
    slip: bool = False  # K centred by I − 11ᵀ/n², and L not at all, as in the released code
    norms: bool = False  # whether to sum KK and aa
    points: bool = False  # whether to also compute the sums of each point
    chunk: int = 4096  # points per task in a larger class, or a 16th of the class if that is more
    strip: int = 256  # values per strip
    tile: int = 512  # points along a tile's side
    tolerance: float = 1e-6  # of the sums of each point, relative

    @classmethod
    def of(
        cls,
        zs: Sequence[Values],
        widths: Sequence[float],
        largest: int,
        *,
        tolerance: float,
        engine: Engine = "auto",
        slip: bool = False,
        norms: bool = False,
        points: bool = False,
    ) -> SumPlan:
        """A plan with factors that meet the tolerance in classes of up to `largest` points.

        Under independence KL is about the trace of K, and its error is at most this trace times the
        sum of what is left out of all points: a thirtieth of the tolerance leaves room for labels
        that hardly vary. `PairSums.error` bounds the remaining error.
        """
        left_out = max(0.03 * tolerance / max(largest, 1), ROUNDING)
        if check_engine(engine) == "factored":
            factors = [factor(z, w, left_out) for z, w in zip(zs, widths, strict=True)]
        elif engine == "auto" and largest > LARGEST_WITHOUT_FACTOR:
            factors = [
                factor(z, w, left_out, largest // 4) for z, w in zip(zs, widths, strict=True)
            ]
        else:
            factors = [None] * len(zs)
        return cls(tuple(widths), tuple(factors), engine, slip, norms, points, tolerance=tolerance)

    def largest_matrix(self, zs: Sequence[Values]) -> float:
        """The size up to which a class's kernels are computed as matrices."""
        if self.engine != "auto":
            return math.inf if is_dense(self.engine) else 0
        vectors = any(z.ndim > 1 and f is None for z, f in zip(zs, self.factors, strict=True))
        return LARGEST_MATRIX if self.norms or vectors else LARGEST_WITHOUT_FACTOR

    def with_factors(self, zs: Sequence[Values]) -> list[tuple[Values, Factor]]:
        """The pseudo-labels with a factor, and their factors."""
        return [(z, f) for z, f in zip(zs, self.factors, strict=True) if f is not None]


def check_engine(engine: str) -> str:
    """The engine's name; InputError if there is no such engine."""
    if engine not in get_args(Engine):
        names = ", ".join(get_args(Engine))
        hint = did_you_mean(engine, get_args(Engine))
        raise InputError(f"engine is {engine!r}, but must be one of {names}{hint}")
    return engine


def is_dense(engine: Engine) -> bool:
    """Whether the engine uses matrices for classes of any size."""
    return engine in ("exact", "dense")


@dataclass(frozen=True)
class SpeechSums:
    """Sums of the speech of one class; K centred."""

    total: float  # Σ K over all pairs: 0, except with the released code's slip
    a: float  # Σ aᵢ of K's diagonal
    aa: float = np.nan  # Σ aᵢ², with norms
    KK: float = np.nan  # Σ K∘K, with norms
    skew: float = np.nan  # tr K³ / ‖K‖³, with points
    each_KK: Vector | None = None  # (n,) see `PairSums.each_KL`


@dataclass(frozen=True)
class PairSums:
    """Sums of one pseudo-label's kernel and the speech of one class; K and L centred."""

    KL: float  # Σ K∘L over all pairs
    LL: float  # Σ L∘L
    ab: float  # Σ aᵢ bᵢ of K's and L's diagonals
    b: float  # Σ bᵢ
    bb: float  # Σ bᵢ²
    L: float  # Σ L over pairs of different points, not centred
    error: float = 0.0  # bound on KL's error by omitted columns or distant entries of L
    skew: float = np.nan  # tr L³ / ‖L‖³, with points
    # With points, sums over j ≠ i. With norms they use U-centred K and L (Székely, Rizzo 2014):
    # they add up to the unbiased statistics, and their ratios are bounded.
    each_KL: Vector | None = None  # (n,) Σⱼ (K∘L)ᵢⱼ
    each_LL: Vector | None = None  # (n,) Σⱼ (L∘L)ᵢⱼ
    each_ab: Vector | None = None  # (n,) aᵢ bᵢ; None with norms, which do not need it


@dataclass(frozen=True)
class ClassSums:
    """All sums of one class."""

    rows: Indices
    speech: SpeechSums
    pairs: tuple[PairSums, ...]


def u_centre(kernel: Array, diagonal: Array) -> Array:
    """The U-centred form of a doubly centred kernel: the diagonal is 0, and rows sum to 0."""
    xp, n = array_namespace(kernel), kernel.shape[0]
    p = 1 / max(n - 2, 1)
    pull = diagonal * p - float(xp.sum(diagonal)) * p / (2 * max(n - 1, 1))
    off = 1 - xp.eye(n, dtype=xp.float64, device=kernel.device)
    return (kernel + pull[:, None] + pull[None, :]) * off


def u_centred_row_sums(
    each: Array, a: Array, b: Array, Kb: Array, La: Array, n: int, sums: tuple[float, float, float]
) -> Array:
    """(points,) Σⱼ of U-centred K∘L, from the sums of doubly centred K and L.

    Args:
        each: (points,) Σ over j ≠ i of K∘L.
        a, b: (points,) the diagonals.
        Kb, La: (points,) the products with the whole diagonals.
        n: points in the class.
        sums: Σ a, Σ b and Σ ab over all n.
    """
    s_a, s_b, s_ab = sums
    p = 1 / max(n - 2, 1)
    c_a, c_b = s_a * p / max(n - 1, 1), s_b * p / max(n - 1, 1)
    A, B = a * p - c_a, b * p - c_b  # Kᵁ = K + A + aⱼ p
    both = (n - 1) * A * B + p * (A * (s_b - b) + B * (s_a - a)) + p**2 * (s_ab - a * b)
    return each + p * (Kb + La - 4 * a * b) + c_b * a + c_a * b + both


def skewness(kernel: Array, squares: float) -> float:
    """tr A³ / ‖A‖³ of a symmetric matrix A with ‖A‖² = `squares`; 0 if A is constant."""
    xp = array_namespace(kernel)
    cubes = xp.sum(xp.astype(xp.vecdot(kernel @ kernel, kernel), xp.float64))
    return float(cubes) / squares**1.5 if squares > 1e-24 else 0.0
