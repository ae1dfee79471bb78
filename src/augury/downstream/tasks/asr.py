"""Speech recognition: phones, characters or words, by CTC and an attention decoder together.

The model is a CRDNN (convolutions, recurrent and dense layers) with a location-aware attention
decoder. The loss is 0.2 · CTC + 0.8 · cross-entropy of the decoder; the beam search scores with
both (Watanabe et al. 2017).
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
from augury.errors import InputError

UNITS = {"phones": "PER", "characters": "CER", "words": "WER"}
#: Number of the worst utterances that the report shows.
WORST = 10
#: CTC's blank, which is also the decoder's start and end; no symbol of a transcript.
BLANK = 0


class Recogniser(Head):
    """A CRDNN with an output layer for CTC and, if the settings say so, an attention decoder."""

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
        """Encoded frames, their numbers (batch,), and CTC's log probabilities of symbols."""
        encoded, lengths = self.encoder(features, batch.lengths)  # (batch, frames, dimensions)
        log_probs = self.ctc(encoded).float().log_softmax(-1)  # (batch, frames, symbols)
        return encoded, lengths, log_probs

    def losses(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The losses of CTC and of the decoder, and in eval mode the errors of greedy CTC search.

        The counts are numbers of symbols.
        """
        tokens, counts = batch.targets["tokens"], batch.targets["count"]
        encoded, lengths, log_probs = self.encode(features, batch)
        ctc = F.ctc_loss(
            log_probs.transpose(0, 1), tokens, lengths, counts, BLANK, "sum", zero_infinity=False
        )
        symbols = counts.sum().to(ctc.dtype)
        sums, numbers = [ctc], [symbols]
        if self.decoder:
            loss, count = self.decoder.loss(
                encoded, lengths, tokens, counts, smoothing=self.settings.smoothing
            )
            sums.append(loss.float())
            numbers.append(count.to(ctc.dtype))
        errors, counted = ctc.new_zeros(()), ctc.new_zeros(())
        if not self.training:
            predicted = greedy_search(log_probs, lengths, blank=BLANK)
            truth = [row[:n] for row, n in zip(tokens.tolist(), counts.tolist(), strict=True)]
            errors += sum(map(edit_distance, truth, predicted))
            counted = symbols
        return torch.stack([*sums, errors]), torch.stack([*numbers, counted])

    def predict(self, features: Tensor, batch: Batch) -> list[list[int]]:
        """The recognised symbols of each utterance, as codes."""
        encoded, lengths, log_probs = self.encode(features, batch)
        beam = self.settings.beam
        if self.decoder is None:
            beams = prefix_beam_search(log_probs, lengths, beam=beam, blank=BLANK)
        else:
            weight = self.settings.beam_ctc_weight
            beams = joint_search(
                self.decoder, encoded, lengths, log_probs, beam=beam, ctc_weight=weight
            )
        return [hypotheses[0].symbols if hypotheses else [] for hypotheses in beams]


def edit_distance(truth: list[int], predicted: list[int]) -> int:
    """The least number of insertions, deletions and substitutions (Levenshtein).

    >>> edit_distance([1, 2, 3], [1, 3, 3, 4])
    2
    """
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(truth, predicted)


class Asr(Task):
    """Speech recognition: the transcript of each utterance."""

    Settings: ClassVar = AsrSettings
    metric = Metric("PER", "phone error rate")
    separate = True

    @classmethod
    def select_segments(
        cls, settings: AsrSettings, corpus: Corpus
    ) -> tuple[Corpus, list[Rejected]]:
        """The utterances that have a transcript, and those rejected."""
        if settings.joined:
            corpus = join_rows(corpus, settings.label)
        labelled, rejected = with_label(corpus, settings.label, ())
        good = np.ones(len(labelled), bool)
        for i, text in enumerate(labelled.label(settings.label).tolist()):
            try:
                reason, detail = "no-label", "nothing is left of its transcript"
                good[i] = bool(settings.tokens(text))
            except InputError as error:  # a phone that can't be folded
                good[i], reason, detail = False, "unknown-symbol", str(error)
            if not good[i]:
                detail = f"{describe(labelled, i)}: {detail}"
                rejected.append(labelled.reject(i, reason, detail))
        return labelled.select(good), rejected

    def __init__(
        self, settings: AsrSettings, corpus: Corpus, split: NDArray, frames: NDArray
    ) -> None:
        super().__init__(settings, corpus, split, frames)
        attention = settings.decoder == "attention"
        self.loss_names = ["ctc", *(["attention"] if attention else []), "error"]
        self.loss_weights = [settings.ctc_weight, 1 - settings.ctc_weight] if attention else [1.0]
        self.loss_weights += [0.0]
        self.metric = Metric(UNITS[settings.units], f"error rate of {settings.units}")
        self.tokens = [settings.tokens(text) for text in corpus.label(settings.label).tolist()]
        # Of all splits, so that they are the same in every fold.
        self.symbols = ("", *sorted(set().union(*self.tokens)))  # the first is the blank
        self.code = {name: k for k, name in enumerate(self.symbols)}
        trained, tested = (self._count_tokens(split == name) for name in (TRAIN, TEST))
        unknown = {name: count for name, count in tested.items() if name not in trained}
        self.warnings = [
            f"{name!r} is {count} times in the test transcripts, but never in training: each of "
            "these is an error, whatever is recognised"
            for name, count in unknown.items()
        ]
        if settings.exclude:
            without_exclusion = replace(settings, exclude=())
            texts = set(corpus.label(settings.label).tolist())
            present = {token for text in texts for token in without_exclusion.tokens(text)}
            self.warnings += [
                f"no transcript has {name!r}, which is to be excluded"
                for name in settings.exclude
                if name not in present
            ]

    def _count_tokens(self, segments: NDArray[np.bool_]) -> Counter[str]:
        places = np.flatnonzero(segments).tolist()
        return Counter(token for place in places for token in self.tokens[place])

    def untrainable(self) -> list[tuple[int, str, str]]:
        """Utterances too short for CTC to emit their transcripts."""
        too_short = []
        for place, tokens in enumerate(self.tokens):
            needed = len(tokens) + sum(a == b for a, b in pairwise(tokens))
            frames = -(-int(self.frames[place]) // self.settings.time_pool)
            if frames < needed:
                detail = (
                    f"{describe(self.corpus, place)}: {frames} frames for {needed} symbols and "
                    "blanks, too few for CTC; check that the transcript belongs to this recording"
                )
                too_short.append((place, "too-short-for-transcript", detail))
        return too_short

    def targets(self, segments: NDArray[np.int64]) -> dict[str, Tensor]:
        """Codes of symbols (utterances, most), padded with 0, and their numbers (utterances,)."""
        codes = [[self.code[token] for token in self.tokens[place]] for place in segments.tolist()]
        count = torch.tensor([len(utterance) for utterance in codes])
        tokens = torch.zeros(len(codes), int(count.max()), dtype=torch.long)
        for row, utterance in enumerate(codes):
            tokens[row, : len(utterance)] = torch.tensor(utterance)
        return {"tokens": tokens, "count": count}

    def head(self, width: int) -> Recogniser:
        """The recogniser, untrained."""
        return Recogniser(width, len(self.symbols), self.settings)

    def score(self, predict: Predict, seed: int) -> Outcome:
        """The error rate, kinds of errors, confusions, and the worst utterances."""
        places, codes = predict(TEST)
        truth = [list(self.tokens[place]) for place in places.tolist()]
        predicted = [[self.symbols[code] for code in utterance] for utterance in codes]
        result = transcripts.error_rate(truth, predicted)
        errors = np.array([utterance.total for utterance in result.utterances])
        length = np.array([utterance.length for utterance in result.utterances])
        kinds = ("substitutions", "deletions", "insertions")
        scores = {kind: getattr(result, kind) / result.length for kind in kinds}
        order = np.lexsort([-errors, -errors / length])[:WORST]
        worst = tuple(
            Mistake(
                describe(self.corpus, int(places[k])),
                f"{errors[k]} errors in {length[k]}",
                " ".join(truth[k]),
                " ".join(predicted[k]),
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
    """A corpus of whole recordings; the labels of a recording's rows, by time, are its transcript.

    Other columns are of the first row of each recording.

    >>> import augury
    >>> from pathlib import Path
    >>> Path("a.wav").touch()
    >>> rows = ["path,start,end,phone", "a.wav,0.5,0.9,iy", "a.wav,0.0,0.5,sh"]
    >>> _ = Path("phones.csv").write_text("\\n".join(rows))
    >>> join_rows(augury.read_corpus("phones.csv"), "phone").label("phone").tolist()
    ['sh iy']
    """
    labels = corpus.label(column)
    recordings = [
        rows[np.argsort(np.nan_to_num(corpus.start[rows]), kind="stable")]
        for rows in corpus.by_recording()
    ]
    texts = np.array([" ".join(labels[rows]) for rows in recordings], object)
    whole = corpus.select(np.array([rows[0] for rows in recordings]))
    unknown = np.full(len(whole), np.nan)  # from the start to the end of the recording
    return replace(whole, start=unknown, end=unknown, columns=whole.columns | {column: texts})


def _confusion(confusions: Any) -> Confusion:
    names = sorted({name for pair in confusions for name in pair} - {""})
    names = [*names, ""]
    place = {name: k for k, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for (truth, predicted), count in confusions.items():
        counts[place[truth], place[predicted]] += count
    return Confusion(tuple(names), tuple(map(tuple, counts.tolist())))
