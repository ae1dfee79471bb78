"""`augury select`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from augury.cli.console import open_reporter, out
from augury.cli.exits import quarantine_in
from augury.cli.options import (
    Jobs,
    Store,
)
from augury.errors import InputError


def select(
    ranking: Annotated[Path, typer.Argument(help="A ranking.json that `augury rank` wrote.")],
    best: Annotated[
        int, typer.Option(min=0, metavar="K", help="The K best that are relevant.")
    ] = 0,
    worst: Annotated[
        int, typer.Option(min=0, metavar="K", help="The K worst, relevant or not.")
    ] = 0,
    greedy: Annotated[int, typer.Option(min=0, metavar="K", help="K good ones, little alike.")] = 0,
    mrmr: Annotated[
        int, typer.Option(min=0, metavar="K", help="K of high relevance, little alike (mRMR).")
    ] = 0,
    random: Annotated[int, typer.Option(min=0, metavar="K", help="K at random.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="All that were ranked.")] = False,
    weights: Annotated[
        str,
        typer.Option(
            help="Learn weights of the relevant ones by the measure itself: softmax, or sparsemax "
            "(many are 0)."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of --random.")] = 0,
    manifest: Annotated[
        Path | None,
        typer.Option(help="For --weights: where the manifest is now, if the ranking's has moved."),
    ] = None,
    store: Store = None,
    jobs: Jobs = 0,
    out_file: Annotated[
        Path, typer.Option("--out", help="JSON for `augury pretrain --weights`.")
    ] = Path("weights.json"),
) -> None:
    """Choose pseudo-labels to pretrain with together, from a ranking."""
    from augury.ranking import selection
    from augury.ranking.result import Ranking
    from augury.ranking.weights import learn_weights_from_store

    counts = {"best": best, "worst": worst, "greedy": greedy, "mrmr": mrmr, "random": random}
    asked = [name for name, k in counts.items() if k]
    if len(asked) + everything + bool(weights) != 1:
        raise InputError(
            "say how to choose: one of --best K, --worst K, --greedy K, --mrmr K, --random K, "
            "--all, --weights softmax"
        )
    ranked = Ranking.read(ranking)
    if weights:
        with open_reporter() as reporter, quarantine_in(out_file.parent):
            found = learn_weights_from_store(
                ranked, kind=weights, manifest=manifest, store=store, jobs=jobs or None,
                reporter=reporter,
            )  # fmt: skip
    elif everything:
        found = selection.everything(ranked)
    elif random:
        found = selection.random(ranked, random, seed)
    else:
        found = getattr(selection, asked[0])(ranked, counts[asked[0]])
    found.write(out_file)
    for name, weight in found.weights.items():
        out.print(f"{weight:.3f}  {name}", soft_wrap=True)
    if "objective" in found.about:
        first, last = (found.about["objective"][name] for name in ("equal", "learned"))
        out.print(
            f"dependence given the label: {first:.4f} at equal weights, {last:.4f} so; of what "
            f"is independent chance makes ± {found.about['chance']:.4f}"
        )
    out.print(f"{found.method}: {out_file}", soft_wrap=True)
