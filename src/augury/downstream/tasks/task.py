"""What a downstream task is, how to write one, and the model that is trained for it."""

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

#: From a split's name to the trained model's predictions for its segments: their places in the
#: corpus (segments,), ascending, and a list with one value for each, as `Head.predict` returns it.
Predict = Callable[[str], tuple[NDArray[np.int64], list[Any]]]


class Head(nn.Module):
    """The trainable module on top of the features; a subclass gives `losses` and `predict`.

    Both get `features` (stretches, frames, width), each dimension normalised by the training split
    and 0 beyond a stretch's `batch.lengths` frames, and the batch, which says where each segment
    lies in them: stretch `batch.row`, frames `batch.first` up to but without `batch.stop`, each
    (segments,). See `Task` for an example.
    """

    def losses(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The losses of a batch, summed, and the counts that each is a sum over: (losses,) both.

        One loss for each of the task's `loss_names`. Sums rather than means, so that a mean over an
        epoch or over several processes does not depend on how batches are cut. The targets are in
        `batch.targets`, as `Task.targets` returned them.
        """
        raise NotImplementedError

    def predict(self, features: Tensor, batch: Batch) -> Sequence[Any]:
        """One prediction of any type for each segment of the batch, in the batch's order.

        Called in eval mode, without gradients.
        """
        raise NotImplementedError


class Task:
    """A downstream task: what is predicted for a segment, by which model, and how it is scored.

    To write one, subclass this in a module on PYTHONPATH and pass "module:Class" as the task of
    `augury evaluate` or `augury.evaluate`. Splits, features, training, checkpoints, seeds and the
    report are taken care of. A subclass has a `metric` and three methods: `targets`, `head` and
    `score`. All may use what the constructor keeps: `settings`, `corpus` (of n usable segments),
    `split` (n,), each "train", "validation" or "test", and `frames` (n,), the length of each
    segment in frames of 10 ms. A complete task that learns whether a spoken digit is odd:

    >>> class Linear(Head):
    ...     def __init__(self, width):
    ...         super().__init__()
    ...         self.layer = nn.Linear(width, 2)
    ...
    ...     def forward(self, features, batch):
    ...         mean = features.sum(1) / batch.lengths[:, None]  # (segments, width)
    ...         return self.layer(mean)  # (segments, 2)
    ...
    ...     def losses(self, features, batch):
    ...         return classification_losses(self(features, batch), batch.targets["odd"])
    ...
    ...     def predict(self, features, batch):
    ...         return self(features, batch).argmax(1).tolist()
    >>> class Odd(Task):
    ...     metric = Metric("error", "share of digits taken for odd or even wrongly", chance=0.5)
    ...     separate = True  # one segment a stretch: the rows of a batch are its segments
    ...
    ...     def targets(self, segments):
    ...         digits = self.corpus.label(self.settings.label)[segments]
    ...         return {"odd": torch.tensor([int(digit) % 2 for digit in digits])}
    ...
    ...     def head(self, width):
    ...         return Linear(width)
    ...
    ...     def score(self, predict, seed):
    ...         segments, predicted = predict("test")
    ...         truth = self.targets(segments)["odd"].numpy()
    ...         return Outcome(seed, float(np.mean(truth != predicted)))

    Saved as odd.py, with its imports, it runs as `augury evaluate odd:Odd … --label digit`. Its
    methods can be tried without training:

    >>> import augury
    >>> from pathlib import Path
    >>> corpus = augury.read_corpus(Path(augury.__file__).parent / "demo_data" / "manifest.csv")
    >>> split, frames = np.full(len(corpus), "test"), np.full(len(corpus), 50)
    >>> task = Odd(EvaluateSettings(label="digit"), corpus, split, frames)
    >>> segments = np.arange(len(corpus))
    >>> task.score(lambda split: (segments, [0] * len(segments)), seed=0).score
    0.5
    """

    #: The class of the task's settings: a subclass of `EvaluateSettings` for more of them.
    Settings: ClassVar[type[EvaluateSettings]] = EvaluateSettings
    #: What `Outcome.score` is: an error rate, lower is better.
    metric: Metric
    #: Whether each segment is a stretch of its own. If not, a recording's segments share one, and
    #: the features of each see its neighbours; the head finds them by `Batch.row`.
    separate = False
    #: Whether validation is on other recordings of the training speakers, not on other speakers.
    known_speakers = False
    #: Seconds of a stretch that are trained on at a time, from anywhere in it; 0: all of it.
    crop = 0.0
    #: Names of the losses that `Head.losses` returns, and the weight of each in the sum that is
    #: minimised; one of weight 0 is only recorded. The defaults fit `classification_losses`.
    loss_names: Sequence[str] = ("cross_entropy", "error")
    loss_weights: Sequence[float] = (1.0, 0.0)
    #: The loss by whose mean on the validation split the best epoch is chosen.
    criterion = "error"

    def __init__(self, settings: Any, corpus: Corpus, split: NDArray, frames: NDArray) -> None:
        self.settings, self.corpus, self.split, self.frames = settings, corpus, split, frames
        self.warnings: list[str] = []  # sentences for the report
        self.files: dict[str, str] = {}  # texts to write into the results folder, by file name

    @classmethod
    def select_segments(cls, settings: Any, corpus: Corpus) -> tuple[Corpus, list[Rejected]]:
        """The segments that have what the task needs (a label), and those that do not."""
        return with_label(corpus, settings.label, settings.exclude)

    def untrainable(self) -> list[tuple[int, str, str]]:
        """Segments that can't be trained on: place, reason, detail. They are still tested on."""
        return []

    def targets(self, segments: NDArray[np.int64]) -> dict[str, Tensor]:
        """The training targets of segments (k,), given as places in `corpus`; tensors by name.

        The first axis of each tensor is k. The head gets them as `batch.targets`. Segments of all
        splits are asked for, so a class that is never trained on needs a target as well.
        """
        raise NotImplementedError

    def head(self, width: int) -> Head:
        """The untrained model on features of that width; torch's random state is seeded."""
        raise NotImplementedError

    def score(self, predict: Predict, seed: int) -> Outcome:
        """The test result of a trained model; `predict("test")` gives its predictions.

        `Outcome.score` is the main one, as `metric` describes it; the rest is optional.
        """
        raise NotImplementedError


def classification_losses(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy (natural logarithm) and number of errors (2,), and what each counts (2,).

    `scores` (n, classes) are those before the softmax, `truth` (n,) the right classes' codes.

    >>> losses, counts = classification_losses(torch.zeros(3, 2), torch.tensor([0, 0, 1]))
    >>> (losses / counts).tolist()  # log 2, and one error in three
    [0.6931471824645996, 0.3333333432674408]
    """
    scores = scores.float()
    loss = F.cross_entropy(scores, truth, reduction="sum")
    errors = (scores.argmax(1) != truth).sum()
    return torch.stack([loss, errors.to(loss.dtype)]), loss.new_full((2,), len(truth))


def find_task(name: str) -> type[Task]:
    """The class of a task: one of `NAMES`, or the user's "module:Class".

    >>> find_task("classify").metric.name
    'error'
    """
    module, _, class_name = name.partition(":")
    if name in NAMES:
        module, class_name = f"augury.downstream.tasks.{name}", name.capitalize()
    elif not class_name:
        raise InputError(
            f"{name}: no such task; there are {', '.join(NAMES)}, or your own as module:Class"
        )
    try:
        return getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{name}: {error}; is the module's folder on PYTHONPATH?") from error


def task_version(name: str) -> dict[str, str]:
    """The version of a task's source, by its name; none of those that ship with Augury."""
    return {} if name in NAMES else {name: source_version(find_task(name), name.partition(":")[0])}


class DownstreamModel(nn.Module):
    """A head on normalised features, and the encoder below it unless its features are cached.

    Args:
        mean, standard_deviation: (width,) of the features over the training split.
        encoder: None where batches hold the features themselves.
        frozen: whether the encoder is left as it is.
        centred: whether each stretch's mean is subtracted from its features.
    """

    mean: Tensor
    deviation: Tensor  # the standard deviation; model.safetensors and checkpoints have this name

    def __init__(
        self,
        head: Head,
        mean: NDArray,
        standard_deviation: NDArray,
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
        self.register_buffer("deviation", torch.tensor(standard_deviation, dtype=torch.float32))

    def train(self, mode: bool = True) -> DownstreamModel:
        """Train mode for all but a frozen encoder: no dropout there, no statistics of batches."""
        super().train(mode)
        if self.encoder and self.frozen:
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The head's losses of a batch: what distributed training calls."""
        return self.head.losses(self.features(batch), batch)

    def features(self, batch: Batch) -> Tensor:
        """Normalised features (stretches, frames, width), 0 beyond each stretch's frames."""
        x = batch.features
        if self.encoder:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                x = self.encoder(x, batch.lengths)
        inside = mask(batch.lengths, x.shape[1])[..., None]
        x = (x - self.mean) / self.deviation * inside
        if self.centred:
            x = (x - x.sum(1, keepdim=True) / batch.lengths[:, None, None]) * inside
        return x
