# SciPy has no types:
# pyright: reportMissingTypeStubs=false
"""What the report shows of a ranking: groups of results, orders of classes, cells of tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from augury.ranking.ranks import average_ranks
from augury.ranking.result import Ranking, Result, Sensitivity
from augury.report.text import NONE, Unit, has_value, percent, plain

#: Kinds as a reader calls them: one, and several.
NOUNS = {
    "scalar": ("number", "numbers"),
    "vector": ("vector", "vectors"),
    "category": ("category", "categories"),
}
#: Up to this many classes are all drawn; of more, only the LARGEST.
DRAWN, LARGEST = 50, 40


def leaders(ranking: Ranking) -> list[Result]:
    """The candidates that verdicts name: of each kind the relevant ones of the best tier.

    Without tiers: the first, or the first two of at least four.
    """
    leading: list[Result] = []
    for kind in ranking.kinds:
        relevant = [r for r in ranking.relevant_results if r.kind == kind]
        tiered = any(r.tier is not None for r in relevant)
        few = relevant[: 2 if len(relevant) > 3 else 1]
        leading += [r for r in relevant if r.tier == relevant[0].tier] if tiered else few
    return leading


def parts(ranking: Ranking) -> list[Ranking]:
    """The rankings of each kind alone; the ranking itself if no two kinds have scores."""
    kinds = ranking.kinds
    return [ranking.of_kind(kind) for kind in kinds] if len(kinds) > 1 else [ranking]


def kind_title(ranking: Ranking) -> str:
    """The kind of a part's candidates, as a heading: "Numbers"."""
    return NOUNS[ranking.kinds[0]][1].capitalize()


def has_tiers(ranking: Ranking) -> bool:
    """Whether it is known which orders are settled."""
    return any(r.tier is not None for r in ranking.ranked_results)


def has_p_values(ranking: Ranking) -> bool:
    """Whether any score has a p-value."""
    return any(has_value(r.p_value) for r in ranking.ranked_results)


def tiers(ranking: Ranking) -> list[tuple[str, list[Result]]]:
    """All results in groups, best first: (heading, results); the first may have no heading."""
    groups: dict[str, list[Result]] = {}
    ranked, tiered = ranking.ranked_results, has_tiers(ranking)
    for result in ranking.results:
        if result not in ranked:
            heading = "Not ranked" if ranked else ""
        elif result.relevant is False:
            heading = f"Not relevant to {ranking.label}: no rank"
        elif tiered:
            heading = f"Tier {result.tier}" if has_value(result.tier) else "No tier"
        else:
            heading = ""
        groups.setdefault(heading, []).append(result)
    return list(groups.items())


def interval_text(interval: tuple[float, float] | None, unit: Unit) -> str:
    """E.g. "0.24 to 0.33"; "" where there is none."""
    if interval is None or not all(map(has_value, interval)):
        return ""
    return " to ".join(map(unit.text, interval))


def ranks_text(interval: tuple[int, int] | None) -> str:
    """E.g. "1–3", "4"; "" where there is none."""
    return "–".join(map(str, dict.fromkeys(interval or ())))


def chance_better(ranking: Ranking, a: Result, b: Result) -> float | None:
    """The probability that candidate a has a lower score than b, if that is known."""
    table = ranking.better
    names = [r.name for r in ranking.ranked_results]
    i, j = names.index(a.name), names.index(b.name)
    value = table[i][j] if i < len(table) and j < len(table[i]) else None
    return value if has_value(value) else None


def probability_text(p: float | None) -> str:
    """A probability from resampling in percent, between 1 and 99: resamples prove nothing."""
    return f"{min(max(round(100 * p), 1), 99)}" if has_value(p) else NONE


def neighbours(ranking: Ranking) -> list[tuple[Result, Result, str]]:
    """Each relevant candidate, the next, and the probability that the first has a lower score."""
    return [
        (a, b, probability_text(chance_better(ranking, a, b)))
        for a, b in pairwise(ranking.relevant_results)
    ]


def chance_share(result: Result) -> float | None:
    """The share of the score that shuffled values have as well; None where they have none."""
    if (
        has_value(result.score)
        and has_value(result.shuffled)
        and result.score > 0
        and result.shuffled > 0
    ):
        return result.shuffled / result.score
    return None


def any_chance(ranking: Ranking) -> bool:
    """Whether the shuffled values of any candidate have a positive score."""
    return any(chance_share(r) is not None for r in ranking.ranked_results)


def shuffled_text(result: Result, unit: Unit) -> str:
    """The mean score of shuffled values, with its standard deviation where that is known."""
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
    scored = [
        (value, c)
        for c in range(len(ranking.class_names))
        if (value := class_value(result, c)) is not None
    ]
    if not scored:
        return None
    value, c = min(scored) if lowest else max(scored)
    return ranking.class_names[c], unit.text(value)


def quartiles(ranking: Ranking, result: Result) -> tuple[int, list[float | None]]:
    """How many classes are scored, and the minimum, quartiles and maximum of their values."""
    values = [class_value(result, c) for c in range(len(ranking.class_names))]
    known = [v for v in values if v is not None]
    if not known:
        return 0, [None] * 5
    return len(known), np.quantile(known, (0, 0.25, 0.5, 0.75, 1)).tolist()


def unscored_classes(ranking: Ranking) -> list[int]:
    """Classes in which no candidate has a value, largest first."""
    ranked = ranking.ranked_results
    if not ranked:
        return []
    return [c for c in class_order(ranking) if all(class_value(r, c) is None for r in ranked)]


def correlated_places(ranking: Ranking) -> list[int]:
    """Indices of the results whose correlation with another one is known."""
    table = ranking.redundancy
    return [
        i
        for i, row in enumerate(table)
        if any(has_value(value) for j, value in enumerate(row) if j != i)
    ]


def ranks(sensitivity: Sensitivity, names: Sequence[str]) -> np.ndarray:
    """(settings, names): ranks, 1 the best, under each setting; NaN without a score."""
    scores = np.array(
        [[v if has_value(v) else np.nan for v in sensitivity.scores[name]] for name in names]
    ).T.reshape(len(sensitivity.settings), len(names))
    table = np.full(scores.shape, np.nan)
    for ranks_row, row, scored in zip(table, scores, np.isfinite(scores), strict=True):
        ranks_row[scored] = average_ranks(row[scored])
    return table


def sensitivity_names(ranking: Ranking) -> list[str]:
    """Relevant candidates with a score under any other setting, best first."""
    scores = ranking.sensitivity.scores if ranking.sensitivity else {}
    return [r.name for r in ranking.relevant_results if any(map(has_value, scores.get(r.name, ())))]
