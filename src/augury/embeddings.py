"""Embeddings that are too large to copy or to keep in memory: they need only len(x) and x[rows].

NumPy arrays are embeddings, too. The classes here do what arrays can't: select rows without a copy,
read rows of a file without keeping it in memory, and return rows on a GPU.
"""

from __future__ import annotations

import math
import os
import platform
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from array_api_compat import array_namespace
from numpy.typing import NDArray

from augury.errors import InputError, explain_os_errors

Indices = NDArray[np.int64]


class Embeddings(Protocol):
    """Embeddings of any kind: an array, or an object that returns any rows as an array.

    >>> import numpy as np
    >>> x: Embeddings = Selected(np.eye(3), np.array([2, 0]))
    >>> len(x), x[np.array([0])]
    (2, array([[0., 0., 1.]]))
    """

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def __getitem__(self, rows: Indices, /) -> Any:
        """(len(rows), …): a copy of these rows, of NumPy or another library of the array API."""
        ...


@dataclass(frozen=True)
class Selected:
    """Some rows of embeddings, in any order."""

    x: Embeddings
    index: Indices

    @classmethod
    def of(cls, x: Embeddings, index: Indices) -> Embeddings:
        """Rows of an array or of another selection; x itself if they are all of its rows."""
        if len(index) == len(x) and (index == np.arange(len(x))).all():
            return x
        return cls(x.x, x.index[index]) if isinstance(x, cls) else cls(x, index)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.index)

    def __getitem__(self, rows: Indices) -> Any:
        return self.x[self.index[rows]]


@dataclass(frozen=True)
class Centred:
    """Embeddings less a mean embedding, subtracted as rows are read."""

    x: Embeddings
    mean: NDArray[np.float64]  # (…) as a row

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.x)

    def __getitem__(self, rows: Indices) -> Any:
        own = self.x[rows]
        xp = array_namespace(own)
        if not xp.isdtype(own.dtype, "real floating"):
            own = xp.astype(own, xp.float64)
        own -= xp.asarray(self.mean, dtype=own.dtype, device=own.device)
        return own


@dataclass(frozen=True)
class Shifted:
    """Embeddings with a number added to all entries of each row: a gain, if they are in dB."""

    x: Embeddings
    shifts: NDArray[np.float64]  # (rows,)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.x)

    def __getitem__(self, rows: Indices) -> Any:
        own = self.x[rows]
        xp = array_namespace(own)
        shifts = xp.asarray(self.shifts[rows], dtype=own.dtype, device=own.device)
        own += xp.reshape(shifts, (-1, *[1] * (own.ndim - 1)))
        return own


#: Mapped pages of a file are released after this many bytes.
MAPPED = 1e9


class Stored:
    """A .npy file of which only the requested rows are read.

    At most 1 GB of it stays in memory; a plain memory map would keep every page that was read.
    Pickling keeps only the path.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise InputError(f"{path}: .npy of version {version}, but only 1.0 is read")
            self.shape, by_column, self.dtype = np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
        if by_column or self.dtype.hasobject:
            raise InputError(f"{path}: must hold numbers, row by row")
        self.path = path
        self._size = path.stat().st_size
        self._map: NDArray[Any] | None = None
        self._touched = 0

    def __reduce__(self) -> tuple[type[Stored], tuple[Path]]:
        return Stored, (self.path,)

    def __len__(self) -> int:
        """The number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Indices) -> NDArray[Any]:
        first, last = int(rows.min()), int(rows.max())
        if not 0 <= first <= last < len(self):
            raise IndexError(f"{self.path} has {len(self)} rows, not {first} to {last}")
        width = math.prod(self.shape[1:])
        if last - first >= 2 * len(rows):  # scattered
            mapped = self._map
            if mapped is None or (self._touched > MAPPED and self._size > MAPPED):
                mapped = np.memmap(self.path, self.dtype, "r", self._start, self.shape)
                self._map, self._touched = mapped, 0
            self._touched += len(rows) * max(width * self.dtype.itemsize, 65_536)  # read ahead
            return np.asarray(mapped[rows])
        block = np.fromfile(
            self.path,
            self.dtype,
            (last - first + 1) * width,
            offset=self._start + first * width * self.dtype.itemsize,
        ).reshape(-1, *self.shape[1:])
        ordered = len(block) == len(rows) and bool((np.diff(rows) == 1).all())
        return block if ordered else block[rows - first]


@dataclass(frozen=True)
class OnDevice:
    """Embeddings whose rows are torch tensors on a device: "cuda", "cuda:1", "cpu"."""

    x: Embeddings
    device: str

    @staticmethod
    def check(device: str) -> None:
        """Raise InputError if the device is not available."""
        try:
            import torch
        except ImportError as error:
            raise InputError(
                f"--device {device} needs torch; pip install 'augury[train]'"
            ) from error
        try:
            torch.zeros(1, dtype=torch.float64, device=device)
        except (RuntimeError, TypeError, AssertionError) as error:
            raise InputError(f"--device {device}: {error}") from error

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.x)

    def __getitem__(self, rows: Indices) -> Any:
        import torch

        return torch.asarray(self.x[rows], device=self.device, copy=True)


class Scratch:
    """A folder for embeddings that are too large for memory, or that a cluster's workers read."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._folder = store / f"scratch-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._copies: list[tuple[Selected, Embeddings]] = []

    def __enter__(self) -> Scratch:
        for folder in self._store.glob(f"scratch-{platform.node()}-*"):  # of killed runs
            process = folder.name.split("-")[-2]
            if not (process.isdigit() and psutil.pid_exists(int(process))):
                shutil.rmtree(folder, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def empty(self, shape: tuple[int, ...], *, shared: bool) -> NDArray[np.float32]:
        """An uninitialised array; in a file if it is `shared` or large.

        Raises:
            UnusableFile: the file can't be written: no permission, or no space.
        """
        size = 4 * math.prod(shape)
        if not shared and size < psutil.virtual_memory().available / 2:
            return np.empty(shape, np.float32)
        with explain_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{secrets.token_hex(8)}.npy"
            array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
            if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a crash later
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, array.offset + size)
        return array

    def rows(self, x: Embeddings) -> Embeddings:
        """The same rows, read from x's file if it is memory-mapped."""
        if isinstance(x, Selected):
            return Selected(self.rows(x.x), x.index)
        if isinstance(x, Centred):
            return Centred(self.rows(x.x), x.mean)
        if isinstance(x, Shifted):
            return Shifted(self.rows(x.x), x.shifts)
        if not isinstance(x, np.memmap):
            return x
        x.flush()
        return Stored(Path(str(x.filename)))

    def whole(self, x: Embeddings) -> Embeddings:
        """A selection copied to a file of its own, so that workers receive only its path."""
        if isinstance(x, Centred):
            return Centred(self.whole(x.x), x.mean)
        if isinstance(x, Shifted):
            return Shifted(self.whole(x.x), x.shifts)
        if not isinstance(x, Selected):
            return x
        for selection, copy in self._copies:
            if selection.x is x.x and np.array_equal(selection.index, x.index):
                return copy
        copy = self.empty((len(x), *x[np.arange(1)].shape[1:]), shared=True)
        for begin in range(0, len(x), 10_000):
            rows = np.arange(begin, min(begin + 10_000, len(x)))
            copy[rows] = x[rows]
        self._copies.append((x, self.rows(copy)))
        return self._copies[-1][1]
