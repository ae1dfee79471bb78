"""The encoder: log-mel in, one vector a frame out, at the frame rate of what came in.

Blocks of two convolutions that merge neighbouring bands but never frames, a bidirectional LSTM,
dense layers. The sizes of the `paper` preset are those of the authors' released code.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from augury import audio
from augury.errors import InputError
from augury.settings import EncoderSettings


class Encoder(nn.Module):
    """Log-mel (batch, frames, bands) dB, or signals (batch, samples) at 16 kHz, to features.

    Frames beyond an utterance's length never count: not in a convolution at its edge, nor in the
    LSTM, nor in the statistics of a batch. So, in eval mode, an utterance's features do not depend
    on which others it is batched with.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(settings.bands))  # of the training frames, dB
        self.register_buffer("deviation", torch.ones(settings.bands))
        self.log_mel = LogMel(settings.bands)
        bands, channels, blocks = settings.bands, 1, []
        for wider, pool in zip(settings.channels, settings.pools, strict=True):
            widths = (channels, *[wider] * settings.convolutions)
            blocks.append(Block(widths, bands, pool, settings.dropout))
            channels, bands = wider, bands // pool
        self.blocks = nn.ModuleList(blocks)
        width, layers = channels * bands, []
        for _ in range(settings.recurrent_layers):
            layers.append(Bidirectional(width, settings.recurrent_units))
            width = 2 * settings.recurrent_units
        self.recurrent = nn.ModuleList(layers)
        dense = []
        for _ in range(settings.dense_layers):
            dense += [
                nn.Linear(width, settings.dimensions),
                FrameNorm(settings.dimensions),
                nn.LeakyReLU(),
                nn.Dropout(settings.dropout),
            ]
            width = settings.dimensions
        self.dense = nn.Sequential(*dense)
        self.between = nn.Dropout(settings.dropout)  # the layers of the LSTM, and after the last

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features (batch, frames, dimensions), 0 beyond each utterance's frames.

        Args:
            x: (batch, samples) or (samples,) signal at 16 kHz, full scale ±1; or log-mel (batch,
                frames, bands) in dB as `augury.audio.log_mel` gives it, not normalised.
            lengths: (batch,) samples or frames of each utterance; all of them if not given.
        """
        if x.ndim == 1:
            x = x[None]
        if x.ndim == 2:
            x, lengths = self.log_mel(x, lengths)
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[1], device=x.device)
        inside = mask(lengths, x.shape[1])  # (batch, frames)
        packed = self.packed(self.normalised(x), lengths, inside)
        features = packed.new_zeros(*inside.shape, packed.shape[-1])
        features[inside] = packed
        return features

    def normalised(self, mel: Tensor) -> Tensor:
        """Each band with mean 0 and deviation 1 over the frames that were pretrained on."""
        return (mel - self.mean) / self.deviation

    def packed(self, mel: Tensor, lengths: Tensor, inside: Tensor) -> Tensor:
        """Features of the frames inside their utterances, one utterance after another.

        Args:
            mel: (batch, frames, bands), normalised.
            lengths: (batch,) frames.
            inside: (batch, frames), true for those; see `mask`.

        Returns:
            (frames inside, dimensions).
        """
        beyond = (~inside).flatten().nonzero()[:, 0]
        x = Activated.apply(mel[..., None].contiguous(), beyond, 1.0)  # (batch, frames, bands, 1)
        for block in self.blocks:
            x = block(x, beyond)  # (batch, frames, fewer bands, channels)
        x = x.transpose(0, 1).flatten(2)  # (frames, batch, bands * channels)
        backwards = reversal(lengths, len(x))
        for layer in self.recurrent:
            x = self.between(layer(x, backwards))  # (frames, batch, 2 * units)
        x = x.transpose(0, 1)[inside]  # (frames inside, 2 * units)
        return self.dense(x)


class Block(nn.Module):
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
            x = Activated.apply(norm(x), beyond)
        x = Pooled.apply(x, self.pool)
        return self.dropout(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Activated(torch.autograd.Function):
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


class Pooled(torch.autograd.Function):
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


class Bidirectional(nn.Module):
    """An LSTM over each utterance forwards, and one backwards from its own last frame."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, units)
        self.backwards = nn.LSTM(width, units)

    def forward(self, x: Tensor, reversal: Tensor) -> Tensor:
        """(frames, batch, width) to (frames, batch, 2 * units); `reversal` as below."""
        turned = self.backwards(taken(x, reversal))[0]
        return torch.cat([self.forwards(x)[0], taken(turned, reversal)], dim=-1)


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
        sums = Summed.apply(sums)
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


class Summed(torch.autograd.Function):
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


class LogMel(nn.Module):
    """`augury.audio.log_mel` on tensors."""

    window: Tensor
    filters: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        window, filters = audio.window_and_filters(audio.RATE, bands)
        self.register_buffer("window", torch.tensor(window), persistent=False)
        self.register_buffer("filters", torch.tensor(filters), persistent=False)

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signals (batch, samples), lengths in samples; to (batch, frames, bands) dB and frames."""
        width, hop = len(self.window), round(audio.HOP * audio.RATE)
        if lengths is None:
            lengths = torch.full((len(signal),), signal.shape[1], device=signal.device)
        frames = 1 + (lengths - width) // hop
        if int(lengths.min()) < width:
            raise InputError(
                f"a signal of {int(lengths.min())} samples; one window of {width} is the least"
            )
        spectra = torch.fft.rfft(signal.unfold(1, width, hop) * self.window)
        power = spectra.real.square() + spectra.imag.square()
        return 10 * (power @ self.filters).clamp_min(audio.FLOOR).log10(), frames


def mask(lengths: Tensor, frames: int) -> Tensor:
    """(batch, frames), true for the frames inside each utterance."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def reversal(lengths: Tensor, frames: int) -> Tensor:
    """Which row of (frames * batch, …) each takes to turn every utterance round; its own inverse.

    Frames beyond an utterance stay where they are: after its end in both directions, where an LSTM
    has already given its outputs.
    """
    at = torch.arange(frames, device=lengths.device)[:, None]  # (frames, 1)
    turned = torch.where(at < lengths, lengths - 1 - at, at)  # (frames, batch)
    return (turned * len(lengths) + torch.arange(len(lengths), device=lengths.device)).flatten()


def taken(x: Tensor, rows: Tensor) -> Tensor:
    """The rows (frames * batch,) of (frames, batch, …), in the same shape."""
    return x.flatten(0, 1)[rows].unflatten(0, list(x.shape[:2]))
