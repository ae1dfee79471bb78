"""`augury candidates`, and the licence of candidates from openSMILE."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from augury.cli.console import err, out


def candidates(
    feature_set: Annotated[
        str, typer.Argument(help="List an openSMILE set's descriptors, such as ComParE_2016.")
    ] = "",
) -> None:
    """List the pseudo-labels that can be ranked."""
    from augury.pseudolabels import opensmile, own, seven, vectors
    from augury.pseudolabels.candidate import SEVEN

    if feature_set:
        for column in opensmile.descriptor_names(feature_set):
            out.print(f"opensmile:{feature_set}:{column}", soft_wrap=True)
        return
    table = Table("candidate", "is", box=None)
    for name, source in SEVEN.items():
        table.add_row(name, source)
    for name in seven.NAMES:
        table.add_row(f"own:{name}", seven.describe(name))
    for module in (own, vectors):
        for name in module.NAMES:
            table.add_row(f"own:{name}", (getattr(module, name).__doc__ or "").split("\n")[0])
    table.add_row("opensmile:SET:COLUMN", "augury candidates SET lists a set's columns")
    table.add_row("module:function", "yours: (signal, rate[, recording]) -> (frames[, dims])")
    table.add_row("units:FILE@RATE", "units of frames in a .km, JSON Lines or a folder of .npy")
    table.add_row("frames:FOLDER@RATE", "vectors of frames, an .npy a recording, RATE a second")
    table.add_row("number:NAME", "a column of the manifest that holds numbers")
    table.add_row("category:NAME", "a column of the manifest that holds names, or codes of classes")
    out.print(table)


def name_defaults() -> tuple[str, ...]:
    """The candidates where none are given; says so where they are not the paper's."""
    from augury.pseudolabels.candidate import SEVEN, default_candidates

    names = default_candidates()
    if names != tuple(SEVEN):
        err.print(
            "Note: openSMILE is not installed, so Augury's own seven (own:…) take the place of the "
            "paper's; pip install 'augury[opensmile]' for those.",
            style="dim",
        )
    return names


def print_licence(names: tuple[str, ...]) -> None:
    """Print openSMILE's licence if any candidate comes from it."""
    from augury.pseudolabels import opensmile
    from augury.pseudolabels.candidate import parse_candidates

    if any(candidate.provider == "opensmile" for candidate in parse_candidates(names)):
        err.print(f"Note: {opensmile.LICENCE}", style="dim")
