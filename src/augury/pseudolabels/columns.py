"""Pseudo-labels that are columns of the manifest: numbers, or categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.corpus.corpus import Corpus
from augury.errors import InputError
from augury.pseudolabels.candidate import LARGEST, Candidate

#: A column with more different texts holds names, not categories.
MOST_CATEGORIES = 1000


def columns(corpus: Corpus, chosen: Sequence[Candidate]) -> dict[str, NDArray[Any]]:
    """Values (segments,) of those candidates that are columns: numbers, or codes of categories.

    Empty cells are NaN, or the code -1; numbers beyond 1e100 are NaN. Codes index `categories`.
    """
    values_of: dict[str, NDArray[Any]] = {}
    for candidate in chosen:
        if candidate.kind != "column":
            continue
        text = corpus.label(candidate.item)
        numbers = [_as_number(cell) for cell in text]
        filled = text != ""
        known = np.array([number is not None for number in numbers])
        if known.sum() == filled.sum():
            values = np.array(numbers, np.float64)  # None, an empty cell, becomes NaN
            large = ~(np.abs(values) < LARGEST)
            values_of[candidate.name] = np.where(large, np.nan, values)
        elif known.sum() >= 0.9 * filled.sum():
            row = int(np.flatnonzero(filled & ~known)[0])
            raise InputError(
                f"{candidate.name}: row {corpus.rows[row]} holds {text[row]!r} where nearly "
                "all rows hold numbers; correct or empty it"
            )
        else:
            codes = np.unique(text, return_inverse=True)[1]
            if codes.max() >= MOST_CATEGORIES:
                raise InputError(
                    f"{candidate.name} has {codes.max() + 1:,} different texts, more than the "
                    f"{MOST_CATEGORIES:,} that categories may have"
                )
            values_of[candidate.name] = np.where(filled, codes, -1).astype(np.int64)
    return values_of


def categories(corpus: Corpus, candidate: Candidate) -> tuple[str, ...]:
    """The texts of a column in the order of their codes; "" may be among them."""
    return tuple(np.unique(corpus.label(candidate.item)).tolist())


def _as_number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
