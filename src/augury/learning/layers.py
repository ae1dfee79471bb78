"""Layers that encoders and downstream models share; padding never reaches an utterance.

Shapes put frames of a padded batch first or second as noted; `beyond` and `reversal` are indices
computed once per batch from the utterances' lengths.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class ConvolutionBlock(nn.Module):
    """3 × 3 convolutions, each with LayerNorm and LeakyReLU; bands merged; channels dropped."""

    def __init__(self, widths: tuple[int, ...], bands: int, pool: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)
        )
        # Over bands and channels of a frame: it never mixes frames, so padding can't reach it.
        self.norms = nn.ModuleList(nn.LayerNorm([bands, after]) for after in widths[1:])
        self.pool = pool
        self.dropout = nn.Dropout2d(dropout)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, beyond: Tensor) -> Tensor:
        """(batch, frames, bands, channels) to (batch, frames, bands // pool, more channels).

        `beyond`: places among all frames of those outside their utterances, kept 0, as that is what
        a convolution at an utterance's edge should see.
        """
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Channels last in memory: the layout in which convolutions are fastest.
            x = convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = MaskedLeakyReLU.apply(norm(x), beyond)
        x = MaxPool.apply(x, self.pool)
        return self.dropout(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MaskedLeakyReLU(torch.autograd.Function):
    """LeakyReLU, and 0 in some frames, with no pass over the data but LeakyReLU's own."""

    @staticmethod
    def forward(ctx, x: Tensor, beyond: Tensor, slope: float = 0.01) -> Tensor:
        """(batch, frames, …), those at the places `beyond` among all frames 0."""
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
    """The largest of each few neighbouring bands; some times faster than max_pool2d on a CPU."""

    @staticmethod
    def forward(ctx, x: Tensor, pool: int) -> Tensor:
        """(batch, frames, bands, channels) to (batch, frames, bands // pool, channels)."""
        ctx.left = x.shape[2] % pool  # bands that fill no pool
        x = x[:, :, : x.shape[2] - ctx.left].unflatten(2, (-1, pool))
        y = x[:, :, :, 0]
        for k in range(1, pool):
            y = torch.maximum(y, x[:, :, :, k])
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        """The gradient with respect to x; equal largest ones share none, but all get it."""
        x, y = ctx.saved_tensors
        found = torch.empty_like(x)
        for k in range(x.shape[3]):  # slices: a product over all at once has too short inner loops
            torch.eq(x[:, :, :, k], y, out=found[:, :, :, k])
            found[:, :, :, k] *= grad
        found = found.flatten(2, 3)
        return (F.pad(found, (0, 0, 0, ctx.left)) if ctx.left else found), None


class BidirectionalLSTM(nn.Module):
    """An LSTM over each utterance forwards, and one backwards from its own last frame."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, units)
        self.backwards = nn.LSTM(width, units)

    def forward(self, x: Tensor, reversal: Tensor) -> Tensor:
        """(frames, batch, width) to (frames, batch, 2 * units); `reversal` as below."""
        turned = self.backwards(take_rows(x, reversal))[0]
        return torch.cat([self.forwards(x)[0], take_rows(turned, reversal)], dim=-1)


def reversal(lengths: Tensor, frames: int) -> Tensor:
    """Which row of (frames * batch, …) each takes to turn every utterance round; its own inverse.

    Frames beyond an utterance stay where they are: after its end in both directions, where an LSTM
    has already given its outputs.
    """
    at = torch.arange(frames, device=lengths.device)[:, None]  # (frames, 1)
    turned = torch.where(at < lengths, lengths - 1 - at, at)  # (frames, batch)
    return (turned * len(lengths) + torch.arange(len(lengths), device=lengths.device)).flatten()


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """The rows (frames * batch,) of (frames, batch, …), in the same shape."""
    return x.flatten(0, 1)[rows].unflatten(0, list(x.shape[:2]))


class FrameNorm(nn.BatchNorm1d):
    """Batch normalisation of (frames, dims), over the frames of all processes that train.

    torch's SyncBatchNorm does the same on GPUs only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised (frames, dims); a single frame by the statistics known so far."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            if self.training and len(input) == 1:  # has no deviation of its own
                known = (self.running_mean, self.running_var, self.weight, self.bias)
                return F.batch_norm(input, *known, eps=self.eps)
            return super().forward(input)
        x = input.float()  # bfloat16 would round even the count
        sums = torch.cat([x.new_tensor([len(x)]), x.sum(0), x.square().sum(0)])
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
    """The sum over all processes that train; its gradient, too, is what all of them ask for."""

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
    """(batch, frames), true for the frames inside each utterance."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]
