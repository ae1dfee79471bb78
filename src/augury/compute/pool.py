"""One function mapped over many items by a pool of workers, whatever the workers are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from augury.errors import InputError

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

#: Hands a function and its arguments to a worker.
Submit = Callable[..., Future[Any]]
#: Runs tasks (function, arguments …) as function(x, arguments …); results in the tasks' order.
RunTasks = Callable[[Any, Iterable[tuple[Any, ...]]], Iterator[Any]]

#: Seconds without a result after which it is asked whether there is still a worker.
PATIENCE = 10.0


class WorkerDied(RuntimeError):
    """A worker process was lost (killed, or crashed in native code) on this very item."""


class Pool(Protocol):
    """Workers: threads of this process (`Threads`), other processes, or those of a cluster.

    Where a worker dies, the future of its task raises one of `deaths`, and perhaps all others do.
    """

    deaths: tuple[type[Exception], ...]
    dies_whole: bool  # whether with one worker all others are lost, and `open` must be called anew
    remote: bool  # whether workers may be on other machines: large arrays reach them as files

    def limit(self, tasks: int) -> Pool:
        """The pool for so few tasks: no more workers than tasks, none at all for a single one."""
        ...

    def open(self, workers: int | None = None) -> AbstractContextManager[Submit]:
        """`submit`, while the block lasts; left by an exception, what still runs is abandoned."""
        ...

    def in_flight(self) -> int:
        """Tasks that may be submitted at a time."""
        ...

    def task_size(self, items: int) -> int:
        """Items of so many that make one task: handing one over takes time, too."""
        ...

    def wait_for_worker(self) -> None:
        """Return when there is a worker; InputError if none comes."""
        ...

    def require_paths(self, folder: Path, files: Sequence[Path]) -> None:
        """InputError unless every worker sees the folder and the files under the same names."""
        ...

    def require_same(
        self, facts: Callable[..., dict[str, str]], *arguments: object, remedy: str
    ) -> None:
        """InputError, with the remedy, unless `facts(*arguments)` is the same on every worker."""
        ...


class LocalPool:
    """What all pools on this machine share: their workers are there, and see what we see."""

    remote = False

    def wait_for_worker(self) -> None:
        """Nothing to wait for."""

    def require_paths(self, folder: Path, files: Sequence[Path]) -> None:
        """The same disk."""

    def require_same(
        self, facts: Callable[..., dict[str, str]], *arguments: object, remedy: str
    ) -> None:
        """The same installation."""


def map_any_order(
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Sequence[Item],
    *,
    pool: Pool,
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
        pool: from `augury.compute.open_pool`.
        most: items that go to a worker together, at most; 1 where each takes a second.

    >>> from augury.compute import Threads
    >>> sorted(map_any_order(pow, 2, [3, 4], pool=Threads(2)))
    [(0, 8), (1, 16)]
    """
    pool = pool.limit(len(items))
    size = min(most, pool.task_size(len(items)))
    pending = [range(k, min(k + size, len(items))) for k in range(0, len(items), size)][::-1]
    while pending:
        lost: list[int] = []
        broken = False
        with pool.open() as submit:
            running: dict[Future[list[Result]], range] = {}
            # A bounded number in flight keeps memory, and what a lost worker takes along, small.
            while (pending and not broken) or running:
                while pending and not broken and len(running) < pool.in_flight():
                    chunk = pending.pop()
                    work = [items[index] for index in chunk]
                    try:
                        running[submit(_apply, function, shared, work)] = chunk
                    except pool.deaths:  # since the last look; the others' futures will say so too
                        broken = True
                        pending.append(chunk)
                done = wait(running, PATIENCE, return_when=FIRST_COMPLETED).done
                if not done:
                    pool.wait_for_worker()
                for future in done:
                    chunk = running.pop(future)
                    try:
                        yield from zip(chunk, future.result(), strict=True)
                    except pool.deaths:
                        broken = pool.dies_whole
                        lost += chunk
        for index in lost:  # whichever of them it was, alone it can't take the others along
            yield index, _retry(function, shared, items[index], pool)


def in_order(results: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    """The results of `map_any_order`, without the indices, in the order of its items.

    >>> list(in_order([(1, "b"), (0, "a"), (2, "c")]))
    ['a', 'b', 'c']
    """
    waiting: dict[int, Result] = {}
    turn = 0
    for index, result in results:
        waiting[index] = result
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def run_tasks(x: Any, tasks: Iterable[tuple[Any, ...]], *, pool: Pool) -> Iterator[Any]:
    """Run tasks (function, arguments …) as function(x, arguments …); results in the tasks' order.

    Args:
        x: sent to a worker with every task, so keep it small: a path rather than an array.
        pool: from `augury.compute.open_pool`.

    Raises:
        InputError: a task's worker died twice.

    >>> from augury.compute import Threads
    >>> list(run_tasks(2, [(pow, 3), (max, 1)], pool=Threads(2)))
    [8, 2]
    """
    for result in in_order(map_any_order(_run_task, x, list(tasks), pool=pool)):
        if isinstance(result, WorkerDied):
            raise InputError(f"a task was given up: {result}; if memory ran out, use fewer workers")
        yield result


def _run_task(x: Any, task: tuple[Any, ...]) -> Any:
    function, *arguments = task
    return function(x, *arguments)


def _apply(
    function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
) -> list[Result]:
    return [function(shared, item) for item in items]


def _retry(
    function: Callable[[Shared, Item], Result], shared: Shared, item: Item, pool: Pool
) -> Result | WorkerDied:
    with pool.open(1) as submit:
        try:
            return submit(function, shared, item).result()
        except pool.deaths:
            return WorkerDied("its worker process died twice")
