"""The objective of pretraining: the losses of all workers on batches of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from augury import audio
from augury.learning import batches
from augury.learning.processes import ProcessGroup
from augury.learning.training import sum_over_batches
from augury.pretraining.clips import Clips
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.workers import SPEECH, ClipBatch, PretrainingModel, read_batch

#: Medians are estimated from about so many frames at most.
MEDIAN_FRAMES = 1 << 22


class ClipObjective:
    """Clips in batches, and each worker's loss on them."""

    criterion = "loss"

    def __init__(
        self, clips: Clips, settings: PretrainSettings, model: PretrainingModel, group: ProcessGroup
    ) -> None:
        self.clips, self.settings, self.model, self.group = clips, settings, model, group
        self.loss_names = [target.name for target in model.targets]
        self.loss_weights = [target.weight for target in model.targets]
        self.max_frames = round(settings.batch_seconds / audio.HOP)
        self.training = np.flatnonzero(~clips.held_out)

    def epoch_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """The clips of each batch of an epoch, as indices; seed and epoch set the order."""
        rng = np.random.default_rng((self.settings.seed, epoch))
        return self._batches(self.training, rng)

    def _batches(
        self, clips: NDArray[np.int64], rng: np.random.Generator | None
    ) -> list[NDArray[np.int64]]:
        if not len(clips):
            return []
        least = self.group.size if rng else 1
        indices = batches.make_batches(
            self.clips.frames[clips], self.max_frames, rng=rng, min_clips=least
        )
        return [clips[batch] for batch in indices]

    def read(self, indices: NDArray[np.int64]) -> ClipBatch:
        """The clips of a batch."""
        return read_batch(self.clips, self.model.targets, indices)

    def losses(self, model: nn.Module, data: ClipBatch) -> tuple[Tensor, Tensor]:
        """(workers,) losses summed over a batch, and the number of values of each sum."""
        device = self.group.device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return model(data.to(device))

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> tuple[Tensor, Tensor]:
        """As `losses`, on this process's share of the held-out clips."""
        share = self._held_out()[self.group.rank :: self.group.size]
        return self._sum_losses(lambda data: self.losses(model, data), share, stop)

    def _held_out(self) -> list[NDArray[np.int64]]:
        return self._batches(np.flatnonzero(self.clips.held_out), None)

    def constant_guess_losses(
        self, medians: Mapping[str, Tensor] | None = None
    ) -> dict[str, float]:
        """Mean losses on all held-out clips; see `PretrainingModel.constant_guess_losses`."""
        device = self.group.device
        sums, counts = self._sum_losses(
            lambda data: self.model.constant_guess_losses(data.to(device), medians),
            self._held_out(),
        )
        losses = zip(self.loss_names, sums.tolist(), counts.tolist(), strict=True)
        return {name: total / count for name, total, count in losses if count}

    def medians(self) -> dict[str, Tensor]:
        """Each pseudo-label's median on the held-out clips, or on some hours of them."""
        values: dict[str, list[Tensor]] = {}
        frames, held_out = 0, self._held_out()
        for k in np.random.default_rng(0).permutation(len(held_out)):  # they are sorted by length
            indices = held_out[k]
            if frames > MEDIAN_FRAMES:
                break
            frames += int(self.clips.frames[indices].sum())
            labels = self.read(indices).labels
            for target in self.model.targets:
                if target.name not in SPEECH and not target.categories:
                    values.setdefault(target.name, []).append(labels[target.name])
        return {
            name: torch.cat(parts).nanmedian(dim=0)[0].nan_to_num()
            for name, parts in values.items()
        }

    def _sum_losses(
        self,
        losses: Callable[[ClipBatch], tuple[Tensor, Tensor]],
        indices: list[NDArray[np.int64]],
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[Tensor, Tensor]:
        read = batches.read_ahead(self.read, indices)
        return sum_over_batches(losses, read, self.group.device, stop, count=len(self.loss_names))

    def seconds(self, indices: NDArray[np.int64]) -> float:
        """Seconds of audio in a batch."""
        return float(self.clips.frames[indices].sum() * audio.HOP)

    def describe(self, indices: NDArray[np.int64]) -> str:
        """The clips of a batch, for messages."""
        return self.clips.describe(indices)
