"""`augury select`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augury.cli.console import open_reporter, out
from augury.cli.exits import quarantine_in
from augury.cli.options import (
    Jobs,
    Store,
)
from augury.errors import InputError

if TYPE_CHECKING:
    from augury.ranking.result import Ranking

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
    typer.Option(
        help="For --weights, --greedy and --mrmr: the manifest's path, if it has moved since the "
        "ranking."
    ),
]
Kind = Annotated[
    str, typer.Option(help="Choose among candidates of one kind: scalar, vector or category.")
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
    kind: Kind = "",
    seed: Annotated[int, typer.Option(min=0, help="Of --random.")] = 0,
    manifest: MovedManifest = None,
    store: Store = None,
    jobs: Jobs = 0,
    out_file: Out = Path("weights.json"),
) -> None:
    """Choose pseudo-labels to pretrain with together, from a ranking."""
    from augury.ranking import selection
    from augury.ranking.result import Ranking
    from augury.ranking.shared import SharedDependence
    from augury.ranking.weights import learn_weights_from_store

    counts = {"best": best, "worst": worst, "greedy": greedy, "mrmr": mrmr, "random": random}
    ways = {**counts, "all": everything, "weights": weights}
    method = _only_one([name for name, value in ways.items() if value])
    ranked = _of_kind(Ranking.read(ranking), kind)
    if method in ("weights", "greedy", "mrmr"):
        where: dict[str, Any] = {"manifest": manifest, "store": store, "jobs": jobs or None}
        with open_reporter() as reporter, quarantine_in(out_file.parent):
            if method == "weights":
                chosen = learn_weights_from_store(ranked, kind=weights, reporter=reporter, **where)
            else:
                shared = SharedDependence.from_store(ranked, reporter=reporter, **where)
                choose = {"greedy": selection.greedy, "mrmr": selection.mrmr}[method]
                chosen = choose(ranked, counts[method], shared)
    elif method == "all":
        chosen = selection.everything(ranked)
    elif method == "random":
        chosen = selection.random(ranked, random, seed)
    else:
        chosen = {"best": selection.best, "worst": selection.worst}[method](ranked, counts[method])
    chosen.write(out_file)
    for name, weight in chosen.weights.items():
        out.print(f"{weight:.3f}  {name}", soft_wrap=True)
    if weights:
        out.print(_describe(chosen.about), soft_wrap=True)
    out.print(f"{chosen.method}: {out_file}", soft_wrap=True)


def _of_kind(ranking: Ranking, kind: str) -> Ranking:
    """The candidates of one kind; all if none is named, with a word where there are several."""
    if kind and kind not in ranking.kinds:
        raise InputError(f"--kind {kind}: it has {' and '.join(ranking.kinds) or 'no candidates'}")
    if not kind and len(ranking.kinds) > 1:
        out.print(
            f"candidates of several kinds ({', '.join(ranking.kinds)}): scores and relevance of "
            "different kinds are hardly comparable; --kind chooses among one",
            soft_wrap=True,
        )
    return ranking.of_kind(kind) if kind else ranking


def _only_one(methods: list[str]) -> str:
    """The one way to choose; InputError for none or several."""
    if not methods:
        raise InputError(
            "say how to choose: one of --best K, --worst K, --greedy K, --mrmr K, --random K, "
            "--all, --weights softmax"
        )
    if len(methods) > 1:
        named = " and ".join(f"--{name}" for name in methods)
        raise InputError(f"{named} can't be combined: each is a selection of its own; name one")
    return methods[0]


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
