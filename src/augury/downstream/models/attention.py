"""An attention decoder, and a beam search with the scores of decoder and CTC together.

Attention is location-aware: it depends on the weights of the step before (Chorowski et al. 2015).
The search adds the decoder's log probabilities and CTC's of prefixes (Watanabe et al. 2017). The
decoder's start and end are one symbol, the one that CTC has as its blank.
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
    """Encoded utterances, with what attention needs of them at every step."""

    encoded: Tensor  # (batch, frames, width)
    keys: Tensor  # (batch, frames, attention)
    inside: Tensor  # (batch, frames) whether a frame is inside its utterance


@dataclass(frozen=True)
class DecoderState:
    """The decoder's state after the symbols of each hypothesis."""

    hidden: Tensor  # (batch, beam, units) of the recurrent cell
    context: Tensor  # (batch, beam, width) the weighted mean of the encoded frames
    weights: Tensor  # (batch, beam, frames) of attention; they sum to 1 over frames

    def select(self, hypothesis: Tensor) -> DecoderState:
        """The states of the hypotheses at these places (batch, new beam)."""
        rows = torch.arange(len(hypothesis), device=hypothesis.device)[:, None]
        return DecoderState(
            self.hidden[rows, hypothesis],
            self.context[rows, hypothesis],
            self.weights[rows, hypothesis],
        )


class AttentionDecoder(nn.Module):
    """A recurrent decoder that predicts symbols one by one. Defaults are the paper's sizes.

    Args:
        width: of the encoded frames.
        symbols: number of symbols, `end` included.
        end: the symbol that starts and ends every output.
        units: of the recurrent cell.
        embedding: dimensions of a symbol's embedding.
        attention: dimensions in which attention compares state and frames.
        channels, kernel: of the convolution over the previous attention weights.
        dropout: of embeddings, and before the output layer.

    >>> decoder = AttentionDecoder(16, 5, end=0)
    >>> speech, state = decoder.start(torch.zeros(2, 7, 16), torch.tensor([7, 3]))
    >>> state = decoder.step(speech, state, torch.zeros(2, 1, dtype=torch.long))
    >>> decoder.log_probs(state.hidden, state.context).shape  # (batch, beam, symbols)
    torch.Size([2, 1, 5])
    """

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
        """The speech for `step`, and the state of the empty hypothesis (a beam of 1) of each.

        Args:
            encoded: (batch, frames, width).
            lengths: (batch,) frames of each utterance.
        """
        inside = mask(lengths, encoded.shape[1])  # (batch, frames)
        weights = inside / lengths[:, None].to(encoded.dtype)  # (batch, frames), uniform at first
        hidden = encoded.new_zeros(len(encoded), 1, self.units)  # (batch, 1, units)
        context = encoded.new_zeros(len(encoded), 1, encoded.shape[2])  # (batch, 1, width)
        speech = EncodedSpeech(encoded, self.key(encoded), inside)
        return speech, DecoderState(hidden, context, weights[:, None])

    def step(self, speech: EncodedSpeech, state: DecoderState, symbol: Tensor) -> DecoderState:
        """The state after one more symbol (batch, beam) of each hypothesis."""
        flat, shape = (0, 1), symbol.shape  # the cell and the convolution take one batch axis
        x = self.dropout(self.embedding(symbol))  # (batch, beam, embedding)
        x = torch.cat([x, state.context], dim=-1).flatten(
            *flat
        )  # (batch * beam, embedding + width)
        hidden = self.cell(x, state.hidden.flatten(*flat))  # (batch * beam, units)
        hidden = hidden.unflatten(0, shape)  # (batch, beam, units)
        location = self.where(
            state.weights.flatten(*flat)[:, None]
        )  # (batch * beam, channels, frames)
        location = self.location(location.transpose(1, 2))  # (batch * beam, frames, attention)
        location = location.unflatten(0, shape)  # (batch, beam, frames, attention)
        query = self.query(hidden)[:, :, None]  # (batch, beam, 1, attention)
        energies = torch.tanh(speech.keys[:, None] + query + location)  # the shape of `location`
        energies = self.energy(energies)[..., 0]  # (batch, beam, frames)
        energies = energies.masked_fill(~speech.inside[:, None], IMPOSSIBLE)
        weights = energies.softmax(-1).to(hidden.dtype)  # (batch, beam, frames)
        context = weights @ speech.encoded  # (batch, beam, width)
        return DecoderState(hidden, context, weights)

    def log_probs(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Log probabilities (…, symbols) of the next symbol, from (…, units) and (…, width)."""
        x = self.dropout(torch.cat([hidden, context], dim=-1))  # (…, units + width)
        return self.output(x).log_softmax(-1)  # (…, symbols)

    def loss(
        self,
        encoded: Tensor,
        lengths: Tensor,
        targets: Tensor,
        counts: Tensor,
        *,
        smoothing: float = 0.1,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the symbols and the end (teacher forcing), summed, and their number.

        Args:
            encoded, lengths: (batch, frames, width), and the frames of each (batch,).
            targets, counts: (batch, most) symbols, any values beyond each one's count (batch,).
            smoothing: of labels: the share of a target that is spread evenly over all symbols.
        """
        known = mask(counts, targets.shape[1])  # (batch, most)
        outputs = F.pad(targets.masked_fill(~known, self.end), (0, 1), value=self.end)
        inputs = F.pad(outputs[:, :-1], (1, 0), value=self.end)  # (batch, most + 1) both
        speech, state = self.start(encoded, lengths)
        hidden, contexts = [], []
        for symbol in inputs.unbind(1):
            state = self.step(speech, state, symbol[:, None])
            hidden.append(state.hidden[:, 0])
            contexts.append(state.context[:, 0])
        log_probs = self.log_probs(torch.stack(hidden, 1), torch.stack(contexts, 1))
        counted = mask(counts + 1, outputs.shape[1])  # the symbols and one end
        log_probs, truth = log_probs[counted], outputs[counted]  # (counted, symbols), (counted,)
        right = log_probs.gather(1, truth[:, None])[:, 0]  # (counted,)
        loss = -(1 - smoothing) * right.sum() - smoothing * log_probs.mean(1).sum()
        return loss, counted.sum()


@dataclass(frozen=True)
class _FinishedBeam:
    """The best finished hypotheses of each utterance, best first."""

    score: Tensor  # (batch, beam)
    symbols: Tensor  # (batch, beam, most)
    size: Tensor  # (batch, beam)

    @classmethod
    def empty(cls, symbols: Tensor, beam: int, dtype: torch.dtype) -> _FinishedBeam:
        """No finished hypothesis yet; open ones have `symbols` (batch, 1, most)."""
        size = torch.zeros(len(symbols), beam, dtype=torch.long, device=symbols.device)
        return cls(
            size.new_full(size.shape, IMPOSSIBLE, dtype=dtype), symbols.expand(-1, beam, -1), size
        )

    def hypotheses(self) -> list[list[Hypothesis]]:
        """The hypotheses of each utterance, best first."""
        return [
            [
                Hypothesis(symbols[:size].tolist(), score)
                for symbols, size, score in zip(*utterance, strict=True)
                if score > IMPOSSIBLE
            ]
            for utterance in zip(
                self.symbols.cpu(), self.size.tolist(), self.score.tolist(), strict=True
            )
        ]

    def merge(self, score: Tensor, symbols: Tensor, size: int) -> _FinishedBeam:
        """The best of these and of others (batch, any number), all of one size."""
        best, place = torch.cat([self.score, score], 1).topk(self.score.shape[1])
        rows = torch.arange(len(place), device=place.device)[:, None]
        symbols = torch.cat([self.symbols, symbols], 1)[rows, place]
        sizes = torch.cat([self.size, torch.full_like(score, size, dtype=torch.long)], 1)
        return _FinishedBeam(best, symbols, sizes[rows, place])


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
    """The most probable outputs of each utterance by decoder and CTC together, best first.

    An open hypothesis scores (1 − w) · log P(decoder) + w · log P(CTC's output begins with it); for
    a finished one the second term is w · log P(CTC's output is it). No further symbol raises a
    score, so the search of an utterance ends when no open hypothesis is better than the `beam`-th
    finished one; none gets longer than there are frames. There is no length
    reward: CTC gives outputs that leave speech out a low score.

    Args:
        encoded, lengths: (batch, frames, width), and the frames of each (batch,).
        ctc_log_probs: (batch, frames, symbols), blank = the decoder's end; None with weight 0.
        beam: hypotheses kept, of each utterance.
        ctc_weight: w, from 0 (the decoder alone) to 1; anything else is an InputError.

    >>> decoder, speech = AttentionDecoder(16, 5, end=0).eval(), torch.zeros(1, 3, 16)
    >>> ctc = torch.eye(5)[[2, 0, 4]].log()[None]  # CTC is sure of 2, blank, 4
    >>> joint_search(decoder, speech, torch.tensor([3]), ctc, ctc_weight=1.0)[0][0].symbols
    [2, 4]
    """
    batch, most = encoded.shape[:2]
    device, end = encoded.device, decoder.end
    rows = torch.arange(batch, device=device)[:, None]
    scorer = _ctc_scorer(ctc_log_probs, lengths, end, ctc_weight)
    prefixes = scorer.empty() if scorer else None
    speech, state = decoder.start(encoded, lengths)
    last = torch.full((batch, 1), end, device=device)
    decoder_scores = encoded.new_zeros(batch, 1)  # the decoder's log probabilities alone
    scores = torch.zeros(batch, 1, device=device)  # of the open hypotheses; −inf: dropped
    symbols = torch.zeros(batch, 1, most, dtype=torch.long, device=device)
    finished = _FinishedBeam.empty(symbols, beam, decoder_scores.dtype)
    for size in range(most + 1):
        state = decoder.step(speech, state, last)
        log_probs = decoder_scores[..., None] + decoder.log_probs(state.hidden, state.context)
        ctc_scores = scorer.scores(prefixes) if scorer and prefixes else None
        total = _weigh(log_probs, ctc_scores, ctc_weight)  # (batch, beam, symbols)
        total = total.masked_fill((scores == IMPOSSIBLE)[..., None], IMPOSSIBLE)
        finished = finished.merge(total[..., end], symbols, size)
        total[..., end] = IMPOSSIBLE
        total = total.masked_fill((lengths <= size)[:, None, None], IMPOSSIBLE)
        scores, place = total.flatten(1).topk(min(beam, total[0].numel()))
        scores = scores.masked_fill(scores <= finished.score[:, -1:], IMPOSSIBLE)
        if size == most or not (scores > IMPOSSIBLE).any():
            break
        hypothesis, last = place // total.shape[2], place % total.shape[2]
        symbols = symbols[rows, hypothesis]
        symbols[:, :, size] = last
        decoder_scores = log_probs.flatten(1).gather(1, place)
        state = state.select(hypothesis)
        if scorer and prefixes:
            prefixes = scorer.extend(prefixes, hypothesis, last)
    return finished.hypotheses()


def _weigh(decoder: Tensor, ctc: Tensor | None, weight: float) -> Tensor:
    """(1 − weight) · decoder + weight · ctc, which may be −inf; the decoder's without CTC."""
    if ctc is None:
        return decoder
    # With weight 1 the product 0 · −inf would be NaN.
    return ctc if weight == 1 else (1 - weight) * decoder + weight * ctc


def _ctc_scorer(
    log_probs: Tensor | None, lengths: Tensor, end: int, weight: float
) -> PrefixScorer | None:
    """The scorer of prefixes by CTC; None with weight 0."""
    if not 0 <= weight <= 1 or (weight and log_probs is None):
        raise InputError(f"ctc_weight is {weight}, but must be 0 to 1, and 0 without CTC")
    if not weight or log_probs is None:
        return None
    return PrefixScorer(log_probs, lengths, blank=end, end=end)
