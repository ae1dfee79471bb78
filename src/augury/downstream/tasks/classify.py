"""Classification of segments (digits, emotions, keywords, phones) by statistics of their features.

The features of a segment are pooled over time to their mean and standard deviation; on these there
is a linear probe or, with `hidden`, a network with one hidden layer.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from augury.corpus.corpus import Corpus
from augury.downstream.features import Batch
from augury.downstream.result import Confusion, Metric, Mistake, Outcome
from augury.downstream.scores import classification
from augury.downstream.segments import describe, error_interval, sound_uri
from augury.downstream.settings import ClassifySettings
from augury.downstream.splits import TEST, TRAIN
from augury.downstream.tasks.task import Head, Predict, Task, classification_losses
from augury.errors import InputError
from augury.learning.layers import FrameNorm

#: Number of the most confident errors that the report shows.
WORST = 10


class Probe(Head):
    """A classifier of the mean and standard deviation of a segment's features."""

    def __init__(self, width: int, classes: int, settings: ClassifySettings) -> None:
        super().__init__()
        width *= 2 * settings.parts
        self.parts = settings.parts
        layers: list[nn.Module] = [FrameNorm(width)]
        if settings.hidden:
            layers += [nn.Dropout(settings.dropout), nn.Linear(width, settings.hidden), nn.ReLU()]
            width = settings.hidden
        self.layers = nn.Sequential(
            *layers, nn.Dropout(settings.dropout), nn.Linear(width, classes)
        )

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        """Scores (segments, classes) before the softmax."""
        x = pool_statistics(features, batch, self.parts)  # (segments, parts * 2 * width)
        return self.layers(x)  # (segments, classes)

    def losses(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy and number of errors."""
        return classification_losses(self(features, batch), batch.targets["class"])

    def predict(self, features: Tensor, batch: Batch) -> list[NDArray[np.float32]]:
        """Each segment's log probabilities (classes,)."""
        return list(self(features, batch).float().log_softmax(1).cpu().numpy())


def pool_statistics(features: Tensor, batch: Batch, parts: int = 1) -> Tensor:
    """Mean and standard deviation over time of each segment: (segments, parts * 2 * width).

    A segment is cut in time into `parts` of equal length, up to rounding to frames, which are
    pooled separately. With fewer frames than parts, neighbouring parts share a frame.

    >>> x = torch.arange(4.0)[None, :, None]  # a stretch of 4 frames, 1 wide
    >>> row, first, stop = torch.tensor([[0], [1], [4]])  # a segment of frames 1 to 3
    >>> batch = Batch(x, torch.tensor([4]), row, first, stop, np.array([0]), {})
    >>> pool_statistics(x, batch).round(decimals=3)
    tensor([[2.0000, 0.8160]])
    """
    whole = (batch.stop - batch.first).clamp_min(1)[:, None]  # (segments, 1)
    cuts = torch.arange(parts, device=whole.device)
    begin = torch.div(cuts * whole, parts, rounding_mode="floor")  # (segments, parts)
    end = torch.div((cuts + 1) * whole, parts, rounding_mode="floor").maximum(begin + 1)
    count = (end - begin).flatten()
    first, row = (batch.first[:, None] + begin).flatten(), batch.row.repeat_interleave(parts)
    segment = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    begins = count.cumsum(0) - count
    frame = torch.arange(len(segment), device=count.device) - begins[segment] + first[segment]
    x = features[row[segment], frame]  # (frames of all segments, width)
    # Squares of deviations: E[x²] − E[x]² would lose precision.
    zeros = x.new_zeros(len(count), x.shape[1])
    mean = zeros.index_add(0, segment, x) / count[:, None]
    square = zeros.index_add(0, segment, (x - mean[segment]).square()) / count[:, None]
    return torch.cat([mean, (square + 1e-8).sqrt()], dim=1).reshape(len(whole), -1)


class Classify(Task):
    """Classification: the class of each segment."""

    Settings: ClassVar = ClassifySettings
    metric = Metric("error", "share of segments whose class is wrong")

    def __init__(
        self, settings: ClassifySettings, corpus: Corpus, split: NDArray, frames: NDArray
    ) -> None:
        super().__init__(settings, corpus, split, frames)
        self.labels = corpus.label(settings.label)
        trained = set(self.labels[split == TRAIN].tolist())
        if len(trained) < 2:
            raise InputError(
                f"{settings.label} is {min(trained)!r} for all training segments, so there is "
                "nothing to classify; choose another column or split"
            )
        # Of all splits, so that they are the same in every fold.
        self.classes = sorted(set(self.labels.tolist()))
        code = {name: k for k, name in enumerate(self.classes)}
        self.codes = np.array([code[name] for name in self.labels.tolist()], np.int64)
        counts = np.bincount(self.codes[split == TRAIN], minlength=len(self.classes))
        wrong = self.codes[split == TEST] != counts.argmax()
        self.metric = Metric(self.metric.name, self.metric.description, float(wrong.mean()))
        unseen = sorted(set(self.labels[split == TEST].tolist()) - trained)
        self.warnings = [f"{name!r} is tested on, but never trained on" for name in unseen]

    def targets(self, segments: NDArray[np.int64]) -> dict[str, Tensor]:
        """The code of each segment's class (segments,)."""
        return {"class": torch.from_numpy(self.codes[segments])}

    def head(self, width: int) -> Probe:
        """The probe, untrained."""
        return Probe(width, len(self.classes), self.settings)

    def score(self, predict: Predict, seed: int) -> Outcome:
        """The error rate, further scores, confusions, and the most confident errors."""
        places, predicted = predict(TEST)
        log_probs = np.stack(predicted)
        truth = self.codes[places]
        best = log_probs.argmax(axis=1)
        wrong = truth != best
        scores = {
            "accuracy": classification.accuracy(truth, best),
            "balanced accuracy": classification.balanced_accuracy(truth, best),
            "macro F1": classification.macro_f1(truth, best),
        }
        table = classification.confusion(truth, best, len(self.classes))
        # Errors, the most confident first.
        order = np.argsort(-log_probs.max(axis=1) + np.where(wrong, 0, np.inf), kind="stable")
        worst = tuple(
            Mistake(
                describe(self.corpus, int(places[k])),
                f"{np.exp(log_probs[k].max()):.0%} sure",
                self.classes[truth[k]],
                self.classes[best[k]],
                sound_uri(self.corpus, int(places[k])),
            )
            for k in order[: min(WORST, int(wrong.sum()))].tolist()
        )
        return Outcome(
            seed,
            float(wrong.mean()),
            error_interval(self.corpus, places, wrong, np.ones(len(wrong))),
            scores,
            confusion=Confusion(tuple(self.classes), tuple(map(tuple, table.tolist()))),
            mistakes=worst,
        )
