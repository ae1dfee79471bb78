"""Processes that train one model together, as `torchrun` starts them; or this one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from augury.errors import InputError, explain_os_errors

#: The folder, inside a run's, of what it needs to go on; all but empty when it has ended.
STATE_FOLDER = "state"


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, and this one's place among them."""

    rank: int
    size: int
    device: torch.device

    def sum(self, values: Tensor) -> Tensor:
        """The sum of every process's values, the same in all to the last bit."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def process_group(device: str | None) -> Iterator[ProcessGroup]:
    """The processes that torchrun says there are, on GPUs where there are any, else on the CPU."""
    chosen = find_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    # A day: others wait while the first extracts a corpus.
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(days=1))
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def find_device(name: str) -> torch.device:
    """The CPU, or a GPU that is here; InputError for anything else."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{name}: no such device; try cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"{name}: not a device that this runs on; try cpu or cuda")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(
            f"{name}: torch finds {count} GPUs here; leave out the device, or give cpu"
        )
    return device


class FolderInUse(InputError):
    """Another run uses the folder."""


@contextmanager
def lock_folder(folder: Path, here: ProcessGroup) -> Iterator[None]:
    """Inside, no other run may use the folder; FolderInUse if one does."""
    if here.rank:
        yield
        return
    with explain_os_errors(folder):
        (folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
    with (folder / STATE_FOLDER / "lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process, killed or not
        except BlockingIOError as error:
            raise FolderInUse(
                f"{folder}: another process trains in it; wait for it, or choose another --out"
            ) from error
        except (ImportError, OSError):  # no such locks on this system, or this disk
            pass
        yield
