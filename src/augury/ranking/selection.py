"""Which candidates of a ranking to pretrain with, together: groups of equal weight.

The paper's groups are the best and the worst few. Beside them stand choices that avoid redundancy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError
from augury.ranking.result import Ranking
from augury.store import write_atomically

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """Candidates with the weights of their workers.

    >>> Selection({"F0": 0.7, "zcr": 0.3}, "by hand", {}).weights["F0"]
    0.7
    """

    weights: dict[str, float]
    method: str
    about: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path | str) -> None:
        """Write the weights as `augury pretrain --weights` reads them."""
        write_atomically(Path(path), json.dumps(self.weights, indent=1) + "\n")


def best(ranking: Ranking, k: int) -> Selection:
    """The k relevant candidates with the lowest scores (section 5 of the paper)."""
    return _group(ranking, _relevant(ranking), k, "best")


def worst(ranking: Ranking, k: int) -> Selection:
    """The k candidates with the highest scores, relevant or not."""
    scores = [result.score or 0.0 for result in ranking.ranked_results]
    return _group(ranking, sorted(range(len(scores)), key=lambda i: -scores[i]), k, "worst")


def everything(ranking: Ranking) -> Selection:
    """All ranked candidates."""
    count = len(ranking.ranked_results)
    return _group(ranking, range(count), count, "all")


def random(ranking: Ranking, k: int, seed: int = 0) -> Selection:
    """k ranked candidates at random; the same for the same names and seed."""
    names = [result.name for result in ranking.ranked_results]
    order = sorted(range(len(names)), key=names.__getitem__)
    drawn = np.random.default_rng(seed).permutation(order).tolist()
    return _group(ranking, drawn, k, f"random, seed {seed}")


def mrmr(ranking: Ranking, k: int) -> Selection:
    """k candidates of high relevance and low redundancy.

    Minimum redundancy, maximum relevance (Peng et al. 2005): the next candidate is always the one
    with the highest HSIC(Z, Y) minus its mean |Spearman| with those already chosen.
    """
    relevance = np.array([result.relevance for result in ranking.ranked_results], np.float64)
    return _greedy(ranking, -relevance, k, "mRMR")


def greedy(ranking: Ranking, k: int) -> Selection:
    """k relevant candidates of low score and low redundancy.

    The next candidate is always the one with the lowest rank plus mean |Spearman| with those
    already chosen. Ranks run from 0, the best, to 1, the worst, as scores are not on the scale of
    |Spearman|.
    """
    count = len(ranking.ranked_results)
    ranks = np.arange(count) / max(count - 1, 1)
    cost = np.full(count, np.inf)
    relevant = _relevant(ranking)
    cost[relevant] = ranks[relevant]
    return _greedy(ranking, cost, k, "greedy")


def likeness(ranking: Ranking) -> NDArray[np.float64]:
    """|Spearman| between the ranked candidates (k, k), best first; 0 where it is not known."""
    names = {result.name for result in ranking.ranked_results}
    places = [i for i, result in enumerate(ranking.results) if result.name in names]
    rows = [[ranking.redundancy[i][j] or 0.0 for j in places] for i in places]
    return np.abs(np.array(rows, np.float64).reshape(len(places), len(places)))


def _relevant(ranking: Ranking) -> list[int]:
    """Indices of the relevant candidates among the ranked ones."""
    return [i for i, result in enumerate(ranking.ranked_results) if result.relevant is not False]


def _greedy(ranking: Ranking, cost: Vector, k: int, method: str) -> Selection:
    allowed = [int(i) for i in np.flatnonzero(np.isfinite(cost))]
    table = likeness(ranking)
    chosen: list[int] = []
    while len(chosen) < min(k, len(allowed)):
        rest = [i for i in allowed if i not in chosen]
        redundancy = table[np.ix_(rest, chosen)].mean(axis=1) if chosen else np.zeros(len(rest))
        chosen.append(rest[int(np.argmin(cost[rest] + redundancy))])
    return _group(ranking, chosen or allowed, k, method)


def _group(ranking: Ranking, order: Sequence[int], k: int, method: str) -> Selection:
    results = ranking.ranked_results
    if k < 1:
        raise InputError(f"k is {k}, but must be 1 or more")
    if k > len(order):
        raise InputError(
            f"{k} pseudo-labels are asked for, but only {len(order)} of the {len(results)} ranked "
            f"candidates can be chosen ({method}); ask for fewer"
        )
    return Selection({results[i].name: 1.0 for i in order[:k]}, method)
