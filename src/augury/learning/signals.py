"""Signals that ask a run to stop: noted, so that it can write a checkpoint first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """Inside, signals that ask to stop only put their number into the list.

    A second Ctrl-C interrupts at once.
    """
    asked = [0]
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked[0] and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked[0] = number

    before = {
        one: signal.signal(one, ask) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    }
    try:
        yield asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
