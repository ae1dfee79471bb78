"""Decoding with CTC: what a model's frames say, alone or together with an attention decoder.

A frame emits a symbol or the blank. An alignment, one of them for each frame, collapses to its
output when repetitions are merged and then blanks left out. A hypothesis is as probable as all
alignments that collapse to it together.

Log probabilities come as (batch, frames, symbols), natural logarithms, and −inf is welcome; what
is computed has their dtype. Frames beyond an utterance's length never count, whatever they hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augury.errors import InputError
from augury.learning.layers import mask

IMPOSSIBLE = -torch.inf


@dataclass(frozen=True)
class Hypothesis:
    """What may have been said."""

    symbols: list[int]  # no blanks
    log_prob: float


@torch.no_grad()
def greedy_search(log_probs: Tensor, lengths: Tensor, *, blank: int = 0) -> list[list[int]]:
    """The output of each utterance's most probable alignment, which need not be the best output.

    Args:
        log_probs: (batch, frames, symbols).
        lengths: (batch,) frames of each utterance.
        blank: which symbol stands for none.
    """
    best = _pad_with_blanks(log_probs, lengths, blank).argmax(-1)  # (batch, frames)
    kept = best != blank
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    return [b[k].tolist() for b, k in zip(best.cpu(), kept.cpu(), strict=True)]


# ------------------------------------------------------------------------------ beam search


@torch.no_grad()
def prefix_beam_search(
    log_probs: Tensor, lengths: Tensor, *, beam: int = 16, blank: int = 0
) -> list[list[Hypothesis]]:
    """The most probable outputs of each utterance, best first (Graves 2012; Hannun et al. 2014).

    Frame by frame the `beam` prefixes with the most probable alignments are kept. A beam as wide as
    there are prefixes finds everything; a narrower one loses alignments on the way, so a
    hypothesis's log_prob is never above the true one.

    Args:
        log_probs: (batch, frames, symbols).
        lengths: (batch,) frames of each utterance.
        beam: prefixes kept, of each utterance.
        blank: which symbol stands for none.

    Returns:
        At most `beam` hypotheses of each utterance, all different, none of probability 0; an empty
        list where all are.
    """
    if beam < 1:
        raise InputError(f"beam is {beam}, but at least one prefix must be kept")
    log_probs = _pad_with_blanks(log_probs, lengths, blank)
    kept = _empty_beam(log_probs, beam)
    for frame in log_probs.unbind(1):
        kept = _advance(kept, frame, blank)
    return _hypotheses(kept)


@dataclass(frozen=True)
class _Beam:
    """Prefixes and how probable the alignments so far are that collapse to them.

    A place where both are −inf holds no prefix: it waits to be given one.
    """

    symbols: Tensor  # (batch, beam, frames), anything beyond a prefix's size
    size: Tensor  # (batch, beam)
    last: Tensor  # (batch, beam) the last symbol; of the empty prefix any
    blank: Tensor  # (batch, beam) log probability of the alignments that end with the blank
    symbol: Tensor  # (batch, beam) of those that end with the last symbol
    starts: Tensor  # (batch, beam, beam) whether the first prefix starts the second, or is it


def _empty_beam(log_probs: Tensor, beam: int) -> _Beam:
    batch, frames, _ = log_probs.shape
    places = torch.zeros(batch, beam, dtype=torch.long, device=log_probs.device)
    symbol = log_probs.new_full((batch, beam), IMPOSSIBLE)
    before = symbol.clone()
    before[:, 0] = 0
    starts = torch.zeros(batch, beam, beam, dtype=torch.bool, device=log_probs.device)
    starts[:, 0, 0] = True
    symbols = places[..., None].repeat(1, 1, frames)
    return _Beam(symbols, places, places, before, symbol, starts)


def _advance(kept: _Beam, frame: Tensor, blank: int) -> _Beam:
    """The beam one frame, (batch, symbols), later."""
    batch, count = frame.shape
    beam = kept.size.shape[1]
    total = torch.logaddexp(kept.blank, kept.symbol)
    again = frame.gather(1, kept.last)  # the last symbol emitted once more

    # One symbol longer. The same symbol is a new one only after a blank, the blank never.
    longer = total[..., None] + frame[:, None]  # (batch, beam, symbols)
    longer.scatter_(2, kept.last[..., None], (kept.blank + again)[..., None])
    longer[..., blank] = IMPOSSIBLE
    longer = longer.flatten(1)

    # A longer prefix may be in the beam already: it counts once, there. Without a parent in the
    # beam a prefix gets what the blank adds: nothing.
    one_more = kept.size[:, :, None] + 1 == kept.size[:, None]
    has_parent, parent = (kept.starts & one_more).max(1)
    there = parent * count + torch.where(has_parent, kept.last, blank)
    symbol = torch.logaddexp(kept.symbol + again, longer.gather(1, there))
    longer.scatter_(1, there, IMPOSSIBLE)
    ended = total + frame[:, blank, None]

    best, place = torch.cat([torch.logaddexp(ended, symbol), longer], 1).topk(beam)
    stays = place < beam
    origin = torch.where(stays, place, (place - beam) // count)
    new = (place - beam) % count  # of those that stay, anything: beyond the size
    rows = torch.arange(batch, device=frame.device)[:, None]
    before = kept.size[rows, origin]
    symbols = kept.symbols[rows, origin].scatter_(2, before[..., None], new[..., None])
    size = before + ~stays

    # i, maybe longer by a symbol, starts j, maybe longer too, only if it did before, and if longer,
    # then by j's next symbol. Comparing whole prefixes would cost a beam² · size each frame.
    following = symbols.gather(2, before[:, None].expand(-1, beam, -1)).mT  # (batch, i, j)
    agrees = (following == new[:, :, None]) & (before[:, :, None] < size[:, None])
    starts = kept.starts[rows[..., None], origin[:, :, None], origin[:, None]]
    starts &= stays[:, :, None] | agrees
    alive = best > IMPOSSIBLE  # else a place may hold a prefix twice
    starts &= alive[:, :, None] & alive[:, None]

    return _Beam(
        symbols,
        size,
        torch.where(stays, kept.last[rows, origin], new),
        torch.where(stays, ended[rows, origin], IMPOSSIBLE),
        torch.where(stays, symbol[rows, origin], best),
        starts,
    )


def _hypotheses(kept: _Beam) -> list[list[Hypothesis]]:
    total, order = torch.logaddexp(kept.blank, kept.symbol).sort(descending=True, stable=True)
    rows = torch.arange(len(order), device=order.device)[:, None]
    size, symbols = kept.size[rows, order].tolist(), kept.symbols[rows, order].cpu()
    return [
        [
            Hypothesis(prefix[:n].tolist(), log_prob)
            for prefix, n, log_prob in zip(*utterance, strict=True)
            if log_prob > IMPOSSIBLE
        ]
        for utterance in zip(symbols, size, total.tolist(), strict=True)
    ]


# ----------------------------------------------------------------- with an attention decoder


@dataclass(frozen=True)
class Prefixes:
    """Hypotheses of a `PrefixScorer`, and its forward variables: how probable each is by when.

    Time goes from 0, before the first frame, to the number of frames.
    """

    last: Tensor  # (batch, beam) the last symbol; of the empty hypothesis the blank
    blank: Tensor  # (batch, beam, 1 + frames) alignments up to then that end with the blank: γᵇ
    symbol: Tensor  # (batch, beam, 1 + frames) those that end with the last symbol: γⁿ


class PrefixScorer:
    """CTC's opinion of an attention decoder's hypotheses (Watanabe et al. 2017, algorithm 2).

    The hypotheses' symbols stay with the decoder. A step of its search, from one hypothesis a
    batch, the empty one, to as many as it likes:

        prefixes = scorer.empty()
        scores = scorer.scores(prefixes)  # with the decoder's own: which hypotheses go on, and how
        prefixes = scorer.extend(prefixes, hypothesis, symbol)
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, *, blank: int = 0, end: int) -> None:
        """Log probabilities (batch, frames, symbols) of utterances of `lengths` (batch,) frames.

        `end` is the decoder's end of sentence. CTC never emits it: what probability its frames give
        to it is lost, so train them without, or let `end` be the blank.
        """
        log_probs = _pad_with_blanks(log_probs, lengths, blank)
        if not 0 <= end < log_probs.shape[2]:
            raise InputError(f"end is {end}, but it is one of {log_probs.shape[2]} symbols")
        self.blank, self.end = blank, end
        self.emitted = log_probs.mT.contiguous()  # (batch, symbols, frames)

    @torch.no_grad()
    def empty(self) -> Prefixes:
        """The empty hypothesis of each utterance: a beam of one."""
        before = self.emitted.new_zeros(len(self.emitted), 1, 1)
        blank = torch.cat([before, self.emitted[:, [self.blank]].cumsum(-1)], -1)
        last = torch.full(blank.shape[:2], self.blank, device=blank.device)
        return Prefixes(last, blank, torch.full_like(blank, IMPOSSIBLE))

    @torch.no_grad()
    def scores(self, prefixes: Prefixes) -> Tensor:
        """(batch, beam, symbols) log P(CTC's output begins with hypothesis + symbol).

        At `end` that the output is the hypothesis. −inf at the blank, unless that is `end`. The
        frames after the prefix count as 1, as they do if each one's probabilities sum to it.
        """
        total = torch.logaddexp(prefixes.blank, prefixes.symbol)
        # Over the frames in which the symbol can begin. Not as a product of matrices: the best
        # frames of a hypothesis and of a symbol may be too far apart for any one scale.
        began = total[:, :, None, :-1] + self.emitted[:, None]  # (batch, beam, symbols, frames)
        scores = began.logsumexp(-1)
        again = prefixes.blank[..., :-1] + _rows(self.emitted, prefixes.last)
        scores.scatter_(2, prefixes.last[..., None], again.logsumexp(-1, keepdim=True))
        scores[..., self.blank] = IMPOSSIBLE
        scores[..., self.end] = total[..., -1]
        return scores

    @torch.no_grad()
    def extend(self, prefixes: Prefixes, hypothesis: Tensor, symbol: Tensor) -> Prefixes:
        """Some of the hypotheses, each with one symbol more.

        Args:
            prefixes: of any beam.
            hypothesis: (batch, new beam) which of them each comes from.
            symbol: (batch, new beam) what is added. Nothing follows `end` or the blank: all scores
                of such a hypothesis are −inf, so they can fill a place that nothing is wanted in.
        """
        blank, before = _rows(prefixes.blank, hypothesis), _rows(prefixes.symbol, hypothesis)
        repeated = prefixes.last.gather(1, hypothesis) == symbol
        # φ: the same symbol is a new one only after a blank.
        start = torch.logaddexp(blank, before.masked_fill(repeated[..., None], IMPOSSIBLE))
        never = (symbol == self.blank) | (symbol == self.end)
        emitted = _rows(self.emitted, symbol).masked_fill(never[..., None], IMPOSSIBLE)
        silent = self.emitted[:, self.blank, None]  # (batch, 1, frames)
        ends_symbol = [torch.full_like(start[..., 0], IMPOSSIBLE)]
        ends_blank = [ends_symbol[0]]
        for begins, y, none in zip(
            start[..., :-1].unbind(-1), emitted.unbind(-1), silent.unbind(-1), strict=True
        ):
            ends_blank.append(torch.logaddexp(ends_blank[-1], ends_symbol[-1]) + none)
            ends_symbol.append(torch.logaddexp(ends_symbol[-1], begins) + y)
        return Prefixes(symbol, torch.stack(ends_blank, -1), torch.stack(ends_symbol, -1))


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Of (batch, n, frames) those at index (batch, m): (batch, m, frames)."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]


def _pad_with_blanks(log_probs: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """The log probabilities with nothing but blanks after each end, which changes no output."""
    batch, frames, symbols = log_probs.shape
    if lengths.shape != (batch,):
        raise InputError(f"lengths has shape {tuple(lengths.shape)}, but of {batch} utterances")
    if not 0 <= blank < symbols:
        raise InputError(f"blank is {blank}, but it is one of {symbols} symbols")
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= frames:
        raise InputError(
            f"lengths are {int(lengths.min())} to {int(lengths.max())} frames, but there are "
            f"{frames}; they count log_probs' frames, not samples"
        )
    silence = log_probs.new_full((symbols,), IMPOSSIBLE)
    silence[blank] = 0
    inside = mask(lengths.to(log_probs.device), frames)
    padded = torch.where(inside[..., None], log_probs, silence)
    if (wrong := padded.isnan().any(-1).any(-1)).any():
        raise InputError(
            f"log_probs of utterance {int(wrong.nonzero()[0])} hold NaN; look for what made them"
        )
    return padded
