"""Values of frames in Parquet: a row a recording, of its name and a list of units or vectors.

A group of rows is read at a time; the last few are kept, as recordings tend to stand in order.
"""

from __future__ import annotations

import hashlib
import importlib
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError, explain_os_errors
from augury.pseudolabels.frame_formats import Entry, FrameTable, check_units, check_vectors

#: Columns that may name the recording.
KEYS = ("name", "audio", "path")


def read_parquet(path: Path, column: str) -> FrameTable:
    """The recordings of a file with the column `units` or `frames`, and one of `KEYS`.

    Raises:
        InputError: it is not Parquet, or lacks one of these.
    """
    with explain_os_errors(path), path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    file = _open(path)
    columns: list[str] = file.schema_arrow.names
    key = next((key for key in KEYS if key in columns), "")
    if not key or column not in columns:
        raise InputError(
            f"{path}: its columns are {', '.join(columns)}; it must have {column}, and name, audio "
            "or path"
        )
    entries: list[Entry] = []
    for group in range(file.num_row_groups):
        for row, name in enumerate(_read_group(path, group, key, digest).to_pylist()):
            place = f"row {len(entries) + 1} of {path}"
            if not isinstance(name, str) or not name:
                raise InputError(f"{place}: {key} is {name!r}, but must name a recording")
            read = partial(_read_cell, path, group, row, column, digest, place)
            entries.append(Entry(name, "", place, read, hashed=True))
    return FrameTable(entries, {str(path): digest})


def _open(path: Path) -> Any:
    pa: Any = importlib.import_module("pyarrow")  # it has no types
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: can't be read as Parquet ({error}); write it again") from error


@lru_cache(maxsize=4)
def _read_group(path: Path, group: int, column: str, digest: str) -> Any:
    """A column of a group of rows; `digest` is that of the file, so that no other is taken."""
    pa: Any = importlib.import_module("pyarrow")
    try:
        with _open(path) as file:
            return file.read_row_group(group, columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: can't be read as Parquet ({error}); write it again") from error


def _read_cell(
    path: Path, group: int, row: int, column: str, digest: str, place: str
) -> NDArray[Any]:
    values = getattr(_read_group(path, group, column, digest)[row], "values", None)
    if values is None or values.null_count:
        raise InputError(f"{place}: {column} is no list, or lacks values")
    if column == "units":
        return check_units(values.to_numpy(zero_copy_only=False), place)
    return check_vectors(_stack(values), place)


def _stack(vectors: Any) -> NDArray[Any]:
    """Lists of one length as an array (frames, dims); as it is if they are no such lists."""
    flat = getattr(vectors, "flatten", lambda: None)()
    if flat is None or not len(vectors) or len(flat) % len(vectors) or flat.null_count:
        return vectors.to_numpy(zero_copy_only=False)
    compute: Any = importlib.import_module("pyarrow.compute")
    numbers = flat.to_numpy(zero_copy_only=False)
    same = len(compute.unique(compute.list_value_length(vectors))) == 1
    return np.reshape(numbers, (len(vectors), -1)) if same else numbers
