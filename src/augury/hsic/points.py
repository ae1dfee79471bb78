# pyright: reportConstantRedefinition=false, reportMissingTypeStubs=false
"""The sums of each point, computed in a second pass over a larger class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from array_api_compat import array_namespace
from scipy.linalg import block_diag  # pyright: ignore[reportUnknownVariableType]

from augury.embeddings import Embeddings, Indices
from augury.hsic.factors import Factor
from augury.hsic.kernels import Array, Matrix, Values, Vector
from augury.hsic.moments import (
    Moments,
    as_numpy,
    leading_eigenvectors,
    rows_at_once,
    unit_speech,
)
from augury.hsic.strips import centre_point_sums
from augury.hsic.sums import ClassSums, PairSums, SumPlan, u_centred_row_sums


@dataclass(frozen=True)
class PointSums:
    """Sums of single points; K and L centred."""

    KL: Matrix  # (points, labels with a factor) see `PairSums.each_KL`
    ab: Matrix  # (points, labels with a factor) aᵢ bᵢ
    LL: Matrix  # (points, labels with a factor)
    KK: Vector  # (points,) not U-centred yet, as are the next
    a: Vector  # (points,)
    Ka: Vector  # (points,)
    projections: Matrix  # (points, labels without) u · `RowSums.projection`


def leading_labels(
    factors: Sequence[Factor], sums: Moments, tolerance: float
) -> tuple[tuple[Factor, ...], Moments]:
    """Factors of fewer columns, and a class's centred moments with them.

    A factor's columns are as many as its rarest values need, and the error of sums over all pairs.
    For sums of single points those do that carry all of the kernel's norm in this class but the
    tolerance, mostly half of them.
    """
    parts: list[tuple[Factor, Vector, Matrix, Matrix]] = []
    for own, centre, cross, labels in zip(
        factors, sums.centres, sums.cross, sums.labels, strict=True
    ):
        vectors = np.eye(len(own))
        if own.points.dtype.kind == "f":  # categories' columns are one-hot, and faster as they are
            vectors, _ = leading_eigenvectors(labels[:-2, :-2], tolerance**2)
        turn = cast(Matrix, block_diag(vectors, np.eye(2)))
        few = Factor(own.points, own.width, own.transform @ vectors)
        parts.append((few, centre @ vectors, cross @ turn, turn.T @ labels @ turn))
    few, centres, cross, labels = zip(*parts, strict=True) if parts else ((),) * 4
    return few, replace(sums, centres=centres, cross=cross, labels=labels)


def point_sums(
    x: Embeddings,
    rows: Indices,
    zs: Sequence[Values],
    factors: Sequence[Factor],
    sums: Moments,
    axes: tuple[Matrix, Vector],
    projections: Sequence[Vector],
    slip: bool,
    norms: bool,
) -> PointSums:
    """Sums of each of some points with all of its class, given those of the class.

    Args:
        x, rows: all embeddings, and these points' indices.
        zs, factors: the pseudo-labels with a factor, for these points.
        sums: the class's centred moments.
        axes: leading eigenvectors and eigenvalues of K.
        projections: `RowSums.projection` of the other pseudo-labels.
        slip, norms: see `SumPlan`.
    """
    vectors, eigenvalues = axes
    cross, origin, centres = [own[:-2, :-2] for own in sums.cross], sums.origin, sums.centres
    if slip:  # neither K nor L is centred
        origin = sums.origin / sums.n
        left = sums.origin - origin
        cross = [C + sums.n * np.outer(left, f) for C, f in zip(cross, centres, strict=True)]
        centres = tuple(np.zeros_like(f) for f in centres)
    with_b = [own[:-2, -2:-1] for own in sums.cross]
    parts = [*cross, *with_b, sums.cubes[:, None], vectors, *(v[:, None] for v in projections)]
    ends = np.cumsum([0, *map(len, factors), len(factors), 1, len(eigenvalues)])
    blocks: list[list[Matrix]] = []
    size = rows_at_once(x[rows[:1]], large=True)
    for begin in range(0, len(rows), size):
        block = slice(begin, begin + size)
        U = unit_speech(x, rows[block], origin)
        xp, place = array_namespace(U), U.device
        right = xp.astype(xp.asarray(np.concatenate(parts, axis=1), device=place), U.dtype)
        P = xp.astype(U @ right, xp.float64)
        a = xp.astype(xp.vecdot(U, U), xp.float64)
        by_label: list[tuple[Array, Array, Array]] = []
        for k, (z, factor) in enumerate(zip(zs, factors, strict=True)):
            phi = factor.columns(xp.asarray(z[block], device=place))
            phi -= xp.asarray(centres[k], device=place)
            with_label = P[:, ends[k] : ends[k + 1]], P[:, ends[-4] + k]
            by_label.append(_label_sums(with_label, a, phi, sums, k, norms))
        columns = [
            xp.stack(v, axis=1) if v else xp.zeros((U.shape[0], 0))
            for v in (list(zip(*by_label, strict=True)) or [()] * 3)
        ]
        along = P[:, ends[-2] : ends[-1]]
        KK = (along * along) @ xp.asarray(eigenvalues, device=place) - a * a
        results = (*columns, KK, a, P[:, ends[-3]], P[:, ends[-1] :])
        blocks.append([as_numpy(v) for v in results])
    return PointSums(*(np.concatenate(v) for v in zip(*blocks, strict=True)))


def _label_sums(
    with_label: tuple[Array, Array], a: Array, phi: Array, sums: Moments, k: int, norms: bool
) -> tuple[Array, Array, Array]:
    """The sums of K∘L, ab and L∘L, (points,) each, for some points and pseudo-label k.

    Args:
        with_label: the products of u with Σ u ⊗ φ, (points, r), and with Σ b u, (points,).
        a: (points,) ‖u‖².
        phi: (points, r) the factor's rows.
        sums: of the class.
        k: the pseudo-label's index among those with a factor.
        norms: whether to U-centre K and L.
    """
    xp, place = array_namespace(phi), phi.device
    cross, labels, n = sums.cross[k], sums.labels[k], sums.n
    CU, Kb = with_label
    b = xp.vecdot(phi, phi)
    FF, fb = (xp.asarray(v, device=place) for v in (labels[:-2, :-2], labels[:-2, -2]))
    KL = xp.vecdot(CU, phi) - a * b
    LL = xp.vecdot(phi @ FF, phi) - b * b
    if norms:
        La, Lb = phi @ xp.asarray(cross[-2, :-2].copy(), device=place), phi @ fb
        trace, all_b = float(sums.ones[-2]), float(labels[-2, -1])
        KL = u_centred_row_sums(KL, a, b, Kb, La, n, (trace, all_b, float(cross[-2, -2])))
        LL = u_centred_row_sums(LL, b, b, Lb, Lb, n, (all_b, all_b, float(labels[-2, -2])))
    return KL, a * b, LL


def add_point_sums(sums: ClassSums, parts: Sequence[PointSums], plan: SumPlan) -> ClassSums:
    """A class's sums, with those of each of its points; `parts` are consecutive points."""
    KL, ab, LL, KK, a, Ka, projections = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("KL", "ab", "LL", "KK", "a", "Ka", "projections")
    )
    of_speech = sums.speech
    if plan.norms:
        whole = of_speech.a, of_speech.a, of_speech.aa
        each_KK = u_centred_row_sums(KK, a, a, Ka, Ka, len(a), whole)
        of_speech = replace(of_speech, each_KK=each_KK)
    with_factor, others = zip(KL.T, ab.T, LL.T, strict=True), iter(projections.T)
    pairs: list[PairSums] = []
    for factor, pair in zip(plan.factors, sums.pairs, strict=True):
        if factor is not None:
            each_KL, each_ab, each_LL = next(with_factor)
            each_ab = None if plan.norms else each_ab
            pair = replace(pair, each_KL=each_KL, each_ab=each_ab, each_LL=each_LL)
        elif not plan.slip:
            pair = centre_point_sums(pair, of_speech, a, next(others))
        pairs.append(pair)
    return ClassSums(sums.rows, of_speech, tuple(pairs))
