"""A recogniser's encoder: convolutions, pooling over time, light gated recurrent and dense layers.

Frames of the padding have no effect, whatever values they have.

The recurrence is an autograd function of its own. Forward and backward over 400 frames of 16
utterances, 256 units in each direction, took 236 ms on one core (AMD EPYC, AVX2, shared), of which
about 155 ms were matrix products; a plain loop took 279 ms, and that loop under torch.jit.script
287 ms. Without gradients all three took about 80 ms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augury.errors import InputError
from augury.learning.layers import (
    BidirectionalLSTM,
    ConvolutionBlock,
    FrameNorm,
    MaskedLeakyReLU,
    MaxPool,
    mask,
    reversal,
    take_rows,
)

#: Input of an update gate that keeps the state as it is: its sigmoid is exactly 1.
SHUT = 1e4


class LiGRU(nn.Module):
    """A layer of light gated recurrent units in both directions (Ravanelli et al. 2018).

    z = sigmoid(BN(W_z x) + U_z h), c = relu(BN(W_c x) + U_c h), h ← z h + (1 − z) c. Each direction
    has weights of its own, as in torch's LSTM; SpeechBrain's two directions share theirs.
    """

    def __init__(self, width: int, units: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.units = units
        self.inputs = nn.Linear(width, 4 * units, bias=False)  # z and c forwards, z and c backwards
        self.norm = FrameNorm(4 * units)
        self.recurrent = nn.Parameter(torch.empty(2, units, 2 * units))  # z and c, each direction's
        for direction in self.recurrent.data:
            for matrix in direction.split(units, dim=-1):
                nn.init.orthogonal_(matrix)
        self.dropout = nn.Dropout(dropout)  # of candidates

    def forward(self, x: Tensor, reversal: Tensor, inside: Tensor) -> Tensor:
        """(frames, batch, width) to (frames, batch, 2 * units).

        Args:
            reversal: from `augury.learning.layers.reversal`: each utterance's frames backwards.
            inside: (frames, batch) whether a frame is inside its utterance.
        """
        frames, batch, _ = x.shape
        rows = inside.flatten().nonzero()[:, 0]  # (frames inside,) among all frames * batch
        packed = self.inputs(x.flatten(0, 1)[rows])  # (frames inside, 4 * units)
        packed = self.norm(packed)  # (frames inside, 4 * units)
        # In the padding the update gate is 1 and the state stays as it is: ReLU has no upper bound,
        # so over a long padding the state could become infinite, and the gradient 0 · ∞.
        gates = torch.stack(
            [
                half.new_full((frames * batch, 2 * self.units), SHUT).index_copy_(0, to, half)
                for half, to in zip(packed.chunk(2, dim=-1), (rows, reversal[rows]), strict=True)
            ]
        ).unflatten(1, (frames, batch))  # (2, frames, batch, 2 * units)
        # One mask an utterance and direction, the same at all its frames.
        kept = self.dropout(self.recurrent.new_ones(2, batch, self.units))  # (2, batch, units)
        states = Recurrence.apply(gates, self.recurrent, kept)  # (2, frames, batch, units)
        forwards, backwards = states  # (frames, batch, units) each
        backwards = take_rows(backwards, reversal)  # in order of time again
        return torch.cat([forwards, backwards], dim=-1)  # (frames, batch, 2 * units)


class Recurrence(torch.autograd.Function):
    """States of light gated recurrent units, both directions in one loop over frames."""

    # In float32: bfloat16 would round the state again at each frame.
    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, gates: Tensor, matrix: Tensor, kept: Tensor) -> Tensor:
        """States (directions, frames, batch, units), from 0 before the first frame.

        Args:
            gates: (directions, frames, batch, 2 * units) inputs of z, and of the candidate state.
            matrix: (directions, units, 2 * units) weights of the previous state.
            kept: (directions, batch, units) the dropout mask that candidates are multiplied by.
        """
        directions, frames, batch, _ = gates.shape
        units = kept.shape[-1]
        states = gates.new_zeros(directions, frames + 1, batch, units)
        sums = torch.empty_like(gates)
        opened, candidates = sums.split(units, dim=-1)
        before, after = states[:, :-1], states[:, 1:]
        for gate, s, z, c, h, new in _frames(gates, sums, opened, candidates, before, after):
            torch.baddbmm(gate, h, matrix, out=s)
            z.sigmoid_()
            c.relu_().mul_(kept)
            torch.lerp(c, h, z, out=new)
        ctx.save_for_backward(sums, states, matrix, kept)
        return after

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        """The gradients with respect to gates and matrix; that of the matrix is one product."""
        sums, states, matrix, kept = ctx.saved_tensors
        opened, candidates = sums.split(kept.shape[-1], dim=-1)
        before = states[:, :-1]
        of_gates = torch.empty_like(sums)
        of_z, of_c = of_gates.split(kept.shape[-1], dim=-1)
        transposed = matrix.transpose(1, 2).contiguous()
        of_h = torch.zeros_like(kept)
        # In the loop, while a frame is still in the cache: all frames at once is slower.
        ordered = _frames(grad, of_gates, of_z, of_c, opened, candidates, before)[::-1]
        for g, slope, slope_z, slope_c, z, c, h in ordered:
            of_h = of_h + g
            through = of_h * z
            rest = of_h - through
            torch.mul(rest * z, h - c, out=slope_z)
            torch.mul(rest * kept, c > 0, out=slope_c)
            of_h = torch.baddbmm(through, slope, transposed)
        return of_gates, before.flatten(1, 2).transpose(1, 2) @ of_gates.flatten(1, 2), None


def _frames(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """For each frame its slice (directions, batch, …) of every (directions, frames, batch, …)."""
    return list(zip(*(tensor.unbind(1) for tensor in tensors), strict=True))


class Crdnn(nn.Module):
    """Features (batch, frames, width) encoded, at fewer frames. Defaults are the paper's sizes.

    Args:
        width: of the features.
        channels: of each convolutional block; () for none of them.
        convolutions: in a block.
        pools: neighbouring features merged after each block.
        projection: units of a dense layer before pooling over time, used only where there are no
            convolutions; it makes wide features as cheap as log-mel for the layers above. 0: none.
        time_pool: neighbouring frames merged: by their maximum after convolutions, else by
            concatenation.
        recurrent: "ligru" or "lstm".
        recurrent_layers: how many.
        recurrent_units: in each direction.
        dense_layers: how many.
        dimensions: of the dense layers.
        dropout: of every layer.

    >>> encoder = Crdnn(80, recurrent_layers=1, recurrent_units=8, dense_layers=1, dimensions=16)
    >>> encoded, lengths = encoder(torch.zeros(2, 7, 80), torch.tensor([7, 3]))
    >>> encoded.shape, lengths
    (torch.Size([2, 4, 16]), tensor([4, 2]))
    """

    def __init__(
        self,
        width: int,
        *,
        channels: tuple[int, ...] = (128, 256),
        convolutions: int = 2,
        pools: tuple[int, ...] = (2, 2),
        projection: int = 0,
        time_pool: int = 2,
        recurrent: str = "ligru",
        recurrent_layers: int = 4,
        recurrent_units: int = 512,
        dense_layers: int = 2,
        dimensions: int = 512,
        dropout: float = 0.15,
    ) -> None:
        super().__init__()
        if recurrent not in ("ligru", "lstm"):
            raise InputError(f"recurrent is {recurrent!r}, but must be 'ligru' or 'lstm'")
        self.time_pool = time_pool
        before, blocks = 1, []
        for after, pool in zip(channels, pools if channels else (), strict=True):
            blocks.append(ConvolutionBlock((before, *[after] * convolutions), width, pool, dropout))
            before, width = after, width // pool
        self.blocks = nn.ModuleList(blocks)
        self.projection = None
        if projection and not channels:
            self.projection = _dense(width, projection, dropout)
            width = projection
        width *= before if channels else time_pool
        self.light = recurrent == "ligru"
        layers: list[nn.Module] = []
        for _ in range(recurrent_layers):
            layers.append(
                LiGRU(width, recurrent_units, dropout)
                if self.light
                else BidirectionalLSTM(width, recurrent_units)
            )
            width = 2 * recurrent_units
        self.recurrent = nn.ModuleList(layers)
        # LiGRU layers have dropout of their candidate states instead, as in SpeechBrain.
        self.dropout = nn.Dropout(0.0 if self.light else dropout)
        dense: list[nn.Module] = []
        for _ in range(dense_layers):
            dense.append(_dense(width, dimensions, dropout))
            width = dimensions
        self.dense = nn.Sequential(*dense)
        self.width = width  # of what comes out

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded features (batch, fewer frames, dimensions), 0 in the padding, and new lengths.

        Args:
            features: (batch, frames, width), any values in the padding.
            lengths: (batch,) frames, at least 1; the new ones are these divided by `time_pool`,
                rounded up, so that no frame is lost.
        """
        x, inside = features, mask(lengths, features.shape[1])  # inside: (batch, frames)
        if len(self.blocks):
            outside = (~inside).flatten().nonzero()[:, 0]  # (frames outside,)
            x = x[..., None].contiguous()  # (batch, frames, width, 1)
            x = MaskedLeakyReLU.apply(x, outside, 1.0)  # the same, 0 outside
            for block in self.blocks:
                x = block(x, outside)  # (batch, frames, fewer features, channels)
            x = x.flatten(2)  # (batch, frames, features * channels)
            x = max_pool_frames(x, inside, self.time_pool)  # (batch, fewer frames, the same)
        else:
            if self.projection:
                x = self.projection(x[inside])  # (frames inside, projection)
                x = _unpack(x, inside)  # (batch, frames, projection)
            x = stack_frames(x, inside, self.time_pool)  # (batch, fewer frames, time_pool * width)
        lengths = (lengths + self.time_pool - 1) // self.time_pool  # (batch,)
        inside = mask(lengths, x.shape[1])  # (batch, fewer frames)
        x = x.transpose(0, 1)  # (fewer frames, batch, width)
        reverse = reversal(lengths, len(x))  # (fewer frames * batch,)
        more = (reverse, inside.T) if self.light else (reverse,)
        for layer in self.recurrent:
            x = self.dropout(layer(x, *more))  # (fewer frames, batch, 2 * units)
        x = self.dense(x.transpose(0, 1)[inside])  # (frames inside, dimensions)
        return _unpack(x, inside), lengths  # (batch, fewer frames, dimensions), (batch,)


def _dense(width: int, dimensions: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, dimensions), FrameNorm(dimensions), nn.LeakyReLU(), nn.Dropout(dropout)
    )


def _unpack(packed: Tensor, inside: Tensor) -> Tensor:
    """(frames inside, dims) as (batch, frames, dims), 0 elsewhere."""
    whole = packed.new_zeros(*inside.shape, packed.shape[-1])
    whole[inside] = packed
    return whole


def stack_frames(x: Tensor, inside: Tensor, pool: int) -> Tensor:
    """Every `pool` neighbouring frames of (batch, frames, width) concatenated, pool * width wide.

    Frames that are not `inside` (batch, frames) are 0; the last group is padded with zeros.
    """
    x = x.masked_fill(~inside[..., None], 0.0)
    return F.pad(x, (0, 0, 0, -x.shape[1] % pool)).unflatten(1, (-1, pool)).flatten(2)


def max_pool_frames(x: Tensor, inside: Tensor, pool: int) -> Tensor:
    """The maximum of every `pool` neighbouring frames of (batch, frames, width).

    Only frames that are `inside` (batch, frames) count; 0 where none is. The last group may have
    fewer frames.
    """
    # Not 0: all of an utterance's last frames may be negative.
    x = x.masked_fill(~inside[..., None], -torch.inf)
    x = F.pad(x, (0, 0, 0, -x.shape[1] % pool), value=-torch.inf)
    x = MaxPool.apply(x[:, None], pool)[:, 0]
    return x.masked_fill(~inside[:, ::pool, None], 0.0)
