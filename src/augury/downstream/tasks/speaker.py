"""Speaker recognition: are two recordings of one speaker, told by embeddings of unseen speakers.

An x-vector network (Snyder et al. 2018) learns to classify the training speakers; its embeddings
of the test recordings are compared by cosine, and by PLDA after LDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augury.corpus.corpus import Corpus
from augury.corpus.readers.voxceleb import read_trials
from augury.downstream.models.xvector import XVector
from augury.downstream.result import Metric, Mistake, Outcome
from augury.downstream.scores import metrics, plda
from augury.downstream.segments import FEWEST_SPEAKERS, describe, sound_uri
from augury.downstream.settings import SpeakerSettings
from augury.downstream.splits import TEST, TRAIN
from augury.downstream.tasks.task import Predict, Task
from augury.errors import InputError
from augury.store import digest
from augury.tables import csv_text

#: Pairs in a group from which some are drawn without putting all in order.
MANY = 10_000
#: Trials that went most wrong, that a report shows: of each kind.
WORST = 5


@dataclass(frozen=True)
class TrialPairs:
    """Trials between segments of a corpus, by place."""

    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    is_target: NDArray[np.bool_]


class Speaker(Task):
    """Are two recordings of one speaker."""

    Settings: ClassVar = SpeakerSettings
    metric = Metric("EER", "equal error rate of speaker verification", 0.5)
    separate = True
    known_speakers = True

    def __init__(
        self, settings: SpeakerSettings, corpus: Corpus, split: NDArray, frames: NDArray
    ) -> None:
        super().__init__(settings, corpus, split, frames)
        self.crop = settings.crop
        self.speaker = corpus.label(settings.label)
        trained = sorted(set(self.speaker[split == TRAIN].tolist()))
        if len(trained) < 2:
            raise InputError("there is one speaker to train on; it takes two to tell apart")
        code = {name: k for k, name in enumerate(trained)}
        self.codes = np.array([code.get(name, -1) for name in self.speaker.tolist()], np.int64)
        self.trained = len(trained)
        self.trials = self._read_trials() if settings.trials else self._make_trials()
        self.files = {"trials.txt": self._list(), "trials.csv": self._table()}

    def _read_trials(self) -> TrialPairs:
        """The trials of a list, which name recordings as idA/VIDEO/x.wav."""
        listed = read_trials(self.settings.trials, self.corpus)
        if not listed.usable.any():
            raise InputError(
                f"{self.settings.trials}: the corpus has none of the recordings in these trials; "
                f"it lacks {listed.absent[0]} and {len(listed.absent) - 1} more"
            )
        if listed.absent:
            self.warnings.append(
                f"{int((~listed.usable).sum()):,} of {len(listed.usable):,} trials are left out: "
                f"their recordings are not there ({listed.absent[0]}, …)"
            )
        place: dict[str, int] = {}
        for k, r in enumerate(self.corpus.recording.tolist()):
            place["/".join(self.corpus.recordings[r].parts[-3:])] = k
            place[self.corpus.names[r]] = k
        enrol, test = (
            np.array([place[name] for name in one[listed.usable].tolist()], np.int64)
            for one in (listed.enrol, listed.test)
        )
        both = np.concatenate([enrol, test])
        outside = both[self.split[both] != TEST]
        if len(outside):
            raise InputError(
                f"{self.settings.trials}: its trials compare recordings that are not in the test "
                f"part ({describe(self.corpus, int(outside[0]))}, …); choose with --test the "
                "split that has them all"
            )
        return TrialPairs(enrol, test, listed.is_target[listed.usable])

    def _make_trials(self) -> TrialPairs:
        places = np.flatnonzero(self.split == TEST)
        recording = self.corpus.recording
        return make_trials(
            places, self.speaker[places], recording, self._gender(), self.settings.made
        )

    def _gender(self) -> NDArray | None:
        """Of each segment, where the corpus says."""
        name = next((one for one in ("gender", "sex") if one in self.corpus.columns), None)
        return self.corpus.columns[name] if name else None

    def _list(self) -> str:
        """The trials as VoxCeleb lists them."""
        return "".join(" ".join(row[:3]) + "\n" for row in self._rows())

    def _table(self) -> str:
        """The trials as CSV, with whether both recordings are of one gender."""
        return csv_text(("is_target", "enrol", "test", "gender"), self._rows())

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        gender, compared = self._gender(), self.trials
        for own, a, b in zip(compared.is_target, compared.enrol, compared.test, strict=True):
            kind = ""
            if gender is not None and gender[a] and gender[b]:
                kind = "same" if gender[a] == gender[b] else "cross"
            yield str(int(own)), self._name(a), self._name(b), kind

    def _name(self, place: int) -> str:
        name, start = self.corpus.names[self.corpus.recording[place]], self.corpus.start[place]
        return name if np.isnan(start) else f"{name}@{start:.2f}"

    def targets(self, segments: NDArray[np.int64]) -> dict[str, Tensor]:
        """The speaker (segments,) of each, -1 if not trained on."""
        return {"speaker": torch.from_numpy(self.codes[segments])}

    def head(self, width: int) -> XVector:
        """The x-vector network."""
        return XVector(width, self.trained, self.settings)

    def score(self, predict: Predict, seed: int) -> Outcome:
        """Equal error rate of the trials, its interval over speakers, and what went wrong."""
        known, training = predict(TRAIN)
        places, testing = predict(TEST)
        train, test = np.stack(training).astype(float), np.stack(testing).astype(float)
        at = np.full(len(self.corpus), -1)
        at[places] = np.arange(len(places))
        enrol, other = at[self.trials.enrol], at[self.trials.test]
        found = {
            "cosine": _cosine(train, test, enrol, other),
            "plda": _plda(train, self.speaker[known], test, enrol, other, self.settings.rank),
        }
        own = self.trials.is_target
        scores: dict[str, float] = {}
        for name, values in found.items():
            said = "cosine" if name == "cosine" else "PLDA"
            scores[f"EER {said}"] = metrics.eer(values[own], values[~own]).rate
            for p in (0.01, 0.05):
                cost = metrics.min_dcf(values[own], values[~own], p_target=p)
                scores[f"minDCF {p:g} {said}"] = cost
        values = found[self.settings.backend]
        rate = metrics.eer(values[own], values[~own]).rate
        first, second = (
            self.speaker[one].astype(str) for one in (self.trials.enrol, self.trials.test)
        )
        ends = None
        if len({*first.tolist(), *second.tolist()}) >= FEWEST_SPEAKERS:
            drawn = metrics.bootstrap_eer(values, own, first, second, seed=0, replicates=400)
            ends = (drawn.low, drawn.high)
        alarms, misses = metrics.det(values[own], values[~own])
        keep = np.unique(np.linspace(0, len(alarms) - 1, 400).round().astype(int))
        det = (tuple(alarms[keep].tolist()), tuple(misses[keep].tolist()))
        return Outcome(
            seed, rate, ends, scores, self._groups(values), det=det, mistakes=self._worst(values)
        )  # fmt: skip

    def _groups(self, values: NDArray) -> dict[str, float]:
        """The error rate among speakers of one gender, and of two: targets with each."""
        gender = self._gender()
        if gender is None:
            return {}
        first, second = gender[self.trials.enrol], gender[self.trials.test]
        own, found = self.trials.is_target, {}
        known = np.asarray((first != "") & (second != ""), bool)
        for name, chosen in (("same gender", first == second), ("cross gender", first != second)):
            nontargets = values[~own & known & np.asarray(chosen, bool)]
            if len(nontargets):
                found[name] = metrics.eer(values[own], nontargets).rate
        return found

    def _worst(self, values: NDArray) -> tuple[Mistake, ...]:
        own, found = self.trials.is_target, []
        for kind, which, sign in (
            ("of one speaker, yet", own, 1),
            ("of two speakers, yet", ~own, -1),
        ):
            mine = np.flatnonzero(which)
            for k in mine[np.argsort(sign * values[mine], kind="stable")[:WORST]].tolist():
                one, other = int(self.trials.enrol[k]), int(self.trials.test[k])
                found.append(
                    Mistake(
                        f"{describe(self.corpus, one)} and {describe(self.corpus, other)}",
                        f"{kind} scored {values[k]:.2f}",
                        audio=sound_uri(self.corpus, other),
                    )
                )
        return tuple(found)


def make_trials(
    places: NDArray[np.int64],
    speaker: NDArray,
    recording: NDArray[np.int64],
    gender: NDArray | None,
    count: int,
    seed: int = 0,
) -> TrialPairs:
    """Trials between segments, half of them of one speaker; the same on every run.

    Args:
        places: (segments,) in the corpus, of the test part.
        speaker: (segments,) of each of these.
        recording, gender: of all segments of the corpus; no gender where it is not known.
        count: trials.

    Speakers have equally many target trials, or all that they have; pairs of speakers equally many
    nontarget ones, half of these of one gender where genders are known. No trial is there twice,
    and none is within one recording: what is alike there may be anything but the speaker.
    """
    rng = np.random.default_rng(seed)
    names = sorted(set(speaker.tolist()), key=lambda one: digest(str(one).encode()))
    by = [places[speaker == name] for name in names]
    of_one = []
    for one in by:
        a, b = np.triu_indices(len(one), 1)
        apart = recording[one[a]] != recording[one[b]]
        of_one.append(np.stack([one[a[apart]], one[b[apart]]], axis=1))
    targets = _draw_evenly(
        [len(one) for one in of_one], lambda k, some: of_one[k][some], count // 2, rng
    )
    first, second = np.triu_indices(len(by), 1)
    if not len(targets) or not len(first):
        raise InputError(
            f"the test part has {len(by)} speakers and {len(places)} segments, of which no trials "
            "can be made: it takes two recordings of one speaker, and two speakers"
        )
    whose = np.array([gender[one[0]] if gender is not None else "" for one in by], object)
    alike = np.asarray(whose[first] == whose[second], bool)
    kinds = [np.flatnonzero(one) for one in (alike, ~alike) if one.any()]
    others = []
    for kind in kinds:
        wanted = count // 2 // len(kinds)
        chosen = rng.permutation(kind)[:wanted]
        sizes = [len(by[first[k]]) * len(by[second[k]]) for k in chosen]

        def of_two(k: int, some: NDArray, chosen: NDArray = chosen) -> NDArray[np.int64]:
            a, b = by[first[chosen[k]]], by[second[chosen[k]]]
            return np.stack([a[some // len(b)], b[some % len(b)]], axis=1)

        others.append(_draw_evenly(sizes, of_two, wanted, rng))
    pairs = np.concatenate([targets, *others])
    is_target = np.arange(len(pairs)) < len(targets)
    return TrialPairs(pairs[:, 0], pairs[:, 1], is_target)


def _draw_evenly(
    sizes: list[int],
    pairs: Callable[[int, NDArray[np.int64]], NDArray[np.int64]],
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """As many pairs (n, 2) of each group as of the others, as far as they go; `count`, or fewer.

    `pairs` gives some of a group's, by their places among its own; groups may have millions.
    """
    each = 0
    while np.minimum(sizes, each).sum() < min(count, sum(sizes)):
        each += 1
    rounds, found = [], []
    for k, size in enumerate(sizes):
        number = min(each, size)
        few = size <= MANY
        some = rng.permutation(size)[:number] if few else rng.choice(size, number, replace=False)
        found.append(pairs(k, some))
        rounds.append(np.arange(number))
    if not found:
        return np.empty((0, 2), np.int64)
    # Of the last round, some groups have one less.
    return np.concatenate(found)[np.argsort(np.concatenate(rounds), kind="stable")][:count]


def _cosine(train: NDArray, test: NDArray, enrol: NDArray, other: NDArray) -> NDArray:
    x = plda.normalise_length(test - train.mean(axis=0))
    return np.einsum("nd,nd->n", x[enrol], x[other])


def _plda(
    train: NDArray, speaker: NDArray, test: NDArray, enrol: NDArray, other: NDArray, rank: int
) -> NDArray:
    """Log-likelihood ratios, after LDA, and at length 1 (Garcia-Romero & Espy-Wilson 2011)."""
    dims = min(rank, len(set(speaker.tolist())) - 1, train.shape[1])
    matrix, mean = plda.lda(train, speaker, dims=dims)
    train, test = (plda.normalise_length((x - mean) @ matrix) for x in (train, test))
    model = plda.Plda.fit(train, speaker)
    found = np.empty(len(enrol))
    # All against all, a strip at a time: the trials are many times as many as the recordings.
    order = np.argsort(enrol, kind="stable")
    for begin in range(0, len(test), 256):
        strip = order[slice(*np.searchsorted(enrol[order], [begin, begin + 256]))]
        table = model.score(test[begin : begin + 256], test)
        found[strip] = table[enrol[strip] - begin, other[strip]]
    return found
