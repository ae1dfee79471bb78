# loky has no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Processes of this machine, each with one thread, that outlive the death of one of them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import cast

from loky import ProcessPoolExecutor

from augury.compute.pool import LocalPool, Pool, Submit
from augury.compute.threads import Threads, cores
from augury.errors import InputError

#: What keeps a process' arithmetic in one thread, if set before it starts.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"), "1"
)


def process_count() -> int:
    """Processes that keep all cores busy: one may wait for the disk while another computes."""
    return cores() + 1


class Processes(LocalPool):
    """A pool of processes; InputError for a number that is none, or far beyond the cores."""

    deaths: tuple[type[Exception], ...] = (BrokenProcessPool,)
    dies_whole = True

    def __init__(self, count: int | None = None) -> None:
        self.count = process_count() if count is None else count
        if not 1 <= self.count <= 64 * cores():
            raise InputError(f"jobs is {self.count}, but must be from 1 to {64 * cores()}")

    def limit(self, tasks: int) -> Pool:
        """The pool with no more processes than tasks; this process alone if one would do."""
        count = min(self.count, tasks)
        return Processes(count) if count > 1 else Threads(1)

    @contextmanager
    def open(self, workers: int | None = None) -> Generator[Submit]:
        """`submit`; left by an exception, the processes are killed."""
        executor = ProcessPoolExecutor(
            max_workers=workers or self.count,
            timeout=60,
            env=ONE_THREAD,
            initializer=_start_worker,
            initargs=(os.getpid(),),
        )
        try:
            yield cast(Submit, executor.submit)
        except BaseException:  # Ctrl-C, or an error in a task: nobody waits for the others
            executor.shutdown(kill_workers=True)
            raise
        executor.shutdown()

    def in_flight(self) -> int:
        """Two tasks a process, so that none waits for its next."""
        return 2 * self.count

    def task_size(self, items: int) -> int:
        """Handing a task over costs a millisecond or two: 16 tasks a process, to share evenly."""
        return max(1, items // (16 * self.count))


def _start_worker(parent: int) -> None:
    """In a new worker: Ctrl-C reaches it, but is for the parent, which then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int) -> None:
    """Exit when the parent is killed: this worker would go on, and slow the next run down."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
