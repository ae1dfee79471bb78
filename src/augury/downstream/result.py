"""The result of an evaluation: one outcome for each model and seed, written and read as JSON.

Main scores are error rates: 0 is perfect, lower is better; with insertions one can exceed 1.
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
    """What a task's main score is: the name of an error rate, what it means, and chance level.

    >>> Metric("EER", "equal error rate", chance=0.5).name
    'EER'
    """

    name: str  # "EER"
    description: str  # "equal error rate"
    chance: float | None = None  # the score of guessing, where that is known


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix: how often each true class was predicted as each class."""

    labels: tuple[str, ...]  # "" stands for none: the truth of insertions, what deletions give
    counts: tuple[tuple[int, ...], ...]  # a row for each true class, a column for each predicted


@dataclass(frozen=True)
class Mistake:
    """One of the worst errors, shown in the report: an utterance, a segment or a trial."""

    name: str  # the recording, e.g. "a.wav at 0.50 s"
    error: str  # what is wrong, e.g. "3 errors in 5"
    truth: str = ""
    predicted: str = ""
    audio: str = ""  # a data URI of the recording, or ""


@dataclass(frozen=True)
class Outcome:
    """The result of one model with one seed on the test split. A task of your own returns these.

    >>> outcome = Outcome(seed=0, score=0.125, scores={"accuracy": 0.875})
    >>> outcome.score, outcome.interval
    (0.125, None)
    """

    seed: int
    score: float  # the main one, as the task's `metric` says
    interval: tuple[float, float] | None = None  # 95 %, by resampling test speakers
    scores: dict[str, float] = field(default_factory=dict)  # further ones by name
    groups: dict[str, float] = field(default_factory=dict)  # main score by group: "same gender"
    confusion: Confusion | None = None
    det: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # false alarm and miss rates
    mistakes: tuple[Mistake, ...] = ()
    history: tuple[dict[str, Any], ...] = ()  # an entry for each epoch, as in `Pretrained`
    about: dict[str, Any] = field(default_factory=dict)  # best_epoch, seconds, parameters, …

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Outcome:
        """The outcome that `asdict` and JSON turned into `plain`; lists become tuples again."""
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
    """What is compared: log-mel, a random encoder or a pretrained one, frozen or finetuned.

    >>> model = Model("mel", "frozen", None, (Outcome(0, 0.10), Outcome(1, 0.12), Outcome(2, 0.11)))
    >>> round(model.mean, 3), round(model.standard_deviation, 3), model.median_outcome.seed
    (0.11, 0.01, 2)
    >>> [round(end, 3) for end in model.interval]  # of the mean, over seeds
    [0.085, 0.135]
    """

    name: str  # "mel", "random", or the name of the encoder's folder
    mode: str  # "frozen" or "finetune"
    #: Of its pretraining; (): reconstruction alone; None: not pretrained.
    pseudo_labels: tuple[str, ...] | None = None
    outcomes: tuple[Outcome, ...] = ()  # by seed

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Model:
        """The model that `asdict` and JSON turned into `plain`."""
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
        """Mean of the scores over seeds."""
        return float(np.mean([outcome.score for outcome in self.outcomes]))

    @property
    def standard_deviation(self) -> float | None:
        """Standard deviation (n − 1) of the scores over seeds; None for a single one."""
        scores = [outcome.score for outcome in self.outcomes]
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
        """The outcome with the median score; of two in the middle the lower one."""
        ordered = sorted(self.outcomes, key=lambda outcome: (outcome.score, outcome.seed))
        return ordered[(len(ordered) - 1) // 2]


@dataclass(frozen=True)
class Evaluation:
    """The scores of several models on one task and corpus; what `evaluate` returns and writes.

    >>> models = (Model("mel", "frozen", None, (Outcome(0, 0.25),)),
    ...           Model("f0", "frozen", ("F0",), (Outcome(0, 0.125),)))
    >>> Evaluation("classify", Metric("error", "wrong"), {}, {}, models).write("results").name
    'results.json'
    >>> [(model.name, model.mean) for model in Evaluation.read("results").models_by_error()]
    [('f0', 0.125), ('mel', 0.25)]
    """

    task: str  # "asr", "speaker", "classify", or the user's "module:Class"
    metric: Metric
    settings: dict[str, Any]
    data: dict[str, Any]  # manifest, digest; "train", "validation", "test": segments, hours, …
    models: tuple[Model, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def models_by_error(self) -> list[Model]:
        """The models that have an outcome, lowest mean error first."""
        models = [model for model in self.models if model.outcomes]
        return sorted(models, key=lambda model: (model.mean, model.name, model.mode))

    @classmethod
    def read(cls, folder: Path | str) -> Evaluation:
        """The evaluation in a folder, equal to what `evaluate` returned.

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

    def write(self, folder: Path | str) -> Path:
        """Write results.json and results.csv (a row for each outcome); the path of the first."""
        folder = Path(folder)
        plain = {"format": FORMAT} | asdict(self)
        write_atomically(folder / "results.json", json.dumps(plain, indent=1) + "\n")
        write_atomically(folder / "results.csv", self._table())
        return folder / "results.json"

    def _table(self) -> str:
        """The outcomes as CSV, one row each."""
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
