"""The sentences and table entries of an evaluation's report."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from augury.downstream.comparison import (
    MOST_DRAWN,
    NOT_SETTLED,
    Comparison,
    is_better,
    is_drawable,
    judge,
    mean,
)
from augury.downstream.result import Confusion, Model
from augury.downstream.splits import SPLITS
from augury.report.text import (
    NONE,
    capitalise,
    count,
    decimal,
    duration,
    file_name,
    has_value,
    join_names,
    plain,
)

#: Confusions that are listed beside a matrix, and where there is none.
CONFUSIONS_BESIDE, CONFUSIONS_ALONE = 10, 20

TASKS = {"asr": "Speech recognition", "speaker": "Speaker recognition"}
MODES = {"frozen": "frozen", "finetune": "finetuned"}


# ---------------------------------------------------------------------------------------- models


def isolate(name: str) -> str:
    """The name; between directional isolates if it holds characters written right to left."""
    kinds = {unicodedata.bidirectional(c) for c in name}
    turns = kinds & {"R", "AL", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI"}
    return f"\u2068{name}\u2069" if turns else name


def model_name(model: Model) -> str:
    """A model's name in the report."""
    names = {"mel": "log-mel", "random": "random encoder"} if model.pseudo_labels is None else {}
    return names.get(model.name) or isolate(model.name) or "(no name)"


def model_label(model: Model) -> str:
    """A model's name, and that it was finetuned if it was."""
    return model_name(model) + (f", {MODES['finetune']}" if model.mode == "finetune" else "")


def describe_model(model: Model) -> str:
    """What a model was pretrained on, if it was."""
    if model.pseudo_labels is None:
        kinds = {"mel": "features of the speech itself, no encoder", "random": "never trained"}
        return kinds.get(model.name, "not pretrained on a pseudo-label")
    if not model.pseudo_labels:
        return "pretrained on reconstruction alone"
    return f"pretrained on {join_names([isolate(name) for name in model.pseudo_labels])}"


def model_tags(model: Model) -> list[str]:
    """Whether a model is frozen or finetuned, if it has an encoder; whether it is a baseline."""
    is_mel = model.pseudo_labels is None and model.name == "mel"
    mode = "" if is_mel else MODES.get(model.mode, model.mode)
    return [tag for tag in (mode, "baseline" if model.baseline else "") if tag]


def _phrase(model: Model) -> str:
    """A model within a sentence, e.g. "the encoder f0 (finetuned)"."""
    name = model_name(model)
    if model.pseudo_labels is None and model.name in ("mel", "random"):
        text = {"mel": name, "random": f"the {name}"}[model.name]
    else:
        text = f"the encoder {name}"
    return f"{text} ({MODES['finetune']})" if model.mode == "finetune" else text


def _phrases(models: Iterable[Model]) -> str:
    return join_names([_phrase(model) for model in models])


# --------------------------------------------------------------------------------------- verdict


def _score(comparison: Comparison, model: Model) -> str:
    """A model's score, e.g. "9.1 % (3 seeds, 8.7 to 9.5)"."""
    span = comparison.span(model.interval)
    seeds = f"{len(model.outcomes)} seeds, {span}" if span else "one seed: no interval"
    return f"{comparison.percent(model.mean)} ({seeds})"


def verdict(comparison: Comparison) -> str:
    """Whether the best encoder is better than the baselines, in a few sentences."""
    best, baselines = comparison.subject, comparison.baselines
    if best is None:
        return "No run has finished yet: there is no score."
    text = _best_score(comparison, best)
    if best.baseline:
        others = [f"{_phrase(model)} {_score(comparison, model)}" for model in baselines[1:]]
        text += f", {join_names(others)}" if others else ""
        return f"{text}. These are baselines: no encoder pretrained on pseudo-labels was evaluated."
    if not baselines:
        return (
            f"{text}. There is no baseline (log-mel, a random encoder, or one pretrained on "
            "reconstruction alone) to compare it with: whether it helps is unknown."
        )
    judgement = judge(comparison, best)
    text += f", {_phrase(baselines[0])} {_score(comparison, baselines[0])}: "
    others = _other_baselines(comparison, best)
    if judgement != NOT_SETTLED:
        return f"{text}it {judgement}.{_speaker_caveat(best, baselines[0])}{others}"
    alone = best.interval is None or baselines[0].interval is None
    why = (
        "one seed does not tell how much the score depends on it"
        if alone
        else "the intervals overlap"
    )
    if is_better(best, baselines[0]):
        why = "not all baselines are clearly worse"
    return f"{text}whether it helps is not settled, as {why}.{others}"


def _best_score(comparison: Comparison, best: Model) -> str:
    """The best model and its score: the beginning of the verdict."""
    metric = comparison.evaluation.metric
    score = f"{_article(metric.name)} {metric.name} of {_score(comparison, best)}"
    encoders = comparison.encoders
    if len(encoders) > 1:
        both_modes = len({model.name for model in encoders}) < len(encoders)
        choice = f"{len(encoders)} encoders{' and modes' if both_modes else ''}"
        text = f"Of {choice} {_phrase(best).removeprefix('the encoder ')} is best, with {score}"
    else:
        text = f"{_phrase(best)} has {score}"
    return capitalise(text)


def _other_baselines(comparison: Comparison, best: Model) -> str:
    """How the best encoder compares with the baselines beyond the first."""
    rest = comparison.baselines[1:]
    worse = [model for model in rest if is_better(best, model)]
    better = [model for model in rest if is_better(model, best)]
    level = [model for model in rest if model not in worse + better]
    text = f" It does better than {_phrases(worse)}." if worse else ""
    text += f" It does worse than {_phrases(better)} too." if better else ""
    return text + (f" Against {_phrases(level)} it is not settled." if level else "")


def _speaker_caveat(model: Model, other: Model) -> str:
    """A caveat where intervals over test speakers overlap, though those over seeds do not."""
    a, b = model.median_outcome.interval, other.median_outcome.interval
    if not a or not b or a[1] < b[0] or b[1] < a[0]:
        return ""
    return " With other test speakers this might differ: the intervals over speakers overlap."


def _article(name: str) -> str:
    """The article of a metric's name; one in capitals is spelled out: "an EER", "a PER"."""
    vowels = "AEFHILMNORSX" if name.isupper() else "aeiouAEIOU"
    return "an" if name[:1] and name[0] in vowels else "a"


# ------------------------------------------------------------------------------------- sentences


def task_title(comparison: Comparison) -> str:
    """The task as a heading."""
    evaluation = comparison.evaluation
    label = evaluation.settings.get("label")
    if evaluation.task == "classify":
        return f"Classification by {isolate(str(label))}" if label else "Classification"
    return TASKS.get(evaluation.task) or isolate(evaluation.task) or "A task"


def data_name(comparison: Comparison) -> str:
    """The manifest's name without its folder; "" where it is not known."""
    return isolate(file_name(str(comparison.evaluation.data.get("manifest") or "")))


def metric_sentence(comparison: Comparison) -> str:
    """What the score is, and which way is better."""
    metric = comparison.evaluation.metric
    text = f"{metric.name} is the {metric.description}" if metric.description else metric.name
    guess = comparison.percent(metric.chance)
    chance = f" Guessing gives {guess}." if has_value(metric.chance) else ""
    return f"{capitalise(text)}: lower is better, 0 is perfect.{chance}"


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """The key facts: (name, value)."""
    test = _split(comparison, "test")
    seeds = sorted({len(model.outcomes) for model in comparison.models})
    values = [
        ("data", data_name(comparison)),
        ("metric", comparison.evaluation.metric.name),
        ("test segments", _count(test.get("segments"))),
        ("test speakers", _count(test.get("speakers"))),
        ("test speech", _hours(test.get("hours"))),
        ("models", f"{len(comparison.models):,}"),
        ("seeds", " to ".join(map(str, dict.fromkeys([*seeds[:1], *seeds[-1:]])))),
    ]
    return [(name, value) for name, value in values if value not in ("", NONE)]


def _split(comparison: Comparison, name: str) -> dict[str, Any]:
    return comparison.evaluation.data.get(name) or {}


def split_rows(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """What each split holds: (name, segments, hours, speakers)."""
    splits = [(name, _split(comparison, name)) for name in SPLITS]
    return [
        (
            name, _count(split.get("segments")), _hours(split.get("hours")),
            _count(split.get("speakers")),
        )
        for name, split in splits
        if split
    ]  # fmt: skip


def _count(value: Any) -> str:
    return NONE if value is None else f"{value:,}"


def _hours(value: float | None) -> str:
    return duration(3600 * value) if has_value(value) else NONE


def warnings(comparison: Comparison) -> list[str]:
    """The evaluation's warnings, and those about scores and runs."""
    evaluation, sentences = comparison.evaluation, list(comparison.evaluation.warnings)
    chance = evaluation.metric.chance
    useless = [model for model in comparison.models if has_value(chance) and model.mean >= chance]
    if useless:
        sentences.append(
            f"No better than guessing ({comparison.percent(chance)}): {_phrases(useless)}."
        )
    for model in comparison.models:
        skipped = sum(len(outcome.about.get("skipped") or ()) for outcome in model.outcomes)
        if skipped:
            sentences.append(
                f"{model_label(model)}: {count(skipped, 'batch', 'batches')} had a loss or "
                "gradient that was not finite, and did not change the weights."
            )
    without = [model for model in evaluation.models if model not in comparison.models]
    if without:
        sentences.append(f"No score of {_phrases(without)}.")
    return sentences


# -------------------------------------------------------------------------------------- captions


def scores_caption(comparison: Comparison) -> str:
    """What the figure of the scores shows."""
    if not comparison.models:
        return "There is no score to draw."
    text = f"{capitalise(comparison.evaluation.metric.name)} of each model, best at the top."
    if any(model.interval for model in comparison.models):
        text += (
            " Dots: mean over seeds, with its 95 % interval (Student’s t); rings: each seed. "
            "Where two intervals overlap, the order of the two is not settled."
        )
    else:
        text += " One seed each: without intervals, no order is settled."
    if has_value(comparison.evaluation.metric.chance) and comparison.near_chance is None:
        guess = comparison.percent(comparison.evaluation.metric.chance)
        text += f" Chance level, {guess}, is far outside the axis."
    if len(comparison.encoders) > 1:
        text += " The best of several is partly best by luck."
    return text


def curves_caption(comparison: Comparison) -> str:
    """What the training curves show."""
    if not any(model.median_outcome.history for model in comparison.models):
        return "No epoch was recorded."
    return (
        "Loss and error on the validation split by epoch, for each model’s seed with the median "
        "score. Diamonds: the epoch whose weights were tested."
    )


def det_caption(outside: list[Model]) -> str:
    """What the DET curves show, and whose lie outside the frame."""
    text = (
        "DET curves of each model’s seed with the median score: misses against false alarms as the "
        "threshold moves, on axes of normal quantiles. Further down and left is better; dots on "
        "the diagonal are equal error rates."
    )
    return text + (f" Not in the frame: {_phrases(outside)}." if outside else "")


def confusion_caption(comparison: Comparison) -> str:
    """What the confusion matrix shows, or why it is not drawn; "" where there is none."""
    model = comparison.subject
    if model is None or model.median_outcome.confusion is None:
        return ""
    outcome, confusion = model.median_outcome, model.median_outcome.confusion
    seed = f"{model_label(model)}, seed {outcome.seed}"
    if is_drawable(confusion):
        return (
            f"{seed}: the class predicted (columns) for each true class (rows), as shares of the "
            "row. The colours’ scale is a square root, so that rare confusions show."
        )
    classes = len([name for name in confusion.labels if name])
    if classes > MOST_DRAWN:
        return f"{seed}: {classes:,} classes are too many to draw; below are the most confused."
    return f"{seed}: there is nothing to draw."


# --------------------------------------------------------------------------------- table entries


def group_score(comparison: Comparison, model: Model, name: str) -> str:
    """A model's score in a group of segments, mean over seeds."""
    return comparison.percent(mean(outcome.groups.get(name) for outcome in model.outcomes))


def further_score(comparison: Comparison, model: Model, name: str) -> str:
    """A further score, mean over seeds: in percent, unless it is a cost or can't be a share."""
    means = [
        mean(outcome.scores.get(name) for outcome in other.outcomes) for other in comparison.models
    ]
    value = means[comparison.models.index(model)]
    if "dcf" in name.lower() or any(has_value(v) and not 0 <= v <= 1 for v in means):
        if not has_value(value):
            return NONE
        return decimal(value, 3) if abs(value) < 100 else plain(value)
    return comparison.percent(value)


def run_number(model: Model, name: str) -> str:
    """A number of `Outcome.about`, mean over seeds; seconds in words."""
    value = mean(outcome.about.get(name) for outcome in model.outcomes)
    if not has_value(value):
        return NONE
    return duration(value) if name == "seconds" else f"{value:,.0f}"


def confusion_rows(confusion: Confusion) -> list[tuple[str, str, int, str]]:
    """The most frequent confusions: (truth, predicted, count, share of the truth)."""
    counts, labels = np.array(confusion.counts, float).copy(), confusion.labels
    if not counts.size:
        return []
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    most = CONFUSIONS_BESIDE if is_drawable(confusion) else CONFUSIONS_ALONE
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    rows = []
    for i, j in zip(*np.unravel_index(order, counts.shape), strict=True):
        if counts[i, j] > 0:
            share = f"{100 * counts[i, j] / totals[i]:.1f} %" if labels[i] else NONE
            truth = isolate(labels[i]) or "nothing (inserted)"
            predicted = isolate(labels[j]) or "nothing (deleted)"
            rows.append((truth, predicted, int(counts[i, j]), share))
    return rows
