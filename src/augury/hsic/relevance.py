# pyright: reportConstantRedefinition=false, reportMissingTypeStubs=false
"""Dependence on the speech and relevance to the label, which the CI estimate does not measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from augury.compute import RunTasks, run_in_threads, with_one_blas_thread
from augury.embeddings import Embeddings, Indices
from augury.errors import InputError
from augury.hsic import equations
from augury.hsic.correlation import USums, gamma_tail, normalise
from augury.hsic.engines import dense_sums, moments_of, sums_from_moments
from augury.hsic.estimators import (
    TOLERANCE,
    CIEstimate,
    class_rows,
    robust_estimates,
    robust_sums,
)
from augury.hsic.factors import Factor, factor
from augury.hsic.kernels import (
    Values,
    Vector,
    median_distance,
    spaced_points,
    standardise,
)
from augury.hsic.moments import Moments, as_numpy, subtract_mean
from augury.hsic.projections import LEFT_OUT, label_columns, nystrom
from augury.hsic.sums import Engine, PairSums, SpeechSums, SumPlan, is_dense
from augury.hsic.units import (
    Chance,
    ClassCells,
    class_cells,
    dependence_by_units,
    relevance_by_units,
)

#: Rows processed at once in passes over the labels only.
BLOCK = 4096


@dataclass(frozen=True)
class Association:
    """An unbiased, normalised HSIC (a correlation: 0 for independent, at most 1).

    >>> round(Association(value=0.2, shuffled_sd=0.1, skew=0.5).p_above(), 3)
    0.034
    """

    value: float
    shuffled_sd: float  # its exact standard deviation over shuffles of the points (mean 0)
    skew: float  # its skewness over shuffles

    def p_above(self, value: float = 0.0, sd: float = 0.0) -> float:
        """P-value, by moments, of exceeding `value`, which has the standard deviation `sd`."""
        variance = self.shuffled_sd**2 + sd**2
        return gamma_tail(self.value - value, variance, self.skew * self.shuffled_sd**3)


@with_one_blas_thread
def associations(
    x: Embeddings,
    zs: Sequence[Values],
    y: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    units: ArrayLike | None = None,
    engine: Engine = "auto",
    run: RunTasks = run_in_threads,
) -> tuple[list[Association], list[Association]]:
    """Each pseudo-label's dependence on the speech and relevance to the label, over all points.

    Both on the scale of `robust`. Vector-valued labels without a factor of few columns, or with far
    outliers, are reduced to 1,000 points, see `kernels.spaced_points`, except by the engines
    "dense" and "exact", which compute n × n matrices.

    >>> import numpy as np
    >>> x, y = np.random.default_rng(0).standard_normal((200, 8)), np.arange(200) % 2
    >>> (dependence,), (relevance,) = associations(x, [x[:, 0]], y)
    >>> round(dependence.value, 2), round(relevance.value, 2)
    (0.24, -0.0)

    Args:
        x, zs, y, tolerance, engine, run: as in `paper`.
        units: (n,) codes of what repeats, such as recordings. Relevance then counts only pairs of
            points of different units, and chance is that of whole units, see `augury.hsic.units`.

    Returns:
        HSIC(X, Z) of each pseudo-label, and HSIC(Z, Y), where Y's kernel is 1 for equal labels and
        0 otherwise.

    Raises:
        InputError: fewer than four points or two classes, or there is no such engine.
    """
    x, zs = subtract_mean(x, run), [standardise(z) for z in zs]
    widths = [median_distance(z) for z in zs]
    plan = SumPlan.of(zs, widths, len(zs[0]), tolerance=tolerance, engine=engine, norms=True)
    moments = None
    if not is_dense(engine):
        moments = moments_of(x, np.arange(len(zs[0])), zs, plan, run=run)
    codes = repeating_units(units)
    dependence, relevance = _associations(
        x, zs, class_rows(y), plan, moments, run, relevant=codes is None
    )
    if codes is not None:
        tasks = ((_by_units, z, f, y, codes, ()) for z, f in _with_factors(zs, plan))
        relevance = [association for association, _ in run(None, tasks)]
    return dependence, relevance


@with_one_blas_thread
def robust_with_associations(
    x: Embeddings,
    zs: Sequence[Values],
    y: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    points: bool = False,
    units: ArrayLike | None = None,
    engine: Engine = "auto",
    run: RunTasks = run_in_threads,
) -> tuple[list[CIEstimate], list[Association], list[Association]]:
    """`robust` and `associations` from one pass over the speech.

    With `units` and `points`, the estimates' p-values are those of whole units, too.

    >>> import numpy as np
    >>> x, y = np.random.default_rng(0).standard_normal((200, 8)), np.arange(200) % 2
    >>> (estimate,), (dependence,), (relevance,) = robust_with_associations(x, [x[:, 0]], y)
    >>> estimate.score == robust_with_associations(x, [2 * x[:, 0]], y)[0][0].score
    True
    """
    x, groups = subtract_mean(x, run), class_rows(y)
    zs = [standardise(z) for z in zs]
    widths = [median_distance(z) for z in zs]
    plan = SumPlan.of(
        zs, widths, len(zs[0]), tolerance=tolerance, engine=engine, norms=True, points=points
    )
    sums, moments = robust_sums(x, zs, groups, plan, whole=not is_dense(engine), run=run)
    estimates = robust_estimates(x, zs, groups, sums, plan)
    codes = repeating_units(units)
    dependence, relevance = _associations(x, zs, groups, plan, moments, run, relevant=codes is None)
    if codes is None:
        return estimates, dependence, relevance
    if moments is None:
        moments = moments_of(x, np.arange(len(codes)), [], replace(plan, factors=()), run=run)
    cells = class_cells(x, groups, codes, moments, run) if points else []
    tasks = ((_by_units, z, f, y, codes, cells) for z, f in _with_factors(zs, plan))
    for k, (association, chance) in enumerate(run(None, tasks)):
        relevance.append(association)
        if chance is not None:
            p_value, effect = chance[0].p_value(), chance[1]
            estimates[k] = replace(estimates[k], p_value=p_value, design_effect=effect)
    return estimates, dependence, relevance


def label_relevance(z: Values, y: ArrayLike, units: ArrayLike | None = None) -> Association:
    """A pseudo-label's relevance alone, without the speech, over pairs of different units.

    >>> y = np.arange(200) % 2
    >>> round(label_relevance(y + np.random.default_rng(0).standard_normal(200), y).value, 2)
    0.21

    Args:
        z, y, units: as in `associations`; without units each point is one.
    """
    z = standardise(z)
    codes = np.arange(len(z)) if units is None else np.unique(units, return_inverse=True)[1]
    width = median_distance(z)
    own = factor(z, width, LEFT_OUT) or nystrom(z, width)
    return _by_units(None, z, own, y, codes, ())[0]


def repeating_units(units: ArrayLike | None) -> Indices | None:
    """Codes 0, 1, … of the units; None if there are none, or each is a single point."""
    if units is None:
        return None
    names, codes = np.unique(np.asarray(units), return_inverse=True)
    return codes if len(names) < len(codes) else None


def _with_factors(zs: Sequence[Values], plan: SumPlan) -> Iterator[tuple[Values, Factor]]:
    """The pseudo-labels with factors, approximate ones where the plan has none."""
    for z, width, own in zip(zs, plan.widths, plan.factors, strict=True):
        yield z, own or nystrom(z, width)


def _by_units(
    x: None, z: Values, own: Factor, y: ArrayLike, units: Indices, cells: Sequence[ClassCells]
) -> tuple[Association, tuple[Chance, float] | None]:
    """Relevance and, where there are cells, dependence over pairs of points in different units.

    `x` is ignored.
    """
    columns, b, square = label_columns(z, own, LEFT_OUT)
    dependence = dependence_by_units(cells, columns, int(units.max()) + 1) if cells else None
    codes, counts = np.unique(np.asarray(y), return_inverse=True, return_counts=True)[1:]
    chance = relevance_by_units(columns, codes, units)
    of_label, _ = label_kernel_sums(counts.astype(np.float64))
    n, pair = len(z), PairSums(0.0, square, 0.0, float(b.sum()), float(b @ b), 0.0)
    sums = USums.of(of_label, pair, n)
    scale = normalise(1.0, sums.KK, sums.LL, n)
    skew = chance.third / chance.variance**1.5 if chance.variance > 0 else 0.0
    association = Association(scale * chance.value, float(scale * np.sqrt(chance.variance)), skew)
    return association, dependence


def _associations(
    x: Embeddings,
    zs: Sequence[Values],
    groups: Sequence[Indices],
    plan: SumPlan,
    moments: Moments | None,
    run: RunTasks,
    *,
    relevant: bool,
) -> tuple[list[Association], list[Association]]:
    """Dependence and relevance of standardised labels, from moments of all points or matrices.

    Relevance is left out, an empty list, unless it is `relevant`.
    """
    order = np.concatenate(groups)
    n = len(order)
    if len(groups) < 2 or n < 4:
        raise InputError("dependence needs at least four points, and relevance two classes")
    counts = np.array([len(rows) for rows in groups])
    codes = np.repeat(np.arange(len(groups)), counts)
    pairs: tuple[PairSums | None, ...] = (None,) * len(zs)
    of_speech: SpeechSums | None = None
    by_class: Iterator[tuple[float, Vector]] = iter(())
    if moments is not None:
        of_speech, pairs, _ = sums_from_moments(moments, replace(plan, points=True))
        tasks = (
            (within_class_sums, z[order], codes, factor, centre)
            for (z, factor), centre in zip(plan.with_factors(zs), moments.centres, strict=True)
        )
        by_class = run(x, tasks) if relevant else by_class
    of_label, diagonal = label_kernel_sums(counts.astype(np.float64))
    dependence: list[Association] = []
    relevance: list[Association] = []
    for z, pair in zip(zs, pairs, strict=True):
        if pair is not None and of_speech is not None:
            dependence.append(_association(of_speech, pair, n))
            if relevant:
                inner, b = next(by_class)
                with_label = replace(pair, KL=inner, ab=float(diagonal @ b))
                relevance.append(_association(of_label, with_label, n))
        else:  # needs all pairs: on fewer points, with a larger standard deviation
            most = n if is_dense(plan.engine) else None
            sample = np.sort(spaced_points(z[order], most))
            sampled, sampled_codes = z[order][sample], codes[sample]
            dependence.append(_dense_association(x, order[sample], sampled, plan.engine))
            if relevant:
                one_hot = (sampled_codes[:, None] == np.unique(sampled_codes)).astype(np.float64)
                every = np.arange(len(sampled))
                relevance.append(_dense_association(one_hot, every, sampled, plan.engine))
    assert next(by_class, None) is None
    return dependence, relevance


def within_class_sums(
    x: Embeddings, z: Values, codes: Indices, factor: Factor, centre: Vector
) -> tuple[float, Vector]:
    """Σ HLH over pairs within classes, and the sum of its diagonal in each class.

    Args:
        x: ignored.
        z, codes: of the points, sorted by class.
        factor: of z's kernel.
        centre: the mean of the factor's rows.
    """
    sums, b_sums = np.zeros((codes[-1] + 1, len(factor))), np.zeros(codes[-1] + 1)
    for begin in range(0, len(z), BLOCK):
        block = slice(begin, begin + BLOCK)
        phi = factor.columns(z[block]) - centre
        present, first = np.unique(codes[block], return_index=True)
        sums[present] += np.add.reduceat(phi, first, axis=0)
        b_sums[present] += np.add.reduceat(np.vecdot(phi, phi), first)
    return float(np.vdot(sums, sums)), b_sums


def label_kernel_sums(counts: Vector) -> tuple[SpeechSums, Vector]:
    """The sums of Y's kernel (1 in a class, 0 elsewhere), as for K; its diagonal in each class.

    Args:
        counts: (classes,) points of each class.

    >>> label_kernel_sums(np.array([2.0, 2.0]))[1].tolist()
    [0.5, 0.5]
    """
    n, squares, cubes, fourths = (float((counts**power).sum()) for power in (1, 2, 3, 4))
    a = 1 - 2 * counts / n + squares / n**2
    KK = squares - 2 * cubes / n + (squares / n) ** 2
    # tr (D − vvᵀ/n)³ with D = diag v, v the counts.
    third = cubes - 3 * fourths / n + 3 * cubes * squares / n**2 - squares**3 / n**3
    sums = SpeechSums(0.0, n - squares / n, float(counts @ a**2), KK, third / KK**1.5)
    return sums, a


def _association(speech: SpeechSums, pair: PairSums, n: int) -> Association:
    sums = USums.of(speech, pair, n)
    value = normalise(sums.KL, sums.KK, sums.LL, n)
    variance, third = 2 / (n * (n - 3)), 8 / n**3 * speech.skew * pair.skew
    return Association(value, float(np.sqrt(variance)), float(third / variance**1.5))


def _dense_association(x: Embeddings, rows: Indices, z: Values, engine: Engine) -> Association:
    """The association of x[rows] and z, from matrices."""
    width = median_distance(z)
    sums = dense_sums(x, rows, [z], SumPlan((width,), (None,), norms=True, points=True))
    association = _association(sums.speech, sums.pairs[0], len(z))
    if engine != "exact":
        return association
    K, L = equations.cosine_kernel(as_numpy(x[rows])), equations.rbf_kernel(z, width)
    return replace(association, value=equations.normalised_hsic((K, L)))
