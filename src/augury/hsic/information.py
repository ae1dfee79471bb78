# pyright: reportMissingTypeStubs=false
"""Mutual information of a pseudo-label and the downstream label: nats, for all kinds alike.

A correlation of kernels does not compare a number with a category or a vector; this does. It is of
the pseudo-label alone: the speech does not enter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from augury.hsic.kernels import Matrix, Values, Vector, frame_counts, has_counts, spaced_points

#: Fewest and most equally filled bins of a number.
FEWEST_BINS, MOST_BINS = 4, 32
#: Values that come so often, on average, are categories; a bin holds the square of as many.
REPEATS = 5
#: Largest table of which the information by chance is summed cell by cell.
MOST_EXACT = 100_000
#: Chance must leave this share of the most that margins allow, or a table tells nothing.
LEAST_LEFT = 0.02
#: Folds in which a vector's classifier is tested on what it was not trained on.
FOLDS = 5
#: Most points of a number, a vector or of counts; with more the estimate is as good.
MOST_POINTS = 20_000
#: Shares of the covariance within classes that are spread evenly over the dimensions.
SHRINKAGE = 0.05


def mutual_information(z: Values, y: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Mutual information of a pseudo-label and the label in nats, 0 on average if independent.

    Numbers are cut into equally filled bins, and the information of a table is freed of what chance
    gives to a table with the same margins: (I − E) / (H − E) · H, with the most that the margins
    allow, H. Where groups repeat, chance is that of n / `design_effect` segments. For a vector it
    is what a linear classifier, shrinkage LDA, tells of segments that it was not trained on, H(Y) −
    cross-entropy: a lower bound (Barber and Agakov 2003), at least 0. A vector of few different
    values, such as one-hots, is a category.

    >>> y = np.arange(300) % 3
    >>> round(mutual_information(y, y), 3), round(mutual_information(np.eye(3)[y], y), 3)
    (1.099, 1.099)

    Args:
        z: (n,) numbers or codes, (n, dims), or (n, categories) counts of frames, for which it is
            what a frame tells.
        y: (n,) label.
        groups: (n,) of segments that are not independent, such as those of a recording: chance
            gives more then, and folds hold them out together. None: all segments are independent.
    """
    labels = np.unique(np.asarray(y), return_inverse=True)[1]
    units = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    independent = None if units is None else int(units.max()) + 1
    if has_counts(z):
        units = np.arange(len(z)) if units is None else units  # frames of a segment are alike
        if len(z) > MOST_POINTS:
            chosen = np.sort(np.random.default_rng(0).choice(len(z), MOST_POINTS, replace=False))
            z, labels, units = z[chosen], labels[chosen], units[chosen]
            labels, units = (np.unique(v, return_inverse=True)[1] for v in (labels, units))
        rows, codes, counts = frame_counts(z)
        return _table_information(_Cells(codes, labels[rows], units[rows], counts))
    if z.ndim == 2 and z.shape[1] > 1:
        different, codes = np.unique(z, axis=0, return_inverse=True)
        if REPEATS * len(different) > (independent or len(z)):
            return _vector_information(np.asarray(z, np.float64), labels, groups)
        return _table_information(_Cells(codes.ravel(), labels, units, np.ones(len(z))))
    z = z.reshape(len(z))
    if z.dtype.kind not in "iu" and len(z) > MOST_POINTS:
        rows = spaced_points(z, MOST_POINTS)
        z, labels = z[rows], np.unique(labels[rows], return_inverse=True)[1]
        if units is not None:
            units = np.unique(units[rows], return_inverse=True)[1]
            independent = int(units.max()) + 1
    return _table_information(_Cells(discretise(z, independent), labels, units, np.ones(len(z))))


def discretise(z: Values, independent: int | None = None) -> NDArray[np.int64]:
    """Codes (n,) of numbers in equally filled bins; those of categories, or of few numbers.

    `independent` is the number of recordings, where segments of one are not; None: n.

    >>> discretise(np.linspace(0, 1, 8)).tolist()
    [0, 0, 1, 1, 2, 2, 3, 3]
    """
    different, codes = np.unique(z, return_inverse=True)
    if z.dtype.kind in "iu" or REPEATS * len(different) <= (independent or len(z)):
        return codes.astype(np.int64)
    bins = int(np.clip(np.sqrt(len(different) / REPEATS), FEWEST_BINS, MOST_BINS))
    edges = np.unique(np.quantile(z, np.arange(1, bins) / bins))
    return np.unique(np.searchsorted(edges, z, "right"), return_inverse=True)[1].astype(np.int64)


def entropy(counts: ArrayLike) -> float:
    """Of the classes with these sizes, in nats.

    >>> round(entropy([10, 10, 0]), 3)
    0.693
    """
    p = np.asarray(counts, np.float64)
    p = p[p > 0] / max(p.sum(), 1.0)
    return float(-(p * np.log(p)).sum())


def expected_information(a: ArrayLike, b: ArrayLike) -> float:
    """The mean information, in nats, of tables with these margins if rows are shuffled.

    Exact, as a cell is hypergeometric (Vinh, Epps and Bailey 2010, eq. 24a), up to 100,000; beyond,
    the first term of its series, (rows − 1)(columns − 1) / 2n (Miller 1955).

    >>> round(expected_information([2, 2], [2, 2]), 4)
    0.231
    """
    rows, columns = (
        Counter(cast(list[int], np.asarray(sizes, np.int64).tolist())) for sizes in (a, b)
    )
    n = sum(size * count for size, count in rows.items())
    if n > MOST_EXACT:
        filled = [sum(count for size, count in own.items() if size) for own in (rows, columns)]
        return (filled[0] - 1) * (filled[1] - 1) / (2 * n)
    factorial = cast(Vector, gammaln(np.arange(n + 1) + 1.0))  # its logarithm
    total = 0.0
    for size, count in rows.items():
        for other, others in columns.items():
            cell: NDArray[np.int64] = np.arange(max(1, size + other - n), min(size, other) + 1)
            if not len(cell):
                continue
            chance = np.exp(
                factorial[size] + factorial[other] + factorial[n - size] + factorial[n - other]
                - factorial[n] - factorial[cell] - factorial[size - cell]
                - factorial[other - cell] - factorial[n - size - other + cell]
            )  # fmt: skip
            nats: Vector = cell / n * (np.log(n * cell) - np.log(size * other))
            total += count * others * float(chance @ nats)
    return total


@dataclass(frozen=True)
class _Cells:
    """What falls into a table: how often each category comes together with each label."""

    codes: NDArray[np.int64]
    labels: NDArray[np.int64]
    units: NDArray[np.int64] | None  # of what is not independent; None: everything is
    weights: Vector  # segments, or frames

    @property
    def total(self) -> float:
        """How many segments or frames there are."""
        return float(self.weights.sum())

    def table(self) -> Matrix:
        """(categories, labels) how often."""
        table = np.zeros((self.codes.max() + 1, self.labels.max() + 1))
        np.add.at(table, (self.codes, self.labels), self.weights)
        return table

    def pair_sum(self, codes: NDArray[np.int64], values: Vector) -> float:
        """Σ of values[code] over pairs in a unit that have the same code."""
        assert self.units is not None
        cells, which = np.unique(self.units * len(values) + codes, return_inverse=True)
        counts = np.bincount(which, self.weights)
        return float(values[cells % len(values)] @ counts**2)


def design_effect(codes: NDArray[np.int64], labels: NDArray[np.int64], groups: ArrayLike) -> float:
    """By how much groups multiply what chance gives to a table's information, at least 1.

    First-order correction of Rao and Scott (1981): the variance of groups' sums of standardised
    residuals, over that of single segments, summed over the table's cells. Chance gives a table of
    n single segments (rows − 1)(columns − 1) / 2n nats.

    >>> codes, labels = np.random.default_rng(0).integers(0, 2, (2, 100)).repeat(10, axis=1)
    >>> round(design_effect(codes, labels, np.arange(1000) // 10), 1)
    10.0

    Args:
        codes, labels, groups: (n,) of the pseudo-label, the label, and what is not independent.
    """
    units = np.unique(np.asarray(groups), return_inverse=True)[1]
    cells = _Cells(codes, labels, units, np.ones(len(codes)))
    return _design_effect(cells, cells.table())


def _design_effect(cells: _Cells, table: Matrix) -> float:
    assert cells.units is not None
    n, weights = cells.total, cells.weights
    p, q = table.sum(axis=1) / n, table.sum(axis=0) / n
    inverse = [np.divide(1, own, out=np.zeros(len(own)), where=own > 0) for own in (p, q)]
    expected = np.outer(p, q)
    excess = np.divide(table / n, expected, out=np.ones(table.shape), where=expected > 0) - 1
    square = float((excess**2 * expected).sum())
    sizes = np.bincount(cells.units, weights)
    own = weights * excess[cells.codes, cells.labels]
    # Σ over groups of ‖Σ e − size · ē‖², e the standardised residuals (rows × columns) of segments.
    both = cells.codes * len(q) + cells.labels
    sums = cells.pair_sum(both, np.outer(*inverse).ravel()) + float(sizes @ sizes)
    sums -= cells.pair_sum(cells.codes, inverse[0]) + cells.pair_sum(cells.labels, inverse[1])
    sums += square * float(sizes @ sizes) - 2 * float(sizes[cells.units] @ own)
    each = (inverse[0][cells.codes] - 1) * (inverse[1][cells.labels] - 1)
    alone = float(weights @ each) - n * square
    return max(sums / alone, 1.0) if alone > 0 else 1.0


def _apportion(counts: Vector, total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to the counts that add up to a total, by largest remainders."""
    exact = counts * (total / counts.sum())
    parts = np.floor(exact + 1e-9).astype(np.int64)
    left = total - int(parts.sum())
    parts[np.argsort(parts - exact, kind="stable")[:left]] += 1
    return parts


def _table_information(cells: _Cells) -> float:
    table = cells.table()
    a, b = table.sum(axis=1), table.sum(axis=0)
    most = min(entropy(a), entropy(b))
    effect = 1.0 if cells.units is None else _design_effect(cells, table)
    independent = round(cells.total / effect)
    by_chance = expected_information(*(_apportion(margin, independent) for margin in (a, b)))
    if most - by_chance <= LEAST_LEFT * most:
        return 0.0  # by chance, tables with these margins say as much
    known = entropy(a) + entropy(b) - entropy(table.ravel())
    return (known - by_chance) / (most - by_chance) * most


def _vector_information(z: Matrix, labels: NDArray[np.int64], groups: ArrayLike | None) -> float:
    """H(Y) − the cross-entropy of a linear classifier on folds of groups that it has not seen."""
    rows = spaced_points(z, MOST_POINTS)
    rows = rows[np.lexsort(z[rows].T)]  # folds should not hang on the order of the segments
    z, labels = z[rows], np.unique(labels[rows], return_inverse=True)[1]
    which = np.arange(len(z))
    if groups is not None:
        _, first, which = np.unique(
            np.asarray(groups)[rows], return_index=True, return_inverse=True
        )
        which = np.argsort(np.argsort(first))[which]  # in the order in which they come
    fold = (np.random.default_rng(0).permutation(which.max() + 1) % FOLDS)[which]
    if fold.min() == fold.max():
        return 0.0  # nothing is left to train on
    scale = z.std(axis=0)
    z = (z - z.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    counts = np.bincount(labels)
    nats = np.zeros(len(z))
    for k in np.unique(fold):
        test = fold == k
        if not test.all():
            nats[test] = _log_posterior(z[~test], labels[~test], z[test], labels[test], len(counts))
    return max(entropy(counts) + float(nats.mean()), 0.0)


def _log_posterior(
    z: Matrix, labels: NDArray[np.int64], test: Matrix, truth: NDArray[np.int64], classes: int
) -> Vector:
    """Log probability (test,) of the true classes by shrinkage LDA trained on z and labels."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    means = np.zeros((classes, z.shape[1]))
    np.add.at(means, labels, z)
    means = (means + z.mean(axis=0)) / (counts + 1)[:, None]  # a class not seen: the mean of all
    centred = z - means[labels]
    within: Matrix = centred.T @ centred / len(z)
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.eye(len(within)) * max(
        float(np.trace(within)) / len(within), 1e-6
    )
    half = cast(NDArray[Any], np.linalg.cholesky(np.linalg.inv(within)))
    points, centres = test @ half, means @ half
    distances = np.square(points).sum(axis=1)[:, None] - 2 * points @ centres.T
    distances += np.square(centres).sum(axis=1)
    logits = np.log((counts + 1) / (counts + 1).sum()) - distances / 2
    logits -= logits.max(axis=1, keepdims=True)
    return logits[np.arange(len(test)), truth] - np.log(np.exp(logits).sum(axis=1))
