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
        bool, typer.Option("--plan", help="Only print the jobs, and about how long they take.")
    ] = False,
    store: Store = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Jobs at a time, a core each; 0: as many as cores.")
    ] = 0,
    cluster: Cluster = "",
    device: Device = "",
    minutes: Minutes = 2.0,
) -> None:
    """See whether rankings tell the truth: pretrain with every candidate, judge, correlate.

    Stopped or killed, the same command goes on where it was; a job that ended is not run again.
    """
    require_torch()
    from augury.validation.recipe import read_recipe
    from augury.validation.validate import plan_jobs
    from augury.validation.validate import validate as validated

    read = read_recipe(recipe)
    require_folders(store=store)
    if plan:
        show_plan(plan_jobs(read, store, out_dir), jobs)
        return
    require_folders(out=out_dir)
    with open_reporter() as reporter, quarantine_in(out_dir):
        done = validated(
            read,
            out=out_dir,
            store=store,
            jobs=jobs or None,
            cluster=cluster or None,
            device=device or None,
            minutes=minutes,
            reporter=reporter,
        )
    show_validation(done)
    out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)
    if done.failed:
        raise typer.Exit(1)


def show_plan(plan: JobPlan, jobs: int) -> None:
    """Print the jobs of an experiment, and about how long they take."""
    from augury.compute import cores

    for job, known, seconds in plan.jobs:
        state = "known" if known else clock(seconds) if seconds else "to do"
        out.print(f"{state:>8}  {job.name}", soft_wrap=True)
    if plan.later:
        out.print(f"{'later':>8}  {plan.later} jobs of groups, chosen by the rankings")
    left = sum(not known for _, known, _ in plan.jobs)
    at_once = jobs or cores()
    out.print(
        f"{len(plan.jobs)} jobs, {left} to do: about {clock(plan.seconds)} of one core, "
        f"{clock(plan.seconds / at_once)} with {at_once} at a time"
    )


def show_validation(done: Validation) -> None:
    """Print whether the experiment can be judged, and what failed."""
    from augury.validation.report import Wording

    said = Wording(done.analysis, done.recipe)
    out.print()
    out.print(said.verdict())
    table = Table(box=None, pad_edge=False)
    for name in ("task", "regime", "log-mel", "random", "reconstruction", "between seeds", ""):
        table.add_column(name, justify="left" if name in ("task", "regime", "") else "right")
    for one in done.analysis.gates:
        shares = [said.percent(v) for v in (one.mel, one.random, one.reconstruction)]
        table.add_row(one.task, one.regime, *shares, said.number(one.ceiling), said.gate(one))
    out.print(table)
    for one in done.failed:
        where = f"; see {one.log}" if one.log else ""
        warn(f"failed: {one.job.name}: {one.reason}{where}")
