"""The interface between the training loop and a stage: batches, how to read them, their losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor, nn

Indices = TypeVar("Indices")  # of the clips of a batch; sliced to share it between processes
Data = TypeVar("Data")  # the content of a batch


class Objective(Protocol[Indices, Data]):
    """The batches and losses that a model is trained on."""

    loss_names: list[str]
    loss_weights: list[float]  # of each in the total loss; 0: only reported
    criterion: str  # loss by whose held-out value the best epoch is chosen; "loss": the total

    def epoch_batches(self, epoch: int) -> list[Indices]:
        """The batches of an epoch, in order."""
        ...

    def read(self, indices: Indices) -> Data:
        """The content of a batch; called from other threads, ahead of time."""
        ...

    def losses(self, model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
        """(losses,) sums over the batch, and the number of values of each sum."""
        ...

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> tuple[Tensor, Tensor]:
        """As `losses`, on this process's share of the held-out data; zeros if there is none.

        Once `stop` returns true, the rest may be skipped: the sums are not used then.
        """
        ...

    def seconds(self, indices: Indices) -> float:
        """Seconds of audio in a batch."""
        ...

    def describe(self, indices: Indices) -> str:
        """The batch for messages."""
        ...
