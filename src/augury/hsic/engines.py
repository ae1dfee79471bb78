# pyright: reportConstantRedefinition=false
"""Sums over all pairs of points, from which every estimator follows, without n × n matrices.

One class at a time: the speech as unit rows U, centred (K = U Uᵀ), and the kernel L of each
pseudo-label, centred. Engines that compute the same sums, of which "auto" takes the cheapest:

- "dense", here: K and L as matrices; for small classes. K is computed once for all pseudo-labels.
- "factored", `augury.hsic.moments`: L = Φ Φᵀ with few columns, one pass over the points;
  O(n·d·columns).
- "strips", `augury.hsic.strips`: K only where L is not 0, for labels that range over very many
  kernel widths; or tiles of both matrices, for vector-valued labels of high rank.

They run on the arrays' own library (NumPy, or torch on a GPU), in tasks that do not depend on the
workers: results are bit-identical for any number of threads or workers. docs/estimator.md derives
the formulas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from operator import add
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from augury.compute import RunTasks
from augury.embeddings import Embeddings, Indices
from augury.hsic.kernels import Matrix, Values, Vector, centre, label_kernel
from augury.hsic.moments import (
    Moments,
    as_numpy,
    leading_eigenvectors,
    sum_moments,
    unit_speech,
)
from augury.hsic.points import add_point_sums, leading_labels, point_sums
from augury.hsic.strips import LabelWithoutFactor, SortedLabel, TiledLabel
from augury.hsic.sums import ClassSums, PairSums, SpeechSums, SumPlan, skewness, u_centre

#: Number of points whose mean is the origin of a larger class.
ORIGIN_POINTS = 64
#: Entries of the matrices of pseudo-labels that are computed together: for small ones a call takes
#: longer than the sums.
TOGETHER = 2**17


def class_sums_of(
    x: Embeddings,
    groups: Sequence[Indices],
    zs: Sequence[Values],
    plan: SumPlan,
    *,
    whole: bool,
    run: RunTasks,
    others: Sequence[Indices] = (),
) -> tuple[list[ClassSums], Moments | None]:
    """The sums of every class, and the moments of all points together.

    Args:
        x: (all, …) embeddings.
        groups: the rows of each class.
        zs: pseudo-labels, each over all rows.
        plan: which sums to compute, and with which engine.
        whole: whether to return the moments of all points, too, for labels with a factor.
        run: runs the tasks.
        others: rows of further classes, which count only in the moments of all points.
    """
    limit = plan.largest_matrix(zs)
    small = [rows for rows in groups if len(rows) <= limit]
    large = [rows for rows in groups if len(rows) > limit]
    rest = [np.concatenate([*small, *others])] if whole and (small or others) else []

    def tasks() -> Iterator[tuple[Any, ...]]:
        for rows in small:
            yield dense_sums, rows, [z[rows] for z in zs], plan
        for rows in large + rest:
            yield from _moment_tasks(x, rows, zs, plan)

    results = run(x, tasks())
    of_small: list[ClassSums] = [next(results) for _ in small]
    of_large: list[LargeClass] = []
    together: Moments | None = None
    for place, rows in enumerate(large + rest):
        total: Moments = reduce(add, islice(results, len(_chunks(len(rows), plan.chunk))))
        if whole and together is None:
            together = total
        elif together is not None:
            together = total.shift_to(together.origin, together.centres) + together
        if place < len(large):
            of_large.append(LargeClass.of(rows, total.centre(), plan))
    assert next(results, None) is None
    first, second = iter(of_small), iter(_second_pass(x, of_large, zs, plan, run))
    sums = [next(first) if len(rows) <= limit else next(second) for rows in groups]
    return sums, together.centre() if together else None


def moments_of(
    x: Embeddings, rows: Indices, zs: Sequence[Values], plan: SumPlan, *, run: RunTasks
) -> Moments:
    """The centred moments of some points, for the labels with a factor."""
    total: Moments = reduce(add, run(x, _moment_tasks(x, rows, zs, plan)))
    return total.centre()


def _chunks(n: int, size: int) -> list[slice]:
    """Chunks of n points for one task each, of `size` points or a 16th of all if that is more."""
    size = max(size, -(-n // 16))
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def _moment_tasks(
    x: Embeddings, rows: Indices, zs: Sequence[Values], plan: SumPlan
) -> Iterator[tuple[Any, ...]]:
    """Tasks for the moments of one set of points."""
    sample = rows[:: max(1, len(rows) // ORIGIN_POINTS)][:ORIGIN_POINTS]
    origin = as_numpy(unit_speech(x, sample)).mean(axis=0, dtype=np.float64)
    pairs = plan.with_factors(zs)
    centres = [factor.columns(z[sample]).mean(axis=0) for z, factor in pairs]
    factors = [factor for _, factor in pairs]
    for chunk in _chunks(len(rows), plan.chunk):
        own = rows[chunk]
        yield sum_moments, own, [z[own] for z, _ in pairs], factors, origin, centres, plan.norms


def dense_sums(x: Embeddings, rows: Indices, zs: Sequence[Values], plan: SumPlan) -> ClassSums:
    """The sums of one class from K and every L as matrices; `zs` for its own points."""
    U = unit_speech(x, rows)
    xp, place, n = array_namespace(U), U.device, len(rows)
    mean = xp.mean(U, axis=0)
    U -= mean * (1 / n if plan.slip else 1)
    K = xp.astype(U @ U.T, xp.float64)
    a = xp.linalg.diagonal(K)
    sums = SpeechSums(float(xp.sum(K)) if plan.slip else 0.0, float(xp.sum(a)))
    KU = K
    if plan.norms:
        KK = float(xp.sum(xp.vecdot(K, K)))
        sums = replace(sums, aa=float(a @ a), KK=KK)
        if plan.points:
            KU = u_centre(K, a)
            sums = replace(sums, skew=skewness(K, KK), each_KK=as_numpy(xp.vecdot(KU, KU)))
    pairs: list[PairSums] = []
    labels = list(zip(zs, plan.widths, strict=True))
    size = max(1, TOGETHER // max(n, 1) ** 2)
    for begin in range(0, len(labels), size):
        kernels = [
            label_kernel(xp.asarray(z, device=place), width=width)
            for z, width in labels[begin : begin + size]
        ]
        Ls = xp.stack(kernels) if len(kernels) > 1 else kernels[0][None, ...]
        pairs_L = xp.sum(Ls, axis=(1, 2)) - n
        if not plan.slip:
            # L centred, too: if all entries are near 1, subtracting means from sums would cancel.
            Ls = centre(Ls)
        each_of = xp.vecdot(K, Ls)
        LLs, KLs = (xp.sum(v, axis=1) for v in (xp.vecdot(Ls, Ls), each_of))
        for k in range(len(kernels)):
            L, each = Ls[k, ...], each_of[k, ...]
            b = xp.linalg.diagonal(L)
            of_L = float(a @ b), float(xp.sum(b)), float(b @ b), float(pairs_L[k])
            pair = PairSums(float(KLs[k]), float(LLs[k]), *of_L)
            if plan.points and not plan.norms:
                pair = replace(pair, each_KL=as_numpy(each - a * b), each_ab=as_numpy(a * b))
            elif plan.points:
                LU = u_centre(L, b)
                each_KL, each_LL = (as_numpy(xp.vecdot(M, LU)) for M in (KU, LU))
                pair = replace(pair, skew=skewness(L, pair.LL), each_KL=each_KL, each_LL=each_LL)
            pairs.append(pair)
    return ClassSums(rows, sums, tuple(pairs))


@dataclass(frozen=True)
class LargeClass:
    """A class after its first pass."""

    rows: Indices
    moments: Moments | None  # centred, without the Gram matrix; None without sums of points
    axes: tuple[Matrix, Vector]  # leading eigenvectors (d, few) and eigenvalues of K
    origin: Vector  # subtracted from unit rows
    speech: SpeechSums
    pairs: tuple[PairSums | None, ...]

    @classmethod
    def of(cls, rows: Indices, sums: Moments, plan: SumPlan) -> LargeClass:
        """From the class's centred moments."""
        of_speech, pairs, axes = sums_from_moments(sums, plan)
        moments = replace(sums, gram=None) if plan.points else None
        origin = sums.origin / sums.n if plan.slip else sums.origin
        return cls(rows, moments, axes, origin, of_speech, pairs)

    def point_tasks(
        self, zs: Sequence[Values], plan: SumPlan, projections: Sequence[Vector]
    ) -> Iterator[tuple[Any, ...]]:
        """Tasks for the sums of each point."""
        pairs = plan.with_factors(zs)
        factors, moments = [factor for _, factor in pairs], self.moments
        assert moments is not None
        if plan.norms:
            factors, moments = leading_labels(factors, moments, plan.tolerance)
        for chunk in _chunks(len(self.rows), plan.chunk):
            own = self.rows[chunk]
            labels = [z[own] for z, _ in pairs]
            yield (
                point_sums, own, labels, factors, moments, self.axes, projections,
                plan.slip, plan.norms,
            )  # fmt: skip


def sums_from_moments(
    sums: Moments, plan: SumPlan
) -> tuple[SpeechSums, tuple[PairSums | None, ...], tuple[Matrix, Vector]]:
    """A class's sums from its centred moments, and K's leading eigenvectors and eigenvalues.

    The sums of pseudo-labels without a factor are None; the eigenvectors are (d, few).
    """
    n, mean = sums.n, sums.origin
    left = mean * (1 - 1 / n) if plan.slip else np.zeros_like(mean)
    total = n**2 * float(left @ left)
    speech = SpeechSums(total, float(sums.ones[-2]) + total / n)
    axes = np.empty((len(mean), 0)), np.empty(0)
    if sums.gram is not None:
        KK = float(np.vdot(sums.gram, sums.gram))
        speech = replace(speech, aa=sums.fourth, KK=KK)
        if plan.points:
            axes = leading_eigenvectors(sums.gram)
            speech = replace(speech, skew=skewness(np.diag(axes[1]), KK))
    pairs: list[PairSums | None] = []
    of_factor = iter(zip(sums.cross, sums.labels, sums.centres, strict=True))
    for factor in plan.factors:
        if factor is None:
            pairs.append(None)
            continue
        cross, labels, mean_phi = next(of_factor)
        C, FF = cross[:-2, :-2], labels[:-2, :-2]
        if left.any():
            C = C + n * np.outer(left, mean_phi)
        LL, L = float(np.vdot(FF, FF)), n**2 * float(mean_phi @ mean_phi)
        b = float(labels[-2, -1])
        left_out = max(n - L / n - b, 0.0)
        pairs.append(
            PairSums(
                float(np.vdot(C, C)), LL, float(cross[-2, -2]), b, float(labels[-2, -2]),
                L - n, speech.a * left_out, skewness(FF, LL),
            )
        )  # fmt: skip
    return speech, tuple(pairs), axes


def _second_pass(
    x: Embeddings,
    classes: Sequence[LargeClass],
    zs: Sequence[Values],
    plan: SumPlan,
    run: RunTasks,
) -> list[ClassSums]:
    """The sums of the larger classes, with those of labels without a factor and of each point."""
    labels_of = [_labels_without_factor(own, zs, plan) for own in classes]
    tasks = (
        task
        for own, labels in zip(classes, labels_of, strict=True)
        for label in labels
        for task in label.tasks(own.rows, own.origin)
    )
    results = run(x, tasks)
    sums: list[ClassSums] = []
    projections: list[list[Vector]] = []
    for own, labels in zip(classes, labels_of, strict=True):
        row_sums = [label.add_up(results) for label in labels]
        others = (
            label.pair_sums(own_sums, own.speech, plan)
            for label, own_sums in zip(labels, row_sums, strict=True)
        )
        pairs = tuple(pair or next(others) for pair in own.pairs)
        sums.append(ClassSums(own.rows, own.speech, pairs))
        projections.append([own_sums.projection for own_sums in row_sums])
    assert next(results, None) is None
    if not plan.points:
        return sums
    tasks = (
        task
        for own, projection in zip(classes, projections, strict=True)
        for task in own.point_tasks(zs, plan, projection)
    )
    results = run(x, tasks)
    return [
        add_point_sums(own, list(islice(results, len(_chunks(len(own.rows), plan.chunk)))), plan)
        for own in sums
    ]


def _labels_without_factor(
    own: LargeClass, zs: Sequence[Values], plan: SumPlan
) -> list[LabelWithoutFactor]:
    """The class's pseudo-labels without a factor, as strips or tiles."""
    return [
        TiledLabel(z[own.rows], width, plan.tile)
        if z.ndim > 1
        else SortedLabel.of(z[own.rows], width, plan.strip)
        for z, width, factor in zip(zs, plan.widths, plan.factors, strict=True)
        if factor is None
    ]
