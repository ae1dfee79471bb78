"""Pseudo-labels that are columns of the manifest: numbers, or categories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.corpus.corpus import Corpus, Texts
from augury.errors import InputError
from augury.pseudolabels.candidate import LARGEST, Candidate

#: A column with more different texts holds names, not categories.
MOST_CATEGORIES = 1000
#: A column is numeric, with mistakes in it, if this share of its cells are numbers.
MOSTLY = 0.9
#: Numbers that a comma keeps from being read: "3,14", and "1,234.5".
WITH_COMMA = re.compile(r"[+-]?\d+(,\d+)+(\.\d+)?([eE][+-]?\d+)?")


def columns(corpus: Corpus, chosen: Sequence[Candidate]) -> dict[str, NDArray[Any]]:
    """Values (segments,) of those candidates that are columns: numbers, or codes of categories.

    Empty cells are NaN, or the code -1; numbers beyond 1e100 are NaN. Codes index `categories`.

    Raises:
        InputError: a column of numbers has cells that are none, or too many different texts.
    """
    return {
        candidate.name: _column_values(corpus, candidate, corpus.label(candidate.item))
        for candidate in chosen
        if candidate.provider == "column"
    }


def categories(corpus: Corpus, candidate: Candidate) -> tuple[str, ...]:
    """The texts of a column in the order of their codes; "" may be among them."""
    return tuple(np.unique(corpus.label(candidate.item)).tolist())


def columns_to_declare(
    chosen: Sequence[Candidate], values: Mapping[str, NDArray[Any]]
) -> list[str]:
    """Names of the candidates that were taken for numbers, but may be codes of categories.

    These are `column:NAME` whose values are whole numbers, each of them there twice on average, as
    ids of clusters are, and years of age.

    >>> ages = np.array([20.0, 20.0, 30.0, 30.0])
    >>> columns_to_declare([Candidate("column:age", "column", "", "age")], {"column:age": ages})
    ['column:age']
    """
    return [
        candidate.name
        for candidate in chosen
        if candidate.provider == "column"
        and not candidate.kind
        and _may_be_codes(values[candidate.name])
    ]


def _column_values(corpus: Corpus, candidate: Candidate, text: Texts) -> NDArray[Any]:
    filled = text != ""
    if candidate.kind == "category":
        return _codes(candidate, text, filled)
    numbers = [_as_number(cell) for cell in text]
    known = np.array([number is not None for number in numbers])
    bad = np.flatnonzero(filled & ~known)
    if not len(bad):
        values = np.array(numbers, np.float64)  # None, an empty cell, becomes NaN
        return np.where(np.abs(values) < LARGEST, values, np.nan)
    commas = [row for row in bad.tolist() if WITH_COMMA.fullmatch(text[row].strip())]
    if len(commas) + known.sum() >= MOSTLY * filled.sum() and commas:
        raise InputError(
            f"{candidate.name}: row {corpus.rows[commas[0]]} holds {text[commas[0]]!r}, a number "
            "with a comma; write numbers with a decimal point and nothing between thousands, or "
            f"category:{candidate.item} if these are names"
        )
    if candidate.kind or known.sum() >= MOSTLY * filled.sum():
        row = int(bad[0])
        rest = "" if candidate.kind else " where nearly all rows hold numbers"
        raise InputError(
            f"{candidate.name}: row {corpus.rows[row]} holds {text[row]!r}{rest}, which is not a "
            f"number; correct or empty it, or write category:{candidate.item}"
        )
    return _codes(candidate, text, filled)


def _codes(candidate: Candidate, text: Texts, filled: NDArray[np.bool_]) -> NDArray[np.int64]:
    codes = np.unique(text, return_inverse=True)[1]
    if codes.max() >= MOST_CATEGORIES:
        raise InputError(
            f"{candidate.name} has {codes.max() + 1:,} different texts, more than the "
            f"{MOST_CATEGORIES:,} that categories may have"
        )
    return np.where(filled, codes, -1).astype(np.int64)


def _may_be_codes(values: NDArray[Any]) -> bool:
    if values.dtype.kind != "f":
        return False
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool(
        (known == np.round(known)).all() and 2 * len(np.unique(known)) <= len(known)
    )


def _as_number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
