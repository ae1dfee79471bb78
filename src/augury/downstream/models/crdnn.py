"""A recogniser's encoder: convolutions, frames merged, light gated recurrent units, dense layers.

Frames beyond an utterance never count, whatever they hold.

The recurrence is an autograd function of its own. Forward and backward over 400 frames of 16
utterances, 256 units in each direction, took 236 ms on one core (AMD EPYC, AVX2, shared), about 155
of them in matrix products; as a plain loop 279, and that loop by torch.jit.script 287. Without
gradients all three took about 80.
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

#: What comes into a gate that is to be shut: its sigmoid is 1 exactly.
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

        `reversal`: see there; `inside`: (frames, batch), true for frames inside their utterances.
        """
        frames, batch, _ = x.shape
        here = inside.flatten().nonzero()[:, 0]
        packed = self.norm(self.inputs(x.flatten(0, 1)[here]))  # (frames inside, 4 * units)
        # Beyond an utterance the state stands still: relu has no bound, so that in a long padding
        # it could become infinite, and the gradient 0 · ∞.
        gates = torch.stack(
            [
                half.new_full((frames * batch, 2 * self.units), SHUT).index_copy_(0, rows, half)
                for half, rows in zip(packed.chunk(2, dim=-1), (here, reversal[here]), strict=True)
            ]
        ).unflatten(1, (frames, batch))  # (2, frames, batch, 2 * units)
        # One mask an utterance and direction, the same at all its frames.
        kept = self.dropout(self.recurrent.new_ones(2, batch, self.units))
        forwards, backwards = Recurrence.apply(gates, self.recurrent, kept)
        return torch.cat([forwards, take_rows(backwards, reversal)], dim=-1)


class Recurrence(torch.autograd.Function):
    """States of light gated recurrent units, both directions in one loop over frames."""

    # bfloat16 would round the state anew at each frame.
    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, gates: Tensor, matrix: Tensor, kept: Tensor) -> Tensor:
        """States (directions, frames, batch, units), from 0 before the first frame.

        Args:
            gates: (directions, frames, batch, 2 * units) what comes into z, and into the candidate.
            matrix: (directions, units, 2 * units), from the state before.
            kept: (directions, batch, units) what candidates are multiplied by.
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
        # Within the loop, where a frame is still in cache: over all frames at once is slower.
        ordered = _frames(grad, of_gates, of_z, of_c, opened, candidates, before)[::-1]
        for g, slope, slope_z, slope_c, z, c, h in ordered:
            of_h = of_h + g
            through = of_h * z
            rest = of_h - through
            torch.mul(rest * z, h - c, out=slope_z)
            torch.mul(rest * kept, c > 0, out=slope_c)
            of_h = torch.baddbmm(through, slope, transposed)
        return of_gates, before.flatten(1, 2).transpose(1, 2) @ of_gates.flatten(1, 2), None


def _frames(*given: Tensor) -> list[tuple[Tensor, ...]]:
    """Each frame's (directions, batch, …) of all of them."""
    return list(zip(*(one.unbind(1) for one in given), strict=True))


class Crdnn(nn.Module):
    """Features (batch, frames, width) to encoded, fewer frames. Defaults are the paper's sizes.

    Args:
        width: of the features.
        channels: of each convolutional block; () for none of them.
        convolutions: in a block.
        pools: neighbouring features merged after each block.
        projection: dimensions that a dense layer brings features to before frames are merged,
            where there are no convolutions: wide features cost no more than log-mel from there on.
            0: none.
        time_pool: neighbouring frames merged: into the largest after convolutions; without them,
            when nothing has chosen what to keep yet, all side by side.
        recurrent: "ligru" or "lstm".
        recurrent_layers: how many.
        recurrent_units: in each direction.
        dense_layers: how many.
        dimensions: of the dense layers.
        dropout: everywhere.
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
        # LiGRUs drop their candidates instead, as in SpeechBrain.
        self.between = nn.Dropout(0.0 if self.light else dropout)
        dense: list[nn.Module] = []
        for _ in range(dense_layers):
            dense.append(_dense(width, dimensions, dropout))
            width = dimensions
        self.dense = nn.Sequential(*dense)
        self.width = width  # of what comes out

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded (batch, fewer frames, dims), 0 beyond the new lengths (batch,).

        Args:
            features: (batch, frames, width), anything beyond their lengths.
            lengths: (batch,) frames, at least 1; the new ones are theirs by `time_pool`, rounded
                up, so that no frame is lost.
        """
        inside = mask(lengths, features.shape[1])  # (batch, frames)
        if len(self.blocks):
            beyond = (~inside).flatten().nonzero()[:, 0]
            x = MaskedLeakyReLU.apply(features[..., None].contiguous(), beyond, 1.0)
            for block in self.blocks:
                x = block(x, beyond)  # (batch, frames, fewer features, channels)
            x = max_pool_frames(
                x.flatten(2), inside, self.time_pool
            )  # (batch, fewer frames, width)
        else:
            x = _unpack(self.projection(features[inside]), inside) if self.projection else features
            x = stack_frames(x, inside, self.time_pool)
        lengths = (lengths + self.time_pool - 1) // self.time_pool
        inside = mask(lengths, x.shape[1])
        x = x.transpose(0, 1)  # (frames, batch, width)
        turned = reversal(lengths, len(x))
        given = (turned, inside.T) if self.light else (turned,)
        for layer in self.recurrent:
            x = self.between(layer(x, *given))  # (frames, batch, 2 * units)
        return _unpack(self.dense(x.transpose(0, 1)[inside]), inside), lengths


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
    """Each few neighbouring frames of (batch, frames, width) as one, pool * width wide.

    0 in place of frames that are not `inside`.
    """
    x = x.masked_fill(~inside[..., None], 0.0)
    return F.pad(x, (0, 0, 0, -x.shape[1] % pool)).unflatten(1, (-1, pool)).flatten(2)


def max_pool_frames(x: Tensor, inside: Tensor, pool: int) -> Tensor:
    """The largest of each few neighbouring frames of (batch, frames, width) that are `inside`.

    0 where none is; frames that fill no pool are one as well.
    """
    x = x.masked_fill(~inside[..., None], -torch.inf)  # an utterance's last may all be below 0
    x = F.pad(x, (0, 0, 0, -x.shape[1] % pool), value=-torch.inf)
    x = MaxPool.apply(x[:, None], pool)[:, 0]
    return x.masked_fill(~inside[:, ::pool, None], 0.0)
