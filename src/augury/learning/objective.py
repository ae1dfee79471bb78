"""What a training loop needs of a stage: which batches, how to read them, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor, nn

Indices = TypeVar("Indices")  # of the clips of a batch; sliced to share it between processes
Data = TypeVar("Data")  # what is read of them


class Objective(Protocol[Indices, Data]):
    """What is trained: which batches, and what they cost."""

    loss_names: list[str]  # names of the losses
    loss_weights: list[float]  # of each in the whole; 0: only looked at
    criterion: str  # part by whose held-out value the best epoch is chosen, or "loss"

    def epoch_batches(self, epoch: int) -> list[Indices]:
        """The batches of an epoch, in order."""
        ...

    def read(self, indices: Indices) -> Data:
        """One batch; called from other threads, ahead of its turn."""
        ...

    def losses(self, model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
        """(parts,) losses summed over what they count, and how much that is."""
        ...

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> tuple[Tensor, Tensor]:
        """As `losses`, on this process's part of what is held out; zeros where nothing is.

        Once `stop` says so the rest may be left out: the figures are not used.
        """
        ...

    def seconds(self, indices: Indices) -> float:
        """Seconds of audio in a batch."""
        ...

    def describe(self, indices: Indices) -> str:
        """The batch in words."""
        ...
