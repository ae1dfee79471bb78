"""How well speakers are verified and classes recognised: error rates from scores and labels.

A trial compares an enrolled speaker with a test recording; the higher its score, the likelier the
two are one. A target trial is of one speaker, a nontarget trial of two. Targets below a threshold
are misses, nontargets at or above it are false alarms.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury.errors import InputError

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]


# ---------------------------------------------------------------------------- verification


@dataclass(frozen=True)
class EqualError:
    """Where misses are as frequent as false alarms."""

    rate: float  # 0..1, lower is better, 0.5 is chance
    threshold: float  # one of the scores: accept from it on


@dataclass(frozen=True)
class Interval:
    """An equal error rate and what other speakers could have made of it."""

    rate: float  # of all trials
    low: float
    high: float
    undefined: int  # replicates left out: the speakers drawn had no target or no nontarget trial


def eer(targets: ArrayLike, nontargets: ArrayLike) -> EqualError:
    """Equal error rate, by linear interpolation of the empirical ROC; exact under ties.

    The ROC is straight where scores are equal, as in Fawcett 2006: a tie is accepted with the
    probability that makes the rates equal. Not the ROC's convex hull (Brümmer & de Villiers 2011,
    BOSARIS): its rate is never above 0.5, so that scores of the wrong sign would pass for chance,
    where here they show as 1 − rate; and published VoxCeleb figures are read off the ROC too. The
    hull's rate is never the higher one.

    Args:
        targets: (n,) scores; infinite ones are in order, NaN is refused.
        nontargets: (m,) likewise.

    Returns:
        The threshold is in the scores' own units: it moves with them under any increasing map.
        The rate is the rounded fraction of two exact integers.
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
    """Minimum detection cost over all thresholds (NIST SRE 2016 evaluation plan).

    In units of the cheaper of accepting all and rejecting all: 0 is perfect, 1 useless, never
    more. Scores as in `eer`. VoxCeleb's paper has the defaults, its challenge p_target = 0.05.
    """
    if not 0 < p_target < 1:
        raise InputError(f"p_target is {p_target:g}, but it is a probability between 0 and 1")
    for name, cost in (("cost_miss", cost_miss), ("cost_false_alarm", cost_false_alarm)):
        if not 0 < cost < np.inf:
            raise InputError(f"{name} is {cost:g}, but a cost is positive and finite")
    targets, nontargets = _sort_scores("targets", targets), _sort_scores("nontargets", nontargets)
    # Between two targets the highest threshold is the cheapest: only targets need to be tried, and
    # above them all. Of equal targets all but the first count too many misses, and so never win.
    misses = np.arange(len(targets) + 1) / len(targets)
    rejected = np.searchsorted(nontargets, targets, "left")
    alarms = np.append((len(nontargets) - rejected) / len(nontargets), 0.0)
    miss, alarm = cost_miss * p_target, cost_false_alarm * (1 - p_target)
    return float((miss * misses + alarm * alarms).min() / min(miss, alarm))


def det(targets: ArrayLike, nontargets: ArrayLike) -> tuple[Vector, Vector]:
    """The DET curve's corners: false alarm and miss rates, (points,) each, from (1, 0) to (0, 1).

    Straight lines between them are the whole curve: a point on the line between its neighbours is
    left out. They are straight in rates; draw the normal quantiles of points interpolated on them.
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
    """EER and the middle `level` of its replicates with speakers drawn anew.

    Trials that share a speaker are not independent, speakers are. So speakers are drawn with
    replacement, and a trial counts as often as the replicate would hold it. With speaker s drawn
    m_s times, each copy a person of its own, there are m_s · m_t pairs of a copy of s and one of t:
    the weight of a nontarget trial (the pigeonhole bootstrap's, Owen 2007, with enrolled and test
    speakers drawn as the one set they are). A target trial is of a copy with itself: weight m_s.
    Not m_s², which would take two copies, different people, for targets. Mildly
    conservative, as Owen & Eckles 2012 show of means.

    Args:
        scores: (trials,) as in `eer`.
        is_target: (trials,) whether both speakers are one.
        enrol_speaker: (trials,) labels of any type that sorts.
        test_speaker: (trials,) from the same set of labels.
        replicates: each takes a pass over the trials; they are sorted once.
        seed: of the draws.
        level: of the interval.
    """
    scores = _check_scores("scores", scores)
    is_target = np.asarray(is_target, bool)
    enrol, test = np.asarray(enrol_speaker), np.asarray(test_speaker)
    given = {"is_target": is_target, "enrol_speaker": enrol, "test_speaker": test}
    for name, values in given.items():
        if values.shape != scores.shape:
            raise InputError(f"{name} has shape {values.shape}, but scores {scores.shape}")
    if replicates < 1 or not 0 < level < 1:
        raise InputError(
            f"{replicates} replicates at level {level:g}, but at least 1 and a level between 0 and "
            "1 are wanted"
        )
    names, codes = np.unique(np.concatenate([enrol, test]), return_inverse=True)
    enrol, test = codes.astype(np.int32).reshape(2, -1)
    _check_speakers(names, is_target, enrol, test)

    own, other = _order("targets", scores, is_target), _order("nontargets", scores, ~is_target)
    targets, nontargets, speaker = scores[own], scores[other], enrol[own]
    first, second = enrol[other], test[other]
    rng = np.random.default_rng(seed)
    even, rates = np.full(len(names), 1 / len(names)), []
    for _ in range(replicates):
        drawn = rng.multinomial(len(names), even)
        misses = _cumulative(drawn[speaker])
        rejections = _cumulative(drawn[first] * drawn[second])
        if misses[-1] and rejections[-1]:
            rates.append(_crossing(targets, nontargets, misses, rejections).rate)
    if not rates:
        raise InputError(
            f"none of {replicates} draws of {len(names)} speakers has both target and nontarget "
            "trials; an interval takes trials of more speakers"
        )
    ends = (1 - level) / 2
    low, high = np.quantile(rates, [ends, 1 - ends])
    rate = _crossing(targets, nontargets, range(len(own) + 1), range(len(other) + 1)).rate
    return Interval(rate, float(low), float(high), replicates - len(rates))


def bootstrap_rate(
    errors: ArrayLike,
    of: ArrayLike,
    group: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """The middle `level` of Σ errors / Σ of, with whole groups (speakers) drawn anew.

    Args:
        errors: (n,) of each utterance or point.
        of: (n,) how many tokens there are in it; 1 for a point.
        group: (n,) labels of any type that sorts.
    """
    codes = np.unique(np.asarray(group), return_inverse=True)[1]
    wrong, whole = (np.bincount(codes, np.asarray(one, np.float64)) for one in (errors, of))
    drawn = np.random.default_rng(seed).multinomial(
        len(whole), np.full(len(whole), 1 / len(whole)), replicates
    )
    totals = drawn @ whole
    rates = (drawn @ wrong)[totals > 0] / totals[totals > 0]
    if not len(rates):
        raise InputError("there is nothing to be wrong about: no token in any group")
    ends = (1 - level) / 2
    low, high = np.quantile(rates, [ends, 1 - ends])
    return float(low), float(high)


def _crossing(
    targets: Vector,
    nontargets: Vector,
    misses: Sequence[int] | Counts,
    rejections: Sequence[int] | Counts,
) -> EqualError:
    """The EER of sorted scores, misses[i] and rejections[j] the weight of the lowest i and j.

    Integers throughout, Python's where they are multiplied: neither rounds nor overflows.
    """
    a, b = int(misses[-1]), int(rejections[-1])

    def gap(i: int, j: int) -> int:
        """(miss − false alarm) · a · b, with the lowest i targets and j nontargets rejected."""
        return int(misses[i]) * b + int(rejections[j]) * a - a * b

    def up_to(score: float) -> tuple[int, int]:
        return _place(targets, score, "right"), _place(nontargets, score, "right")

    # The lowest score whose rejection, with all below it, makes misses as frequent as alarms.
    score = min(
        scores[place]
        for scores in (targets, nontargets)
        if (place := bisect_left(scores, 0, key=lambda s: gap(*up_to(s)))) < len(scores)
    )
    i, j = _place(targets, score, "left"), _place(nontargets, score, "left")
    k, l = up_to(score)
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


# -------------------------------------------------------------------------- classification


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Counts:
    """(classes, classes) counts, truth down and predicted across, of codes 0 .. classes − 1."""
    truth, predicted = _check_codes(truth, predicted)
    for name, codes in (("truth", truth), ("predicted", predicted)):
        if codes.min() < 0 or codes.max() >= classes:
            raise InputError(
                f"{name} has codes from {codes.min()} to {codes.max()}, but {classes} classes are "
                f"0 to {classes - 1}"
            )
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """The share of points, (n,) codes, whose class is right."""
    truth, predicted = _check_codes(truth, predicted)
    return float((truth == predicted).mean())


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Recall, the share of a class that is right, averaged over the classes in `truth`.

    1 over their number is chance. A class that is only predicted has no recall, and counts by what
    it takes from the others. InputError if `truth` has one class only.
    """
    truth, predicted = _check_codes(truth, predicted)
    codes = _class_places("balanced accuracy", truth)
    return float((np.bincount(codes, truth == predicted) / np.bincount(codes)).mean())


def macro_f1(truth: ArrayLike, predicted: ArrayLike) -> float:
    """F1, 2 · right / (true + predicted), averaged over the classes in `truth` or `predicted`.

    A class never predicted, or only predicted, has 0. InputError if `truth` has one class only.
    """
    truth, predicted = _check_codes(truth, predicted)
    _class_places("macro F1", truth)
    n, codes = len(truth), np.unique(np.concatenate([truth, predicted]), return_inverse=True)[1]
    right = np.bincount(codes[:n], truth == predicted, minlength=codes.max() + 1)
    return float((2 * right / np.bincount(codes)).mean())


def _class_places(name: str, truth: Counts) -> Counts:
    """Each point's place among the classes, of which there must be two."""
    classes, codes = np.unique(truth, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"all {len(truth)} points are of class {classes[0]}, of which {name} says nothing; "
            "evaluate on points of at least two classes"
        )
    return codes


def _check_codes(truth: ArrayLike, predicted: ArrayLike) -> tuple[Counts, Counts]:
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    for name, codes in (("truth", truth), ("predicted", predicted)):
        if codes.ndim != 1 or not len(codes):
            raise InputError(f"{name} has shape {codes.shape}, but (points,) is wanted, and points")
        if codes.dtype.kind not in "iu":
            raise InputError(f"{name} is {codes.dtype}, but integer codes of classes are wanted")
    if len(truth) != len(predicted):
        raise InputError(f"{len(truth)} points have a truth, but {len(predicted)} are predicted")
    return truth.astype(np.int64), predicted.astype(np.int64)
