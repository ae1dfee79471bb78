"""CTC decoding: greedy and prefix beam search, and scores for an attention decoder's hypotheses.

A frame emits a symbol or the blank. An alignment, one symbol or blank for each frame, collapses to
an output: repetitions are merged, then blanks removed. The probability of an output is the sum over
all alignments that collapse to it.

Log probabilities are (batch, frames, symbols), natural logarithms, −inf allowed; results have their
dtype. Frames beyond an utterance's length have no effect, whatever values they have.
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
    """A possible output, and how probable it is."""

    symbols: list[int]  # without blanks
    log_prob: float  # natural logarithm


@torch.no_grad()
def greedy_search(log_probs: Tensor, lengths: Tensor, *, blank: int = 0) -> list[list[int]]:
    """The output of each utterance's most probable alignment: fast, but not always the best output.

    Args:
        log_probs: (batch, frames, symbols).
        lengths: (batch,) frames of each utterance.
        blank: the symbol that is the blank.

    Raises:
        InputError: shapes, lengths or a blank that do not fit, or NaN inside an utterance.

    >>> greedy_search(torch.eye(4)[[1, 1, 0, 1, 3]].log()[None], torch.tensor([5]))
    [[1, 1, 3]]
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

    After each frame the `beam` most probable prefixes are kept. A beam as wide as the number of
    prefixes makes the search exact; a narrower one loses alignments on the way, so that a
    hypothesis's log_prob is the true one or less.

    Args:
        log_probs: (batch, frames, symbols).
        lengths: (batch,) frames of each utterance.
        beam: prefixes kept for each utterance.
        blank: the symbol that is the blank.

    Returns:
        At most `beam` hypotheses for each utterance, all different, with probabilities above 0; an
        empty list where there are none.

    Raises:
        InputError: as `greedy_search`, or a beam below 1.

    Here the best alignment is two blanks (0.36), but more probable is 1 (0.16 + 0.24 + 0.24):

    >>> log_probs = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]], dtype=torch.float64).log()
    >>> best = prefix_beam_search(log_probs, torch.tensor([2]))[0][0]
    >>> best.symbols, round(best.log_prob, 4)  # log 0.64
    ([1], -0.4463)
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
    """Prefixes, and the log probabilities of the alignments so far that collapse to them.

    A place where `blank` and `symbol` are both −inf is empty.
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

    # Prefixes one symbol longer. The last symbol counts as a new one only after a blank.
    longer = total[..., None] + frame[:, None]  # (batch, beam, symbols)
    longer.scatter_(2, kept.last[..., None], (kept.blank + again)[..., None])
    longer[..., blank] = IMPOSSIBLE
    longer = longer.flatten(1)

    # A longer prefix may be in the beam already: its probability is added there. A prefix whose
    # parent is not in the beam gets the entry of the blank, which is −inf.
    one_more = kept.size[:, :, None] + 1 == kept.size[:, None]
    has_parent, parent = (kept.starts & one_more).max(1)
    extended = parent * count + torch.where(has_parent, kept.last, blank)  # places in `longer`
    symbol = torch.logaddexp(kept.symbol + again, longer.gather(1, extended))
    longer.scatter_(1, extended, IMPOSSIBLE)
    ended = total + frame[:, blank, None]

    best, place = torch.cat([torch.logaddexp(ended, symbol), longer], 1).topk(beam)
    stays = place < beam
    origin = torch.where(stays, place, (place - beam) // count)
    new = (place - beam) % count  # meaningless for prefixes that stay: beyond their size
    rows = torch.arange(batch, device=frame.device)[:, None]
    before = kept.size[rows, origin]
    symbols = kept.symbols[rows, origin].scatter_(2, before[..., None], new[..., None])
    size = before + ~stays

    # Prefix i starts prefix j (both maybe one symbol longer now) only if it did before, and, if i
    # got longer, if its new symbol is j's next. Comparing whole prefixes would cost beam² · size.
    following = symbols.gather(2, before[:, None].expand(-1, beam, -1)).mT  # (batch, i, j)
    agrees = (following == new[:, :, None]) & (before[:, :, None] < size[:, None])
    starts = kept.starts[rows[..., None], origin[:, :, None], origin[:, None]]
    starts &= stays[:, :, None] | agrees
    used = best > IMPOSSIBLE  # an empty place may repeat a prefix of another
    starts &= used[:, :, None] & used[:, None]

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
    """Hypotheses of a `PrefixScorer`, and their forward variables after each number of frames."""

    last: Tensor  # (batch, beam) the last symbol; of the empty hypothesis the blank
    blank: Tensor  # (batch, beam, 1 + frames) alignments that end with the blank so far: γᵇ
    symbol: Tensor  # (batch, beam, 1 + frames) those that end with the last symbol: γⁿ


class PrefixScorer:
    """CTC scores of an attention decoder's hypotheses (Watanabe et al. 2017, algorithm 2).

    The search keeps the symbols. It starts from `empty`, one empty hypothesis for each utterance;
    each step takes `scores`, adds the decoder's own, and selects what to `extend`:

    >>> log_probs = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]], dtype=torch.float64).log()
    >>> scorer = PrefixScorer(log_probs, torch.tensor([2]), end=0)
    >>> prefixes, zero, one = scorer.empty(), torch.tensor([[0]]), torch.tensor([[1]])
    >>> prefixes = scorer.extend(prefixes, hypothesis=zero, symbol=one)
    >>> scorer.scores(prefixes).exp()[0, 0, 0]  # P(the output is [1])
    tensor(0.6400, dtype=torch.float64)
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, *, blank: int = 0, end: int) -> None:
        """A scorer of utterances with log probabilities (batch, frames, symbols).

        Args:
            log_probs: (batch, frames, symbols).
            lengths: (batch,) frames of each utterance.
            blank: the symbol that is the blank.
            end: the decoder's end of sentence, best the blank. CTC never emits another one: any
                probability that frames give to it is lost.
        """
        log_probs = _pad_with_blanks(log_probs, lengths, blank)
        if not 0 <= end < log_probs.shape[2]:
            raise InputError(
                f"end is {end}, but must be one of {log_probs.shape[2]} symbols, from 0"
            )
        self.blank, self.end = blank, end
        self.emitted = log_probs.mT.contiguous()  # (batch, symbols, frames)

    @torch.no_grad()
    def empty(self) -> Prefixes:
        """The empty hypothesis of each utterance: a beam of 1."""
        before = self.emitted.new_zeros(len(self.emitted), 1, 1)
        blank = torch.cat([before, self.emitted[:, [self.blank]].cumsum(-1)], -1)
        last = torch.full(blank.shape[:2], self.blank, device=blank.device)
        return Prefixes(last, blank, torch.full_like(blank, IMPOSSIBLE))

    @torch.no_grad()
    def scores(self, prefixes: Prefixes) -> Tensor:
        """(batch, beam, symbols) log P(CTC's output begins with hypothesis + symbol).

        At `end`: log P(the output is the hypothesis). −inf at the blank, unless that is `end`.
        Assumes that the probabilities of a frame sum to 1.
        """
        total = torch.logaddexp(prefixes.blank, prefixes.symbol)
        # A sum over the frames in which the symbol can begin. As a product of matrices it would
        # underflow: the best frames of a hypothesis and of a symbol may differ in scale too much.
        began = total[:, :, None, :-1] + self.emitted[:, None]  # (batch, beam, symbols, frames)
        scores = began.logsumexp(-1)
        again = prefixes.blank[..., :-1] + _rows(self.emitted, prefixes.last)
        scores.scatter_(2, prefixes.last[..., None], again.logsumexp(-1, keepdim=True))
        scores[..., self.blank] = IMPOSSIBLE
        scores[..., self.end] = total[..., -1]
        return scores

    @torch.no_grad()
    def extend(self, prefixes: Prefixes, hypothesis: Tensor, symbol: Tensor) -> Prefixes:
        """Hypotheses with one more symbol each.

        Args:
            prefixes: of any beam.
            hypothesis: (batch, new beam) the place in `prefixes` that each is made from.
            symbol: (batch, new beam) the symbol to add. After `end` or the blank all scores of a
                hypothesis are −inf, so either can fill a place of the beam that is not needed.
        """
        blank, before = _rows(prefixes.blank, hypothesis), _rows(prefixes.symbol, hypothesis)
        repeated = prefixes.last.gather(1, hypothesis) == symbol
        # φ: a repeated symbol counts as a new one only after a blank.
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
    """The rows of x (batch, n, frames) at `index` (batch, m): (batch, m, frames)."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]


def _pad_with_blanks(log_probs: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """The log probabilities with certain blanks after each utterance, which change no output."""
    batch, frames, symbols = log_probs.shape
    if lengths.shape != (batch,):
        raise InputError(
            f"lengths has shape {tuple(lengths.shape)}, but there are {batch} utterances"
        )
    if not 0 <= blank < symbols:
        raise InputError(f"blank is {blank}, but must be one of {symbols} symbols, from 0")
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
