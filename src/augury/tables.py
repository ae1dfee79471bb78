"""CSV tables, written one way: UTF-8, commas, quotes only where needed, lines that end in "\\n"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from augury.store import write_atomically


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    r"""A header and rows as CSV; None is an empty cell, any other value is written as `str` has it.

    Cells with a comma, a quote, or either line end are quoted (`csv.writer` leaves a carriage
    return bare before Python 3.13). An empty header writes no line.

    >>> csv_text(["path", "score"], [["a,b.wav", 0.5], ["c.wav", None]])
    'path,score\n"a,b.wav",0.5\nc.wav,\n'
    """
    lines = (header, *rows) if header else rows
    return "".join(",".join(map(_cell, line)) + "\n" for line in lines)


def write_csv(
    path: Path,
    header: Sequence[str],
    rows: Iterable[Iterable[object]],
    *,
    errors: str = "backslashreplace",
) -> None:
    """Write a table that is there whole or not at all; the text is that of `csv_text`.

    File names need not be UTF-8: `errors`, as in `str.encode`, says what becomes of such a name.
    The default writes it escaped; "strict", for tables that are read back, raises
    UnicodeEncodeError.
    """
    write_atomically(path, csv_text(header, rows).encode(errors=errors))


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
