# SciPy has no types:
# pyright: reportMissingTypeStubs=false
"""What the report shows of a ranking: groups of results, orders of classes, cells of tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.stats import rankdata  # pyright: ignore[reportUnknownVariableType]

from augury.ranking.result import Ranking, Result, Sensitivity
from augury.report.text import NONE, Unit, has_value, percent, plain

#: Up to this many classes are drawn one by one; of more, only the LARGEST.
DRAWN, LARGEST = 50, 40


def leaders(ranking: Ranking) -> list[Result]:
    """The candidates that the verdict names: the useful ones of the best tier that has any.

    Where there are no tiers: one, or two if at least four are in the race.
    """
    candidates = ranking.relevant_results
    if has_tiers(ranking):
        return [r for r in candidates if r.tier == candidates[0].tier]
    return candidates[: 2 if len(candidates) > 3 else 1]


def has_tiers(ranking: Ranking) -> bool:
    """Whether it is known which orders are settled."""
    return any(r.tier is not None for r in ranking.ranked_results)


def has_p_values(ranking: Ranking) -> bool:
    """Whether any score has a p-value."""
    return any(has_value(r.p_value) for r in ranking.ranked_results)


def tiers(ranking: Ranking) -> list[tuple[str, list[Result]]]:
    """All results in groups, best first: (heading, results); a heading is "" without tiers."""
    found: dict[str, list[Result]] = {}
    among = ranking.ranked_results if has_tiers(ranking) else []
    for result in ranking.results:
        if result in among:
            heading = f"Tier {result.tier}" if has_value(result.tier) else "No tier"
        else:
            heading = "Not ranked" if among else ""
        found.setdefault(heading, []).append(result)
    return list(found.items())


def interval_text(interval: tuple[float, float] | None, unit: Unit) -> str:
    """E.g. "0.24 to 0.33"; "" where there is none."""
    if interval is None or not all(map(has_value, interval)):
        return ""
    return " to ".join(map(unit.text, interval))


def ranks_text(interval: tuple[int, int] | None) -> str:
    """E.g. "1–3", "4"; "" where there is none."""
    return "–".join(map(str, dict.fromkeys(interval or ())))


def chance_better(ranking: Ranking, i: int, j: int) -> float | None:
    """How likely ranked candidate i has a lower score than j, if that is known."""
    table = ranking.better
    value = table[i][j] if i < len(table) and j < len(table[i]) else None
    return value if has_value(value) else None


def probability_text(p: float | None) -> str:
    """A probability from resampling, in percent; none is certain."""
    return f"{min(max(round(100 * p), 1), 99)}" if has_value(p) else NONE


def neighbours(ranking: Ranking) -> list[tuple[Result, Result, str]]:
    """Each ranked candidate, the next, and how likely the first of the two is lower."""
    found = ranking.ranked_results
    return [
        (a, b, probability_text(chance_better(ranking, k, k + 1)))
        for k, (a, b) in enumerate(pairwise(found))
    ]


def chance_share(result: Result) -> float | None:
    """The part of the score that shuffled values give as well, where they give any."""
    if (
        has_value(result.score)
        and has_value(result.shuffled)
        and result.score > 0
        and result.shuffled > 0
    ):
        return result.shuffled / result.score
    return None


def any_chance(ranking: Ranking) -> bool:
    """Whether chance alone gives a positive score for any candidate."""
    return any(chance_share(r) is not None for r in ranking.ranked_results)


def shuffled_text(result: Result, unit: Unit) -> str:
    """The mean under shuffling, with its standard deviation where that is known."""
    if not has_value(result.shuffled):
        return NONE
    text = unit.text(result.shuffled) if result.shuffled else "0"
    if not has_value(result.shuffled_sd):
        return text
    return f"{text} ± {plain(unit.convert(result.shuffled_sd), 2)}"


def share_text(share: float | None) -> str:
    """A share that may be undefined, as a percentage."""
    return percent(share) if has_value(share) else NONE


def class_order(ranking: Ranking) -> list[int]:
    """Classes by their share in the score, largest first, then by size and name."""
    return sorted(
        range(len(ranking.class_names)),
        key=lambda c: (
            -ranking.class_shares[c],
            -ranking.class_counts[c],
            ranking.class_names[c],
        ),
    )


def drawn_classes(ranking: Ranking) -> list[int]:
    """The classes of the heat map: all, or the largest of very many."""
    order = class_order(ranking)
    return order if len(order) <= DRAWN else order[:LARGEST]


def class_value(result: Result, c: int) -> float | None:
    """The value of class c, if the candidate has one."""
    value = result.classes[c] if c < len(result.classes) else None
    return value if has_value(value) else None


def extreme_class(ranking: Ranking, result: Result, lowest: bool) -> tuple[str, str] | None:
    """The class with the lowest or highest value: (its name, the value in the scores' unit)."""
    unit = Unit.of(r.score for r in ranking.ranked_results)
    found = [
        (value, c)
        for c in range(len(ranking.class_names))
        if (value := class_value(result, c)) is not None
    ]
    if not found:
        return None
    value, c = min(found) if lowest else max(found)
    return ranking.class_names[c], unit.text(value)


def quartiles(ranking: Ranking, result: Result) -> tuple[int, list[float | None]]:
    """How many classes are scored, and the minimum, quartiles and maximum of their values."""
    values = [class_value(result, c) for c in range(len(ranking.class_names))]
    found = [v for v in values if v is not None]
    if not found:
        return 0, [None] * 5
    return len(found), np.quantile(found, (0, 0.25, 0.5, 0.75, 1)).tolist()


def unscored_classes(ranking: Ranking) -> list[int]:
    """Classes in which no candidate has a value, largest first."""
    among = ranking.ranked_results
    if not among:
        return []
    return [c for c in class_order(ranking) if all(class_value(r, c) is None for r in among)]


def correlated_places(ranking: Ranking) -> list[int]:
    """Places of the results that are correlated with another one."""
    table = ranking.redundancy
    return [
        i
        for i, row in enumerate(table)
        if any(has_value(value) for j, value in enumerate(row) if j != i)
    ]


def ranks(sensitivity: Sensitivity, names: Sequence[str]) -> np.ndarray:
    """(settings, names): ranks from 1 for the best under each setting, NaN without a score."""
    scores = np.array(
        [[v if has_value(v) else np.nan for v in sensitivity.scores[name]] for name in names]
    ).T.reshape(len(sensitivity.settings), len(names))
    found = np.full(scores.shape, np.nan)
    for row, has, into in zip(scores, np.isfinite(scores), found, strict=True):
        into[has] = rankdata(row[has])
    return found


def sensitivity_names(ranking: Ranking) -> list[str]:
    """Ranked candidates that the sensitivity has scores of, best first."""
    scores = ranking.sensitivity.scores if ranking.sensitivity else {}
    return [r.name for r in ranking.ranked_results if any(map(has_value, scores.get(r.name, ())))]
