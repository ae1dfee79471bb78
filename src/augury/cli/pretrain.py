"""`augury pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from augury.cli.candidates import print_licence
from augury.cli.console import err, open_reporter, out, warn
from augury.cli.exits import is_first, require_folders, require_torch
from augury.cli.options import (
    AllowOutside,
    Device,
    Jobs,
    Minutes,
    Preset,
    Speech,
    Store,
    with_settings,
)
from augury.errors import InputError
from augury.pretraining.settings import PretrainSettings
from augury.report.text import clock

if TYPE_CHECKING:
    from augury.pretraining.choice import Choice
    from augury.pretraining.result import Pretrained


Labels = Annotated[
    str,
    typer.Option(
        help="Comma-separated pseudo-labels (see `augury candidates`); none: only reconstruct."
    ),
]
FromRanking = Annotated[
    Path | None,
    typer.Option("--from", help="A ranking.json whose best candidates to pretrain with."),
]
Top = Annotated[int, typer.Option(min=1, help="How many of them.")]
Weights = Annotated[
    str,
    typer.Option(
        help="Pseudo-labels with their weights in the loss: F0=0.7,zcr=0.3, or a JSON file; "
        "with --from, of what was ranked there."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the encoder, its report and its log.")]
PrepareOnly = Annotated[
    bool,
    typer.Option("--prepare-only", help="Only extract, so that no GPU waits for it later."),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Also write logs for TensorBoard.")
]


@with_settings(
    PretrainSettings, panels=["Settings of pretraining (else the preset's)"],
    without=["pseudo_labels"],
)  # fmt: skip
def pretrain(
    manifest: Speech,
    pseudo_labels: Labels = "",
    ranking: FromRanking = None,
    top: Top = 1,
    weights: Weights = "",
    preset: Preset = "small",
    out_dir: Out = Path("augury-encoder"),
    allow_outside: AllowOutside = False,
    store: Store = None,
    jobs: Jobs = 0,
    device: Device = "",
    minutes: Minutes = 10.0,
    prepare_only: PrepareOnly = False,
    tensorboard: TensorBoard = False,
    *,
    choices: dict[str, Any],
) -> None:
    """Pretrain an encoder on unlabelled speech to predict pseudo-labels.

    If stopped, killed or preempted, run the same command again to continue. On several GPUs or
    nodes: torchrun --nproc-per-node 4 -m augury pretrain …
    """
    require_torch()
    choice = choose_labels(pseudo_labels, ranking, top, weights)
    from augury.corpus.read import is_timit, read_corpus
    from augury.pretraining.pretrain import pretrain as pretrain_encoder

    first = is_first()  # of several processes
    if first and choice.weights:
        print_licence(tuple(choice.weights))
    level = "utterance" if is_timit(manifest) else None  # phones are too short to learn from
    corpus = read_corpus(manifest, allow_outside=allow_outside, level=level)
    require_folders(out=out_dir, store=store)
    with open_reporter(silent=not first) as reporter:
        pretrained = pretrain_encoder(
            corpus,
            choice,
            out=out_dir,
            preset=preset,
            store=store,
            jobs=jobs or None,
            device=device or None,
            minutes=minutes,
            tensorboard=tensorboard,
            prepare_only=prepare_only,
            reporter=reporter,
            **choices,
        )
    if first and pretrained is None:
        out.print(f"prepared: {out_dir}; the same command without --prepare-only pretrains")
    elif first and pretrained:
        show_pretraining(pretrained)
        out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)


def choose_labels(pseudo_labels: str, ranking: Path | None, top: int, weights: str) -> Choice:
    """The pseudo-labels that the options name; InputError unless exactly one way is used."""
    from augury.pretraining.choice import choose, from_ranking, read_weights

    if bool(pseudo_labels) == (ranking is not None or bool(weights)):
        raise InputError(
            "say what to predict with --pseudo-labels F0,zcr (or none), with "
            "--from ranking.json, or with --weights F0=0.7,zcr=0.3"
        )
    if ranking is not None:
        choice = from_ranking(ranking, top=top, weights=read_weights(weights) if weights else None)
        for name in choice.passed_over:
            err.print(f"passed over: {name}, which is not relevant to {choice.ranking['label']}")
        return choice
    if weights:
        return choose(read_weights(weights))
    names = [name.strip() for name in pseudo_labels.split(",") if name.strip()]
    if not names:
        raise InputError("--pseudo-labels is empty; write --pseudo-labels none to only reconstruct")
    return choose([] if names == ["none"] else names)


def show_pretraining(pretrained: Pretrained) -> None:
    """Print each worker's losses, and the number of clips left out."""
    result, table = pretrained.result, Table(box=None, pad_edge=False)
    guesses = result.get("constant_guess", {})
    columns = ("worker", "training", "validation", "constant guess", "ratio")
    for name in columns if guesses else columns[:2]:
        table.add_column(name, justify="left" if name == "worker" else "right", overflow="fold")
    for name, training in result["training"].items():
        if name == "loss":
            continue
        row = [name, f"{training:.3f}"]
        if name in guesses:  # it has values in the validation clips
            loss, guess = result["validation"][name], guesses[name]
            row += [f"{loss:.3f}", f"{guess:.3f}", f"{loss / guess:.2f}" if guess else ""]
        table.add_row(*row)
    out.print(table)
    speed = result["audio_seconds"] / max(result["seconds"], 1e-9)
    out.print(
        f"epoch {result['best_epoch']} of {result['epochs']} kept · "
        f"{result['parameters']:,} parameters · {clock(result['seconds'])}, "
        f"× {speed:.0f} real time"
    )
    left_out = pretrained.config.data["left_out"]
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        out.print(f"left out: {reasons} (quarantine.csv)")
    if count := len(pretrained.skipped_batches):
        warn(f"{count} batches were not finite and were skipped; the report names them")
