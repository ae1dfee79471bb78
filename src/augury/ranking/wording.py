"""What the report says in words and numbers: the verdict, the captions, the table's cells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
from scipy.stats import rankdata

from augury.ranking.result import Ranking, Result, Sensitivity
from augury.report.text import (
    NONE,
    Unit,
    count,
    decimal,
    is_known,
    join_names,
    percent,
    plain,
    setting_text,
)

#: What our experiment found (docs/validation.md), for whoever reads a ranking.
UNPROVEN = (
    "No estimator is shown to predict downstream error yet: a good rank is a reason to try a "
    "candidate first, not a promise."
)
#: Candidates that agree at least this well (|Spearman|) are named as redundant.
REDUNDANT = 0.8
#: Up to this many classes are drawn one by one; of more, only the LARGEST.
DRAWN, LARGEST = 50, 40
#: Up to this many candidates are compared each with each; of more, only neighbours in the order.
COMPARED = 30


# ------------------------------------------------------------------------------------- parts


def ranked(ranking: Ranking) -> list[Result]:
    """The candidates that have a score, best first."""
    return [r for r in ranking.results if r.status == "ranked" and is_known(r.score)]


def useful(ranking: Ranking) -> list[Result]:
    """The ranked candidates, without those that are known to say nothing about the label."""
    return [r for r in ranked(ranking) if r.relevant is not False]


def leaders(ranking: Ranking) -> list[Result]:
    """The candidates that the verdict names: the useful ones of the best tier that has any.

    Where there are no tiers: one, or two if at least four are in the race.
    """
    found = useful(ranking)
    if has_tiers(ranking):
        return [r for r in found if r.tier == found[0].tier]
    return found[: 2 if len(found) > 3 else 1]


def has_tiers(ranking: Ranking) -> bool:
    """Whether it is known which orders are settled."""
    return any(r.tier is not None for r in ranked(ranking))


def tested(ranking: Ranking) -> bool:
    """Whether any score has a p-value."""
    return any(is_known(r.p_value) for r in ranked(ranking))


def tiers(ranking: Ranking) -> list[tuple[str, list[Result]]]:
    """All results in groups, best first: (heading, results); a heading is "" without tiers."""
    found: dict[str, list[Result]] = {}
    among = ranked(ranking) if has_tiers(ranking) else []
    for result in ranking.results:
        if result in among:
            heading = f"Tier {result.tier}" if is_known(result.tier) else "No tier"
        else:
            heading = "Not ranked" if among else ""
        found.setdefault(heading, []).append(result)
    return list(found.items())


def interval_said(interval: tuple[float, float] | None, unit: Unit) -> str:
    """E.g. "0.24 to 0.33"; "" where there is none."""
    if interval is None or not all(map(is_known, interval)):
        return ""
    return " to ".join(map(unit.text, interval))


def ranks_said(interval: tuple[int, int] | None) -> str:
    """E.g. "1–3", "4"; "" where there is none."""
    return "–".join(map(str, dict.fromkeys(interval or ())))


def chance_better(ranking: Ranking, i: int, j: int) -> float | None:
    """How likely ranked candidate i has a lower score than j, if that is known."""
    table = ranking.better
    value = table[i][j] if i < len(table) and j < len(table[i]) else None
    return value if is_known(value) else None


def likely(p: float | None) -> str:
    """A probability from resampling, in percent; none is certain."""
    return f"{min(max(round(100 * p), 1), 99)}" if is_known(p) else NONE


def neighbours(ranking: Ranking) -> list[tuple[Result, Result, str]]:
    """Each ranked candidate, the next, and how likely the first of the two is lower."""
    found = ranked(ranking)
    return [
        (a, b, likely(chance_better(ranking, k, k + 1))) for k, (a, b) in enumerate(pairwise(found))
    ]


def chance_share(result: Result) -> float | None:
    """The part of the score that shuffled values give as well, where they give any."""
    if (
        is_known(result.score)
        and is_known(result.shuffled)
        and result.score > 0
        and result.shuffled > 0
    ):
        return result.shuffled / result.score
    return None


def any_chance(ranking: Ranking) -> bool:
    """Whether chance alone gives a positive score for any candidate."""
    return any(chance_share(r) is not None for r in ranked(ranking))


def shuffled_said(result: Result, unit: Unit) -> str:
    """The mean under shuffling, with its standard deviation where that is known."""
    if not is_known(result.shuffled):
        return NONE
    text = unit.text(result.shuffled) if result.shuffled else "0"
    if not is_known(result.shuffled_sd):
        return text
    return f"{text} ± {plain(unit.scaled(result.shuffled_sd), 2)}"


def share_said(share: float | None) -> str:
    """A share that may be undefined, as a percentage."""
    return percent(share) if is_known(share) else NONE


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
    return value if is_known(value) else None


def extreme_class(ranking: Ranking, result: Result, lowest: bool) -> tuple[str, str] | None:
    """The class with the lowest or highest value: (its name, the value in the scores' unit)."""
    unit = Unit.of(r.score for r in ranked(ranking))
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
    among = ranked(ranking)
    if not among:
        return []
    return [c for c in class_order(ranking) if all(class_value(r, c) is None for r in among)]


def correlated(ranking: Ranking) -> list[int]:
    """Places of the results that are correlated with another one."""
    table = ranking.redundancy
    return [
        i
        for i, row in enumerate(table)
        if any(is_known(value) for j, value in enumerate(row) if j != i)
    ]


def ranks(sensitivity: Sensitivity, names: Sequence[str]) -> np.ndarray:
    """(settings, names): ranks from 1 for the best under each setting, NaN without a score."""
    scores = np.array(
        [[v if is_known(v) else np.nan for v in sensitivity.scores[name]] for name in names]
    ).T.reshape(len(sensitivity.settings), len(names))
    found = np.full(scores.shape, np.nan)
    for row, has, into in zip(scores, np.isfinite(scores), found, strict=True):
        into[has] = rankdata(row[has])
    return found


def compared(ranking: Ranking) -> list[str]:
    """Ranked candidates that the sensitivity has scores of, best first."""
    scores = ranking.sensitivity.scores if ranking.sensitivity else {}
    return [r.name for r in ranked(ranking) if any(map(is_known, scores.get(r.name, ())))]


# --------------------------------------------------------------------------------- sentences


def verdict(ranking: Ranking) -> str:
    """The outcome in a sentence or two."""
    n, label, found, best = len(ranking.results), ranking.label, useful(ranking), leaders(ranking)
    idle = [r for r in ranked(ranking) if r.relevant is False]
    if not ranked(ranking):
        return f"None of the {count(n, 'candidate')} could be ranked."
    if not found:
        who = "The only candidate ranked" if len(idle) == 1 else "None of the candidates ranked"
        verb = "says nothing" if len(idle) == 1 else "says anything"
        return f"{who} {verb} about {label}: the order below means nothing."
    if len(ranked(ranking)) == 1:
        return f"Only {best[0].name} could be ranked: there is nothing to compare it with."
    pool = (
        f"{count(len(found), 'candidate')} that say something about {label}"
        if idle
        else count(len(found), "candidate")
    )
    verb = "depends" if len(best) == 1 else "depend"
    names, by = join_names([r.name for r in best]), f"({ranking.estimator} estimator)"
    text = f"Of {pool}, {names} {verb} least on the speech once {label} is known {by}."
    if len(found) == 1:
        text = f"Only {best[0].name} says something about {label} {by}."
    elif has_tiers(ranking) and len(best) == len(found):
        text = (
            f"Which of {pool} depends least on the speech once {label} is known can't be told on "
            f"this data {by}."
        )
    elif has_tiers(ranking) and len(best) > 1:
        text += " Which of these is best can't be told on this data."
    elif not has_tiers(ranking):
        text += " How sure that is was not computed."
    lowest = best[0].score
    lower = [r.name for r in idle if is_known(r.score) and is_known(lowest) and r.score < lowest]
    if lower:
        text += (
            f" {join_names(lower)} {'scores' if len(lower) == 1 else 'score'} lower still, but "
            f"{'says' if len(lower) == 1 else 'say'} nothing about {label}, as pure noise would."
        )
    return text


def facts(ranking: Ranking) -> list[tuple[str, str]]:
    """The key facts: (name, value)."""
    embedding = next((v for k, v in ranking.settings.items() if k.startswith("embedding")), None)
    found = [
        ("segments", f"{ranking.segments:,}"),
        ("recordings", f"{ranking.recordings:,}"),
        (
            "audio",
            f"{ranking.hours:.1f} h" if ranking.hours >= 1 else f"{ranking.hours * 60:.0f} min",
        ),
        ("classes", f"{len(ranking.class_names):,}"),
        ("candidates", f"{len(ranking.results):,}"),
        ("estimator", ranking.estimator),
    ]
    if embedding is not None:
        found.append(("embedding", setting_text(embedding)))
    return found


def order_said(ranking: Ranking) -> str:
    """What the dot plot shows."""
    found = ranked(ranking)
    if not found:
        return "No candidate has a score."
    shares = [s for s in map(chance_share, found) if is_known(s)]
    text = f"{count(len(found), 'candidate')}, best at the top: lower is better."
    if has_tiers(ranking) and len(found) > 1:
        text += " Within a tier this data does not settle the order."
    much = sum(share >= 0.5 for share in shares)
    if much:
        text += (
            f" For {much} of {len(found)}, values shuffled inside the classes give half of the "
            "score or more: that part is chance, and differences between such scores mean little."
        )
    idle = [r.name for r in found if r.relevant is False]
    if idle:
        text += f" No relevance: {join_names(idle)}."
    return text


def trade_said(ranking: Ranking) -> str:
    """What the scatter of score against relevance shows."""
    if len([r for r in ranked(ranking) if is_known(r.relevance)]) < 2:
        return "With fewer than two candidates there is no trade-off to draw."
    return (
        "Score against relevance. Towards the bottom right a candidate says much about "
        f"{ranking.label} and little else about the speech; "
        "at the bottom left it says little about either."
    )


def ingredients_said(ranking: Ranking) -> str:
    """What the figures of relevance and total dependence show."""
    found = [r for r in ranked(ranking) if is_known(r.relevance)]
    if not found:
        return "Relevance was not computed."
    if len(found) == 1:
        one = found[0]
        return f"The relevance of {one.name} is {decimal(one.relevance, 3)}."
    top = max(found, key=lambda r: r.relevance or 0.0)
    text = f"{top.name} says most about {ranking.label} (relevance {decimal(top.relevance, 3)})."
    best = leaders(ranking)
    if has_tiers(ranking) and top in best:
        text += " Its score is in the best tier, too."
    elif best and best[0].name == top.name:
        text += " It also has the lowest score of those that say anything about it."
    return text + hinted_said(ranking)


def hinted_said(ranking: Ranking) -> str:
    """The order by what docs/validation.md found to go best with errors, gates shut as they are."""
    shares = {
        r.name: r.relevance / max(r.dependence, r.chance_sd)
        for r in ranked(ranking)
        if r.relevant and r.relevance is not None and r.dependence is not None and r.chance_sd
    }
    if len(shares) < 2:
        return ""
    order = sorted(shares, key=lambda name: -shares[name])
    return (
        " By relevance as a share of total dependence, which went best with downstream errors in "
        "our experiment, though no task there passed as worth judging by, the order is "
        f"{join_names(order)}."
    )


def resampled_said(ranking: Ranking) -> str:
    """E.g. "1,000 resamples of 480 segments"."""
    times, what = ranking.settings.get("bootstrap", 0), ranking.resampled
    if what in ("segment", "recording"):
        return f"{times:,} resamples of {count(ranking.units, what)}"
    return f"{times:,} resamples of {count(ranking.units, 'group')} ({what})"


def certainty_said(ranking: Ranking) -> str:
    """How the intervals were made, and what the errors of computing are beside them."""
    found = ranked(ranking)
    if not found:
        return "No candidate has a score."
    if not has_tiers(ranking):
        return (
            "How sure the order is was not computed (bootstrap = 0): differences between scores "
            "may be chance."
        )
    whole = "" if ranking.resampled == "segment" else ", each whole"
    inside = " inside their classes" if ranking.resampled == "segment" else ""
    text = (
        f"Intervals hold 95 % of {resampled_said(ranking)}{inside}{whole} "
        f"(seed {ranking.settings.get('seed', 0)}). A new tier begins where a candidate is worse "
        "than any of the tier above in 97.5 % of them; candidates of one tier can change "
        "places on other data of this kind."
    )
    if whole:
        text += " P-values, unlike intervals, take each segment for evidence of its own."
    errors = [r.error for r in found if is_known(r.error)]
    if errors and max(errors):
        text += f" Computing adds an error of at most {plain(max(errors), 1)} of a score."
    return text


def better_said(ranking: Ranking) -> str:
    """What the matrix, or the table of neighbours, shows."""
    n = len(ranked(ranking))
    if n < 2:
        return "With fewer than two ranked candidates there is no order to be sure of."
    if n > COMPARED:
        return f"Of more than {COMPARED} candidates only neighbours in the order are compared."
    return (
        "How likely, in percent, the candidate of the row has a lower (better) score than the one "
        "of the column. 50 is a toss-up; 99 stands for more, 1 for less."
    )


def classes_said(ranking: Ranking) -> str:
    """What the heat map shows, and what it leaves out."""
    if not ranked(ranking):
        return "No class is scored."
    order, drawn = class_order(ranking), drawn_classes(ranking)
    text = "Classes by their share in the score, largest first; candidates in order of rank."
    if len(drawn) < len(order):
        share = sum(ranking.class_shares[c] for c in drawn)
        text += (
            f" Of {len(order):,} classes the {len(drawn)} with the largest shares are drawn "
            f"({percent(share)} of the score's weight); the table below sums up all of them."
        )
    elif any(class_value(r, c) is None for r in ranked(ranking) for c in drawn):
        text += " Hatched: not scored."
    return text


def redundancy_said(ranking: Ranking) -> str:
    """The pairs that say nearly the same."""
    if len(correlated(ranking)) < 2:
        return "There are no two candidates whose values could be correlated."
    names, table = [r.name for r in ranking.results], ranking.redundancy
    pairs = [
        (abs(value), f"{names[i]} and {names[j]} ({decimal(value, 2)})")
        for i, j in combinations(range(min(len(table), len(names))), 2)
        if is_known(value := table[i][j]) and abs(value) >= REDUNDANT
    ]
    pairs.sort(key=lambda pair: -pair[0])
    if not pairs:
        return f"No pair reaches |ρ| = {REDUNDANT}."
    many = "This pair says" if len(pairs) == 1 else f"These {len(pairs)} pairs say"
    shown = "; ".join(text for _, text in pairs[:8]) + ("; …" if len(pairs) > 8 else "")
    return f"{many} nearly the same (|ρ| ≥ {REDUNDANT}): {shown}."


def sensitivity_said(ranking: Ranking) -> str:
    """How far the order holds under other settings."""
    sensitivity, names = ranking.sensitivity, compared(ranking)
    among = {r.name for r in useful(ranking)}
    names = [name for name in names if name in among] or names
    if sensitivity is None or len(sensitivity.settings) < 2:
        return "How the order depends on the settings was not computed."
    if len(names) < 2:
        return "With fewer than two relevant candidates there is no order to compare."
    table = ranks(sensitivity, names)
    reference, others = table[0], table[1:]
    if np.isnan(reference).all():
        return "No candidate has a score on the subset."
    best = names[int(np.nanargmin(reference))]
    same = sum(not np.isnan(row).all() and names[int(np.nanargmin(row))] == best for row in others)
    agreement = [
        (_spearman(reference, row), name)
        for row, name in zip(others, sensitivity.settings[1:], strict=True)
    ]
    agreement = [(rho, name) for rho, name in agreement if is_known(rho)]
    text = (
        f"{same} of {count(len(others), 'other setting')} "
        f"{'keeps' if same == 1 else 'keep'} {best} first."
    )
    if agreement:
        rho, name = min(agreement)
        text += (
            f" The lowest Spearman correlation with the order of “{sensitivity.settings[0]}” "
            f"is {decimal(rho, 2)} ({name})."
            if rho < 0.9999
            else " The whole order stays the same."
        )
    return text + f" Computed on a fixed subset of {count(sensitivity.segments, 'segment')}."


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    both = np.isfinite(a) & np.isfinite(b)
    one, other = rankdata(a[both]), rankdata(b[both])
    if both.sum() < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def uses_opensmile(ranking: Ranking) -> bool:
    """Whether any candidate comes from openSMILE, whose licence the reader must know of."""
    return any(r.source.startswith("opensmile:") for r in ranking.results)
