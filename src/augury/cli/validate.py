"""`augury validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from augury.cli.console import open_reporter, out, warn
from augury.cli.exits import quarantine_in, require_folders, require_torch
from augury.cli.options import (
    Cluster,
    Device,
    Minutes,
    Store,
)
from augury.report.text import clock

if TYPE_CHECKING:
    from augury.validation.validate import JobPlan, Validation


def validate(
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML; see the folder recipes.")],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for tables, figures and report.")
    ] = Path("augury-validation"),
    plan: Annotated[
        bool, typer.Option("--plan", help="Only print the jobs and their estimated duration.")
    ] = False,
    store: Store = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Jobs at a time, a core each; 0: as many as cores.")
    ] = 0,
    cluster: Cluster = "",
    device: Device = "",
    minutes: Minutes = 2.0,
) -> None:
    """Test rankings: pretrain with every candidate, evaluate, correlate errors with estimates.

    If stopped or killed, run the same command again to continue; finished jobs are not repeated.
    """
    require_torch()
    from augury.validation.recipe import read_recipe
    from augury.validation.validate import plan_jobs
    from augury.validation.validate import validate as run_experiment

    experiment = read_recipe(recipe)
    require_folders(store=store)
    if plan:
        show_plan(plan_jobs(experiment, store, out_dir), jobs)
        return
    require_folders(out=out_dir)
    with open_reporter() as reporter, quarantine_in(out_dir):
        validation = run_experiment(
            experiment,
            out=out_dir,
            store=store,
            jobs=jobs or None,
            cluster=cluster or None,
            device=device or None,
            minutes=minutes,
            reporter=reporter,
        )
    show_validation(validation)
    out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)
    if validation.failed:
        raise typer.Exit(1)


def show_plan(plan: JobPlan, jobs: int) -> None:
    """Print the jobs of an experiment, and their estimated duration."""
    from augury.compute import cores

    for job, known, seconds in plan.jobs:
        state = "known" if known else clock(seconds) if seconds else "to do"
        out.print(f"{state:>8}  {job.name}", soft_wrap=True)
    if plan.later:
        out.print(f"{'later':>8}  {plan.later} jobs of groups, chosen by the rankings")
    remaining = sum(not known for _, known, _ in plan.jobs)
    at_once = jobs or cores()
    out.print(
        f"{len(plan.jobs)} jobs, {remaining} to do: about {clock(plan.seconds)} of one core, "
        f"{clock(plan.seconds / at_once)} with {at_once} at a time"
    )


def show_validation(validation: Validation) -> None:
    """Print the verdict on the experiment, its gates, and the failed jobs."""
    from augury.validation.report import Wording

    wording = Wording(validation.analysis, validation.recipe)
    out.print()
    out.print(wording.verdict())
    table = Table(box=None, pad_edge=False)
    for name in ("task", "regime", "log-mel", "random", "reconstruction", "between seeds", ""):
        table.add_column(name, justify="left" if name in ("task", "regime", "") else "right")
    for gate in validation.analysis.gates:
        shares = [wording.percent(v) for v in (gate.mel, gate.random, gate.reconstruction)]
        table.add_row(
            gate.task, gate.regime, *shares, wording.number(gate.ceiling), wording.gate(gate)
        )
    out.print(table)
    for failure in validation.failed:
        hint = f"; see {failure.log}" if failure.log else ""
        warn(f"failed: {failure.job.name}: {failure.reason}{hint}")
