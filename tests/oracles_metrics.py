"""Error rates as plain loops over all thresholds, in exact fractions; no code of the package."""

from __future__ import annotations

from fractions import Fraction


def points(targets, nontargets, target_weights=None, nontarget_weights=None):
    """(threshold, miss, false alarm): accepting from each score on, then (None) accepting none."""
    a = target_weights or [1] * len(targets)
    b = nontarget_weights or [1] * len(nontargets)
    found = []
    for threshold in [*sorted({*targets, *nontargets}), None]:
        missed = sum(
            w for s, w in zip(targets, a, strict=True) if threshold is None or s < threshold
        )
        alarms = sum(
            w
            for s, w in zip(nontargets, b, strict=True)
            if threshold is not None and s >= threshold
        )
        found.append((threshold, Fraction(missed, sum(a)), Fraction(alarms, sum(b))))
    return found


def eer(targets, nontargets, target_weights=None, nontarget_weights=None):
    """(rate, threshold) where misses are first as frequent, or on the line that leads there."""
    curve = points(targets, nontargets, target_weights, nontarget_weights)
    for k, (threshold, miss, alarm) in enumerate(curve):
        if miss == alarm:
            return miss, threshold
        if miss > alarm:
            before, low_miss, low_alarm = curve[k - 1]
            part = (low_alarm - low_miss) / ((miss - alarm) + (low_alarm - low_miss))
            return low_miss + part * (miss - low_miss), before
    raise AssertionError("the last point rejects all")


def min_dcf(targets, nontargets, p_target, cost_miss, cost_false_alarm):
    costs = [
        cost_miss * p_target * miss + cost_false_alarm * (1 - p_target) * alarm
        for _, miss, alarm in points(targets, nontargets)
    ]
    return min(costs) / min(cost_miss * p_target, cost_false_alarm * (1 - p_target))


def confusion(truth, predicted, classes):
    return [
        [
            sum(t == i and p == j for t, p in zip(truth, predicted, strict=True))
            for j in range(classes)
        ]
        for i in range(classes)
    ]


def balanced_accuracy(truth, predicted):
    recalls = []
    for c in set(truth):
        own = [p == c for t, p in zip(truth, predicted, strict=True) if t == c]
        recalls.append(Fraction(sum(own), len(own)))
    return sum(recalls) / len(recalls)


def macro_f1(truth, predicted):
    scores = []
    for c in {*truth, *predicted}:
        right = sum(t == p == c for t, p in zip(truth, predicted, strict=True))
        precision = Fraction(right, predicted.count(c)) if c in predicted else Fraction(0)
        recall = Fraction(right, truth.count(c)) if c in truth else Fraction(0)
        total = precision + recall
        scores.append(2 * precision * recall / total if total else Fraction(0))
    return sum(scores) / len(scores)
