"""The analysis of an experiment: whether it is worth judging by, and which estimators predict."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError, MissingFile, UnusableFile, explain_os_errors
from augury.store import write_atomically
from augury.tables import write_csv
from augury.validation import statistics
from augury.validation.estimators import ESTIMATORS, RECOMMENDED
from augury.validation.measurements import Measurement
from augury.validation.recipe import BASELINE, RECONSTRUCTION, Recipe

#: Least Spearman correlation between the orders of two seeds, for the order to count as repeated.
CEILING = 0.8
#: Watts of a busy core: a server's of 2021, with its share of memory and cooling.
WATTS = 10.0
#: The useless candidate counts as last if at least this share of the others have lower errors.
LAST = 0.8


@dataclass(frozen=True)
class TaskErrors:
    """The errors of a task in a regime."""

    task: str
    regime: str
    metric: str
    candidates: tuple[str, ...]  # that have an error
    errors: NDArray[np.float64]  # (candidates, pretraining seeds), NaN where a run failed

    @property
    def mean(self) -> NDArray[np.float64]:
        """(candidates,) over the seeds that did not fail."""
        return np.nanmean(self.errors, axis=1)


@dataclass(frozen=True)
class Gate:
    """The conditions under which a task in a regime is worth judging estimators by."""

    task: str
    regime: str
    mel: float | None  # error of log-mel
    random: float | None  # of a random encoder
    reconstruction: float | None  # of an encoder that was pretrained without pseudo-labels
    learns: bool | None  # (a) reconstruction is better than both
    ceiling: float | None  # (b) Spearman between the seeds' orders
    ceiling_of_mean: float | None  # reliability of the mean over the seeds
    useless_place: float | None  # (c) 0: the useless candidate is the best, 1: the last
    reasons: tuple[str, ...]  # each condition that fails, in a sentence

    @property
    def open(self) -> bool:
        """Whether all conditions are met."""
        return not self.reasons


@dataclass(frozen=True)
class Verdict:
    """How well an estimator predicted a task's errors in a regime."""

    task: str
    regime: str
    estimator: str
    kind: str
    candidates: int
    spearman: float | None
    spearman_p: float | None  # exact, one-sided: that it predicts
    low: float | None  # 95 % interval of Spearman, candidates and seeds resampled
    high: float | None
    kendall: float | None
    kendall_p: float | None
    regret: float  # error of the first candidate minus that of the best
    regret_of_3: float  # the same for the best of the first three
    ndcg: float | None
    beats_random: float  # probability that the first is better than another one at random


@dataclass(frozen=True)
class Confirmation:
    """The estimator that predicts best on the other tasks, and how well it predicts on this one."""

    task: str
    regime: str
    estimator: str
    elsewhere: float  # mean Spearman on the other tasks
    here: float | None  # Spearman on this task
    recommended: float | None  # Spearman of the recommended estimator on this task


@dataclass(frozen=True)
class GroupResult:
    """The errors of encoders pretrained with a group of pseudo-labels."""

    task: str
    mode: str
    group: str  # "best", "worst", "all", "random"
    members: tuple[str, ...]  # the pseudo-labels, joined by commas; one text a seed
    errors: tuple[float, ...]  # one a seed

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.errors))

    @property
    def standard_deviation(self) -> float | None:
        """Over the seeds; None for one."""
        return float(np.std(self.errors, ddof=1)) if len(self.errors) > 1 else None


@dataclass(frozen=True)
class Analysis:
    """The results of an experiment, from `analyse`.

    >>> analysis = Analysis((), (), (), (), (), {}, {}, core_hours=50.0, ranking_hours=2.0)
    >>> analysis.saved_energy  # kWh
    0.48
    >>> analysis.write(Path("results"))
    >>> Analysis.read(Path("results")) == analysis
    True
    """

    task_errors: tuple[TaskErrors, ...]
    gates: tuple[Gate, ...]
    verdicts: tuple[Verdict, ...]
    confirmations: tuple[Confirmation, ...]
    groups: tuple[GroupResult, ...]
    estimates: Mapping[str, Mapping[str, Mapping[str, float | None]]]  # task, estimator, candidate
    svcca_differences: Mapping[str, float]  # task → mean relative difference by SVCCA
    core_hours: float  # of pretraining with every candidate and evaluating the encoders
    ranking_hours: float

    @property
    def saved_energy(self) -> float:
        """kWh of pretraining with every candidate and evaluating the encoders, less ranking's."""
        return (self.core_hours - self.ranking_hours) * WATTS / 1000

    def write(self, folder: Path) -> None:
        """Write tables as CSV, and the whole analysis as analysis.json, which `read` reads."""
        tables = {
            "gates": self.gates, "correlations": self.verdicts, "confirmed": self.confirmations,
            "groups": self.groups,
        }  # fmt: skip
        for name, rows in tables.items():
            header = [field.name for field in fields(rows[0])] if rows else []
            write_csv(folder / f"{name}.csv", header, map(_cells, rows))
        header = ("task", "estimator", "candidate", "estimate")
        write_csv(folder / "estimates.csv", header, self._estimates())
        text = json.dumps(_plain(asdict(self)), indent=1, allow_nan=False) + "\n"
        write_atomically(folder / "analysis.json", text)

    @classmethod
    def read(cls, folder: Path) -> Analysis:
        """The analysis that `write` wrote into a folder.

        Raises:
            InputError: there is no analysis.json, or not one of this version.
        """
        path = folder / "analysis.json"
        try:
            with explain_os_errors(path):
                plain = json.loads(path.read_text("utf-8"))
            errors: list[TaskErrors] = []
            for row in map(_tuples, plain["task_errors"]):
                row["errors"] = np.array(row["errors"], np.float64)
                errors.append(TaskErrors(**row))
            tables = {
                "gates": Gate, "verdicts": Verdict, "confirmations": Confirmation,
                "groups": GroupResult,
            }  # fmt: skip
            rows = {
                name: tuple(row_class(**_tuples(row)) for row in plain[name])
                for name, row_class in tables.items()
            }
            return cls(**plain | rows | {"task_errors": tuple(errors)})
        except (MissingFile, UnusableFile):
            raise
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}: not an analysis as this version writes it ({error})"
            ) from error

    def _estimates(self) -> Iterator[tuple[object, ...]]:
        for task, by_name in self.estimates.items():
            for name, values in by_name.items():
                yield from ((task, name, candidate, value) for candidate, value in values.items())


def analyse(
    recipe: Recipe,
    estimates: Mapping[str, Mapping[str, Any]],
    rows: Sequence[Measurement],
    of_groups: Mapping[str, Sequence[Measurement]],
) -> Analysis:
    """Check the conditions of an experiment, and compare estimates with measured errors.

    Args:
        estimates: task → its "table", estimator → candidate → estimate, and "job_seconds".
        rows: errors of baselines and candidates.
        of_groups: task → errors of groups of pseudo-labels.
    """
    tables = {task: result["table"] for task, result in estimates.items()}
    measured = [
        errors
        for task in recipe.tasks
        for regime in recipe.regimes
        if task in recipe.tasks_of(regime)
        if (errors := _task_errors(rows, task.name, regime.name, recipe.candidates_of(regime)))
    ]
    verdicts = tuple(v for errors in measured for v in _verdicts(errors, tables[errors.task]))
    seconds = {(row.regime, row.candidate, row.pretrain_seed): row.pretrain_seconds for row in rows}
    spent = sum(seconds.values()) + sum(row.seconds for row in rows)
    return Analysis(
        task_errors=tuple(measured),
        gates=tuple(_gate(errors, rows, recipe) for errors in measured),
        verdicts=verdicts,
        confirmations=tuple(_confirmations(verdicts)),
        groups=tuple(_group_results(of_groups)),
        estimates=tables,
        svcca_differences={task: _svcca_difference(table) for task, table in tables.items()},
        core_hours=spent / 3600,
        ranking_hours=sum(result["job_seconds"] for result in estimates.values()) / 3600,
    )


def _task_errors(
    rows: Sequence[Measurement], task: str, regime: str, candidates: Sequence[str]
) -> TaskErrors | None:
    """A task's errors in a regime, each the mean over the task's own seeds; None without any."""
    matching = [row for row in rows if row.task == task and row.regime == regime]
    if not matching:
        return None
    seeds = sorted({row.pretrain_seed for row in matching})
    errors = np.full((len(candidates), len(seeds)), np.nan)
    for i, name in enumerate(candidates):
        for k, seed in enumerate(seeds):
            run = (name, seed)
            values = [r.error for r in matching if (r.candidate, r.pretrain_seed) == run]
            if values:
                errors[i, k] = np.mean(values)
    measured = np.isfinite(errors).any(axis=1)
    names = tuple(candidates[k] for k in np.flatnonzero(measured).tolist())
    return TaskErrors(task, regime, matching[0].metric, names, errors[measured])


def _gate(measured: TaskErrors, rows: Sequence[Measurement], recipe: Recipe) -> Gate:
    baselines = [row for row in rows if (row.task, row.regime) == (measured.task, BASELINE)]
    mel, random, reconstruction = (
        float(np.mean(errors)) if errors else None
        for errors in (
            [row.error for row in baselines if row.candidate == name]
            for name in ("mel", "random", RECONSTRUCTION)
        )
    )
    reasons: list[str] = []
    learns = None
    if reconstruction is None or mel is None or random is None:
        reasons.append("log-mel, a random encoder or reconstruction was not evaluated")
    else:
        learns = reconstruction < min(mel, random)
        if not learns:
            worse = "log-mel" if mel <= random else "a random encoder"
            reasons.append(
                f"pretraining does not help: reconstruction gives {reconstruction:.1%}, {worse} "
                f"{min(mel, random):.1%}"
            )
    ceiling = statistics.noise_ceiling(measured.errors)
    if ceiling is None:
        reasons.append("too few candidates have two seeds to see whether the order repeats")
    elif ceiling < CEILING:
        reasons.append(f"the order does not repeat: Spearman {ceiling:.3f} between seeds")
    regime = next(r for r in recipe.regimes if r.name == measured.regime)
    planned = len(recipe.candidates_of(regime)) * recipe.pretrain.seeds
    if missing := planned - int(np.isfinite(measured.errors).sum()):
        # Means over different seeds can't be compared, nor can orders of different candidates.
        reasons.append(f"{missing} of {planned} errors are missing")
    place = None
    if recipe.useless in measured.candidates and len(measured.candidates) > 1:
        mean = measured.mean
        own = float(mean[measured.candidates.index(recipe.useless)])
        place = float(np.mean(np.delete(mean, measured.candidates.index(recipe.useless)) < own))
        if place < LAST:
            reasons.append(
                f"{recipe.useless} is no worse than {1 - place:.0%} of the other candidates"
            )
    return Gate(
        measured.task, measured.regime, mel, random, reconstruction, learns, ceiling,
        statistics.corrected_ceiling(measured.errors), place, tuple(reasons),
    )  # fmt: skip


def _verdicts(
    measured: TaskErrors, table: Mapping[str, Mapping[str, float | None]]
) -> list[Verdict]:
    names = list(ESTIMATORS)
    values = np.array(
        [[table[name].get(candidate) for candidate in measured.candidates] for name in names], float
    )  # None becomes NaN
    # Only candidates with an estimate by every estimator: all are compared on the same ones.
    complete = np.isfinite(values).all(axis=0)
    values, errors = values[:, complete], measured.errors[complete]
    if complete.sum() < 3:
        return []
    mean = np.nanmean(errors, axis=1)
    ends = statistics.bootstrap_spearman(values, errors, seed=0)
    verdicts: list[Verdict] = []
    for name, value, interval in zip(names, values, ends, strict=True):
        rho, tau = statistics.spearman(value, mean), statistics.kendall(value, mean)
        low, high = interval or (None, None)
        verdicts.append(
            Verdict(
                measured.task, measured.regime, name, ESTIMATORS[name].kind, int(complete.sum()),
                rho.value, rho.p_value, low, high, tau.value, tau.p_value,
                statistics.regret(value, mean, 1), statistics.regret(value, mean, 3),
                statistics.ndcg(value, mean), statistics.beats_random(value, mean),
            )
        )  # fmt: skip
    return verdicts


def _confirmations(verdicts: Sequence[Verdict]) -> list[Confirmation]:
    """Each task left out in turn: the best estimator on the others, tried on the one left out."""
    confirmations: list[Confirmation] = []
    for regime in dict.fromkeys(verdict.regime for verdict in verdicts):
        of_regime = [v for v in verdicts if v.regime == regime and v.spearman is not None]
        tasks = list(dict.fromkeys(v.task for v in of_regime))
        correlations = {(v.task, v.estimator): v.spearman for v in of_regime}
        for task in tasks if len(tasks) > 1 else ():
            others = {
                name: [correlations.get((other, name)) for other in tasks if other != task]
                for name in ESTIMATORS
            }
            means = {
                name: float(np.mean([v for v in values if v is not None]))
                for name, values in others.items()
                if None not in values
            }
            best = max(sorted(means), key=means.__getitem__)
            confirmations.append(
                Confirmation(
                    task, regime, best, means[best], correlations.get((task, best)),
                    correlations.get((task, RECOMMENDED)),
                )
            )  # fmt: skip
    return confirmations


def _group_results(of_groups: Mapping[str, Sequence[Measurement]]) -> list[GroupResult]:
    results: list[GroupResult] = []
    for task, rows in of_groups.items():
        for mode in dict.fromkeys(row.mode for row in rows):
            for group in dict.fromkeys(row.regime for row in rows):
                of_group = [row for row in rows if (row.mode, row.regime) == (mode, group)]
                if not of_group:
                    continue
                seeds = sorted({row.pretrain_seed for row in of_group})
                by_seed = [[row for row in of_group if row.pretrain_seed == seed] for seed in seeds]
                members = tuple(runs[0].candidate for runs in by_seed)
                errors = tuple(float(np.mean([row.error for row in runs])) for runs in by_seed)
                results.append(GroupResult(task, mode, group, members, errors))
    return results


def _svcca_difference(table: Mapping[str, Mapping[str, float | None]]) -> float:
    """Mean relative difference that SVCCA makes to the paper's estimates; 1.5 % in the paper."""
    svcca = table["paper 0.05 svcca"]
    pairs = [(value, svcca[name]) for name, value in table["paper 0.05"].items() if value]
    return float(np.mean([abs(a - b) / abs(a) for a, b in pairs if b is not None]))


def _cells(row: Any) -> list[object]:
    """The cells of a table's row: its fields in order, tuples joined."""
    values = (getattr(row, field.name) for field in fields(row))
    return ["; ".join(map(str, cast(Any, v))) if isinstance(v, tuple) else v for v in values]


def _plain(value: Any) -> Any:
    """A value that JSON can hold: arrays and tuples as lists, NaN as None."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in cast(Mapping[str, Any], value).items()}
    if isinstance(value, np.ndarray):
        return _plain(cast(NDArray[Any], value).tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast(Sequence[Any], value)]
    return None if isinstance(value, float) and np.isnan(value) else value


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON with its lists as tuples."""
    return {k: tuple(cast(Any, v)) if isinstance(v, list) else v for k, v in row.items()}
