"""What an evaluation found: one outcome for each encoder and seed, written and read as JSON.

Main scores are error rates: 0 is perfect, lower is better, insertions can take one above 1.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augury.errors import InputError, MissingFile, UnusableFile, explain_os_errors
from augury.store import write_atomically
from augury.tables import csv_text

FORMAT = 1


@dataclass(frozen=True)
class Metric:
    """What a task's main score is."""

    name: str  # "EER"
    description: str  # "equal error rate"
    chance: float | None = None  # what a guess gives, where that is known


@dataclass(frozen=True)
class Confusion:
    """How often each class came out as which."""

    labels: tuple[str, ...]  # "" stands for none: an insertion's truth, a deletion's outcome
    counts: tuple[tuple[int, ...], ...]  # truth down, outcome across


@dataclass(frozen=True)
class Mistake:
    """An utterance, or a trial, that went most wrong."""

    name: str  # the recording in words
    error: str  # what is wrong with it, in words
    truth: str = ""
    predicted: str = ""
    audio: str = ""  # a data URI of the recording, or nothing


@dataclass(frozen=True)
class Outcome:
    """What one encoder gave with one seed, on the test part."""

    seed: int
    score: float  # the main one
    interval: tuple[float, float] | None = None  # 95 %, test speakers drawn anew
    scores: dict[str, float] = field(default_factory=dict)  # further ones by name
    groups: dict[str, float] = field(default_factory=dict)  # the main one of parts: "same gender"
    confusion: Confusion | None = None
    det: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # false alarm and miss rates
    mistakes: tuple[Mistake, ...] = ()
    history: tuple[dict[str, Any], ...] = ()  # an entry an epoch, as `pretrain`'s
    about: dict[str, Any] = field(default_factory=dict)  # best_epoch, seconds, parameters, …

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Outcome:
        """The outcome of which `asdict` gave this, after JSON, which has no tuples."""
        fields = dict(plain)
        if fields.get("interval"):
            fields["interval"] = tuple(fields["interval"])
        if fields.get("confusion"):
            counts = tuple(map(tuple, fields["confusion"]["counts"]))
            fields["confusion"] = Confusion(tuple(fields["confusion"]["labels"]), counts)
        if fields.get("det"):
            fields["det"] = tuple(map(tuple, fields["det"]))
        fields["mistakes"] = tuple(Mistake(**mistake) for mistake in fields.get("mistakes", ()))
        fields["history"] = tuple(fields.get("history", ()))
        return cls(**fields)


@dataclass(frozen=True)
class Model:
    """What the task was done on: log-mel, a random encoder, or a pretrained one; and how."""

    name: str  # "mel", "random", or the encoder's folder
    mode: str  # "frozen" or "finetune"
    pseudo_labels: tuple[str, ...] | None = None  # its pseudo-labels (none: reconstruction alone)
    outcomes: tuple[Outcome, ...] = ()  # by seed

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Model:
        """From what `asdict` gave, after JSON."""
        labels = plain["pseudo_labels"]
        return cls(
            plain["name"],
            plain["mode"],
            None if labels is None else tuple(labels),
            tuple(Outcome.from_json(outcome) for outcome in plain["outcomes"]),
        )

    @property
    def baseline(self) -> bool:
        """Whether it was not pretrained with a pseudo-label."""
        return not self.pseudo_labels

    @property
    def mean(self) -> float:
        """Of the scores, over seeds."""
        return float(np.mean([one.score for one in self.outcomes]))

    @property
    def standard_deviation(self) -> float | None:
        """Standard deviation of the scores over seeds; None for a single one."""
        scores = [one.score for one in self.outcomes]
        return float(np.std(scores, ddof=1)) if len(scores) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean over seeds (Student's t); None for a single one."""
        from scipy.stats import t

        if self.standard_deviation is None:
            return None
        n = len(self.outcomes)
        reach = float(t.ppf(0.975, n - 1)) * self.standard_deviation / math.sqrt(n)
        return self.mean - reach, self.mean + reach

    @property
    def median_outcome(self) -> Outcome:
        """The outcome with the median score (the lower one of two)."""
        ordered = sorted(self.outcomes, key=lambda one: (one.score, one.seed))
        return ordered[(len(ordered) - 1) // 2]


@dataclass(frozen=True)
class Evaluation:
    """A task on some data, done on several contenders."""

    task: str  # "asr", "speaker", "classify", or the user's "module:Class"
    metric: Metric
    settings: dict[str, Any]
    data: dict[str, Any]  # manifest, digest; "train", "validation", "test": segments, hours, …
    models: tuple[Model, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def models_by_error(self) -> list[Model]:
        """Those with an outcome, lowest mean error first."""
        done = [one for one in self.models if one.outcomes]
        return sorted(done, key=lambda one: (one.mean, one.name, one.mode))

    @classmethod
    def read(cls, folder: Path | str) -> Evaluation:
        """The evaluation that was written to a folder, equal to what `evaluate` returned.

        Raises:
            InputError: the folder's results.json is missing, damaged or of another version.
        """
        path = Path(folder) / "results.json"
        try:
            with explain_os_errors(path):
                plain = json.loads(path.read_text("utf-8"))
            if plain.pop("format") != FORMAT:
                raise InputError("another format")
            plain["metric"] = Metric(**plain["metric"])
            plain["models"] = tuple(Model.from_json(model) for model in plain["models"])
            plain["warnings"] = tuple(plain["warnings"])
            return cls(**plain)
        except MissingFile as error:
            raise MissingFile(f"{path}: no such file; give the folder of an evaluation") from error
        except UnusableFile:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: not a results.json of this version ({error})") from error

    def write(self, folder: Path) -> Path:
        """Write results.json and results.csv (a row for each outcome); the path of the first."""
        plain = {"format": FORMAT} | asdict(self)
        write_atomically(folder / "results.json", json.dumps(plain, indent=1) + "\n")
        write_atomically(folder / "results.csv", self._table())
        return folder / "results.json"

    def _table(self) -> str:
        """The outcomes as CSV, a row each."""
        about = ("best_epoch", "seconds", "parameters")
        header = ("task", "encoder", "mode", "seed", self.metric.name, "low", "high", *about)
        rows = []
        for model in self.models:
            for outcome in model.outcomes:
                low, high = outcome.interval or ("", "")
                rest = [outcome.about.get(name, "") for name in about]
                run = (self.task, model.name, model.mode, outcome.seed)
                rows.append((*run, outcome.score, low, high, *rest))
        return csv_text(header, rows)
