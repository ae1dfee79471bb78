"""The objective of pretraining: batches of clips in, the loss of each worker out."""

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

#: Frames, at most, from which medians are estimated.
MEDIAN_FRAMES = 1 << 22


class ClipObjective:
    """Clips in, each worker's loss out."""

    criterion = "loss"

    def __init__(
        self, clips: Clips, settings: PretrainSettings, model: PretrainingModel, here: ProcessGroup
    ) -> None:
        self.clips, self.settings, self.model, self.here = clips, settings, model, here
        self.loss_names = [one.name for one in model.targets]
        self.loss_weights = [one.weight for one in model.targets]
        self.most = round(settings.batch_seconds / audio.HOP)
        self.training = np.flatnonzero(~clips.held_out)

    def epoch_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Indices of the clips of each batch of an epoch, in an order that the seed decides."""
        rng = np.random.default_rng((self.settings.seed, epoch))
        return self._batches(self.training, rng)

    def _batches(
        self, places: NDArray[np.int64], rng: np.random.Generator | None
    ) -> list[NDArray[np.int64]]:
        if not len(places):
            return []
        least = self.here.size if rng else 1
        found = batches.make_batches(self.clips.frames[places], self.most, rng=rng, min_clips=least)
        return [places[one] for one in found]

    def read(self, indices: NDArray[np.int64]) -> ClipBatch:
        """The clips of a batch."""
        return read_batch(self.clips, self.model.targets, indices)

    def losses(self, model: nn.Module, data: ClipBatch) -> tuple[Tensor, Tensor]:
        """(workers,) summed losses, and how many values each sums over."""
        device = self.here.device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return model(data.to(device))

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> tuple[Tensor, Tensor]:
        """As `losses`, of this process's share of the held-out clips."""
        mine = self._held_out()[self.here.rank :: self.here.size]
        return self._sum_losses(lambda data: self.losses(model, data), mine, stop)

    def _held_out(self) -> list[NDArray[np.int64]]:
        return self._batches(np.flatnonzero(self.clips.held_out), None)

    def constant_guess_losses(
        self, medians: Mapping[str, Tensor] | None = None
    ) -> dict[str, float]:
        """Mean losses on all held-out clips; see `PretrainingModel.constant_guess_losses`."""
        device = self.here.device
        sums, counts = self._sum_losses(
            lambda data: self.model.constant_guess_losses(data.to(device), medians),
            self._held_out(),
        )
        found = zip(self.loss_names, sums.tolist(), counts.tolist(), strict=True)
        return {name: total / count for name, total, count in found if count}

    def medians(self) -> dict[str, Tensor]:
        """Each pseudo-label's median on what is held out, or on some hours of it."""
        found: dict[str, list[Tensor]] = {}
        frames, plans = 0, self._held_out()
        for k in np.random.default_rng(0).permutation(len(plans)):  # they are sorted by length
            plan = plans[k]
            if frames > MEDIAN_FRAMES:
                break
            frames += int(self.clips.frames[plan].sum())
            labels = self.read(plan).labels
            for target in self.model.targets:
                if target.name not in SPEECH and not target.categories:
                    found.setdefault(target.name, []).append(labels[target.name])
        return {
            name: torch.cat(parts).nanmedian(dim=0)[0].nan_to_num() for name, parts in found.items()
        }

    def _sum_losses(
        self,
        losses: Callable[[ClipBatch], tuple[Tensor, Tensor]],
        plans: list[NDArray[np.int64]],
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[Tensor, Tensor]:
        read = batches.read_ahead(self.read, plans)
        return sum_over_batches(losses, read, self.here.device, stop, count=len(self.loss_names))

    def seconds(self, indices: NDArray[np.int64]) -> float:
        """Seconds of audio in a batch."""
        return float(self.clips.frames[indices].sum() * audio.HOP)

    def describe(self, indices: NDArray[np.int64]) -> str:
        """The clips of a batch, for messages."""
        return self.clips.describe(indices)
