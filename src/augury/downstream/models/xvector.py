"""The x-vector network: convolutions, mean and variation over time, an embedding."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from augury.downstream.features import Batch
from augury.downstream.settings import SpeakerSettings
from augury.downstream.tasks.task import Head, classification_losses
from augury.learning.layers import FrameNorm, mask

#: Added to a variance before its square root, whose gradient at 0 is infinite.
EPSILON = 1e-5


class XVector(Head):
    """A speaker classifier (Snyder et al. 2018); the input of its last layers is the embedding.

    Args:
        width: of the features.
        speakers: number of training speakers, each a class.
        settings: the layers' channels, kernels, dilations and stride, and the embedding's
            dimensions.

    >>> network = XVector(80, 3, SpeakerSettings(label="speaker", channels=(8, 16),
    ...     kernels=(5, 1), dilations=(1, 1), dimensions=4))
    >>> network(torch.zeros(2, 100, 80), torch.tensor([100, 60])).shape
    torch.Size([2, 4])
    """

    def __init__(self, width: int, speakers: int, settings: SpeakerSettings) -> None:
        super().__init__()
        layers, norms = [], []
        self.strides = [settings.stride] + [1] * (len(settings.channels) - 1)
        for channels, kernel, dilation, stride in zip(
            settings.channels, settings.kernels, settings.dilations, self.strides, strict=True
        ):
            padding = dilation * (kernel - 1) // 2
            layers.append(
                nn.Conv1d(width, channels, kernel, stride, dilation=dilation, padding=padding)
            )
            norms.append(FrameNorm(channels))
            width = channels
        self.layers, self.norms = nn.ModuleList(layers), nn.ModuleList(norms)
        self.dropout = nn.Dropout1d(settings.dropout)
        self.embedding = nn.Linear(2 * width, settings.dimensions)
        self.last = nn.Sequential(
            FrameNorm(settings.dimensions), nn.LeakyReLU(), nn.Linear(settings.dimensions, speakers)
        )

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings (batch, dimensions) of features (batch, frames, width).

        Frames beyond `lengths` (batch,) have no effect.
        """
        x = features.transpose(1, 2)  # (batch, width, frames)
        for layer, norm, stride in zip(self.layers, self.norms, self.strides, strict=True):
            x = layer(x)  # (batch, channels, frames / stride)
            lengths = torch.div(lengths - 1, stride, rounding_mode="floor") + 1  # (batch,)
            x = _activate(x, norm, mask(lengths, x.shape[2]))  # (batch, channels, frames / stride)
            x = self.dropout(x)  # (batch, channels, frames / stride)
        x = _pool_statistics(x, lengths)  # (batch, 2 * channels)
        return self.embedding(x)  # (batch, dimensions)

    def losses(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy and errors of classifying the training speakers."""
        embeddings = self(features, batch.lengths)  # (batch, dimensions)
        return classification_losses(self.last(embeddings), batch.targets["speaker"])

    def predict(self, features: Tensor, batch: Batch) -> list[NDArray[np.float32]]:
        """The embedding (dimensions,) of each recording."""
        return list(self(features, batch.lengths).float().cpu().numpy())


def _activate(x: Tensor, norm: nn.Module, inside: Tensor) -> Tensor:
    """Leaky ReLU and batch norm of (batch, channels, frames); 0 where not `inside`."""
    x = x.transpose(1, 2)  # (batch, frames, channels)
    activated = torch.zeros_like(x)
    packed = norm(F.leaky_relu(x[inside]))  # (frames inside, channels)
    activated[inside] = packed.to(x.dtype)
    return activated.transpose(1, 2)


def _pool_statistics(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean and standard deviation over time: (batch, 2 * channels) of (batch, channels, frames).

    `x` is 0 beyond `lengths` (batch,).
    """
    count = lengths[:, None]
    mean = x.sum(2) / count  # (batch, channels)
    centred = (x - mean[..., None]) * mask(lengths, x.shape[2])[:, None]
    variance = centred.square().sum(2) / count  # (batch, channels)
    return torch.cat([mean, (variance + EPSILON).sqrt()], dim=1)
