# threadpoolctl has no types:
# pyright: reportMissingTypeStubs=false
"""Threads of this process: on all cores, and with the same bits on any number of them."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, wraps
from itertools import chain, islice
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

from augury.compute.pool import LocalPool, Submit

P = ParamSpec("P")
T = TypeVar("T")


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[None]:
    """Limits BLAS and OpenMP, of all modules imported so far, to one thread inside the block."""
    return _libraries(len(sys.modules)).limit(limits=1)


@lru_cache(maxsize=1)
def _libraries(modules: int) -> Any:
    """The libraries loaded so far: looked for again (2 ms) once modules were imported."""
    return ThreadpoolController()


def with_one_blas_thread(function: Callable[P, T]) -> Callable[P, T]:
    """The function with one BLAS thread: its last bits do not depend on how many there are."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        with one_blas_thread():
            return function(*args, **kwargs)

    return inner


class Threads(LocalPool):
    """A pool of threads; one alone is the calling thread, in which a task runs as it is submitted.

    >>> with Threads(2).open() as submit:
    ...     submit(pow, 2, 3).result()
    8
    """

    deaths: tuple[type[Exception], ...] = ()  # a thread does not die, or all does
    dies_whole = False

    def __init__(self, count: int | None = None) -> None:
        self.count = count or cores()

    def limit(self, tasks: int) -> Threads:
        """The pool with no more threads than tasks."""
        return Threads(max(1, min(self.count, tasks)))

    @contextmanager
    def open(self, workers: int | None = None) -> Generator[Submit]:
        """`submit`; leaving the block waits for all tasks."""
        count = min(self.count, workers or self.count)
        if count == 1:
            yield _run_at_once
            return
        with one_blas_thread(), ThreadPoolExecutor(count) as executor:
            yield executor.submit

    def in_flight(self) -> int:
        """Two tasks a thread, so that none waits for its next."""
        return 1 if self.count == 1 else 2 * self.count

    def task_size(self, items: int) -> int:
        """Handing a task to a thread costs nothing."""
        return 1


def _run_at_once(function: Callable[..., Any], *arguments: object) -> Future[Any]:
    """The task's future, done."""
    future: Future[Any] = Future()
    try:
        with one_blas_thread():  # as in a worker: the same last bits
            future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def run_in_threads(
    x: Any, tasks: Iterable[tuple[Any, ...]], *, count: int | None = None
) -> Iterator[Any]:
    """Run tasks (function, arguments …) as function(x, arguments …); results in the tasks' order.

    Each runs in one thread, of all cores' or of `count`, so that its last bits are its own. Tasks
    are taken from their iterator, and results kept, a few at a time.

    >>> list(run_in_threads(2, [(pow, 3), (max, 1)]))
    [8, 2]
    """
    tasks = iter(tasks)
    few = list(islice(tasks, 2))
    pool = Threads(count)
    if len(few) < 2 or pool.count == 1:  # not worth a thread
        with one_blas_thread():
            for function, *arguments in chain(few, tasks):
                yield function(x, *arguments)
        return
    running: deque[Future[Any]] = deque()
    with pool.open() as submit:
        for function, *arguments in chain(few, tasks):
            running.append(submit(function, x, *arguments))
            if len(running) > pool.in_flight():  # bounded, as results may be large
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
