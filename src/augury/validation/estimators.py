"""Every estimator whose order of the candidates is put to the test, and the baselines to beat.

All are turned so that lower is better. Those of `hsic` come at several widths, in the
pseudo-label's units and standardised, and on both embeddings; the others join what conditional
independence leaves out, or look at the pseudo-label alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import hsic
from augury.compute import RunTasks
from augury.embeddings import Selected
from augury.hsic.kernels import standardise
from augury.ranking.dataset import Dataset
from augury.ranking.scoring import RELEVANT, group_by_missing, noise_relevances

#: Changes when the same data would give other estimates.
VERSION = 3
#: Equally filled bins of a pseudo-label whose mutual information with the label is taken.
BINS = 10
#: Folds of recordings, and rows at most, of the linear probe.
FOLDS, PROBE_ROWS = 5, 20_000
#: Ridge of the linear probe, as a share of the mean square of the embeddings' entries.
RIDGE = 1e-2
#: Steps at most, and the least sum of squares that is divided by, of LogME's fixed point.
ROUNDS, TINY = 100, 1e-12


#: What `augury rank` orders by, unless told otherwise.
DEFAULT = "robust × 1"
#: The same, with what says nothing of the label put last: what its readers are told to follow.
RECOMMENDED = "robust, relevant first"


@dataclass(frozen=True)
class Estimator:
    """A rule that orders candidates."""

    name: str
    kind: str  # "independence", "relevance" or "baseline"
    description: str


def _declare_estimators() -> dict[str, Estimator]:
    found: list[tuple[str, str, str]] = []
    for where, said in (("", ""), (" svcca", ", SVCCA embeddings")):
        for width in (0.05, 0.5):
            words = f"eq. 4 in the pseudo-label's units, σ = {width:g}{said}"
            found.append((f"paper {width:g}{where}", "independence", words))
        for width in (0.05, 0.5, 1.0):
            words = f"eq. 4 of standardised values, σ = {width:g}{said}"
            found.append((f"paper z {width:g}{where}", "independence", words))
        for scale in (0.5, 1.0, 2.0):
            words = f"unbiased, normalised in classes, {scale:g} × the median distance{said}"
            found.append((f"robust × {scale:g}{where}", "independence", words))
    found += [
        ("released", "independence", "the released code's arithmetic"),
        ("released z", "independence", "the released code's arithmetic, standardised values"),
        ("relevance", "relevance", "HSIC(Z, Y), higher first"),
        ("dependence", "relevance", "HSIC(X, Z), higher first"),
        ("dependence × relevance", "relevance", "their product, higher first"),
        ("relevance / dependence", "relevance", "their ratio, higher first"),
        ("CI / dependence", "relevance", "robust CI as a share of HSIC(X, Z)"),
        ("dependence − CI", "relevance", "what the label explains of HSIC(X, Z), higher first"),
        ("CI − relevance", "relevance", "robust CI less HSIC(Z, Y)"),
        (RECOMMENDED, "relevance", "robust CI, candidates without relevance (p ≥ 0.01) last"),
        ("alphabetical", "baseline", "by name"),
        ("spread", "baseline", "mean of 1 − L in classes, σ = 0.05: X is never used; lower first"),
        ("spread, robust", "baseline", "the same at the median distance, standardised"),
        ("variance", "baseline", "variance in the pseudo-label's units, lower first"),
        ("H-score", "baseline", "share of the variance between classes, higher first"),
        ("LogME", "baseline", "log evidence of Y, linear in Z (You et al. 2021), higher first"),
        ("mutual information", "baseline", f"of Y and Z in {BINS} bins, higher first"),
        ("linear probe", "baseline", "R² of Z from the mean log-mel, held out, higher first"),
    ]
    return {name: Estimator(name, kind, words) for name, kind, words in found}


#: All of them by name.
ESTIMATORS = _declare_estimators()


def estimates(data: Dataset) -> dict[str, dict[str, float | None]]:
    """Estimator → candidate → its estimate; None for a candidate that can't be ranked.

    `data.x` holds the embeddings by Gaussian downsampling, by the released code's and by SVCCA.
    """
    table: dict[str, dict[str, float | None]] = {
        name: {one.name: None for one in data.candidates} for name in ESTIMATORS
    }
    for members, has, status in group_by_missing(data.candidates, data.values, data.y):
        if status != "ranked":
            continue
        rows = np.flatnonzero(has)
        zs = [data.values[one.name][rows] for one in members]
        x = [Selected.of(one, rows) for one in data.x]
        recording, y = data.corpus.recording[rows], data.y[rows]
        noise = noise_relevances(members, data.seconds[rows], y)
        for name, values in _estimate_group(x, zs, y, noise, recording, data.run).items():
            for one, value in zip(members, values, strict=True):
                if not np.isfinite(value):
                    raise ArithmeticError(f"{name} of {one.name} is {value}; please report this")
                table[name][one.name] = float(value)
    for place, name in enumerate(sorted(one.name for one in data.candidates)):
        if table[DEFAULT][name] is not None:
            table["alphabetical"][name] = float(place)
    return table


def _estimate_group(
    x: Sequence[Any],
    zs: list[NDArray],
    y: NDArray,
    noise: Sequence[tuple[float, float]],
    recording: NDArray,
    run: RunTasks,
) -> dict[str, list[float]]:
    """Every estimator of candidates with values for the same rows: name → (candidates,)."""
    gaussian, of_released, svcca = x
    robust, dependences, relevances = hsic.robust_with_associations(gaussian, zs, y, run=run)
    values = _independence(gaussian, zs, y, "", run) | _independence(svcca, zs, y, " svcca", run)
    values[DEFAULT] = _scores(robust)
    values["spread, robust"] = [estimate.spread for estimate in robust]
    values["robust × 1 svcca"] = _scores(hsic.robust(svcca, zs, y, run=run))
    values["released"] = _scores(hsic.released(of_released, zs, y, run=run))
    standardised = [standardise(z) for z in zs]
    values["released z"] = _scores(hsic.released(of_released, standardised, y, run=run))
    values |= _combinations(np.array(_scores(robust)), dependences, relevances, noise)
    values |= _baselines(zs, y)
    values["linear probe"] = [-r2 for r2 in linear_probe(gaussian, zs, recording)]
    return values


def _scores(estimates: Sequence[hsic.CIEstimate]) -> list[float]:
    return [estimate.score for estimate in estimates]


def _independence(
    x: Any, zs: list[NDArray], y: NDArray, suffix: str, run: RunTasks
) -> dict[str, list[float]]:
    """Eq. 4 and its robust form at several widths, on one embedding, whose name is `suffix`."""
    values = {}
    for width in (0.05, 0.5):
        estimates = hsic.paper(x, zs, y, width=width, run=run)
        values[f"paper {width:g}{suffix}"] = _scores(estimates)
        if width == 0.05 and not suffix:
            values["spread"] = [estimate.spread for estimate in estimates]
    standardised = [standardise(z) for z in zs]
    for width in (0.05, 0.5, 1.0):
        estimates = hsic.paper(x, standardised, y, width=width, run=run)
        values[f"paper z {width:g}{suffix}"] = _scores(estimates)
    for scale in (0.5, 2.0):
        estimates = hsic.robust(x, zs, y, scale=scale, run=run)
        values[f"robust × {scale:g}{suffix}"] = _scores(estimates)
    return values


def _combinations(
    ci: NDArray,
    dependences: Sequence[hsic.Association],
    relevances: Sequence[hsic.Association],
    noise: Sequence[tuple[float, float]],
) -> dict[str, list[float]]:
    """Rules made of the robust CI estimate, the dependence HSIC(X, Z) and the relevance HSIC(Z, Y).

    `noise`: for each candidate the mean and standard deviation of the relevance of noise.
    """
    dependence = np.array([association.value for association in dependences])
    relevance = np.array([association.value for association in relevances])
    # Of a candidate that hardly depends on the speech the ratio would be noise, so that no
    # denominator is below the largest standard deviation under shuffling.
    largest_sd = max((association.shuffled_sd for association in dependences), default=0.0)
    denominator = np.maximum(dependence, largest_sd)
    irrelevant = np.array(
        [
            association.p_above(mean, sd) >= RELEVANT
            for association, (mean, sd) in zip(relevances, noise, strict=True)
        ]
    )
    combinations = {
        "relevance": -relevance,
        "dependence": -dependence,
        "dependence × relevance": -np.maximum(dependence, 0) * np.maximum(relevance, 0),
        "relevance / dependence": -relevance / denominator,
        "CI / dependence": ci / denominator,
        "dependence − CI": ci - dependence,
        "CI − relevance": ci - relevance,
        # No correlation is above 1: every candidate without relevance comes after all others.
        RECOMMENDED: ci + 2.0 * irrelevant,
    }
    return {name: values.tolist() for name, values in combinations.items()}


def _baselines(zs: list[NDArray], y: NDArray) -> dict[str, list[float]]:
    """Rules that never use the speech."""
    return {
        "variance": [variance(z) for z in zs],
        "H-score": [-h_score(z, y) for z in zs],
        "LogME": [-log_me(z, y) for z in zs],
        "mutual information": [-mutual_information(z, y) for z in zs],
    }


def variance(z: NDArray) -> float:
    """Of (n,) or (n, dims) values in their units, summed over dimensions; of categories, Gini's."""
    if z.dtype.kind in "iu":
        shares = np.unique(z, return_counts=True)[1] / len(z)
        return float(1 - np.square(shares).sum())
    return float(np.asarray(z, np.float64).reshape(len(z), -1).var(axis=0).sum())


def h_score(z: NDArray, y: NDArray) -> float:
    """tr(Σ⁻¹ Σ_between) of the pseudo-label as a feature (Bao et al. 2019), over its dimensions."""
    values = _columns(z)
    centred = values - values.mean(axis=0)
    codes, counts = np.unique(y, return_inverse=True, return_counts=True)[1:]
    means = np.zeros((len(counts), values.shape[1]))
    np.add.at(means, codes, centred)
    means /= counts[:, None]
    between = (means * counts[:, None]).T @ means
    whole = centred.T @ centred
    return float(np.trace(np.linalg.pinv(whole, hermitian=True) @ between) / values.shape[1])


def log_me(z: NDArray, y: NDArray) -> float:
    """Largest log evidence a sample that a Bayesian linear model gives the classes; nats.

    LogME (You, Liu, Wang, Long 2021): each class's indicator as a Gaussian about a linear function
    of the pseudo-label, whose weights have a Gaussian prior; both precisions maximised over, by the
    fixed point of Algorithm 3; the mean over classes. With a constant beside the pseudo-label.
    """
    values = _columns(z)
    scale = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    count = len(values)
    features = np.concatenate([np.ones((count, 1)), values], axis=1)
    left, sigma, _ = np.linalg.svd(features, full_matrices=False)
    square = np.square(sigma)
    codes = np.unique(y, return_inverse=True)[1]
    found = []
    for k in range(codes.max() + 1):
        truth = (codes == k).astype(np.float64)
        inside = left.T @ truth
        outside = max(float(truth @ truth - inside @ inside), 0.0)  # what no weights can reach
        alpha = beta = 1.0
        weights, rest = inside, outside
        for _ in range(ROUNDS):
            before = alpha / beta
            weights = sigma * inside / (square + before)
            rest = outside + float(np.square(before * inside / (square + before)).sum())
            known = float((square / (square + before)).sum())
            alpha = known / max(float(weights @ weights), TINY)
            beta = (count - known) / max(rest, TINY)
            if abs(alpha / beta - before) <= 1e-6 * before:
                break
        evidence = (
            len(sigma) * np.log(alpha) + count * np.log(beta / (2 * np.pi))
            - np.log(alpha + beta * square).sum() - beta * rest - alpha * (weights @ weights)
        ) / 2  # fmt: skip
        found.append(evidence / count)
    return float(np.mean(found))


def mutual_information(z: NDArray, y: NDArray) -> float:
    """Of the label and the pseudo-label's first dimension in equally filled bins; nats."""
    if z.dtype.kind in "iu":
        codes = np.unique(z, return_inverse=True)[1]
    else:
        first = z.reshape(len(z), -1)[:, 0]
        edges = np.unique(np.quantile(first, np.linspace(0, 1, BINS + 1)[1:-1]))
        codes = np.searchsorted(edges, first, "right")
    labels = np.unique(y, return_inverse=True)[1]
    table = np.zeros((codes.max() + 1, labels.max() + 1))
    np.add.at(table, (codes, labels), 1.0)
    joint = table / len(z)
    of_both = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / of_both[there])).sum())


def linear_probe(x: Any, zs: Sequence[NDArray], recording: NDArray) -> list[float]:
    """R² of each pseudo-label from the mean log-mel of its segment, recordings held out in turn.

    Ridge regression; of more than 20,000 segments evenly spaced ones. Fewer recordings than folds:
    segments are held out instead.
    """
    rows = np.unique(
        np.linspace(0, len(zs[0]) - 1, min(len(zs[0]), PROBE_ROWS)).round().astype(int)
    )
    mel = np.asarray(x[rows], np.float64).mean(axis=1)  # (rows, bands)
    groups = np.unique(recording[rows], return_inverse=True)[1]
    fold = (groups if groups.max() >= FOLDS else np.arange(len(rows))) % FOLDS
    columns = [_columns(z[rows]) for z in zs]
    wanted = np.concatenate(columns, axis=1)
    wanted = (wanted - wanted.mean(axis=0)) / np.maximum(wanted.std(axis=0), 1e-12)
    found = np.zeros_like(wanted)
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        mean = mel[train].mean(axis=0)
        inner, outer = mel[train] - mean, mel[test] - mean
        gram = inner.T @ inner
        gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        level = wanted[train].mean(axis=0)
        found[test] = level + outer @ np.linalg.solve(gram, inner.T @ (wanted[train] - level))
    rest = np.square(wanted - found).mean(axis=0)
    whole = np.maximum(np.square(wanted).mean(axis=0), 1e-12)
    r2 = 1 - rest / whole
    ends = np.cumsum([one.shape[1] for one in columns])
    return [float(part.mean()) for part in np.split(r2, ends[:-1])]


def _columns(z: NDArray) -> NDArray[np.float64]:
    """(n, dims): values, or a column for each category."""
    if z.dtype.kind in "iu":
        return (z[:, None] == np.unique(z)).astype(np.float64)
    return np.asarray(z, np.float64).reshape(len(z), -1)
