"""The command line's output streams, and how it shows progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from augury.report.text import clock
from augury.reporter import ExtractionProgress, Progress, Reporter, TrainingProgress

if TYPE_CHECKING:
    import rich.progress

# Pipes and logs have no width: wide enough that a table row is one line.
# Names come from files, so markup is disabled.
out = Console(
    width=None if sys.stdout.isatty() else 140, markup=False, emoji=False, highlight=False
)
err = Console(stderr=True, markup=False, emoji=False, highlight=False)

#: Seconds between two lines of progress where the output is not a terminal.
EXTRACTION_LINES, TRAINING_LINES = 10.0, 30.0


@contextmanager
def open_reporter(*, silent: bool = False) -> Generator[Reporter]:
    """A reporter for the `with` block: it draws bars on a terminal and prints lines elsewhere."""
    if silent:
        yield Reporter()
        return
    reporter = Bars() if err.is_terminal else Lines()
    try:
        yield reporter
    finally:
        reporter.stop()


class Lines(Reporter):
    """Prints a line of progress from time to time."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def progress(self, event: Progress) -> None:
        """Print the progress, unless it was printed a few seconds ago."""
        now = time.monotonic()
        extracting = isinstance(event, ExtractionProgress)
        if now - self.last < (EXTRACTION_LINES if extracting else TRAINING_LINES):
            return
        self.last = now
        text = self._extraction(event, now) if extracting else _training(event)
        err.print(text, soft_wrap=True)

    def _extraction(self, event: ExtractionProgress, now: float) -> str:
        return (
            f"{event.done:,} of {event.total:,} recordings, {event.seconds / 3600:.2f} h, "
            f"× {event.seconds / (now - self.began):.0f} real time"
        )

    def message(self, text: str) -> None:
        """Print a sentence."""
        err.print(text, style="dim", soft_wrap=True)

    def warning(self, text: str) -> None:
        """Print a warning."""
        warn(text)

    def stop(self) -> None:
        """Do nothing; `Bars` has something to stop."""


class Bars(Lines):
    """Draws one bar for the recordings, then one per epoch of training."""

    def __init__(self) -> None:
        super().__init__()
        self.bar: rich.progress.Progress | None = None
        self.kind: type[Progress] | None = None

    def progress(self, event: Progress) -> None:
        """Draw the progress."""
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        if self.kind is not type(event) or self.bar is None:
            self.stop()
            ends = ("{task.fields[before]}", "{task.fields[after]}")
            columns = (TextColumn(ends[0]), BarColumn(), TextColumn(ends[1]))
            self.bar = RichProgress(*columns, console=err, transient=True)
            self.bar.add_task("", total=None, before="", after="")
            self.bar.start()
            self.kind = type(event)
        if isinstance(event, ExtractionProgress):
            self._show_extraction(event)
        else:
            self._show_training(event)

    def _show_extraction(self, event: ExtractionProgress) -> None:
        assert self.bar
        spent = max(time.monotonic() - self.began, 1e-9)
        remaining = spent / max(event.done, 1) * (event.total - event.done)
        self.bar.update(
            self.bar.task_ids[0], completed=event.done, total=event.total, before="recordings",
            after=f"{event.done:,}/{event.total:,} · {clock(remaining)} left · "
            f"× {event.seconds / spent:.0f} real time",
        )  # fmt: skip
        if event.done == event.total:  # free the terminal for later output
            self.stop()

    def _show_training(self, event: TrainingProgress) -> None:
        assert self.bar
        self.bar.update(
            self.bar.task_ids[0], completed=event.batch, total=event.batches,
            before=f"epoch {event.epoch}/{event.epochs}",
            after=f"{clock(event.remaining)} left · × {event.speed:.0f} real time  "
            f"{_losses(event)}",
        )  # fmt: skip

    def stop(self) -> None:
        """Remove the bar."""
        if self.bar:
            self.bar.stop()
        self.bar = None


def _training(event: TrainingProgress) -> str:
    return (
        f"epoch {event.epoch}/{event.epochs}, batch {event.batch}/{event.batches}, "
        f"× {event.speed:.0f} real time, {clock(event.remaining)} left: {_losses(event)}"
    )


def _losses(event: TrainingProgress) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in event.losses.items())


def warn(text: str) -> None:
    """Print a warning."""
    err.print(f"! {text}", style="yellow", soft_wrap=True)
