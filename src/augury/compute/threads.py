"""Tasks of the estimator, run here: on all cores, and with the same bits on any number of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from itertools import chain, islice
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

#: Runs tasks (function, arguments …) as function(x, arguments …); results in the tasks' order.
RunTasks = Callable[[Any, Iterable[tuple[Any, ...]]], Iterator[Any]]

_threadpools = ThreadpoolController()

P = ParamSpec("P")
T = TypeVar("T")


def single_threaded(function: Callable[P, T]) -> Callable[P, T]:
    """The function with one BLAS thread: its last bits do not depend on how many there are."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        with _threadpools.limit(limits=1):
            return function(*args, **kwargs)

    return inner


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_threads(
    x: Any, tasks: Iterable[tuple[Any, ...]], *, count: int | None = None
) -> Iterator[Any]:
    """Run tasks here, on all cores or `count`: each on one, so that its last bits are its own."""
    tasks = iter(tasks)
    few = list(islice(tasks, 2))
    with _threadpools.limit(limits=1):
        if len(few) < 2:  # not worth a thread
            for function, *arguments in few:
                yield function(x, *arguments)
            return
        count = count or cores()
        running: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(count) as pool:
            for function, *arguments in chain(few, tasks):
                running.append(pool.submit(function, x, *arguments))
                if len(running) > 2 * count:  # bounded, as results may be large
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
