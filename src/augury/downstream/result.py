"""What an evaluation found: one outcome for each encoder and seed, written and read as JSON.

Main scores are error rates: 0 is perfect, lower is better, insertions can take one above 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augury.errors import InputError
from augury.store import write_atomically
from augury.tables import csv_text

FORMAT = 1


@dataclass(frozen=True)
class Metric:
    """What a task's main score is."""

    name: str  # "EER"
    words: str  # "equal error rate"
    chance: float | None = None  # what a guess gives, where that is known


@dataclass(frozen=True)
class Confusion:
    """How often each class came out as which."""

    labels: tuple[str, ...]  # "" stands for none: an insertion's truth, a deletion's outcome
    counts: tuple[tuple[int, ...], ...]  # truth down, outcome across


@dataclass(frozen=True)
class Worst:
    """An utterance, or a trial, that went most wrong."""

    name: str  # the recording in words
    wrong: str  # what is wrong with it, in words
    truth: str = ""
    outcome: str = ""
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
    worst: tuple[Worst, ...] = ()
    history: tuple[dict[str, Any], ...] = ()  # an entry an epoch, as `pretrain`'s
    about: dict[str, Any] = field(default_factory=dict)  # best_epoch, seconds, parameters, …

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Outcome:
        """From what `asdict` gave, gone through JSON."""
        given = dict(plain)
        if given.get("interval"):
            given["interval"] = tuple(given["interval"])
        if given.get("confusion"):
            counts = tuple(map(tuple, given["confusion"]["counts"]))
            given["confusion"] = Confusion(tuple(given["confusion"]["labels"]), counts)
        if given.get("det"):
            given["det"] = tuple(map(tuple, given["det"]))
        given["worst"] = tuple(Worst(**one) for one in given.get("worst", ()))
        given["history"] = tuple(given.get("history", ()))
        return cls(**given)


@dataclass(frozen=True)
class Model:
    """What the task was done on: log-mel, a random encoder, or a pretrained one; and how."""

    name: str  # "mel", "random", or the encoder's folder
    mode: str  # "frozen" or "finetune"
    pretrained: tuple[str, ...] | None = None  # its pseudo-labels (none: reconstruction alone)
    outcomes: tuple[Outcome, ...] = ()  # by seed

    @property
    def baseline(self) -> bool:
        """Whether it was not pretrained with a pseudo-label."""
        return not self.pretrained

    @property
    def mean(self) -> float:
        """Of the scores, over seeds."""
        return float(np.mean([one.score for one in self.outcomes]))

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the scores over seeds; None for a single one."""
        scores = [one.score for one in self.outcomes]
        return float(np.std(scores, ddof=1)) if len(scores) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean over seeds (Student's t); None for a single one."""
        from scipy.stats import t

        if self.deviation is None:
            return None
        n = len(self.outcomes)
        reach = float(t.ppf(0.975, n - 1)) * self.deviation / math.sqrt(n)
        return self.mean - reach, self.mean + reach

    @property
    def typical(self) -> Outcome:
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

    def ranked(self) -> list[Model]:
        """Those with an outcome, lowest mean error first."""
        done = [one for one in self.models if one.outcomes]
        return sorted(done, key=lambda one: (one.mean, one.name, one.mode))

    def write(self, folder: Path) -> Path:
        """results.json, results.csv (a line an outcome) and report.html; the report's path."""
        from augury.downstream.report import render

        plain = {"format": FORMAT} | asdict(self)
        write_atomically(folder / "results.json", json.dumps(plain, indent=1) + "\n")
        write_atomically(folder / "results.csv", self._table())
        write_atomically(folder / "report.html", render(self))
        return folder / "report.html"

    def _table(self) -> str:
        about = ("best_epoch", "seconds", "parameters")
        header = ("task", "encoder", "mode", "seed", self.metric.name, "low", "high", *about)
        rows = []
        for contender in self.models:
            for one in contender.outcomes:
                low, high = one.interval or ("", "")
                rest = [one.about.get(name, "") for name in about]
                who = (self.task, contender.name, contender.mode)
                rows.append((*who, one.seed, one.score, low, high, *rest))
        return csv_text(header, rows)


def read_evaluation(path: Path) -> Evaluation:
    """The evaluation of a results.json; ValueError where it is none."""
    try:
        plain = json.loads(path.read_text("utf-8"))
        if plain.pop("format") != FORMAT:
            raise InputError("another format")
        plain["metric"] = Metric(**plain["metric"])
        plain["models"] = tuple(_contender(one) for one in plain["models"])
        plain["warnings"] = tuple(plain["warnings"])
        return Evaluation(**plain)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a results.json of this version ({error})") from error


def _contender(plain: dict[str, Any]) -> Model:
    outcomes: Sequence[Outcome] = tuple(Outcome.of(one) for one in plain["outcomes"])
    pretrained = plain["pretrained"]
    pretrained = None if pretrained is None else tuple(pretrained)
    return Model(plain["name"], plain["mode"], pretrained, tuple(outcomes))
