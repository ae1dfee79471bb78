"""Every candidate's result from arrays: its score, the estimates behind it, and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import hsic
from augury.compute import RunTasks
from augury.embeddings import Embeddings, Selected
from augury.hsic import uncertainty
from augury.hsic.clusters import cluster_measures
from augury.hsic.information import mutual_information
from augury.hsic.kernels import has_counts, standardise
from augury.hsic.noise import noise_relevance_of_counts
from augury.pseudolabels.candidate import KINDS, Candidate
from augury.ranking.evidence import shortage
from augury.ranking.result import Result
from augury.ranking.settings import RankSettings
from augury.ranking.strength import strength
from augury.ranking.values import histogram_of, kind_of, value_mask

#: Draws behind the intervals of categories' measures.
CLUSTER_DRAWS = 200
#: A candidate is relevant if its relevance exceeds that of noise with a p-value below this.
RELEVANT = 0.01


@dataclass(frozen=True)
class CandidateScores:
    """Results in order, see `Ranking.results`, and how they compare."""

    results: tuple[Result, ...]
    better: tuple[tuple[float | None, ...], ...]  # P(the row's score is lower), of ranked ones


@dataclass(frozen=True)
class _Estimates:
    """The estimates of candidates with values on the same segments, one item per candidate."""

    ci: list[hsic.CIEstimate]
    dependence: list[hsic.Association]
    relevance: list[hsic.Association]
    noise: list[tuple[float, float]]  # relevance of noise, and its standard deviation
    p_values: list[float | None]


def score_candidates(
    candidates: Sequence[Candidate],
    values: dict[str, NDArray[Any]],
    x: Embeddings,
    y: NDArray[np.int64],
    seconds: NDArray[np.float64],
    units: NDArray[np.int64] | None,
    settings: RankSettings,
    run: RunTasks,
) -> CandidateScores:
    """Score candidates for a label.

    Args:
        values: candidate → its value of every segment; missing: NaN, or -1 for categories.
        x: (segments, …) embeddings, or an object that returns them for x[rows].
        y: (segments,) codes of the label.
        seconds: (segments,) their lengths.
        units: (segments,) codes of the groups that are independent: recordings, speakers. None:
            segments are.
        run: runs the tasks, see `augury.compute.threads`.
    """
    groups = None if units is None else ("", len(np.unique(units)))
    certain = bool(settings.bootstrap) and not shortage(np.bincount(y), settings.estimator, groups)
    results: list[Result] = []
    ranked: dict[str, tuple[hsic.CIEstimate, NDArray[np.int64]]] = {}
    for members, known, status in group_by_missing(candidates, values, y):
        if status != "ranked":
            results += [
                _empty_result(candidate, status, values.get(candidate.name), known)
                for candidate in members
            ]
            continue
        rows = np.flatnonzero(known)
        zs = [values[candidate.name][rows] for candidate in members]
        x_rows, labels = Selected.of(x, rows), y[rows]
        repeating = None if units is None else units[rows]
        estimates = _estimate_group(
            x_rows, zs, labels, members, seconds[rows], repeating, settings, run
        )
        present = np.searchsorted(np.unique(y), np.unique(labels))
        classes = np.full((len(members), len(np.unique(y))), np.nan)
        classes[:, present] = [ci.classes for ci in estimates.ci]
        for k, candidate in enumerate(members):
            result = _result(candidate, zs[k], estimates, k, classes[k], settings.label)
            noise = estimates.noise[k][0]
            result = _judge(result, zs[k], labels, repeating, noise, certain, settings.seed)
            results.append(replace(result, missing=int((~known).sum())))
            ranked[candidate.name] = estimates.ci[k], rows
    results.sort(key=_place)
    if not certain or not ranked:
        return CandidateScores(tuple(results), ())
    estimated = [ranked[result.name] for result in results if result.name in ranked]
    return _add_intervals(results, estimated, y, units, settings)


def _result(
    candidate: Candidate,
    z: NDArray[Any],
    estimates: _Estimates,
    k: int,
    classes: NDArray[np.float64],
    label: str,
) -> Result:
    """The result of the k-th candidate of a group, without intervals and tiers."""
    ci, dependence, relevance = estimates.ci[k], estimates.dependence[k], estimates.relevance[k]
    if not np.isfinite([ci.score, dependence.value, relevance.value]).all():
        raise ArithmeticError(f"{candidate.name}: a score is not finite; please report this")
    relevance_p = relevance.p_above(*estimates.noise[k])
    relevant = relevance_p < RELEVANT
    return Result(
        name=candidate.name,
        source=candidate.source,
        kind=kind_of(candidate, z),
        status="ranked",
        score=ci.score,
        interval=None,
        rank_interval=None,
        tier=None,
        p_value=estimates.p_values[k],
        shuffled=ci.shuffled,
        shuffled_sd=ci.shuffled_sd,
        spread=ci.spread,
        dependence=dependence.value,
        relevance=relevance.value,
        chance_sd=relevance.shuffled_sd,
        noise_relevance=estimates.noise[k][0],
        relevance_p=relevance_p,
        relevant=relevant,
        relevance_strength=None,
        information=None,
        error=ci.error,
        classes=tuple(None if np.isnan(v) else float(v) for v in classes),
        dims=1 if z.ndim == 1 else z.shape[1],
        missing=0,
        histogram=histogram_of(z),
        note="" if relevant else f"no relevance: unrelated to {label}",
    )


def _judge(
    result: Result,
    z: NDArray[Any],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    noise: float,
    certain: bool,
    seed: int,
) -> Result:
    """The result with its information on the label, and a word for its relevance.

    `certain`: whether there are intervals.
    """
    word = strength(result.relevance or 0.0, noise, bool(result.relevant), np.bincount(labels))
    return replace(
        result,
        relevance_strength=word,
        information=mutual_information(z, labels, groups),
        clusters=cluster_measures(z, labels, groups, replicates=CLUSTER_DRAWS * certain, seed=seed)
        if z.dtype.kind in "iu"
        else None,
    )


def noise_relevances(
    members: Sequence[Candidate],
    zs: Sequence[NDArray[Any]],
    seconds: NDArray[np.float64],
    y: NDArray[np.int64],
    units: NDArray[np.int64] | None = None,
) -> list[tuple[float, float]]:
    """For each candidate: the relevance of noise averaged over the segments, and its sd.

    (0, 0) for a column, whose values are not means over frames. For counts of frames' categories:
    of frames that have them by chance.
    """
    noise = hsic.noise_relevance(seconds, y, units)
    noises = [(0.0, 0.0) if candidate.provider == "column" else noise for candidate in members]
    for k, z in enumerate(zs):
        if has_counts(z):
            noises[k] = noise_relevance_of_counts(z, y, units)
    return noises


def _estimate_group(
    x: Embeddings,
    zs: Sequence[NDArray[Any]],
    y: NDArray[Any],
    members: Sequence[Candidate],
    seconds: NDArray[np.float64],
    units: NDArray[np.int64] | None,
    settings: RankSettings,
    run: RunTasks,
) -> _Estimates:
    """CI estimate, dependence and relevance of candidates with values on the same segments."""
    points = bool(settings.bootstrap)
    if settings.estimator == "robust":
        ci, dependence, relevance = hsic.robust_with_associations(
            x, zs, y, tolerance=settings.tolerance, points=points, units=units, run=run
        )
    else:
        ci = estimate(x, zs, y, settings, points=points, run=run)
        dependence, relevance = hsic.associations(
            x, zs, y, tolerance=settings.tolerance, units=units, run=run
        )
    noise = noise_relevances(members, zs, seconds, y, units)
    p_values: list[float | None] = [estimate.p_value for estimate in ci]
    if settings.permutations:
        p_values = [*_permutation_p(x, zs, y, ci, settings, run)]
    return _Estimates(ci, dependence, relevance, noise, p_values)


def estimate(
    x: Embeddings,
    zs: Sequence[NDArray[Any]],
    y: NDArray[Any],
    settings: RankSettings,
    *,
    scale: float = 1.0,
    points: bool = False,
    run: RunTasks,
) -> list[hsic.CIEstimate]:
    """CI estimates by the settings' estimator; `scale` multiplies its kernel's width."""
    options: dict[str, Any] = {"tolerance": settings.tolerance, "points": points, "run": run}
    if settings.estimator == "paper":
        return hsic.paper(x, zs, y, width=settings.kernel_width * scale, **options)
    function = {"released": hsic.released, "robust": hsic.robust}[settings.estimator]
    return function(x, zs, y, scale=scale, **options)


def _permutation_p(
    x: Embeddings,
    zs: Sequence[NDArray[Any]],
    y: NDArray[Any],
    estimates: Sequence[hsic.CIEstimate],
    settings: RankSettings,
    run: RunTasks,
) -> list[float]:
    """P-values of CI estimates by permutation inside the classes."""
    groups = hsic.class_rows(y)
    counts = np.array([len(rows) for rows in groups], np.float64)
    if settings.estimator == "paper":
        shares, widths, fewest = (
            estimates[0].shares / counts**2,
            [settings.kernel_width] * len(zs),
            1,
        )
    else:
        shares, widths, fewest = 1 / (counts - 3).clip(1), None, 4
    scored_classes = [c for c in range(len(groups)) if counts[c] >= fewest]
    p_values = uncertainty.permutation_p(
        x,
        zs,
        [groups[c] for c in scored_classes],
        shares[scored_classes],
        widths=widths,
        permutations=settings.permutations,
        seed=settings.seed,
        run=run,
    )
    return [float(p) for p in p_values]


def _add_intervals(
    results: list[Result],
    estimated: Sequence[tuple[hsic.CIEstimate, NDArray[np.int64]]],
    y: NDArray[np.int64],
    units: NDArray[np.int64] | None,
    settings: RankSettings,
) -> CandidateScores:
    """The results, with intervals, and ranks and tiers among the relevant ones of a kind.

    The ranked ones come first.

    Args:
        estimated: each ranked candidate's estimate, and the segments that have a value.
    """
    scores = np.array([ci.score for ci, _ in estimated])
    influence = np.zeros((len(y), len(scores)))
    by_chance = np.zeros((int(y.max()) + 1, len(scores)))
    for k, (ci, rows) in enumerate(estimated):
        influence[rows, k] = 0.0 if ci.influence is None else ci.influence
        if ci.by_chance is not None:
            by_chance[np.unique(y[rows]), k] = ci.by_chance
    draw = partial(
        uncertainty.bootstrap,
        scores,
        influence,
        y,
        units,
        by_chance=by_chance[np.unique(y)] if settings.estimator == "robust" else None,
        effects=np.array([ci.design_effect for ci, _ in estimated]),
        replicates=settings.bootstrap,
        seed=settings.seed,
    )
    replicates, cautious = draw(), draw(cautious=True)
    intervals = uncertainty.intervals(replicates)
    for k, (low, high) in enumerate(intervals.tolist()):
        results[k] = replace(results[k], interval=(low, high))
    better: list[list[float | None]] = [[None] * len(scores) for _ in scores]
    for kind in KINDS:
        group = [k for k, r in enumerate(results) if r.kind == kind and r.relevant]
        if not group:
            continue
        own = replicates[:, group]
        ranks = np.round(uncertainty.intervals(uncertainty.ranks(own))).astype(int).tolist()
        table = uncertainty.probability_better(own)
        tiers = uncertainty.tiers(scores[group], cautious[:, group]).tolist()
        for place, k in enumerate(group):
            low, high = ranks[place]
            results[k] = replace(results[k], rank_interval=(low, high), tier=tiers[place])
            for other, j in enumerate(group):
                better[k][j] = float(table[place, other])
    return CandidateScores(tuple(results), tuple(map(tuple, better)))


def _place(result: Result) -> tuple[bool, bool, int, float, str]:
    """What results are sorted by: kind and score; the irrelevant and the unranked come last."""
    return (
        result.score is None, result.relevant is False, KINDS.index(result.kind),
        result.score or 0.0, result.name,
    )  # fmt: skip


def group_by_missing(
    candidates: Sequence[Candidate], values: dict[str, NDArray[Any]], y: NDArray[Any]
) -> list[tuple[list[Candidate], NDArray[np.bool_], str]]:
    """Groups of candidates with values on the same segments: (candidates, mask, status).

    A group's speech kernels are computed once. The mask (n,) is True where there is a value.
    """
    groups: dict[tuple[str, bytes], tuple[list[Candidate], NDArray[np.bool_], str]] = {}
    for candidate in candidates:
        z = values.get(candidate.name)
        known = value_mask(z) if z is not None else np.zeros(len(y), bool)
        status = _status(z, known, y)
        groups.setdefault((status, known.tobytes()), ([], known, status))[0].append(candidate)
    return list(groups.values())


def _status(z: NDArray[Any] | None, known: NDArray[np.bool_], y: NDArray[Any]) -> str:
    """The status of a candidate: "ranked", "missing" or "constant"."""
    counts = np.unique(y[known], return_counts=True)[1]
    if z is None or len(counts) < 2 or counts.max() < 4:
        return "missing"
    values = z[known]
    if has_counts(values):
        return "ranked" if values.any(axis=0).sum() > 1 else "constant"
    if values.dtype.kind in "iu":
        return "constant" if (values == values[0]).all() else "ranked"
    return "ranked" if standardise(values).any() else "constant"


def _empty_result(
    candidate: Candidate, status: str, z: NDArray[Any] | None, known: NDArray[np.bool_]
) -> Result:
    """The result of a candidate that can't be ranked."""
    note = (
        "the same value everywhere: there is nothing to learn from it"
        if status == "constant"
        else "too few values: two classes, and four segments in one of them, are needed"
    )
    dims = 1 if z is None or z.ndim == 1 else z.shape[1]
    undefined = dict.fromkeys(
        (
            "score", "interval", "rank_interval", "tier", "p_value", "shuffled", "shuffled_sd",
            "spread", "dependence", "relevance", "chance_sd", "noise_relevance", "relevance_p",
            "relevant", "relevance_strength", "information", "error",
        )
    )  # fmt: skip
    return Result(
        name=candidate.name,
        source=candidate.source,
        kind=kind_of(candidate, z),
        status=status,
        classes=(),
        dims=dims,
        missing=int((~known).sum()),
        histogram=((), 0.0, 0.0),
        note=note,
        **undefined,
    )
