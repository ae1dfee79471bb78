"""What an encoder is pretrained to predict, frame by frame, and how wrong it is.

One worker a target: a linear layer, and a PReLU as in the authors' code unless a preset leaves it
out. Speech itself (log-mel, MFCC) costs the squared error, a pseudo-label the absolute one, both of
values with mean 0 and deviation 1 over the training frames; a category costs its cross-entropy.
With a `context`, a frame has to give the targets of frames around it, too, as PASE+ (Ravanelli et
al. 2020) has its workers do: log-mel that is to give back itself alone may be passed through, and
teaches little.
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
from augury.learning.layers import mask
from augury.pretraining.clips import Clips
from augury.pretraining.encoder import Encoder
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.targets import Target

#: Deviations from the mean beyond which a value is none: only a broken one is.
_FARTHEST = 1e6
#: Frames, at most, whose targets one frame has to give: see `around`.
MAX_PREDICTED_FRAMES = 9

SPEECH = ("mel", "mfcc")  # targets computed from the encoder's own input


@dataclass
class ClipBatch:
    """Clips to train on together."""

    mel: Tensor  # (clips, frames, bands) dB, anything beyond a clip's frames
    lengths: Tensor  # (clips,) frames
    #: Pseudo-labels of the clips' frames, one clip after another: (frames, dims) normalised, NaN
    #: where there is none; or codes (frames,), -1 where there is none.
    labels: dict[str, Tensor]

    def to(self, device: torch.device) -> ClipBatch:
        """The same on a device."""
        labels = {name: values.to(device) for name, values in self.labels.items()}
        return ClipBatch(self.mel.to(device), self.lengths.to(device), labels)


def read_batch(clips: Clips, targets: Sequence[Target], chosen: NDArray[np.int64]) -> ClipBatch:
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
            frames = (frames - target.mean) / target.standard_deviation
            frames = np.where(np.abs(frames) < _FARTHEST, frames, np.nan).astype(np.float32)
        found[target.name] = torch.from_numpy(frames)
    return ClipBatch(torch.from_numpy(mel), torch.from_numpy(lengths), found)


class Worker(nn.Module):
    """Predicts one target from the features of a frame: that frame's, or those around it."""

    def __init__(
        self, width: int, target: Target, frames_predicted: int = 1, *, prelu: bool = True
    ) -> None:
        super().__init__()
        self.name = target.name
        self.categories = bool(target.categories)
        self.given = frames_predicted  # frames whose target it predicts
        self.linear = nn.Linear(width, frames_predicted * target.dims)
        # What goes into a softmax needs no PReLU.
        self.activation = nn.PReLU() if prelu and not self.categories else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """(frames, width) to (frames * given, dims)."""
        found = self.activation(self.linear(features))
        return found.unflatten(1, (self.given, -1)).flatten(0, 1)

    def loss(self, predicted: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Summed over the predictions that have a target, and how many these are."""
        if self.categories:
            total = F.cross_entropy(predicted, wanted, ignore_index=-1, reduction="sum")
            return total, (wanted >= 0).sum()
        if self.name in SPEECH:
            return (predicted - wanted).square().mean(dim=1).sum(), wanted.new_tensor(len(wanted))
        known = ~wanted.isnan()
        error = (predicted - wanted.nan_to_num()).abs() * known
        return error.mean(dim=1).sum(), known.float().mean(dim=1).sum()


class PretrainingModel(nn.Module):
    """An encoder with its workers."""

    cosines: Tensor
    mfcc_mean: Tensor
    mfcc_standard_deviation: Tensor

    def __init__(self, settings: PretrainSettings, targets: Sequence[Target]) -> None:
        super().__init__()
        self.encoder = Encoder(settings.encoder)
        mel, mfcc = targets[:2]
        self.encoder.mean.copy_(torch.from_numpy(mel.mean))
        self.encoder.standard_deviation.copy_(torch.from_numpy(mel.standard_deviation))
        self.register_buffer("mfcc_mean", torch.from_numpy(mfcc.mean).float())
        self.register_buffer(
            "mfcc_standard_deviation", torch.from_numpy(mfcc.standard_deviation).float()
        )
        cosines = audio.cepstral_basis(settings.encoder.bands, settings.coefficients)
        # torch's own memory: where NumPy's happens to begin, a product may round the last bit by.
        self.register_buffer("cosines", torch.tensor(cosines), persistent=False)
        self.around = context_offsets(settings.context)
        self.targets = [one for one in targets if one.weight]
        self._workers = [
            Worker(settings.encoder.dimensions, one, len(self.around), prelu=settings.prelu)
            for one in self.targets
        ]
        self.workers = nn.ModuleList(self._workers)

    def forward(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Each worker's loss summed over what it predicts (workers,), and how much that is."""
        inside = mask(batch.lengths, batch.mel.shape[1])
        features = self.encoder.encode_frames(
            self.encoder.normalise(batch.mel), batch.lengths, inside
        )
        with torch.autocast(batch.mel.device.type, enabled=False):  # bfloat16 would round dB
            wanted = self.target_values(batch, inside)
            if len(self.around) > 1:
                at = neighbour_indices(batch.lengths, self.around).flatten()
                wanted = {one.name: wanted[one.name][at] for one in self.targets}
        found = [
            worker.loss(worker(features).float(), wanted[worker.name]) for worker in self._workers
        ]
        return _stack(found)

    def target_values(self, batch: ClipBatch, inside: Tensor) -> dict[str, Tensor]:
        """Every target of the batch's frames, normalised."""
        frames = batch.mel[inside]  # (frames, bands)
        mfcc = (frames @ self.cosines - self.mfcc_mean) / self.mfcc_standard_deviation
        return {"mel": self.encoder.normalise(frames), "mfcc": mfcc} | batch.labels

    def constant_guess_losses(
        self, batch: ClipBatch, medians: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The losses of a guess that never looks: the mean, or each category's share.

        `medians`: (dims,) by pseudo-label, guessed instead; no constant has a lower absolute error.
        """
        wanted = self.target_values(batch, mask(batch.lengths, batch.mel.shape[1]))
        found = []
        for worker, target in zip(self._workers, self.targets, strict=True):
            values = wanted[target.name]
            guess = torch.zeros(len(values), target.dims, device=values.device)
            if target.categories:
                guess += torch.from_numpy(target.mean).log().float().to(values.device)
            elif medians and target.name in medians:
                guess += medians[target.name].to(values.device)
            found.append(worker.loss(guess, values))
        return _stack(found)


def context_offsets(context: int) -> tuple[int, ...]:
    """Which frames, counted from its own, a frame has to give: `GIVEN` at most, evenly apart."""
    steps = np.linspace(-context, context, min(MAX_PREDICTED_FRAMES, 2 * context + 1))
    return tuple(np.rint(steps).astype(int).tolist())


def neighbour_indices(lengths: Tensor, offsets: Sequence[int]) -> Tensor:
    """Places (frames, offsets) of the frames around each, among those of all clips of a batch.

    Args:
        lengths: (clips,) frames. Beyond a clip's end its last frame stands for what would follow,
            before its beginning its first.
    """
    begin = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)[:, None]
    last = begin + lengths.repeat_interleave(lengths)[:, None] - 1
    at = torch.arange(len(begin), device=lengths.device)[:, None]
    return (at + torch.tensor(offsets, device=lengths.device)).maximum(begin).minimum(last)


def _stack(found: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    sums, counts = zip(*found, strict=True)
    return torch.stack(sums), torch.stack([count.float() for count in counts])
