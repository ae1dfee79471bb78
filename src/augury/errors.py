"""Errors that a user can mend, and the words that help to mend them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was given can't be used; the message names it, what was wanted, and what to do.

    The command line shows it as one line and exits with status 2. Any other exception is a fault
    of Augury's own.

    >>> raise InputError("epochs is 0, but must be a whole number from 1 to 100000")
    Traceback (most recent call last):
    ...
    augury.errors.InputError: epochs is 0, but must be a whole number from 1 to 100000
    """


class MissingPackage(InputError, ModuleNotFoundError):
    """An optional package is not installed; the message names the extra that brings it."""


def did_you_mean(name: str, names: Iterable[str], *, cutoff: float = 0.4) -> str:
    """A hint at the nearest of some names, or "" where none is near.

    >>> did_you_mean("loudnes", ["F0", "loudness"])
    '; did you mean loudness?'
    """
    nearest = difflib.get_close_matches(str(name), list(names), n=1, cutoff=cutoff)
    return f"; did you mean {nearest[0]}?" if nearest else ""
