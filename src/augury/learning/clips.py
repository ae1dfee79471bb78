"""Unlabelled speech as clips: log-mel and pseudo-labels frame by frame, aligned by time.

`prepare` has every recording extracted once, into the store that `augury rank` uses too, and sums
up what normalisation needs on the way. `Clips.read` then gives any clip from the store: memory
holds an index, never the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augury import audio, compute, extract, pseudolabels
from augury.corpus import Corpus, Rejected, refuse_too_many
from augury.extract import Outcome, Plan, Work
from augury.pseudolabels import Candidate
from augury.pseudolabels.columns import categories, columns
from augury.settings import PretrainSettings
from augury.store import Store, digest

#: Seconds beyond which a recording, once it has been read whole, is read in parts.
_LONG = 60.0

Progress = Callable[[int, int, float], None]  # recordings done, of how many, seconds of audio done


@dataclass(frozen=True)
class Summary:
    """Count, mean and sum of squared deviations of each column of some values."""

    count: NDArray[np.float64]  # (dims,)
    mean: NDArray[np.float64]  # (dims,)
    squares: NDArray[np.float64]  # (dims,)

    @classmethod
    def of(cls, values: NDArray) -> Summary:
        """Of values (frames,) or (frames, dims); those that are not finite do not count."""
        values = values.astype(np.float64)
        if values.ndim == 1:
            values = values[:, None]
        known = np.isfinite(values)
        count = known.sum(axis=0).astype(np.float64)
        mean = np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(known, np.square(values - mean), 0).sum(axis=0)
        return cls(count, mean, squares)

    def __add__(self, other: Summary) -> Summary:
        """Of both together (Chan, Golub, LeVeque 1983): no large sums are subtracted."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        apart = other.mean - self.mean
        mean = self.mean + apart * share
        squares = self.squares + other.squares + np.square(apart) * self.count * share
        return Summary(count, mean, squares)

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation (dims,)."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))


@dataclass(frozen=True)
class Target:
    """What one worker predicts at every frame."""

    name: str  # as asked for: "F0", "column:phone"; "mel", "mfcc" for the speech itself
    source: str  # what it stands for
    weight: float  # in the loss
    mean: NDArray[np.float64]  # (dims,) over the training frames; of categories: their shares
    deviation: NDArray[np.float64]  # (dims,) of categories: 1
    categories: tuple[str, ...] = ()  # where it is one of these, not a number

    @property
    def dims(self) -> int:
        """Outputs of its worker."""
        return len(self.mean)


@dataclass(frozen=True)
class Clips:
    """Where each clip is to be had. A clip is one segment of the corpus."""

    plan: Plan
    candidates: tuple[Candidate, ...]
    unvoiced: str
    recordings: tuple[Path, ...]
    names: tuple[str, ...]  # of the recordings, as the manifest wrote them
    digests: tuple[str, ...]  # of the recordings' bytes, by which the store knows them
    recording: NDArray[np.int64]  # (clips,) which one a clip is cut from
    first: NDArray[np.int64]  # (clips,) frame of the recording that a clip begins with
    frames: NDArray[np.int64]  # (clips,)
    held_out: NDArray[np.bool_]  # (clips,) whether it is for validation
    columns: dict[str, NDArray] = field(default_factory=dict)  # (clips,) numbers, or codes
    _whole: set[int] = field(default_factory=set)  # long recordings found undamaged

    def __len__(self) -> int:
        return len(self.recording)

    def name(self, clip: int) -> str:
        """The clip in words: its recording, and from when."""
        return f"{self.names[self.recording[clip]]} at {self.first[clip] * audio.HOP:.2f} s"

    def read(self, clip: int) -> tuple[NDArray[np.float32], dict[str, NDArray]]:
        """One clip from the store.

        Returns:
            Its log-mel (frames, bands) in dB, and each pseudo-label at those frames: (frames,) or
            (frames, dims) in its own units, NaN where it has no value, or codes (frames,), -1 for
            none.
        """
        r = int(self.recording[clip])
        first, count = int(self.first[clip]), int(self.frames[clip])
        mel, frames, duration = self._stored(r)
        targets: dict[str, NDArray] = {}
        for one in self.candidates:
            if one.kind == "column":
                targets[one.name] = np.full(count, self.columns[one.name][clip])
            else:
                values, timing = extract.of_candidate(
                    self.plan, one, frames, duration, self.unvoiced
                )
                targets[one.name] = aligned(values, *timing, first, count)
        return mel[first : first + count].astype(np.float32), targets

    def _stored(self, r: int) -> tuple[NDArray, dict[str, NDArray], float]:
        """A recording's log-mel, the candidates' frames by source, and its length in seconds."""
        content, name = self.digests[r], extract.mel_key(self.digests[r])
        if r in self._whole:  # a short clip of a long recording should not cost all of it
            mapped = Store(self.plan.store).mapped
            found = mapped(name)
            frames = extract.stored_frames(self.plan, content, self.candidates, mapped)
            if found is not None and frames is not None:
                return found["mel"], frames, float(found["duration"][0])
        work = Work(self.recordings[r], self.names[r], (), (), False)
        found, frames = extract.stored(self.plan, work, content, name, self.candidates)
        if found["duration"][0] > _LONG:
            self._whole.add(r)
        return found["mel"], frames, float(found["duration"][0])

    def arrays(self) -> dict[str, NDArray]:
        """All but plan and candidates, as arrays to be kept."""
        texts = [[str(path) for path in self.recordings], self.names, self.digests]
        kept = {"texts": np.frombuffer(json.dumps(texts).encode(), np.uint8)}
        for name in ("recording", "first", "frames", "held_out"):
            kept[name] = getattr(self, name)
        return kept | {f"column {name}": values for name, values in self.columns.items()}

    @classmethod
    def of_arrays(
        cls, kept: dict[str, NDArray], plan: Plan, candidates: Sequence[Candidate], unvoiced: str
    ) -> Clips:
        """The same from what `arrays` gave."""
        paths, names, digests = json.loads(kept["texts"].tobytes())
        return cls(
            plan, tuple(candidates), unvoiced, tuple(map(Path, paths)), tuple(names),
            tuple(digests), kept["recording"], kept["first"], kept["frames"], kept["held_out"],
            {one.name: kept[f"column {one.name}"] for one in candidates if one.kind == "column"},
        )  # fmt: skip


def aligned(
    values: NDArray, centre: float, hop: float, first: int, count: int
) -> NDArray[np.float64]:
    """Of frames of any timing, the one nearest in time to each frame of the log-mel.

    Nearest, not between two: a pitch halfway to openSMILE's 0 for "no voice" is no pitch.

    Args:
        values: (frames,) or (frames, dims).
        centre, hop: seconds from the recording's beginning to the middle of their frame 0, and
            from one to the next.
        first, count: frames of the log-mel.

    Returns:
        (count,) or (count, dims); NaN where no frame is within half a hop, or its value is not
        finite, or beyond 1e100.
    """
    times = audio.WINDOW / 2 + audio.HOP * np.arange(first, first + count)
    at = np.rint((times - centre) / hop).astype(np.int64)
    there = (at >= 0) & (at < len(values))
    found = np.full((count, *values.shape[1:]), np.nan)
    known = values[at[there]].astype(np.float64)
    found[there] = np.where(np.abs(known) < pseudolabels.LARGEST, known, np.nan)
    return found


# ------------------------------------------------------------------------------------ preparing


@dataclass(frozen=True)
class Prepared:
    """A corpus ready to be trained on."""

    clips: Clips
    targets: tuple[Target, ...]  # "mel" and "mfcc" first, even where they have no worker
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class _Wanted:
    plan: Plan
    candidates: tuple[Candidate, ...]
    unvoiced: str
    coefficients: int
    longest: int  # frames


@dataclass(frozen=True)
class _Item:
    work: Work
    training: tuple[bool, ...]  # of its segments


@dataclass(frozen=True)
class _Found:
    """What became of one recording."""

    outcome: Outcome
    problems: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    first: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    frames: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    sums: dict[str, Summary] = field(default_factory=dict)


def prepare(
    corpus: Corpus,
    candidates: Sequence[Candidate],
    plan: Plan,
    settings: PretrainSettings,
    *,
    jobs: int,
    progress: Progress | None = None,
) -> Prepared:
    """Extract what is not in the store yet, find the usable clips, and sum up their frames.

    Raises:
        ValueError: a candidate that is constant or has no value, a split that is not there,
            nothing left to train on.
        TooManyBad: a larger share than `max_bad` of the clips can't be used.
    """
    corpus, held_out = _selected(corpus, settings)
    codes = columns(corpus, candidates)
    order = np.argsort(corpus.recording, kind="stable")
    counts = np.bincount(corpus.recording, minlength=len(corpus.recordings))
    places = np.split(order, np.cumsum(counts)[:-1])
    items = [
        _Item(
            Work(
                path, corpus.names[r], tuple(corpus.start[places[r]]),
                tuple(corpus.end[places[r]]), False,
            ),
            tuple(~held_out[places[r]]),
        )
        for r, path in enumerate(corpus.recordings)
    ]  # fmt: skip
    longest = round(settings.longest / audio.HOP)
    wanted = _Wanted(plan, tuple(candidates), settings.unvoiced, settings.coefficients, longest)
    sums: dict[str, Summary] = {}
    problems: list[tuple[int, str, str]] = []
    digests = [""] * len(items)
    first, frames = np.zeros((2, len(corpus)), np.int64)
    for r, found in _in_order(wanted, items, jobs, progress):
        place, outcome = places[r], found.outcome
        if outcome.problem:
            problems += [(int(p), *outcome.problem) for p in place]
            continue
        digests[r] = outcome.digest
        problems += extract.described(items[r].work, place, found.problems, outcome.duration)
        good = place[found.problems == 0]
        first[good], frames[good] = found.first, found.frames
        for name, known in found.sums.items():
            if name in sums and sums[name].mean.shape != known.mean.shape:
                raise ValueError(
                    f"{name} gave {len(known.mean)} values a frame for {corpus.names[r]}, and "
                    f"{len(sums[name].mean)} for an earlier recording"
                )
            sums[name] = sums[name] + known if name in sums else known
    rejected = list(corpus.rejected)
    rejected += [corpus.refused(*problem) for problem in problems]
    refuse_too_many(tuple(rejected), len(corpus) - len(problems), settings.max_bad)
    # Left out as the settings ask, so not counted as bad; named all the same.
    long = frames > longest
    for place in np.flatnonzero(long):
        detail = f"{frames[place] * audio.HOP:.2f} s, and longest is {settings.longest:g} s"
        rejected.append(corpus.refused(int(place), "longer-than-longest", detail))
    keep = np.flatnonzero((frames > 0) & ~long)
    if not len(keep) or held_out[keep].all():
        raise ValueError(
            f"no clip is left to train on: {len(corpus)} given, {len(problems)} unusable, "
            f"{int(long.sum())} longer than {settings.longest:g} s"
        )
    if _share(settings.validation) != 0 and not held_out[keep].any():
        raise ValueError("no clip is left for validation; give more, or --validation 0")
    clips = Clips(
        plan, tuple(candidates), settings.unvoiced, corpus.recordings, corpus.names,
        tuple(digests), corpus.recording[keep], first[keep], frames[keep], held_out[keep],
        {name: values[keep] for name, values in codes.items()},
    )  # fmt: skip
    targets = list(_speech(sums, settings))
    for one in candidates:
        target, clips = _target(one, clips, sums, corpus, settings.pseudo_labels[one.name])
        targets.append(target)
    rejected.sort(key=lambda one: (one.row, one.reason))
    return Prepared(clips, tuple(targets), tuple(rejected))


def _in_order(
    wanted: _Wanted, items: list[_Item], jobs: int, progress: Progress | None
) -> Iterator[tuple[int, _Found]]:
    """What was found in each recording, in their order, so that sums round alike on every run."""
    waiting: dict[int, _Found] = {}
    turn, done, seconds = 0, 0, 0.0
    for index, found in compute.spread(_measured, wanted, items, jobs=jobs):
        if isinstance(found, compute.WorkerDied):
            problem = ("crashed", f"{items[index].work.name}: {found}")
            found = _Found(Outcome(problem=problem))
        waiting[index] = found
        done, seconds = done + 1, seconds + found.outcome.duration
        if progress:
            progress(done, len(items), seconds)
        while turn in waiting:
            yield turn, waiting.pop(turn)
            turn += 1


def _measured(wanted: _Wanted, item: _Item) -> _Found:
    """One recording: extracted, its clips' frames, and their sums if they are trained on."""
    plan, work = wanted.plan, item.work
    outcome = extract.extract(plan, work)
    if outcome.problem:
        return _Found(outcome)
    problems = extract.segment_problems(work, outcome.duration)
    name = extract.mel_key(outcome.digest)
    found, frames = extract.stored(plan, work, outcome.digest, name, wanted.candidates)
    mel = found["mel"]
    start, end = (edge[problems == 0] for edge in extract.edges(work, outcome.duration))
    first, stop = extract.frame_range(start, end, audio.WINDOW / 2, audio.HOP, len(mel))
    used = np.array(item.training)[problems == 0] & (stop - first <= wanted.longest)
    sums: dict[str, Summary] = {}
    if used.any():
        spans = zip(first[used], stop[used], strict=True)
        rows = np.concatenate([np.arange(*span) for span in spans])
        bands = mel[rows].astype(np.float32)
        cosines = audio.cosines(bands.shape[1], wanted.coefficients)
        sums = {"mel": Summary.of(bands), "mfcc": Summary.of(bands @ cosines)}
        for one in wanted.candidates:
            if one.kind != "column":
                values, timing = extract.of_candidate(
                    plan, one, frames, outcome.duration, wanted.unvoiced
                )
                sums[one.name] = Summary.of(aligned(values, *timing, 0, len(mel))[rows])
    return _Found(outcome, problems, first, stop - first, sums)


def _selected(corpus: Corpus, settings: PretrainSettings) -> tuple[Corpus, NDArray[np.bool_]]:
    """The segments asked for, and which of them (segments,) are held out for validation."""
    share = _share(settings.validation)
    if share is None and not settings.split:
        raise ValueError(
            f"validation is the split {settings.validation!r}; say with split which one to train "
            "on, or all others would be, a test split among them"
        )
    keep = np.ones(len(corpus), bool)
    if settings.split:
        keep &= _of_split(corpus, settings.split)
    if share is None:
        held_out = _of_split(corpus, settings.validation)
        keep |= held_out
    else:
        # By a digest of the name: spread over the corpus, and the same on every run.
        recordings = np.unique(corpus.recording[keep])
        names = [f"{settings.seed} {corpus.names[r]}" for r in recordings]
        digests = [digest(name.encode(errors="surrogateescape")) for name in names]
        count = max(1, round(share * len(recordings))) if share and len(recordings) > 1 else 0
        chosen = recordings[np.argsort(digests, kind="stable")[:count]]
        held_out = np.isin(corpus.recording, chosen)
    return corpus.select(keep), held_out[keep]


def _share(validation: str) -> float | None:
    try:
        share = float(validation)
    except ValueError:
        return None
    if not 0 <= share <= 0.9:
        raise ValueError(f"validation is {share:g}, but is a share between 0 and 0.9, or a split")
    return share


def _of_split(corpus: Corpus, split: str) -> NDArray[np.bool_]:
    found = corpus.label("split") == split
    if not found.any():
        there = ", ".join(sorted(set(map(str, corpus.label("split")))))
        raise ValueError(f"no segment is of split {split!r}; there are {there}")
    return found


def _speech(sums: dict[str, Summary], settings: PretrainSettings) -> Iterator[Target]:
    # A band that holds nothing (speech of 8 kHz) should not have its rounding blown up to speech.
    for name, weight, least in (("mel", settings.mel, 1.0), ("mfcc", settings.mfcc, 0.1)):
        deviation = np.maximum(sums[name].deviation, least)
        yield Target(name, name, weight, sums[name].mean, deviation)


def _target(
    one: Candidate, clips: Clips, sums: dict[str, Summary], corpus: Corpus, weight: float
) -> tuple[Target, Clips]:
    """How a candidate's values are normalised; codes of categories become those trained on."""
    if one.kind != "column":
        summary = sums[one.name]
    else:
        values, training = clips.columns[one.name], ~clips.held_out
        if values.dtype.kind == "i":
            texts = categories(corpus, one)
            used = np.unique(values[training & (values >= 0)])
            if len(used) < 2:
                raise ValueError(f"{one.name}: all training clips are of one category; drop it")
            codes = np.full(len(texts) + 1, -1, np.int64)  # the last: where a cell is empty
            codes[used] = np.arange(len(used))
            codes = codes[values]
            clips = replace(clips, columns=clips.columns | {one.name: codes})
            # Their shares of the frames: what is known without looking.
            shares = np.bincount(codes[training] + 1, clips.frames[training])[1:]
            named = tuple(texts[k] for k in used)
            return Target(
                one.name, one.source, weight, shares / shares.sum(), np.ones(len(used)), named
            ), clips
        summary = _weighted(values[training], clips.frames[training])
    if not summary.count.all():
        raise ValueError(
            f"{one.name} has no value at all in some of its dimensions; drop it, or see why"
        )
    deviation = summary.deviation
    constant = deviation <= 1e-9 * np.abs(summary.mean)
    if constant.all():
        raise ValueError(f"{one.name} is {summary.mean[0]:g} everywhere: nothing to learn; drop it")
    deviation = np.where(constant, 1.0, deviation)
    return Target(one.name, one.source, weight, summary.mean, deviation), clips


def _weighted(values: NDArray, frames: NDArray) -> Summary:
    """The summary of a value a clip (clips,), each as often as it has frames."""
    known = np.isfinite(values)
    values, frames = values[known], frames[known].astype(np.float64)
    count = frames.sum()
    mean = frames @ values / max(count, 1)
    squares = frames @ np.square(values - mean)
    return Summary(*(np.array([one]) for one in (count, mean, squares)))
