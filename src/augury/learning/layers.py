"""Layers that encoders and downstream models share; padding never influences an utterance.

`beyond` and `reversal` are indices computed once a batch from the lengths of its utterances.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class ConvolutionBlock(nn.Module):
    """3 × 3 convolutions with LayerNorm and LeakyReLU, max-pooling of bands, channel dropout."""

    def __init__(self, widths: tuple[int, ...], bands: int, pool: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)
        )
        # Over bands and channels of each frame alone: padding has no influence.
        self.norms = nn.ModuleList(nn.LayerNorm([bands, after]) for after in widths[1:])
        self.pool = pool
        self.dropout = nn.Dropout2d(dropout)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, beyond: Tensor) -> Tensor:
        """(batch, frames, bands, channels) to (batch, frames, bands // pool, more channels).

        `beyond`: indices of the frames outside their utterances, in the flattened (batch, frames).
        They are set to 0, which a convolution at an utterance's edge then sees.
        """
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Channels last in memory: the layout in which convolutions are fastest.
            x = convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # more channels
            x = MaskedLeakyReLU.apply(norm(x), beyond)
        x = MaxPool.apply(x, self.pool)  # (batch, frames, bands // pool, channels)
        return self.dropout(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MaskedLeakyReLU(torch.autograd.Function):
    """LeakyReLU that also sets some frames to 0, without another pass over the data."""

    @staticmethod
    def forward(ctx, x: Tensor, beyond: Tensor, slope: float = 0.01) -> Tensor:
        """(batch, frames, …) as `x`; `beyond` are indices into the flattened (batch, frames)."""
        y = F.leaky_relu(x, slope)
        y.view(-1, *y.shape[2:]).index_fill_(0, beyond, 0)
        ctx.save_for_backward(y, beyond)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        """The gradient with respect to x."""
        y, beyond = ctx.saved_tensors  # the sign of y is that of x, so that x need not be kept
        grad = torch.ops.aten.leaky_relu_backward(grad.contiguous(), y, ctx.slope, True)
        grad.view(-1, *y.shape[2:]).index_fill_(0, beyond, 0)
        return grad, None, None


class MaxPool(torch.autograd.Function):
    """The maximum over neighbouring bands; several times faster than max_pool2d on a CPU."""

    @staticmethod
    def forward(ctx, x: Tensor, pool: int) -> Tensor:
        """(batch, frames, bands, channels) to (batch, frames, bands // pool, channels)."""
        ctx.left = x.shape[2] % pool  # the last bands, which do not fill a pool, are dropped
        x = x[:, :, : x.shape[2] - ctx.left].unflatten(2, (-1, pool))
        y = x[:, :, :, 0]
        for k in range(1, pool):
            y = torch.maximum(y, x[:, :, :, k])
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        """The gradient with respect to x; where several values are the maximum, each gets it."""
        x, y = ctx.saved_tensors
        gradient = torch.empty_like(x)
        for k in range(x.shape[3]):  # a product over all at once would have short inner loops
            torch.eq(x[:, :, :, k], y, out=gradient[:, :, :, k])
            gradient[:, :, :, k] *= grad
        gradient = gradient.flatten(2, 3)
        return (F.pad(gradient, (0, 0, 0, ctx.left)) if ctx.left else gradient), None


class BidirectionalLSTM(nn.Module):
    """An LSTM over each utterance, and another backwards from the utterance's own last frame."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, units)
        self.backwards = nn.LSTM(width, units)

    def forward(self, x: Tensor, reversal: Tensor) -> Tensor:
        """(frames, batch, width) to (frames, batch, 2 * units); see the function `reversal`."""
        forwards = self.forwards(x)[0]  # (frames, batch, units)
        backwards = self.backwards(take_rows(x, reversal))[0]  # last frame first
        return torch.cat([forwards, take_rows(backwards, reversal)], dim=-1)


def reversal(lengths: Tensor, frames: int) -> Tensor:
    """Indices (frames * batch,) that reverse each utterance in time: its own inverse.

    Frames beyond an utterance stay where they are: after its last frame in both directions, where
    they can't influence an LSTM's outputs.

    >>> reversal(torch.tensor([3, 2]), 3)  # row = frame * 2 + utterance
    tensor([4, 3, 2, 1, 0, 5])
    """
    frame = torch.arange(frames, device=lengths.device)[:, None]  # (frames, 1)
    turned = torch.where(frame < lengths, lengths - 1 - frame, frame)  # (frames, batch)
    return (turned * len(lengths) + torch.arange(len(lengths), device=lengths.device)).flatten()


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """`x` (frames, batch, …) with its rows, over both axes, in another order (frames * batch,)."""
    return x.flatten(0, 1)[rows].unflatten(0, list(x.shape[:2]))


class FrameNorm(nn.BatchNorm1d):
    """Batch normalisation of (frames, dims), over the frames of all training processes.

    As torch's SyncBatchNorm, which needs GPUs.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised (frames, dims); a single frame is normalised by the running statistics."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            if self.training and len(input) == 1:  # its own variance would be 0
                statistics = (self.running_mean, self.running_var, self.weight, self.bias)
                return F.batch_norm(input, *statistics, eps=self.eps)
            return super().forward(input)
        x = input.float()  # bfloat16 would round even the count
        sums = torch.cat([x.new_tensor([len(x)]), x.sum(0), x.square().sum(0)])  # (1 + 2 * dims,)
        sums = AllReduce.apply(sums)
        count, dims = sums[0], x.shape[1]
        mean = sums[1 : 1 + dims] / count
        variance = (sums[1 + dims :] / count - mean.square()).clamp_min(0)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class AllReduce(torch.autograd.Function):
    """The sum over all training processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        """The sum, the same in every process."""
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        """The sum of the gradients."""
        grad = grad.clone()
        dist.all_reduce(grad)
        return grad


def mask(lengths: Tensor, frames: int) -> Tensor:
    """(batch, frames), true for the frames inside each utterance.

    >>> mask(torch.tensor([3, 1]), 3).int()
    tensor([[1, 1, 1],
            [1, 0, 0]], dtype=torch.int32)
    """
    return torch.arange(frames, device=lengths.device) < lengths[:, None]
