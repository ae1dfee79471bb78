"""One function mapped over many items: in this process, in several, or on a cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits

from augury.compute.threads import cores
from augury.errors import InputError

if TYPE_CHECKING:
    from augury.compute.cluster import Cluster

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

#: What keeps a process' arithmetic in one thread, if set before it starts.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"), "1"
)


class WorkerDied(RuntimeError):
    """A worker process was lost (killed, or crashed in native code) on this very item."""


def process_count() -> int:
    """Processes that keep all cores busy: one may wait for the disk while another computes."""
    return cores() + 1


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds spent inside to `into[name]`."""
    began = time.perf_counter()
    yield
    into[name] = into.get(name, 0.0) + time.perf_counter() - began


def spread(
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Sequence[Item],
    *,
    jobs: int,
    cluster: Cluster | None = None,
    most: int = 16,
) -> Iterator[tuple[int, Result | WorkerDied]]:
    """(index, function(shared, item)) for every item, in the order they finish.

    Workers run one thread each. An exception in `function` is raised here. An item whose worker
    dies is tried once more, alone; if that worker dies too, its result is `WorkerDied`, and the
    other items go on. (On a cluster, "dies" is as often as its scheduler allows a task.)

    Args:
        function: must be importable by name.
        shared: what all items need; sent to a worker with every task, so keep it small.
        items: small descriptions of the work, not the data itself.
        jobs: processes; 1 runs everything here.
        cluster: from `augury.compute.cluster.opened`; its workers do the work instead.
        most: items that go to a worker together, at most; 1 where each takes a second.
    """
    if not 1 <= jobs <= 64 * cores() and not cluster:
        raise InputError(f"jobs is {jobs}, but must be from 1 to {64 * cores()}")
    if (jobs == 1 or len(items) <= 1) and not cluster:
        for index, item in enumerate(items):
            with threadpool_limits(1):  # as in a worker, so that the last bits are the same
                result = function(shared, item)
            yield index, result
        return
    # Several items a task: handing one over costs a millisecond or two, and a scheduler's time.
    tasks = 4 * max(jobs, cluster.workers()) if cluster else 16 * jobs
    size = min(most, max(1, len(items) // tasks))
    pending = [range(k, min(k + size, len(items))) for k in range(0, len(items), size)][::-1]
    death = (BrokenProcessPool, cluster.death) if cluster else (BrokenProcessPool,)
    while pending:
        lost: list[int] = []
        broken = False
        with _pool(min(jobs, len(items)), cluster) as submit:
            running: dict[Future[list[Result]], range] = {}
            # A bounded number in flight keeps memory, and what a lost worker takes along, small.
            while (pending and not broken) or running:
                room = 2 * (cluster.workers() if cluster else jobs)  # workers come and go
                while pending and not broken and len(running) < room:
                    chunk = pending.pop()
                    work = [items[index] for index in chunk]
                    try:
                        running[submit(_several, function, shared, work)] = chunk
                    except BrokenProcessPool:  # since the last look; its future will say so too
                        broken = True
                        pending.append(chunk)
                done = wait(running, 10 if cluster else None, return_when=FIRST_COMPLETED).done
                if cluster and not done:
                    cluster.wait()
                for future in done:
                    chunk = running.pop(future)
                    try:
                        yield from zip(chunk, future.result(), strict=True)
                    except death:
                        broken = not cluster
                        lost += chunk
        for index in lost:  # whichever of them it was, alone it can't hurt the others
            yield index, _alone(function, shared, items[index], cluster, death)


def in_order(found: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    """What `spread` gives, without the indices, in the order of its items."""
    waiting: dict[int, Result] = {}
    turn = 0
    for index, result in found:
        waiting[index] = result
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def _several(
    function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
) -> list[Result]:
    return [function(shared, item) for item in items]


def _alone(
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    item: Item,
    cluster: Cluster | None,
    death: tuple[type[Exception], ...],
) -> Result | WorkerDied:
    with _pool(1, cluster) as submit:
        try:
            return submit(function, shared, item).result()
        except death:
            return WorkerDied("its worker process died twice")


@contextmanager
def _pool(jobs: int, cluster: Cluster | None) -> Iterator[Callable[..., Future[Any]]]:
    if cluster:
        with cluster.pool() as submit:
            yield submit
        return
    pool = ProcessPoolExecutor(
        max_workers=jobs, timeout=60, env=ONE_THREAD, initializer=_begin, initargs=(os.getpid(),)
    )
    try:
        yield pool.submit
    except BaseException:  # Ctrl-C, or an error in a task: nobody waits for the others
        pool.shutdown(kill_workers=True)
        raise
    pool.shutdown()


def _begin(parent: int) -> None:
    """In a new worker: Ctrl-C reaches it, but is for the parent, which then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A parent that was killed ends nobody: its workers would go on, in the way of the next."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
