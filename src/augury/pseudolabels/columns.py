"""Pseudo-labels that are columns of the manifest: numbers, or categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.corpus.corpus import Corpus
from augury.errors import InputError
from augury.pseudolabels.candidate import LARGEST, Candidate

#: More categories than this are rather names, each on a row or two.
MOST_CATEGORIES = 1000


def columns(corpus: Corpus, chosen: Sequence[Candidate]) -> dict[str, NDArray[Any]]:
    """Values (segments,) of those candidates that are columns: numbers, or codes of categories.

    Numbers are NaN, and codes -1, where a cell is empty; a number beyond 1e100 counts as none.
    Codes follow the categories' order, see `categories`.
    """
    found: dict[str, NDArray[Any]] = {}
    for one in chosen:
        if one.kind != "column":
            continue
        text = corpus.label(one.item)
        numbers = [_as_number(cell) for cell in text]
        filled = text != ""
        known = np.array([number is not None for number in numbers])
        if known.sum() == filled.sum():
            values = np.array(numbers, np.float64)  # None, an empty cell, becomes NaN
            large = ~(np.abs(values) < LARGEST)
            found[one.name] = np.where(large, np.nan, values)
        elif known.sum() >= 0.9 * filled.sum():
            row = int(np.flatnonzero(filled & ~known)[0])
            raise InputError(
                f"{one.name}: row {corpus.rows[row]} holds {text[row]!r} where nearly all rows "
                "hold numbers; correct or empty it"
            )
        else:
            codes = np.unique(text, return_inverse=True)[1]
            if codes.max() >= MOST_CATEGORIES:
                raise InputError(
                    f"{one.name} has {codes.max() + 1:,} different texts, more than the "
                    f"{MOST_CATEGORIES:,} that categories may have"
                )
            found[one.name] = np.where(filled, codes, -1).astype(np.int64)
    return found


def categories(corpus: Corpus, one: Candidate) -> tuple[str, ...]:
    """The texts of a column in the order of their codes; an empty one among them is no category."""
    return tuple(np.unique(corpus.label(one.item)).tolist())


def _as_number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
