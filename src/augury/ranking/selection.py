"""Which of a ranking's pseudo-labels to pretrain with, together: groups, and learned weights.

The paper's groups are the best and the worst few, each of weight 1. The follow-up (Zaiem et al.,
arXiv 2107.00594) learns weights that sum to 1 by the measure itself; beside it stand choices that
look at redundancy.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from augury.corpus.read import read_corpus
from augury.errors import InputError
from augury.hsic.estimators import class_rows
from augury.hsic.kernels import centre, standardise, unit_rows
from augury.ranking.dataset import open_dataset, select_segments
from augury.ranking.settings import RankSettings
from augury.reporter import Reporter
from augury.store import digest, write_atomically

Vector = NDArray[np.float64]

#: Points of a class that weights are learned on, at most.
MOST = 400
#: Steps of the search for weights, at most.
STEPS = 200
#: Weight of W's squares in the softmax's objective, which is 1 at most at equal weights.
HOLD = 2e-2
#: Weights below this are none.
NONE = 1e-3
#: Bytes of distances between points that are kept; more are made anew at every step.
KEPT = 1_000_000_000


@dataclass(frozen=True)
class Selection:
    """Pseudo-labels with the weights of their workers."""

    weights: dict[str, float]
    method: str
    about: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path | str) -> None:
        """As `augury pretrain --weights` reads it."""
        write_atomically(Path(path), json.dumps(self.weights, indent=1) + "\n")


@dataclass(frozen=True)
class Ranked:
    """What a choice needs of a ranking.json."""

    names: tuple[str, ...]  # ranked ones, best first
    scores: Vector
    relevance: Vector
    relevant: NDArray[np.bool_]
    alike: NDArray[np.float64]  # (names, names) |Spearman| between them; 0 where it is not known
    settings: dict[str, Any]
    command: str
    label: str = ""
    estimator: str = ""
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries it was made with
    inputs: dict[str, str] = field(default_factory=dict)  # digests of what it was made of
    digest: str = ""  # of the file


def read_ranking(path: Path | str) -> Ranked:
    """A ranking.json; InputError if it is none."""
    path = Path(path)
    try:
        content = path.read_bytes()
        plain = json.loads(content)
        there = [k for k, one in enumerate(plain["results"]) if one["status"] == "ranked"]
        results = [plain["results"][k] for k in there]
        names = tuple(str(one["name"]) for one in results)
        if len(set(names)) < len(names):
            raise InputError("a candidate is ranked twice")
        relevant = [one["relevant"] for one in results]
        if not all(one is None or isinstance(one, bool) for one in relevant):
            raise InputError("relevant is neither true nor false")
        return Ranked(
            names,
            np.array([_number(one["score"]) for one in results]),
            np.array([_number(one["relevance"]) for one in results]),
            np.array([one is not False for one in relevant], bool),
            _alike(plain["redundancy"], len(plain["results"]))[np.ix_(there, there)],
            dict(plain["settings"]),
            str(plain["command"]),
            str(plain["label"]),
            str(plain["estimator"]),
            {str(name): str(one) for name, one in plain["versions"].items()},
            {str(name): str(one) for name, one in plain["inputs"].items()},
            digest(content),
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (
        ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise InputError(
            f"{path}: not a ranking.json as `augury rank` writes it ({error!r})"
        ) from error


def _alike(rows: Any, count: int) -> NDArray[np.float64]:
    """|Spearman| of a ranking's table, (count, count); what is not known is 0."""
    if len(rows) != count or any(len(row) != count for row in rows):
        raise InputError(f"redundancy is not {count} × {count}")
    found = [[0.0 if one is None else abs(_number(one)) for one in row] for row in rows]
    # A little above 1 is rounding.
    if any(one > 1 + 1e-6 for row in found for one in row):
        raise InputError("redundancy is beyond 1")
    return np.array(found, np.float64).reshape(count, count)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a number where one must be")
    return float(value)


# ---------------------------------------------------------------------------------------- groups


def best(ranked: Ranked, k: int) -> Selection:
    """The k with the lowest scores (section 5 of the paper), of those relevant to the label."""
    return _group(ranked, [int(i) for i in np.flatnonzero(ranked.relevant)], k, "best")


def worst(ranked: Ranked, k: int) -> Selection:
    """The k with the highest scores."""
    return _group(ranked, list(range(len(ranked.names)))[::-1], k, "worst")


def everything(ranked: Ranked) -> Selection:
    """All that were ranked."""
    return _group(ranked, list(range(len(ranked.names))), len(ranked.names), "all")


def random(ranked: Ranked, k: int, seed: int = 0) -> Selection:
    """k of them, whichever; the same for the same names and seed."""
    order = sorted(range(len(ranked.names)), key=lambda i: ranked.names[i])
    drawn = np.random.default_rng(seed).permutation(order).tolist()
    return _group(ranked, drawn, k, f"random, seed {seed}")


def mrmr(ranked: Ranked, k: int) -> Selection:
    """One after the other the most relevant, less its mean likeness to those before.

    Minimum redundancy, maximum relevance (Peng et al. 2005): relevance is HSIC(Z, Y), likeness
    |Spearman|.
    """
    return _greedy(ranked, -ranked.relevance, k, "mRMR")


def greedy(ranked: Ranked, k: int) -> Selection:
    """One after the other the lowest score, plus its mean likeness to those before.

    Scores count by their places, 0 the best and 1 the worst: they have no unit that likeness
    has. Only what is relevant to the label is taken.
    """
    places = np.arange(len(ranked.names)) / max(len(ranked.names) - 1, 1)
    return _greedy(ranked, np.where(ranked.relevant, places, np.inf), k, "greedy")


def _greedy(ranked: Ranked, cost: Vector, k: int, method: str) -> Selection:
    allowed = [int(i) for i in np.flatnonzero(np.isfinite(cost))]
    taken: list[int] = []
    while len(taken) < min(k, len(allowed)):
        rest = [i for i in allowed if i not in taken]
        alike = ranked.alike[np.ix_(rest, taken)].mean(axis=1) if taken else np.zeros(len(rest))
        taken.append(rest[int(np.argmin(cost[rest] + alike))])
    return _group(ranked, taken or allowed, k, method)


def _group(ranked: Ranked, order: Sequence[int], k: int, method: str) -> Selection:
    if k < 1:
        raise InputError(f"k is {k}, but a choice takes one at least")
    if k > len(order):
        raise InputError(
            f"{k} pseudo-labels are asked for, but {len(order)} of the {len(ranked.names)} ranked "
            f"ones can be chosen ({method}); ask for fewer"
        )
    return Selection({ranked.names[i]: 1.0 for i in order[:k]}, method)


# ------------------------------------------------------------------------------- learned weights


def learn_weights(
    values: Mapping[str, NDArray],
    x: Any,
    y: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    kind: str = "softmax",
    normalised: bool = True,
    width: float = 1.0,
    most: int = MOST,
    seed: int = 0,
) -> Selection:
    """Weights λ that make the weighted pseudo-labels as independent of the speech as they can be.

    One Gaussian kernel on the weighted distance, L = exp(−Σ_k λ_k d_k² / 2σ²), with d_k of
    standardised values; the mean over classes, by their shares, of tr(KHLH)/n² with H = I − 11ᵀ/n
    is minimised over λ = softmax(W) or sparsemax(W), from equal weights on.

    Args:
        values: pseudo-label → (n,) or (n, dims) values, or integer categories (n,), -1 for none.
        x: (n, …) embeddings, or what gives them for x[rows].
        y: (n,) the downstream label.
        names: those to weigh; all of `values` if None.
        kind: "softmax" (W is held near 0 a little, so that all have some weight) or "sparsemax"
            (many are 0).
        normalised: each class's HSIC unbiased and divided by √(HSIC(K,K)·HSIC(L,L)), as in
            `hsic.robust`, so that a pseudo-label is not chosen for how it spreads. False: the
            follow-up's own, which does that.
        width: σ. Every d_k² has a mean of about 2, and so has their weighted sum whatever the
            weights: with 1, L is far from both 0 and 1.
        most: points of a class that are looked at; of larger classes so many are drawn.
        seed: of that draw.

    Returns:
        Weights that sum to 1. `about`: the objective at first and at last, what chance gives it
        (the standard deviation for one independent pseudo-label, where normalised; a gain of this
        order says nothing), points used, left out for want of a value, and in classes of fewer
        than four, pseudo-labels left without weight, whether the search ended by itself.

    Raises:
        InputError: fewer than two pseudo-labels, one that does not vary (all weight on it would
            hide the others), or no class of four points that all have.
    """
    names = list(values if names is None else names)
    _check(values, names, kind, width, most)
    has = np.all([_has(values[name]) for name in names], axis=0)
    rows = np.flatnonzero(has)
    groups = [one for one in class_rows(np.asarray(y)[rows]) if len(one) >= 4]
    if not groups:
        raise InputError("no class has four segments with a value of every pseudo-label")
    kept = [_scaled(values[name][rows]) for name in names]
    if flat := [name for name, z in zip(names, kept, strict=True) if (z == z[0]).all()]:
        raise InputError(
            f"{', '.join(flat)}: the same for all {len(rows)} segments that have a value of every "
            "pseudo-label; leave it out"
        )
    counts = np.array([len(one) for one in groups], float)
    shares = counts / counts.sum()
    rng = np.random.default_rng(seed)
    drawn = [one if len(one) <= most else np.sort(rng.permutation(one)[:most]) for one in groups]
    sizes = np.array([len(own) for own in drawn], float)
    fits = 4 * len(names) * np.cumsum(np.square(sizes)) <= KEPT
    parts = [
        _Part.of(x[rows[own]], [z[own] for z in kept], normalised, bool(keep))
        for own, keep in zip(drawn, fits, strict=True)
    ]

    def objective(weights: Vector) -> tuple[float, Vector]:
        value, slope = 0.0, np.zeros(len(names))
        for share, part in zip(shares, parts, strict=True):
            own, own_slope = part.value(weights, width)
            value, slope = value + share * own, slope + share * own_slope
        return value, slope

    # As in `hsic.robust`.
    chance = math.sqrt(float(np.sum(shares**2 * 2 / (sizes * (sizes - 3).clip(1)))))
    first = objective(np.full(len(names), 1 / len(names)))[0]
    # Where there is nothing to gain but chance, nothing is magnified.
    unit = max(abs(first), chance if normalised else 0.0, 1e-12)
    weights, last, ended = (
        _softmax(objective, len(names), unit)
        if kind == "softmax"
        else _on_simplex(objective, len(names))
    )
    about = {
        "objective": {"equal": float(first), "learned": float(last)},
        "chance": chance if normalised else None,
        "points": int(sizes.sum()),
        "left_out": int((~has).sum()),
        "in_small_classes": len(rows) - int(counts.sum()),
        "without_weight": [name for name, w in zip(names, weights, strict=True) if w < NONE],
        "ended": ended,
    }
    found = {name: float(w) for name, w in zip(names, weights, strict=True) if w >= NONE}
    total = sum(found.values())
    return Selection({name: w / total for name, w in found.items()}, kind, about)


def _check(
    values: Mapping[str, NDArray], names: Sequence[str], kind: str, width: float, most: int
) -> None:
    if kind not in ("softmax", "sparsemax"):
        raise InputError(f"kind is {kind!r}, but must be softmax or sparsemax")
    if unknown := [name for name in names if name not in values]:
        raise InputError(f"no values of {', '.join(unknown)}; there are {', '.join(values)}")
    if len(names) < 2:
        raise InputError("weights are for two pseudo-labels or more")
    if len(set(names)) < len(names):
        raise InputError(f"a pseudo-label is named twice: {', '.join(names)}")
    if not (width > 0 and math.isfinite(width)):
        raise InputError(f"width is {width}, but must be above 0")
    if most < 4:
        raise InputError(f"most is {most}, but four points of a class are needed")


def learn_weights_from_store(
    ranked: Ranked,
    *,
    kind: str = "softmax",
    manifest: Path | str | None = None,
    store: Path | str | None = None,
    jobs: int | None = None,
    reporter: Reporter | None = None,
) -> Selection:
    """`learned` weights of a ranking's relevant candidates, on the segments it was made on.

    Noise is as independent as can be: only what is relevant to the label is weighed.

    Args:
        manifest: where it is now; where the ranking found it, if not given.
        store, jobs, reporter: as for `rank`; what it left in the store is not extracted again.

    Raises:
        InputError: the manifest is not there, or is not what was ranked; or see `learned`.
    """
    names = [name for name, has in zip(ranked.names, ranked.relevant, strict=True) if has]
    if len(names) < 2:
        raise InputError(f"{len(names)} of the ranked candidates are relevant: nothing to weigh")
    words = shlex.split(ranked.command)
    where = Path(manifest or (words[2] if len(words) > 2 else ""))
    given = {**ranked.settings, "candidates": names, "sensitivity": False}
    settings = RankSettings.of(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    )
    corpus = read_corpus(where, allow_outside="--allow-outside" in words)
    with open_dataset(
        select_segments(corpus, settings), settings, embeddings=(settings.base_embedding(),),
        store=store, jobs=jobs, reporter=reporter,
    ) as data:  # fmt: skip
        unlike = [
            name
            for name, one in data.inputs(settings.label).items()
            if one != ranked.inputs.get(name)
        ]
        if unlike:
            raise InputError(
                f"{where} does not hold what was ranked: the {' and the '.join(unlike)} differ; "
                "rank it again"
            )
        return learn_weights(
            {name: data.values[name] for name in names}, data.x[0], data.y, kind=kind
        )


@dataclass(frozen=True)
class _Part:
    """A class: its centred speech kernel, and what the pseudo-labels' distances are made of."""

    K: NDArray[np.float32]  # (n, n) HKH, or U-centred where normalised
    normalised: bool
    zs: list[NDArray]  # each pseudo-label's values
    kept: list[NDArray[np.float32]]  # their squared distances (n, n), or none

    @classmethod
    def of(cls, x: Any, zs: list[NDArray], normalised: bool, keep: bool) -> _Part:
        unit = unit_rows(np.asarray(x, np.float64))
        K = (_centred if normalised else centre)(unit @ unit.T)
        kept = [_distances(z) for z in zs] if keep else []
        return cls(K.astype(np.float32), normalised, zs, kept)

    def distances(self) -> Iterable[NDArray[np.float32]]:
        return self.kept or map(_distances, self.zs)

    def value(self, weights: Vector, width: float) -> tuple[float, Vector]:
        """This class's HSIC and its derivatives by the weights."""
        n = len(self.K)
        factors = (-weights / (2 * width**2)).astype(np.float32)
        L = np.zeros((n, n), np.float32)
        for factor, distance in zip(factors, self.distances(), strict=True):
            L += factor * distance
        np.exp(L, out=L)
        if not self.normalised:
            value, of_L = float(np.vdot(self.K, L)) / n**2, self.K / n**2
        else:
            centred = _centred(L.astype(np.float64))
            norm = float(np.linalg.norm(centred))
            both = norm * float(np.linalg.norm(self.K))
            if both < 1e-12:  # nothing varies
                return 0.0, np.zeros(len(weights))
            value = float(np.vdot(self.K, L)) / both
            of_L = self.K / both - value / norm**2 * centred
        of_L = (of_L * L).astype(np.float32)
        slope = np.array([float(np.vdot(of_L, distance)) for distance in self.distances()])
        return value, -slope / (2 * width**2)


def _centred(K: NDArray) -> NDArray:
    """In its own memory, so that Σ centred(K) ∘ L is n (n − 3) times the unbiased HSIC.

    The U-centring of Székely & Rizzo (2014).
    """
    n = len(K)
    np.fill_diagonal(K, 0.0)
    rows = K.sum(axis=1)
    K += rows.sum() / ((n - 1) * (n - 2))
    K -= rows / (n - 2)
    K -= rows[:, None] / (n - 2)
    np.fill_diagonal(K, 0.0)
    return K


def _softmax(
    objective: Callable[[Vector], tuple[float, Vector]], count: int, unit: float
) -> tuple[Vector, float, bool]:
    """W by L-BFGS; it is held near 0 a little, as otherwise the best has all the weight at last."""
    found = minimize(
        lambda W: through_softmax(objective, W, unit), np.zeros(count), jac=True,
        method="L-BFGS-B", options={"maxiter": STEPS, "ftol": 1e-6, "gtol": 1e-4},
    )  # fmt: skip
    weights = softmax(found.x)
    return weights, objective(weights)[0], bool(found.success)


def through_softmax(
    objective: Callable[[Vector], tuple[float, Vector]], W: Vector, unit: float
) -> tuple[float, Vector]:
    """The objective of softmax(W) in that unit, with what holds W near 0; and its derivatives."""
    weights = softmax(W)
    value, slope = objective(weights)
    through = weights * (slope - weights @ slope)
    return value / unit + HOLD * float(W @ W), through / unit + 2 * HOLD * W


def _on_simplex(
    objective: Callable[[Vector], tuple[float, Vector]], count: int
) -> tuple[Vector, float, bool]:
    """Projected gradient on λ itself: what sparsemax(W) reaches is the whole simplex."""
    weights = np.full(count, 1 / count)
    value, slope = objective(weights)
    step = 0.1 / max(float(np.abs(slope).max()), 1e-12)
    for _ in range(STEPS):
        while True:
            moved = sparsemax(weights - step * slope)
            there, its_slope = objective(moved)
            if there <= value - 1e-4 / step * float(np.square(moved - weights).sum()):
                break
            step /= 2
            if step < 1e-12:
                return weights, value, True
        change, gained = float(np.abs(moved - weights).max()), value - there
        weights, value, slope, step = moved, there, its_slope, 2 * step
        if change < 1e-5 or gained < 1e-7 * abs(value):
            return weights, value, True
    return weights, value, False


def sparsemax(W: ArrayLike) -> Vector:
    """The point of the simplex nearest to W (Martins & Astudillo 2016)."""
    W = np.asarray(W, np.float64)
    ordered = np.sort(W)[::-1]
    sums = np.cumsum(ordered) - 1
    k = np.arange(1, len(W) + 1)
    last = int(np.flatnonzero(ordered * k > sums)[-1])
    return np.maximum(W - sums[last] / (last + 1), 0.0)


def _has(z: NDArray) -> NDArray[np.bool_]:
    if z.dtype.kind in "iu":
        return np.asarray(z >= 0)
    return np.asarray(np.isfinite(z).reshape(len(z), -1).all(axis=1))


def _scaled(z: NDArray) -> NDArray:
    """Standardised; dimensions share what one has."""
    z = standardise(z)
    if z.dtype.kind in "iu":
        return z
    z = z.reshape(len(z), -1)
    return z / np.sqrt(z.shape[1])


def _distances(z: NDArray) -> NDArray[np.float32]:
    """Squared, of all pairs; of categories 2 for unlike ones, as standardised values have them."""
    if z.dtype.kind in "iu":
        return (2 * (z[:, None] != z[None])).astype(np.float32)
    if z.shape[1] == 1:
        one = z.astype(np.float32)
        return np.square(one - one.T)
    squares = np.square(z).sum(axis=1)
    found = squares[:, None] + squares[None] - 2 * z @ z.T
    return np.maximum(found, 0.0).astype(np.float32)
