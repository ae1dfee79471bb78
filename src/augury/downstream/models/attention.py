"""An attention decoder that writes one symbol after another, and a beam search that CTC scores too.

It looks at where it looked before (Chorowski et al. 2015); the search adds up its log probabilities
and CTC's of prefixes (Watanabe et al. 2017). Begin and end are one symbol, which CTC has as blank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augury.downstream.scores.ctc import IMPOSSIBLE, Hypothesis, PrefixScorer
from augury.errors import InputError
from augury.learning.layers import mask


@dataclass(frozen=True)
class EncodedSpeech:
    """Encoded utterances, as attention looks at them."""

    encoded: Tensor  # (batch, frames, width)
    keys: Tensor  # (batch, frames, attention)
    inside: Tensor  # (batch, frames)


@dataclass(frozen=True)
class DecoderState:
    """Where the decoder is with each hypothesis."""

    state: Tensor  # (batch, beam, units)
    context: Tensor  # (batch, beam, width) what it looked at last
    weights: Tensor  # (batch, beam, frames) how much at which frame: they sum to 1

    def of(self, hypothesis: Tensor) -> DecoderState:
        """Of the hypotheses at these places (batch, new beam)."""
        rows = torch.arange(len(hypothesis), device=hypothesis.device)[:, None]
        return DecoderState(
            self.state[rows, hypothesis],
            self.context[rows, hypothesis],
            self.weights[rows, hypothesis],
        )


class AttentionDecoder(nn.Module):
    """Symbols, from the frames of a recogniser's encoder. Defaults are the paper's sizes."""

    def __init__(
        self,
        width: int,
        symbols: int,
        *,
        end: int,
        units: int = 256,
        embedding: int = 128,
        attention: int = 256,
        channels: int = 10,
        kernel: int = 101,
        dropout: float = 0.15,
    ) -> None:
        super().__init__()
        self.end, self.units = end, units
        self.embedding = nn.Embedding(symbols, embedding)
        self.cell = nn.GRUCell(embedding + width, units)
        self.key = nn.Linear(width, attention)
        self.query = nn.Linear(units, attention, bias=False)
        self.where = nn.Conv1d(1, channels, kernel, padding=kernel // 2, bias=False)
        self.location = nn.Linear(channels, attention, bias=False)
        self.energy = nn.Linear(attention, 1, bias=False)
        self.output = nn.Linear(units + width, symbols)
        self.dropout = nn.Dropout(dropout)

    def start(self, encoded: Tensor, lengths: Tensor) -> tuple[EncodedSpeech, DecoderState]:
        """Encoded utterances (batch, frames, width), and an empty hypothesis of each."""
        inside = mask(lengths, encoded.shape[1])
        weights = inside / lengths[:, None].to(encoded.dtype)  # at first, anywhere
        heard = EncodedSpeech(encoded, self.key(encoded), inside)
        state = encoded.new_zeros(len(encoded), 1, self.units)
        return heard, DecoderState(
            state, encoded.new_zeros(len(encoded), 1, encoded.shape[2]), weights[:, None]
        )

    def step(self, heard: EncodedSpeech, written: DecoderState, symbol: Tensor) -> DecoderState:
        """One symbol (batch, beam) later."""
        batch, beam = symbol.shape
        x = torch.cat([self.dropout(self.embedding(symbol)), written.context], dim=-1)
        state = self.cell(x.flatten(0, 1), written.state.flatten(0, 1)).unflatten(0, (batch, beam))
        where = self.where(
            written.weights.flatten(0, 1)[:, None]
        )  # (batch * beam, channels, frames)
        where = self.location(where.transpose(1, 2)).unflatten(0, (batch, beam))
        energies = torch.tanh(heard.keys[:, None] + self.query(state)[:, :, None] + where)
        energies = self.energy(energies)[..., 0]  # (batch, beam, frames)
        energies = energies.masked_fill(~heard.inside[:, None], IMPOSSIBLE)
        weights = energies.softmax(-1).to(state.dtype)
        return DecoderState(state, weights @ heard.encoded, weights)

    def log_probs(self, state: Tensor, context: Tensor) -> Tensor:
        """Of the next symbol: (…, symbols), from (…, units) and (…, width)."""
        x = self.dropout(torch.cat([state, context], dim=-1))
        return self.output(x).log_softmax(-1)

    def loss(
        self,
        encoded: Tensor,
        lengths: Tensor,
        targets: Tensor,
        counts: Tensor,
        *,
        smoothing: float = 0.1,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the symbols and the end, summed, and their number.

        Args:
            encoded, lengths: (batch, frames, width), and the frames of each (batch,).
            targets, counts: symbols (batch, most), anything beyond each one's count (batch,).
            smoothing: the share of a target that is spread evenly over all symbols.
        """
        known = mask(counts, targets.shape[1])
        ends = F.pad(targets.masked_fill(~known, self.end), (0, 1), value=self.end)
        before = F.pad(ends[:, :-1], (1, 0), value=self.end)
        heard, written = self.start(encoded, lengths)
        states, contexts = [], []
        for symbol in before.unbind(1):
            written = self.step(heard, written, symbol[:, None])
            states.append(written.state[:, 0])
            contexts.append(written.context[:, 0])
        log_probs = self.log_probs(torch.stack(states, 1), torch.stack(contexts, 1))
        counted = mask(counts + 1, ends.shape[1])
        log_probs, wanted = log_probs[counted], ends[counted]
        right = log_probs.gather(1, wanted[:, None])[:, 0]
        loss = -(1 - smoothing) * right.sum() - smoothing * log_probs.mean(1).sum()
        return loss, counted.sum()


@dataclass(frozen=True)
class _FinishedBeam:
    """The best finished hypotheses of each utterance, best first."""

    score: Tensor  # (batch, beam)
    symbols: Tensor  # (batch, beam, most)
    size: Tensor  # (batch, beam)

    def joined(self, score: Tensor, symbols: Tensor, size: Tensor) -> _FinishedBeam:
        """With others of the same beam: the best of both."""
        best, place = torch.cat([self.score, score], 1).topk(self.score.shape[1])
        rows = torch.arange(len(place), device=place.device)[:, None]
        symbols = torch.cat([self.symbols, symbols], 1)[rows, place]
        return _FinishedBeam(best, symbols, torch.cat([self.size, size], 1)[rows, place])


@torch.no_grad()
def joint_search(
    decoder: AttentionDecoder,
    encoded: Tensor,
    lengths: Tensor,
    ctc_log_probs: Tensor | None,
    *,
    beam: int = 16,
    ctc_weight: float = 0.2,
) -> list[list[Hypothesis]]:
    """The likeliest outputs of each utterance, best first, by decoder and CTC together.

    A hypothesis scores (1 − w) · log P(decoder) + w · log P(CTC's output begins with it), and at
    its end that CTC's output is it. No symbol raises that, so the search of an utterance ends when
    no open hypothesis is as good as the `beam`-th finished one; none gets longer than there are
    frames. Lengths are not rewarded: CTC's part is what speaks against leaving speech out.

    Args:
        encoded, lengths: (batch, frames, width), and the frames of each (batch,).
        ctc_log_probs: (batch, frames, symbols), blank = the decoder's end; None with weight 0.
        beam: hypotheses kept, of each utterance.
        ctc_weight: w; 0: the decoder alone.
    """
    if not 0 <= ctc_weight <= 1 or (ctc_weight and ctc_log_probs is None):
        raise InputError(f"ctc_weight is {ctc_weight}, but must be 0 to 1, and 0 without CTC")
    batch, most = encoded.shape[:2]
    device, end = encoded.device, decoder.end
    rows = torch.arange(batch, device=device)[:, None]
    scorer = prefixes = None
    if ctc_weight:
        assert ctc_log_probs is not None
        scorer = PrefixScorer(ctc_log_probs, lengths, blank=end, end=end)
        prefixes = scorer.empty()
    heard, written = decoder.start(encoded, lengths)
    last = torch.full((batch, 1), end, device=device)
    own = encoded.new_zeros(batch, 1)  # the decoder's log probabilities
    open_ = torch.zeros(batch, 1, device=device)  # the score of each; −inf: given up
    symbols = torch.zeros(batch, 1, most, dtype=torch.long, device=device)
    nothing = torch.zeros(batch, beam, dtype=torch.long, device=device)
    ended = _FinishedBeam(
        torch.full((batch, beam), IMPOSSIBLE, device=device, dtype=own.dtype),
        symbols.expand(-1, beam, -1),
        nothing,
    )
    for size in range(most + 1):
        written = decoder.step(heard, written, last)
        log_probs = own[..., None] + decoder.log_probs(written.state, written.context)
        total = log_probs
        if scorer:
            assert prefixes is not None
            # A product would make a NaN of 0 and −inf.
            ctc = scorer.scores(prefixes)
            total = ctc if ctc_weight == 1 else (1 - ctc_weight) * log_probs + ctc_weight * ctc
        total = total.masked_fill((open_ == IMPOSSIBLE)[..., None], IMPOSSIBLE)
        sizes = torch.full(open_.shape, size, device=device)
        ended = ended.joined(total[..., end], symbols, sizes)
        total[..., end] = IMPOSSIBLE
        total = total.masked_fill((lengths <= size)[:, None, None], IMPOSSIBLE)
        count = total.shape[2]
        open_, place = total.flatten(1).topk(min(beam, total[0].numel()))
        open_ = open_.masked_fill(open_ <= ended.score[:, -1:], IMPOSSIBLE)
        if size == most or not (open_ > IMPOSSIBLE).any():
            break
        hypothesis, last = torch.div(place, count, rounding_mode="floor"), place % count
        symbols = symbols[rows, hypothesis]
        symbols[:, :, size] = last
        own = log_probs.flatten(1).gather(1, place)
        written = written.of(hypothesis)
        if scorer:
            assert prefixes is not None
            prefixes = scorer.extend(prefixes, hypothesis, last)
    return [
        [
            Hypothesis(one[:n].tolist(), score)
            for one, n, score in zip(*utterance, strict=True)
            if score > IMPOSSIBLE
        ]
        for utterance in zip(
            ended.symbols.cpu(), ended.size.tolist(), ended.score.tolist(), strict=True
        )
    ]
