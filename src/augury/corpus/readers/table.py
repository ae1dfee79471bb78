"""Manifests: CSV, TSV, JSON Lines and Parquet, one segment per row.

Columns: `path`, relative to the manifest's folder; `start` and `end` in seconds, both optional;
every other column is a label column.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from augury.corpus.corpus import Corpus, Rejected
from augury.corpus.manifest import RESERVED, assemble
from augury.errors import InputError, nearest

if TYPE_CHECKING:
    from _csv import Reader as CsvReader


@dataclass(frozen=True)
class _Table:
    """The content of a manifest: columns of equal length, row numbers, and rejected rows."""

    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[int]
    rejected: list[Rejected] = field(default_factory=list)


def read(manifest: Path, *, allow_outside: bool = False) -> Corpus:
    """A corpus from a manifest in the format of its suffix; errors as in `read_corpus`."""
    parse = SUFFIXES.get(manifest.suffix.lower())
    if parse is None:
        raise InputError(
            f"{manifest}: a manifest's name must end in {', '.join(SUFFIXES)}, not "
            f"{manifest.suffix or 'nothing'!r}; rename or convert it"
        )
    if manifest.stat().st_size == 0:
        raise InputError(
            f"{manifest}: the manifest is empty; write a header and a row for each segment"
        )
    table = parse(manifest)
    _check_columns(manifest, list(table.columns))
    if not table.rows and not table.rejected:
        raise InputError(f"{manifest}: a header and no rows; write a row for each segment")
    columns = table.columns
    return assemble(
        manifest,
        manifest.parent,
        columns["path"],
        starts=columns.get("start"),
        ends=columns.get("end"),
        columns={name: values for name, values in columns.items() if name not in RESERVED},
        rows=table.rows,
        rejected=table.rejected,
        allow_outside=allow_outside,
    )


def _csv(manifest: Path) -> _Table:
    return _parse_lines(manifest, csv.reader(_lines(manifest), strict=True))


def _tsv(manifest: Path) -> _Table:
    """Tab-separated values, in which quotes have no special meaning, as in Common Voice."""
    reader = csv.reader(_lines(manifest), delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    return _parse_lines(manifest, reader)


def _parse_lines(manifest: Path, reader: CsvReader) -> _Table:
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise InputError(
            f"{manifest}: line {reader.line_num} is no such table ({error}); correct its quotes"
        ) from error
    if not lines:
        raise InputError(f"{manifest}: only blank lines; write a header and a row for each segment")
    header, *lines = lines
    _check_columns(manifest, header)
    width = len(header)
    if all(len(line) == width for line in lines):
        rows, rejected = range(1, len(lines) + 1), []
    else:
        rows = [row for row, line in enumerate(lines, 1) if len(line) == width]
        rejected = [
            _wrong_cell_count(manifest, row, line, header)
            for row, line in enumerate(lines, 1)
            if len(line) != width
        ]
        lines = [line for line in lines if len(line) == width]
    values = zip(*lines, strict=True) if lines else ((),) * width
    return _Table(dict(zip(header, values, strict=True)), rows, rejected)


def _wrong_cell_count(manifest: Path, row: int, line: list[str], header: list[str]) -> Rejected:
    place = header.index("path")
    return Rejected(
        row,
        line[place] if place < len(line) else "",
        None,
        None,
        "bad-row",
        f"{manifest.name}, row {row}: {len(line)} cells, but the header has {len(header)}; "
        "add or remove some, or quote a cell that holds the separator",
    )


def _json_lines(manifest: Path) -> _Table:
    entries: list[dict[str, object]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(_lines(manifest), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{manifest}: line {number} is no JSON ({error}); write one object a line"
            ) from error
        if not isinstance(entry, dict):
            raise InputError(
                f"{manifest}: line {number} is a {type(entry).__name__}, not an object; write "
                'lines like {"path": "a.wav", "speaker": "anna"}'
            )
        entries.append(cast("dict[str, object]", entry))
        names.update(dict.fromkeys(entries[-1]))
    columns = {name: [_json_text(entry.get(name)) for entry in entries] for name in names}
    for name, values in columns.items():
        for row, value in enumerate(values, 1):
            if not _encodable(value):
                raise InputError(
                    f"{manifest}: row {row}, {name!r}: half of a surrogate pair, which is no text; "
                    "correct it"
                )
    return _Table(columns, range(1, len(entries) + 1))


def _json_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet(manifest: Path) -> _Table:
    pa: Any = importlib.import_module("pyarrow")  # it has no types
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        table = parquet.ParquetFile(manifest).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{manifest}: can't be read as Parquet ({error}); write it again"
        ) from error
    _check_columns(manifest, table.column_names)
    columns: dict[str, Sequence[Any]] = {}
    for name in table.column_names:
        values = table.column(name).to_pylist()
        columns[name] = values if name in ("start", "end") else [_text(value) for value in values]
    return _Table(columns, range(1, table.num_rows + 1))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _lines(manifest: Path) -> io.StringIO:
    """The lines of the manifest, without a byte order mark."""
    try:
        return io.StringIO(manifest.read_bytes().decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{manifest}: byte {error.start} is not UTF-8; save the manifest as UTF-8"
        ) from error


def _check_columns(manifest: Path, names: Sequence[str]) -> None:
    if "path" not in names:
        similar = nearest("path", [name.strip().lower() for name in names], cutoff=0.6)
        hint = next((n for n in names if similar and n.strip().lower() == similar[0]), None)
        raise InputError(
            f"{manifest}: no column 'path'; there are {', '.join(map(repr, names)) or 'none'}; "
            + (f"rename {hint!r}" if hint else "give each row's recording in a column of that name")
        )
    if "" in names:
        raise InputError(
            f"{manifest}: column {list(names).index('') + 1} has no name; name it or leave it out "
            "(pandas: index=False)"
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(
            f"{manifest}: the column {repeated[0]!r} is there twice; rename one of them"
        )


SUFFIXES: dict[str, Callable[[Path], _Table]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
