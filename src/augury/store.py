"""Computed arrays on disk: addressed by their inputs, checksummed, and written atomically.

An artefact is named by a digest of its inputs (audio content, function, version, settings), so a
second run finds it, and a run with other inputs does not. It is a safetensors payload after its
checksum, written to a temporary name, synced and renamed: after a kill or a full disk a file is
complete or absent, and one that was damaged later is recognised and computed again. The checksum is
XXH3, which is as fast as memory; older files, with BLAKE2b's, are read as well.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import secrets
import struct
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from safetensors.numpy import save

from augury.errors import MissingFile, UnusableFile, explain_os_errors

_DIGEST = 32  # bytes before the payload
#: Of these 32 bytes the first half, if the second is the payload's XXH3.
_MARK = b"augury, xxh3-128"
#: Array types by their names in safetensors.
_TYPES = {
    "F16": np.float16, "F32": np.float32, "F64": np.float64, "BOOL": np.bool_,
    "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
}  # fmt: skip
#: `Store.look` reads arrays of up to so many bytes.
_SMALL = 64


def digest(data: bytes) -> str:
    """BLAKE2b of some bytes, as 64 hexadecimal digits.

    >>> digest(b"augury")[:8]
    '124327dc'
    """
    return hashlib.blake2b(data, digest_size=_DIGEST).hexdigest()


def key(*parts: object) -> str:
    """The name of an artefact computed from `parts` (anything JSON can write, in this order)."""
    return digest(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def source_version(definition: Any, module: str) -> str:
    """A digest of the file that defines a function or class; it changes with every edit."""
    try:
        file = inspect.getsourcefile(definition)
    except TypeError:  # a callable object: take the module that names it
        file = getattr(sys.modules[module], "__file__", None)
    return digest(Path(file).read_bytes())[:16] if file else "no-source"


@dataclass(frozen=True)
class Store:
    """A folder of artefacts. Several processes may read and write it at once.

    >>> store = Store(Path("store"))
    >>> name = key("F0", {"window": 0.025})
    >>> store.write(name, {"values": np.array([1.0, 2.0])})
    >>> store.read(name)["values"].tolist()
    [1.0, 2.0]
    """

    root: Path

    def path(self, name: str) -> Path:
        """The file of an artefact."""
        return self.root / name[:2] / name

    def read(self, name: str) -> dict[str, NDArray[Any]] | None:
        """The arrays of an artefact; None if it does not exist or is damaged."""
        try:
            with self._open(name) as file:
                data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
                count = file.readinto(data.data)
        except MissingFile:
            return None
        return unpack(data[:count])

    def look(self, name: str) -> dict[str, NDArray[Any] | None] | None:
        """The names of an artefact's arrays, with those of up to 64 bytes; None if there is none.

        Fast, as only the length of the file is verified, not its checksum: `read` does that later.
        """
        try:
            with self._open(name) as file:
                header, begin = _read_header(file)
                if os.fstat(file.fileno()).st_size != begin + max(map(_end, header.values())):
                    return None
                arrays: dict[str, NDArray[Any] | None] = dict.fromkeys(header)
                for array, entry in header.items():
                    first, end = entry["data_offsets"]
                    if end - first <= _SMALL:
                        file.seek(begin + first)
                        values = np.frombuffer(file.read(end - first), _TYPES[entry["dtype"]])
                        arrays[array] = values.reshape(entry["shape"])
                return arrays
        except UnusableFile:  # an InputError, and so a ValueError, but not a damaged artefact
            raise
        except (MissingFile, struct.error, ValueError, KeyError):
            return None

    def memory_map(self, name: str) -> dict[str, NDArray[Any]] | None:
        """The arrays of an artefact as memory maps; None if it does not exist or is damaged.

        The checksum is not verified: use this for artefacts that `read` has read before.
        """
        try:
            with self._open(name) as file:
                header, begin = _read_header(file)
            arrays: dict[str, NDArray[Any]] = {}
            for array, entry in header.items():
                offset, shape = begin + entry["data_offsets"][0], tuple(entry["shape"])
                arrays[array] = np.memmap(
                    self.path(name), _TYPES[entry["dtype"]], "r", offset, shape
                )
            return arrays
        except UnusableFile:  # an InputError, and so a ValueError, but not a damaged artefact
            raise
        except (MissingFile, struct.error, ValueError, KeyError):
            return None

    @contextmanager
    def _open(self, name: str) -> Generator[BufferedReader]:
        file = os.path.join(self.root, name[:2], name)  # faster than a Path
        with explain_os_errors(file), open(file, "rb") as stream:
            yield stream

    def write(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the arrays of an artefact, replacing any earlier ones."""
        write_atomically(self.path(name), pack(arrays))


def default_store() -> Path:
    """The folder of the store if none is given: AUGURY_STORE, or in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("AUGURY_STORE") or Path(cache) / "augury")


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name as bytes, with a checksum."""
    payload = save({k: np.ascontiguousarray(arrays[k]) for k in sorted(arrays)})
    return b"".join([_MARK, xxhash.xxh3_128_digest(payload), payload])


def unpack(data: bytes | NDArray[np.uint8]) -> dict[str, NDArray[Any]] | None:
    """The arrays of `pack`'s output, views of it if it is an array; None if it is damaged.

    >>> unpack(pack({"a": np.array([1, 2])}))["a"].tolist(), unpack(b"damaged")
    ([1, 2], None)
    """
    if isinstance(data, bytes):
        data = np.frombuffer(bytearray(data), np.uint8)  # so that the arrays can be written to
    view = data.data
    head, payload = bytes(view[:_DIGEST]), view[_DIGEST:]
    if head.startswith(_MARK):
        whole = head == _MARK + xxhash.xxh3_128_digest(payload)
    else:  # written by an earlier version
        whole = head == hashlib.blake2b(payload, digest_size=_DIGEST).digest()
    if not whole:
        return None
    (length,) = struct.unpack_from("<Q", payload)
    header, begin = json.loads(bytes(payload[8 : 8 + length])), _DIGEST + 8 + length
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        values = np.frombuffer(view[begin + first : begin + end], _TYPES[entry["dtype"]])
        arrays[name] = values.reshape(entry["shape"])
    return arrays


def _read_header(file: BufferedReader) -> tuple[dict[str, dict[str, Any]], int]:
    """From the start of an artefact: what is known of each array, and where the first begins."""
    file.seek(_DIGEST)
    (length,) = struct.unpack("<Q", file.read(8))
    return json.loads(file.read(length)), _DIGEST + 8 + length


def _end(entry: Mapping[str, Any]) -> int:
    """The byte after an array's last, counted from the first array's first."""
    return entry["data_offsets"][1]


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file, completely or not at all, and create its folder if needed.

    Raises:
        UnusableFile: it can't be written: no permission, no space, a file in a folder's place.
    """
    if isinstance(data, str):
        # File names need not be UTF-8; other bytes are written escaped.
        data = data.encode(errors="backslashreplace")
    temporary = path.with_name(f".{path.name[:64]}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UnusableFile(f"{path}: can't be written: {error.strerror or error}") from error
        raise
