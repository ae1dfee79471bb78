"""`augury select`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from augury.cli.console import open_reporter, out
from augury.cli.exits import quarantine_in
from augury.cli.options import (
    Jobs,
    Store,
)
from augury.errors import InputError

Best = Annotated[int, typer.Option(min=0, metavar="K", help="The K best relevant candidates.")]
Worst = Annotated[int, typer.Option(min=0, metavar="K", help="The K worst, relevant or not.")]
Greedy = Annotated[int, typer.Option(min=0, metavar="K", help="K of low score and low redundancy.")]
Mrmr = Annotated[
    int, typer.Option(min=0, metavar="K", help="K of high relevance and low redundancy (mRMR).")
]
Random = Annotated[int, typer.Option(min=0, metavar="K", help="K at random.")]
Everything = Annotated[bool, typer.Option("--all", help="All ranked candidates.")]
Learn = Annotated[
    str,
    typer.Option(
        help="Learn weights of the relevant candidates that minimise the CI estimate: softmax, or "
        "sparsemax (many are 0); never worse than the best single one."
    ),
]
MovedManifest = Annotated[
    Path | None,
    typer.Option(help="For --weights: the manifest's path, if it has moved since the ranking."),
]
Out = Annotated[Path, typer.Option("--out", help="JSON for `augury pretrain --weights`.")]


def select(
    ranking: Annotated[Path, typer.Argument(help="A ranking.json that `augury rank` wrote.")],
    best: Best = 0,
    worst: Worst = 0,
    greedy: Greedy = 0,
    mrmr: Mrmr = 0,
    random: Random = 0,
    everything: Everything = False,
    weights: Learn = "",
    seed: Annotated[int, typer.Option(min=0, help="Of --random.")] = 0,
    manifest: MovedManifest = None,
    store: Store = None,
    jobs: Jobs = 0,
    out_file: Out = Path("weights.json"),
) -> None:
    """Choose pseudo-labels to pretrain with together, from a ranking."""
    from augury.ranking import selection
    from augury.ranking.result import Ranking
    from augury.ranking.weights import learn_weights_from_store

    counts = {"best": best, "worst": worst, "greedy": greedy, "mrmr": mrmr, "random": random}
    methods = [name for name, k in counts.items() if k]
    if len(methods) + everything + bool(weights) != 1:
        raise InputError(
            "say how to choose: one of --best K, --worst K, --greedy K, --mrmr K, --random K, "
            "--all, --weights softmax"
        )
    ranked = Ranking.read(ranking)
    if weights:
        with open_reporter() as reporter, quarantine_in(out_file.parent):
            chosen = learn_weights_from_store(
                ranked, kind=weights, manifest=manifest, store=store, jobs=jobs or None,
                reporter=reporter,
            )  # fmt: skip
    elif everything:
        chosen = selection.everything(ranked)
    elif random:
        chosen = selection.random(ranked, random, seed)
    else:
        chosen = getattr(selection, methods[0])(ranked, counts[methods[0]])
    chosen.write(out_file)
    for name, weight in chosen.weights.items():
        out.print(f"{weight:.3f}  {name}", soft_wrap=True)
    if weights:
        out.print(_describe(chosen.about), soft_wrap=True)
    out.print(f"{chosen.method}: {out_file}", soft_wrap=True)


def _describe(about: dict[str, Any]) -> str:
    """What learned weights reach, beside the best single candidate and equal weights."""
    objective, single = about["objective"], about["single"]
    reached = (
        f"dependence given the label: {objective['learned']:.4f} at these weights, "
        f"{objective['single']:.4f} with all weight on {single}, the best single one, "
        f"{objective['equal']:.4f} at equal weights; "
        f"standard deviation under independence: {about['chance']:.4f}"
    )
    if objective["learned"] < objective["single"]:
        return reached
    return f"{reached}\nno weights were found that are better than {single} alone"
