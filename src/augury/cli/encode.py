"""`augury encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from augury.cli.console import err, out
from augury.cli.exits import require_folders, require_torch


def encode(
    recordings: Annotated[list[Path], typer.Argument(metavar="AUDIO…", help="Recordings.")],
    encoder: Annotated[Path, typer.Option(help="Folder that `augury pretrain` wrote.")],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for one NAME.npy per recording.")
    ] = Path("features"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Write a pretrained encoder's features of recordings: (frames, dims), 100 frames a second."""
    require_torch()
    from augury.learning.processes import find_device
    from augury.pretraining.encode import encode_files, load_encoder

    require_folders(out=out_dir)
    failures = 0
    loaded = load_encoder(encoder).to(find_device(device))
    for path, output in encode_files(loaded, recordings, out_dir):
        if isinstance(output, Exception):
            failures += 1
            err.print(f"left out: {output}", style="yellow", soft_wrap=True)
        else:
            out.print(f"{path} → {output}", soft_wrap=True)
    if failures:
        raise typer.Exit(1)
