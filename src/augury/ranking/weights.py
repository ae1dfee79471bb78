"""Learned weights of candidates: those that make their weighted sum least dependent on the speech.

Zaiem et al., arXiv 2107.00594: weights that sum to 1 and minimise the CI estimate itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury.compute import run_in_threads
from augury.embeddings import Embeddings, Selected
from augury.errors import InputError
from augury.hsic.estimators import class_rows
from augury.hsic.moments import subtract_mean
from augury.ranking.reopen import reopen
from augury.ranking.result import Ranking
from augury.ranking.selection import Selection
from augury.ranking.simplex import minimise_on_simplex, minimise_softmax
from augury.ranking.values import value_mask
from augury.ranking.weighted import ClassSample, WeightedDependence, scale
from augury.reporter import Reporter

Vector = NDArray[np.float64]

#: Largest number of points per class that weights are learned on.
MOST_POINTS = 400
#: Largest number of starts times pairs of points in the search from all starts.
SEARCH_CELLS = 4_000_000
#: Fewest points per class in that search.
FEWEST_POINTS = 8
#: Ends of the search that go on with all points.
FINALISTS = 2
#: Largest number of optimisation steps.
STEPS = 200
#: Weights below this share of the largest count as 0.
SMALLEST = 1e-3
#: Bytes of distances between points to keep in memory; others are computed at every step.
CACHE_BYTES = 1_000_000_000


def learn_weights(
    values: Mapping[str, NDArray[Any]],
    x: Embeddings,
    y: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    kind: str = "softmax",
    normalised: bool = True,
    width: float = 1.0,
    most: int = MOST_POINTS,
    seed: int = 0,
    cache_bytes: int = CACHE_BYTES,
) -> Selection:
    """Weights λ that make the weighted candidates least dependent on the speech, given the label.

    The estimate of `WeightedDependence` is minimised over λ = softmax(W) or sparsemax(W), starting
    from equal weights and from every single candidate, as it has many local minima. Where there are
    many points, all starts are followed on some of them (`SEARCH_CELLS`), and the best ends on
    `most` per class. If none is lower than the best single candidate, this gets all the weight.

    Args:
        values: candidate → (n,) or (n, dims) values, or integer categories (n,), -1: missing.
        x: (n, …) embeddings, or an object that returns them for x[rows].
        y: (n,) the downstream label.
        names: the candidates to weight; all of `values` if None. Their order has no effect.
        kind: "softmax" (with a ridge on W, so that each has some weight, unless a single one is
            better) or "sparsemax" (many weights are 0).
        normalised: the estimate of `hsic.robust`, so that the spread of a candidate's values has no
            effect. False: the biased HSIC of the follow-up paper.
        width: σ. With all weight on one candidate, 1 gives the kernel of `hsic.robust`.
        most: points used per class; larger classes are sampled.
        seed: of that sample.
        cache_bytes: most bytes of distances between points to keep in memory.

    Returns:
        Weights that sum to 1. `about`: the objective at equal weights, with all weight on the best
        `single` candidate, and at the learned weights; `chance`, where normalised, the standard
        deviation of the objective under independence (a gain of this order means nothing); points
        used, left out for a missing value, and in classes of fewer than four; candidates of
        weight 0; whether the optimisation converged.

    Raises:
        InputError: fewer than two candidates, a constant one (all weight would go to it), or no
            class of four points with a value of every candidate.

    >>> import numpy
    >>> rng = numpy.random.default_rng(0)
    >>> x, y = rng.standard_normal((60, 5)), numpy.arange(60) % 3
    >>> values = {"a": x[:, 0], "b": rng.standard_normal(60)}
    >>> learn_weights(values, x, y, kind="sparsemax").weights
    {'b': 1.0}
    """
    given = list(values if names is None else names)
    _check(values, given, kind, width, most)
    names = sorted(given)  # the order of sums, and with it the last bits
    complete = np.all([value_mask(values[name]) for name in names], axis=0)
    rows = np.flatnonzero(complete)
    groups = [group for group in class_rows(np.asarray(y)[rows]) if len(group) >= 4]
    if not groups:
        raise InputError("no class has four segments with a value of every pseudo-label")
    zs = _scale_values(values, names, rows, normalised)
    x_rows = Selected.of(x, rows)
    if normalised:  # as `hsic.robust`
        x_rows = subtract_mean(x_rows, run_in_threads)

    def objective(most: int) -> WeightedDependence:
        samples = _sample(groups, most, seed)
        return WeightedDependence.of(
            x_rows, samples, zs, normalised=normalised, width=width, cache_bytes=cache_bytes
        )

    whole = objective(most)
    singles, equal = whole.singles(), whole.values(np.full((1, len(names)), 1 / len(names)))
    best = int(singles.argmin())
    quick = objective(_search_points(groups, len(names), most))
    weights, converged = _search(quick, whole, np.eye(len(names))[best], kind)
    weights = np.where(weights < SMALLEST * weights.max(), 0.0, weights)
    weights /= weights.sum()
    last = float(whole.values(weights[None])[0])
    if last >= singles[best] - 1e-5 * abs(singles[best]):  # rounding of float32
        weights, last = np.eye(len(names))[best], float(singles[best])
    about = {
        "objective": {"equal": float(equal[0]), "single": float(singles[best]), "learned": last},
        "single": names[best],
        "chance": whole.chance(weights) if normalised else None,
        "points": sum(min(len(group), most) for group in groups),
        "left_out": int((~complete).sum()),
        "in_small_classes": len(rows) - sum(map(len, groups)),
        "without_weight": [name for name in given if not weights[names.index(name)]],
        "converged": converged,
    }
    learned = {name: float(weights[names.index(name)]) for name in given}
    return Selection({name: w for name, w in learned.items() if w}, kind, about)


def _search(
    quick: WeightedDependence, whole: WeightedDependence, single: Vector, kind: str
) -> tuple[Vector, bool]:
    """The weights that the best start leads to, and whether the optimisation converged.

    Args:
        quick: the objective from few points, on which all starts are followed.
        whole: the objective, on which the best ends are.
        single: all weight on the best single candidate; it goes on with all points, too.
    """
    count = quick.candidates
    minimise = {"softmax": minimise_softmax, "sparsemax": minimise_on_simplex}[kind]
    starts = np.vstack([np.full(count, 1 / count), np.eye(count)])
    values, _ = quick.values_and_slopes(starts)
    unit = max(float(np.abs(values[0])), quick.chance(starts[0]) if quick.normalised else 0, 1e-12)
    ends = minimise(quick.values_and_slopes, starts, unit, steps=STEPS, tolerance=1e-3)
    finalists = [single]
    for k in np.argsort(ends.values, kind="stable"):
        near = [np.abs(ends.weights[k] - other).max() < 0.01 for other in finalists]
        if len(finalists) <= FINALISTS and not any(near):
            finalists.append(ends.weights[k])
    ends = minimise(whole.values_and_slopes, np.array(finalists), unit, steps=STEPS, tolerance=1e-4)
    best = int(ends.values.argmin())
    return ends.weights[best], bool(ends.converged[best])


def _search_points(groups: Sequence[NDArray[np.int64]], candidates: int, most: int) -> int:
    """Points per class with which the search from all starts keeps to `SEARCH_CELLS`."""
    sizes = np.array([len(group) for group in groups])
    points = most
    while points > FEWEST_POINTS:
        pairs = float(np.square(np.minimum(sizes, points)).sum()) / 2
        if pairs * (candidates + 1) <= SEARCH_CELLS:
            break
        points = max(FEWEST_POINTS, int(0.8 * points))
    return points


def _sample(groups: Sequence[NDArray[np.int64]], most: int, seed: int) -> list[ClassSample]:
    """At most `most` points of each class, drawn by the seed."""
    rng = np.random.default_rng(seed)
    total = sum(map(len, groups))
    return [
        ClassSample(
            group if len(group) <= most else np.sort(rng.permutation(group)[:most]),
            len(group) / total,
        )
        for group in groups
    ]


def _scale_values(
    values: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    rows: NDArray[np.int64],
    normalised: bool,
) -> list[NDArray[Any]]:
    """The candidates' scaled values on some rows; InputError if one is constant there."""
    zs = [scale(values[name][rows], normalised) for name in names]
    if flat := [name for name, z in zip(names, zs, strict=True) if (z == z[0]).all()]:
        raise InputError(
            f"{', '.join(flat)}: the same for all {len(rows)} segments that have a value of every "
            "pseudo-label; leave it out"
        )
    return zs


def _check(
    values: Mapping[str, NDArray[Any]], names: Sequence[str], kind: str, width: float, most: int
) -> None:
    if kind not in ("softmax", "sparsemax"):
        raise InputError(f"kind is {kind!r}, but must be softmax or sparsemax")
    if unknown := [name for name in names if name not in values]:
        raise InputError(f"no values of {', '.join(unknown)}; there are {', '.join(values)}")
    if len(names) < 2:
        raise InputError("weights need two pseudo-labels or more")
    if len(set(names)) < len(names):
        raise InputError(f"a pseudo-label is named twice: {', '.join(names)}")
    if not (width > 0 and math.isfinite(width)):
        raise InputError(f"width is {width}, but must be above 0")
    if most < 4:
        raise InputError(f"most is {most}, but must be 4 or more")


def learn_weights_from_store(
    ranking: Ranking,
    *,
    kind: str = "softmax",
    manifest: Path | str | None = None,
    store: Path | str | None = None,
    jobs: int | None = None,
    reporter: Reporter | None = None,
) -> Selection:
    """`learn_weights` of a ranking's relevant candidates, on the segments that were ranked.

    Only candidates relevant to the label are weighted, as noise depends least on the speech.

    Args:
        manifest, store, jobs, reporter: as for `reopen`.

    Raises:
        InputError: as `reopen` and `learn_weights`.
    """
    names = [result.name for result in ranking.relevant_results]
    if len(names) < 2:
        raise InputError(
            f"{len(names)} of the ranked candidates are relevant to {ranking.label}, but weights "
            "need two or more"
        )
    with reopen(
        ranking, names, manifest=manifest, store=store, jobs=jobs, reporter=reporter
    ) as data:
        values = {name: data.values[name] for name in names}
        return learn_weights(values, data.x[0], data.y, kind=kind)
