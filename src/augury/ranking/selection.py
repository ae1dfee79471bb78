"""Which candidates of a ranking to pretrain with, together: groups of equal weight.

The paper's groups are the best and the worst few. Beside them stand choices that avoid redundancy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError
from augury.ranking.result import Ranking
from augury.store import write_atomically

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
#: HSIC(Z, Z′), unbiased and normalised, of two candidates by their names.
Shared = Callable[[str, str], float]

#: Two candidates that share more are copies: the same values in other units, or under other names.
COPY = 0.999
#: Added to 1 on the diagonal of what candidates share, which is known to about this.
RIDGE = 1e-3


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


def _relevant(ranking: Ranking) -> list[int]:
    """Indices of the relevant candidates among the ranked ones."""
    return [i for i, result in enumerate(ranking.ranked_results) if result.relevant is not False]


def mrmr(ranking: Ranking, k: int, shared: Shared) -> Selection:
    """k relevant candidates of high relevance and low redundancy.

    Minimum redundancy, maximum relevance (Peng et al. 2005), both in normalised HSIC, a correlation
    of kernels. The next candidate is always the one with the highest partial relevance: what its
    HSIC(Z, Y) exceeds its prediction by, from those chosen, S: r − R_S (R_SS)⁻¹ r_S, with
    R = HSIC(Z, Z′). So what a candidate shares counts for as much as the relevance of what it
    shares; a mere mean of R would count for more than any relevance, and prefer candidates that are
    hardly relevant.

    Args:
        shared: HSIC(Z, Z′) of two names, see `augury.ranking.shared`.

    Raises:
        InputError: fewer than k candidates are relevant and no copies of others.
    """
    relevance = {result.name: result.relevance or 0.0 for result in ranking.relevant_results}

    def costs(left: Sequence[str], chosen: Sequence[str]) -> Vector:
        known, own = (np.array([relevance[name] for name in names]) for names in (chosen, left))
        among = table(shared, chosen, chosen) + RIDGE * np.eye(len(chosen))
        return table(shared, left, chosen) @ np.linalg.solve(among, known) - own

    return _greedy(ranking, costs, shared, k, "mRMR")


def greedy(ranking: Ranking, k: int, shared: Shared) -> Selection:
    """k relevant candidates of low score and low redundancy.

    The next candidate is always the one with the lowest score plus mean HSIC(Z, Z′) with those
    already chosen: dependence on the speech, given the label, and on the others, both in normalised
    HSIC. The scores of `paper` and `released` are not; their places among the relevant ones, from
    0, the best, to 1, replace them.

    Args:
        shared: HSIC(Z, Z′) of two names, see `augury.ranking.shared`.

    Raises:
        InputError: fewer than k candidates are relevant and no copies of others.
    """
    scores = {result.name: result.score or 0.0 for result in ranking.relevant_results}
    if ranking.estimator != "robust":
        best_first = sorted(scores, key=lambda name: (scores[name], name))
        places = np.linspace(0, 1, len(scores)).tolist()
        scores = dict(zip(best_first, places, strict=True))

    def costs(left: Sequence[str], chosen: Sequence[str]) -> Vector:
        redundancy = table(shared, left, chosen).sum(axis=1) / max(len(chosen), 1)
        return np.array([scores[name] for name in left]) + redundancy

    return _greedy(ranking, costs, shared, k, "greedy")


def table(shared: Shared, rows: Sequence[str], columns: Sequence[str]) -> Matrix:
    """(rows, columns) what each candidate shares with each other."""
    values = [[shared(one, other) for other in columns] for one in rows]
    return np.array(values, np.float64).reshape(len(rows), len(columns))


def _greedy(
    ranking: Ranking,
    costs: Callable[[Sequence[str], Sequence[str]], Vector],
    shared: Shared,
    k: int,
    method: str,
) -> Selection:
    """k relevant candidates: always the one of least cost beside those chosen; no copies of them.

    `costs` of the candidates that are left, given those chosen.
    """
    names = [result.name for result in ranking.ranked_results]
    left = sorted(result.name for result in ranking.relevant_results)  # equal costs: by name
    chosen: list[str] = []
    copies = 0
    while left and len(chosen) < k:
        chosen.append(left.pop(int(np.argmin(costs(left, chosen)))))
        distinct = [name for name in left if shared(name, chosen[-1]) < COPY]
        left, copies = distinct, copies + len(left) - len(distinct)
    why = f": {copies} of the relevant ones are copies of others" if copies else ""
    return _group(ranking, [names.index(name) for name in chosen], k, method, why)


def _group(ranking: Ranking, order: Sequence[int], k: int, method: str, why: str = "") -> Selection:
    results = ranking.ranked_results
    if k < 1:
        raise InputError(f"k is {k}, but must be 1 or more")
    if k > len(order):
        raise InputError(
            f"{k} pseudo-labels are asked for, but only {len(order)} of the {len(results)} ranked "
            f"candidates can be chosen ({method}{why}); ask for fewer"
        )
    return Selection({results[i].name: 1.0 for i in order[:k]}, method)
