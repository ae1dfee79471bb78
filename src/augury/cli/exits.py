"""How a command ends: its exit code, and one line for errors that the user can correct.

0: done. 1: done, but some input was unusable or a job failed; or a bug of Augury, with a traceback.
2: the input is unusable, or the disk is full. 130, 143 …: stopped by a signal.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from augury.cli.console import err
from augury.errors import InputError, MissingPackage

CODES = (
    "Exit codes: 0 done; 1 some input could not be used or a job failed, or a fault of Augury's "
    "own (with a traceback); 2 the input can't be used, or the disk is full; 128 + the signal that "
    "stopped it."
)


def plain_exits(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with errors turned into messages and exit codes as described above."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (typer.Exit, typer.Abort):
            raise
        except InputError as error:
            _exit(str(error), 2)
        except KeyboardInterrupt:
            _exit("stopped; what was computed is kept, the same command goes on from there", 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for later output
            _exit("nobody reads the output any more", 2)
        except Exception as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                disk = getattr(error, "filename", None) or "a disk"
                _exit(f"{disk}: no space left; free some, and the same command goes on", 2)
            if (signal := getattr(error, "signal", None)) is not None:
                _exit(str(error), 128 + int(signal))  # training was stopped by a signal
            traceback.print_exc()
            _exit("this is a fault of Augury's own; please report it, with the lines above", 1)

    run.__dict__.pop("__signature__", None)
    if "__signature__" in command.__dict__:
        run.__dict__["__signature__"] = command.__dict__["__signature__"]
    return run


def _exit(message: str, code: int) -> None:
    err.print(f"augury: {message}", style="red", soft_wrap=True)
    sys.exit(code)


def require_torch() -> None:
    """Raise MissingPackage where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise MissingPackage(
            "this needs torch, which is not installed: install the build of torch for your "
            "machine, then pip install 'augury[train]'"
        )


def require_folders(**folders: Path | None) -> None:
    """Create the folders that a command will write to, before its work; InputError if it can't."""
    for option, folder in folders.items():
        try:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--{option} {folder}: not a folder to write to: {error.strerror}"
            ) from error


def is_first() -> bool:
    """Whether this process is the one that prints, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def quarantine_in(folder: Path) -> Generator[None]:
    """If the block raises TooManyBad, write the rejected rows to quarantine.csv in the folder."""
    from augury.corpus.corpus import TooManyBad
    from augury.corpus.manifest import write_quarantine

    try:
        yield
    except TooManyBad as error:
        write_quarantine(error.rejected, folder / "quarantine.csv")
        raise
