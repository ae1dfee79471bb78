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


TaskName = Annotated[
    str,
    typer.Argument(help="asr, speaker, classify, or your own as module:Class."),
]
Encoders = Annotated[
    list[str] | None,
    typer.Option(
        help="Folder that `augury pretrain` wrote; mel: log-mel alone; random: an untrained "
        "encoder. Can be repeated; mel if not given."
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Number of seeds that each model is trained with.")]
Out = Annotated[
    Path, typer.Option("--out", help="Folder of the results; other encoders can be added.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, as in a preset: channels=[64,64]. Can be repeated."),
]


@with_settings(
    EvaluateSettings, *TASKS.values(), panels=["Settings of all tasks (else the preset's)", *TASKS]
)
def evaluate(
    task: TaskName,
    manifest: Manifest,
    encoder: Encoders = None,
    preset: Preset = "small",
    seeds: Seeds = 3,
    out_dir: Out = Path("augury-evaluation"),
    assignments: Assignments = None,
    allow_outside: AllowOutside = False,
    store: Store = None,
    jobs: Jobs = 0,
    device: Device = "",
    minutes: Minutes = 10.0,
    *,
    choices: dict[str, Any],
) -> None:
    """Train and score a downstream task on pretrained encoders, and compare them.

    If stopped or killed, run the same command again to continue; with another --encoder and the
    same --out, that encoder is added to the report.
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
        raise InputError("say with --label which column to predict")
    find_task(task).Settings.of(preset, task, **choices)  # before the corpus is read
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


def show_evaluation(evaluation: Evaluation) -> None:
    """Print each model's error, best first."""
    counts = ", ".join(
        f"{evaluation.data[split]['segments']:,} {split}"
        for split in ("train", "validation", "test")
    )
    out.print()
    out.print(
        f"{evaluation.task}: {counts} · {evaluation.metric.description} · lower is better",
        style="italic",
    )
    table = Table(box=None, pad_edge=False)
    for name in ("encoder", "mode", evaluation.metric.name, "sd", "95 % over seeds", "seeds"):
        table.add_column(name, justify="left" if name in ("encoder", "mode") else "right")
    for model in evaluation.models_by_error():
        ends = model.interval
        table.add_row(
            model.name,
            model.mode,
            f"{model.mean:.2%}",
            "" if model.standard_deviation is None else f"{model.standard_deviation:.2%}",
            "" if ends is None else f"{ends[0]:.2%} to {ends[1]:.2%}",
            str(len(model.outcomes)),
        )
    out.print(table)
    for warning in evaluation.warnings:
        out.print(f"! {warning}", style="yellow")
    if evaluation.data["left_out"]:
        reasons = ", ".join(
            f"{count} {reason}" for reason, count in evaluation.data["left_out"].items()
        )
        out.print(f"left out: {reasons} (quarantine.csv)")
