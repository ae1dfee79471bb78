"""What makes an order less believable than it looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from augury import audio
from augury.ranking.result import Result

#: From fewer groups resampled whole, intervals are clearly too narrow.
GROUPS = 20


def find_caveats(
    results: Sequence[Result],
    counts: NDArray[np.integer],
    rates: Sequence[int],
    *,
    estimator: str,
    label: str,
    resampled: tuple[str, int] | None = None,
) -> tuple[str, ...]:
    """What a reader should know before believing the order.

    Args:
        counts: segments of each class.
        rates: sample rate of each recording, Hz.
        resampled: what the intervals resample whole, and how many of those there are; None: no
            groups, or no intervals.
    """
    ranked = [r for r in results if r.score is not None]
    found: list[str] = []
    scores, shuffled, spread = (
        np.array([getattr(r, name) for r in ranked], np.float64)
        for name in ("score", "shuffled", "spread")
    )
    robust = estimator == "robust"
    if len(ranked) >= (5 if robust else 3):
        by_speech = _order_agreement(scores, scores - shuffled)
        by_spread = abs(_order_agreement(scores, spread))
        # Of a robust score chance has no share to take off: it would agree with itself.
        if by_spread >= (0.9 if robust else by_speech):
            found.append(
                "The order is no better explained by the speech than by each pseudo-label's own "
                f"spread: Spearman {by_spread:.2f} with the spread within classes, {by_speech:.2f} "
                "with what is left of the score when chance is taken off."
            )
    if estimator != "robust":
        chance = [r for r in ranked if r.score and r.shuffled and r.shuffled > 0.5 * r.score]
        if chance:
            shares = sorted(r.shuffled / r.score for r in chance if r.shuffled and r.score)
            ends = dict.fromkeys(f"{share:.0%}" for share in (shares[0], shares[-1]))
            found.append(
                f"{' to '.join(ends)} of the score of {_names(chance)} is what the same values "
                "shuffled inside their classes give: bias, not dependence."
            )
        found.append(
            f"The {estimator} estimator compares pseudo-labels in their raw units: "
            "a change of unit changes the order. The robust estimator does not."
        )
    weak = [r for r in ranked if _weak(r)]
    if weak:
        found.append(
            f"{_names(weak)}: no dependence on the speech beyond chance. A low score is then "
            "no merit by itself: pure noise has one too. Look at the relevance."
        )
    found += _irrelevant(ranked, label)
    useful = [r for r in ranked if r.relevant is not False]
    best = [r for r in useful if r.tier is not None and r.tier == useful[0].tier]
    if len(best) > 1:
        found.append(
            f"{_names(best, most=8)}: this data can't tell which of them is best (tier "
            f"{best[0].tier}). More might."
        )
    if resampled and resampled[1] < GROUPS:
        found.append(
            f"Intervals and tiers rest on {resampled[1]} groups ({resampled[0]}), resampled whole: "
            f"from fewer than {GROUPS} they come out too narrow, and the order looks more settled "
            "than it is."
        )
    elif not resampled and best and len(rates) < counts.sum():
        found.append(
            "Intervals and tiers take each segment for evidence of its own, though several are cut "
            "from one recording: they come out too narrow."
        )
    small = int((counts < 4).sum())
    if small and estimator == "robust":
        found.append(
            f"{small} of {len(counts)} classes have fewer than 4 segments and are not scored."
        )
    low = [rate for rate in rates if rate < audio.RATE]
    if low:
        found.append(
            f"{len(low)} of {len(rates)} recordings are sampled below 16 kHz (lowest {min(low)} "
            "Hz) and were resampled up: their upper mel bands are empty."
        )
    gaps = [r for r in ranked if r.missing]
    if gaps:
        found.append(
            f"{_names(gaps)}: scored on fewer segments, for want of a value on the others."
        )
    return tuple(found)


def _irrelevant(ranked: Sequence[Result], label: str) -> list[str]:
    found = []
    useless = [r for r in ranked if r.relevant is False]
    if useless:
        found.append(
            f"{_names(useless)}: no relevance beyond that of noise (p ≥ .01). What says nothing of "
            f"{label} can't help it, however low its score."
        )
    by_length = [
        r.noise_relevance
        for r in ranked
        if r.noise_relevance and r.chance_sd and r.noise_relevance > 3 * r.chance_sd
    ]
    if by_length:
        found.append(
            f"The segments' lengths depend on {label}: pure noise, averaged over them, has a "
            f"relevance of {max(by_length):.2g}. What is not clearly above it counts as not "
            "relevant."
        )
    return found


def _weak(result: Result) -> bool:
    """Whether chance alone would give such a score often."""
    if result.p_value is not None:
        return result.p_value > 0.05
    return bool(result.shuffled_sd) and abs(result.score or 0) < 3 * (result.shuffled_sd or 0)


def _order_agreement(a: NDArray, b: NDArray) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _names(results: Sequence[Result], most: int | None = None) -> str:
    more = f" and {len(results) - most} more" if most and len(results) > most else ""
    return ", ".join(result.name for result in results[:most]) + more


def redundancy(columns: list[NDArray | None]) -> tuple[tuple[float | None, ...], ...]:
    """Spearman's correlation of every pair, over segments where both have a value."""
    ranks = []
    for z in columns:
        if z is None or z.dtype.kind in "iu" or z.ndim > 1:
            ranks.append(None)  # no order to correlate
        else:
            ranks.append(np.where(np.isnan(z), np.nan, rankdata(z, nan_policy="omit")))
    table: list[list[float | None]] = [[None] * len(ranks) for _ in ranks]
    for i, a in enumerate(ranks):
        for j, b in enumerate(ranks[: i + 1]):
            if a is None or b is None:
                continue
            both = np.isfinite(a) & np.isfinite(b)
            one, other = (rankdata(v[both]) if not both.all() else v for v in (a, b))
            if both.sum() > 2 and np.ptp(one) > 0 and np.ptp(other) > 0:
                table[i][j] = table[j][i] = float(np.corrcoef(one, other)[0, 1])
    return tuple(map(tuple, table))
