"""`augury check` and `augury prepare`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from augury.cli.console import out, warn
from augury.cli.options import AllowOutside, Manifest

if TYPE_CHECKING:
    from augury.corpus.check import Check
    from augury.corpus.read import PreparedCorpus


def check(
    manifest: Manifest,
    allow_outside: AllowOutside = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every file, instead of its header only.")
    ] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the problems to this CSV file.")
    ] = None,
) -> None:
    """Validate a corpus and summarise its content."""
    from augury.corpus.check import check as check_corpus
    from augury.corpus.manifest import write_quarantine
    from augury.corpus.read import read_corpus

    summary = check_corpus(read_corpus(manifest, allow_outside=allow_outside), decode=decode)
    show_check(summary)
    if out_file:
        write_quarantine(summary.rejected, out_file)
        out.print(f"problems: {out_file}", soft_wrap=True)
    if summary.rejected:
        raise typer.Exit(1)


def prepare(
    name: Annotated[str, typer.Argument(help="timit, voxceleb1 or common_voice.")],
    root: Annotated[
        Path, typer.Argument(help="The corpus's folder, as unpacked from its archives.")
    ],
    manifest: Annotated[Path, typer.Option("--out", help="The manifest to write.")] = Path(
        "manifest.csv"
    ),
    split: Annotated[
        str | None,
        typer.Option(
            help="The split in the column `split`. timit: core (24 test and 50 dev speakers, no SA "
            "sentences), complete (168 test speakers) or folders (SA sentences too). voxceleb1: "
            "verification or identification."
        ),
    ] = None,
    level: Annotated[str | None, typer.Option(help="timit: phone or utterance.")] = None,
    stats: Annotated[
        Path | None,
        typer.Option(
            help="common_voice: the release's JSON file of github.com/common-voice/cv-dataset, to "
            "compare counts with."
        ),
    ] = None,
    allow_outside: AllowOutside = False,
) -> None:
    """Write the manifest of a published corpus, and compare its counts with the published ones."""
    from augury.corpus.read import prepare as prepare_corpus

    prepared = prepare_corpus(
        name, root, manifest, split=split, level=level, stats=stats,
        allow_outside=allow_outside,
    )  # fmt: skip
    show_preparation(prepared)
    out.print(f"manifest: {prepared.manifest}", soft_wrap=True)


def show_check(summary: Check) -> None:
    """Print a corpus's content and its problems."""
    out.print(
        f"{summary.rows:,} rows: {summary.segments:,} usable segments in {summary.recordings:,} "
        f"recordings, {summary.hours:.2f} h (of {summary.recorded_hours:.2f} h recorded)",
        highlight=False,
    )
    lengths = ", ".join(f"{name} {seconds:.2f}" for name, seconds in summary.durations.items())
    rates = ", ".join(f"{count:,} at {rate:,} Hz" for rate, count in summary.rates.items())
    formats = ", ".join(f"{count:,} {name}" for name, count in summary.formats.items())
    for title, text in (("seconds", lengths), ("sample rates", rates), ("formats", formats)):
        if text:
            out.print(f"{title}: {text}")
    if summary.clipped:
        out.print(
            f"clipped: {summary.clipped['all']:.2%} of the samples, at most "
            f"{summary.clipped['max']:.2%} in a recording",
            highlight=False,
        )
    table = Table("column", "classes", "largest", "smallest", "of one segment", "empty", box=None)
    for labels in summary.labels:
        table.add_row(
            labels.column,
            f"{labels.classes:,}",
            ", ".join(f"{name} ({count:,})" for name, count in labels.top[:3]),
            f"{labels.smallest[0]} ({labels.smallest[1]:,})" if labels.smallest else "",
            f"{labels.singletons:,}",
            f"{labels.absent:,}",
        )
    out.print(table)
    if not summary.rejected:
        out.print("no problems found", style="green")
        return
    for reason, count in summary.problems.items():
        out.print(f"! {count:,} {reason}", style="yellow")
    for row in summary.rejected[:20]:
        out.print(f"  row {row.row}: {row.detail}", soft_wrap=True)
    if len(summary.rejected) > 20:
        out.print(f"  and {len(summary.rejected) - 20:,} more; --out FILE.csv writes all")


def show_preparation(prepared: PreparedCorpus) -> None:
    """Print a manifest's content, and where its counts differ from the published ones."""
    corpus = prepared.corpus
    out.print(
        f"{len(corpus):,} segments in {len(corpus.recordings):,} recordings of "
        f"{len(set(corpus.label('speaker').tolist())):,} speakers; columns: "
        f"{', '.join(corpus.columns)}",
        soft_wrap=True,
    )
    splits: Counter[str] = Counter(corpus.label("split").tolist())
    sizes = (f"{size:,} {split or 'in none'}" for split, size in splits.most_common())
    out.print(f"splits: {', '.join(sizes)}")
    for count in prepared.counts:
        if count.found != count.published:
            warn(f"{count.found:,} {count.name}, but {count.published:,} were published")
    if not prepared.counts:
        out.print("no published counts of this release are known")
    elif all(count.found == count.published for count in prepared.counts):
        out.print("as many utterances and speakers as published", style="green")
    if corpus.rejected:
        reasons = Counter(row.reason for row in corpus.rejected)
        left_out = (f"{rows:,} {reason}" for reason, rows in reasons.most_common())
        warn(f"left out: {', '.join(left_out)} ({prepared.quarantine})")
    folder = prepared.manifest.parent.resolve()
    if not all(recording.is_relative_to(folder) for recording in corpus.recordings):
        warn("recordings lie outside the manifest's folder: read it with --allow-outside")
