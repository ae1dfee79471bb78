"""Computed arrays on disk: addressed by what they were computed from, checksummed, written whole.

An artefact is named by a digest of its inputs (audio content, function, version, settings), so a
second run finds it and a changed input misses it. It is a safetensors payload behind its own
BLAKE2b checksum, written to a temporary name, synced and renamed: after a kill or a full disk a
file is there whole or not at all, and one that was damaged later is recognised and made anew.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import secrets
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from augury.errors import MissingFile, UnusableFile, explain_os_errors

_DIGEST = 32  # bytes
#: Names that safetensors has for the types of arrays that are mapped.
_TYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I64": np.int64}


def digest(data: bytes) -> str:
    """BLAKE2b of some bytes, as 64 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=_DIGEST).hexdigest()


def key(*parts: object) -> str:
    """The name of what is computed from `parts` (anything JSON can write, in that order)."""
    return digest(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def source_version(what: Any, module: str) -> str:
    """A digest of the file that a function or class is defined in: edited, it is another."""
    try:
        file = inspect.getsourcefile(what)
    except TypeError:  # a callable object: the module it is named in will do
        file = getattr(sys.modules[module], "__file__", None)
    return digest(Path(file).read_bytes())[:16] if file else "no-source"


@dataclass(frozen=True)
class Store:
    """A folder of artefacts. Several processes may read and write it at once."""

    root: Path

    def path(self, name: str) -> Path:
        """Where the artefact of that name lies."""
        return self.root / name[:2] / name

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an artefact; None if it is not there or was damaged."""
        path = self.path(name)
        try:
            with explain_os_errors(path):
                data = path.read_bytes()
        except MissingFile:
            return None
        return unpack(data)

    def memory_map(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an artefact, read from disk only where they are looked at.

        Their checksum is not: this is for what was read whole before.
        """
        path = self.path(name)
        try:
            with path.open("rb") as file:
                file.seek(_DIGEST)
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(length))
            arrays: dict[str, np.ndarray] = {}
            for array, one in header.items():
                begin = _DIGEST + 8 + length + one["data_offsets"][0]
                kind, shape = _TYPES[one["dtype"]], tuple(one["shape"])
                arrays[array] = np.memmap(path, kind, "r", begin, shape)
            return arrays
        except (FileNotFoundError, struct.error, ValueError, KeyError):
            return None

    def write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays under a name, replacing what was there."""
        write_atomically(self.path(name), pack(arrays))


def default_store() -> Path:
    """Where extracted values are kept unless told otherwise: AUGURY_STORE, or the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("AUGURY_STORE") or Path(cache) / "augury")


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by name as bytes, with a checksum."""
    payload = save({k: np.ascontiguousarray(arrays[k]) for k in sorted(arrays)})
    return hashlib.blake2b(payload, digest_size=_DIGEST).digest() + payload


def unpack(data: bytes) -> dict[str, np.ndarray] | None:
    """What was `packed`; None if it was damaged since."""
    payload = memoryview(data)[_DIGEST:]
    if hashlib.blake2b(payload, digest_size=_DIGEST).digest() != data[:_DIGEST]:
        return None
    try:
        return load(bytes(payload))
    except SafetensorError:
        return None


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file, whole or not at all, and its folder where there is none.

    Raises:
        UnusableFile: it can't be written there: no permission, no room, a file in a folder's place.
    """
    if isinstance(data, str):
        # File names need not be UTF-8; what can't be written as such is written escaped.
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
