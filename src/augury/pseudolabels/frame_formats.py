"""Files of values of frames: which recordings they have, and how each one's values are read.

Nothing here opens a file that another file names, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError, explain_os_errors

#: Ids of units are below this: a column is counted for each.
MOST_UNITS = 1 << 16
#: A longer line (bytes) is no line of units.
LONGEST_LINE = 1 << 28


@dataclass(frozen=True)
class Entry:
    """A recording's values in a file."""

    name: str  # the recording's path or id, as the file has it
    root: str  # the folder that the path is relative to, "" where the file does not say
    place: str  # where it stands, for messages: "line 3 of train.km"
    read: Callable[[], NDArray[Any]]  # raises InputError where these values can't be used
    hashed: bool = False  # whether the digest of its file covers these values


@dataclass(frozen=True)
class FrameTable:
    """The recordings of some files."""

    entries: list[Entry]
    digests: dict[str, str]  # file → BLAKE2b of its bytes; arrays are not among them


# ------------------------------------------------------------------------------------- fairseq


def read_km(path: Path) -> FrameTable:
    """A line of units a recording, in the order of the `.tsv` beside it."""
    listing, root, names, listing_digest = find_listing(path)
    edges, digest = _scan_lines(path)
    _require_same_count(path, len(edges) - 1, listing, len(names))
    entries: list[Entry] = []
    for line, (name, begin, end) in enumerate(zip(names, edges, edges[1:], strict=False), 1):
        place = f"line {line} of {path}"
        entries.append(
            Entry(name, root, place, partial(_read_km_line, path, begin, end, place), True)
        )
    return FrameTable(entries, {str(path): digest, str(listing): listing_digest})


def _read_km_line(path: Path, begin: int, end: int, place: str) -> NDArray[Any]:
    with explain_os_errors(path), path.open("rb") as file:
        file.seek(begin)
        return parse_units(file.read(end - begin), place)


def read_joined_array(path: Path) -> FrameTable:
    """fairseq's features: all recordings' frames in one array, their numbers in a `.len`."""
    numbers = path.with_suffix(".len")
    listing, root, names, listing_digest = find_listing(path)
    edges, digest = _scan_lines(numbers)
    _require_same_count(numbers, len(edges) - 1, listing, len(names))
    with explain_os_errors(numbers):
        lines = numbers.read_bytes().splitlines()
    for line, text in enumerate(lines, 1):
        if not re.fullmatch(rb"\s*[0-9]{1,15}\s*", text):
            raise InputError(f"{numbers}: line {line} is not one number of frames")
    ends = np.cumsum([0, *map(int, lines)])
    array = vector_array(path)
    if len(array) != ends[-1]:
        raise InputError(
            f"{path}: {len(array):,} frames, but the lengths in {numbers} add up to {ends[-1]:,}"
        )
    entries = [
        Entry(name, root, f"recording {k + 1} of {path}", partial(_slice, array, begin, end))
        for k, (name, begin, end) in enumerate(zip(names, ends[:-1], ends[1:], strict=True))
    ]
    return FrameTable(entries, {str(numbers): digest, str(listing): listing_digest})


def _slice(array: NDArray[Any], begin: int, end: int) -> NDArray[Any]:
    return array[begin:end]


def find_listing(path: Path) -> tuple[Path, str, list[str], str]:
    """The `.tsv` beside a file, and what `read_listing` has of it: the file's share, of a shard's.

    fairseq calls shard R of N `train_R_N.km` and gives it the lines from round(n / N · R) on.
    """
    listing = path.with_suffix(".tsv")
    shard = re.fullmatch(r"(.+)_(\d{1,6})_([1-9]\d{0,5})", path.stem)
    if listing.exists() or not shard:
        return listing, *read_listing(listing)
    listing, rank, shards = path.with_name(f"{shard[1]}.tsv"), int(shard[2]), int(shard[3])
    root, names, digest = read_listing(listing)
    first, stop = (round(len(names) / shards * k) for k in (rank, rank + 1))
    return listing, root, names[first:stop], digest


def read_listing(path: Path) -> tuple[str, list[str], str]:
    """Root folder and recordings' paths of fairseq's `.tsv`, and the digest of its bytes."""
    with explain_os_errors(path):
        data = path.read_bytes()
    lines = data.decode(errors="surrogateescape").splitlines()
    if not lines or "\t" in lines[0]:
        raise InputError(
            f"{path}: the first line must be the folder that the paths are relative to"
        )
    names = [line.partition("\t")[0].strip() for line in lines[1:]]
    if "" in names:
        raise InputError(f"{path}: line {names.index('') + 2} names no recording")
    return lines[0].strip(), names, hashlib.blake2b(data, digest_size=32).hexdigest()


def _scan_lines(path: Path) -> tuple[list[int], str]:
    """Where each line of a file begins, and where the last ends; the digest of its bytes."""
    edges, digest = [0], hashlib.blake2b(digest_size=32)
    with explain_os_errors(path), path.open("rb") as file:
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise InputError(f"{path}: line {len(edges)} is longer than {LONGEST_LINE:,} bytes")
            digest.update(line)
            edges.append(edges[-1] + len(line))
    return edges, digest.hexdigest()


def _require_same_count(path: Path, count: int, listing: Path, listed: int) -> None:
    if count != listed:
        raise InputError(
            f"{path}: {count:,} lines, but {listing} names {listed:,} recordings for it; line k of "
            "one must be recording k of the other"
        )


# ---------------------------------------------------------------------------------- JSON Lines


def read_json_lines(path: Path) -> FrameTable:
    """An object a line: `name` or `audio`, and `units`."""
    edges, digest = _scan_lines(path)
    entries = list(_json_entries(path, edges))
    if not entries:
        raise InputError(f"{path}: it is empty; each line must be an object of name and units")
    return FrameTable(entries, {str(path): digest})


def _json_entries(path: Path, edges: Sequence[int]) -> Iterator[Entry]:
    with explain_os_errors(path), path.open("rb") as file:
        for line, (begin, end) in enumerate(pairwise(edges), 1):
            place, text = f"line {line} of {path}", file.read(end - begin)
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{place}: not JSON ({error})") from error
            fields = cast(dict[str, Any], row) if isinstance(row, dict) else {}
            name = fields.get("name", fields.get("audio"))
            if not isinstance(name, str) or not name or "units" not in fields:
                raise InputError(f"{place}: write an object of name (or audio) and units")
            yield Entry(name, "", place, _json_reader(fields["units"], place), True)


def _json_reader(units: Any, place: str) -> Callable[[], NDArray[Any]]:
    """Reads units that are kept as a narrow array, or says why they are none."""
    try:
        array = check_units(np.array(units if units else np.zeros(0, np.int64)), place)
    except (ValueError, OverflowError, InputError) as error:
        message = str(error) if isinstance(error, InputError) else f"{place}: units are no ids"
        return partial(_refuse, message)
    return array.copy


def _refuse(message: str) -> NDArray[Any]:
    raise InputError(message)


# -------------------------------------------------------------------------------- arrays, units


def read_folder(folder: Path, read: Callable[[Path], NDArray[Any]]) -> FrameTable:
    """One `.npy` a recording, named by its path in the folder."""
    files = sorted(path for path in folder.rglob("*.npy") if path.is_file())
    if not files:
        raise InputError(f"{folder}: no .npy in it; one for each recording is needed")
    entries = [
        Entry(str(path.relative_to(folder).with_suffix("")), "", str(path), partial(read, path))
        for path in files
    ]
    return FrameTable(entries, {})


def _map_array(path: Path) -> NDArray[Any]:
    """A memory-mapped `.npy`; InputError where it is none."""
    try:
        with explain_os_errors(path):
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except InputError as error:
        if isinstance(error, OSError):
            raise
        raise InputError(f"{path}: {error}") from error
    except (ValueError, EOFError, SyntaxError, TypeError, MemoryError) as error:
        raise InputError(f"{path}: not an array of numbers in .npy ({error})") from error


def unit_array(path: Path) -> NDArray[Any]:
    """The units (frames,) of an `.npy`."""
    return check_units(_map_array(path), str(path))


def vector_array(path: Path) -> NDArray[Any]:
    """The vectors (frames, dims) of an `.npy`, memory-mapped."""
    return check_vectors(_map_array(path), str(path))


def check_vectors(array: NDArray[Any], place: str) -> NDArray[Any]:
    """The vectors (frames, dims) themselves; InputError if they are none."""
    if array.dtype.kind not in "fiu" or array.ndim != 2 or not array.shape[1]:
        raise InputError(
            f"{place}: an array of shape {array.shape} and type {array.dtype}; numbers (frames, "
            "dims) are needed"
        )
    return array


def parse_units(text: bytes, place: str) -> NDArray[Any]:
    """Units (frames,) from a line of whole numbers with blanks between.

    >>> parse_units(b"7 7 12\\n", "line 1 of train.km")
    array([ 7,  7, 12], dtype=int16)
    """
    if text.translate(None, b"0123456789 \t\r\n"):
        odd = next(token for token in text.split() if not token.isdigit())
        raise InputError(
            f"{place}: {odd[:20].decode(errors='replace')!r} is not the id of a unit, a whole "
            "number from 0 on"
        )
    if not text.strip():  # of which NumPy would make one number
        return np.zeros(0, np.int16)
    return check_units(np.fromstring(text.decode("ascii"), np.int64, sep=" "), place)


def check_units(units: NDArray[Any], place: str) -> NDArray[Any]:
    """Ids (frames,) as int16, or int32 for high ids; InputError if they can't be ids."""
    if units.dtype.kind not in "iu" or units.ndim != 1:
        raise InputError(
            f"{place}: an array of shape {units.shape} and type {units.dtype}; ids of units, whole "
            "numbers (frames,), are needed"
        )
    low, high = (int(units.min()), int(units.max())) if len(units) else (0, 0)
    if low < 0:
        raise InputError(f"{place}: a unit has the id {low}, but ids begin at 0")
    if high >= MOST_UNITS:
        raise InputError(
            f"{place}: a unit has the id {high}, but ids end at {MOST_UNITS - 1}; number them anew"
        )
    return units.astype(np.int16 if high < 1 << 15 else np.int32)
