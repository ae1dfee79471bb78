# Of some of torch's functions parameters have no type:
# pyright: reportUnknownMemberType=false
"""Processes that train a model together, as `torchrun` starts them, or this process alone."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from augury.errors import InputError, explain_os_errors

#: The subfolder of a run with what it needs to be resumed; almost empty when it has ended.
STATE_FOLDER = "state"


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, and the rank of this one."""

    rank: int
    size: int
    device: torch.device

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same in each to the last bit."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def process_group(device: str | None) -> Generator[ProcessGroup]:
    """The processes that torchrun started; on GPUs if there are any and no device is given."""
    chosen = find_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    # A day, since the other processes wait while the first extracts a corpus.
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(days=1))
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def find_device(name: str) -> torch.device:
    """The CPU, or a GPU of this machine; InputError for anything else.

    >>> find_device("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{name}: no such device; try cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"{name}: not a device that Augury supports; try cpu or cuda")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(
            f"{name}: torch finds {count} GPUs here; leave out the device, or give cpu"
        )
    return device


class FolderInUse(InputError):
    """Another run uses the folder."""


@contextmanager
def lock_folder(folder: Path, group: ProcessGroup) -> Generator[None]:
    """Keep other runs out of a folder in the block.

    Raises:
        FolderInUse: another run uses it.
        UnusableFile: it can't be made or written to.
    """
    if group.rank:
        yield
        return
    with explain_os_errors(folder):
        (folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
        lock = (folder / STATE_FOLDER / "lock").open("w")
    with lock:
        try:
            import fcntl

            fcntl.flock(
                lock, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # ends with the process, even if killed
        except BlockingIOError as error:
            raise FolderInUse(
                f"{folder}: another process trains in it; wait for it, or choose another --out"
            ) from error
        except (ImportError, OSError):  # this system or disk has no such locks
            pass
        yield
