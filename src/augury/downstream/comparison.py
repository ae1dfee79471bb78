"""What the report of an evaluation says in words and numbers: whether an encoder helped."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from augury.pretraining.losses import LISTED
from augury.report.text import (
    NONE,
    count,
    decimal,
    duration,
    file_name,
    is_known,
    join_names,
    plain,
)

if TYPE_CHECKING:  # an evaluation is written with its report: the import goes the other way
    from augury.downstream.result import Confusion, Evaluation, Model, Outcome, Worst

#: Up to this many classes are drawn as a matrix; of more, only the most frequent confusions listed.
DRAWN = 60
#: Confusions that are listed beside a matrix, and where there is none.
FEW, MANY = 10, 20
#: Chance is drawn if it is at most this many times the highest score.
NEAR = 1.25

TASKS = {"asr": "Speech recognition", "speaker": "Speaker recognition"}
MODES = {"frozen": "frozen", "finetune": "finetuned"}
HELPS, NOT, OPEN = "helps", "does not help", "not settled"


@dataclass(frozen=True)
class Contest:
    """An evaluation as its report shows it."""

    evaluation: Evaluation
    ranked: list[Model]  # those with a score, lowest mean first
    decimals: int  # of a score in percent

    @classmethod
    def of(cls, evaluation: Evaluation) -> Contest:
        """From what results.json holds."""
        ranked = [one for one in evaluation.ranked() if is_known(one.mean)]
        sizes = [one.mean for one in ranked if one.mean > 0]
        return cls(evaluation, ranked, 2 if sizes and min(sizes) < 0.02 else 1)

    @property
    def encoders(self) -> list[Model]:
        """Those pretrained with a pseudo-label."""
        return [one for one in self.ranked if not one.baseline]

    @property
    def baselines(self) -> list[Model]:
        """What they are measured by."""
        return [one for one in self.ranked if one.baseline]

    @property
    def subject(self) -> Model | None:
        """The one that is looked at closely: the best encoder, else the best baseline."""
        return next(iter(self.encoders or self.ranked), None)

    @property
    def shown(self) -> Outcome | None:
        """Its typical outcome."""
        return self.subject.typical if self.subject else None

    @property
    def several(self) -> bool:
        """Whether any contender was trained with more than one seed."""
        return any(len(one.outcomes) > 1 for one in self.ranked)

    @property
    def with_det(self) -> list[Model]:
        """Those whose typical outcome has a DET curve."""
        return [one for one in self.ranked if one.typical.det and len(one.typical.det[0]) > 1]

    @property
    def near_chance(self) -> float | None:
        """What a guess gives, if that is worth drawing beside the scores."""
        chance = self.evaluation.metric.chance
        ends = [end for one in self.ranked for end in (one.mean, *(one.interval or ()))]
        return chance if is_known(chance) and ends and chance <= NEAR * max(ends) else None

    def text(self, score: float | None) -> str:
        """A score in percent: "9.1"."""
        return decimal(100 * score, self.decimals) if is_known(score) else NONE

    def percent(self, score: float | None) -> str:
        """A score in percent: "9.1 %"."""
        return f"{self.text(score)} %" if is_known(score) else NONE

    def span(self, interval: tuple[float, float] | None) -> str:
        """E.g. "8.7 to 9.5"; "" where there is none. No error rate is below 0."""
        if interval is None or not all(map(is_known, interval)):
            return ""
        return " to ".join(self.text(max(0.0, end)) for end in interval)


# ------------------------------------------------------------------------------------- contenders


def isolated(name: str) -> str:
    """The name, kept from turning the words after it around where it is written right to left."""
    kinds = {unicodedata.bidirectional(c) for c in name}
    turns = kinds & {"R", "AL", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI"}
    return f"\u2068{name}\u2069" if turns else name


def name_of(one: Model) -> str:
    """A contender as the report calls it."""
    own = {"mel": "log-mel", "random": "random encoder"} if one.pretrained is None else {}
    return own.get(one.name) or isolated(one.name) or "(no name)"


def label_of(one: Model) -> str:
    """Its name, and how it was used if it was trained along."""
    return name_of(one) + (f", {MODES['finetune']}" if one.mode == "finetune" else "")


def kind_of(one: Model) -> str:
    """What it is."""
    if one.pretrained is None:
        own = {"mel": "the speech itself, no encoder", "random": "never trained"}
        return own.get(one.name, "not pretrained on a pseudo-label")
    if not one.pretrained:
        return "pretrained on reconstruction alone"
    return f"pretrained on {join_names([isolated(name) for name in one.pretrained])}"


def tags_of(one: Model) -> list[str]:
    """Whether its encoder, if there is one, was trained along; and whether it is a baseline."""
    mode = "" if one.pretrained is None and one.name == "mel" else MODES.get(one.mode, one.mode)
    return [tag for tag in (mode, "baseline" if one.baseline else "") if tag]


def _said(one: Model) -> str:
    """In a sentence, e.g. "the encoder f0 (finetuned)"."""
    name = name_of(one)
    if one.pretrained is None and one.name in ("mel", "random"):
        text = {"mel": name, "random": f"the {name}"}[one.name]
    else:
        text = f"the encoder {name}"
    return f"{text} ({MODES['finetune']})" if one.mode == "finetune" else text


def _names(some: Iterable[Model]) -> str:
    return join_names([_said(one) for one in some])


# -------------------------------------------------------------------------------- who is better


def lower(one: Model, other: Model) -> bool:
    """Whether its score is lower, and the intervals over seeds, which both have, are apart."""
    a, b = one.interval, other.interval
    return bool(a and b and a[1] < b[0])


def judged(contest: Contest, one: Model) -> str:
    """Whether an encoder helps: it must beat every baseline; "" where there is none to beat."""
    rivals = contest.baselines
    if one.baseline or not rivals:
        return ""
    if any(lower(rival, one) for rival in rivals):
        return NOT
    return HELPS if all(lower(one, rival) for rival in rivals) else OPEN


def _score(contest: Contest, one: Model) -> str:
    """E.g. "9.1 % (3 seeds, 8.7 to 9.5)"."""
    span = contest.span(one.interval)
    seeds = f"{len(one.outcomes)} seeds, {span}" if span else "one seed: no interval"
    return f"{contest.percent(one.mean)} ({seeds})"


def verdict(contest: Contest) -> str:
    """Whether the best encoder does better than the baselines, in a few sentences."""
    metric, best, rivals = contest.evaluation.metric, contest.subject, contest.baselines
    if best is None:
        return "No run has ended yet: there is no score."
    score = f"{_article(metric.name)} {metric.name} of {_score(contest, best)}"
    if len(contest.encoders) > 1:
        twice = len({one.name for one in contest.encoders}) < len(contest.encoders)
        of = f"{len(contest.encoders)} encoders{' and modes' if twice else ''}"
        text = f"Of {of} {_said(best).removeprefix('the encoder ')} is best, with {score}"
    else:
        text = f"{_said(best)} has {score}"
    text = text[0].upper() + text[1:]
    if best.baseline:
        others = [f"{_said(one)} {_score(contest, one)}" for one in rivals[1:]]
        text += f", {join_names(others)}" if others else ""
        return f"{text}. These are baselines: no encoder pretrained on pseudo-labels is here yet."
    if not rivals:
        return (
            f"{text}. There is no baseline (log-mel, a random encoder, or one pretrained on "
            "reconstruction alone) to compare it with: whether it helps is not known."
        )
    found = judged(contest, best)
    text += f", {_said(rivals[0])} {_score(contest, rivals[0])}: "
    if found != OPEN:
        return f"{text}it {found}.{_elsewhere(best, rivals[0])}{_others(contest, best)}"
    alone = best.interval is None or rivals[0].interval is None
    why = "one seed says nothing of others" if alone else "the intervals overlap"
    if lower(best, rivals[0]):
        why = "not all baselines are clearly worse"
    return f"{text}whether it helps is not settled, as {why}.{_others(contest, best)}"


def _others(contest: Contest, best: Model) -> str:
    """How it does against the other baselines."""
    rest = contest.baselines[1:]
    beaten = [one for one in rest if lower(best, one)]
    worse = [one for one in rest if lower(one, best)]
    level = [one for one in rest if one not in beaten + worse]
    text = f" It does better than {_names(beaten)}." if beaten else ""
    text += f" It does worse than {_names(worse)} too." if worse else ""
    return text + (f" Against {_names(level)} it is not settled." if level else "")


def _elsewhere(one: Model, other: Model) -> str:
    """What the intervals over test speakers add to what those over seeds settle."""
    a, b = one.typical.interval, other.typical.interval
    if not a or not b or a[1] < b[0] or b[1] < a[0]:
        return ""
    return " With other test speakers it might be otherwise: those intervals overlap."


def _article(name: str) -> str:
    """Of a metric's name; one in capitals is spelled out: "an EER", "a PER"."""
    vowels = "AEFHILMNORSX" if name.isupper() else "aeiouAEIOU"
    return "an" if name[:1] and name[0] in vowels else "a"


# ------------------------------------------------------------------------------------- sentences


def task_said(contest: Contest) -> str:
    """The task in a heading's few words."""
    evaluation = contest.evaluation
    label = evaluation.settings.get("label")
    if evaluation.task == "classify":
        return f"Classification by {isolated(str(label))}" if label else "Classification"
    return TASKS.get(evaluation.task) or isolated(evaluation.task) or "A task"


def data_said(contest: Contest) -> str:
    """The manifest's name alone; "" where it is not known."""
    return isolated(file_name(str(contest.evaluation.data.get("manifest") or "")))


def metric_said(contest: Contest) -> str:
    """What the score is, and which way is better."""
    metric = contest.evaluation.metric
    text = f"{metric.name} is the {metric.words}" if metric.words else metric.name
    chance = f" A guess gives {contest.percent(metric.chance)}." if is_known(metric.chance) else ""
    return f"{text}: lower is better, 0 is perfect.{chance}"


def facts(contest: Contest) -> list[tuple[str, str]]:
    """The key facts: (name, value)."""
    test = _part(contest, "test")
    seeds = sorted({len(one.outcomes) for one in contest.ranked})
    found = [
        ("data", data_said(contest)),
        ("metric", contest.evaluation.metric.name),
        ("test segments", _count(test.get("segments"))),
        ("test speakers", _count(test.get("speakers"))),
        ("test speech", _hours(test.get("hours"))),
        ("contenders", f"{len(contest.ranked):,}"),
        ("seeds", " to ".join(map(str, dict.fromkeys([*seeds[:1], *seeds[-1:]])))),
    ]
    return [(name, value) for name, value in found if value not in ("", NONE)]


def _part(contest: Contest, name: str) -> dict[str, Any]:
    return contest.evaluation.data.get(name) or {}


def parts(contest: Contest) -> list[tuple[str, str, str, str]]:
    """What each part of the data holds: (name, segments, hours, speakers)."""
    found = [(name, _part(contest, name)) for name in ("train", "validation", "test")]
    return [
        (name, _count(p.get("segments")), _hours(p.get("hours")), _count(p.get("speakers")))
        for name, p in found
        if p
    ]


def _count(value: Any) -> str:
    return NONE if value is None else f"{value:,}"


def _hours(value: float | None) -> str:
    return duration(3600 * value) if is_known(value) else NONE


def warnings(contest: Contest) -> list[str]:
    """The evaluation's own, and what scores and runs add to them."""
    evaluation, found = contest.evaluation, list(contest.evaluation.warnings)
    chance = evaluation.metric.chance
    useless = [one for one in contest.ranked if is_known(chance) and one.mean >= chance]
    if useless:
        found.append(f"No better than a guess ({contest.percent(chance)}): {_names(useless)}.")
    for one in contest.ranked:
        skipped = sum(len(outcome.about.get("skipped") or ()) for outcome in one.outcomes)
        if skipped:
            found.append(
                f"{label_of(one)}: {count(skipped, 'batch', 'batches')} had a loss or gradient "
                "that is not finite, and taught nothing."
            )
    without = [one for one in evaluation.models if one not in contest.ranked]
    if without:
        found.append(f"No score of {_names(without)}.")
    return found


def scores_said(contest: Contest) -> str:
    """What the figure of the scores shows."""
    if not contest.ranked:
        return "There is no score to draw."
    text = f"{contest.evaluation.metric.name} of each contender, best at the top."
    if any(one.interval for one in contest.ranked):
        text += (
            " Dots: mean over seeds, with its 95 % interval (Student’s t); rings: each seed. "
            "Where two intervals overlap, the order of the two is not settled."
        )
    else:
        text += " One seed each: no interval, and so no order that is settled."
    if is_known(contest.evaluation.metric.chance) and contest.near_chance is None:
        guess = contest.percent(contest.evaluation.metric.chance)
        text += f" What a guess gives, {guess}, is far beyond the axis."
    if len(contest.encoders) > 1:
        text += " The best of several is so by luck in part."
    return text


def curves_said(contest: Contest) -> str:
    """What the training curves show."""
    if not any(one.typical.history for one in contest.ranked):
        return "No epoch was recorded."
    return (
        "How training went on held-out speech, for each contender’s typical seed (that of the "
        "median score). Diamonds: the epoch whose weights were tested."
    )


def det_said(contest: Contest, outside: list[Model]) -> str:
    """What the DET curves show, and whose lie outside the frame."""
    text = (
        "DET curves of each contender’s typical seed: misses against false alarms as the threshold "
        "moves, on axes of normal quantiles. Further down and left is better; dots on the diagonal "
        "are equal error rates."
    )
    return text + (f" Not in the frame: {_names(outside)}." if outside else "")


def pairs_said(contest: Contest, matrix: bool) -> str:
    """What the confusion matrix shows, or why there is none."""
    one = contest.subject
    if one is None or one.typical.confusion is None:
        return ""
    seed = f"{label_of(one)}, seed {one.typical.seed}"
    n = len([name for name in one.typical.confusion.labels if name])
    if matrix:
        return (
            f"{seed}: what each class (rows) came out as (columns), as shares of the row. The "
            "colours’ scale is a square root, so that rare confusions show."
        )
    if n > DRAWN:
        return f"{seed}: {n:,} classes are too many to draw; below are the most confused."
    return f"{seed}: there is nothing to draw."


# ---------------------------------------------------------------------------------------- tables


def further(contest: Contest) -> list[str]:
    """Names of the further scores, in the order in which they come."""
    return _union(contest, lambda outcome: outcome.scores)


def groups(contest: Contest) -> list[str]:
    """Names of the groups, in the order in which they come."""
    return _union(contest, lambda outcome: outcome.groups)


def _union(contest: Contest, of: Callable[[Outcome], dict[str, float]]) -> list[str]:
    named = (of(outcome) for one in contest.ranked for outcome in one.outcomes)
    return list(dict.fromkeys(name for some in named for name in some))


def mean(values: Iterable[float | None]) -> float | None:
    """Of the values that are known."""
    found = [float(v) for v in values if is_known(v)]
    return float(np.mean(found)) if found else None


def group_said(contest: Contest, one: Model, name: str) -> str:
    """A group's score, mean over seeds."""
    return contest.percent(mean(outcome.groups.get(name) for outcome in one.outcomes))


def further_said(contest: Contest, one: Model, name: str) -> str:
    """A further score, mean over seeds: in percent, unless it is a cost or can't be a share."""
    rows = [mean(o.scores.get(name) for o in other.outcomes) for other in contest.ranked]
    value = rows[contest.ranked.index(one)]
    if "dcf" in name.lower() or any(is_known(v) and not 0 <= v <= 1 for v in rows):
        return decimal(value, 3) if is_known(value) and abs(value) < 100 else _plain(value)
    return contest.percent(value)


def _plain(value: float | None) -> str:
    return plain(value) if is_known(value) else NONE


def about_said(one: Model, name: str) -> str:
    """A number of `about`, mean over seeds: seconds in words."""
    value = mean(outcome.about.get(name) for outcome in one.outcomes)
    if not is_known(value):
        return NONE
    return duration(value) if name == "seconds" else f"{value:,.0f}"


def confused(confusion: Confusion) -> list[tuple[str, str, int, str]]:
    """The most frequent confusions: (truth, outcome, count, share of the truth)."""
    counts, labels = np.array(confusion.counts, float).copy(), confusion.labels
    if not counts.size:
        return []
    of = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    most = FEW if drawable(confusion) else MANY
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    found = []
    for i, j in zip(*np.unravel_index(order, counts.shape), strict=True):
        if counts[i, j] > 0:
            share = f"{100 * counts[i, j] / of[i]:.1f} %" if labels[i] else NONE
            found.append((truth_of(labels[i]), outcome_of(labels[j]), int(counts[i, j]), share))
    return found


def drawable(confusion: Confusion) -> bool:
    """Whether it is small enough for a matrix, and holds anything."""
    return 0 < len([name for name in confusion.labels if name]) <= DRAWN


def truth_of(label: str) -> str:
    """What was said, where that may be nothing."""
    return isolated(label) or "nothing (inserted)"


def outcome_of(label: str) -> str:
    """What came out, where that may be nothing."""
    return isolated(label) or "nothing (deleted)"


def playable(one: Worst) -> str:
    """The recording as a data URI of sound, or nothing: no other address gets into the page."""
    return one.audio if one.audio.startswith("data:audio/") else ""


def left_out(contest: Contest) -> dict[str, int]:
    """How many segments were left out, by reason."""
    return contest.evaluation.data.get("left_out") or {}


def seeds(one: Model) -> list[Outcome]:
    """Its outcomes by seed; of very many the first."""
    return sorted(one.outcomes, key=lambda outcome: outcome.seed)[:LISTED]
