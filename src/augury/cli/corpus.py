"""`augury check` and `augury prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from augury.cli.console import out, warn
from augury.cli.options import (
    AllowOutside,
    Manifest,
)

if TYPE_CHECKING:
    from augury.corpus.check import Check
    from augury.corpus.read import PreparedCorpus


from collections import Counter


def check(
    manifest: Manifest,
    allow_outside: AllowOutside = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every file whole, not just its header.")
    ] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the problems to this CSV file.")
    ] = None,
) -> None:
    """Validate a corpus and say what is in it."""
    from augury.corpus.check import check as checked
    from augury.corpus.manifest import write_quarantine
    from augury.corpus.read import read_corpus

    found = checked(read_corpus(manifest, allow_outside=allow_outside), decode=decode)
    show_check(found)
    if out_file:
        write_quarantine(found.rejected, out_file)
        out.print(f"problems: {out_file}", soft_wrap=True)
    if found.rejected:
        raise typer.Exit(1)


def prepare(
    name: Annotated[str, typer.Argument(help="timit, voxceleb1 or common_voice.")],
    root: Annotated[Path, typer.Argument(help="The corpus, as its archives unpack.")],
    manifest: Annotated[Path, typer.Option("--out", help="The manifest to write.")] = Path(
        "manifest.csv"
    ),
    split: Annotated[
        str | None,
        typer.Option(
            help="What the column `split` is. timit: core (24 test and 50 dev speakers, no SA "
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
    """Write the manifest of a published corpus, and compare it with what was published."""
    from augury.corpus.read import prepare as prepared

    done = prepared(
        name, root, manifest, split=split, level=level, stats=stats,
        allow_outside=allow_outside,
    )  # fmt: skip
    show_preparation(done)
    out.print(f"manifest: {done.manifest}", soft_wrap=True)


def show_check(found: Check) -> None:
    """Print what is in a corpus, and what is wrong with it."""
    out.print(
        f"{found.rows:,} rows: {found.segments:,} usable segments in {found.recordings:,} "
        f"recordings, {found.hours:.2f} h (of {found.recorded_hours:.2f} h recorded)",
        highlight=False,
    )
    lengths = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found.durations.items())
    rates = ", ".join(f"{count:,} at {rate:,} Hz" for rate, count in found.rates.items())
    formats = ", ".join(f"{count:,} {name}" for name, count in found.formats.items())
    for title, text in (("seconds", lengths), ("sample rates", rates), ("formats", formats)):
        if text:
            out.print(f"{title}: {text}")
    table = Table("column", "classes", "largest", "smallest", "of one segment", "empty", box=None)
    for labels in found.labels:
        table.add_row(
            labels.column,
            f"{labels.classes:,}",
            ", ".join(f"{name} ({count:,})" for name, count in labels.top[:3]),
            f"{labels.smallest[0]} ({labels.smallest[1]:,})" if labels.smallest else "",
            f"{labels.singletons:,}",
            f"{labels.absent:,}",
        )
    out.print(table)
    if not found.rejected:
        out.print("no problems found", style="green")
        return
    for reason, count in found.problems.items():
        out.print(f"! {count:,} {reason}", style="yellow")
    for one in found.rejected[:20]:
        out.print(f"  row {one.row}: {one.detail}", soft_wrap=True)
    if len(found.rejected) > 20:
        out.print(f"  and {len(found.rejected) - 20:,} more; --out FILE.csv writes all")


def show_preparation(done: PreparedCorpus) -> None:
    """Print what a manifest holds, and its counts beside the published ones."""
    corpus = done.corpus
    out.print(
        f"{len(corpus):,} segments in {len(corpus.recordings):,} recordings of "
        f"{len(set(corpus.label('speaker').tolist())):,} speakers; columns: "
        f"{', '.join(corpus.columns)}",
        soft_wrap=True,
    )
    splits: Counter[str] = Counter(corpus.label("split").tolist())
    counted = (f"{count:,} {split or 'in none'}" for split, count in splits.most_common())
    out.print(f"splits: {', '.join(counted)}")
    for one in done.counts:
        if one.found != one.published:
            warn(f"{one.found:,} {one.name}, but {one.published:,} were published")
    if not done.counts:
        out.print("no published counts to compare with are known for this release")
    elif all(one.found == one.published for one in done.counts):
        out.print("as many utterances and speakers as published", style="green")
    if corpus.rejected:
        reasons = Counter(one.reason for one in corpus.rejected)
        counted = (f"{count:,} {reason}" for reason, count in reasons.most_common())
        warn(f"left out: {', '.join(counted)} ({done.quarantine})")
    folder = done.manifest.parent.resolve()
    if not all(recording.is_relative_to(folder) for recording in corpus.recordings):
        warn("recordings lie outside the manifest's folder: read it with --allow-outside")
