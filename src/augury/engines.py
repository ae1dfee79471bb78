"""Sums over all pairs of points, which every estimator is made of, without n x n matrices.

One class at a time: the speech as unit rows U, centred (K = U Uᵀ), and the kernel L of each
pseudo-label, centred. Three engines give the same sums, and the cheapest is taken for each class:

- `dense`: K and L as matrices; for small classes. K is made once for all pseudo-labels.
- `augury.moments`: L = Φ Φᵀ with few columns, one pass over the points; O(n·d·columns).
- `strip`: K only where L is not 0: points sorted by label, neighbours within reach; for scalars
  that range over very many kernel widths, and for very many categories.
- `tile`: K and L as matrices, a square of them at a time; for vector-valued labels of high rank.

They run on the arrays they are given (NumPy, or torch on a GPU), cut into tasks that do not depend
on who runs them: the results are the same to the last bit with any number of threads or workers.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import wraps
from itertools import chain, islice
from typing import Any, ParamSpec, TypeVar

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from augury.factors import EXACT, Factor, factor
from augury.kernels import Array, label_kernel, spaced
from augury.moments import Moments, as_numpy, moments, rows_at_once, speech
from augury.rows import Rows

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

#: Classes up to this size are dense, and up to this size where K's norm is wanted anyway.
DENSE, FEW = 256, 1024
#: A task has this many points of a larger class, or a 16th of it where that is more.
CHUNK = 4096
#: Values of a strip, and points along a tile's side.
STRIP, TILE = 256, 512
#: Points that the origin of a larger class is the mean of.
SAMPLED = 64


@dataclass(frozen=True)
class Wanted:
    """What is to be summed, of all classes alike."""

    widths: tuple[float, ...]  # σ of each pseudo-label's kernel
    factors: tuple[Factor | None, ...]  # of each, or None where it has none of few columns
    tolerance: float = 1e-6  # largest error of KL, relative to it
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
    ) -> Wanted:
        """With the factors that keep the tolerance in sets of up to `largest` points.

        Where nothing depends KL is about the trace of K, and its error is at most that trace times
        what is left out of all points: a thousandth of the tolerance leaves room for labels that
        hardly vary.
        """
        left_out = max(1e-3 * tolerance / max(largest, 1), EXACT)
        factors = [
            factor(z, width, left_out) if largest > DENSE else None
            for z, width in zip(zs, widths, strict=True)
        ]
        return cls(tuple(widths), tuple(factors), tolerance, **choices)

    def only(self, which: Sequence[int], **changes: Any) -> Wanted:
        """Of these pseudo-labels."""
        widths = tuple(self.widths[k] for k in which)
        return replace(
            self, widths=widths, factors=tuple(self.factors[k] for k in which), **changes
        )


@dataclass(frozen=True)
class SpeechSums:
    """The speech of one class; K centred."""

    mean: Vector  # (d,) of the unit rows
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

    rows: Rows
    speech: SpeechSums
    pairs: tuple[PairSums, ...]


# ------------------------------------------------------------------------- who runs the tasks

#: Runs tasks (function, arguments …) as function(x, arguments …); results in the tasks' order.
Run = Callable[[Any, Iterable[tuple[Any, ...]]], Iterator[Any]]

_threadpools = ThreadpoolController()

P = ParamSpec("P")
T = TypeVar("T")


def alone(function: Callable[P, T]) -> Callable[P, T]:
    """The function with one BLAS thread: its last bits do not depend on how many there are."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        with _threadpools.limit(limits=1):
            return function(*args, **kwargs)

    return inner


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(x: Any, tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Run tasks here, on all cores: each on one, so that its last bits are its own."""
    tasks = iter(tasks)
    few = list(islice(tasks, 2))
    with _threadpools.limit(limits=1):
        if len(few) < 2:  # not worth a thread
            for function, *arguments in few:
                yield function(x, *arguments)
            return
        count = _cores()
        running: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(count) as pool:
            for function, *arguments in chain(few, tasks):
                running.append(pool.submit(function, x, *arguments))
                if len(running) > 2 * count:  # bounded, as results may be large
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()


# ------------------------------------------------------------------------------- all classes


def survey(
    x: Any, groups: Sequence[Rows], zs: Sequence[NDArray], wanted: Wanted, *, whole: bool, run: Run
) -> tuple[list[ClassSums], Moments | None]:
    """The sums of every class, and the moments of all points together.

    Args:
        x: (all, …) embeddings; anything that gives an array for x[rows].
        groups: the rows of each class.
        zs: pseudo-labels, each over all rows.
        whole: whether the moments of all points are wanted, too; of labels that have a factor.
    """
    matrices = [len(rows) <= (FEW if wanted.norms else DENSE) for rows in groups]
    small = [rows for rows, is_small in zip(groups, matrices, strict=True) if is_small]
    large = [rows for rows, is_small in zip(groups, matrices, strict=True) if not is_small]
    rest = [np.concatenate(small)] if whole and small else []

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
            KU = _u_centred(K, a)
            sums = replace(sums, skew=_skew(K, KK), each_KK=as_numpy(xp.vecdot(KU, KU)))
    pairs = []
    for z, width, one in zip(zs, wanted.widths, wanted.factors, strict=True):
        z = xp.asarray(z, device=place)
        if one is not None and 2 * len(one) < n:
            phi = one.columns(z)
            total = float(xp.sum(xp.square(xp.sum(phi, axis=0))))
            error = sums.a * float(xp.sum(1 - xp.vecdot(phi, phi)))
            if not wanted.slip:
                phi -= xp.mean(phi, axis=0)
            L = phi @ phi.T
        else:
            error = 0.0
            L = label_kernel(z, width=width)
            total = float(xp.sum(L))
            if not wanted.slip:
                # Centred, too: where all entries are near 1, sums less their means would cancel.
                L -= xp.mean(L, axis=0)
                L -= xp.mean(L, axis=1)[:, None]
        b = xp.linalg.diagonal(L)
        each = xp.vecdot(K, L)
        LL, KL = float(xp.sum(xp.vecdot(L, L))), float(xp.sum(each))
        found = PairSums(KL, LL, float(a @ b), float(b @ b), total - n, max(error, 0.0))
        if wanted.points:
            found = replace(found, each_KL=as_numpy(each - a * b), each_ab=as_numpy(a * b))
        if wanted.points and wanted.norms:
            LU = _u_centred(L, b)
            each_KL, each_LL = (as_numpy(xp.vecdot(M, LU)) for M in (KU, LU))
            found = replace(found, skew=_skew(L, LL), each_KL=each_KL, each_LL=each_LL)
        pairs.append(found)
    return ClassSums(rows, sums, tuple(pairs))


def _u_centred(kernel: Array, diagonal: Array) -> Array:
    """A doubly centred kernel U-centred: rows without the diagonal, which is 0, sum to 0."""
    xp, n = array_namespace(kernel), kernel.shape[0]
    p = 1 / max(n - 2, 1)
    pull = diagonal * p - float(xp.sum(diagonal)) * p / (2 * max(n - 1, 1))
    off = 1 - xp.eye(n, dtype=xp.float64, device=device(kernel))
    return (kernel + pull[:, None] + pull[None, :]) * off


def _u_rows(
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


def _skew(kernel: Array, squares: float) -> float:
    """tr A³ / ‖A‖³ of a symmetric matrix; 0 of a constant."""
    xp = array_namespace(kernel)
    cubes = xp.sum(xp.astype(xp.vecdot(kernel @ kernel, kernel), xp.float64))
    return float(cubes) / squares**1.5 if squares > 1e-24 else 0.0


# ----------------------------------------------------------------------------- large classes


@dataclass(frozen=True)
class _Large:
    """A class after its first pass."""

    rows: Rows
    moments: Moments  # centred, without the Gram matrix
    axes: tuple[Matrix, Vector]  # leading eigenvectors (d, few) and eigenvalues of K
    speech: SpeechSums
    pairs: tuple[PairSums, ...]

    @classmethod
    def of(cls, rows: Rows, sums: Moments, wanted: Wanted) -> _Large:
        """After its first pass; `sums` centred."""
        of_speech, pairs, axes = sums_of(sums, wanted)
        return cls(rows, replace(sums, gram=None), axes, of_speech, pairs)

    def origin(self, wanted: Wanted) -> Vector:
        """What is taken off unit rows."""
        return self.speech.mean / len(self.rows) if wanted.slip else self.speech.mean

    def looks(
        self, zs: Sequence[NDArray], wanted: Wanted, towards: Sequence[Vector]
    ) -> Iterator[tuple[Any, ...]]:
        """Tasks for the sums of each point."""
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
                    trace = n - (pair.L + n) / n
                    # Products of L with the diagonals are left out: they hardly vary along it.
                    none = np.zeros(n)
                    sums = speech_.a, trace, pair.ab
                    each = _u_rows(each, a, b, -2 / n * along, none, n, sums)
                    squares = _u_rows(pair.each_LL, b, b, none, none, n, (trace, trace, pair.bb))
                    pair = replace(pair, each_LL=squares)
                pair = replace(pair, each_KL=each)
                strips += 1
            factored += one is not None
            pairs.append(pair)
        if wanted.norms:
            sums = speech_.a, speech_.a, speech_.aa
            speech_ = replace(speech_, each_KK=_u_rows(KK, a, a, Ka, Ka, n, sums))
        return replace(self, pairs=tuple(pairs), speech=speech_)


def sums_of(
    sums: Moments, wanted: Wanted
) -> tuple[SpeechSums, tuple[PairSums, ...], tuple[Matrix, Vector]]:
    """What centred moments give, and K's leading eigenvectors (d, few) and eigenvalues.

    Pseudo-labels without a factor, or whose factor is too coarse here, have an infinite error.
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
    pairs, nothing = [], PairSums(*[np.nan] * 5, error=np.inf)
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
        left_out = max(n - total / n - float(labels[-2, -1]), 0.0)
        made = PairSums(
            float(np.vdot(C, C)), LL, float(cross[-2, -2]), float(labels[-2, -2]), total - n,
            found.a * left_out, float(np.vdot(FF @ FF, FF)) / LL**1.5 if LL > 1e-24 else 0.0,
        )  # fmt: skip
        # A label that hardly varies inside the class asks for more than its factor gives.
        varies = LL > 1e-18 * n**2
        pairs.append(nothing if varies and made.error > wanted.tolerance * made.KL else made)
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
    plans: list[list[tuple[int, _Sorted | _Tiled]]] = [
        [
            (k, (_Tiled if zs[k].ndim > 1 else _Sorted).of(zs[k][one.rows], wanted.widths[k]))
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


# ------------------------------------------------- labels without a factor: strips and tiles of L


@dataclass(frozen=True)
class RowSums:
    """Sums of some points with all or some of their class; L not centred."""

    each: Vector  # (points,) Σⱼ (K∘L)ᵢⱼ
    rows: Vector  # (points,) Σⱼ Lᵢⱼ
    squares: Vector  # (points,) Σⱼ Lᵢⱼ²
    a: Vector  # (points,)
    towards: Vector  # (d,) Σᵢ (Σⱼ Lᵢⱼ) uᵢ


@dataclass(frozen=True)
class _Unfactored:
    """One pseudo-label of one class, without a factor."""

    z: NDArray
    width: float

    def pair_sums(self, sums: RowSums, of_speech: SpeechSums, wanted: Wanted) -> PairSums:
        """What the rows add up to; `sums` in the order of the class's points."""
        n, total = len(self.z), float(sums.rows.sum())
        LL = float(sums.squares.sum())
        LL += (total / n) ** 2 - 2 / n * float(sums.rows @ sums.rows)
        b = 1 - 2 / n * sums.rows + total / n**2
        if wanted.slip:  # neither K nor L is centred
            b = np.ones(n)
        # Strips end where L is that small.
        error = EXACT * n * of_speech.a if self.z.dtype.kind == "f" else 0.0
        found = PairSums(
            float(sums.each.sum()), LL, float(sums.a @ b), float(b @ b), total - n, error
        )
        if not wanted.points:
            return found
        L = label_kernel(self.z[spaced(self.z)], width=self.width)
        L -= L.mean(axis=0)
        L -= L.mean(axis=1)[:, None]
        # Centred as if near points had the same sum of their rows of L, which changes slowly.
        l, mean = sums.rows / n, total / n**2
        each_LL = sums.squares - 3 * n * l**2 + 2 * n * mean * l + float(l @ l) - n * mean**2
        return replace(
            found,
            skew=_skew(L, float(np.vdot(L, L))),
            each_KL=sums.each - sums.a * b,
            each_ab=sums.a * b,
            each_LL=each_LL - b * b,
        )


@dataclass(frozen=True)
class _Tiled(_Unfactored):
    """A vector-valued one: every point is near every other."""

    @classmethod
    def of(cls, z: NDArray, width: float) -> _Tiled:
        """In tiles."""
        return cls(z, width)

    def _tiles(self) -> list[tuple[slice, slice]]:
        sides = [slice(k, k + TILE) for k in range(0, len(self.z), TILE)]
        return [(one, other) for k, one in enumerate(sides) for other in sides[k:]]

    def tasks(self, rows: Rows, origin: Vector) -> Iterator[tuple[Any, ...]]:
        """One for each tile on or above the diagonal."""
        for one, other in self._tiles():
            yield tile, rows[one], self.z[one], rows[other], self.z[other], self.width, origin

    def summed(self, parts: Iterator[tuple[RowSums, RowSums | None]]) -> RowSums:
        """The rows' sums over their tiles."""
        n = len(self.z)
        each, rows, squares, a, towards = (np.zeros(n) for _ in range(5))
        towards = 0.0
        for one, other in self._tiles():
            of_one, of_other = next(parts)
            towards = towards + of_one.towards
            a[one] = of_one.a
            for place, part in ((one, of_one), (other, of_other)):
                if part is not None:
                    each[place] += part.each
                    rows[place] += part.rows
                    squares[place] += part.squares
        return RowSums(each, rows, squares, a, np.asarray(towards))


def tile(
    x: Any,
    rows: Rows,
    z: NDArray,
    other_rows: Rows,
    other_z: NDArray,
    width: float,
    origin: Vector,
) -> tuple[RowSums, RowSums | None]:
    """Some points with others: for both the sums of their rows; for one set with itself, once."""
    U = speech(x, rows, origin)
    xp, place = array_namespace(U), device(U)
    itself = np.array_equal(rows, other_rows)
    V = U if itself else speech(x, other_rows, origin)
    z, other_z = xp.asarray(z, device=place), xp.asarray(other_z, device=place)
    L = label_kernel(z, other_z, width=width)
    KL = xp.astype(U @ V.T, xp.float64) * L
    a, l, m = xp.vecdot(U, U), xp.sum(L, axis=1), xp.sum(L, axis=0)
    # Both towards' are returned with the first: they are only ever added up.
    towards = xp.astype(l, U.dtype) @ U
    if not itself:
        towards = towards + xp.astype(m, U.dtype) @ V
    L *= L
    sums = [xp.sum(KL, axis=1), l, xp.sum(L, axis=1), a, towards]
    one = RowSums(*(as_numpy(v).astype(np.float64) for v in sums))
    if itself:
        return one, None
    of_other = (as_numpy(v) for v in (xp.sum(KL, axis=0), m, xp.sum(L, axis=0)))
    return one, RowSums(*of_other, a=np.empty(0), towards=np.empty(0))


@dataclass(frozen=True)
class _Sorted(_Unfactored):
    """A scalar or a category: points in order, and strips of them with all that are near."""

    order: Rows  # (n,) places of the points, equal values side by side
    values: NDArray  # (m,) the different ones
    ends: Rows  # (m,) where each value's points end in the order
    strips: tuple[tuple[slice, slice], ...]  # values of each strip, and all near them

    @classmethod
    def of(cls, z: NDArray, width: float) -> _Sorted:
        """In strips."""
        order = np.argsort(z, kind="stable")
        values, counts = np.unique(z[order], return_counts=True)
        reach = 0.5 if z.dtype.kind in "iu" else width * np.sqrt(-2 * np.log(EXACT))
        begins = np.arange(0, len(values), STRIP)
        stops = np.minimum(begins + STRIP, len(values))
        low = np.searchsorted(values, values[begins] - reach)
        high = np.searchsorted(values, values[stops - 1] + reach, "right")
        strips = [
            (slice(int(i), int(j)), slice(int(p), int(q)))
            for i, j, p, q in zip(begins, stops, low, high, strict=True)
        ]
        return cls(z, width, order, values, np.cumsum(counts), tuple(strips))

    def tasks(self, rows: Rows, origin: Vector) -> Iterator[tuple[Any, ...]]:
        """One for each strip."""
        begins = np.append(0, self.ends[:-1])
        for own, near in self.strips:
            first = begins[near.start]
            points = rows[self.order[first : self.ends[near.stop - 1]]]
            inside = slice(own.start - near.start, own.stop - near.start)
            ends = self.ends[near] - first
            yield strip, points, self.values[near], ends, inside, self.width, origin

    def summed(self, parts: Iterator[RowSums]) -> RowSums:
        """The rows' sums, in the order of the points."""
        found = [next(parts) for _ in self.strips]
        back = np.empty(len(self.z), np.int64)
        back[self.order] = np.arange(len(self.z))
        each, rows, squares, a = (
            np.concatenate([getattr(one, name) for one in found])[back]
            for name in ("each", "rows", "squares", "a")
        )
        return RowSums(each, rows, squares, a, np.sum([one.towards for one in found], axis=0))


def strip(
    x: Any, points: Rows, values: NDArray, ends: Rows, own: slice, width: float, origin: Vector
) -> RowSums:
    """Some values' points with all points near them.

    Args:
        points: rows of x of all near points, equal values side by side.
        values: the near values, (m,).
        ends: (m,) where each value's points end.
        own: the values that are this strip's.
        origin: what is taken off unit rows.
    """
    which = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))  # the value of each point
    rows, squares = np.zeros(own.stop - own.start), np.zeros(own.stop - own.start)
    W: Array = None  # Σⱼ Lᵢⱼ uⱼ of each own value
    size = rows_at_once(x[points[:1]], large=True)
    for begin in range(0, len(points), size):
        block = slice(begin, begin + size)
        U = speech(x, points[block], origin)
        xp, place = array_namespace(U), device(U)
        first, last = which[block][[0, -1]]
        counts = np.bincount(which[block] - first)
        if len(counts) < U.shape[0]:  # equal values as one
            among = which[block] == np.arange(first, last + 1)[:, None]
            U = xp.astype(xp.asarray(among, device=place), U.dtype) @ U
        near = xp.asarray(values[first : last + 1], device=place)
        L = label_kernel(xp.asarray(values[own], device=place), near, width=width)
        weights = xp.asarray(counts.astype(np.float64), device=place)
        rows += as_numpy(L @ weights)
        squares += as_numpy((L * L) @ weights)
        product = xp.astype(L, U.dtype) @ U
        W = product if W is None else W + product
    which = which[(own.start <= which) & (which < own.stop)] - own.start
    points = points[ends[own.start - 1] if own.start else 0 : ends[own.stop - 1]]
    towards = np.zeros(len(origin))
    each, a = np.empty(len(points)), np.empty(len(points))
    for begin in range(0, len(points), size):
        block = slice(begin, begin + size)
        U = speech(x, points[block], origin)
        xp, place = array_namespace(U), device(U)
        index = xp.asarray(which[block], device=place)
        each[block] = as_numpy(xp.vecdot(U, xp.take(W, index, axis=0)))
        a[block] = as_numpy(xp.vecdot(U, U))
        own_rows = xp.astype(xp.asarray(rows[which[block]], device=place), U.dtype)
        towards += as_numpy(own_rows @ U)
    return RowSums(each, rows[which], squares[which], a, towards)


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
                each = _u_rows(each, a, b, Kb, La, n, whole)
                whole = all_b, all_b, float(sums.labels[k][-2, -2])
                squares = _u_rows(squares, b, b, Lb, Lb, n, whole)
            KL.append(each)
            ab.append(a * b)
            LL.append(squares)
        Ka = P[:, right_of[1]]
        along = P[:, right_of[2] : right_of[3]]
        KK = (along * along) @ xp.asarray(eigenvalues, device=place) - a * a
        columns = (xp.stack(v, axis=1) if v else xp.zeros((U.shape[0], 0)) for v in (KL, ab, LL))
        found.append([as_numpy(v) for v in (*columns, KK, a, Ka, P[:, right_of[3] :])])
    return Look(*(np.concatenate(v) for v in zip(*found, strict=True)))
