"""Errors that a user can mend, and the words that help to mend them."""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """What was given can't be used; the message names it, what was wanted, and what to do.

    The command line shows it as one line and exits with status 2. Any other exception is a fault
    of Augury's own.

    >>> raise InputError("epochs is 0, but must be a whole number from 1 to 100000")
    Traceback (most recent call last):
    ...
    augury.errors.InputError: epochs is 0, but must be a whole number from 1 to 100000
    """


class MissingFile(FileNotFoundError, InputError):
    """A path that the user gave leads to no file or folder."""


class UnusableFile(OSError, InputError):
    """A file or folder that the user gave can't be read or written; the message says why."""


class MissingPackage(ModuleNotFoundError, InputError):
    """An optional package is not installed; the message names the extra that brings it."""


@contextmanager
def explain_os_errors(path: Path | str) -> Generator[None]:
    """Raise an OSError of the block as MissingFile or UnusableFile, which name the file.

    `path` is named where the error itself names no file.

    >>> with explain_os_errors("none.csv"):
    ...     open("none.csv")
    Traceback (most recent call last):
    ...
    augury.errors.MissingFile: none.csv: there is no such file or folder; check the path
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        name = error.filename or path
        raise MissingFile(f"{name}: there is no such file or folder; check the path") from error
    except OSError as error:
        name = error.filename or path
        raise UnusableFile(f"{name}: can't be used: {error.strerror or error}") from error


def nearest(name: str, names: Iterable[str], *, count: int = 1, cutoff: float = 0.4) -> list[str]:
    """At most `count` of some names that resemble another, the most similar first.

    `cutoff` is the least similarity, from 0 to 1 (equal), as `difflib.get_close_matches` has it.

    >>> nearest("loudnes", ["F0", "loudness"])
    ['loudness']
    """
    return difflib.get_close_matches(str(name), list(names), n=count, cutoff=cutoff)


def did_you_mean(name: str, names: Iterable[str], *, count: int = 1, cutoff: float = 0.4) -> str:
    """A hint at the names that `nearest` finds, or "" where there is none.

    >>> did_you_mean("loudnes", ["F0", "loudness"])
    '; did you mean loudness?'
    """
    similar = nearest(name, names, count=count, cutoff=cutoff)
    return f"; did you mean {' or '.join(similar)}?" if similar else ""
