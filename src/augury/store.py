"""Computed arrays on disk: addressed by their inputs, checksummed, and written atomically.

An artefact is named by a digest of its inputs (audio content, function, version, settings), so a
second run finds it, and a run with other inputs does not. It is a safetensors payload after its
BLAKE2b checksum, written to a temporary name, synced and renamed: after a kill or a full disk a
file is complete or absent, and one that was damaged later is recognised and computed again.
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
#: Array types that can be memory-mapped, by their names in safetensors.
_TYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I64": np.int64}


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

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an artefact; None if it does not exist or is damaged."""
        path = self.path(name)
        try:
            with explain_os_errors(path):
                data = path.read_bytes()
        except MissingFile:
            return None
        return unpack(data)

    def memory_map(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an artefact as memory maps; None if it does not exist or is damaged.

        The checksum is not verified: use this for artefacts that `read` has read before.
        """
        path = self.path(name)
        try:
            with explain_os_errors(path), path.open("rb") as file:
                file.seek(_DIGEST)
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(length))
            arrays: dict[str, np.ndarray] = {}
            for array, entry in header.items():
                begin = _DIGEST + 8 + length + entry["data_offsets"][0]
                kind, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
                arrays[array] = np.memmap(path, kind, "r", begin, shape)
            return arrays
        except UnusableFile:  # an InputError, and so a ValueError, but not a damaged artefact
            raise
        except (MissingFile, struct.error, ValueError, KeyError):
            return None

    def write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of an artefact, replacing any earlier ones."""
        write_atomically(self.path(name), pack(arrays))


def default_store() -> Path:
    """The folder of the store if none is given: AUGURY_STORE, or in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("AUGURY_STORE") or Path(cache) / "augury")


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by name as bytes, with a checksum."""
    payload = save({k: np.ascontiguousarray(arrays[k]) for k in sorted(arrays)})
    return hashlib.blake2b(payload, digest_size=_DIGEST).digest() + payload


def unpack(data: bytes) -> dict[str, np.ndarray] | None:
    """The arrays of `pack`'s output; None if it is damaged.

    >>> unpack(pack({"a": np.array([1, 2])}))["a"].tolist(), unpack(b"damaged")
    ([1, 2], None)
    """
    payload = memoryview(data)[_DIGEST:]
    if hashlib.blake2b(payload, digest_size=_DIGEST).digest() != data[:_DIGEST]:
        return None
    try:
        return load(bytes(payload))
    except SafetensorError:
        return None


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
