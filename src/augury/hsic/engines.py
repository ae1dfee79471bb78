"""Sums over all pairs of points, which every estimator is made of, without n x n matrices.

One class at a time: the speech as unit rows U, centred (K = U Uᵀ), and the kernel L of each
pseudo-label, centred. Engines that give the same sums, of which the cheapest is taken:

- `dense`: K and L as matrices; for small classes. K is made once for all pseudo-labels.
- `augury.hsic.moments`: L = Φ Φᵀ with few columns, one pass over the points; O(n·d·columns).
- `augury.hsic.strips`: K only where L is not 0, for labels that range over very many kernel widths;
  or tiles of both matrices, for vector-valued labels of high rank.

They run on the arrays they are given (NumPy, or torch on a GPU), cut into tasks that do not depend
on who runs them: the results are the same to the last bit with any number of threads or workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from operator import add
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from augury.compute import RunTasks
from augury.embeddings import Indices
from augury.hsic.factors import Factor
from augury.hsic.kernels import centre, label_kernel
from augury.hsic.moments import Moments, as_numpy, rows_at_once, sum_moments, unit_speech
from augury.hsic.strips import SortedLabel, TiledLabel, centre_point_sums
from augury.hsic.sums import (
    LARGEST_WITHOUT_FACTOR,
    ClassSums,
    PairSums,
    SpeechSums,
    SumPlan,
    skewness,
    u_centre,
    u_centred_row_sums,
)

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

#: Up to this size classes are dense where K is needed anyway: for its norm, or for tiles of it.
LARGEST_MATRIX = 1024
#: A task has this many points of a larger class, or a 16th of it where that is more.
CHUNK = 4096
#: Points that the origin of a larger class is the mean of.
ORIGIN_POINTS = 64


# ------------------------------------------------------------------------------- all classes


def class_sums_of(
    x: Any,
    groups: Sequence[Indices],
    zs: Sequence[NDArray],
    wanted: SumPlan,
    *,
    whole: bool,
    run: RunTasks,
    others: Sequence[Indices] = (),
) -> tuple[list[ClassSums], Moments | None]:
    """The sums of every class, and the moments of all points together.

    Args:
        x: (all, …) embeddings; anything that gives an array for x[rows].
        groups: the rows of each class.
        zs: pseudo-labels, each over all rows.
        whole: whether the moments of all points are wanted, too; of labels that have a factor.
        others: rows of classes that count in the whole only.
    """
    vectors = any(z.ndim > 1 and one is None for z, one in zip(zs, wanted.factors, strict=True))
    matrices = [
        len(rows) <= (LARGEST_MATRIX if wanted.norms or vectors else LARGEST_WITHOUT_FACTOR)
        for rows in groups
    ]
    small = [rows for rows, is_small in zip(groups, matrices, strict=True) if is_small]
    large = [rows for rows, is_small in zip(groups, matrices, strict=True) if not is_small]
    rest = [np.concatenate([*small, *others])] if whole and (small or others) else []

    def tasks() -> Iterator[tuple[Any, ...]]:
        for rows in small:
            yield dense_sums, rows, [z[rows] for z in zs], wanted
        for rows in large + rest:
            yield from _pieces(x, rows, zs, wanted)

    results = run(x, tasks())
    of_small = [next(results) for _ in small]
    of_large: list[LargeClass] = []
    together: Moments | None = None
    for place, rows in enumerate(large + rest):
        total = reduce(add, islice(results, len(_chunks(len(rows)))))
        if whole:
            together = (
                total
                if together is None
                else together + total.about(together.origin, together.centres)
            )
        if place < len(large):
            of_large.append(LargeClass.of(rows, total.centre(), wanted))
    assert next(results, None) is None
    first, second = iter(of_small), iter(_second_pass(x, of_large, zs, wanted, run))
    found = [next(first) if is_small else next(second) for is_small in matrices]
    return found, together.centre() if together else None


def moments_of(
    x: Any, rows: Indices, zs: Sequence[NDArray], wanted: SumPlan, *, run: RunTasks
) -> Moments:
    """The centred moments of some points, of the labels that have a factor."""
    return reduce(add, run(x, _pieces(x, rows, zs, wanted))).centre()


def _chunks(n: int) -> list[slice]:
    """Parts of n points for one task each."""
    size = max(CHUNK, -(-n // 16))
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def _pieces(
    x: Any, rows: Indices, zs: Sequence[NDArray], wanted: SumPlan
) -> Iterator[tuple[Any, ...]]:
    """Tasks for the moments of one set of points."""
    sample = rows[:: max(1, len(rows) // ORIGIN_POINTS)][:ORIGIN_POINTS]
    origin = as_numpy(unit_speech(x, sample)).mean(axis=0, dtype=np.float64)
    pairs = wanted.with_factors(zs)
    centres = [one.columns(z[sample]).mean(axis=0) for z, one in pairs]
    factors = [one for _, one in pairs]
    for part in _chunks(len(rows)):
        own = rows[part]
        yield sum_moments, own, [z[own] for z, _ in pairs], factors, origin, centres, wanted.norms


# ----------------------------------------------------------------------------- small classes


def dense_sums(x: Any, rows: Indices, zs: Sequence[NDArray], wanted: SumPlan) -> ClassSums:
    """One class from K and every L as matrices."""
    U = unit_speech(x, rows)
    xp, place, n = array_namespace(U), device(U), len(rows)
    mean = xp.mean(U, axis=0)
    U -= mean * (1 / n if wanted.slip else 1)
    K = xp.astype(U @ U.T, xp.float64)
    a = xp.linalg.diagonal(K)
    sums = SpeechSums(float(xp.sum(K)) if wanted.slip else 0.0, float(xp.sum(a)))
    KU = K
    if wanted.norms:
        KK = float(xp.sum(xp.vecdot(K, K)))
        sums = replace(sums, aa=float(a @ a), KK=KK)
        if wanted.points:
            KU = u_centre(K, a)
            sums = replace(sums, skew=skewness(K, KK), each_KK=as_numpy(xp.vecdot(KU, KU)))
    pairs = []
    for z, width in zip(zs, wanted.widths, strict=True):
        z = xp.asarray(z, device=place)
        L = label_kernel(z, width=width)
        pairs_L = float(xp.sum(L)) - n
        if not wanted.slip:
            # Centred, too: where all entries are near 1, sums less their means would cancel.
            L = centre(L)
        b = xp.linalg.diagonal(L)
        each = xp.vecdot(K, L)
        LL, KL = float(xp.sum(xp.vecdot(L, L))), float(xp.sum(each))
        found = PairSums(KL, LL, float(a @ b), float(xp.sum(b)), float(b @ b), pairs_L)
        if wanted.points:
            found = replace(found, each_KL=as_numpy(each - a * b), each_ab=as_numpy(a * b))
        if wanted.points and wanted.norms:
            LU = u_centre(L, b)
            each_KL, each_LL = (as_numpy(xp.vecdot(M, LU)) for M in (KU, LU))
            found = replace(found, skew=skewness(L, LL), each_KL=each_KL, each_LL=each_LL)
        pairs.append(found)
    return ClassSums(rows, sums, tuple(pairs))


# ----------------------------------------------------------------------------- large classes


@dataclass(frozen=True)
class LargeClass:
    """A class after its first pass."""

    rows: Indices
    moments: Moments | None  # centred, without the Gram matrix; where points are asked for
    axes: tuple[Matrix, Vector]  # leading eigenvectors (d, few) and eigenvalues of K
    origin: Vector  # what is taken off unit rows
    speech: SpeechSums
    pairs: tuple[PairSums | None, ...]

    @classmethod
    def of(cls, rows: Indices, sums: Moments, wanted: SumPlan) -> LargeClass:
        """After its first pass; `sums` centred."""
        of_speech, pairs, axes = sums_from_moments(sums, wanted)
        kept = replace(sums, gram=None) if wanted.points else None
        origin = sums.origin / sums.n if wanted.slip else sums.origin
        return cls(rows, kept, axes, origin, of_speech, pairs)

    def looks(
        self, zs: Sequence[NDArray], wanted: SumPlan, towards: Sequence[Vector]
    ) -> Iterator[tuple[Any, ...]]:
        """Tasks for the sums of each point."""
        pairs = wanted.with_factors(zs)
        factors = [one for _, one in pairs]
        for part in _chunks(len(self.rows)):
            own = self.rows[part]
            labels = [z[own] for z, _ in pairs]
            yield (
                point_sums,
                own,
                labels,
                factors,
                self.moments,
                self.axes,
                towards,
                wanted.slip,
                wanted.norms,
            )


def sums_from_moments(
    sums: Moments, wanted: SumPlan
) -> tuple[SpeechSums, tuple[PairSums | None, ...], tuple[Matrix, Vector]]:
    """What centred moments give, and K's leading eigenvectors (d, few) and eigenvalues.

    Of pseudo-labels without a factor, None.
    """
    n, mean = sums.n, sums.origin
    left = mean * (1 - 1 / n) if wanted.slip else np.zeros_like(mean)
    total = n**2 * float(left @ left)
    found = SpeechSums(total, float(sums.ones[-2]) + total / n)
    axes = np.empty((len(mean), 0)), np.empty(0)
    if sums.gram is not None:
        KK = float(np.vdot(sums.gram, sums.gram))
        found = replace(found, aa=sums.fourth, KK=KK)
        if wanted.points:
            axes = leading_eigenvectors(sums.gram)
            found = replace(found, skew=skewness(np.diag(axes[1]), KK))
    pairs: list[PairSums | None] = []
    of_factor = iter(zip(sums.cross, sums.labels, sums.centres, strict=True))
    for one in wanted.factors:
        if one is None:
            pairs.append(None)
            continue
        cross, labels, centre = next(of_factor)
        C, FF = cross[:-2, :-2], labels[:-2, :-2]
        if left.any():
            C = C + n * np.outer(left, centre)
        LL, L = float(np.vdot(FF, FF)), n**2 * float(centre @ centre)
        b = float(labels[-2, -1])
        left_out = max(n - L / n - b, 0.0)
        pairs.append(
            PairSums(
                float(np.vdot(C, C)), LL, float(cross[-2, -2]), b, float(labels[-2, -2]),
                L - n, found.a * left_out, skewness(FF, LL),
            )
        )  # fmt: skip
    return found, tuple(pairs), axes


def leading_eigenvectors(gram: Matrix, left_out: float = 1e-4) -> tuple[Matrix, Vector]:
    """Eigenvectors (d, few) and eigenvalues that carry all but a share of ‖gram‖²."""
    d, few = len(gram), 32
    wanted = (1 - left_out) * float(np.vdot(gram, gram))
    rng = np.random.default_rng(0)  # where it starts from; the answer hardly depends on it
    while 4 * few < d:  # subspace iteration (Halko, Martinsson, Tropp 2011)
        basis = rng.standard_normal((d, few))
        for _ in range(4):
            basis = np.linalg.qr(gram @ basis)[0]
        values, inside = np.linalg.eigh(basis.T @ gram @ basis)
        if np.square(values).sum() >= wanted:
            break
        few *= 2
    else:
        basis = np.eye(d)
        values, inside = np.linalg.eigh(gram)
    carried = np.cumsum(np.square(values[::-1]))
    count = min(int(np.searchsorted(carried, wanted)) + 1, len(values))
    return basis @ inside[:, -count:], values[-count:]


def _second_pass(
    x: Any, classes: Sequence[LargeClass], zs: Sequence[NDArray], wanted: SumPlan, run: RunTasks
) -> list[ClassSums]:
    """With the pseudo-labels that have no factor, and with the sums of each point."""
    plans = [
        [
            (TiledLabel if z.ndim > 1 else SortedLabel).of(z[one.rows], width)
            for z, width, factor in zip(zs, wanted.widths, wanted.factors, strict=True)
            if factor is None
        ]
        for one in classes
    ]
    parts = run(
        x,
        (
            task
            for one, plan in zip(classes, plans, strict=True)
            for labels in plan
            for task in labels.tasks(one.rows, one.origin)
        ),
    )
    found: list[ClassSums] = []
    towards: list[list[Vector]] = []
    for one, plan in zip(classes, plans, strict=True):
        sums = [labels.add_up(parts) for labels in plan]
        others = (
            labels.pair_sums(own, one.speech, wanted)
            for labels, own in zip(plan, sums, strict=True)
        )
        pairs = tuple(pair or next(others) for pair in one.pairs)
        found.append(ClassSums(one.rows, one.speech, pairs))
        towards.append([own.projection for own in sums])
    assert next(parts, None) is None
    if not wanted.points:
        return found
    tasks = (
        task
        for one, along in zip(classes, towards, strict=True)
        for task in one.looks(zs, wanted, along)
    )
    looks = run(x, tasks)
    return [
        _with_points(one, list(islice(looks, len(_chunks(len(one.rows))))), wanted) for one in found
    ]


def _with_points(sums: ClassSums, parts: Sequence[PointSums], wanted: SumPlan) -> ClassSums:
    """With the sums of each point."""
    KL, ab, LL, KK, a, Ka, towards = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("KL", "ab", "LL", "KK", "a", "Ka", "towards")
    )
    of_speech = sums.speech
    if wanted.norms:
        whole = of_speech.a, of_speech.a, of_speech.aa
        each_KK = u_centred_row_sums(KK, a, a, Ka, Ka, len(a), whole)
        of_speech = replace(of_speech, each_KK=each_KK)
    factored, others = zip(KL.T, ab.T, LL.T, strict=True), iter(towards.T)
    pairs = []
    for one, pair in zip(wanted.factors, sums.pairs, strict=True):
        if one is not None:
            each_KL, each_ab, each_LL = next(factored)
            pair = replace(pair, each_KL=each_KL, each_ab=each_ab, each_LL=each_LL)
        elif not wanted.slip:
            pair = centre_point_sums(pair, of_speech, a, next(others))
        pairs.append(pair)
    return ClassSums(sums.rows, of_speech, tuple(pairs))


# --------------------------------------------------------------------- sums of each point


@dataclass(frozen=True)
class PointSums:
    """Sums of single points; K and L centred."""

    KL: Matrix  # (points, factored) see `PairSums.each_KL`
    ab: Matrix  # (points, factored) aᵢ bᵢ
    LL: Matrix  # (points, factored)
    KK: Vector  # (points,) not U-centred yet, as are the next
    a: Vector  # (points,)
    Ka: Vector  # (points,)
    towards: Matrix  # (points, strips) what centring L takes off


def point_sums(
    x: Any,
    rows: Indices,
    zs: Sequence[NDArray],
    factors: Sequence[Factor],
    sums: Moments,
    axes: tuple[Matrix, Vector],
    towards: Sequence[Vector],
    slip: bool,
    norms: bool,
) -> PointSums:
    """Sums of each of some points with all of its class, given those of the class.

    Args:
        zs: the pseudo-labels that have a factor, of these points.
        sums: the class's centred moments.
        axes: leading eigenvectors and eigenvalues of K.
        towards: what `strip` gave for the other pseudo-labels.
    """
    vectors, eigenvalues = axes
    sizes = np.cumsum([0, *map(len, factors)])
    cross, origin, centres = [one[:-2, :-2] for one in sums.cross], sums.origin, sums.centres
    if slip:  # neither K nor L is centred
        origin = sums.origin / sums.n
        left = sums.origin - origin
        cross = [C + sums.n * np.outer(left, f) for C, f in zip(cross, centres, strict=True)]
        centres = tuple(np.zeros_like(f) for f in centres)
    with_b = [one[:-2, -2:-1] for one in sums.cross]
    parts = [*cross, *with_b, sums.cubes[:, None], vectors, *(v[:, None] for v in towards)]
    right_of = np.cumsum([sizes[-1], len(factors), 1, len(eigenvalues)])
    n, trace = sums.n, float(sums.ones[-2])
    found = []
    size = rows_at_once(x[rows[:1]], large=True)
    for begin in range(0, len(rows), size):
        block = slice(begin, begin + size)
        U = unit_speech(x, rows[block], origin)
        xp, place = array_namespace(U), device(U)
        right = xp.astype(xp.asarray(np.concatenate(parts, axis=1), device=place), U.dtype)
        P = xp.astype(U @ right, xp.float64)
        a = xp.astype(xp.vecdot(U, U), xp.float64)
        KL, ab, LL = [], [], []
        for k, (z, one) in enumerate(zip(zs, factors, strict=True)):
            phi = one.columns(xp.asarray(z[block], device=place))
            phi -= xp.asarray(centres[k], device=place)
            b = xp.vecdot(phi, phi)
            FF, fb = (
                xp.asarray(v, device=place)
                for v in (sums.labels[k][:-2, :-2], sums.labels[k][:-2, -2])
            )
            each = xp.vecdot(P[:, sizes[k] : sizes[k + 1]], phi) - a * b
            squares = xp.vecdot(phi @ FF, phi) - b * b
            if norms:
                La, Lb = phi @ xp.asarray(sums.cross[k][-2, :-2].copy(), device=place), phi @ fb
                Kb, all_b = P[:, right_of[0] + k], float(sums.labels[k][-2, -1])
                whole = trace, all_b, float(sums.cross[k][-2, -2])
                each = u_centred_row_sums(each, a, b, Kb, La, n, whole)
                whole = all_b, all_b, float(sums.labels[k][-2, -2])
                squares = u_centred_row_sums(squares, b, b, Lb, Lb, n, whole)
            KL.append(each)
            ab.append(a * b)
            LL.append(squares)
        Ka = P[:, right_of[1]]
        along = P[:, right_of[2] : right_of[3]]
        KK = (along * along) @ xp.asarray(eigenvalues, device=place) - a * a
        columns = (xp.stack(v, axis=1) if v else xp.zeros((U.shape[0], 0)) for v in (KL, ab, LL))
        found.append([as_numpy(v) for v in (*columns, KK, a, Ka, P[:, right_of[3] :])])
    return PointSums(*(np.concatenate(v) for v in zip(*found, strict=True)))
