"""`augury rank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from augury.cli.candidates import name_defaults, print_licence
from augury.cli.console import open_reporter, out
from augury.cli.exits import quarantine_in, require_folders
from augury.cli.options import (
    AllowOutside,
    Cluster,
    Jobs,
    Manifest,
    Store,
    with_settings,
)
from augury.ranking.settings import RankSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from augury.ranking.result import Ranking, Result


@with_settings(
    RankSettings, panels=["Settings of the ranking"], without=["candidates"], defaults=True
)
def rank(
    manifest: Manifest,
    candidates: Annotated[
        str,
        typer.Option(
            help="Comma-separated pseudo-labels (see `augury candidates`); the paper's seven if "
            "not given, or Augury's own without openSMILE."
        ),
    ] = "",
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for ranking.json, .csv and report.html.")
    ] = Path("augury-out"),
    allow_outside: AllowOutside = False,
    store: Store = None,
    jobs: Jobs = 0,
    cluster: Cluster = "",
    device: Annotated[
        str, typer.Option(help="Score on a device of torch, such as cuda; the CPU if not given.")
    ] = "",
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Compute the values of your own functions anew, whatever is stored."
        ),
    ] = False,
    *,
    choices: dict[str, Any],
) -> None:
    """Rank candidate pseudo-labels for a labelled set, without training anything."""
    from augury.corpus.read import read_corpus
    from augury.ranking.rank import rank as rank_candidates

    names = tuple(candidates.split(",")) if candidates else name_defaults()
    print_licence(names)
    corpus = read_corpus(manifest, allow_outside=allow_outside)
    require_folders(out=out_dir, store=store)  # before the work, not after it
    with open_reporter() as reporter, quarantine_in(out_dir):
        ranking = rank_candidates(
            corpus,
            names,
            out=out_dir,
            store=store,
            jobs=jobs or None,
            cluster=cluster or None,
            device=device or None,
            fresh=fresh,
            reporter=reporter,
            **choices,
        )
    show_ranking(ranking)
    out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)


def show_ranking(ranking: Ranking) -> None:
    """Print the candidates of each kind, best first, and the caveats."""
    from augury.ranking.summary import kind_title, parts
    from augury.ranking.wording import NO_COMMON_ORDER, UNPROVEN, resampling_text

    raw = "" if ranking.estimator == "robust" else ", in raw units"
    title = (
        f"{ranking.label}: {ranking.segments:,} segments, {len(ranking.class_names):,} classes · "
        f"{ranking.estimator} estimator{raw} · lower is better"
    )
    out.print()
    out.print(title, style="italic")
    kinds = parts(ranking)
    for part in kinds:
        if len(kinds) > 1:
            out.print(kind_title(part))
        out.print(_table(part))
    if len(kinds) > 1:
        out.print(NO_COMMON_ORDER)
    for result in ranking.results:
        if result.score is None:
            out.print(f"not ranked: {result.name}, {result.status}: {result.note}")
    if any(result.interval for result in ranking.results):
        out.print(f"95 %: of {resampling_text(ranking)}. Within a tier the order is not settled.")
    out.print(UNPROVEN)
    for warning in ranking.warnings:
        out.print(f"! {warning}", style="yellow")
    if ranking.quarantine:
        reasons = ", ".join(f"{count} {reason}" for reason, count in ranking.quarantine.items())
        out.print(f"left out: {reasons} (quarantine.csv)")


def _table(ranking: Ranking) -> Table:
    """A row for each candidate, best first; those without relevance last, and without a rank."""
    from augury.ranking.summary import interval_text, ranks_text
    from augury.report.text import Unit, decimal, format_p

    table = Table(box=None, pad_edge=False)
    ranked, ranks = ranking.ranked_results, ranking.ranks
    unit = Unit.of(result.score for result in ranked)
    has_intervals = any(result.interval for result in ranked)
    tested = any(result.p_value is not None for result in ranked)
    any_clusters = any(result.clusters for result in ranked)
    columns: tuple[tuple[str, Callable[[Result], str], bool], ...] = (
        ("tier", lambda r: str(r.tier or "–"), has_intervals),
        ("rank", lambda r: str(ranks.get(r.name, "–")), True),
        ("95 %", lambda r: ranks_text(r.rank_interval), has_intervals),
        ("candidate", lambda r: r.name, True),
        (f"CI estimate{unit.suffix}", lambda r: unit.text(r.score), True),
        ("95 %", lambda r: interval_text(r.interval, unit), has_intervals),
        ("p", lambda r: format_p(r.p_value), tested),
        ("shuffled", lambda r: unit.text(r.shuffled), not tested),
        ("relevance", lambda r: f"{r.relevance_strength} {decimal(r.relevance, 3)}", True),
        ("depend.", lambda r: decimal(r.dependence, 3), True),
        ("ratio", lambda r: decimal(r.relevance_share, 2), True),
        ("nats", lambda r: decimal(r.information, 2), True),
        ("PNMI", lambda r: decimal(r.clusters and r.clusters.pnmi, 3), any_clusters),
    )
    shown = [column for column in columns if column[2]]
    for name, _, _ in shown:  # names may be long: only their column is wrapped
        side = "left" if name in ("candidate", "") else "right"
        table.add_column(name, justify=side, no_wrap=name != "candidate", overflow="fold")
    for result in ranked:
        table.add_row(*(text(result) for _, text, _ in shown))
    return table
