"""What an encoder is pretrained to predict, frame by frame, and how wrong it is.

One worker a target: a linear layer and a PReLU. Speech itself (log-mel, MFCC) costs the squared
error, a pseudo-label the absolute one, both of values with mean 0 and deviation 1 over the training
frames; a category costs its cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from augury import audio
from augury.learning.clips import Clips
from augury.learning.encoder import Encoder, mask
from augury.learning.targets import Target
from augury.settings import PretrainSettings

#: Deviations from the mean beyond which a value is none: only a broken one is.
_FAR = 1e6
#: Frames that are hidden together: about a phone.
SPAN = 8

SPEECH = ("mel", "mfcc")  # targets computed from the encoder's own input


@dataclass
class Batch:
    """Clips to train on together."""

    mel: Tensor  # (clips, frames, bands) dB, anything beyond a clip's frames
    lengths: Tensor  # (clips,) frames
    #: Pseudo-labels of the clips' frames, one clip after another: (frames, dims) normalised, NaN
    #: where there is none; or codes (frames,), -1 where there is none.
    labels: dict[str, Tensor]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        labels = {name: values.to(device) for name, values in self.labels.items()}
        return Batch(self.mel.to(device), self.lengths.to(device), labels)


def read_batch(clips: Clips, targets: Sequence[Target], chosen: NDArray[np.int64]) -> Batch:
    """Those clips from the store, padded to the longest, their pseudo-labels normalised."""
    lengths = clips.frames[chosen]
    labels: dict[str, list[np.ndarray]] = {}
    mel = None
    for row, clip in enumerate(chosen):
        bands, values = clips.read(int(clip))
        if mel is None:
            mel = np.zeros((len(chosen), int(lengths.max()), bands.shape[1]), np.float32)
        mel[row, : len(bands)] = bands
        for name, frames in values.items():
            labels.setdefault(name, []).append(frames)
    assert mel is not None
    found: dict[str, Tensor] = {}
    for target in targets:
        if target.name in SPEECH:
            continue
        frames = np.concatenate(labels[target.name])
        if not target.categories:
            frames = frames.reshape(len(frames), -1)
            frames = (frames - target.mean) / target.deviation
            frames = np.where(np.abs(frames) < _FAR, frames, np.nan).astype(np.float32)
        found[target.name] = torch.from_numpy(frames)
    return Batch(torch.from_numpy(mel), torch.from_numpy(lengths), found)


class Worker(nn.Module):
    """Predicts one target from the features of a frame."""

    def __init__(self, width: int, target: Target) -> None:
        super().__init__()
        self.name = target.name
        self.categories = bool(target.categories)
        self.linear = nn.Linear(width, target.dims)
        # What goes into a softmax needs no PReLU.
        self.activation = nn.Identity() if self.categories else nn.PReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(frames, width) to (frames, dims)."""
        return self.activation(self.linear(features))

    def loss(self, predicted: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Summed over the frames that have a target, and how many these are."""
        if self.categories:
            total = F.cross_entropy(predicted, wanted, ignore_index=-1, reduction="sum")
            return total, (wanted >= 0).sum()
        if self.name in SPEECH:
            return (predicted - wanted).square().mean(dim=1).sum(), wanted.new_tensor(len(wanted))
        known = ~wanted.isnan()
        error = (predicted - wanted.nan_to_num()).abs() * known
        return error.mean(dim=1).sum(), known.float().mean(dim=1).sum()


class Pretraining(nn.Module):
    """An encoder with its workers."""

    cosines: Tensor
    mfcc_mean: Tensor
    mfcc_deviation: Tensor

    def __init__(self, settings: PretrainSettings, targets: Sequence[Target]) -> None:
        super().__init__()
        self.encoder = Encoder(settings.encoder)
        mel, mfcc = targets[:2]
        self.encoder.mean.copy_(torch.from_numpy(mel.mean))
        self.encoder.deviation.copy_(torch.from_numpy(mel.deviation))
        self.register_buffer("mfcc_mean", torch.from_numpy(mfcc.mean).float())
        self.register_buffer("mfcc_deviation", torch.from_numpy(mfcc.deviation).float())
        cosines = audio.cosines(settings.encoder.bands, settings.coefficients)
        # torch's own memory: where NumPy's happens to begin, a product may round the last bit by.
        self.register_buffer("cosines", torch.tensor(cosines), persistent=False)
        self.masked = settings.masked
        self.targets = [one for one in targets if one.weight]
        self._workers = [Worker(settings.encoder.dimensions, one) for one in self.targets]
        self.workers = nn.ModuleList(self._workers)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each worker's loss summed over the batch's frames (workers,), and their number."""
        inside = mask(batch.lengths, batch.mel.shape[1])
        mel = self.encoder.normalised(batch.mel)
        if self.training and self.masked:
            mel = mel * ~hidden(mel.shape[:2], self.masked, mel.device)[..., None]
        features = self.encoder.packed(mel, batch.lengths, inside)
        with torch.autocast(batch.mel.device.type, enabled=False):  # bfloat16 would round dB
            wanted = self.wanted(batch, inside)
        found = [
            worker.loss(worker(features).float(), wanted[worker.name]) for worker in self._workers
        ]
        return _stacked(found)

    def wanted(self, batch: Batch, inside: Tensor) -> dict[str, Tensor]:
        """Every target of the batch's frames, normalised."""
        frames = batch.mel[inside]  # (frames, bands)
        mfcc = (frames @ self.cosines - self.mfcc_mean) / self.mfcc_deviation
        return {"mel": self.encoder.normalised(frames), "mfcc": mfcc} | batch.labels

    def without_looking(
        self, batch: Batch, medians: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The losses of a guess that never looks: the mean, or each category's share.

        `medians`: (dims,) by pseudo-label, guessed instead; no constant has a lower absolute error.
        """
        wanted = self.wanted(batch, mask(batch.lengths, batch.mel.shape[1]))
        found = []
        for worker, target in zip(self._workers, self.targets, strict=True):
            values = wanted[target.name]
            guess = torch.zeros(len(values), target.dims, device=values.device)
            if target.categories:
                guess += torch.from_numpy(target.mean).log().float().to(values.device)
            elif medians and target.name in medians:
                guess += medians[target.name].to(values.device)
            found.append(worker.loss(guess, values))
        return _stacked(found)


def hidden(shape: Sequence[int], share: float, device: torch.device) -> Tensor:
    """Which frames (batch, frames) the encoder is not shown: spans at random, about that share.

    What it is to give back there has to be told from the frames around (as in Mockingjay, Liu et
    al. 2020): one that sees every frame may do with copying it.
    """
    # A frame is seen if no span begins on it or on one of the SPAN - 1 before.
    begins = torch.rand(*shape, device=device) < 1 - (1 - share) ** (1 / SPAN)
    padded = F.pad(begins.float()[:, None], (SPAN - 1, 0))
    return F.max_pool1d(padded, SPAN, stride=1)[:, 0] > 0


def _stacked(found: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    sums, counts = zip(*found, strict=True)
    return torch.stack(sums), torch.stack([count.float() for count in counts])
