"""How well speakers are verified: error rates from scores, and bootstrap intervals over speakers.

A trial compares an enrolled speaker with a test recording; the higher its score, the likelier it is
that both are the same speaker. In a target trial they are, in a nontarget trial they are not.
Targets that score below a threshold are misses, nontargets at or above it are false alarms.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury.errors import InputError

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class EqualError:
    """The threshold at which misses are as frequent as false alarms, and that rate."""

    rate: float  # 0..1, lower is better, 0.5 is chance
    threshold: float  # one of the scores: those at or above it are accepted


@dataclass(frozen=True)
class Interval:
    """An equal error rate and its bootstrap interval over speakers."""

    rate: float  # of all trials
    low: float
    high: float
    undefined: int  # replicates left out, whose speakers had no target or no nontarget trial


def eer(targets: ArrayLike, nontargets: ArrayLike) -> EqualError:
    """Equal error rate, 0..1, lower is better: where the miss rate equals the false alarm rate.

    The empirical ROC is interpolated linearly across ties, as in Fawcett 2006: tied scores are
    accepted with the probability that makes the rates equal. The ROC's convex hull (Brümmer & de
    Villiers 2011, BOSARIS) is not used: its rate is the same or lower and never above 0.5, so that
    scores of the wrong sign would look like chance, where here their rate is 1 − that of the right
    sign. Published VoxCeleb figures are read off the ROC, too.

    Args:
        targets: (n,) scores; infinite ones are allowed.
        nontargets: (m,) likewise.

    Returns:
        The rate, computed in exact integers but for the last division, and the threshold, which is
        one of the scores.

    Raises:
        InputError: no scores of one kind, or NaN.

    >>> eer([0.9, 0.8, 0.7, 0.3], [0.6, 0.2, 0.1, 0.0])
    EqualError(rate=0.25, threshold=0.6)
    """
    targets, nontargets = _sort_scores("targets", targets), _sort_scores("nontargets", nontargets)
    return _crossing(targets, nontargets, range(len(targets) + 1), range(len(nontargets) + 1))


def min_dcf(
    targets: ArrayLike,
    nontargets: ArrayLike,
    *,
    p_target: float = 0.01,
    cost_miss: float = 1.0,
    cost_false_alarm: float = 1.0,
) -> float:
    """Minimum detection cost over all thresholds, 0..1, lower is better (NIST SRE 2016 plan).

    min over t of (C_miss · p · miss(t) + C_fa · (1 − p) · fa(t)) / min(C_miss · p, C_fa · (1 − p)),
    p = `p_target`. The denominator is the cost of the cheaper of accepting all and rejecting all,
    so 1 is useless. Scores as in `eer`. The VoxCeleb paper uses the defaults, its challenge
    p_target = 0.05.

    Raises:
        InputError: scores as in `eer`, a probability not between 0 and 1, a cost not positive.

    >>> min_dcf([0.9, 0.8, 0.7, 0.3], [0.6, 0.2, 0.1, 0.0], p_target=0.5)
    0.25
    """
    if not 0 < p_target < 1:
        raise InputError(f"p_target is {p_target:g}, but it is a probability between 0 and 1")
    for name, cost in (("cost_miss", cost_miss), ("cost_false_alarm", cost_false_alarm)):
        if not 0 < cost < np.inf:
            raise InputError(f"{name} is {cost:g}, but a cost is positive and finite")
    targets, nontargets = _sort_scores("targets", targets), _sort_scores("nontargets", nontargets)
    # Between two targets the highest threshold is the cheapest, so the targets and one above them
    # all are enough. Of equal targets all but the first count too many misses and never win.
    misses = np.arange(len(targets) + 1) / len(targets)
    rejected = np.searchsorted(nontargets, targets, "left")
    alarms = np.append((len(nontargets) - rejected) / len(nontargets), 0.0)
    miss, alarm = cost_miss * p_target, cost_false_alarm * (1 - p_target)
    return float((miss * misses + alarm * alarms).min() / min(miss, alarm))


def det(targets: ArrayLike, nontargets: ArrayLike) -> tuple[Vector, Vector]:
    """The DET curve's corners: false alarm and miss rates, (points,) each, from (1, 0) to (0, 1).

    The curve consists of straight lines between corners; points on these lines are left out. They
    are straight in rates only: to plot on axes of normal quantiles, interpolate the rates first.
    Scores as in `eer`.

    >>> alarms, misses = det([0.9, 0.4], [0.5, 0.1])
    >>> alarms.tolist(), misses.tolist()
    ([1.0, 0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5, 1.0])
    """
    targets, nontargets = _sort_scores("targets", targets), _sort_scores("nontargets", nontargets)
    scores = np.unique(np.concatenate([targets, nontargets]))
    missed = np.append(0, np.searchsorted(targets, scores, "right"))
    rejected = np.append(0, np.searchsorted(nontargets, scores, "right"))
    down, along = np.diff(missed), np.diff(rejected)
    turns = down[:-1] * along[1:] != down[1:] * along[:-1]  # in integers: exact
    corner = np.concatenate([[True], turns, [True]])
    alarms = (len(nontargets) - rejected[corner]) / len(nontargets)
    return alarms, missed[corner] / len(targets)


def bootstrap_eer(
    scores: ArrayLike,
    is_target: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int,
    level: float = 0.95,
) -> Interval:
    """EER with its percentile bootstrap interval, where speakers are resampled.

    Trials that share a speaker are not independent, speakers are. So speakers are drawn with
    replacement, and each trial is weighted by how often the replicate contains it. With speaker s
    drawn m_s times, each copy counted as a different person, there are m_s · m_t pairs of a copy of
    s and a copy of t: the weight of a nontarget trial, as in the pigeonhole bootstrap (Owen 2007)
    but with enrolled and test speakers drawn as one set. A target trial compares a copy with
    itself, so its weight is m_s; m_s² would count pairs of different copies as targets. Slightly
    conservative, as Owen & Eckles 2012 show for means.

    Args:
        scores: (trials,) as in `eer`.
        is_target: (trials,) whether both speakers are the same.
        enrol_speaker: (trials,) labels of any sortable type.
        test_speaker: (trials,) from the same set of labels.
        replicates: each takes one pass over the trials, which are sorted once.
        seed: of the draws.
        level: of the interval.

    Raises:
        InputError: scores as in `eer`, `is_target` that contradicts the speakers, or too few
            speakers for any replicate to have trials of both kinds.

    >>> speaker = np.arange(20) % 5
    >>> enrol, test = np.repeat(speaker, 20), np.tile(speaker, 20)
    >>> scores = (enrol == test) + np.random.default_rng(0).normal(size=400)
    >>> interval = bootstrap_eer(scores, enrol == test, enrol, test, seed=0)
    >>> interval.low < interval.rate < interval.high
    True
    """
    trials = _SortedTrials.of(scores, is_target, enrol_speaker, test_speaker)
    if replicates < 1 or not 0 < level < 1:
        raise InputError(
            f"{replicates} replicates at level {level:g}, but at least 1 and a level between 0 and "
            "1 are wanted"
        )
    rates = [
        _crossing(trials.targets, trials.nontargets, misses, rejections).rate
        for misses, rejections in trials.resample(replicates, np.random.default_rng(seed))
        if misses[-1] and rejections[-1]
    ]
    if not rates:
        raise InputError(
            f"none of {replicates} draws of {trials.speakers} speakers has both target and "
            "nontarget trials; an interval takes trials of more speakers"
        )
    low, high = np.quantile(rates, [(1 - level) / 2, 1 - (1 - level) / 2])
    rate = eer(trials.targets, trials.nontargets).rate
    return Interval(rate, float(low), float(high), replicates - len(rates))


def bootstrap_rate(
    errors: ArrayLike,
    counts: ArrayLike,
    group: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of Σ errors / Σ counts, where groups (speakers) are resampled.

    Args:
        errors: (n,) number of errors in each utterance or segment.
        counts: (n,) number of tokens in it; 1 for a segment with one label.
        group: (n,) labels of any sortable type.
        replicates: of the bootstrap; those without a token are left out.
        seed: of the draws.
        level: of the interval.

    Raises:
        InputError: no token in any group.

    >>> bootstrap_rate([0, 1, 1, 0], [1, 1, 1, 1], ["a", "a", "b", "b"], seed=0)
    (0.5, 0.5)
    """
    codes = np.unique(np.asarray(group), return_inverse=True)[1]
    wrong = np.bincount(codes, np.asarray(errors, np.float64))  # (groups,)
    sizes = np.bincount(codes, np.asarray(counts, np.float64))
    times = np.random.default_rng(seed).multinomial(
        len(sizes), np.full(len(sizes), 1 / len(sizes)), replicates
    )  # (replicates, groups) how often each group is drawn
    totals = times @ sizes
    rates = (times @ wrong)[totals > 0] / totals[totals > 0]
    if not len(rates):
        raise InputError("no group has any token, so there is no error rate")
    ends = (1 - level) / 2
    low, high = np.quantile(rates, [ends, 1 - ends])
    return float(low), float(high)


@dataclass(frozen=True)
class _SortedTrials:
    """Trials in order of their scores, with their speakers as codes from 0."""

    targets: Vector  # (targets,) scores, ascending
    nontargets: Vector  # (nontargets,) likewise
    speaker: NDArray[np.int32]  # (targets,)
    enrol: NDArray[np.int32]  # (nontargets,) the enrolled speaker
    test: NDArray[np.int32]  # (nontargets,) the speaker of the test recording
    speakers: int

    @classmethod
    def of(
        cls, scores: ArrayLike, is_target: ArrayLike, enrol: ArrayLike, test: ArrayLike
    ) -> _SortedTrials:
        """The trials of `bootstrap_eer`'s arguments, checked and sorted."""
        scores = _check_scores("scores", scores)
        is_target = np.asarray(is_target, bool)
        enrol, test = np.asarray(enrol), np.asarray(test)
        _check_shapes(scores, is_target=is_target, enrol_speaker=enrol, test_speaker=test)
        names, codes = np.unique(np.concatenate([enrol, test]), return_inverse=True)
        enrol, test = codes.astype(np.int32).reshape(2, -1)
        _check_speakers(names, is_target, enrol, test)
        same = _order("targets", scores, is_target)
        other = _order("nontargets", scores, ~is_target)
        return cls(scores[same], scores[other], enrol[same], enrol[other], test[other], len(names))

    def resample(self, count: int, rng: np.random.Generator) -> Iterator[tuple[Counts, Counts]]:
        """For each replicate the cumulative weights of targets and of nontargets."""
        uniform = np.full(self.speakers, 1 / self.speakers)
        for _ in range(count):
            times = rng.multinomial(self.speakers, uniform)  # how often each speaker is drawn
            yield (
                _cumulative(times[self.speaker]),
                _cumulative(times[self.enrol] * times[self.test]),
            )


def _crossing(
    targets: Vector,
    nontargets: Vector,
    misses: Sequence[int] | Counts,
    rejections: Sequence[int] | Counts,
) -> EqualError:
    """The EER of sorted scores; misses[i] and rejections[j] are the weights of the lowest i and j.

    In integers, of Python where they are multiplied, so that nothing is rounded or overflows.
    """
    a, b = int(misses[-1]), int(rejections[-1])

    def gap(i: int, j: int) -> int:
        """(miss − false alarm) · a · b, with the lowest i targets and j nontargets rejected."""
        return int(misses[i]) * b + int(rejections[j]) * a - a * b

    def rejected_at(score: float) -> tuple[int, int]:
        return _place(targets, score, "right"), _place(nontargets, score, "right")

    # The lowest score for which rejecting it and all below makes misses as frequent as alarms.
    score = min(
        scores[place]
        for scores in (targets, nontargets)
        if (place := bisect_left(scores, 0, key=lambda s: gap(*rejected_at(s)))) < len(scores)
    )
    i, j = _place(targets, score, "left"), _place(nontargets, score, "left")
    k, l = rejected_at(score)
    before, after = gap(i, j), gap(k, l)  # before < 0 <= after
    rate = (int(misses[i]) * after - int(misses[k]) * before) / (a * (after - before))
    if after == 0:  # the rates are equal with all of this score rejected: accept from the next on
        score = min([*targets[k : k + 1], *nontargets[l : l + 1]])
    return EqualError(rate, float(score))


def _place(scores: Vector, score: float, side: Literal["left", "right"]) -> int:
    return int(np.searchsorted(scores, score, side))


def _cumulative(weights: Counts) -> Counts:
    total = np.zeros(len(weights) + 1, np.int64)
    np.cumsum(weights, out=total[1:])
    return total


def _order(name: str, scores: Vector, chosen: NDArray[np.bool_]) -> Counts:
    """Where the chosen scores are, lowest first."""
    places = np.flatnonzero(chosen)
    if not len(places):
        raise InputError(f"none of {len(scores)} trials is among the {name}; both kinds are wanted")
    return places[np.argsort(scores[places])]


def _check_shapes(scores: Vector, **values: NDArray) -> None:
    for name, array in values.items():
        if array.shape != scores.shape:
            raise InputError(f"{name} has shape {array.shape}, but scores {scores.shape}")


def _check_speakers(
    names: NDArray, is_target: NDArray[np.bool_], enrol: NDArray, test: NDArray
) -> None:
    wrong = np.flatnonzero((enrol == test) != is_target)
    if len(wrong):
        trial = wrong[0]
        kind = "a target" if is_target[trial] else "a nontarget"
        raise InputError(
            f"trial {trial} is marked as {kind}, but its speakers are {names[enrol[trial]]} and "
            f"{names[test[trial]]} (one of {len(wrong)} such trials); mend the trial list"
        )


def _sort_scores(name: str, scores: ArrayLike) -> Vector:
    result = _check_scores(name, scores)
    if not len(result):
        raise InputError(f"{name}: there are none; an error rate takes trials of both kinds")
    return np.sort(result)


def _check_scores(name: str, scores: ArrayLike) -> Vector:
    result = np.asarray(scores, np.float64)
    if result.ndim != 1:
        raise InputError(f"{name} have shape {result.shape}, but (trials,) is wanted; ravel them")
    missing = int(np.isnan(result).sum())
    if missing:
        raise InputError(f"{name}: {missing} of {len(result)} are NaN; leave those trials out")
    return result
