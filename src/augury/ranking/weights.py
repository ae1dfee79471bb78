# SciPy has no types; K, L, W are matrices that are filled in place:
# pyright: reportMissingTypeStubs=false, reportConstantRedefinition=false
"""Learned weights of candidates: those that make their weighted sum least dependent on the speech.

Zaiem et al., arXiv 2107.00594: weights that sum to 1 and minimise the CI estimate itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize  # pyright: ignore[reportUnknownVariableType]
from scipy.special import softmax  # pyright: ignore[reportUnknownVariableType]

from augury.embeddings import Embeddings
from augury.errors import InputError
from augury.hsic.estimators import class_rows
from augury.hsic.kernels import centre, standardise, unit_rows
from augury.ranking.dataset import open_dataset, select_segments
from augury.ranking.result import Ranking
from augury.ranking.scoring import value_mask
from augury.ranking.selection import Selection
from augury.reporter import Reporter

Vector = NDArray[np.float64]
#: Weights → the objective and its derivatives by the weights.
Objective = Callable[[Vector], tuple[float, Vector]]

#: Largest number of points per class that weights are learned on.
MOST_POINTS = 400
#: Largest number of optimisation steps.
STEPS = 200
#: Factor of the ridge ‖W‖² in the softmax's objective, which is at most 1 at equal weights.
RIDGE = 2e-2
#: Smaller weights count as 0.
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

    One Gaussian kernel on the weighted distance, L = exp(−Σ_k λ_k d_k² / 2σ²), with d_k of
    standardised values; the mean over classes, by their shares, of tr(KHLH)/n² with H = I − 11ᵀ/n
    is minimised over λ = softmax(W) or sparsemax(W), starting from equal weights.

    Args:
        values: candidate → (n,) or (n, dims) values, or integer categories (n,), -1: missing.
        x: (n, …) embeddings, or an object that returns them for x[rows].
        y: (n,) the downstream label.
        names: the candidates to weight; all of `values` if None.
        kind: "softmax" (with a ridge on W, so that each has some weight) or "sparsemax" (many
            weights are 0).
        normalised: each class's HSIC unbiased and divided by √(HSIC(K,K)·HSIC(L,L)), as in
            `hsic.robust`, so that the spread of a candidate's values has no effect. False: the
            biased HSIC of the follow-up paper.
        width: σ. Every d_k² has a mean of about 2, and so has their weighted sum whatever the
            weights: with σ = 1, L is far from both 0 and 1.
        most: points used per class; larger classes are sampled.
        seed: of that sample.
        cache_bytes: most bytes of distances between points to keep in memory.

    Returns:
        Weights that sum to 1. `about`: the objective at equal and at learned weights; `chance`,
        where normalised, the standard deviation of the objective for one independent candidate (a
        gain of this order means nothing); points used, left out for a missing value, and in classes
        of fewer than four; candidates of weight 0; whether the optimisation converged.

    Raises:
        InputError: fewer than two candidates, a constant one (all weight would go to it), or no
            class of four points with a value of every candidate.

    >>> import numpy
    >>> rng = numpy.random.default_rng(0)
    >>> x, y = rng.standard_normal((60, 5)), numpy.arange(60) % 3
    >>> values = {"a": x[:, 0], "b": rng.standard_normal(60)}
    >>> sorted(learn_weights(values, x, y, kind="softmax").weights)
    ['a', 'b']
    """
    names = list(values if names is None else names)
    _check(values, names, kind, width, most)
    complete = np.all([value_mask(values[name]) for name in names], axis=0)
    rows = np.flatnonzero(complete)
    groups = [group for group in class_rows(np.asarray(y)[rows]) if len(group) >= 4]
    if not groups:
        raise InputError("no class has four segments with a value of every pseudo-label")
    zs = _scale_values(values, names, rows)
    counts = np.array([len(group) for group in groups], float)
    rng = np.random.default_rng(seed)
    samples = [
        group if len(group) <= most else np.sort(rng.permutation(group)[:most]) for group in groups
    ]
    sizes = np.array([len(sample) for sample in samples], float)
    shares = counts / counts.sum()
    fits = 4 * len(names) * np.cumsum(np.square(sizes)) <= cache_bytes
    terms = [
        _ClassTerm.of(x[rows[sample]], [z[sample] for z in zs], normalised, bool(keep))
        for sample, keep in zip(samples, fits, strict=True)
    ]
    objective = _sum_terms(terms, shares, width)
    # As in `hsic.robust`.
    chance = math.sqrt(float(np.sum(shares**2 * 2 / (sizes * (sizes - 3).clip(1)))))
    first = objective(np.full(len(names), 1 / len(names)))[0]
    # Divided by at least chance, so that a gain within chance is not magnified.
    unit = max(abs(first), chance if normalised else 0.0, 1e-12)
    if kind == "softmax":
        weights, last, converged = _minimise_softmax(objective, len(names), unit)
    else:
        weights, last, converged = _minimise_on_simplex(objective, len(names))
    about = {
        "objective": {"equal": float(first), "learned": float(last)},
        "chance": chance if normalised else None,
        "points": int(sizes.sum()),
        "left_out": int((~complete).sum()),
        "in_small_classes": len(rows) - int(counts.sum()),
        "without_weight": [n for n, w in zip(names, weights, strict=True) if w < SMALLEST],
        "converged": converged,
    }
    large = {name: float(w) for name, w in zip(names, weights, strict=True) if w >= SMALLEST}
    total = sum(large.values())
    return Selection({name: w / total for name, w in large.items()}, kind, about)


def _scale_values(
    values: Mapping[str, NDArray[Any]], names: Sequence[str], rows: NDArray[np.int64]
) -> list[NDArray[Any]]:
    """The candidates' standardised values on some rows; InputError if one is constant there."""
    zs = [_scale(values[name][rows]) for name in names]
    if flat := [name for name, z in zip(names, zs, strict=True) if (z == z[0]).all()]:
        raise InputError(
            f"{', '.join(flat)}: the same for all {len(rows)} segments that have a value of every "
            "pseudo-label; leave it out"
        )
    return zs


def _sum_terms(terms: Sequence[_ClassTerm], shares: Vector, width: float) -> Objective:
    """The mean of the classes' terms by their shares."""

    def objective(weights: Vector) -> tuple[float, Vector]:
        value, slope = 0.0, np.zeros(len(weights))
        for share, term in zip(shares, terms, strict=True):
            term_value, term_slope = term.value(weights, width)
            value, slope = value + share * term_value, slope + share * term_slope
        return value, slope

    return objective


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
        manifest: where it is now; the path that was ranked if not given.
        store, jobs, reporter: as for `rank`; what is in the store is not extracted again.

    Raises:
        InputError: the manifest does not exist, or its content has changed since the ranking; or
            see `learn_weights`.
    """
    names = [result.name for result in ranking.relevant_results]
    if len(names) < 2:
        raise InputError(
            f"{len(names)} of the ranked candidates are relevant to {ranking.label}, but weights "
            "need two or more"
        )
    corpus = ranking.origin.read(manifest)
    settings = replace(ranking.settings, candidates=tuple(names), sensitivity=False)
    with open_dataset(
        select_segments(corpus, settings), settings, embeddings=(settings.base_embedding(),),
        store=store, jobs=jobs, reporter=reporter,
    ) as data:  # fmt: skip
        _check_inputs(ranking, data.inputs(settings.label), manifest or ranking.origin.manifest)
        values = {name: data.values[name] for name in names}
        return learn_weights(values, data.x[0], data.y, kind=kind)


def _check_inputs(ranking: Ranking, inputs: Mapping[str, str], manifest: Path | str) -> None:
    """Raise InputError where digests differ from those of the ranking."""
    changed = [name for name, value in inputs.items() if value != ranking.inputs.get(name)]
    if changed:
        raise InputError(
            f"{manifest} is not what was ranked: the {' and the '.join(changed)} differ; rank it "
            "again (a corpus that was changed in Python must be written to a manifest first)"
        )


@dataclass(frozen=True)
class _ClassTerm:
    """The objective's term of one class: its speech kernel and the candidates' distances."""

    K: NDArray[np.float32]  # (n, n) HKH, or U-centred where normalised
    normalised: bool
    zs: list[NDArray[Any]]  # each candidate's values, (n, dims) or (n,)
    cache: list[NDArray[np.float32]]  # their squared distances (n, n); empty: computed when needed

    @classmethod
    def of(
        cls, x: NDArray[Any], zs: list[NDArray[Any]], normalised: bool, keep: bool
    ) -> _ClassTerm:
        """From embeddings (n, …) and values; `keep`: keep the distances in memory."""
        unit = unit_rows(np.asarray(x, np.float64))
        K = (_u_centre if normalised else centre)(unit @ unit.T)
        cache = [_distances(z) for z in zs] if keep else []
        return cls(K.astype(np.float32), normalised, zs, cache)

    def distances(self) -> Iterable[NDArray[np.float32]]:
        """Squared distances (n, n) of each candidate."""
        return self.cache or map(_distances, self.zs)

    def value(self, weights: Vector, width: float) -> tuple[float, Vector]:
        """The class's HSIC and its derivatives by the weights."""
        n = len(self.K)
        factors = (-weights / (2 * width**2)).astype(np.float32)
        L = np.zeros((n, n), np.float32)
        for factor, distance in zip(factors, self.distances(), strict=True):
            L += factor * distance
        np.exp(L, out=L)
        if not self.normalised:
            value, by_L = float(np.vdot(self.K, L)) / n**2, self.K / n**2
        else:
            centred = _u_centre(L.astype(np.float64))
            norm = float(np.linalg.norm(centred))
            norms = norm * float(np.linalg.norm(self.K))
            if norms < 1e-12:  # a constant kernel
                return 0.0, np.zeros(len(weights))
            value = float(np.vdot(self.K, L)) / norms
            by_L = self.K / norms - value / norm**2 * centred
        by_exponent = (by_L * L).astype(np.float32)
        slope = np.array([float(np.vdot(by_exponent, distance)) for distance in self.distances()])
        return value, -slope / (2 * width**2)


def _u_centre(K: NDArray[Any]) -> NDArray[Any]:
    """K U-centred in place (Székely & Rizzo 2014): then Σ K ∘ L is n (n − 3) · unbiased HSIC."""
    n = len(K)
    np.fill_diagonal(K, 0.0)
    rows = K.sum(axis=1)
    K += rows.sum() / ((n - 1) * (n - 2))
    K -= rows / (n - 2)
    K -= rows[:, None] / (n - 2)
    np.fill_diagonal(K, 0.0)
    return K


def _minimise_softmax(objective: Objective, count: int, unit: float) -> tuple[Vector, float, bool]:
    """W by L-BFGS, with a ridge, without which the best candidate would get all the weight.

    Returns the weights, the objective there, and whether the optimisation converged.
    """

    def with_ridge(W: Vector) -> tuple[float, Vector]:
        return through_softmax(objective, W, unit)

    optimum = cast(Any, minimize(
        with_ridge, np.zeros(count), jac=True,
        method="L-BFGS-B", options={"maxiter": STEPS, "ftol": 1e-6, "gtol": 1e-4},
    ))  # fmt: skip
    weights: Vector = softmax(optimum.x)
    return weights, objective(weights)[0], bool(optimum.success)


def through_softmax(objective: Objective, W: Vector, unit: float) -> tuple[float, Vector]:
    """The objective of softmax(W) divided by `unit`, plus the ridge; and its derivatives by W."""
    weights = softmax(W)
    value, slope = objective(weights)
    by_W = weights * (slope - weights @ slope)
    return value / unit + RIDGE * float(W @ W), by_W / unit + 2 * RIDGE * W


def _minimise_on_simplex(objective: Objective, count: int) -> tuple[Vector, float, bool]:
    """Projected gradient on λ itself: sparsemax(W) reaches the whole simplex.

    Returns the weights, the objective there, and whether the optimisation converged.
    """
    weights = np.full(count, 1 / count)
    value, slope = objective(weights)
    step = 0.1 / max(float(np.abs(slope).max()), 1e-12)
    for _ in range(STEPS):
        while True:
            new_weights = sparsemax(weights - step * slope)
            new_value, new_slope = objective(new_weights)
            if new_value <= value - 1e-4 / step * float(np.square(new_weights - weights).sum()):
                break
            step /= 2
            if step < 1e-12:
                return weights, value, True
        change, gain = float(np.abs(new_weights - weights).max()), value - new_value
        weights, value, slope, step = new_weights, new_value, new_slope, 2 * step
        if change < 1e-5 or gain < 1e-7 * abs(value):
            return weights, value, True
    return weights, value, False


def sparsemax(W: ArrayLike) -> Vector:
    """The point of the simplex nearest to W (Martins & Astudillo 2016).

    >>> sparsemax([1.0, 0.8, -1.0]).round(2).tolist()
    [0.6, 0.4, 0.0]
    """
    W = np.asarray(W, np.float64)
    ordered = np.sort(W)[::-1]
    sums = np.cumsum(ordered) - 1
    k = np.arange(1, len(W) + 1)
    last = int(np.flatnonzero(ordered * k > sums)[-1])
    return np.maximum(W - sums[last] / (last + 1), 0.0)


def _scale(z: NDArray[Any]) -> NDArray[Any]:
    """Values standardised, and divided by √dims so that a vector counts as much as a scalar."""
    z = standardise(z)
    if z.dtype.kind in "iu":
        return z
    z = z.reshape(len(z), -1)
    return z / np.sqrt(z.shape[1])


def _distances(z: NDArray[Any]) -> NDArray[np.float32]:
    """Squared distances (n, n); 2 between unlike categories, the mean of standardised values."""
    if z.dtype.kind in "iu":
        return (2 * (z[:, None] != z[None])).astype(np.float32)
    if z.shape[1] == 1:
        column = z.astype(np.float32)
        return np.square(column - column.T)
    squares = np.square(z).sum(axis=1)
    distances = squares[:, None] + squares[None] - 2 * z @ z.T
    return np.maximum(distances, 0.0).astype(np.float32)
