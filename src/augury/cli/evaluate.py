"""`augury evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from augury.cli.console import open_reporter, out
from augury.cli.exits import is_first, require_folders, require_torch
from augury.cli.options import (
    AllowOutside,
    Device,
    Jobs,
    Manifest,
    Minutes,
    Preset,
    Store,
    read_assignments,
    with_settings,
)
from augury.downstream.settings import TASK_SETTINGS, EvaluateSettings
from augury.errors import InputError

if TYPE_CHECKING:
    from augury.downstream.result import Evaluation


TASKS = {f"the task {name}": settings for name, settings in TASK_SETTINGS.items()}


@with_settings(
    EvaluateSettings, *TASKS.values(), panels=["Settings of all tasks (else the preset's)", *TASKS]
)
def evaluate(
    task: Annotated[
        str,
        typer.Argument(help="asr, speaker, classify, or your own as module:Class."),
    ],
    manifest: Manifest,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder that `augury pretrain` wrote; mel: log-mel alone; random: never trained. "
            "May be given again; mel if not given."
        ),
    ] = None,
    preset: Preset = "small",
    seeds: Annotated[int, typer.Option(min=1, help="How often each is trained.")] = 3,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the results; other encoders can be added.")
    ] = Path("augury-evaluation"),
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any setting, as in a preset: channels=[64,64]. Again for more."
        ),
    ] = None,
    allow_outside: AllowOutside = False,
    store: Store = None,
    jobs: Jobs = 0,
    device: Device = "",
    minutes: Minutes = 10.0,
    *,
    choices: dict[str, Any],
) -> None:
    """Train and score a downstream task on pretrained encoders: what did pretraining help?

    Stopped or killed, the same command goes on where it was; with another --encoder and the same
    --out, that one is added to the report.
    """
    require_torch()
    from augury.corpus.read import is_timit, read_corpus
    from augury.downstream.evaluate import evaluate as evaluate_encoders
    from augury.downstream.tasks.task import find_task

    choices = choices | read_assignments(assignments or ())
    utterances = is_timit(manifest) and task in ("asr", "speaker")
    if utterances and task == "asr":  # as published
        choices = {"label": "phones", "fold": "timit39"} | choices
    if task in ("asr", "classify") and "label" not in choices:
        raise InputError("say with --label which column is to be predicted")
    find_task(task).Settings.of(preset, task, **choices)  # now, not after the corpus was read
    level = "utterance" if utterances else None
    corpus = read_corpus(manifest, allow_outside=allow_outside, level=level)
    require_folders(out=out_dir, store=store)
    first = is_first()
    with open_reporter(silent=not first) as reporter:
        evaluation = evaluate_encoders(
            task,
            corpus,
            encoder or ["mel"],
            out=out_dir,
            preset=preset,
            seeds=seeds,
            store=store,
            jobs=jobs or None,
            device=device or None,
            minutes=minutes,
            reporter=reporter,
            **choices,
        )
    if first:
        show_evaluation(evaluation)
        out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)


def show_evaluation(done: Evaluation) -> None:
    """Print each model's error, best first."""
    counts = ", ".join(
        f"{done.data[part]['segments']:,} {part}" for part in ("train", "validation", "test")
    )
    out.print()
    out.print(
        f"{done.task}: {counts} · {done.metric.description} · lower is better", style="italic"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("encoder", "mode", done.metric.name, "sd", "95 % over seeds", "seeds"):
        table.add_column(name, justify="left" if name in ("encoder", "mode") else "right")
    for one in done.models_by_error():
        ends = one.interval
        table.add_row(
            one.name,
            one.mode,
            f"{one.mean:.2%}",
            "" if one.standard_deviation is None else f"{one.standard_deviation:.2%}",
            "" if ends is None else f"{ends[0]:.2%} to {ends[1]:.2%}",
            str(len(one.outcomes)),
        )
    out.print(table)
    for warning in done.warnings:
        out.print(f"! {warning}", style="yellow")
    if done.data["left_out"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in done.data["left_out"].items())
        out.print(f"left out: {reasons} (quarantine.csv)")
