# SciPy has no types:
# pyright: reportMissingTypeStubs=false
"""The sentences of a ranking's report: the verdict and the captions of its figures."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from augury.hsic.information import entropy
from augury.ranking.ranks import average_ranks
from augury.ranking.result import Ranking
from augury.ranking.strength import faint_below
from augury.ranking.summary import (
    NOUNS,
    chance_share,
    class_order,
    class_value,
    correlated_places,
    drawn_classes,
    has_tiers,
    leaders,
    parts,
    ranks,
    sensitivity_names,
)
from augury.report.text import count, decimal, has_value, join_names, percent, plain

#: The outcome of our validation (docs/validation.md), for whoever reads a ranking.
UNPROVEN = (
    "No estimator is shown to predict downstream error yet: a good rank is a reason to try a "
    "candidate first, not a promise."
)
#: Pairs of candidates with at least this |Spearman| are listed as redundant.
REDUNDANT = 0.8
#: Up to this many candidates are compared in all pairs; of more, only neighbours in the order.
COMPARED = 30


#: Why candidates of several kinds stand in orders of their own.
NO_COMMON_ORDER = (
    "Numbers, vectors and categories have no common order: a score depends on the kind, not only "
    "on what is said of the speech. The same information scores high in two categories, lower as a "
    "number, and lowest in many categories or dimensions. What compares is their information on "
    "the label, in nats."
)


def verdict(ranking: Ranking) -> str:
    """The outcome in a sentence or two for each kind of candidate."""
    kinds = parts(ranking)
    if len(kinds) == 1:
        return _verdict(ranking, ("candidate", "candidates"))
    return " ".join(_verdict(part, NOUNS[part.kinds[0]]) for part in kinds)


def _verdict(ranking: Ranking, nouns: tuple[str, str]) -> str:
    """The outcome of candidates of one kind."""
    label, relevant, best = ranking.label, ranking.relevant_results, leaders(ranking)
    irrelevant = [r for r in ranking.ranked_results if r.relevant is False]
    if not ranking.ranked_results:
        return f"None of the {count(len(ranking.results), 'candidate')} could be ranked."
    if not relevant:
        subject = (
            f"The only ranked {nouns[0]} is not"
            if len(irrelevant) == 1
            else f"None of the ranked {nouns[1]} is"
        )
        return f"{subject} relevant to {label}: there is no order."
    if len(ranking.ranked_results) == 1:
        return f"{best[0].name} is the only {nouns[0]}: there is nothing to compare it with."
    pool = count(len(relevant), *nouns) + (f" relevant to {label}" if irrelevant else "")
    verb = "depends" if len(best) == 1 else "depend"
    names, by = join_names([r.name for r in best]), f"({ranking.estimator} estimator)"
    text = f"Of {pool}, {names} {verb} least on the speech once {label} is known {by}."
    if len(relevant) == 1:
        text = f"Only {best[0].name} is relevant to {label} {by}."
    elif has_tiers(ranking) and len(best) == len(relevant):
        text = (
            f"This data does not settle which of {pool} depends least on the speech once {label} "
            f"is known {by}."
        )
    elif has_tiers(ranking) and len(best) > 1:
        text += " This data does not settle which of them is best."
    elif not has_tiers(ranking):
        text += (
            " There is too little data to say how certain this order is."
            if ranking.settings.bootstrap
            else " The certainty of this order was not computed."
        )
    return text


def facts(ranking: Ranking) -> list[tuple[str, str]]:
    """The key facts: (name, value)."""
    return [
        ("segments", f"{ranking.segments:,}"),
        ("recordings", f"{ranking.recordings:,}"),
        (
            "audio",
            f"{ranking.hours:.1f} h" if ranking.hours >= 1 else f"{ranking.hours * 60:.0f} min",
        ),
        ("classes", f"{len(ranking.class_names):,}"),
        ("candidates", f"{len(ranking.results):,}"),
        ("estimator", ranking.estimator),
        ("embedding", ranking.settings.embedding),
    ]


def order_caption(ranking: Ranking) -> str:
    """What the dot plot shows."""
    ranked = ranking.ranked_results
    if not ranked:
        return "No candidate has a score."
    shares = [s for s in map(chance_share, ranked) if has_value(s)]
    text = f"{count(len(ranked), 'candidate')}, best at the top: lower is better."
    if any(r.relevant is False for r in ranked):
        text += " Those without relevance stand last, as even noise has a low score."
    if has_tiers(ranking) and len(ranked) > 1:
        text += " Within a tier this data does not settle the order."
    mostly_chance = sum(share >= 0.5 for share in shares)
    if mostly_chance:
        text += (
            f" For {mostly_chance} of {len(ranked)}, values shuffled inside the classes give half "
            "of the score or more: that part is chance, and differences between such scores mean "
            "little."
        )
    irrelevant = [r.name for r in ranked if r.relevant is False]
    if irrelevant:
        text += f" No relevance: {join_names(irrelevant)}."
    return text


def trade_caption(ranking: Ranking) -> str:
    """What the scatter of score against relevance shows."""
    if len([r for r in ranking.ranked_results if has_value(r.relevance)]) < 2:
        return "With fewer than two candidates there is no trade-off to draw."
    return (
        "Score against relevance. A candidate at the bottom right is relevant to "
        f"{ranking.label} and depends on little else in the speech; "
        "one at the bottom left depends on neither."
    )


def ingredients_caption(ranking: Ranking) -> str:
    """What the figures of relevance and dependence show."""
    measured = [r for r in ranking.ranked_results if has_value(r.relevance)]
    if not measured:
        return "Relevance was not computed."
    if len(measured) == 1:
        return f"The relevance of {measured[0].name} is {decimal(measured[0].relevance, 3)}."
    top = max(measured, key=lambda r: r.relevance or 0.0)
    text = (
        f"{top.name} is the most relevant to {ranking.label} "
        f"(relevance {decimal(top.relevance, 3)})."
    )
    best, kinds = leaders(ranking), parts(ranking)
    if has_tiers(ranking) and top in best:
        text += " Its score is in the best tier, too."
    elif len(kinds) == 1 and best and best[0].name == top.name:
        text += " It also has the lowest score of the relevant candidates."
    return text + "".join(map(share_order_sentence, kinds))


def faint_limit(ranking: Ranking) -> float:
    """How far above noise's a relevance is faint."""
    return faint_below(np.array(ranking.class_counts or (1,)))


def label_nats(ranking: Ranking) -> float:
    """The label's entropy in nats: the most that a pseudo-label can tell of it."""
    return entropy(ranking.class_counts)


def share_order_sentence(ranking: Ranking) -> str:
    """The order by relevance / dependence, which correlated best with errors in our validation.

    No task there passed the conditions for judging estimators (docs/validation.md), and the
    sentence says so.
    """
    shares = {
        r.name: share
        for r in ranking.ranked_results
        if r.relevant and has_value(share := r.relevance_share)
    }
    if len(shares) < 2:
        return ""
    order = sorted(shares, key=lambda name: -shares[name])
    return (
        " By relevance as a share of dependence, the order is "
        f"{join_names(order)}. This share correlated best with downstream errors in our "
        "experiment, but no task there met the conditions for judging estimators."
    )


def resampling_text(ranking: Ranking) -> str:
    """E.g. "1,000 resamples of 480 segments"."""
    resamples, unit = ranking.settings.bootstrap, ranking.resampled
    if unit in ("segment", "recording"):
        return f"{resamples:,} resamples of {count(ranking.units, unit)}"
    return f"{resamples:,} resamples of {count(ranking.units, 'group')} ({unit})"


def certainty_text(ranking: Ranking) -> str:
    """How the intervals were computed, and how large the error of approximation is."""
    ranked = ranking.ranked_results
    if not ranked:
        return "No candidate has a score."
    if not ranking.relevant_results:
        return f"No candidate is relevant to {ranking.label}: there is no order."
    if not has_tiers(ranking) and ranking.settings.bootstrap:
        return (
            "There is too little data to say how certain the order is, see the warnings: "
            "differences between scores may be chance."
        )
    if not has_tiers(ranking):
        return (
            "The certainty of the order was not computed (bootstrap = 0): differences between "
            "scores may be chance."
        )
    whole = "" if ranking.resampled == "segment" else ", each whole"
    text = (
        f"Intervals hold 95 % of {resampling_text(ranking)}{whole} "
        f"(seed {ranking.settings.seed}). A new tier begins where a candidate is worse "
        "than some candidate of the tier above by more than all differences together vary in 95 % "
        "of the resamples: equal candidates are rarely divided, however many there are. Candidates "
        "of one tier can change places on other data of this kind."
    )
    if whole and ranking.settings.permutations:
        text += " P-values of scores, by shuffles, treat segments as independent."
    errors = [r.error for r in ranked if has_value(r.error)]
    if errors and max(errors):
        text += f" Approximation changes a score by at most {plain(max(errors), 1)} of its value."
    return text


def better_caption(ranking: Ranking) -> str:
    """What the matrix, or the table of neighbours, shows."""
    n = len(ranking.relevant_results)
    if n < 2:
        return "With fewer than two relevant candidates there is no order."
    if n > COMPARED:
        return f"Of more than {COMPARED} candidates only neighbours in the order are compared."
    return (
        "Share of resamples, in percent, in which the row's candidate has a lower (better) score "
        "than the column's. 50: no difference; 99 and 1 include higher and lower values."
    )


def classes_caption(ranking: Ranking) -> str:
    """What the heat map shows, and what it leaves out."""
    if not ranking.ranked_results:
        return "No class is scored."
    order, drawn = class_order(ranking), drawn_classes(ranking)
    text = "Classes by their share in the score, largest first; candidates in order of rank."
    if len(drawn) < len(order):
        share = sum(ranking.class_shares[c] for c in drawn)
        text += (
            f" Of {len(order):,} classes the {len(drawn)} with the largest shares are drawn "
            f"({percent(share)} of the score's weight); the table below summarises all of them."
        )
    elif any(class_value(r, c) is None for r in ranking.ranked_results for c in drawn):
        text += " Hatched: not scored."
    return text


def redundancy_caption(ranking: Ranking) -> str:
    """The pairs of strongly correlated candidates."""
    if len(correlated_places(ranking)) < 2:
        return "There are no two candidates whose values could be correlated."
    names, table = [r.name for r in ranking.results], ranking.redundancy
    pairs = [
        (abs(value), f"{names[i]} and {names[j]} ({decimal(value, 2)})")
        for i, j in combinations(range(min(len(table), len(names))), 2)
        if has_value(value := table[i][j]) and abs(value) >= REDUNDANT
    ]
    pairs.sort(key=lambda pair: -pair[0])
    if not pairs:
        return f"No pair reaches |ρ| = {REDUNDANT}."
    subject = "This pair is" if len(pairs) == 1 else f"These {len(pairs)} pairs are"
    shown = "; ".join(text for _, text in pairs[:8]) + ("; …" if len(pairs) > 8 else "")
    return f"{subject} redundant (|ρ| ≥ {REDUNDANT}): {shown}."


def sensitivity_caption(ranking: Ranking) -> str:
    """How far the order holds under other settings."""
    sensitivity, names = ranking.sensitivity, sensitivity_names(ranking)
    if sensitivity is None or len(sensitivity.settings) < 2:
        return "The order under other settings was not computed."
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
    agreement = [(rho, name) for rho, name in agreement if has_value(rho)]
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
            else " The whole order is the same under all of them."
        )
    return text + f" Computed on a fixed subset of {count(sensitivity.segments, 'segment')}."


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    both = np.isfinite(a) & np.isfinite(b)
    ranks_a, ranks_b = average_ranks(a[both]), average_ranks(b[both])
    if both.sum() < 2 or np.ptp(ranks_a) == 0 or np.ptp(ranks_b) == 0:
        return None
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def uses_opensmile(ranking: Ranking) -> bool:
    """Whether any candidate comes from openSMILE, whose licence the report must mention."""
    return any(r.source.startswith("opensmile:") for r in ranking.results)
