"""What the report of a pretraining says in words and numbers, and its model card."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from augury import audio
from augury.report.text import count, decimal, duration, has_value, join_names, percent, plain

if TYPE_CHECKING:  # a pretraining is written with its report: the import goes the other way
    from augury.pretraining.config import Config
    from augury.pretraining.targets import Target

#: Ratio of a loss to that of a constant guess above which a worker learned hardly anything.
HARDLY = 0.95
#: Up to this many pseudo-labels are named in a heading.
NAMED = 3
#: Up to this many epochs, categories or skipped batches are listed.
LISTED = 200

RATE = audio.RATE  # Hz of the encoder's input
FRAMES = round(1 / audio.HOP)  # features a second
FIRST = 1e3 * audio.WINDOW / 2  # ms from the beginning to the middle of the first frame

#: Targets computed from the encoder's own input: what they are called, stand for, and cost.
SPEECH = {
    "mel": ("log-mel", "log-mel of the speech itself, dB", "MSE of z-scored log-mel"),
    "mfcc": ("MFCC", "MFCCs of the speech itself", "MSE of z-scored MFCC"),
}
PAPER = (
    "Zaiem, Parcollet, Essid: Conditional independence for pretext task selection in "
    "self-supervised speech representation learning, Interspeech 2021, arXiv 2104.07388"
)


@dataclass(frozen=True)
class WorkerLoss:
    """The losses of a worker, or of all together, in the epoch kept."""

    key: str  # what config and history call it
    name: str
    kind: str  # of the loss, in words
    weight: float | None  # in the whole
    training: float | None
    validation: float | None
    constant_guess: float | None  # of the best guess that is always the same, on what is held out

    @property
    def ratio(self) -> float | None:
        """Validation loss to that of a constant guess: 0 perfect, 1 nothing learned."""
        if (
            has_value(self.validation)
            and has_value(self.constant_guess)
            and self.constant_guess > 0
        ):
            return self.validation / self.constant_guess
        return None

    @property
    def remark(self) -> str:
        """What a ratio near 1 or above means; "" for a lower one, or none."""
        if not has_value(self.ratio) or self.ratio <= HARDLY:
            return ""
        return "learned hardly anything" if self.ratio < 1 else "no better than a constant guess"


@dataclass(frozen=True)
class LossCurves:
    """A pretraining as its report shows it."""

    workers: list[WorkerLoss]  # the workers: of pseudo-labels first, then of the speech itself
    total: WorkerLoss
    history: list[dict[str, Any]]  # an entry an epoch
    kept: int  # epoch whose weights were kept, 1-based
    held_out: bool  # whether anything was, to validate on

    @classmethod
    def of(cls, config: Config, history: list[dict[str, Any]]) -> LossCurves:
        """From what config.toml and history.json hold."""
        training, validation = config.result["training"], config.result["validation"]
        guess = config.result.get("constant_guess", {})
        # A worker that had no frame to count has no loss, and its 0 is none to beat.
        guess = {name: value for name, value in guess.items() if name in validation}
        targets = [one for one in config.targets if one.weight]
        targets.sort(key=lambda one: one.name in SPEECH)
        parts = [
            WorkerLoss(
                one.name, name_of(one), loss_of(one), one.weight, training.get(one.name),
                validation.get(one.name), guess.get(one.name),
            )
            for one in targets
        ]  # fmt: skip
        total = sum(one.weight * guess[one.name] for one in targets if one.name in guess)
        whole = WorkerLoss(
            "loss", "all together", "sum, each by its weight", None, training.get("loss"),
            validation.get("loss"), total if guess else None,
        )  # fmt: skip
        return cls(parts, whole, history, config.result["best_epoch"], bool(validation))

    def losses_by_epoch(self, part: WorkerLoss, of: str) -> list[float | None]:
        """The "training" or "validation" losses of a part, one an epoch."""
        return [epoch[of].get(part.key) for epoch in self.history]


# ------------------------------------------------------------------------------------- targets


def name_of(target: Target) -> str:
    """A target as the report calls it."""
    return SPEECH[target.name][0] if target.name in SPEECH else target.name


def source_of(target: Target) -> str:
    """What a target stands for."""
    return SPEECH[target.name][1] if target.name in SPEECH else target.source


def loss_of(target: Target) -> str:
    """What a wrong prediction of it costs."""
    if target.name in SPEECH:
        return SPEECH[target.name][2]
    return "cross-entropy" if target.categories else "L1 of the z-scored pseudo-label"


def values_of(target: Target) -> str:
    """What it is at one frame."""
    if target.categories:
        return f"one of {len(target.categories):,} categories"
    return count(target.dims, "number")


def number_range(values: np.ndarray) -> str:
    """One number, or the range of several."""
    low, high = plain(float(values.min())), plain(float(values.max()))
    return low if low == high else f"{low} to {high}"


def category_shares(target: Target) -> list[tuple[str, str]]:
    """A target's categories with their shares of the frames, the largest first."""
    order = np.argsort(-target.mean, kind="stable")[:LISTED]
    return [(target.categories[k], percent(float(target.mean[k]))) for k in order]


def digests(config: Config) -> dict[str, str]:
    """Digests of what the run was made from."""
    found = {"segments": config.data["segments"]}
    if config.ranking:
        inputs = config.ranking.get("inputs", {})
        found["ranking"] = config.ranking["digest"]
        found |= {f"ranking: {name}": value for name, value in inputs.items()}
    return found


def training_settings(config: Config) -> dict[str, Any]:
    """All settings but the encoder's."""
    return {k: v for k, v in config.settings.to_dict().items() if k != "encoder"}


def opensmile_targets(config: Config) -> list[str]:
    """Targets that openSMILE computed, whose licence the reader must know of."""
    return [one.name for one in config.targets if one.source.startswith("opensmile:")]


# ----------------------------------------------------------------------------------- sentences


def aim(config: Config) -> str:
    """What the encoder was to learn, in a heading's few words."""
    names = list(config.settings.pseudo_labels)
    if names:
        few = len(names) <= NAMED
        return f"to predict {join_names(names) if few else f'{len(names)} pseudo-labels'}"
    own = join_names([name for name, _ in speech_workers(config)])
    return f"to reconstruct the speech itself ({own})"


def speech_workers(config: Config) -> list[tuple[str, float]]:
    """Names and weights of the workers that reconstruct the speech itself."""
    weights = {"mel": config.settings.mel, "mfcc": config.settings.mfcc}
    return [(SPEECH[key][0], weight) for key, weight in weights.items() if weight]


def targets_sentence(config: Config) -> str:
    """What was predicted, each with its weight in the loss."""
    labels, own = list(config.settings.pseudo_labels.items()), speech_workers(config)
    alike = len({weight for _, weight in labels + own}) == 1

    def name_list(some: list[tuple[str, float]]) -> str:
        if alike:
            return join_names([name for name, _ in some])
        return join_names([f"{name} ({plain(weight)})" for name, weight in some])

    goals = [f"{count(len(labels), 'pseudo-label')}, {name_list(labels)}"] if labels else []
    goals += [f"the speech itself, as {name_list(own)}"] if own else []
    text = f"At every frame it had to predict {'; and '.join(goals)}"
    if not alike:
        return f"{text}. The weights in its loss are in brackets."
    return f"{text}, {'each ' * (len(labels + own) > 1)}with weight {plain((labels + own)[0][1])}."


def training_sentence(config: Config) -> str:
    """On how much speech, how many epochs, and which of them was kept."""
    data, result, settings = config.data, config.result, config.settings
    epochs, kept = result["epochs"], result["best_epoch"]
    text = (
        f"It saw {duration(3600 * data['hours'])} of speech ({count(data['clips'], 'clip')}) in "
        f"{count(epochs, 'epoch')}"
    )
    if epochs < settings.epochs:
        text += (
            f", of {settings.epochs:,} at most: it stopped after "
            f"{count(settings.patience, 'epoch')} without a lower loss on held-out speech"
        )
    if epochs == 1:
        return f"{text}."
    why = "of the lowest loss on held-out speech" if result["validation"] else "the last"
    return f"{text}. Kept are the weights of epoch {kept:,}, {why}."


def verdict(run: LossCurves) -> str:
    """Whether the workers learned anything, in a few sentences."""
    if not run.held_out:
        return (
            "Nothing was held out, so how well it predicts other speech is not known: there are "
            "only losses on the speech it was trained on."
        )
    judged = [one for one in run.workers if has_value(one.ratio)]
    if not judged:
        return "No worker has a loss on held-out speech that it could be judged by."
    able = sorted((one for one in judged if not one.remark), key=lambda one: one.ratio or 0.0)
    n, where = len(judged), "better than a constant guess on held-out speech"
    only = f"The only worker, {judged[0].name},"
    if not able:
        text = f"{only} does not do" if n == 1 else f"None of the {n} workers does"
        text += f" clearly {where}."
    elif n == 1:
        text = f"{only} does {where}: {_ratio_text(able[0])} of the loss."
    elif len(able) == 1:
        text = f"1 of {n} workers does {where}: {able[0].name}, {_ratio_text(able[0])} of the loss."
    else:
        who = f"All {n}" if len(able) == n else f"{len(able)} of {n}"
        text = (
            f"{who} workers do {where}: from {_ratio_text(able[0])} of the loss ({able[0].name}) "
            f"to {_ratio_text(able[-1])} ({able[-1].name})."
        )
    for remark in ("learned hardly anything", "no better than a constant guess"):
        names = [one.name for one in judged if one.remark == remark]
        verb = ("is ", "are ")[len(names) > 1] if remark.startswith("no") else ""
        text += f" {join_names(names)} {verb}{remark}." if names else ""
    return text


def _ratio_text(part: WorkerLoss) -> str:
    return decimal(part.ratio, 2)


def facts(config: Config) -> list[tuple[str, str]]:
    """The key facts: (name, value)."""
    data, result = config.data, config.result
    held_out = duration(3600 * data["validation_hours"]) if result["validation"] else "nothing"
    found = [
        ("pseudo-labels", f"{len(config.settings.pseudo_labels):,}"),
        ("speech", duration(3600 * data["hours"])),
        ("held out", held_out),
        ("epochs", f"{result['epochs']:,}"),
        ("epoch kept", f"{result['best_epoch']:,}"),
        ("time", duration(result["seconds"])),
        ("speed", speed(config)),
        ("parameters", f"{result['parameters']:,}"),
    ]
    return [one for one in found if one[1]]


def speed(config: Config) -> str:
    """Seconds of audio trained on in a second; "" if that is not known."""
    seconds = config.result["seconds"]
    return f"× {plain(config.result['audio_seconds'] / seconds)} real time" if seconds else ""


def warnings(config: Config, run: LossCurves) -> list[str]:
    """What the reader must not miss, beside the verdict."""
    found = []
    if not run.held_out:
        found.append("No validation: training losses do not show whether the encoder overfits.")
    idle = [one.name for one in run.workers if one.remark]
    if idle:
        found.append(
            f"{join_names(idle)}: hardly better than a constant guess on held-out speech, or "
            "not at all. The encoder may not have learned it."
        )
    missing = [one.name for one in run.workers if run.held_out and not has_value(one.ratio)]
    if missing:
        found.append(f"No loss on held-out speech to judge {join_names(missing)} by.")
    skipped, batches = len(config.result["skipped"]), config.result["batches"]
    if skipped:
        found.append(
            f"{skipped:,} of {count(batches, 'batch', 'batches')} had a loss or gradient that is "
            "not finite, and were skipped; they are named below."
        )
    return found


def total_loss_sentence(run: LossCurves) -> str:
    """What the figure of the total loss shows."""
    of = "validation" if run.held_out else "training"
    where = "on held-out speech" if run.held_out else "on the speech trained on"
    course, n = run.losses_by_epoch(run.total, of), len(run.history)
    first, last, best = course[0], course[-1], course[run.kept - 1]
    if n == 1:
        text = f"One epoch: the total loss {where} is {decimal(last, 3)}."
    else:
        text = (
            f"The total loss {where} went from {decimal(first, 3)} to {decimal(last, 3)} in "
            f"{n:,} epochs."
        )
    if n > 1 and run.held_out and run.kept < n:
        text += f" It was lowest in epoch {run.kept:,}, at {decimal(best, 3)}."
    elif n > 1 and run.held_out:
        text += " It was lowest in the last: more epochs may lower it further."
    if has_value(run.total.constant_guess):
        text += f" That of a constant guess is {decimal(run.total.constant_guess, 3)}."
    return text


def workers_sentence(run: LossCurves) -> str:
    """What the figure of the workers shows."""
    if not run.held_out:
        return "Each worker's loss by epoch, on the speech trained on; each panel begins at 0."
    return (
        "Each worker's loss by epoch; each panel begins at 0. The number is the ratio in the epoch "
        "kept: the further below the dashed line, the more was learned."
    )


# ------------------------------------------------------------------------------------ Markdown


def workers_with_targets(config: Config, run: LossCurves) -> list[tuple[WorkerLoss, Target]]:
    """Each worker with its target."""
    targets = {one.name: one for one in config.targets}
    return [(part, targets[part.key]) for part in run.workers]


def code(text: str, *, cell: bool = False) -> str:
    """Any text as a code span of Markdown, on one line, where none of it is read as markup.

    In a cell of a table a | would end it, code or not, so there it is escaped.
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "(no name)"
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in (text[0], text[-1]) else ""
    return f"{fence}{pad}{text.replace('|', chr(92) + '|') if cell else text}{pad}{fence}"
