"""How long work takes, by the clock."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def measure_time(timings: dict[str, float], name: str) -> Generator[None]:
    """Add the seconds spent inside the block to `timings[name]`.

    >>> timings = {}
    >>> with measure_time(timings, "sum"):
    ...     total = sum(range(10))
    >>> timings["sum"] >= 0
    True
    """
    began = time.perf_counter()
    yield
    timings[name] = timings.get(name, 0.0) + time.perf_counter() - began
