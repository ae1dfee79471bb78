"""`augury demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from augury.cli.candidates import name_defaults, print_licence
from augury.cli.console import open_reporter, out
from augury.cli.options import (
    Jobs,
)
from augury.cli.rank import show_ranking


def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the reports.")] = Path(
        "augury-demo"
    ),
    jobs: Jobs = 0,
) -> None:
    """Rank the paper's seven, or our own, on the speech that ships with Augury, for two tasks."""
    from augury.corpus.read import read_corpus
    from augury.ranking.rank import rank as rank_candidates

    names = name_defaults()
    print_licence(names)
    corpus = read_corpus(Path(__file__).parents[1] / "demo_data" / "manifest.csv")
    labels = ("speaker", "digit")
    for label in labels:
        with open_reporter() as reporter:
            ranking = rank_candidates(
                corpus,
                names,
                label=label,
                out=out_dir / label,
                jobs=jobs or None,
                reporter=reporter,
            )
        show_ranking(ranking)
    for label in labels:
        out.print(f"report: {out_dir / label / 'report.html'}", soft_wrap=True)
