# pyright: reportConstantRedefinition=false
"""Tests of independence where points come in units that repeat: recordings, speakers.

Points of one recording share its channel, speaker and noise: a pseudo-label and a label (or the
speech) that know nothing of each other agree over two points of a recording more often than by
chance. So only pairs of points in different units are evidence, and the sums over the pairs of two
units, G (units, units), are what chance varies. Under independence their signs are exchangeable:
flipping the sign of whole units (the wild bootstrap of degenerate statistics, Chwialkowski,
Sejdinovic and Gretton 2014) gives Σ G the variance 2 ‖G‖² and the third moment 8 tr G³, without
the diagonal. No draws are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augury.compute import RunTasks
from augury.embeddings import Embeddings, Indices
from augury.hsic.correlation import gamma_tail, u_centred_sum_of_columns
from augury.hsic.kernels import Matrix, Values
from augury.hsic.moments import Moments, leading_eigenvectors
from augury.hsic.projections import LEFT_OUT, project_speech
from augury.hsic.sums import skewness

#: Most units whose pairs are compared for the moments of chance.
MOST_UNITS = 1000
#: Fewest units in a class that counts.
FEWEST_UNITS = 4


@dataclass(frozen=True)
class Chance:
    """A statistic over pairs of points in different units, and its moments under independence."""

    value: float
    variance: float
    third: float

    def p_value(self) -> float:
        """P-value of independence, by moments."""
        return gamma_tail(self.value, self.variance, self.third)

    def scale(self, factor: float) -> Chance:
        """Of the statistic times a factor."""
        return Chance(factor * self.value, factor**2 * self.variance, factor**3 * self.third)


def chance_of_flips(value: float, G: Matrix, units: int) -> Chance:
    """The moments of Σ G when the signs of units are flipped.

    Args:
        value: the statistic.
        G: (few, few) sums over the pairs of two units, of some of the units.
        units: number of all units; the moments grow with the number of their pairs and triples.

    >>> chance_of_flips(2.0, np.array([[9.0, 1.0], [1.0, 9.0]]), 2).variance
    4.0
    """
    few = len(G)
    G = G - np.diag(np.diag(G))
    pairs = units * (units - 1) / max(few * (few - 1), 1)
    triples = pairs * (units - 2) / max(few - 2, 1)
    third = 8 * float(np.vdot(G @ G, G))
    return Chance(value, 2 * pairs * float(np.vdot(G, G)), triples * third)


def relevance_by_units(columns: Matrix, y: Indices, units: Indices) -> Chance:
    """Σ of L∘M over pairs of points in different units, both centred, M the label's kernel.

    Args:
        columns: (n, r) with L ≈ columns @ columns.T, centred.
        y: (n,) codes of the label, 0 to C − 1.
        units: (n,) codes of the units, 0 to R − 1.

    >>> z, y = np.array([-1.0, -1.0, 1.0, 1.0])[:, None], np.array([0, 0, 1, 1])
    >>> relevance_by_units(z, y, units=np.array([0, 1, 2, 3])).value
    6.0
    """
    shares = np.bincount(y) / len(y)
    R, C = int(units.max()) + 1, len(shares)
    cells = units * C + y
    order = np.argsort(cells, kind="stable")
    first = np.flatnonzero(np.diff(cells[order], prepend=-1))
    cell_sums = np.add.reduceat(columns[order], first, axis=0)  # Σ φ of a unit's points of a class
    of_unit, of_class = np.divmod(cells[order][first], C)
    unit_sums, expected = (np.zeros((R, columns.shape[1])) for _ in range(2))
    np.add.at(unit_sums, of_unit, cell_sums)
    np.add.at(expected, of_unit, shares[of_class][:, None] * cell_sums)
    # Σ φ (e_y − shares)ᵀ of each unit is a matrix (r, C): its products, without forming it.
    square = float(shares @ shares)
    by_class = np.zeros((C, columns.shape[1]))
    np.add.at(by_class, of_class, cell_sums)
    total = by_class - np.outer(shares, unit_sums.sum(axis=0))
    within = float(np.vdot(cell_sums, cell_sums) - 2 * np.vdot(expected, unit_sums))
    within += square * float(np.vdot(unit_sums, unit_sums))
    chosen = _some_units(R)
    place = np.full(R, -1)
    place[chosen] = np.arange(len(chosen))
    G = np.zeros((len(chosen), len(chosen)))
    for c in np.unique(of_class):
        own = np.flatnonzero((of_class == c) & (place[of_unit] >= 0))
        at = place[of_unit[own]]
        G[np.ix_(at, at)] += cell_sums[own] @ cell_sums[own].T
    F, E = unit_sums[chosen], expected[chosen]
    crossed = F @ E.T
    G += square * (F @ F.T) - crossed - crossed.T
    G *= np.sqrt((R - 1) / max(R - 3, 1))  # the variance of a centred statistic of R units
    return chance_of_flips(float(np.vdot(total, total)) - within, G, R)


@dataclass(frozen=True)
class ClassCells:
    """The speech of a class, by cells: the points of one unit."""

    units: NDArray[np.int64]  # (m,) of each cell
    order: NDArray[np.int64]  # the class's points, cell by cell, those of fewer points first
    first: NDArray[np.int64]  # (m,) where each cell begins
    A: Matrix  # (m, few) the cells' means of the leading columns of K, centred
    KK: float  # the U-centred Σ K∘K of K = A @ A.T
    skew: float  # its tr K³ / ‖K‖³
    several: NDArray[np.bool_]  # (points,) whether the point's cell has others
    deviations: Matrix  # (points in such cells, few) from the cell's mean

    @classmethod
    def of(cls, rows: Indices, units: Indices, projected: Values) -> ClassCells:
        """From the rows of a class, and all points' units and leading columns."""
        own = units[rows]
        order = rows[np.lexsort((own, np.bincount(own)[own]))]
        first = np.flatnonzero(np.diff(units[order], prepend=-1))
        columns = projected[order].astype(np.float64)
        means, several = cell_means(columns, first)
        deviations = (columns - means)[several]
        A = means[first]
        A -= A.mean(axis=0)
        KK = max(u_centred_sum_of_columns(A, A), 0.0) if len(A) >= FEWEST_UNITS else 0.0
        return cls(units[order][first], order, first, A, KK, _skewness(A), several, deviations)


def class_cells(
    x: Embeddings,
    groups: Sequence[Indices],
    units: Indices,
    moments: Moments,
    run: RunTasks,
) -> list[ClassCells]:
    """The cells of every class that has at least four units.

    Args:
        x: (n, …) embeddings.
        groups: the rows of each class.
        units: (n,) codes.
        moments: of the speech of all points.
    """
    assert moments.gram is not None
    vectors, _ = leading_eigenvectors(moments.gram, LEFT_OUT)
    projected, _ = project_speech(x, np.arange(len(x)), moments.origin, vectors, run)
    cells = [ClassCells.of(rows, units, projected) for rows in groups]
    return [own for own in cells if len(own.first) >= FEWEST_UNITS]


def cell_means(rows: Matrix, first: Indices) -> tuple[Matrix, NDArray[np.bool_]]:
    """Each row's mean over its cell, and whether the cell has several rows.

    >>> cell_means(np.array([[1.0], [3.0], [5.0]]), first=np.array([0, 2]))[0].ravel().tolist()
    [2.0, 2.0, 5.0]
    """
    sizes = np.diff(first, append=len(rows))
    means = np.add.reduceat(rows, first, axis=0) / sizes[:, None]
    return means.repeat(sizes, axis=0), (sizes > 1).repeat(sizes)


@dataclass
class _Total:
    """A statistic over pairs of units and its moments, class by class."""

    G: Matrix  # (few, few) sums over the pairs of two units, of all classes
    value: float = 0.0
    variance: float = 0.0  # of classes that share no units
    third: float = 0.0
    alone: float = 0.0  # ‖·‖² of each class's part of G

    def add(self, chance: Chance, at: Indices, product: Matrix) -> None:
        """Add a class's statistic, and the units of its part of G."""
        self.value += chance.value
        self.variance += chance.variance
        self.third += chance.third
        self.G[np.ix_(at, at)] += product
        self.alone += float(np.vdot(product, product))


def dependence_by_units(
    cells: Sequence[ClassCells], columns: Matrix, units: int
) -> tuple[Chance, float]:
    """Dependence inside classes over pairs of points in different units, and the design effect.

    Two statistics for each class, which are 0 on average under independence whatever a unit's
    points have in common: the unbiased HSIC of the cells' means, and, as Σ over pairs of cells of
    ⟨C, C′⟩, that of the covariances C of speech and pseudo-label inside cells. The moments of the
    first are those of shuffling units, which are exact, of the second those of flipping signs.
    Units in several classes make classes vary together: the design effect is the variance by
    flipping signs with and without that. The third moment grows with its square, as it does when
    all classes are alike.

    Args:
        cells: of the classes, see `class_cells`.
        columns: (n, r) with L ≈ columns @ columns.T.
        units: the number of all units.

    Returns:
        The statistic, and the design effect, at least 1.
    """
    chosen = _some_units(units)
    place = np.full(units, -1)
    place[chosen] = np.arange(len(chosen))
    sums = _Total(np.zeros((len(chosen), len(chosen))))
    for own in cells:
        rows = columns[own.order]
        means, _ = cell_means(rows, own.first)
        n, m = len(rows), len(own.first)
        some = np.flatnonzero(place[own.units] >= 0)
        B = means[own.first]
        chance, product = _of_means(own, B - B.mean(axis=0), some)
        weight = (n / m) ** 2 / n
        product *= weight
        sums.add(chance.scale(weight), place[own.units[some]], product)
        if own.several.any():
            chance, product, some = _of_deviations(own, (rows - means)[own.several], place)
            product /= n
            sums.add(chance.scale(1 / n), place[own.units[some]], product)
    effect = float(np.vdot(sums.G, sums.G)) / sums.alone if sums.alone > 0 else 1.0
    effect = max(effect, 1.0)
    return Chance(sums.value, sums.variance * effect, sums.third * effect**2), effect


def _of_means(own: ClassCells, B: Matrix, some: Indices) -> tuple[Chance, Matrix]:
    """The U-centred sum of cells' means, and its part for pairs of some cells."""
    m = len(B)
    value = u_centred_sum_of_columns(own.A, B)
    KK, LL = own.KK, max(u_centred_sum_of_columns(B, B), 0.0)
    variance = KK * LL * 2 / (m * (m - 3))
    third = (KK * LL) ** 1.5 * 8 / m**3 * own.skew * _skewness(B)
    product = _u_centred_part(own.A, some)
    product *= _u_centred_part(B, some)
    product *= np.sqrt((m - 1) / (m - 3))
    return Chance(value, variance, third), product


def _of_deviations(
    own: ClassCells, deviations: Matrix, place: Indices
) -> tuple[Chance, Matrix, Indices]:
    """Σ ⟨C, C′⟩ over pairs of cells with several points, and its part for pairs of some cells.

    Args:
        own: the class.
        deviations: (points, r) of the pseudo-label's columns from the cells' means.
        place: (units,) −1 for units that are not among the some.
    """
    sizes = np.diff(own.first, append=len(own.order))
    which = np.flatnonzero(sizes > 1)
    few, r = own.deviations.shape[1], deviations.shape[1]
    C = np.empty((len(which), few, r))
    done = begin = 0
    for size, count in zip(*np.unique(sizes[which], return_counts=True), strict=True):
        block, rows = slice(done, done + count), slice(begin, begin + size * count)
        K, L = own.deviations[rows], deviations[rows]
        K, L = K.reshape(count, size, few), L.reshape(count, size, r)
        np.matmul(K.transpose(0, 2, 1), L, out=C[block])
        done, begin = block.stop, rows.stop
    C = C.reshape(len(which), -1)
    total = C.sum(axis=0)
    value = float(total @ total) - float(np.vdot(C, C))
    known = place[own.units[which]] >= 0
    some = C[known]
    product: Matrix = some @ some.T
    np.fill_diagonal(product, 0)
    return chance_of_flips(value, product, len(which)), product, which[known]


def _skewness(columns: Matrix) -> float:
    """tr K³ / ‖K‖³ of K = columns @ columns.T, from the smaller of the two products."""
    gram: Matrix = columns.T @ columns if columns.shape[1] < len(columns) else columns @ columns.T
    return skewness(gram, float(np.vdot(gram, gram)))


def _u_centred_part(columns: Matrix, some: Indices) -> Matrix:
    """Rows and columns of the U-centred kernel columns @ columns.T, see `sums.u_centre`."""
    n, diagonal = len(columns), np.vecdot(columns, columns)
    p = 1 / (n - 2)
    pull = (diagonal[some] * p - float(diagonal.sum()) * p / (2 * (n - 1)))[:, None]
    own, one = columns[some], np.ones((len(some), 1))
    kernel: Matrix = np.hstack([own, pull, one]) @ np.hstack([own, one, pull]).T
    np.fill_diagonal(kernel, 0)
    return kernel


def _some_units(units: int) -> NDArray[np.int64]:
    """At most MOST_UNITS of the units, at random with a fixed seed."""
    if units <= MOST_UNITS:
        return np.arange(units)
    return np.sort(np.random.default_rng(0).choice(units, MOST_UNITS, replace=False))
