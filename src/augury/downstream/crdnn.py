"""A recogniser's encoder: convolutions, frames merged, light gated recurrent units, dense layers.

Frames beyond an utterance never count. The recurrence is an autograd function of its own: both
directions in one loop, and the gradient of its matrices as one product after it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augury.learning.encoder import Bidirectional, Block, FrameNorm, mask, reversal, taken


class LiGRU(nn.Module):
    """A bidirectional layer of light gated recurrent units (Ravanelli et al. 2018).

    z = sigmoid(BN(W_z x) + U_z h),  c = relu(BN(W_c x) + U_c h),  h ← z h + (1 − z) c.
    """

    def __init__(self, width: int, units: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.units = units
        self.input = nn.Linear(width, 4 * units, bias=False)  # z and c, of both directions
        self.norm = FrameNorm(4 * units)
        self.recurrent = nn.Parameter(torch.empty(2, units, 2 * units))
        for direction in self.recurrent.data:
            for half in (direction[:, :units], direction[:, units:]):
                nn.init.orthogonal_(half)
        self.dropout = nn.Dropout(dropout)  # of candidates: the same units at all frames

    def forward(self, x: Tensor, inside: Tensor, backwards: Tensor) -> Tensor:
        """(frames, batch, width) to (frames, batch, 2 * units).

        `inside`: (frames, batch), true within utterances; `backwards`: see `reversal`.
        """
        frames, batch, _ = x.shape
        gates = x.new_zeros(frames, batch, 4 * self.units)
        gates[inside] = self.norm(self.input(x[inside])).to(x.dtype)
        forth, back = gates.chunk(2, dim=-1)
        gates = torch.stack([forth, taken(back, backwards)], dim=1)  # (frames, 2, batch, 2 * units)
        kept = self.dropout(x.new_ones(2, batch, self.units))
        with torch.autocast(x.device.type, enabled=False):
            forth, back = Recurrence.apply(gates, self.recurrent.to(x.dtype), kept).unbind(1)
        return torch.cat([forth, taken(back, backwards)], dim=-1)


class Recurrence(torch.autograd.Function):
    """The states of light gated recurrent units, from what comes in at each frame."""

    @staticmethod
    def forward(ctx, gates: Tensor, matrix: Tensor, kept: Tensor) -> Tensor:
        """States (frames, directions, batch, units).

        Args:
            gates: (frames, directions, batch, 2 * units) for z, then for the candidate.
            matrix: (directions, units, 2 * units).
            kept: (directions, batch, units) what candidates are multiplied by.
        """
        units = kept.shape[-1]
        states = gates.new_zeros(len(gates) + 1, *kept.shape)  # the first: before all frames
        opened, candidates = (torch.empty_like(states[1:]) for _ in range(2))
        for t, gate in enumerate(gates.unbind(0)):
            before = states[t]
            sums = torch.baddbmm(gate, before, matrix)
            torch.sigmoid(sums[..., :units], out=opened[t])
            torch.mul(sums[..., units:].relu_(), kept, out=candidates[t])
            torch.lerp(candidates[t], before, opened[t], out=states[t + 1])
        ctx.save_for_backward(states, opened, candidates, matrix, kept)
        return states[1:]

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        """The gradients with respect to gates and matrix."""
        states, opened, candidates, matrix, kept = ctx.saved_tensors
        units = kept.shape[-1]
        slopes = torch.empty(*opened.shape[:-1], 2 * units, dtype=grad.dtype, device=grad.device)
        # What a unit of each gate changes, per unit of the state's change: all frames at once.
        torch.mul(states[:-1] - candidates, opened * (1 - opened), out=slopes[..., :units])
        torch.mul((1 - opened) * kept, candidates > 0, out=slopes[..., units:])
        after = torch.zeros_like(grad[0])
        transposed = matrix.transpose(1, 2)
        for t in range(len(grad) - 1, -1, -1):
            after = after + grad[t]
            slope = slopes[t]
            slope[..., :units] *= after
            slope[..., units:] *= after
            after = torch.baddbmm(after * opened[t], slope, transposed)
        # (directions, units, frames * batch) × (directions, frames * batch, 2 * units)
        before = states[:-1].permute(1, 3, 0, 2).flatten(2)
        of_matrix = before @ slopes.permute(1, 0, 2, 3).flatten(1, 2)
        return slopes, of_matrix, None


class Crdnn(nn.Module):
    """Features to fewer, encoded frames. Defaults are the paper's sizes."""

    def __init__(
        self,
        width: int,
        *,
        channels: tuple[int, ...] = (128, 256),
        convolutions: int = 2,
        pools: tuple[int, ...] = (2, 2),
        time_pool: int = 2,
        recurrent: str = "ligru",
        recurrent_layers: int = 4,
        recurrent_units: int = 512,
        dense_layers: int = 2,
        dimensions: int = 512,
        dropout: float = 0.15,
    ) -> None:
        super().__init__()
        self.time_pool = time_pool
        before, blocks = 1, []
        for after, pool in zip(channels, pools, strict=False):
            blocks.append(Block((before, *[after] * convolutions), width, pool, dropout))
            before, width = after, width // pool
        self.blocks = nn.ModuleList(blocks)
        # Without convolutions nothing tells which frame is the one to keep: all are.
        width *= before if channels else time_pool
        layers: list[nn.Module] = []
        for _ in range(recurrent_layers):
            layers.append(
                LiGRU(width, recurrent_units, dropout)
                if recurrent == "ligru"
                else Bidirectional(width, recurrent_units)
            )
            width = 2 * recurrent_units
        self.recurrent = nn.ModuleList(layers)
        dense: list[nn.Module] = []
        for _ in range(dense_layers):
            dense += [
                nn.Linear(width, dimensions),
                FrameNorm(dimensions),
                nn.LeakyReLU(),
                nn.Dropout(dropout),
            ]
            width = dimensions
        self.dense = nn.Sequential(*dense)
        self.between = nn.Dropout(dropout)
        self.width = width  # of what comes out

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, width), 0 beyond lengths, to (batch, fewer frames, dims), 0 beyond.

        The new lengths are those of the old by `time_pool`, rounded up.
        """
        x = features
        if len(self.blocks):
            beyond = (~mask(lengths, x.shape[1])).flatten().nonzero()[:, 0]
            x = x[..., None]
            for block in self.blocks:
                x = block(x, beyond)  # (batch, frames, fewer features, channels)
            x = x.flatten(2)
        x, lengths = self.merged(x, lengths)
        inside = mask(lengths, x.shape[1])
        x = x.transpose(0, 1)  # (frames, batch, width)
        backwards = reversal(lengths, len(x))
        for layer in self.recurrent:
            light = isinstance(layer, LiGRU)
            x = layer(x, inside.T, backwards) if light else layer(x, backwards)
            x = self.between(x)
        packed = self.dense(x.transpose(0, 1)[inside])  # (frames inside, dims)
        encoded = packed.new_zeros(*inside.shape, packed.shape[-1])
        encoded[inside] = packed
        return encoded, lengths

    def merged(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbouring frames as one: the largest of them after convolutions, else all of them."""
        pool, beyond = self.time_pool, ~mask(lengths, x.shape[1])[..., None]
        lengths = torch.div(lengths + pool - 1, pool, rounding_mode="floor")
        largest = len(self.blocks) > 0
        if largest:
            x = x.masked_fill(beyond, -torch.inf)
        x = F.pad(x, (0, 0, 0, -x.shape[1] % pool), value=-torch.inf if largest else 0.0)
        x = x.unflatten(1, (-1, pool))  # (batch, fewer frames, pool, width)
        x = x.amax(2) if largest else x.flatten(2)
        return x.masked_fill(~mask(lengths, x.shape[1])[..., None], 0.0), lengths
