"""What a downstream task is, and the model that is trained for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from augury.corpus import Corpus, Rejected
from augury.downstream.data import Batch
from augury.downstream.results import Metric, Outcome
from augury.learning.encoder import Encoder, mask
from augury.settings import EvaluateSettings

#: The tasks that ship with Augury: a module each.
NAMES = ("asr", "speaker", "classify")

#: Gives what a trained model predicts of a part's segments: (their places, a value of each).
Predict = Callable[[str], tuple[NDArray[np.int64], list[Any]]]


class Head(nn.Module):
    """What is trained on top of features. A subclass says how it predicts, and how wrong it is."""

    def losses(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(parts,) summed over what they count, and how much that is.

        `features`: (stretches, frames, width), normalised, anything beyond their lengths.
        """
        raise NotImplementedError

    def predict(self, features: Tensor, batch: Batch) -> Sequence[Any]:
        """One value for each segment of the batch; called in eval mode, without gradients."""
        raise NotImplementedError


class Task(Protocol):
    """A downstream task: data → model → train → score. A user's own is named "module:Class"."""

    Settings: ClassVar[type[EvaluateSettings]]  # its choices
    metric: Metric
    alone: bool  # whether each segment is given by itself, or together with its neighbours
    known_speakers: bool  # whether validation is of the speakers trained on
    crop: float  # seconds of each stretch that are trained on at a time, from anywhere; 0: all
    parts: list[str]  # see learning.training.Task
    weights: list[float]
    criterion: str
    files: dict[str, str]  # what is written beside the results: texts by name
    warnings: list[str]

    @classmethod
    def labelled(cls, settings: Any, corpus: Corpus) -> tuple[Corpus, list[Rejected]]:
        """The segments that have what the task needs, and those that do not."""
        ...

    def __init__(self, settings: Any, corpus: Corpus, part: NDArray, frames: NDArray) -> None:
        """Of the usable segments: the part ("train", …) and the frames (n,) of each."""
        ...

    def unfit(self) -> list[tuple[int, str, str]]:
        """Segments that can't be trained on: place, reason, detail."""
        ...

    def targets(self, segments: NDArray[np.int64]) -> dict[str, Tensor]:
        """What is to be told of these segments."""
        ...

    def head(self, width: int) -> Head:
        """The model, untrained, on features of that width."""
        ...

    def score(self, predict: Predict, seed: int) -> Outcome:
        """What a trained model is worth."""
        ...


def found(name: str) -> type[Task]:
    """A task by its name: one of `NAMES`, or the user's "module:Class"."""
    module, _, what = name.partition(":")
    if name in NAMES:
        module, what = f"augury.downstream.{name}", name.capitalize()
    elif not what:
        raise ValueError(
            f"{name}: no such task; there are {', '.join(NAMES)}, or your own as module:Class"
        )
    try:
        return getattr(importlib.import_module(module), what)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name}: {error}; is the module's folder on PYTHONPATH?") from error


class Downstream(nn.Module):
    """A head on normalised features; in front of it the encoder, where features are not given."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        head: Head,
        mean: NDArray,
        deviation: NDArray,
        encoder: Encoder | None = None,
        *,
        frozen: bool = True,
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.head, self.encoder, self.frozen, self.centred = head, encoder, frozen, centred
        if encoder:
            encoder.requires_grad_(not frozen)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32))

    def train(self, mode: bool = True) -> Downstream:
        """A frozen encoder stays in eval mode: no dropout, no statistics of batches."""
        super().train(mode)
        if self.encoder and self.frozen:
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The head's losses of a batch: what distributed training calls."""
        return self.head.losses(self.features(batch), batch)

    def features(self, batch: Batch) -> Tensor:
        """(stretches, frames, width) normalised, 0 beyond each stretch's frames."""
        x = batch.features
        if self.encoder:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                x = self.encoder(x, batch.lengths)
        inside = mask(batch.lengths, x.shape[1])[..., None]
        x = (x - self.mean) / self.deviation * inside
        if self.centred:
            x = (x - x.sum(1, keepdim=True) / batch.lengths[:, None, None]) * inside
        return x
