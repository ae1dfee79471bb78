"""Candidates whose values are in files, frame by frame: found for each recording, and checked.

- `units:FILE@RATE`, categories: fairseq's `.km` with the `.tsv` of the same stem beside it, or of
  its split (`train_0_4.km`, the first of four shards); JSON Lines of `{"name": …, "units": […]}`
  (or `audio`); a folder with an `.npy` of whole numbers for each recording.
- `frames:FOLDER@RATE`, vectors: a folder with an `.npy` (frames, dims) for each recording; or
  fairseq's one `.npy` of all, with a `.len` and a `.tsv` likewise, or a folder of these.

Both may be Parquet: columns `name`, `audio` or `path`, and `units` or `frames`. FILE may be a glob,
where splits have files of their own. RATE is in frames a second; frame k is centred at (k + 1/2) /
RATE seconds.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.corpus.readers.folder import SUFFIXES
from augury.errors import InputError, MissingFile, explain_os_errors
from augury.pseudolabels.candidate import Candidate
from augury.pseudolabels.frame_formats import (
    Entry,
    FrameTable,
    read_folder,
    read_joined_array,
    read_json_lines,
    read_km,
    unit_array,
    vector_array,
)
from augury.pseudolabels.frame_parquet import read_parquet
from augury.store import digest, key

#: Endings of JSON Lines.
JSON_LINES = (".jsonl", ".json", ".ndjson")
#: Frames may end so many seconds, or frames, off the recording's end: convolutions have edges.
EDGE_SECONDS, EDGE_FRAMES = 0.1, 2
#: Rates that models have, in Hz: a message asks for the nearest.
RATES = (12.5, 20, 21.5, 25, 33.3, 40, 50, 62.5, 75, 80, 86.1, 100, 125, 200)


class FileValues:
    """A candidate's values in files. `faults` has what was wrong, by recording, so far."""

    def __init__(
        self,
        candidate: Candidate,
        entries: Mapping[Path, Entry],
        faults: Mapping[Path, str],
        digests: Mapping[str, str],
    ) -> None:
        self.candidate = candidate
        self.faults = dict(faults)
        self._entries, self._digests = entries, dict(digests)
        self._arrays: dict[str, str] = {}  # name → digest, of values that are in no text file
        self._usable = 0  # recordings that were read
        self._dims: tuple[str, int] | None = None  # the first recording, and its dimensions

    @property
    def timing(self) -> tuple[float, float]:
        """The centre of frame 0, and the time between frames, in seconds."""
        return 0.5 / self.candidate.rate, 1 / self.candidate.rate

    def read(self, path: Path, name: str, duration: float) -> NDArray[Any] | None:
        """A recording's units (frames,) or vectors (frames, dims); None where they have a fault.

        Args:
            path: of the recording.
            name: as the manifest wrote it.
            duration: of the recording, in seconds.
        """
        entry = self._entries.get(path)
        if entry is None:
            return None
        try:
            values = entry.read()
            self._check(values, name, duration)
        except InputError as error:
            text = str(error)
            self.faults[path] = text if text.startswith(f"{name}: ") else f"{name}: {text}"
            return None
        self._usable += 1
        if self.candidate.kind == "vector":  # whole numbers, too, are no units there
            values = values if values.dtype.kind == "f" else values.astype(np.float32)
        if not entry.hashed:
            described = f"{values.dtype.str} {values.shape} ".encode()
            self._arrays[name] = digest(described + np.ascontiguousarray(values).tobytes())
        return values

    def _check(self, values: NDArray[Any], name: str, duration: float) -> None:
        """Raise InputError where the values can't be those of the recording."""
        rate = self.candidate.rate
        what, count = "units" if values.ndim == 1 else "frames", len(values)
        if abs(count / rate - duration) > max(EDGE_SECONDS, EDGE_FRAMES / rate) + 1e-9:
            raise InputError(
                f"{name}: {count:,} {what} at {rate:g} Hz are {count / rate:.2f} s, but the "
                f"recording has {duration:.2f} s{_ask_rate(count / duration)}"
            )
        if not count:
            raise InputError(f"{name}: it has no {what}")
        if values.ndim == 1:
            return
        if self._dims is None:
            self._dims = name, values.shape[1]
        first, dims = self._dims
        if values.shape[1] != dims:
            raise InputError(
                f"{name}: vectors of {values.shape[1]} dimensions, but those of {first} have {dims}"
            )
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise InputError(f"{name}: {bad.sum():,} of {count:,} frames are not finite numbers")

    def require_some(self) -> None:
        """Raise InputError where no recording that was read had usable values."""
        if self.faults and not self._usable:
            raise InputError(
                f"{self.candidate.name}: no recording has usable values; the first: "
                f"{next(iter(self.faults.values()))}"
            )

    def digests(self) -> dict[str, str]:
        """Digests of the files' content; of arrays, one of all values that were read."""
        inputs = {f"file:{name}": value for name, value in self._digests.items()}
        if self._arrays:
            inputs[f"file:{self.candidate.item}"] = key(sorted(self._arrays.items()))
        return inputs


def open_files(
    candidates: Iterable[Candidate], recordings: Sequence[tuple[str, Path]]
) -> dict[str, FileValues]:
    """The values of those candidates that are in files, by name.

    Args:
        candidates: of any kind.
        recordings: name in the manifest, and absolute path, of each.

    Raises:
        InputError: a file is missing or malformed, or has no recording of these.
    """
    return {
        candidate.name: _open_file(candidate, recordings)
        for candidate in candidates
        if candidate.from_file
    }


def _open_file(candidate: Candidate, recordings: Sequence[tuple[str, Path]]) -> FileValues:
    try:
        read = read_units if candidate.provider == "units" else read_vectors
        table = _join(read(path) for path in _find_paths(candidate.item))
    except InputError as error:
        if not isinstance(error, OSError):
            raise InputError(f"{candidate.name}: {error}") from error
        raise
    entries, faults = match_recordings(table.entries, recordings)
    values = FileValues(candidate, entries, faults, table.digests)
    if recordings and not entries:
        values.require_some()
    return values


def read_units(path: Path) -> FrameTable:
    """The units of one file or folder, by its ending; InputError where it is none of these."""
    if path.is_dir():
        return read_folder(path, unit_array)
    if path.suffix.lower() in JSON_LINES:
        return read_json_lines(path)
    if path.suffix == ".parquet":
        return read_parquet(path, "units")
    if path.suffix == ".npy":
        raise InputError(f"{path}: one array; give the folder that has one .npy a recording")
    return read_km(path)


def read_vectors(path: Path) -> FrameTable:
    """The vectors of one file or folder, by its ending; InputError where it is none of these."""
    if path.is_dir() and (numbers := sorted(path.glob("*.len"))):
        return _join(read_joined_array(file.with_suffix(".npy")) for file in numbers)
    if path.is_dir():
        return read_folder(path, vector_array)
    if path.suffix == ".npy":
        return read_joined_array(path)
    if path.suffix == ".parquet":
        return read_parquet(path, "frames")
    raise InputError(
        f"{path}: neither a folder of .npy, one a recording, nor an .npy with its .len and .tsv, "
        "nor Parquet; write the frames so"
    )


def _find_paths(pattern: str) -> list[Path]:
    """The file or folder of that name, or those that match it as a glob; MissingFile for none."""
    if os.path.exists(pattern) or not glob.has_magic(pattern):
        with explain_os_errors(pattern):
            os.stat(pattern)
        return [Path(pattern)]
    paths = sorted(glob.glob(pattern, recursive=True))
    if not paths:
        raise MissingFile(f"{pattern}: no file matches; check the path")
    return [Path(path) for path in paths]


def _join(tables: Iterable[FrameTable]) -> FrameTable:
    entries: list[Entry] = []
    digests: dict[str, str] = {}
    for table in tables:
        entries += table.entries
        digests |= table.digests
    return FrameTable(entries, digests)


def match_recordings(
    entries: Sequence[Entry], recordings: Sequence[tuple[str, Path]]
) -> tuple[dict[Path, Entry], dict[Path, str]]:
    """Each recording's entry, and why others have none.

    By the path, as the manifest wrote it or in full; else by the longest end of the one path that
    is all of the other, without endings of audio; else by the stem, where no other file has it.
    """
    suffixes = {*SUFFIXES, ".npy", *(path.suffix.lower() for _, path in recordings)}
    index = _Index(entries, suffixes)
    names = {path: name for name, path in recordings}
    found: dict[Path, Entry] = {}
    faults: dict[Path, str] = {}
    claims: dict[int, list[Path]] = {}
    by_stem: set[Path] = set()
    for path, name in names.items():
        candidates = index.find(name, path)
        if not candidates and (candidates := index.find_stem(name)):
            by_stem.add(path)
        if len(candidates) == 1:
            found[path] = candidates[0]
            claims.setdefault(id(candidates[0]), []).append(path)
        elif candidates:
            both = " and ".join(entry.place for entry in candidates[:2])
            faults[path] = f"{name}: {both} both may be it; name recordings by their paths"
        else:
            faults[path] = f"{name}: not among the {len(entries):,} recordings there"
    for paths in claims.values():
        sure = [path for path in paths if path not in by_stem]
        if len(paths) > 1:
            for path in by_stem.intersection(paths) if len(sure) == 1 else paths:
                entry = found.pop(path)
                twin = next(names[other] for other in paths if other != path)
                faults[path] = (
                    f"{names[path]}: {entry.place} may be it, or that of {twin}; name recordings "
                    "by their paths"
                )
    return found, faults


class _Index:
    """Entries by what recordings may be recognised by."""

    def __init__(self, entries: Sequence[Entry], suffixes: Collection[str]) -> None:
        self._suffixes = suffixes
        self._exact: dict[str, list[Entry]] = {}
        self._whole: dict[str, list[Entry]] = {}  # the whole path, without an ending
        self._ends: dict[str, list[Entry]] = {}  # every end of the path, the stem among them
        for entry in entries:
            full = os.path.normpath(os.path.join(entry.root, entry.name))
            for text in {entry.name, full}:
                self._exact.setdefault(text, []).append(entry)
            ends = list(self._list_ends(entry.name))
            self._whole.setdefault(ends[0], []).append(entry)
            for end in ends:
                self._ends.setdefault(end, []).append(entry)

    def find(self, name: str, path: Path) -> list[Entry]:
        """The entries that may be of a recording."""
        for text in (str(path), name):
            if text in self._exact:
                return self._exact[text]
        for end in self._list_ends(str(path)):  # the longest first
            if end in self._whole:
                return self._whole[end]
        return self._ends.get(self._list_ends(name)[0], [])

    def find_stem(self, name: str) -> list[Entry]:
        """The entries of the same stem, whatever their folders."""
        return self._ends.get(self._list_ends(name)[-1], [])

    def _list_ends(self, name: str) -> list[str]:
        """All ends of a path, without its ending if that is one of audio; the longest first."""
        path = PurePosixPath(name)
        if path.suffix.lower() in self._suffixes:
            path = path.with_suffix("")
        parts = [part for part in path.parts if part not in ("/", ".", "..")] or [name]
        return ["/".join(parts[k:]) for k in range(len(parts))]


def _ask_rate(rate: float) -> str:
    """Whether the rate is one that models have, where it is near one; else about the recording."""
    nearest = min(RATES, key=lambda known: abs(np.log(known / max(rate, 1e-9))))
    if abs(nearest / max(rate, 1e-9) - 1) < 0.03:
        return f": is the rate {nearest:g}?"
    return ": are they of this recording?"
