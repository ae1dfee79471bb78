"""Every candidate's result from arrays: its score, what it rests on, and how sure both are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import hsic
from augury.compute.threads import RunTasks
from augury.embeddings import Selected
from augury.hsic import uncertainty
from augury.hsic.kernels import standardise
from augury.pseudolabels.candidate import Candidate
from augury.ranking.result import Result
from augury.ranking.settings import RankSettings

#: A candidate says something of the label if a relevance so far above noise's is rarer by chance.
RELEVANT = 0.01


@dataclass(frozen=True)
class Scored:
    """Results best first, and how they compare."""

    results: tuple[Result, ...]
    better: tuple[tuple[float, ...], ...]  # of ranked ones: the row's probability to be the better


def score_candidates(
    chosen: Sequence[Candidate],
    values: dict[str, NDArray],
    x: Any,
    y: NDArray[np.int64],
    seconds: NDArray[np.float64],
    units: NDArray[np.int64] | None,
    settings: RankSettings,
    run: RunTasks,
) -> Scored:
    """Score candidates for a label.

    Args:
        values: candidate → its value for every segment; NaN, or -1 for categories: none.
        x: (segments, …) embeddings, or what gives them for x[rows].
        y: (segments,) codes of the label.
        seconds: (segments,) their lengths.
        units: (segments,) codes of what is resampled whole; None: segments inside their classes.
        run: who runs the work, see `augury.compute.threads`.
    """
    results: list[Result] = []
    influence = np.zeros((len(y), len(chosen)))
    places: dict[str, int] = {}
    labels = np.unique(y)
    for members, has, status in group_by_missing(chosen, values, y):
        if status != "ranked":
            results += [_unranked(one, status, values.get(one.name), has) for one in members]
            continue
        rows = np.flatnonzero(has)
        at = Selected.of(x, rows)
        zs = [values[one.name][rows] for one in members]
        found = _assessed(at, zs, y[rows], settings, run)
        noise = noise_relevances(members, seconds[rows], y[rows])
        p_values = [one.p_value for one in found[0]]
        if settings.permutations:
            p_values = _shuffled(at, zs, y[rows], found[0], settings, run)
        where = np.searchsorted(labels, np.unique(y[rows]))
        for one, z, c, t, r, p, floor in zip(members, zs, *found, p_values, noise, strict=True):
            if not np.isfinite([c.score, t.value, r.value]).all():
                raise ArithmeticError(f"{one.name}: a score is not finite; please report this")
            if c.influence is not None:
                influence[rows, len(places)] = c.influence
            places[one.name] = len(places)
            classes = np.full(len(labels), np.nan)
            classes[where] = c.classes
            relevance_p = r.p_above(*floor)
            relevant = relevance_p < RELEVANT
            results.append(
                Result(
                    name=one.name,
                    source=one.source,
                    status=status,
                    score=c.score,
                    interval=None,
                    rank_interval=None,
                    tier=None,
                    p_value=p,
                    shuffled=c.shuffled,
                    shuffled_sd=c.shuffled_sd,
                    spread=c.spread,
                    dependence=t.value,
                    relevance=r.value,
                    chance_sd=r.shuffled_sd,
                    noise_relevance=floor[0],
                    relevance_p=relevance_p,
                    relevant=relevant,
                    error=c.error,
                    classes=tuple(None if np.isnan(v) else float(v) for v in classes),
                    dims=1 if z.ndim == 1 else z.shape[1],
                    missing=int((~has).sum()),
                    histogram=_histogram(z),
                    note="" if relevant else f"no relevance: it says nothing of {settings.label}",
                )
            )
    last = float("inf")
    results.sort(key=lambda one: (last if one.score is None else one.score, one.name))
    if not settings.bootstrap or not places:
        return Scored(tuple(results), ())
    return _compared(
        results,
        influence[:, [places[r.name] for r in results if r.name in places]],
        y,
        units,
        settings,
    )


def noise_relevances(
    members: Sequence[Candidate], seconds: NDArray[np.float64], y: NDArray[np.int64]
) -> list[tuple[float, float]]:
    """What each candidate's relevance must exceed, and its deviation.

    A column's values are no means over frames: 0.
    """
    noise = hsic.noise_relevance(seconds, y)
    return [(0.0, 0.0) if one.kind == "column" else noise for one in members]


def _assessed(
    x: Any, zs: Sequence[NDArray], y: NDArray, settings: RankSettings, run: RunTasks
) -> tuple[list[hsic.CIEstimate], list[hsic.Association], list[hsic.Association]]:
    """Dependence, total dependence and relevance of candidates that share their segments."""
    if settings.estimator == "robust":
        return hsic.robust_with_associations(
            x, zs, y, tolerance=settings.tolerance, points=bool(settings.bootstrap), run=run
        )
    found = estimate(x, zs, y, settings, points=bool(settings.bootstrap), run=run)
    return found, *hsic.associations(x, zs, y, tolerance=settings.tolerance, run=run)


def estimate(
    x: Any,
    zs: Sequence[NDArray],
    y: NDArray,
    settings: RankSettings,
    *,
    scale: float = 1.0,
    points: bool = False,
    run: RunTasks,
) -> list[hsic.CIEstimate]:
    """The settings' estimator of `augury.hsic`; `scale` is a factor of its kernel's width."""
    common = {"tolerance": settings.tolerance, "points": points, "run": run}
    if settings.estimator == "paper":
        return hsic.paper(x, zs, y, width=settings.kernel_width * scale, **common)
    function = {"released": hsic.released, "robust": hsic.robust}[settings.estimator]
    return function(x, zs, y, scale=scale, **common)


def _shuffled(
    x: Any,
    zs: Sequence[NDArray],
    y: NDArray,
    found: Sequence[hsic.CIEstimate],
    settings: RankSettings,
    run: RunTasks,
) -> list[float]:
    """P-values by permutation."""
    groups = hsic.class_rows(y)
    counts = np.array([len(rows) for rows in groups], np.float64)
    shares, widths, few = found[0].shares, None, 4
    if settings.estimator == "paper":
        shares, widths, few = shares / counts**2, [settings.kernel_width] * len(zs), 1
    scored_ = [c for c in range(len(groups)) if counts[c] >= few]
    p_values = uncertainty.permutation_p(
        x,
        zs,
        [groups[c] for c in scored_],
        shares[scored_],
        widths=widths,
        permutations=settings.permutations,
        seed=settings.seed,
        run=run,
    )
    return [float(p) for p in p_values]


def _compared(
    results: list[Result],
    influence: NDArray[np.float64],
    y: NDArray[np.int64],
    units: NDArray[np.int64] | None,
    settings: RankSettings,
) -> Scored:
    """With intervals, ranks and tiers of the ranked ones, which come first."""
    scores = np.array([one.score for one in results if one.score is not None])
    replicates = uncertainty.bootstrap(
        scores,
        influence,
        y if units is None else units,
        within=units is None,
        replicates=settings.bootstrap,
        seed=settings.seed,
    )
    of_scores = uncertainty.intervals(replicates)
    of_ranks = np.round(uncertainty.intervals(uncertainty.ranks(replicates))).astype(int)
    better = uncertainty.probability_better(replicates)
    tiers = uncertainty.tiers(scores, better)
    ranked = [
        replace(
            one,
            interval=(float(of_scores[k, 0]), float(of_scores[k, 1])),
            rank_interval=(int(of_ranks[k, 0]), int(of_ranks[k, 1])),
            tier=int(tiers[k]),
        )
        for k, one in enumerate(results[: len(scores)])
    ]
    return Scored(
        (*ranked, *results[len(scores) :]), tuple(tuple(map(float, row)) for row in better)
    )


def group_by_missing(
    chosen: Sequence[Candidate], values: dict[str, NDArray], y: NDArray
) -> list[tuple[list[Candidate], NDArray[np.bool_], str]]:
    """Candidates that lack a value on the same segments, those segments, and their status.

    They share the work on the speech. Those that can't be ranked stand alone.
    """
    found: dict[tuple[str, bytes], tuple[list[Candidate], NDArray[np.bool_], str]] = {}
    for one in chosen:
        z = values.get(one.name)
        has = _has_value(z) if z is not None else np.zeros(len(y), bool)
        status = _status(z, has, y)
        found.setdefault((status, has.tobytes()), ([], has, status))[0].append(one)
    return list(found.values())


def _has_value(z: NDArray) -> NDArray[np.bool_]:
    if z.dtype.kind in "iu":
        return np.asarray(z >= 0)
    return np.asarray(np.isfinite(z).reshape(len(z), -1).all(axis=1))


def _status(z: NDArray | None, has: NDArray[np.bool_], y: NDArray) -> str:
    counts = np.unique(y[has], return_counts=True)[1]
    if z is None or len(counts) < 2 or counts.max() < 4:
        return "missing"
    known = z[has]
    if known.dtype.kind in "iu":
        return "constant" if (known == known[0]).all() else "ranked"
    return "ranked" if standardise(known).any() else "constant"


def _unranked(one: Candidate, status: str, z: NDArray | None, has: NDArray[np.bool_]) -> Result:
    note = (
        "the same value everywhere: there is nothing to learn from it"
        if status == "constant"
        else "too few values: two classes, and four segments in one of them, are needed"
    )
    dims = 1 if z is None or z.ndim == 1 else z.shape[1]
    empty = ((), 0.0, 0.0)
    nothing = dict.fromkeys(
        (
            "score", "interval", "rank_interval", "tier", "p_value", "shuffled", "shuffled_sd",
            "spread", "dependence", "relevance", "chance_sd", "noise_relevance", "relevance_p",
            "relevant", "error",
        )
    )  # fmt: skip
    return Result(
        name=one.name,
        source=one.source,
        status=status,
        classes=(),
        dims=dims,
        missing=int((~has).sum()),
        histogram=empty,
        note=note,
        **nothing,
    )


def _histogram(z: NDArray) -> tuple[tuple[int, ...], float, float]:
    first = (z if z.ndim == 1 else z[:, 0]).astype(np.float64)
    counts, edges = np.histogram(first, bins=30)
    return tuple(map(int, counts)), float(edges[0]), float(edges[-1])
