"""What a downstream task is, and the model that is trained for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from augury.corpus.corpus import Corpus, Rejected
from augury.downstream.features import Batch
from augury.downstream.result import Metric, Outcome
from augury.downstream.segments import with_label
from augury.downstream.settings import EvaluateSettings
from augury.errors import InputError
from augury.learning.layers import mask
from augury.pretraining.encoder import Encoder
from augury.store import source_version

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


class Task:
    """A downstream task: data → model → train → score. A user's own is named "module:Class".

    `settings`, `corpus` (usable segments), `part` ("train", …) and `frames` (n,) of each segment
    are kept; a subclass says what is told of a segment, by what model, and what that is worth.
    """

    Settings: ClassVar[type[EvaluateSettings]] = EvaluateSettings  # its choices
    metric: Metric
    separate = False  # whether each segment is given by itself, or together with its neighbours
    known_speakers = False  # whether validation is of the speakers trained on
    crop = 0.0  # seconds of each stretch that are trained on at a time, from anywhere; 0: all
    #: What a head's losses are, and the weight of each: see learning.training.Task. Those of
    #: `classification_losses`, if nothing else is said.
    loss_names: Sequence[str] = ("cross_entropy", "error")
    loss_weights: Sequence[float] = (1.0, 0.0)
    criterion = "error"  # part by which the best epoch is chosen

    def __init__(self, settings: Any, corpus: Corpus, split: NDArray, frames: NDArray) -> None:
        self.settings, self.corpus, self.split, self.frames = settings, corpus, split, frames
        self.warnings: list[str] = []
        self.files: dict[str, str] = {}  # what is written beside the results: texts by name

    @classmethod
    def select_segments(cls, settings: Any, corpus: Corpus) -> tuple[Corpus, list[Rejected]]:
        """The segments that have what the task needs (a label), and those that do not."""
        return with_label(corpus, settings.label, settings.exclude)

    def untrainable(self) -> list[tuple[int, str, str]]:
        """Segments that can't be trained on: place, reason, detail."""
        return []

    def targets(self, segments: NDArray[np.int64]) -> dict[str, Tensor]:
        """What is to be told of these segments."""
        raise NotImplementedError

    def head(self, width: int) -> Head:
        """The model, untrained, on features of that width."""
        raise NotImplementedError

    def score(self, predict: Predict, seed: int) -> Outcome:
        """What a trained model is worth."""
        raise NotImplementedError


def classification_losses(scores: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and errors (2,) of (n, classes) before the softmax, of n classes (n,)."""
    scores = scores.float()
    loss = F.cross_entropy(scores, wanted, reduction="sum")
    wrong = (scores.argmax(1) != wanted).sum()
    return torch.stack([loss, wrong.to(loss.dtype)]), loss.new_full((2,), len(wanted))


def find_task(name: str) -> type[Task]:
    """A task by its name: one of `NAMES`, or the user's "module:Class"."""
    module, _, what = name.partition(":")
    if name in NAMES:
        module, what = f"augury.downstream.tasks.{name}", name.capitalize()
    elif not what:
        raise InputError(
            f"{name}: no such task; there are {', '.join(NAMES)}, or your own as module:Class"
        )
    try:
        return getattr(importlib.import_module(module), what)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{name}: {error}; is the module's folder on PYTHONPATH?") from error


def task_version(name: str) -> dict[str, str]:
    """The version of a task's source, by its name; none of those that ship with Augury."""
    return {} if name in NAMES else {name: source_version(find_task(name), name.partition(":")[0])}


class DownstreamModel(nn.Module):
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

    def train(self, mode: bool = True) -> DownstreamModel:
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
