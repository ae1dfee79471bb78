"""A corpus made ready to be trained on: extracted, its usable clips found, its frames summed up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augury import audio, compute
from augury.corpus.corpus import Corpus, Rejected, refuse_too_many
from augury.errors import InputError
from augury.extraction import extract
from augury.extraction.extract import Outcome, Plan, Work
from augury.pretraining import targets
from augury.pretraining.clips import Clips, align
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.targets import Summary, Target
from augury.pseudolabels.candidate import Candidate
from augury.pseudolabels.columns import columns
from augury.reporter import ExtractionProgress, Reporter
from augury.store import digest


@dataclass(frozen=True)
class Prepared:
    """A corpus ready to be trained on."""

    clips: Clips
    targets: tuple[Target, ...]  # "mel" and "mfcc" first, even where they have no worker
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of every recording."""

    plan: Plan
    candidates: tuple[Candidate, ...]
    unvoiced: str
    coefficients: int  # MFCCs summed up; 0: none
    longest: int  # frames; longer clips are not summed up


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
    whole: int = 0  # frames of the recording
    sums: dict[str, Summary] = field(default_factory=dict)


def prepare(
    corpus: Corpus,
    candidates: Sequence[Candidate],
    plan: Plan,
    settings: PretrainSettings,
    *,
    jobs: int,
    reporter: Reporter | None = None,
) -> Prepared:
    """Extract what is not in the store yet, find the usable clips, and sum up their frames.

    Raises:
        InputError: a candidate that is constant or has no value, a split that is not there,
            nothing left to train on.
        TooManyBad: a larger share than `max_bad` of the clips can't be used.
    """
    corpus, held_out = _selected(corpus, settings)
    codes = columns(corpus, candidates)
    longest = round(settings.longest / audio.HOP)
    wanted = Wanted(plan, tuple(candidates), settings.unvoiced, settings.coefficients, longest)
    found = extract_clips(corpus, held_out, wanted, jobs, reporter)
    rejected = [*corpus.rejected, *(corpus.reject(*problem) for problem in found.problems)]
    refuse_too_many(tuple(rejected), len(corpus) - len(found.problems), settings.max_bad)
    # Left out as the settings ask, so not counted as bad; named all the same.
    long = found.frames > longest
    for place in np.flatnonzero(long):
        detail = f"{found.frames[place] * audio.HOP:.2f} s, and longest is {settings.longest:g} s"
        rejected.append(corpus.reject(int(place), "longer-than-longest", detail))
    keep = np.flatnonzero((found.frames > 0) & ~long)
    if not len(keep) or held_out[keep].all():
        raise InputError(
            f"no clip is left to train on: {len(corpus)} given, {len(found.problems)} unusable, "
            f"{int(long.sum())} longer than {settings.longest:g} s"
        )
    if _share(settings.validation) != 0 and not held_out[keep].any():
        raise InputError("no clip is left for validation; give more, or --validation 0")
    clips = Clips(
        plan, tuple(candidates), settings.unvoiced, corpus.recordings, corpus.names,
        tuple(found.digests), corpus.recording[keep], found.first[keep], found.frames[keep],
        held_out[keep], {name: values[keep] for name, values in codes.items()},
    )  # fmt: skip
    predicted = list(targets.speech_targets(found.sums, settings))
    for one in candidates:
        weight = settings.pseudo_labels[one.name]
        target, clips = targets.candidate_target(one, clips, found.sums, corpus, weight)
        predicted.append(target)
    rejected.sort(key=lambda one: (one.row, one.reason))
    return Prepared(clips, tuple(predicted), tuple(rejected))


@dataclass(frozen=True)
class ExtractedClips:
    """What was found in all recordings, by segment where not said otherwise."""

    digests: list[str]  # of the recordings
    whole: list[int]  # frames of each recording
    first: NDArray[np.int64]
    frames: NDArray[np.int64]  # 0: unusable
    problems: list[tuple[int, str, str]]  # (segment, reason, detail)
    sums: dict[str, Summary]  # of the training frames


def extract_clips(
    corpus: Corpus,
    held_out: NDArray[np.bool_],
    wanted: Wanted,
    jobs: int,
    reporter: Reporter | None,
) -> ExtractedClips:
    """Extract what is not in the store yet; sum up the frames that are not held out."""
    places = corpus.by_recording()
    items = []
    for path, name, place in zip(corpus.recordings, corpus.names, places, strict=True):
        work = Work(path, name, tuple(corpus.start[place]), tuple(corpus.end[place]), False)
        items.append(_Item(work, tuple(~held_out[place])))
    first, frames = np.zeros((2, len(corpus)), np.int64)
    all_ = ExtractedClips([], [], first, frames, [], {})
    found_in = compute.in_order(_spread(wanted, items, jobs, reporter))
    # In their order, so that sums round alike on every run.
    for item, place, found in zip(items, places, found_in, strict=True):
        outcome, name = found.outcome, item.work.name
        all_.digests.append(outcome.digest)
        all_.whole.append(found.whole)
        if outcome.problem:
            all_.problems.extend((int(p), *outcome.problem) for p in place)
            continue
        all_.problems.extend(
            extract.describe_problems(item.work, place, found.problems, outcome.duration)
        )
        good = place[found.problems == 0]
        all_.first[good], all_.frames[good] = found.first, found.frames
        for label, sums in found.sums.items():
            known = all_.sums.get(label)
            if known and known.mean.shape != sums.mean.shape:
                raise InputError(
                    f"{label} gave {len(sums.mean)} values a frame for {name}, and "
                    f"{len(known.mean)} for an earlier recording"
                )
            all_.sums[label] = known + sums if known else sums
    return all_


def _spread(
    wanted: Wanted, items: list[_Item], jobs: int, reporter: Reporter | None
) -> Iterator[tuple[int, _Found]]:
    done, seconds = 0, 0.0
    for index, found in compute.spread(_measured, wanted, items, jobs=jobs):
        if isinstance(found, compute.WorkerDied):
            problem = ("crashed", f"{items[index].work.name}: {found}")
            found = _Found(Outcome(problem=problem))
        done, seconds = done + 1, seconds + found.outcome.duration
        if reporter:
            reporter.progress(ExtractionProgress(done, len(items), seconds))
        yield index, found


def _measured(wanted: Wanted, item: _Item) -> _Found:
    """One recording: extracted, its clips' frames, and their sums if they are trained on."""
    plan, work = wanted.plan, item.work
    outcome = extract.extract(plan, work)
    if outcome.problem:
        return _Found(outcome)
    problems = extract.segment_problems(work, outcome.duration)
    name = extract.mel_key(outcome.digest)
    found, frames = extract.read_stored(plan, work, outcome.digest, name, wanted.candidates)
    mel = found["mel"]
    start, end = (
        edge[problems == 0]
        for edge in extract.segment_edges(work.start, work.end, outcome.duration)
    )
    first, stop = extract.frame_range(start, end, audio.WINDOW / 2, audio.HOP, len(mel))
    used = np.array(item.training)[problems == 0] & (stop - first <= wanted.longest)
    sums: dict[str, Summary] = {}
    if used.any():
        spans = zip(first[used], stop[used], strict=True)
        rows = np.concatenate([np.arange(*span) for span in spans])
        bands = mel[rows].astype(np.float32)
        sums = {"mel": Summary.of(bands)}
        if wanted.coefficients:
            cosines = audio.cepstral_basis(bands.shape[1], wanted.coefficients)
            sums["mfcc"] = Summary.of(bands @ cosines)
        for one in wanted.candidates:
            if one.kind != "column":
                values, timing = extract.candidate_values(
                    plan, one, frames, outcome.duration, wanted.unvoiced
                )
                sums[one.name] = Summary.of(align(values, *timing, 0, len(mel))[rows])
    return _Found(outcome, problems, first, stop - first, len(mel), sums)


def _selected(corpus: Corpus, settings: PretrainSettings) -> tuple[Corpus, NDArray[np.bool_]]:
    """The segments asked for, and which of them (segments,) are held out for validation."""
    share = _share(settings.validation)
    if share is None and not settings.split:
        raise InputError(
            f"validation is the split {settings.validation!r}; say with split which one to train "
            "on, or all others would be, a test split among them"
        )
    keep = np.ones(len(corpus), bool)
    if settings.split:
        keep &= corpus.in_split(settings.split)
    if share is None:
        held_out = corpus.in_split(settings.validation)
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
        raise InputError(f"validation is {share:g}, but is a share between 0 and 0.9, or a split")
    return share
