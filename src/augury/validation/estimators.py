"""The estimators that an experiment compares, and the baselines that they should beat.

Their signs are such that lower is better. Those of `hsic` come at several widths, in the
pseudo-label's units and standardised, and on two embeddings; others combine conditional
independence with relevance and dependence, or use the pseudo-label alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from augury import hsic
from augury.compute import RunTasks
from augury.embeddings import Embeddings, Selected
from augury.hsic.information import mutual_information
from augury.hsic.kernels import has_counts, standardise
from augury.ranking.dataset import Dataset
from augury.ranking.scoring import RELEVANT, group_by_missing, noise_relevances

#: Raised when the same data would give other estimates.
VERSION = 4
#: Folds of recordings, and largest number of rows, of the linear probe.
FOLDS, PROBE_ROWS = 5, 20_000
#: Ridge of the linear probe, as a share of the mean square of the embeddings' entries.
RIDGE = 1e-2
#: Of LogME's fixed point: the largest number of steps, and the least sum of squares as a divisor.
ROUNDS, TINY = 100, 1e-12


#: The default estimator of `augury rank`.
DEFAULT = "robust × 1"
#: The same with candidates last that are not relevant to the label: Augury's recommendation.
RECOMMENDED = "robust, relevant first"


@dataclass(frozen=True)
class Estimator:
    """A rule that orders candidates."""

    name: str
    kind: str  # "independence", "relevance" or "baseline"
    description: str


def _declare_estimators() -> dict[str, Estimator]:
    declared: list[tuple[str, str, str]] = []
    for suffix, embedding in (("", ""), (" svcca", ", SVCCA embeddings")):
        for width in (0.05, 0.5):
            description = f"eq. 4 in the pseudo-label's units, σ = {width:g}{embedding}"
            declared.append((f"paper {width:g}{suffix}", "independence", description))
        for width in (0.05, 0.5, 1.0):
            description = f"eq. 4 of standardised values, σ = {width:g}{embedding}"
            declared.append((f"paper z {width:g}{suffix}", "independence", description))
        for scale in (0.5, 1.0, 2.0):
            description = (
                f"unbiased, normalised in classes, {scale:g} × the median distance{embedding}"
            )
            declared.append((f"robust × {scale:g}{suffix}", "independence", description))
    declared += [
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
        ("mutual information", "baseline", "of Y and Z, freed of chance, higher first"),
        ("linear probe", "baseline", "R² of Z from the mean log-mel, held out, higher first"),
    ]
    return {name: Estimator(name, kind, description) for name, kind, description in declared}


#: All of them by name.
ESTIMATORS = _declare_estimators()


def estimates(data: Dataset) -> dict[str, dict[str, float | None]]:
    """Estimator → candidate → estimate; None for a candidate that can't be ranked.

    `data.x` has three embeddings: Gaussian downsampling, the released code's, and SVCCA.
    """
    table: dict[str, dict[str, float | None]] = {
        name: {candidate.name: None for candidate in data.candidates} for name in ESTIMATORS
    }
    for members, has, status in group_by_missing(data.candidates, data.values, data.y):
        if status != "ranked":
            continue
        rows = np.flatnonzero(has)
        zs = [data.values[candidate.name][rows] for candidate in members]
        x = [Selected.of(embeddings, rows) for embeddings in data.x]
        recording, y = data.corpus.recording[rows], data.y[rows]
        noise = noise_relevances(members, zs, data.seconds[rows], y)
        for name, values in _estimate_group(x, zs, y, noise, recording, data.run).items():
            for candidate, value in zip(members, values, strict=True):
                if not np.isfinite(value):
                    raise ArithmeticError(
                        f"{name} of {candidate.name} is {value}; please report this"
                    )
                table[name][candidate.name] = float(value)
    for place, name in enumerate(sorted(candidate.name for candidate in data.candidates)):
        if table[DEFAULT][name] is not None:
            table["alphabetical"][name] = float(place)
    return table


def _estimate_group(
    x: Sequence[Any],
    zs: list[NDArray[Any]],
    y: NDArray[Any],
    noise: Sequence[tuple[float, float]],
    recording: NDArray[Any],
    run: RunTasks,
) -> dict[str, list[float]]:
    """The estimates of candidates that have values for the same rows: name → (candidates,)."""
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
    x: Embeddings, zs: list[NDArray[Any]], y: NDArray[Any], suffix: str, run: RunTasks
) -> dict[str, list[float]]:
    """Eq. 4 and its robust form at several widths, on one embedding; `suffix` ends their names."""
    values: dict[str, list[float]] = {}
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
    ci: NDArray[Any],
    dependences: Sequence[hsic.Association],
    relevances: Sequence[hsic.Association],
    noise: Sequence[tuple[float, float]],
) -> dict[str, list[float]]:
    """Rules made of the robust CI estimate, the dependence HSIC(X, Z) and the relevance HSIC(Z, Y).

    `noise`: for each candidate the mean and standard deviation of the relevance of noise.
    """
    dependence = np.array([association.value for association in dependences])
    relevance = np.array([association.value for association in relevances])
    # Where a candidate hardly depends on the speech, the ratio would be noise: no denominator is
    # below the largest standard deviation under shuffling.
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


def _baselines(zs: list[NDArray[Any]], y: NDArray[Any]) -> dict[str, list[float]]:
    """Rules that never use the speech."""
    return {
        "variance": [variance(z) for z in zs],
        "H-score": [-h_score(z, y) for z in zs],
        "LogME": [-log_me(z, y) for z in zs],
        "mutual information": [-mutual_information(z, y) for z in zs],
    }


def variance(z: NDArray[Any]) -> float:
    """Variance of (n,) or (n, dims) values in their units, summed over dimensions; 0 or more.

    Of categories, of segments or of frames: Gini's 1 − Σ p².

    >>> variance(np.array([0, 1, 0, 1]))
    0.5
    """
    if z.dtype.kind in "iu":
        counts = np.unique(z, return_counts=True)[1] if z.ndim == 1 else z.sum(axis=0)
        shares = counts / counts.sum()
        return float(1 - np.square(shares).sum())
    return float(np.asarray(z, np.float64).reshape(len(z), -1).var(axis=0).sum())


def h_score(z: NDArray[Any], y: NDArray[Any]) -> float:
    """H-score of the pseudo-label as a feature (Bao et al. 2019), per dimension, from 0 to 1.

    tr(Σ⁻¹ Σ_between) / dims, with the covariance Σ, and Σ_between of the class means; 0: classes
    have equal means, 1: they explain all of the variance.

    >>> h_score(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
    1.0
    """
    values = _columns(z)
    centred = values - values.mean(axis=0)
    codes, counts = np.unique(y, return_inverse=True, return_counts=True)[1:]
    means = np.zeros((len(counts), values.shape[1]))
    np.add.at(means, codes, centred)
    means /= counts[:, None]
    between = (means * counts[:, None]).T @ means
    inverse = cast(NDArray[np.float64], np.linalg.pinv(centred.T @ centred, hermitian=True))
    return float(np.trace(inverse @ between) / values.shape[1])


def log_me(z: NDArray[Any], y: NDArray[Any]) -> float:
    """LogME (You, Liu, Wang, Long 2021): log evidence of the classes per sample, in nats.

    Each class's indicator is Gaussian around a linear function of the pseudo-label and a constant,
    whose weights have a Gaussian prior. The evidence is maximised over both precisions by the fixed
    point of Algorithm 3, and averaged over classes. Higher is better.

    >>> y = np.arange(100) % 2
    >>> log_me(y + 0.1 * np.sin(np.arange(100.0)), y) > log_me(np.sin(np.arange(100.0)), y)
    True
    """
    values = _columns(z)
    scale = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    count = len(values)
    features = np.concatenate([np.ones((count, 1)), values], axis=1)
    left, sigma, _ = np.linalg.svd(features, full_matrices=False)
    square = np.square(sigma)
    codes = np.unique(y, return_inverse=True)[1]
    evidences: list[float] = []
    for k in range(codes.max() + 1):
        truth = (codes == k).astype(np.float64)
        inside = left.T @ truth
        outside = max(float(truth @ truth - inside @ inside), 0.0)  # residual of any weights
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
        evidences.append(float(evidence / count))
    return float(np.mean(evidences))


def linear_probe(x: Embeddings, zs: Sequence[NDArray[Any]], recording: NDArray[Any]) -> list[float]:
    """R² of each pseudo-label, predicted by ridge regression from its segment's mean log-mel.

    Cross-validated over five folds of recordings, or of segments if there are fewer recordings than
    folds; on at most 20,000 segments, evenly spaced. Up to 1; below 0 if worse than the mean.
    """
    rows = np.unique(
        np.linspace(0, len(zs[0]) - 1, min(len(zs[0]), PROBE_ROWS)).round().astype(int)
    )
    mel = np.asarray(x[rows], np.float64).mean(axis=1)  # (rows, bands)
    groups = np.unique(recording[rows], return_inverse=True)[1]
    fold = (groups if groups.max() >= FOLDS else np.arange(len(rows))) % FOLDS
    columns = [_columns(z[rows]) for z in zs]
    values = np.concatenate(columns, axis=1)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-12)
    predicted = np.zeros_like(values)
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        mean = mel[train].mean(axis=0)
        x_train, x_test = mel[train] - mean, mel[test] - mean
        gram = x_train.T @ x_train
        gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        level = values[train].mean(axis=0)
        weights = cast(
            NDArray[np.float64], np.linalg.solve(gram, x_train.T @ (values[train] - level))
        )
        predicted[test] = level + x_test @ weights
    error = np.square(values - predicted).mean(axis=0)
    r2 = 1 - error / np.maximum(np.square(values).mean(axis=0), 1e-12)
    ends = np.cumsum([column.shape[1] for column in columns])
    return [float(part.mean()) for part in np.split(r2, ends[:-1])]


def _columns(z: NDArray[Any]) -> NDArray[np.float64]:
    """(n, dims): values, or an indicator for each category, or each one's share of the frames."""
    if has_counts(z):
        return z / z.sum(axis=1, keepdims=True)
    if z.dtype.kind in "iu":
        return (z[:, None] == np.unique(z)).astype(np.float64)
    return np.asarray(z, np.float64).reshape(len(z), -1)
