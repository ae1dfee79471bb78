"""Sums over all pairs of points, which every estimator is made of, without n x n matrices.

One class at a time: the speech as unit rows U, centred (K = U Uᵀ), and the kernel L of each
pseudo-label, centred. Engines that give the same sums, of which the cheapest is taken:

- `dense`: K and L as matrices; for small classes. K is made once for all pseudo-labels.
- `augury.moments`: L = Φ Φᵀ with few columns, one pass over the points; O(n·d·columns).
- `augury.strips`: K only where L is not 0, for labels that range over very many kernel widths; or
  tiles of both matrices, for vector-valued labels of high rank.

They run on the arrays they are given (NumPy, or torch on a GPU), cut into tasks that do not depend
on who runs them: the results are the same to the last bit with any number of threads or workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from augury.factors import Factor
from augury.kernels import label_kernel
from augury.moments import Moments, as_numpy, moments, rows_at_once, speech
from augury.rows import Rows
from augury.strips import Sorted, Tiled
from augury.sums import (
    DENSE,
    ClassSums,
    PairSums,
    SpeechSums,
    Wanted,
    skew_of,
    u_centred,
    u_rows,
)
from augury.threads import Run

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

#: Up to this size classes are dense where K is needed anyway: for its norm, or for tiles of it.
FEW = 1024
#: A task has this many points of a larger class, or a 16th of it where that is more.
CHUNK = 4096
#: Points that the origin of a larger class is the mean of.
SAMPLED = 64


# ------------------------------------------------------------------------------- all classes


def survey(
    x: Any,
    groups: Sequence[Rows],
    zs: Sequence[NDArray],
    wanted: Wanted,
    *,
    whole: bool,
    run: Run,
    others: Sequence[Rows] = (),
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
    matrices = [len(rows) <= (FEW if wanted.norms or vectors else DENSE) for rows in groups]
    small = [rows for rows, is_small in zip(groups, matrices, strict=True) if is_small]
    large = [rows for rows, is_small in zip(groups, matrices, strict=True) if not is_small]
    rest = [np.concatenate([*small, *others])] if whole and (small or others) else []

    def tasks() -> Iterator[tuple[Any, ...]]:
        for rows in small:
            yield dense, rows, [z[rows] for z in zs], wanted
        for rows in large + rest:
            yield from _pieces(x, rows, zs, wanted)

    results = run(x, tasks())
    of_small = [next(results) for _ in small]
    of_large: list[_Large] = []
    together: Moments | None = None
    for place, rows in enumerate(large + rest):
        total = next(results)
        for _ in _chunks(len(rows))[1:]:
            total += next(results)
        if whole:
            together = (
                total
                if together is None
                else together + total.about(together.origin, together.centres)
            )
        if place < len(large):
            of_large.append(_Large.of(rows, total.centred(), wanted))
    assert next(results, None) is None
    of_large = _looked_again(x, of_large, zs, wanted, run)
    first, second = iter(of_small), (ClassSums(one.rows, one.speech, one.pairs) for one in of_large)
    found = [next(first) if is_small else next(second) for is_small in matrices]
    return found, together.centred() if together else None


def sums_of_all(x: Any, rows: Rows, zs: Sequence[NDArray], wanted: Wanted, *, run: Run) -> Moments:
    """The centred moments of some points, of the labels that have a factor."""
    results = run(x, _pieces(x, rows, zs, wanted))
    total: Moments = next(results)
    for one in results:
        total += one
    return total.centred()


def _chunks(n: int) -> list[slice]:
    """Parts of n points for one task each."""
    size = max(CHUNK, -(-n // 16))
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def _pieces(x: Any, rows: Rows, zs: Sequence[NDArray], wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """Tasks for the moments of one set of points."""
    sample = rows[:: max(1, len(rows) // SAMPLED)][:SAMPLED]
    origin = as_numpy(speech(x, sample)).mean(axis=0, dtype=np.float64)
    pairs = [(z, one) for z, one in zip(zs, wanted.factors, strict=True) if one is not None]
    centres = [one.columns(z[sample]).mean(axis=0) for z, one in pairs]
    factors = [one for _, one in pairs]
    for part in _chunks(len(rows)):
        own = rows[part]
        yield moments, own, [z[own] for z, _ in pairs], factors, origin, centres, wanted.norms


# ----------------------------------------------------------------------------- small classes


def dense(x: Any, rows: Rows, zs: Sequence[NDArray], wanted: Wanted) -> ClassSums:
    """One class from K and every L as matrices."""
    U = speech(x, rows)
    xp, place, n = array_namespace(U), device(U), len(rows)
    mean = xp.mean(U, axis=0)
    U -= mean * (1 / n if wanted.slip else 1)
    K = xp.astype(U @ U.T, xp.float64)
    a = xp.linalg.diagonal(K)
    sums = SpeechSums(as_numpy(mean).astype(np.float64), float(xp.sum(a)))
    KU = K
    if wanted.norms:
        KK = float(xp.sum(xp.vecdot(K, K)))
        sums = replace(sums, aa=float(a @ a), KK=KK)
        if wanted.points:
            KU = u_centred(K, a)
            sums = replace(sums, skew=skew_of(K, KK), each_KK=as_numpy(xp.vecdot(KU, KU)))
    pairs = []
    for z, width in zip(zs, wanted.widths, strict=True):
        z = xp.asarray(z, device=place)
        L = label_kernel(z, width=width)
        pairs_L = float(xp.sum(L)) - n
        if not wanted.slip:
            # Centred, too: where all entries are near 1, sums less their means would cancel.
            L -= xp.mean(L, axis=0)
            L -= xp.mean(L, axis=1)[:, None]
        b = xp.linalg.diagonal(L)
        each = xp.vecdot(K, L)
        LL, KL = float(xp.sum(xp.vecdot(L, L))), float(xp.sum(each))
        found = PairSums(KL, LL, float(a @ b), float(xp.sum(b)), float(b @ b), pairs_L)
        if wanted.points:
            found = replace(found, each_KL=as_numpy(each - a * b), each_ab=as_numpy(a * b))
        if wanted.points and wanted.norms:
            LU = u_centred(L, b)
            each_KL, each_LL = (as_numpy(xp.vecdot(M, LU)) for M in (KU, LU))
            found = replace(found, skew=skew_of(L, LL), each_KL=each_KL, each_LL=each_LL)
        pairs.append(found)
    return ClassSums(rows, sums, tuple(pairs))


# ----------------------------------------------------------------------------- large classes


@dataclass(frozen=True)
class _Large:
    """A class after its first pass."""

    rows: Rows
    moments: Moments | None  # centred, without the Gram matrix; where points are asked for
    axes: tuple[Matrix, Vector]  # leading eigenvectors (d, few) and eigenvalues of K
    speech: SpeechSums
    pairs: tuple[PairSums, ...]

    @classmethod
    def of(cls, rows: Rows, sums: Moments, wanted: Wanted) -> _Large:
        """After its first pass; `sums` centred."""
        of_speech, pairs, axes = sums_of(sums, wanted)
        kept = replace(sums, gram=None) if wanted.points else None
        return cls(rows, kept, axes, of_speech, pairs)

    def origin(self, wanted: Wanted) -> Vector:
        """What is taken off unit rows."""
        return self.speech.mean / len(self.rows) if wanted.slip else self.speech.mean

    def looks(
        self, zs: Sequence[NDArray], wanted: Wanted, towards: Sequence[Vector]
    ) -> Iterator[tuple[Any, ...]]:
        """Tasks for the sums of each point."""
        assert self.moments is not None
        pairs = [(z, one) for z, one in zip(zs, wanted.factors, strict=True) if one is not None]
        for part in _chunks(len(self.rows)):
            own = self.rows[part]
            labels, factors = [z[own] for z, _ in pairs], [one for _, one in pairs]
            yield (
                look,
                own,
                labels,
                factors,
                self.moments,
                self.axes,
                towards,
                wanted.slip,
                wanted.norms,
            )

    def with_points(self, parts: Sequence[Look], wanted: Wanted) -> _Large:
        """With the sums of each point."""
        n = len(self.rows)
        KL, ab, LL, KK, a, Ka, towards = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("KL", "ab", "LL", "KK", "a", "Ka", "towards")
        )
        speech_ = self.speech
        if wanted.norms:
            sums = speech_.a, speech_.a, speech_.aa
            speech_ = replace(speech_, each_KK=u_rows(KK, a, a, Ka, Ka, n, sums))
        pairs, factored, strips = [], 0, 0
        for one, pair in zip(wanted.factors, self.pairs, strict=True):
            if pair.each_KL is None:
                own = KL[:, factored], ab[:, factored], LL[:, factored]
                pair = replace(pair, each_KL=own[0], each_ab=own[1], each_LL=own[2])
            elif not wanted.slip:  # from strips or tiles, where L was not centred yet
                assert pair.each_ab is not None
                assert pair.each_LL is not None
                each, along = pair.each_KL - towards[:, strips] / n, towards[:, strips]
                if wanted.norms:
                    b = pair.each_ab / np.where(a > 0, a, 1)
                    trace = pair.b
                    # Products of L with the diagonals are left out: they hardly vary along it.
                    none = np.zeros(n)
                    sums = speech_.a, trace, pair.ab
                    each = u_rows(each, a, b, -2 / n * along, none, n, sums)
                    squares = u_rows(pair.each_LL, b, b, none, none, n, (trace, trace, pair.bb))
                    # Approximate, and off where the label hardly varies: scaled to their known sum,
                    # and products kept within what Cauchy and Schwarz allow.
                    squares = np.maximum(squares, 0)
                    p, q = 1 / max(n - 2, 1), 1 / max(n - 1, 1)
                    known = pair.LL - n * p * pair.bb + trace**2 * p * q
                    squares *= max(known, 0) / max(float(squares.sum()), 1e-300)
                    assert speech_.each_KK is not None
                    bound = 1.1 * np.sqrt(np.maximum(speech_.each_KK, 0) * squares)
                    each = np.clip(each, -bound, bound)
                    pair = replace(pair, each_LL=squares)
                pair = replace(pair, each_KL=each)
                strips += 1
            factored += one is not None
            pairs.append(pair)
        return replace(self, pairs=tuple(pairs), speech=speech_)


def sums_of(
    sums: Moments, wanted: Wanted
) -> tuple[SpeechSums, tuple[PairSums, ...], tuple[Matrix, Vector]]:
    """What centred moments give, and K's leading eigenvectors (d, few) and eigenvalues.

    Pseudo-labels without a factor have an infinite error.
    """
    n, mean = sums.n, sums.origin
    left = mean * (1 - 1 / n) if wanted.slip else np.zeros_like(mean)
    found = SpeechSums(mean, float(sums.ones[-2]) + n * float(left @ left))
    axes = np.empty((len(mean), 0)), np.empty(0)
    if sums.gram is not None:
        KK = float(np.vdot(sums.gram, sums.gram))
        found = replace(found, aa=sums.fourth, KK=KK)
        if wanted.points:
            axes = leading(sums.gram)
            skew = float((axes[1] ** 3).sum()) / KK**1.5 if KK > 1e-24 else 0.0
            found = replace(found, skew=skew)
    pairs, nothing = [], PairSums(*[np.nan] * 6, error=np.inf)
    of_factor = iter(zip(sums.cross, sums.labels, sums.centres, strict=True))
    for one in wanted.factors:
        if one is None:
            pairs.append(nothing)
            continue
        cross, labels, centre = next(of_factor)
        C, FF = cross[:-2, :-2], labels[:-2, :-2]
        if left.any():
            C = C + n * np.outer(left, centre)
        LL, total = float(np.vdot(FF, FF)), n**2 * float(centre @ centre)
        b = float(labels[-2, -1])
        left_out = max(n - total / n - b, 0.0)
        pairs.append(
            PairSums(
                float(np.vdot(C, C)), LL, float(cross[-2, -2]), b, float(labels[-2, -2]),
                total - n, found.a * left_out,
                float(np.vdot(FF @ FF, FF)) / LL**1.5 if LL > 1e-24 else 0.0,
            )
        )  # fmt: skip
    return found, tuple(pairs), axes


def leading(gram: Matrix, left_out: float = 1e-4) -> tuple[Matrix, Vector]:
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


def _looked_again(
    x: Any, classes: list[_Large], zs: Sequence[NDArray], wanted: Wanted, run: Run
) -> list[_Large]:
    """With the pseudo-labels that have no factor, and with the sums of each point."""
    plans: list[list[tuple[int, Sorted | Tiled]]] = [
        [
            (k, (Tiled if zs[k].ndim > 1 else Sorted).of(zs[k][one.rows], wanted.widths[k]))
            for k, made in enumerate(one.pairs)
            if made.error == np.inf
        ]
        for one in classes
    ]
    parts = run(
        x,
        (
            task
            for one, plan in zip(classes, plans, strict=True)
            for _, labels in plan
            for task in labels.tasks(one.rows, one.origin(wanted))
        ),
    )
    towards: list[list[Vector]] = []
    for place, (one, plan) in enumerate(zip(classes, plans, strict=True)):
        pairs, sums = list(one.pairs), []
        for k, labels in plan:
            summed = labels.summed(parts)
            pairs[k] = labels.pair_sums(summed, one.speech, wanted)
            sums.append(summed.towards * (not wanted.slip))
        classes[place] = replace(one, pairs=tuple(pairs))
        towards.append(sums)
    assert next(parts, None) is None
    if not wanted.points:
        return classes
    tasks = (
        task
        for one, sums in zip(classes, towards, strict=True)
        for task in one.looks(zs, wanted, sums)
    )
    looks = run(x, tasks)
    return [
        one.with_points([next(looks) for _ in _chunks(len(one.rows))], wanted) for one in classes
    ]


# --------------------------------------------------------------------- sums of each point


@dataclass(frozen=True)
class Look:
    """Sums of single points; K and L centred."""

    KL: Matrix  # (points, factored) see `PairSums.each_KL`
    ab: Matrix  # (points, factored) aᵢ bᵢ
    LL: Matrix  # (points, factored)
    KK: Vector  # (points,) not U-centred yet, as are the next
    a: Vector  # (points,)
    Ka: Vector  # (points,)
    towards: Matrix  # (points, strips) what centring L takes off


def look(
    x: Any,
    rows: Rows,
    zs: Sequence[NDArray],
    factors: Sequence[Factor],
    sums: Moments,
    axes: tuple[Matrix, Vector],
    towards: Sequence[Vector],
    slip: bool,
    norms: bool,
) -> Look:
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
        U = speech(x, rows[block], origin)
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
                each = u_rows(each, a, b, Kb, La, n, whole)
                whole = all_b, all_b, float(sums.labels[k][-2, -2])
                squares = u_rows(squares, b, b, Lb, Lb, n, whole)
            KL.append(each)
            ab.append(a * b)
            LL.append(squares)
        Ka = P[:, right_of[1]]
        along = P[:, right_of[2] : right_of[3]]
        KK = (along * along) @ xp.asarray(eigenvalues, device=place) - a * a
        columns = (xp.stack(v, axis=1) if v else xp.zeros((U.shape[0], 0)) for v in (KL, ab, LL))
        found.append([as_numpy(v) for v in (*columns, KK, a, Ka, P[:, right_of[3] :])])
    return Look(*(np.concatenate(v) for v in zip(*found, strict=True)))
