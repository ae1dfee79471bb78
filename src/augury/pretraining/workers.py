"""The model of pretraining: an encoder with workers that predict targets, frame by frame.

There is one worker for each target: a linear layer, and a PReLU as in the authors' code unless a
preset omits it. The loss is the squared error for the speech itself (log-mel, MFCC), the absolute
error for a pseudo-label, both of values with mean 0 and standard deviation 1 over the training
frames, and the cross-entropy for categories. With a `context`, a frame also predicts the targets of
frames around it, as in PASE+ (Ravanelli et al. 2020): an encoder that only reconstructs the same
frame's log-mel may pass it through and learn little.
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

#: A value more standard deviations from the mean than this is broken, and treated as missing.
_FARTHEST = 1e6
#: A frame predicts the targets of so many frames at most: see `context_offsets`.
MAX_PREDICTED_FRAMES = 9

SPEECH = ("mel", "mfcc")  # targets computed from the encoder's own input


@dataclass
class ClipBatch:
    """A batch of clips."""

    mel: Tensor  # (clips, frames, bands) dB; arbitrary beyond a clip's frames
    lengths: Tensor  # (clips,) frames
    #: Pseudo-labels of the clips' frames, clips concatenated: (frames, dims) normalised, NaN where
    #: there is no value; or codes of categories (frames,), -1 where there is none.
    labels: dict[str, Tensor]

    def to(self, device: torch.device) -> ClipBatch:
        """The batch on a device."""
        labels = {name: values.to(device) for name, values in self.labels.items()}
        return ClipBatch(self.mel.to(device), self.lengths.to(device), labels)


def read_batch(clips: Clips, targets: Sequence[Target], chosen: NDArray[np.int64]) -> ClipBatch:
    """The chosen clips from the store, padded to the longest, with normalised pseudo-labels."""
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
    tensors: dict[str, Tensor] = {}
    for target in targets:
        if target.name in SPEECH:
            continue
        frames = np.concatenate(labels[target.name])
        if not target.categories:
            frames = frames.reshape(len(frames), -1)
            frames = (frames - target.mean) / target.standard_deviation
            frames = np.where(np.abs(frames) < _FARTHEST, frames, np.nan).astype(np.float32)
        tensors[target.name] = torch.from_numpy(frames)
    return ClipBatch(torch.from_numpy(mel), torch.from_numpy(lengths), tensors)


class Worker(nn.Module):
    """Predicts one target from the features of a frame, for that frame or several around it."""

    def __init__(
        self, width: int, target: Target, frames_predicted: int = 1, *, prelu: bool = True
    ) -> None:
        super().__init__()
        self.name = target.name
        self.categories = bool(target.categories)
        self.frames_predicted = frames_predicted
        self.linear = nn.Linear(width, frames_predicted * target.dims)
        # The inputs of a softmax need no PReLU.
        self.activation = nn.PReLU() if prelu and not self.categories else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Predictions (frames * frames predicted, dims) from features (frames, width)."""
        x = self.activation(self.linear(features))  # (frames, frames predicted * dims)
        return x.unflatten(1, (self.frames_predicted, -1)).flatten(0, 1)

    def loss(self, predicted: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
        """The loss summed over the frames that have a value, and the number of these frames.

        Where some of a target's dimensions are missing, a frame counts as the share of the others.
        """
        if self.categories:
            total = F.cross_entropy(predicted, expected, ignore_index=-1, reduction="sum")
            return total, (expected >= 0).sum()
        if self.name in SPEECH:
            return (predicted - expected).square().mean(dim=1).sum(), expected.new_tensor(
                len(expected)
            )
        known = ~expected.isnan()
        error = (predicted - expected.nan_to_num()).abs() * known
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
        # Copied into torch's memory: the alignment of NumPy's can change a product's last bit.
        self.register_buffer("cosines", torch.tensor(cosines), persistent=False)
        self.offsets = context_offsets(settings.context)
        self.targets = [target for target in targets if target.weight]
        self._workers = [
            Worker(settings.encoder.dimensions, target, len(self.offsets), prelu=settings.prelu)
            for target in self.targets
        ]
        self.workers = nn.ModuleList(self._workers)

    def forward(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """(workers,) losses summed over the batch, and the number of values of each sum."""
        inside = mask(batch.lengths, batch.mel.shape[1])  # (clips, frames)
        mel = self.encoder.normalise(batch.mel)  # (clips, frames, bands)
        features = self.encoder.encode_frames(mel, batch.lengths, inside)  # (frames inside, width)
        with torch.autocast(batch.mel.device.type, enabled=False):  # bfloat16 would round dB
            values = self.target_values(batch, inside)  # each (frames inside, dims)
            if len(self.offsets) > 1:
                rows = neighbour_indices(batch.lengths, self.offsets).flatten()
                # each (frames inside * offsets, dims)
                values = {target.name: values[target.name][rows] for target in self.targets}
        losses = [
            worker.loss(worker(features).float(), values[worker.name]) for worker in self._workers
        ]
        return _stack(losses)  # (workers,), (workers,)

    def target_values(self, batch: ClipBatch, inside: Tensor) -> dict[str, Tensor]:
        """The normalised values of every target at the batch's frames, clips concatenated."""
        frames = batch.mel[inside]  # (frames, bands)
        mfcc = (frames @ self.cosines - self.mfcc_mean) / self.mfcc_standard_deviation
        return {"mel": self.encoder.normalise(frames), "mfcc": mfcc} | batch.labels

    def constant_guess_losses(
        self, batch: ClipBatch, medians: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, if every prediction were the target's mean, or its categories' shares.

        `medians`: (dims,) by pseudo-label, predicted in place of the means: no constant has a lower
        absolute error.
        """
        targets = self.target_values(batch, mask(batch.lengths, batch.mel.shape[1]))
        losses = []
        for worker, target in zip(self._workers, self.targets, strict=True):
            values = targets[target.name]
            guess = torch.zeros(len(values), target.dims, device=values.device)
            if target.categories:
                guess += torch.from_numpy(target.mean).log().float().to(values.device)
            elif medians and target.name in medians:
                guess += medians[target.name].to(values.device)
            losses.append(worker.loss(guess, values))
        return _stack(losses)


def context_offsets(context: int) -> tuple[int, ...]:
    """Offsets of the frames that a frame predicts: evenly spaced, at most `MAX_PREDICTED_FRAMES`.

    >>> context_offsets(2)
    (-2, -1, 0, 1, 2)
    """
    steps = np.linspace(-context, context, min(MAX_PREDICTED_FRAMES, 2 * context + 1))
    return tuple(np.rint(steps).astype(int).tolist())


def neighbour_indices(lengths: Tensor, offsets: Sequence[int]) -> Tensor:
    """Indices (frames, offsets) of each frame's neighbours, clips concatenated.

    Before a clip's beginning its first frame is repeated, after its end its last.

    Args:
        lengths: (clips,) frames.
        offsets: of the neighbours, in frames.

    >>> neighbour_indices(torch.tensor([2, 1]), (-1, 0, 1)).tolist()
    [[0, 0, 1], [0, 1, 1], [2, 2, 2]]
    """
    begin = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)[:, None]
    last = begin + lengths.repeat_interleave(lengths)[:, None] - 1
    frame = torch.arange(len(begin), device=lengths.device)[:, None]
    return (frame + torch.tensor(offsets, device=lengths.device)).maximum(begin).minimum(last)


def _stack(losses: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    sums, counts = zip(*losses, strict=True)
    return torch.stack(sums), torch.stack([count.float() for count in counts])
