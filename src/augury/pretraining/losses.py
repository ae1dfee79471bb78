"""The sentences and numbers of a pretraining's report, and of its model card."""

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

#: Targets computed from the encoder's own input: their names, descriptions and losses.
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
    """The losses of a worker, or the total loss, in the epoch kept."""

    key: str  # its name in config.toml and history.json
    name: str
    kind: str  # of the loss, for people
    weight: float | None  # in the total loss
    training: float | None
    validation: float | None
    constant_guess: float | None  # of the best constant guess, on held-out speech

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
    """The losses of a pretraining, by worker and epoch."""

    workers: list[WorkerLoss]  # of pseudo-labels first, then of the speech itself
    total: WorkerLoss
    history: list[dict[str, Any]]  # an entry an epoch
    kept: int  # epoch whose weights were kept, 1-based
    held_out: bool  # whether any speech was held out for validation

    @classmethod
    def of(cls, config: Config, history: list[dict[str, Any]]) -> LossCurves:
        """From the content of config.toml and history.json."""
        training, validation = config.result["training"], config.result["validation"]
        guess = config.result.get("constant_guess", {})
        # A worker without any value on held-out speech has no loss: a guess of 0 is not one either.
        guess = {name: value for name, value in guess.items() if name in validation}
        targets = [target for target in config.targets if target.weight]
        targets.sort(key=lambda target: target.name in SPEECH)
        parts = [
            WorkerLoss(
                target.name, name_of(target), loss_of(target), target.weight,
                training.get(target.name), validation.get(target.name), guess.get(target.name),
            )
            for target in targets
        ]  # fmt: skip
        total = sum(
            target.weight * guess[target.name] for target in targets if target.name in guess
        )
        together = WorkerLoss(
            "loss", "all together", "sum, each by its weight", None, training.get("loss"),
            validation.get("loss"), total if guess else None,
        )  # fmt: skip
        return cls(parts, together, history, config.result["best_epoch"], bool(validation))

    def losses_by_epoch(self, part: WorkerLoss, split: str) -> list[float | None]:
        """The "training" or "validation" losses of a worker or of the total, one an epoch."""
        return [epoch[split].get(part.key) for epoch in self.history]


# ------------------------------------------------------------------------------------- targets


def name_of(target: Target) -> str:
    """The target's name for people."""
    return SPEECH[target.name][0] if target.name in SPEECH else target.name


def source_of(target: Target) -> str:
    """Where a target's values come from."""
    return SPEECH[target.name][1] if target.name in SPEECH else target.source


def loss_of(target: Target) -> str:
    """The loss of its predictions."""
    if target.name in SPEECH:
        return SPEECH[target.name][2]
    return "cross-entropy" if target.categories else "L1 of the z-scored pseudo-label"


def values_of(target: Target) -> str:
    """What it consists of at each frame."""
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
    """Digests of the run's inputs."""
    digests = {"segments": config.data["segments"]}
    if config.ranking:
        inputs = config.ranking.get("inputs", {})
        digests["ranking"] = config.ranking["digest"]
        digests |= {f"ranking: {name}": value for name, value in inputs.items()}
    return digests


def training_settings(config: Config) -> dict[str, Any]:
    """All settings except the encoder's."""
    return {k: v for k, v in config.settings.to_dict().items() if k != "encoder"}


def opensmile_targets(config: Config) -> list[str]:
    """Targets that openSMILE computed: its licence applies to them."""
    return [target.name for target in config.targets if target.source.startswith("opensmile:")]


# ----------------------------------------------------------------------------------- sentences


def aim(config: Config) -> str:
    """The task of the encoder, for a heading."""
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
    """The sentence that names the targets, with their weights in the loss."""
    labels, own = list(config.settings.pseudo_labels.items()), speech_workers(config)
    equal = len({weight for _, weight in labels + own}) == 1

    def name_list(weighted: list[tuple[str, float]]) -> str:
        if equal:
            return join_names([name for name, _ in weighted])
        return join_names([f"{name} ({plain(weight)})" for name, weight in weighted])

    goals = [f"{count(len(labels), 'pseudo-label')}, {name_list(labels)}"] if labels else []
    goals += [f"the speech itself, as {name_list(own)}"] if own else []
    text = f"At every frame it had to predict {'; and '.join(goals)}"
    if not equal:
        return f"{text}. The weights in its loss are in brackets."
    return f"{text}, {'each ' * (len(labels + own) > 1)}with weight {plain((labels + own)[0][1])}."


def training_sentence(config: Config) -> str:
    """The sentences on the amount of speech, the epochs, and the epoch kept."""
    data, result, settings = config.data, config.result, config.settings
    epochs, kept = result["epochs"], result["best_epoch"]
    text = (
        f"It was trained on {duration(3600 * data['hours'])} of speech "
        f"({count(data['clips'], 'clip')}) for {count(epochs, 'epoch')}"
    )
    if epochs < settings.epochs:
        text += (
            f", of {settings.epochs:,} at most: training stopped after "
            f"{count(settings.patience, 'epoch')} without a lower loss on held-out speech"
        )
    if epochs == 1:
        return f"{text}."
    why = "which had the lowest loss on held-out speech" if result["validation"] else "the last"
    return f"{text}. The weights are those of epoch {kept:,}, {why}."


def verdict(run: LossCurves) -> str:
    """The sentences on how many workers learned something."""
    if not run.held_out:
        return (
            "Nothing was held out, so how well it predicts other speech is not known: there are "
            "only losses on the speech it was trained on."
        )
    judged = [worker for worker in run.workers if has_value(worker.ratio)]
    if not judged:
        return "No worker has a loss on held-out speech."
    able = sorted(
        (worker for worker in judged if not worker.remark), key=lambda worker: worker.ratio or 0.0
    )
    n, better = len(judged), "better than a constant guess on held-out speech"
    only = f"The only worker, {judged[0].name},"
    if not able:
        text = f"{only} does not do" if n == 1 else f"None of the {n} workers does"
        text += f" clearly {better}."
    elif n == 1:
        text = f"{only} does {better}: {_ratio_text(able[0])} of the loss."
    elif len(able) == 1:
        text = (
            f"1 of {n} workers does {better}: {able[0].name}, {_ratio_text(able[0])} of the loss."
        )
    else:
        share = f"All {n}" if len(able) == n else f"{len(able)} of {n}"
        text = (
            f"{share} workers do {better}: from {_ratio_text(able[0])} of the loss "
            f"({able[0].name}) to {_ratio_text(able[-1])} ({able[-1].name})."
        )
    for remark in ("learned hardly anything", "no better than a constant guess"):
        names = [worker.name for worker in judged if worker.remark == remark]
        verb = ("is ", "are ")[len(names) > 1] if remark.startswith("no") else ""
        text += f" {join_names(names)} {verb}{remark}." if names else ""
    return text


def _ratio_text(part: WorkerLoss) -> str:
    return decimal(part.ratio, 2)


def facts(config: Config) -> list[tuple[str, str]]:
    """The key facts: pairs of name and value."""
    data, result = config.data, config.result
    held_out = duration(3600 * data["validation_hours"]) if result["validation"] else "nothing"
    pairs = [
        ("pseudo-labels", f"{len(config.settings.pseudo_labels):,}"),
        ("speech", duration(3600 * data["hours"])),
        ("held out", held_out),
        ("epochs", f"{result['epochs']:,}"),
        ("epoch kept", f"{result['best_epoch']:,}"),
        ("time", duration(result["seconds"])),
        ("speed", speed(config)),
        ("parameters", f"{result['parameters']:,}"),
    ]
    return [pair for pair in pairs if pair[1]]


def speed(config: Config) -> str:
    """Seconds of audio trained on in a second; "" if unknown."""
    seconds = config.result["seconds"]
    return f"× {plain(config.result['audio_seconds'] / seconds)} real time" if seconds else ""


def warnings(config: Config, run: LossCurves) -> list[str]:
    """Warnings that the reader should not miss, a text each."""
    texts: list[str] = []
    if not run.held_out:
        texts.append("No validation: training losses do not show whether the encoder overfits.")
    idle = [worker.name for worker in run.workers if worker.remark]
    if idle:
        texts.append(
            f"{join_names(idle)}: hardly better than a constant guess on held-out speech, or "
            "not at all. The encoder may not have learned it."
        )
    missing = [
        worker.name for worker in run.workers if run.held_out and not has_value(worker.ratio)
    ]
    if missing:
        texts.append(f"No loss on held-out speech for {join_names(missing)}.")
    skipped, batches = len(config.result["skipped"]), config.result["batches"]
    if skipped:
        texts.append(
            f"{skipped:,} of {count(batches, 'batch', 'batches')} had a loss or gradient that is "
            "not finite, and were skipped; they are listed below."
        )
    return texts


def total_loss_sentence(run: LossCurves) -> str:
    """The caption of the total loss."""
    split = "validation" if run.held_out else "training"
    speech = "on held-out speech" if run.held_out else "on the training speech"
    course, n = run.losses_by_epoch(run.total, split), len(run.history)
    first, last, best = course[0], course[-1], course[run.kept - 1]
    if n == 1:
        text = f"One epoch: the total loss {speech} is {decimal(last, 3)}."
    else:
        text = (
            f"The total loss {speech} went from {decimal(first, 3)} to {decimal(last, 3)} in "
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
    """The caption of the workers' losses."""
    if not run.held_out:
        return "Each worker's loss by epoch, on the training speech; each panel begins at 0."
    return (
        "Each worker's loss by epoch; each panel begins at 0. The number is the ratio in the epoch "
        "kept: the further below the dashed line, the more was learned."
    )


# ------------------------------------------------------------------------------------ Markdown


def workers_with_targets(config: Config, run: LossCurves) -> list[tuple[WorkerLoss, Target]]:
    """Each worker with its target."""
    targets = {target.name: target for target in config.targets}
    return [(part, targets[part.key]) for part in run.workers]


def code_span(text: str, *, cell: bool = False) -> str:
    """Any text as a code span of Markdown, on one line, so that none of it is read as markup.

    A | would end the cell of a table, in code or not, so in a cell it is escaped.

    >>> code_span("a`b")
    '``a`b``'
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "(no name)"
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in (text[0], text[-1]) else ""
    return f"{fence}{pad}{text.replace('|', chr(92) + '|') if cell else text}{pad}{fence}"
