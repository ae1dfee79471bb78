"""How a stage reports while it works: its progress, messages and warnings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExtractionProgress:
    """Recordings that are extracted, or encoded, so far."""

    done: int  # recordings
    total: int  # recordings
    seconds: float  # of audio in those that are done


@dataclass(frozen=True)
class TrainingProgress:
    """How far training is, after a batch."""

    step: int  # batches done since the first epoch began
    epoch: int  # the current one, counted from 1
    epochs: int
    batch: int  # of this epoch, counted from 1
    batches: int
    losses: dict[str, float]  # each worker's mean over this epoch so far, and "loss", their sum
    speed: float  # seconds of audio a second
    remaining: float  # seconds until the last epoch ends, at this speed


Progress = ExtractionProgress | TrainingProgress


class Reporter:
    """What a stage calls while it works. This one is silent: override what should be shown.

    >>> class Printer(Reporter):
    ...     def warning(self, text):
    ...         print("warning:", text)
    >>> Printer().warning("no checkpoint written")
    warning: no checkpoint written
    """

    def progress(self, event: Progress) -> None:
        """Called after every recording that was extracted and every batch of training."""

    def message(self, text: str) -> None:
        """Called with a sentence when a step of the work begins or ends."""

    def warning(self, text: str) -> None:
        """Called with a sentence when something went wrong that the work survives."""
