"""Speaker verification: whether two recordings are of one speaker, for speakers not trained on.

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

#: Most pairs in a group that are permuted as a whole; of more, some are drawn one by one.
MANY = 10_000
#: Number of the worst trials of each kind that the report shows.
WORST = 5


@dataclass(frozen=True)
class TrialPairs:
    """Trials between segments of a corpus, by their places; (trials,) each."""

    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    is_target: NDArray[np.bool_]  # whether both are of one speaker


class Speaker(Task):
    """Speaker verification: whether two recordings are of one speaker."""

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
            raise InputError(
                "there is only one training speaker, but a classifier needs two; add recordings "
                "of others, or choose other splits"
            )
        code = {name: k for k, name in enumerate(trained)}
        self.codes = np.array([code.get(name, -1) for name in self.speaker.tolist()], np.int64)
        self.trained = len(trained)
        self.trials = self._read_trials() if settings.trials else self._make_trials()
        self.files = {"trials.txt": self._trial_list(), "trials.csv": self._table()}

    def _read_trials(self) -> TrialPairs:
        """The trials of the settings' list, which names recordings as idA/VIDEO/x.wav."""
        listed = read_trials(self.settings.trials, self.corpus)
        if not listed.usable.any():
            raise InputError(
                f"{self.settings.trials}: the corpus has none of the recordings in these trials; "
                f"it lacks {listed.absent[0]} and {len(listed.absent) - 1} more"
            )
        if listed.absent:
            self.warnings.append(
                f"{int((~listed.usable).sum()):,} of {len(listed.usable):,} trials are left out: "
                f"their recordings are not in the corpus ({listed.absent[0]}, …)"
            )
        place: dict[str, int] = {}
        for k, r in enumerate(self.corpus.recording.tolist()):
            place["/".join(self.corpus.recordings[r].parts[-3:])] = k
            place[self.corpus.names[r]] = k
        enrol, test = (
            np.array([place[name] for name in names[listed.usable].tolist()], np.int64)
            for names in (listed.enrol, listed.test)
        )
        places = np.concatenate([enrol, test])
        outside = places[self.split[places] != TEST]
        if len(outside):
            raise InputError(
                f"{self.settings.trials}: its trials compare recordings that are not in the test "
                f"split ({describe(self.corpus, int(outside[0]))}, …); choose with --test the "
                "split that has them all"
            )
        return TrialPairs(enrol, test, listed.is_target[listed.usable])

    def _make_trials(self) -> TrialPairs:
        """Trials between the test segments."""
        places = np.flatnonzero(self.split == TEST)
        recording = self.corpus.recording
        return make_trials(
            places, self.speaker[places], recording, self._gender(), self.settings.made
        )

    def _gender(self) -> NDArray | None:
        """The gender of each segment; None if the corpus has no column for it."""
        name = next((name for name in ("gender", "sex") if name in self.corpus.columns), None)
        return self.corpus.columns[name] if name else None

    def _trial_list(self) -> str:
        """The trials in VoxCeleb's format."""
        return "".join(" ".join(row[:3]) + "\n" for row in self._rows())

    def _table(self) -> str:
        """The trials as CSV, with the kind of gender pair ("same" or "cross")."""
        return csv_text(("is_target", "enrol", "test", "gender"), self._rows())

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        gender, trials = self._gender(), self.trials
        for is_target, a, b in zip(trials.is_target, trials.enrol, trials.test, strict=True):
            kind = ""
            if gender is not None and gender[a] and gender[b]:
                kind = "same" if gender[a] == gender[b] else "cross"
            yield str(int(is_target)), self._name(a), self._name(b), kind

    def _name(self, place: int) -> str:
        name, start = self.corpus.names[self.corpus.recording[place]], self.corpus.start[place]
        return name if np.isnan(start) else f"{name}@{start:.2f}"

    def targets(self, segments: NDArray[np.int64]) -> dict[str, Tensor]:
        """The code of each segment's speaker (segments,), −1 if not trained on."""
        return {"speaker": torch.from_numpy(self.codes[segments])}

    def head(self, width: int) -> XVector:
        """The x-vector network, untrained."""
        return XVector(width, self.trained, self.settings)

    def score(self, predict: Predict, seed: int) -> Outcome:
        """The trials' equal error rate and costs by both backends, DET curve, and worst trials."""
        train_places, train_vectors = predict(TRAIN)
        test_places, test_vectors = predict(TEST)
        train, test = (np.stack(x).astype(float) for x in (train_vectors, test_vectors))
        row = np.full(len(self.corpus), -1)  # of each segment among the test vectors
        row[test_places] = np.arange(len(test_places))
        pairs = row[self.trials.enrol], row[self.trials.test]
        by_backend = {
            "cosine": _cosine(train, test, *pairs),
            "plda": _plda(train, self.speaker[train_places], test, *pairs, self.settings.rank),
        }
        is_target = self.trials.is_target
        scores: dict[str, float] = {}
        for name, values in by_backend.items():
            backend = "cosine" if name == "cosine" else "PLDA"
            targets, nontargets = values[is_target], values[~is_target]
            scores[f"EER {backend}"] = metrics.eer(targets, nontargets).rate
            for p in (0.01, 0.05):
                cost = metrics.min_dcf(targets, nontargets, p_target=p)
                scores[f"minDCF {p:g} {backend}"] = cost
        values = by_backend[self.settings.backend]
        targets, nontargets = values[is_target], values[~is_target]
        alarms, misses = metrics.det(targets, nontargets)
        keep = np.unique(np.linspace(0, len(alarms) - 1, 400).round().astype(int))
        return Outcome(
            seed, metrics.eer(targets, nontargets).rate, self._interval(values), scores,
            self._groups(values),
            det=(tuple(alarms[keep].tolist()), tuple(misses[keep].tolist())),
            mistakes=self._worst(values),
        )  # fmt: skip

    def _interval(self, values: NDArray) -> tuple[float, float] | None:
        """95 % interval of the equal error rate over speakers; None where there are too few."""
        enrol, test = (
            self.speaker[places].astype(str) for places in (self.trials.enrol, self.trials.test)
        )
        if len({*enrol.tolist(), *test.tolist()}) < FEWEST_SPEAKERS:
            return None
        interval = metrics.bootstrap_eer(
            values, self.trials.is_target, enrol, test, seed=0, replicates=400
        )
        return interval.low, interval.high

    def _groups(self, values: NDArray) -> dict[str, float]:
        """Equal error rates with nontargets of the same gender only, and of different genders."""
        gender = self._gender()
        if gender is None:
            return {}
        enrol, test = gender[self.trials.enrol], gender[self.trials.test]
        is_target, rates = self.trials.is_target, {}
        known = np.asarray((enrol != "") & (test != ""), bool)
        for name, kind in (("same gender", enrol == test), ("cross gender", enrol != test)):
            nontargets = values[~is_target & known & np.asarray(kind, bool)]
            if len(nontargets):
                rates[name] = metrics.eer(values[is_target], nontargets).rate
        return rates

    def _worst(self, values: NDArray) -> tuple[Mistake, ...]:
        """The target trials of the lowest scores and the nontarget trials of the highest."""
        is_target, mistakes = self.trials.is_target, []
        for kind, of_kind, sign in (
            ("same speaker", is_target, 1),
            ("different speakers", ~is_target, -1),
        ):
            trials = np.flatnonzero(of_kind)
            for k in trials[np.argsort(sign * values[trials], kind="stable")[:WORST]].tolist():
                enrol, test = int(self.trials.enrol[k]), int(self.trials.test[k])
                mistakes.append(
                    Mistake(
                        f"{describe(self.corpus, enrol)} and {describe(self.corpus, test)}",
                        f"{kind}, but scored {values[k]:.2f}",
                        audio=sound_uri(self.corpus, test),
                    )
                )
        return tuple(mistakes)


def make_trials(
    places: NDArray[np.int64],
    speaker: NDArray,
    recording: NDArray[np.int64],
    gender: NDArray | None,
    count: int,
    seed: int = 0,
) -> TrialPairs:
    """Trials between segments, half of them target trials; the same on every run.

    Each speaker has equally many target trials, or as many as there can be; so have pairs of
    speakers of nontarget trials, half of which are of the same gender where genders are known. No
    trial is repeated, and none is within one recording, where more than the speaker is the same.

    Args:
        places: (segments,) of the test segments in the corpus.
        speaker: (segments,) of each of these.
        recording, gender: of all segments of the corpus; None for unknown genders.
        count: most trials.
        seed: of the draws.

    Raises:
        InputError: no two recordings of one speaker, or only one speaker.

    >>> places, speaker = np.arange(4), np.array(["a", "a", "b", "b"])
    >>> trials = make_trials(places, speaker, recording=places, gender=None, count=4)
    >>> trials.is_target.tolist(), speaker[trials.enrol].tolist(), speaker[trials.test].tolist()
    ([True, True, False, False], ['b', 'a', 'b', 'b'], ['b', 'a', 'a', 'a'])
    """
    rng = np.random.default_rng(seed)
    names = sorted(set(speaker.tolist()), key=lambda name: digest(str(name).encode()))
    by_speaker = [places[speaker == name] for name in names]
    same = [_pairs_within(segments, recording) for segments in by_speaker]
    targets = _draw_evenly(
        [len(pairs) for pairs in same], lambda k, drawn: same[k][drawn], count // 2, rng
    )
    first, second = np.triu_indices(len(by_speaker), 1)  # all pairs of speakers
    if not len(targets) or not len(first):
        raise InputError(
            f"the test split has {len(by_speaker)} speakers and {len(places)} segments, too few "
            "to make trials: they take two recordings of one speaker, and two speakers"
        )
    genders = np.array(
        [gender[segments[0]] if gender is not None else "" for segments in by_speaker], object
    )
    same_gender = np.asarray(genders[first] == genders[second], bool)
    kinds = [np.flatnonzero(kind) for kind in (same_gender, ~same_gender) if kind.any()]
    wanted, nontargets = count // 2 // len(kinds), []
    for kind in kinds:
        chosen = rng.permutation(kind)[:wanted]
        sizes = [len(by_speaker[first[k]]) * len(by_speaker[second[k]]) for k in chosen]

        def pairs_between(k: int, drawn: NDArray, chosen: NDArray = chosen) -> NDArray[np.int64]:
            a, b = by_speaker[first[chosen[k]]], by_speaker[second[chosen[k]]]
            return np.stack([a[drawn // len(b)], b[drawn % len(b)]], axis=1)

        nontargets.append(_draw_evenly(sizes, pairs_between, wanted, rng))
    pairs = np.concatenate([targets, *nontargets])
    is_target = np.arange(len(pairs)) < len(targets)
    return TrialPairs(pairs[:, 0], pairs[:, 1], is_target)


def _pairs_within(segments: NDArray[np.int64], recording: NDArray[np.int64]) -> NDArray[np.int64]:
    """All pairs (n, 2) of a speaker's segments that are of different recordings."""
    a, b = np.triu_indices(len(segments), 1)
    apart = recording[segments[a]] != recording[segments[b]]
    return np.stack([segments[a[apart]], segments[b[apart]]], axis=1)


def _draw_evenly(
    sizes: list[int],
    pairs: Callable[[int, NDArray[np.int64]], NDArray[np.int64]],
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Pairs (n, 2) of groups, equally many of each group that has enough; `count` or fewer in all.

    Args:
        sizes: number of pairs in each group; may be millions.
        pairs: a function from a group and places among its pairs to these pairs (n, 2).
    """
    each = 0
    while np.minimum(sizes, each).sum() < min(count, sum(sizes)):
        each += 1
    rounds, drawn = [], []
    for k, size in enumerate(sizes):
        number = min(each, size)
        few = size <= MANY
        places = rng.permutation(size)[:number] if few else rng.choice(size, number, replace=False)
        drawn.append(pairs(k, places))
        rounds.append(np.arange(number))
    if not drawn:
        return np.empty((0, 2), np.int64)
    # In rounds of one pair from each group, of which the last may be incomplete.
    return np.concatenate(drawn)[np.argsort(np.concatenate(rounds), kind="stable")][:count]


def _cosine(train: NDArray, vectors: NDArray, enrol: NDArray, test: NDArray) -> NDArray:
    """Cosines (trials,) of the test vectors less the training mean, at these places."""
    x = plda.normalise_length(vectors - train.mean(axis=0))
    return np.einsum("nd,nd->n", x[enrol], x[test])


def _plda(
    train: NDArray, speaker: NDArray, vectors: NDArray, enrol: NDArray, test: NDArray, rank: int
) -> NDArray:
    """Log-likelihood ratios (trials,) after LDA and length normalisation."""
    dims = min(rank, len(set(speaker.tolist())) - 1, train.shape[1])
    matrix, mean = plda.lda(train, speaker, dims=dims)
    train, vectors = (plda.normalise_length((x - mean) @ matrix) for x in (train, vectors))
    model = plda.Plda.fit(train, speaker)
    ratios = np.empty(len(enrol))
    # All pairs are scored, 256 rows at a time: there are many more trials than recordings.
    order = np.argsort(enrol, kind="stable")
    for begin in range(0, len(vectors), 256):
        strip = order[slice(*np.searchsorted(enrol[order], [begin, begin + 256]))]
        table = model.score(vectors[begin : begin + 256], vectors)
        ratios[strip] = table[enrol[strip] - begin, test[strip]]
    return ratios
