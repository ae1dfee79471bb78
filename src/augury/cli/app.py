"""The command line: one file per verb; each calls one public function and prints where it wrote."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from augury.cli.candidates import candidates
from augury.cli.console import out
from augury.cli.corpus import check, prepare
from augury.cli.demo import demo
from augury.cli.encode import encode
from augury.cli.evaluate import evaluate
from augury.cli.exits import CODES, plain_exits
from augury.cli.pretrain import pretrain
from augury.cli.rank import rank
from augury.cli.select import select
from augury.cli.validate import validate

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which pretext task will help a speech model? Know before you pretrain.",
    epilog=f"Start with: augury demo. {CODES}",
)
for command in (
    rank, select, pretrain, encode, evaluate, validate, check, prepare, demo, candidates,
):  # fmt: skip
    app.command()(plain_exits(command))


def _print_version(requested: bool) -> None:
    if requested:
        from augury import __version__

        out.print(f"augury {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line; characters that the terminal can't show are replaced."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
