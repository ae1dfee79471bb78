"""Measured errors: the rows of results.csv, and the results of the same jobs in the store."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from augury.errors import InputError, UnusableFile, explain_os_errors
from augury.reporter import Reporter
from augury.store import digest, write_atomically
from augury.tables import write_csv
from augury.validation.jobs import Job, write_result
from augury.validation.plan import ModelJobs


@dataclass(frozen=True)
class Measurement:
    """A measured error of a model on a task."""

    regime: str
    candidate: str
    task: str
    mode: str
    pretrain_seed: int
    seed: int  # of the task
    metric: str
    error: float
    interval: tuple[float, ...] | None  # 95 %, test speakers resampled
    seconds: float
    pretrain_seconds: float
    key: str  # of the job that evaluated it
    machine: str
    date: str

    COLUMNS: ClassVar = (
        "regime", "candidate", "task", "mode", "pretrain_seed", "seed", "metric", "error", "low",
        "high", "seconds", "pretrain_seconds", "settings", "machine", "date",
    )  # fmt: skip

    def cells(self) -> tuple[object, ...]:
        """Its row in results.csv."""
        low, high = self.interval or ("", "")
        return (
            self.regime, self.candidate, self.task, self.mode, self.pretrain_seed, self.seed,
            self.metric, self.error, low, high, self.seconds, self.pretrain_seconds,
            self.key, self.machine, self.date,
        )  # fmt: skip

    @classmethod
    def from_cells(cls, cells: Mapping[str, str]) -> Measurement:
        """From a row of results.csv; ValueError or KeyError if it isn't one."""
        ends = (cells["low"], cells["high"])
        return cls(
            cells["regime"], cells["candidate"], cells["task"], cells["mode"],
            int(cells["pretrain_seed"]), int(cells["seed"]), cells["metric"],
            float(cells["error"]), tuple(map(float, ends)) if all(ends) else None,
            float(cells["seconds"]), float(cells["pretrain_seconds"]), cells["settings"],
            cells["machine"], cells["date"],
        )  # fmt: skip


def import_rows(path: Path, models: Sequence[ModelJobs], store: Path, reporter: Reporter) -> None:
    """Put the rows of an earlier run's results.csv into the store; InputError for another table."""
    imported = read_rows(path)
    planned = {job.key: job for model in models for job in model.evaluate.values()}
    if others := len(imported.keys() - planned):
        with explain_os_errors(path):
            content = path.read_bytes()
        copy = path.with_name(f"results-{digest(content)[:8]}.csv")
        write_atomically(copy, content)
        reporter.message(
            f"{path} has rows of {others} jobs that are not in this recipe: copied to {copy}"
        )
    for job in planned.values():
        result = result_from_rows(job, imported.get(job.key, ()))
        if result and not job.read_result(store):
            write_result(store, job, result)


def read_rows(path: Path) -> dict[str, list[Measurement]]:
    """Job's key → its rows in a results.csv; InputError for another table."""
    by_key: dict[str, dict[int, Measurement]] = defaultdict(dict)
    if not path.exists():
        return {}
    try:
        with explain_os_errors(path), path.open(newline="", encoding="utf-8") as file:
            for cells in csv.DictReader(file):
                row = Measurement.from_cells(cells)
                by_key[row.key][row.seed] = row  # a job may be there twice
    except UnusableFile:
        raise
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: not a results.csv as this version writes it ({error})"
        ) from error
    return {key: list(rows.values()) for key, rows in by_key.items()}


def result_from_rows(job: Job, rows: Sequence[Measurement]) -> dict[str, Any] | None:
    """An evaluation's result from its rows; None if there is not one for each seed."""
    if len(rows) != job.settings["seeds"]:
        return None
    outcomes = [
        {"seed": row.seed, "error": row.error, "interval": row.interval, "seconds": row.seconds}
        for row in rows
    ]
    first = rows[0]
    return {
        "metric": first.metric, "outcomes": outcomes, "machine": first.machine,
        "date": first.date, "pretrain_seconds": first.pretrain_seconds,
        "job_seconds": sum(row.seconds for row in rows),
    }  # fmt: skip


def write_rows(
    folder: Path,
    models: Sequence[ModelJobs],
    groups: Mapping[str, Sequence[ModelJobs]],
    store: Path,
) -> tuple[list[Measurement], dict[str, list[Measurement]]]:
    """Write the errors measured so far to results.csv; return them, and those of groups by task."""
    rows, of_groups = (
        list(_measurements(models, store)),
        {
            name: list(_measurements(entries_of_task, store))
            for name, entries_of_task in groups.items()
        },
    )
    table = [row.cells() for row in rows]
    for name, rows_of_task in of_groups.items():  # the regime names the group's task
        table += [
            replace(row, regime=f"group {name}: {row.regime}").cells() for row in rows_of_task
        ]
    write_csv(folder / "results.csv", Measurement.COLUMNS, table)
    return rows, of_groups


def _measurements(models: Sequence[ModelJobs], store: Path) -> Iterator[Measurement]:
    for model in models:
        trained = model.pretrain.read_result(store) if model.pretrain else None
        for (task, mode), job in model.evaluate.items():
            result = job.read_result(store)
            if result is None:
                continue
            spent = trained["seconds"] if trained else result.get("pretrain_seconds", 0.0)
            for outcome in result["outcomes"]:
                yield Measurement(
                    regime=model.regime, candidate=model.candidate, task=task, mode=mode,
                    pretrain_seed=model.seed, seed=outcome["seed"], metric=result["metric"],
                    error=outcome["error"],
                    interval=tuple(outcome["interval"]) if outcome["interval"] else None,
                    seconds=outcome["seconds"],
                    pretrain_seconds=spent,
                    key=job.key, machine=result["machine"], date=result["date"],
                )  # fmt: skip
