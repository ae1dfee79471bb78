"""Signals that stop a run are deferred, so that it can write a checkpoint first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signals() -> Generator[list[int]]:
    """In the block, SIGTERM, SIGINT and SIGUSR1 only put their number into the list.

    A second Ctrl-C interrupts at once. In threads other than the main one, nothing changes.
    """
    received = [0]
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        if received[0] and number == signal.SIGINT:
            raise KeyboardInterrupt
        received[0] = number

    before = {
        number: signal.signal(number, note)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
