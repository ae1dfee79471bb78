"""Caveats: what makes an order less believable than it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from augury import audio
from augury.hsic.information import entropy
from augury.pseudolabels.candidate import KINDS
from augury.ranking.evidence import FEWEST_SEGMENTS, shortage
from augury.ranking.ranks import average_ranks
from augury.ranking.result import Result
from augury.report.text import count

#: Fewest candidates whose order is compared with that of their spread.
FEWEST_RANKED = {"robust": 5, "paper": 3, "released": 3}
#: A robust order that agrees this well (|Spearman|) with that of the spread may be due to it.
SPREAD_AGREEMENT = 0.9
#: A score is mostly bias if shuffled values have more than this share of it.
CHANCE_SHARE = 0.5
#: A score with a larger p-value is not distinguished from chance.
WEAK_P = 0.05
#: Without p-values: a score below this many standard deviations of shuffled scores is weak.
WEAK_SDS = 3
#: If noise has a relevance above this many standard deviations, lengths depend on the label.
LENGTH_SDS = 3
#: Frames without a voice are mentioned from this share on.
UNVOICED = 0.1
#: A recording with this share of clipped samples is mentioned.
CLIPPED = 0.001
#: A candidate that tells this share of the label's information nearly is the label.
DECIDES = 0.9
#: Number of names listed of the best tier.
LISTED = 8


def find_caveats(
    results: Sequence[Result],
    counts: NDArray[np.integer],
    rates: Sequence[int],
    *,
    estimator: str,
    label: str,
    resampled: tuple[str, int] | None = None,
    to_declare: Sequence[str] = (),
    unvoiced: Mapping[str, float] | None = None,
    copies: Sequence[str] = (),
    faults: Mapping[str, tuple[int, str]] | None = None,
    clipped: Sequence[float] = (),
) -> tuple[str, ...]:
    """What a reader should know before trusting the order, a sentence or two per caveat.

    Args:
        results: best first.
        counts: segments of each class.
        rates: sample rate of each recording, Hz.
        resampled: what the intervals resample whole, and the number of these groups; None: no
            groups, or no intervals.
        unvoiced: share of each candidate's frames that have the value for no voice.
        copies: names of the recordings of segments that were left out as copies.
        faults: candidate → number of recordings without usable values in its files, first reason.
        clipped: share of clipped samples of each recording.
        to_declare: names of columns whose kind was guessed, see `columns_to_declare`.
    """
    ranked = [result for result in results if result.score is not None]
    kinds = [[result for result in ranked if result.kind == kind] for kind in KINDS]
    caveats = (
        kind_caveat(to_declare),
        copies_caveat(copies),
        clipping_caveat(clipped),
        unvoiced_caveat(unvoiced or {}),
        *(spread_caveat(alike, estimator) for alike in kinds),
        bias_caveat(ranked, estimator),
        units_caveat(estimator),
        weakness_caveat(ranked),
        relevance_caveat(ranked, label),
        tautology_caveat(ranked, counts, label),
        length_caveat(ranked, label),
        *map(tie_caveat, kinds),
        shortage_caveat(counts, estimator, resampled),
        resampling_caveat(ranked, int(counts.sum()), len(rates), resampled),
        class_size_caveat(counts, estimator),
        sample_rate_caveat(rates),
        *(fault_caveat(name, *fault) for name, fault in (faults or {}).items()),
        missing_caveat(ranked),
    )
    return tuple(filter(None, caveats))


def kind_caveat(to_declare: Sequence[str]) -> str:
    """Columns of few different whole numbers were taken for numbers."""
    if not to_declare:
        return ""
    names = [name.partition(":")[2] for name in to_declare]
    numbers, codes = (
        ", ".join(f"{prefix}:{name}" for name in names) for prefix in ("number", "category")
    )
    return (
        f"{', '.join(to_declare)}: whole numbers that come again and again were taken for numbers. "
        f"If they are names (ids of clusters, codes), the score means nothing: write {codes}. If "
        f"they are numbers, write {numbers}, and this warning goes."
    )


def copies_caveat(copies: Sequence[str]) -> str:
    """Recordings were there twice, under other names."""
    if not copies:
        return ""
    names = list(dict.fromkeys(copies))
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f"{len(copies)} segments lie in recordings with the bytes of others: "
        f"{', '.join(names[:LISTED])}{more}. They are no new evidence, and were counted once."
    )


def clipping_caveat(clipped: Sequence[float]) -> str:
    """Recordings were too loud for the recorder."""
    loud = [share for share in clipped if share >= CLIPPED]
    if not loud:
        return ""
    return (
        f"{len(loud):,} of {len(clipped):,} recordings are clipped: {CLIPPED:.1%} to "
        f"{max(loud):.1%} of their samples lie in rows at the highest or lowest value, "
        f"{sum(clipped) / len(clipped):.2%} of the samples of all. Clipping adds harmonics, and "
        "levels the loudness of what is clipped."
    )


def unvoiced_caveat(unvoiced: Mapping[str, float]) -> str:
    """Means mix values with the 0 or -100 for no voice."""
    mixed = {name: share for name, share in unvoiced.items() if share >= UNVOICED}
    if not mixed:
        return ""
    names = ", ".join(f"{name} ({share:.0%})" for name, share in mixed.items())
    return (
        f"{names}: so many frames have no voice, and the 0 or −100 there counts in the "
        "means: they may tell how much of a segment is voiced rather than how. “unvoiced = "
        "voiced” among the other settings shows whether the order holds with --unvoiced voiced."
    )


def spread_caveat(ranked: Sequence[Result], estimator: str) -> str:
    """The order may be that of the candidates' spread, which does not depend on the speech."""
    if len(ranked) < FEWEST_RANKED[estimator]:
        return ""
    scores, shuffled, spread = (
        np.array([getattr(result, name) for result in ranked], np.float64)
        for name in ("score", "shuffled", "spread")
    )
    by_speech = _order_agreement(scores, scores - shuffled)
    by_spread = abs(_order_agreement(scores, spread))
    # A robust score is 0 under chance: subtracting it would compare the score with itself.
    if by_spread < (SPREAD_AGREEMENT if estimator == "robust" else by_speech):
        return ""
    return (
        "The order is no better explained by the speech than by each pseudo-label's own "
        f"spread: Spearman {by_spread:.2f} with the spread within classes, {by_speech:.2f} "
        "with the score minus the score of shuffled values."
    )


def bias_caveat(ranked: Sequence[Result], estimator: str) -> str:
    """Shuffled values have a large share of some scores, too."""
    if estimator == "robust":
        return ""
    biased = [
        (result, result.shuffled / result.score)
        for result in ranked
        if result.score and result.shuffled and result.shuffled > CHANCE_SHARE * result.score
    ]
    if not biased:
        return ""
    shares = sorted(share for _, share in biased)
    ends = dict.fromkeys(f"{share:.0%}" for share in (shares[0], shares[-1]))
    return (
        f"{' to '.join(ends)} of the score of {_names([result for result, _ in biased])} remains "
        "when the values are shuffled inside their classes: bias, not dependence."
    )


def units_caveat(estimator: str) -> str:
    """Raw units affect the order of every estimator except the robust one."""
    if estimator == "robust":
        return ""
    return (
        f"The {estimator} estimator compares pseudo-labels in their raw units: "
        "a change of unit changes the order. The robust estimator does not."
    )


def weakness_caveat(ranked: Sequence[Result]) -> str:
    """Some scores are not distinguished from chance."""
    weak = [result for result in ranked if _is_weak(result)]
    if not weak:
        return ""
    return (
        f"{_names(weak)}: no dependence on the speech beyond chance. Such a low score is no "
        "evidence by itself: pure noise has one, too. See the relevance."
    )


def relevance_caveat(ranked: Sequence[Result], label: str) -> str:
    """Some candidates are unrelated to the label."""
    irrelevant = [result for result in ranked if result.relevant is False]
    if not irrelevant:
        return ""
    return (
        f"{_names(irrelevant)}: no relevance beyond that of noise (p ≥ .01). A candidate that is "
        f"unrelated to {label} can't help with it, however low its score."
    )


def tautology_caveat(ranked: Sequence[Result], counts: NDArray[np.integer], label: str) -> str:
    """Some candidates are the label, or nearly decide it."""
    most = entropy(counts)
    told = [result for result in ranked if (result.information or 0.0) >= DECIDES * most > 0]
    if not told:
        return ""
    return (
        f"{_names(told)}: nearly the same as {label} (at least {DECIDES:.0%} of its information): "
        "a tautology. To predict it is to be trained on the labels of the task itself, which "
        "unlabelled speech does not have."
    )


def length_caveat(ranked: Sequence[Result], label: str) -> str:
    """Even noise is relevant, because the segments' lengths depend on the label."""
    noise = [
        result.noise_relevance
        for result in ranked
        if result.noise_relevance
        and result.chance_sd
        and result.noise_relevance > LENGTH_SDS * result.chance_sd
    ]
    if not noise:
        return ""
    return (
        f"The segments' lengths depend on {label}: pure noise, averaged over them, has a "
        f"relevance of {max(noise):.2g}. A candidate not clearly above it counts as not relevant."
    )


def tie_caveat(ranked: Sequence[Result]) -> str:
    """The order of the best tier's relevant candidates is not settled."""
    relevant = [result for result in ranked if result.relevant is not False]
    best = _best_tier(relevant)
    if len(best) < 2:
        return ""
    return (
        f"{_names(best, most=LISTED)}: this data does not show which of them is best (tier "
        f"{best[0].tier}). More data might."
    )


def shortage_caveat(
    counts: NDArray[np.integer], estimator: str, resampled: tuple[str, int] | None
) -> str:
    """Too little data for intervals and tiers."""
    why = shortage(counts, estimator, resampled)
    if not why:
        return ""
    return (
        f"Too little data to say how certain the order is: {why}. There are no intervals and no "
        "tiers, and scores may differ by chance alone."
    )


def resampling_caveat(
    ranked: Sequence[Result], segments: int, recordings: int, resampled: tuple[str, int] | None
) -> str:
    """Intervals and tiers are too narrow: segments are not independent."""
    relevant = [result for result in ranked if result.relevant is not False]
    if not resampled and _best_tier(relevant) and recordings < segments:
        return (
            "Intervals and tiers treat segments as independent, though several are cut from one "
            "recording: they are too narrow."
        )
    return ""


def class_size_caveat(counts: NDArray[np.integer], estimator: str) -> str:
    """Small classes are not scored."""
    small = int((counts < FEWEST_SEGMENTS).sum())
    if not small or estimator != "robust":
        return ""
    return (
        f"{small} of {len(counts)} classes have fewer than {FEWEST_SEGMENTS} segments and are not "
        "scored."
    )


def sample_rate_caveat(rates: Sequence[int]) -> str:
    """Some recordings have no speech in the upper mel bands."""
    low = [rate for rate in rates if rate < audio.RATE]
    if not low:
        return ""
    return (
        f"{len(low)} of {len(rates)} recordings are sampled below 16 kHz (lowest {min(low)} "
        "Hz) and were resampled up: their upper mel bands are empty."
    )


def missing_caveat(ranked: Sequence[Result]) -> str:
    """Some candidates are scored on fewer segments than others."""
    gaps = [result for result in ranked if result.missing]
    return f"{_names(gaps)}: scored on fewer segments, those that have a value." if gaps else ""


def fault_caveat(name: str, recordings: int, first: str) -> str:
    """Files have no usable values of some recordings."""
    return (
        f"{name}: no usable values of {count(recordings, 'recording')}, whose segments are left "
        f"out for it. The first: {first}"
    )


def _best_tier(relevant: Sequence[Result]) -> list[Result]:
    """The relevant candidates of the best tier that has any; none without tiers."""
    return [r for r in relevant if r.tier is not None and r.tier == relevant[0].tier]


def _is_weak(result: Result) -> bool:
    """Whether a score is not distinguished from chance."""
    if result.p_value is not None:
        return result.p_value > WEAK_P
    sd = result.shuffled_sd or 0
    return bool(sd) and abs(result.score or 0) < WEAK_SDS * sd


def _order_agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's correlation; 0 where one of them is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(average_ranks(a), average_ranks(b))[0, 1])


def _names(results: Sequence[Result], most: int | None = None) -> str:
    more = f" and {len(results) - most} more" if most and len(results) > most else ""
    return ", ".join(result.name for result in results[:most]) + more
