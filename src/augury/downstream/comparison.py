"""An evaluation as its report shows it: models in order, which of them is better, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from augury.downstream.result import Confusion, Evaluation, Mistake, Model, Outcome
from augury.report.text import NONE, decimal, has_value

#: Most classes that a confusion matrix is drawn for; with more, confusions are only listed.
MOST_DRAWN = 60
#: Chance level is drawn if it is at most this many times the highest score.
NEAR_CHANCE = 1.25
#: Most seeds of a model that are listed one by one.
MOST_SEEDS = 200

#: Whether an encoder helps, in words: see `judge`.
HELPS, HELPS_NOT, NOT_SETTLED = "helps", "does not help", "not settled"


@dataclass(frozen=True)
class Comparison:
    """An evaluation's models in order of their error, for its report."""

    evaluation: Evaluation
    models: list[Model]  # those with a score, lowest mean first
    decimals: int  # of a score in percent

    @classmethod
    def of(cls, evaluation: Evaluation) -> Comparison:
        """The comparison of an evaluation's models."""
        models = [model for model in evaluation.models_by_error() if has_value(model.mean)]
        means = [model.mean for model in models if model.mean > 0]
        return cls(evaluation, models, 2 if means and min(means) < 0.02 else 1)

    @property
    def encoders(self) -> list[Model]:
        """Models pretrained with a pseudo-label."""
        return [model for model in self.models if not model.baseline]

    @property
    def baselines(self) -> list[Model]:
        """Models to compare with: log-mel, a random encoder, reconstruction alone."""
        return [model for model in self.models if model.baseline]

    @property
    def subject(self) -> Model | None:
        """The model that is shown in detail: the best encoder, else the best baseline."""
        return next(iter(self.encoders or self.models), None)

    @property
    def outcome(self) -> Outcome | None:
        """The subject's outcome with the median score."""
        return self.subject.median_outcome if self.subject else None

    @property
    def several_seeds(self) -> bool:
        """Whether any model was trained with more than one seed."""
        return any(len(model.outcomes) > 1 for model in self.models)

    @property
    def with_det(self) -> list[Model]:
        """Models whose median outcome has a DET curve."""
        outcomes = [(model, model.median_outcome) for model in self.models]
        return [model for model, outcome in outcomes if outcome.det and len(outcome.det[0]) > 1]

    @property
    def near_chance(self) -> float | None:
        """The score of guessing, if it is close enough to the models' scores to be drawn."""
        chance = self.evaluation.metric.chance
        ends = [end for model in self.models for end in (model.mean, *(model.interval or ()))]
        return chance if has_value(chance) and ends and chance <= NEAR_CHANCE * max(ends) else None

    def text(self, score: float | None) -> str:
        """A score in percent: "9.1"."""
        return decimal(100 * score, self.decimals) if has_value(score) else NONE

    def percent(self, score: float | None) -> str:
        """A score in percent: "9.1 %"."""
        return f"{self.text(score)} %" if has_value(score) else NONE

    def span(self, interval: tuple[float, float] | None) -> str:
        """An interval, e.g. "8.7 to 9.5", cut at 0; "" where there is none."""
        if interval is None or not all(map(has_value, interval)):
            return ""
        return " to ".join(self.text(max(0.0, end)) for end in interval)


# ------------------------------------------------------------------------------ which is better


def is_better(model: Model, other: Model) -> bool:
    """Whether a model's error is lower and the intervals over seeds of both do not overlap."""
    a, b = model.interval, other.interval
    return bool(a and b and a[1] < b[0])


def judge(comparison: Comparison, model: Model) -> str:
    """Whether an encoder helps: `HELPS` if it is better than every baseline.

    `HELPS_NOT` if a baseline is better than the encoder, `NOT_SETTLED` otherwise; "" for a baseline
    or where there is none.
    """
    baselines = comparison.baselines
    if model.baseline or not baselines:
        return ""
    if any(is_better(baseline, model) for baseline in baselines):
        return HELPS_NOT
    helps = all(is_better(model, baseline) for baseline in baselines)
    return HELPS if helps else NOT_SETTLED


# ---------------------------------------------------------------------------------------- tables


def score_names(comparison: Comparison) -> list[str]:
    """Names of all further scores, in the order of the outcomes."""
    return _union(comparison, lambda outcome: outcome.scores)


def group_names(comparison: Comparison) -> list[str]:
    """Names of all groups of segments, in the order of the outcomes."""
    return _union(comparison, lambda outcome: outcome.groups)


def _union(comparison: Comparison, values: Callable[[Outcome], dict[str, float]]) -> list[str]:
    outcomes = [outcome for model in comparison.models for outcome in model.outcomes]
    return list(dict.fromkeys(name for outcome in outcomes for name in values(outcome)))


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known; None if none is."""
    known = [float(value) for value in values if has_value(value)]
    return float(np.mean(known)) if known else None


def is_drawable(confusion: Confusion) -> bool:
    """Whether a confusion matrix is small enough to be drawn, and not empty."""
    return 0 < len([name for name in confusion.labels if name]) <= MOST_DRAWN


def playable(mistake: Mistake) -> str:
    """The recording as a data URI of sound; "" for any other address: the page must not use it."""
    return mistake.audio if mistake.audio.startswith("data:audio/") else ""


def left_out(comparison: Comparison) -> dict[str, int]:
    """How many segments were left out, by reason."""
    return comparison.evaluation.data.get("left_out") or {}


def outcomes_by_seed(model: Model) -> list[Outcome]:
    """A model's first outcomes in order of their seeds, at most `MOST_SEEDS`."""
    return sorted(model.outcomes, key=lambda outcome: outcome.seed)[:MOST_SEEDS]
