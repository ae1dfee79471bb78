"""A manifest's paths resolved: links followed, and refused where they leave its folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def resolve_paths(
    paths: Sequence[str], folder: Path, allow_outside: bool, refused: dict[int, tuple[str, str]]
) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Recordings, their names, and each row's recording; -1 for rows with an unusable path."""
    base = os.path.realpath(folder)
    folders: dict[str, str] = {}  # folder as written → resolved; a cache
    known: dict[str, int | tuple[str, str]] = {}  # path as written → recording, or (reason, detail)
    numbers: dict[str, int] = {}  # resolved path → recording
    names: list[str] = []
    recording = np.full(len(paths), -1, np.int64)
    for i, path in enumerate(paths):
        target = known.get(path)
        if target is None:
            resolved = _resolve(path, base, folders, allow_outside)
            if isinstance(resolved, str):
                target = numbers.setdefault(resolved, len(numbers))
                if target == len(names):
                    names.append(path)
            else:
                target = resolved
            known[path] = target
        if isinstance(target, int):
            recording[i] = target
        else:
            refused.setdefault(i, target)
    return list(numbers), names, recording


def _resolve(
    path: str, base: str, folders: dict[str, str], allow_outside: bool
) -> str | tuple[str, str]:
    """The absolute path of a manifest's path, or (reason, detail) why it is unusable."""
    if not path:
        return "missing-path", "no path is given; name the recording"
    try:
        full, status = _follow(path, base, folders)
    except FileNotFoundError:
        full, status = os.path.realpath(os.path.join(base, path)), None
    except (ValueError, OSError, RuntimeError) as error:  # NUL, too long, circular links
        return "bad-path", f"{path!r} can't be a path here ({error}); correct it"
    if not allow_outside and full != base and not full.startswith(base.rstrip(os.sep) + os.sep):
        return (
            "outside-folder",
            f"{path!r} is {full}, outside the manifest's folder; move it inside, or pass "
            "--allow-outside if you trust this manifest",
        )
    if status is None:
        return "missing-file", f"there is no file {full}; restore it or leave the row out"
    if not stat.S_ISREG(status.st_mode):
        return "not-a-file", f"{full} is not a regular file; name an audio file"
    return full


def _follow(path: str, base: str, folders: dict[str, str]) -> tuple[str, os.stat_result]:
    """The path with all links and `..` resolved, and the status of its file."""
    head, tail = os.path.split(os.path.join(base, path))
    if head not in folders:
        folders[head] = os.path.realpath(head)
    full = os.path.join(folders[head], tail)
    status = os.lstat(full)
    if stat.S_ISLNK(status.st_mode) or tail in ("", ".", ".."):
        full = os.path.realpath(full, strict=True)
        status = os.lstat(full)
    return full, status
