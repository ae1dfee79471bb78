"""From estimates and measured errors: is the experiment worth judging by, and who was right?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError, MissingFile, UnusableFile, explain_os_errors
from augury.store import write_atomically
from augury.tables import write_csv
from augury.validation import statistics
from augury.validation.estimators import ESTIMATORS, RECOMMENDED
from augury.validation.measurements import Measurement
from augury.validation.recipe import BASELINE, RECONSTRUCTION, Recipe

#: The order of two seeds that an experiment should repeat at least, as a Spearman correlation.
CEILING = 0.8
#: Watts of a busy core, for energy: a server's of 2021, with its share of memory and cooling.
WATTS = 10.0
#: Error among the candidates, as a share of the places, from which the useless one is nearly last.
LAST = 0.8


@dataclass(frozen=True)
class TaskErrors:
    """A task's errors in one regime."""

    task: str
    regime: str
    metric: str
    candidates: tuple[str, ...]  # those with an error
    errors: NDArray[np.float64]  # (candidates, pretraining seeds), NaN where a run failed

    @property
    def mean(self) -> NDArray[np.float64]:
        """(candidates,) over the seeds."""
        return np.nanmean(self.errors, axis=1)


@dataclass(frozen=True)
class Gate:
    """Whether a task in a regime is worth judging by."""

    task: str
    regime: str
    mel: float | None
    random: float | None
    reconstruction: float | None
    learns: bool | None  # (a) reconstruction is better than both
    ceiling: float | None  # (b) Spearman between the seeds' orders
    ceiling_of_mean: float | None  # what that makes of the mean over the seeds
    useless_place: float | None  # (c) 0: the useless candidate is the best, 1: the last
    reasons: tuple[str, ...]  # what fails, in words

    @property
    def open(self) -> bool:
        """Whether all that is known of it is as it should be."""
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
    low: float | None  # 95 % of Spearman, candidates and seeds drawn anew
    high: float | None
    kendall: float | None
    kendall_p: float | None
    regret: float  # error of the first less that of the best
    regret_of_3: float
    ndcg: float | None
    beats_random: float  # probability that the first is better than one drawn at random


@dataclass(frozen=True)
class Confirmation:
    """An estimator chosen on the other tasks, and what it was worth on this one."""

    task: str
    regime: str
    estimator: str
    elsewhere: float  # mean Spearman on the tasks it was chosen on
    here: float | None
    recommended: float | None  # what the recommended estimator gave here


@dataclass(frozen=True)
class GroupResult:
    """A group of pseudo-labels, pretrained with together."""

    task: str
    mode: str
    group: str  # "best", "worst", "all", "random"
    members: tuple[str, ...]  # the pseudo-labels, between commas, one a seed
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
    """All that an experiment says."""

    task_errors: tuple[TaskErrors, ...]
    gates: tuple[Gate, ...]
    verdicts: tuple[Verdict, ...]
    confirmations: tuple[Confirmation, ...]
    groups: tuple[GroupResult, ...]
    estimates: Mapping[str, Mapping[str, Mapping[str, float | None]]]  # task, estimator, candidate
    svcca_differences: Mapping[str, float]  # task → mean relative difference by SVCCA
    core_hours: float  # that pretraining and judging every candidate took
    ranking_hours: float  # that ranking took

    @property
    def saved_energy(self) -> float:
        """kWh that pretraining and judging every candidate took, less what ranking took."""
        return (self.core_hours - self.ranking_hours) * WATTS / 1000

    def write(self, folder: Path) -> None:
        """Write the tables as CSV, and all of it as analysis.json, which `read` reads."""
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
            InputError: there is no analysis.json, or it is not one that this version writes.
        """
        path = folder / "analysis.json"
        try:
            with explain_os_errors(path):
                plain = json.loads(path.read_text("utf-8"))
            errors = []
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
    """Judge the experiment, then the estimators."""
    tables = {task: one["table"] for task, one in estimates.items()}
    measured = [
        one
        for judge in recipe.tasks
        for regime in recipe.regimes
        if judge in recipe.tasks_of(regime)
        if (one := _task_errors(rows, judge.name, regime.name, recipe.candidates_of(regime)))
    ]
    verdicts = tuple(one for some in measured for one in _verdicts(some, tables[some.task]))
    seconds = {(one.regime, one.candidate, one.pretrain_seed): one.pretrain_seconds for one in rows}
    spent = sum(seconds.values()) + sum(one.seconds for one in rows)
    return Analysis(
        task_errors=tuple(measured),
        gates=tuple(_gate(one, rows, recipe) for one in measured),
        verdicts=verdicts,
        confirmations=tuple(_confirmations(verdicts)),
        groups=tuple(_group_results(of_groups)),
        estimates=tables,
        svcca_differences={task: _svcca_difference(table) for task, table in tables.items()},
        core_hours=spent / 3600,
        ranking_hours=sum(one["job_seconds"] for one in estimates.values()) / 3600,
    )


def _task_errors(
    rows: Sequence[Measurement], task: str, regime: str, candidates: Sequence[str]
) -> TaskErrors | None:
    mine = [one for one in rows if one.task == task and one.regime == regime]
    if not mine:
        return None
    seeds = sorted({one.pretrain_seed for one in mine})
    errors = np.full((len(candidates), len(seeds)), np.nan)
    for i, name in enumerate(candidates):
        for k, seed in enumerate(seeds):
            of = [one.error for one in mine if (one.candidate, one.pretrain_seed) == (name, seed)]
            if of:
                errors[i, k] = np.mean(of)
    there = np.isfinite(errors).any(axis=1)
    names = tuple(candidates[k] for k in np.flatnonzero(there).tolist())
    return TaskErrors(task, regime, mine[0].metric, names, errors[there])


def _gate(one: TaskErrors, rows: Sequence[Measurement], recipe: Recipe) -> Gate:
    base = {
        name: [
            r.error for r in rows if (r.task, r.regime, r.candidate) == (one.task, BASELINE, name)
        ]
        for name in ("mel", "random", RECONSTRUCTION)
    }
    mel, random, reconstruction = (float(np.mean(e)) if e else None for e in base.values())
    reasons: list[str] = []
    learns = None
    if reconstruction is None or mel is None or random is None:
        reasons.append("log-mel, a random encoder or reconstruction was not judged")
    else:
        learns = reconstruction < min(mel, random)
        if not learns:
            worse = "log-mel" if mel <= random else "a random encoder"
            reasons.append(
                f"pretraining does not help: reconstruction gives {reconstruction:.1%}, {worse} "
                f"{min(mel, random):.1%}"
            )
    ceiling = statistics.noise_ceiling(one.errors)
    if ceiling is None:
        reasons.append("too few have two seeds to see whether the order repeats")
    elif ceiling < CEILING:
        reasons.append(f"the order does not repeat: Spearman {ceiling:.3f} between seeds")
    regime = next(r for r in recipe.regimes if r.name == one.regime)
    wanted = len(recipe.candidates_of(regime)) * recipe.pretrain.seeds
    if missing := wanted - int(np.isfinite(one.errors).sum()):
        # Means over other seeds are not to be compared, nor is an order of a few one of all.
        reasons.append(f"{missing} of {wanted} errors are missing")
    place = None
    if recipe.useless in one.candidates and len(one.candidates) > 1:
        mean = one.mean
        own = mean[one.candidates.index(recipe.useless)]
        place = float(np.mean(np.delete(mean, one.candidates.index(recipe.useless)) < own))
        if place < LAST:
            reasons.append(
                f"{recipe.useless} is no worse than {1 - place:.0%} of the other candidates"
            )
    return Gate(
        one.task, one.regime, mel, random, reconstruction, learns, ceiling,
        statistics.corrected_ceiling(one.errors), place, tuple(reasons),
    )  # fmt: skip


def _verdicts(one: TaskErrors, table: Mapping[str, Mapping[str, float | None]]) -> list[Verdict]:
    names = list(ESTIMATORS)
    values = np.array(
        [[table[name].get(c) if table[name].get(c) is not None else np.nan for c in one.candidates]
         for name in names], float,
    )  # fmt: skip
    # Of the candidates that every estimator has an estimate of: all are judged on the same.
    there = np.isfinite(values).all(axis=0)
    values, errors = values[:, there], one.errors[there]
    if there.sum() < 3:
        return []
    mean = np.nanmean(errors, axis=1)
    ends = statistics.bootstrap_spearman(values, errors, seed=0)
    found = []
    for name, value, interval in zip(names, values, ends, strict=True):
        rho, tau = statistics.spearman(value, mean), statistics.kendall(value, mean)
        low, high = interval or (None, None)
        found.append(
            Verdict(
                one.task, one.regime, name, ESTIMATORS[name].kind, int(there.sum()), rho.value,
                rho.p_value, low, high, tau.value, tau.p_value,
                statistics.regret(value, mean, 1), statistics.regret(value, mean, 3),
                statistics.ndcg(value, mean), statistics.beats_random(value, mean),
            )
        )  # fmt: skip
    return found


def _confirmations(verdicts: Sequence[Verdict]) -> list[Confirmation]:
    """Leave one task out: the estimator best on the others, and what it is worth on this one."""
    found = []
    for regime in dict.fromkeys(one.regime for one in verdicts):
        mine = [one for one in verdicts if one.regime == regime and one.spearman is not None]
        tasks = list(dict.fromkeys(one.task for one in mine))
        at = {(one.task, one.estimator): one.spearman for one in mine}
        for task in tasks if len(tasks) > 1 else ():
            others = {
                name: [at.get((one, name)) for one in tasks if one != task] for name in ESTIMATORS
            }
            means = {
                name: float(np.mean([v for v in values if v is not None]))
                for name, values in others.items()
                if None not in values
            }
            best = max(sorted(means), key=means.__getitem__)
            found.append(
                Confirmation(
                    task, regime, best, means[best], at.get((task, best)),
                    at.get((task, RECOMMENDED)),
                )
            )  # fmt: skip
    return found


def _group_results(of_groups: Mapping[str, Sequence[Measurement]]) -> list[GroupResult]:
    found = []
    for task, rows in of_groups.items():
        for mode in dict.fromkeys(one.mode for one in rows):
            for group in dict.fromkeys(one.regime for one in rows):
                mine = [one for one in rows if (one.mode, one.regime) == (mode, group)]
                if not mine:
                    continue
                seeds = sorted({one.pretrain_seed for one in mine})
                each = [[one for one in mine if one.pretrain_seed == seed] for seed in seeds]
                members = tuple(some[0].candidate for some in each)
                errors = tuple(float(np.mean([one.error for one in some])) for some in each)
                found.append(GroupResult(task, mode, group, members, errors))
    return found


def _svcca_difference(table: Mapping[str, Mapping[str, float | None]]) -> float:
    """Mean relative difference by SVCCA of the paper's own estimates, which gave it 1.5 %."""
    other = table["paper 0.05 svcca"]
    pairs = [(value, other[name]) for name, value in table["paper 0.05"].items() if value]
    return float(np.mean([abs(a - b) / abs(a) for a, b in pairs if b is not None]))


def _cells(row: Any) -> list[object]:
    """The cells of a table's row: its fields in order, several values of one joined."""
    values = (getattr(row, field.name) for field in fields(row))
    return ["; ".join(map(str, v)) if isinstance(v, tuple) else v for v in values]


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: arrays and tuples as lists, NaN as None."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON with its lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
