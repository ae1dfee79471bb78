"""Measured errors: the rows of results.csv, and what the store knows of the same jobs."""

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
    """One measured error."""

    regime: str
    candidate: str
    task: str
    mode: str
    pretrain_seed: int
    seed: int  # of the task
    metric: str
    error: float
    interval: tuple[float, ...] | None  # 95 %, test speakers drawn anew
    seconds: float
    pretrain_seconds: float
    key: str  # names settings and inputs
    machine: str
    date: str

    COLUMNS: ClassVar = (
        "regime", "candidate", "task", "mode", "pretrain_seed", "seed", "metric", "error", "low",
        "high", "seconds", "pretrain_seconds", "settings", "machine", "date",
    )  # fmt: skip

    def cells(self) -> tuple[object, ...]:
        """As in results.csv."""
        low, high = self.interval or ("", "")
        return (
            self.regime, self.candidate, self.task, self.mode, self.pretrain_seed, self.seed,
            self.metric, self.error, low, high, self.seconds, self.pretrain_seconds,
            self.key, self.machine, self.date,
        )  # fmt: skip

    @classmethod
    def from_cells(cls, cells: Mapping[str, str]) -> Measurement:
        """From a line of results.csv; ValueError or KeyError where it is none."""
        ends = (cells["low"], cells["high"])
        return cls(
            cells["regime"], cells["candidate"], cells["task"], cells["mode"],
            int(cells["pretrain_seed"]), int(cells["seed"]), cells["metric"],
            float(cells["error"]), tuple(map(float, ends)) if all(ends) else None,
            float(cells["seconds"]), float(cells["pretrain_seconds"]), cells["settings"],
            cells["machine"], cells["date"],
        )  # fmt: skip


def import_rows(path: Path, entries: Sequence[ModelJobs], store: Path, reporter: Reporter) -> None:
    """Let the store know the rows of an earlier run, wherever that was; InputError for no table."""
    before = read_rows(path)
    asked = {job.key: job for entry in entries for job in entry.evaluate.values()}
    if strange := len(before.keys() - asked):
        content = path.read_bytes()
        kept = path.with_name(f"results-{digest(content)[:8]}.csv")  # each by a name of its own
        write_atomically(kept, content)
        reporter.message(
            f"{path} has rows of {strange} jobs that this recipe does not ask for: kept as {kept}"
        )
    for job in asked.values():
        result = result_from_rows(job, before.get(job.key, ()))
        if result and not job.read_result(store):
            write_result(store, job, result)


def read_rows(path: Path) -> dict[str, list[Measurement]]:
    """The rows of a results.csv by their jobs' keys; InputError for another table."""
    found: dict[str, dict[int, Measurement]] = defaultdict(dict)
    if not path.exists():
        return {}
    try:
        with explain_os_errors(path), path.open(newline="", encoding="utf-8") as file:
            for cells in csv.DictReader(file):
                row = Measurement.from_cells(cells)
                found[row.key][row.seed] = row  # the same job may stand there twice
    except UnusableFile:
        raise
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: not a results.csv as this version writes it ({error})"
        ) from error
    return {key: list(rows.values()) for key, rows in found.items()}


def result_from_rows(job: Job, rows: Sequence[Measurement]) -> dict[str, Any] | None:
    """An evaluation's result from its rows, where there is one for each seed."""
    if len(rows) != job.settings["seeds"]:
        return None
    outcomes = [
        {"seed": one.seed, "error": one.error, "interval": one.interval, "seconds": one.seconds}
        for one in rows
    ]
    first = rows[0]
    return {
        "metric": first.metric, "outcomes": outcomes, "machine": first.machine,
        "date": first.date, "pretrain_seconds": first.pretrain_seconds,
        "job_seconds": sum(one.seconds for one in rows),
    }  # fmt: skip


def write_rows(
    folder: Path,
    entries: Sequence[ModelJobs],
    groups: Mapping[str, Sequence[ModelJobs]],
    store: Path,
) -> tuple[list[Measurement], dict[str, list[Measurement]]]:
    """The errors known so far, and those of groups by task, after writing them to results.csv."""
    rows, of_groups = (
        list(_measurements(entries, store)),
        {name: list(_measurements(some, store)) for name, some in groups.items()},
    )
    table = [row.cells() for row in rows]
    for name, some in of_groups.items():  # there the regime says whose the group is
        table += [replace(row, regime=f"group {name}: {row.regime}").cells() for row in some]
    write_csv(folder / "results.csv", Measurement.COLUMNS, table)
    return rows, of_groups


def _measurements(entries: Sequence[ModelJobs], store: Path) -> Iterator[Measurement]:
    for entry in entries:
        trained = entry.pretrain.read_result(store) if entry.pretrain else None
        for (task, mode), job in entry.evaluate.items():
            known = job.read_result(store)
            if known is None:
                continue
            spent = trained["seconds"] if trained else known.get("pretrain_seconds", 0.0)
            for one in known["outcomes"]:
                yield Measurement(
                    regime=entry.regime, candidate=entry.candidate, task=task, mode=mode,
                    pretrain_seed=entry.seed, seed=one["seed"], metric=known["metric"],
                    error=one["error"],
                    interval=tuple(one["interval"]) if one["interval"] else None,
                    seconds=one["seconds"],
                    pretrain_seconds=spent,
                    key=job.key, machine=known["machine"], date=known["date"],
                )  # fmt: skip
