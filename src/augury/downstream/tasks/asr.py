"""Speech recognition: phones, characters or words, by CTC and an attention decoder together.

Convolutions, recurrent and dense layers (CRDNN) on the features, a location-aware decoder,
0.2 · CTC + 0.8 · cross-entropy, and a beam search that scores with both (Watanabe et al. 2017).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from augury.corpus.corpus import Corpus, Rejected
from augury.downstream.features import Batch
from augury.downstream.models.attention import AttentionDecoder, joint_search
from augury.downstream.models.crdnn import Crdnn
from augury.downstream.result import Confusion, Metric, Mistake, Outcome
from augury.downstream.scores import transcripts
from augury.downstream.scores.ctc import greedy_search, prefix_beam_search
from augury.downstream.segments import describe, error_interval, sound_uri, with_label
from augury.downstream.settings import AsrSettings
from augury.downstream.splits import TEST, TRAIN
from augury.downstream.tasks.task import Head, Predict, Task

UNITS = {"phones": "PER", "characters": "CER", "words": "WER"}
#: Utterances that went most wrong, that a report shows.
WORST = 10
#: CTC's blank, which is also where the decoder begins and ends: no symbol of a transcript.
BLANK = 0


class Recogniser(Head):
    """A CRDNN with CTC, and an attention decoder on it."""

    def __init__(self, width: int, symbols: int, settings: AsrSettings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = Crdnn(
            width,
            channels=settings.channels,
            convolutions=settings.convolutions,
            pools=settings.pools,
            projection=settings.projection,
            time_pool=settings.time_pool,
            recurrent=settings.recurrent,
            recurrent_layers=settings.recurrent_layers,
            recurrent_units=settings.recurrent_units,
            dense_layers=settings.dense_layers,
            dimensions=settings.dimensions,
            dropout=settings.dropout,
        )
        self.ctc = nn.Linear(self.encoder.width, symbols)
        self.decoder = (
            AttentionDecoder(
                self.encoder.width, symbols, end=BLANK, units=settings.decoder_units,
                embedding=settings.embedding, attention=settings.attention,
                dropout=settings.dropout,
            )
            if settings.decoder == "attention"
            else None
        )  # fmt: skip

    def encode(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, frames, dims), their number (batch,), CTC's log probabilities of symbols."""
        encoded, lengths = self.encoder(features, batch.lengths)
        return encoded, lengths, self.ctc(encoded).float().log_softmax(-1)

    def losses(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """CTC's and the decoder's losses a symbol; in eval mode CTC's errors too, greedily."""
        tokens, counts = batch.targets["tokens"], batch.targets["count"]
        encoded, lengths, log_probs = self.encode(features, batch)
        ctc = F.ctc_loss(
            log_probs.transpose(0, 1), tokens, lengths, counts, BLANK, "sum", zero_infinity=False
        )
        symbols = counts.sum().to(ctc.dtype)
        sums, of = [ctc], [symbols]
        if self.decoder:
            loss, count = self.decoder.loss(
                encoded, lengths, tokens, counts, smoothing=self.settings.smoothing
            )
            sums.append(loss.float())
            of.append(count.to(ctc.dtype))
        errors, known = ctc.new_zeros(()), ctc.new_zeros(())
        if not self.training:
            found = greedy_search(log_probs, lengths, blank=BLANK)
            truth = [row[:n] for row, n in zip(tokens.tolist(), counts.tolist(), strict=True)]
            errors += sum(map(edit_distance, truth, found))
            known = symbols
        return torch.stack([*sums, errors]), torch.stack([*of, known])

    def predict(self, features: Tensor, batch: Batch) -> list[list[int]]:
        """The symbols of each utterance."""
        encoded, lengths, log_probs = self.encode(features, batch)
        beam = self.settings.beam
        if self.decoder is None:
            found = prefix_beam_search(log_probs, lengths, beam=beam, blank=BLANK)
        else:
            weight = self.settings.beam_ctc_weight
            found = joint_search(
                self.decoder, encoded, lengths, log_probs, beam=beam, ctc_weight=weight
            )
        return [one[0].symbols if one else [] for one in found]


def edit_distance(truth: list[int], found: list[int]) -> int:
    """The least number of insertions, deletions and substitutions."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(truth, found)


class Asr(Task):
    """What was said."""

    Settings: ClassVar = AsrSettings
    metric = Metric("PER", "phone error rate")
    separate = True

    @classmethod
    def select_segments(
        cls, settings: AsrSettings, corpus: Corpus
    ) -> tuple[Corpus, list[Rejected]]:
        """The utterances that have a transcript."""
        if settings.joined:
            corpus = join_rows(corpus, settings.label)
        found, rejected = with_label(corpus, settings.label, ())
        good = np.ones(len(found), bool)
        for i, text in enumerate(found.label(settings.label).tolist()):
            try:
                reason, detail = "no-label", "nothing is left of its transcript"
                good[i] = bool(settings.tokens(text))
            except ValueError as error:  # a phone that can't be folded
                good[i], reason, detail = False, "unknown-symbol", str(error)
            if not good[i]:
                rejected.append(found.reject(i, reason, f"{describe(found, i)}: {detail}"))
        return found.select(good), rejected

    def __init__(
        self, settings: AsrSettings, corpus: Corpus, split: NDArray, frames: NDArray
    ) -> None:
        super().__init__(settings, corpus, split, frames)
        attention = settings.decoder == "attention"
        self.loss_names = ["ctc", *(["attention"] if attention else []), "error"]
        self.loss_weights = [settings.ctc_weight, 1 - settings.ctc_weight] if attention else [1.0]
        self.loss_weights += [0.0]
        self.metric = Metric(UNITS[settings.units], f"error rate of {settings.units}")
        self.tokens = [settings.tokens(one) for one in corpus.label(settings.label).tolist()]
        # Those of all parts: in another fold others may be trained on.
        self.symbols = ("", *sorted(set().union(*self.tokens)))  # the first is the blank
        self.code = {name: k for k, name in enumerate(self.symbols)}
        trained, tested = (self._count_tokens(split == name) for name in (TRAIN, TEST))
        unknown = {name: count for name, count in tested.items() if name not in trained}
        self.warnings = [
            f"{name!r} is {count} times in the transcripts tested on, but never trained on: these "
            "are errors whatever is recognised"
            for name, count in unknown.items()
        ]
        if settings.exclude:
            everything = replace(settings, exclude=())
            texts = set(corpus.label(settings.label).tolist())
            there = {token for text in texts for token in everything.tokens(text)}
            self.warnings += [
                f"no transcript has the {name!r} that is to be left out"
                for name in settings.exclude
                if name not in there
            ]

    def _count_tokens(self, chosen: NDArray[np.bool_]) -> Counter[str]:
        places = np.flatnonzero(chosen).tolist()
        return Counter(token for place in places for token in self.tokens[place])

    def untrainable(self) -> list[tuple[int, str, str]]:
        """Utterances too short for CTC to emit their transcripts."""
        found = []
        for place, tokens in enumerate(self.tokens):
            wanted = len(tokens) + sum(a == b for a, b in pairwise(tokens))
            there = -(-int(self.frames[place]) // self.settings.time_pool)
            if there < wanted:
                detail = (
                    f"{describe(self.corpus, place)}: {there} frames for {wanted} symbols and "
                    "blanks; CTC can't emit them: see whether the transcript is this recording's"
                )
                found.append((place, "too-short-for-transcript", detail))
        return found

    def targets(self, segments: NDArray[np.int64]) -> dict[str, Tensor]:
        """Codes of the symbols (utterances, symbols), 0 beyond each one's, and their number."""
        codes = [[self.code[one] for one in self.tokens[place]] for place in segments.tolist()]
        count = torch.tensor([len(one) for one in codes])
        tokens = torch.zeros(len(codes), int(count.max()), dtype=torch.long)
        for row, one in enumerate(codes):
            tokens[row, : len(one)] = torch.tensor(one)
        return {"tokens": tokens, "count": count}

    def head(self, width: int) -> Recogniser:
        """The recogniser."""
        return Recogniser(width, len(self.symbols), self.settings)

    def score(self, predict: Predict, seed: int) -> Outcome:
        """The error rate, with insertions, deletions and substitutions."""
        places, predicted = predict(TEST)
        truth = [list(self.tokens[place]) for place in places.tolist()]
        found = [[self.symbols[one] for one in symbols] for symbols in predicted]
        result = transcripts.error_rate(truth, found)
        errors = np.array([one.total for one in result.utterances])
        length = np.array([one.length for one in result.utterances])
        kinds = ("substitutions", "deletions", "insertions")
        scores = {kind: getattr(result, kind) / result.length for kind in kinds}
        order = np.lexsort([-errors, -errors / length])[:WORST]
        worst = tuple(
            Mistake(
                describe(self.corpus, int(places[k])),
                f"{errors[k]} errors in {length[k]}",
                " ".join(truth[k]),
                " ".join(found[k]),
                sound_uri(self.corpus, int(places[k])),
            )
            for k in order.tolist()
        )
        about: dict[str, Any] = {"utterances": len(truth), "symbols": result.length}
        return Outcome(
            seed, result.rate, error_interval(self.corpus, places, errors, length), scores,
            confusion=_confusion(result.confusions), mistakes=worst, about=about,
        )  # fmt: skip


def join_rows(corpus: Corpus, column: str) -> Corpus:
    """Recordings as utterances: the labels of their rows, in order of time, are the transcript."""
    rows = corpus.by_recording()
    labels = corpus.label(column)
    ordered = [one[np.argsort(np.nan_to_num(corpus.start[one]), kind="stable")] for one in rows]
    texts = np.array([" ".join(labels[one]) for one in ordered], object)
    first = np.array([one[0] for one in ordered])
    whole = corpus.select(first)
    nowhere = np.full(len(whole), np.nan)
    return replace(whole, start=nowhere, end=nowhere, columns=whole.columns | {column: texts})


def _confusion(confusions: Any) -> Confusion:
    names = sorted({name for pair in confusions for name in pair} - {""})
    names = [*names, ""]
    at = {name: k for k, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for (truth, found), count in confusions.items():
        counts[at[truth], at[found]] += count
    return Confusion(tuple(names), tuple(map(tuple, counts.tolist())))
