"""A corpus prepared for training: extraction, usable clips, means and standard deviations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from augury import audio
from augury.compute import Processes, in_order
from augury.corpus.corpus import Corpus, Rejected, refuse_too_many
from augury.errors import InputError
from augury.extraction.corpus import (
    RecordingEntry,
    common_rows,
    extract_recordings,
    list_recordings,
)
from augury.extraction.extract import Extracted
from augury.extraction.gather import candidate_values, read_or_extract
from augury.extraction.plan import Plan, Recording, mel_key
from augury.extraction.segments import frame_range, segment_edges, segment_problems
from augury.pretraining import targets
from augury.pretraining.clips import Clips, align
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.targets import Summary, Target
from augury.pseudolabels.columns import columns
from augury.reporter import Reporter
from augury.store import digest


@dataclass(frozen=True)
class PreparedClips:
    """A corpus that is ready for training."""

    clips: Clips
    targets: tuple[Target, ...]  # "mel" and "mfcc" first, even where they have no worker
    rejected: tuple[Rejected, ...]


def prepare(
    corpus: Corpus,
    plan: Plan,
    settings: PretrainSettings,
    *,
    jobs: int | None = None,
    reporter: Reporter | None = None,
) -> PreparedClips:
    """Extract what is not in the store yet, find the usable clips, and summarise their frames.

    Args:
        corpus: each of its segments is a clip.
        plan: with the log-mel, and the candidates to pretrain with.
        jobs: processes; enough to keep all cores busy if not given.
        reporter: receives the progress of the extraction.

    Raises:
        InputError: a candidate that is constant or has no value, a split that does not exist, or
            nothing left to train on.
        TooManyBad: a larger share than `max_bad` of the clips can't be used.
    """
    corpus, held_out = _select_segments(corpus, settings)
    codes = columns(corpus, plan.candidates)
    longest = round(settings.longest / audio.HOP)
    extracted = extract_clips(
        corpus, held_out, plan, coefficients=settings.coefficients, longest=longest,
        jobs=jobs, reporter=reporter,
    )  # fmt: skip
    rejected = [*corpus.rejected, *(corpus.reject(*problem) for problem in extracted.problems)]
    refuse_too_many(tuple(rejected), len(corpus) - len(extracted.problems), settings.max_bad)
    # Left out because of a setting, so not counted as bad, but listed in the quarantine.
    long = extracted.frames > longest
    for segment in np.flatnonzero(long):
        seconds = extracted.frames[segment] * audio.HOP
        detail = f"{seconds:.2f} s, and longest is {settings.longest:g} s"
        rejected.append(corpus.reject(int(segment), "longer-than-longest", detail))
    keep = np.flatnonzero((extracted.frames > 0) & ~long)
    if not len(keep) or held_out[keep].all():
        raise InputError(
            f"no clip is left to train on: {len(corpus)} given, {len(extracted.problems)} "
            f"unusable, {int(long.sum())} longer than {settings.longest:g} s"
        )
    if _share(settings.validation) != 0 and not held_out[keep].any():
        raise InputError("no clip is left for validation; give more, or --validation 0")
    clips = Clips(
        plan, corpus.recordings, corpus.names, extracted.digests, corpus.recording[keep],
        extracted.first[keep], extracted.frames[keep], held_out[keep],
        {name: values[keep] for name, values in codes.items()},
        rows=tuple(common_rows(corpus)) if plan.with_recording else (),
    )  # fmt: skip
    predicted = list(targets.speech_targets(extracted.sums, settings))
    for candidate in plan.candidates:
        weight = settings.pseudo_labels[candidate.name]
        target, clips = targets.candidate_target(candidate, clips, extracted.sums, corpus, weight)
        predicted.append(target)
    rejected.sort(key=lambda row: (row.row, row.reason))
    return PreparedClips(clips, tuple(predicted), tuple(rejected))


@dataclass(frozen=True)
class ExtractedClips:
    """Where the clips of a corpus lie, each a segment of it, and a summary of their frames."""

    plan: Plan
    digests: tuple[str, ...]  # (recordings,) of their bytes
    recording_frames: NDArray[np.int64]  # (recordings,) number of frames
    first: NDArray[np.int64]  # (segments,) first frame
    frames: NDArray[np.int64]  # (segments,) number of frames; 0: unusable
    problems: list[tuple[int, str, str]]  # (index of a segment, reason, detail)
    sums: dict[str, Summary]  # of the training frames, by target

    def select(self, segments: NDArray[np.int64], recordings: Sequence[int]) -> ExtractedClips:
        """The clips of some segments and recordings, by their indices."""
        return replace(
            self,
            digests=tuple(self.digests[r] for r in recordings),
            recording_frames=self.recording_frames[np.asarray(recordings, np.int64)],
            first=self.first[segments],
            frames=self.frames[segments],
        )


@dataclass(frozen=True)
class _ClipRecording(Recording):
    training: tuple[bool, ...] = ()  # whether each of its segments is trained on


@dataclass(frozen=True)
class _ClipSummary:
    """The clips of a recording, and sums over its training frames."""

    problems: NDArray[np.uint8]  # (segments,) see `segment_problems`
    first: NDArray[np.int64]  # (usable,) first frame of each usable clip
    frames: NDArray[np.int64]  # (usable,)
    recording_frames: int  # frames of the recording
    sums: dict[str, Summary]


def extract_clips(
    corpus: Corpus,
    held_out: NDArray[np.bool_],
    plan: Plan,
    *,
    coefficients: int = 0,
    longest: int = 0,
    jobs: int | None = None,
    reporter: Reporter | None = None,
) -> ExtractedClips:
    """Extract what is not in the store yet; summarise the frames that are not held out.

    Args:
        held_out: (segments,) whether a segment is excluded from the summaries.
        coefficients: number of MFCCs to summarise; 0: none.
        longest: in frames; longer clips are not summarised.
        jobs: processes; enough to keep all cores busy if not given.

    Raises:
        InputError: a candidate has another number of dimensions in another recording.
    """
    segments_of = corpus.by_recording()
    recordings = [
        _ClipRecording(**vars(recording), training=tuple(~held_out[segments]))
        for recording, segments in zip(list_recordings(corpus, plan), segments_of, strict=True)
    ]
    results = extract_recordings(
        plan,
        recordings,
        pool=Processes(jobs),
        measure=partial(_measure, coefficients=coefficients, longest=longest),
        reporter=reporter,
    )
    first, frames = np.zeros((2, len(corpus)), np.int64)
    digests: list[str] = []
    recording_frames = np.zeros(len(recordings), np.int64)
    problems: list[tuple[int, str, str]] = []
    sums: dict[str, Summary] = {}
    # In the order of the recordings, so that sums are rounded in the same way on every run.
    for index, (extracted, measured) in enumerate(in_order(results)):
        entry = RecordingEntry(recordings[index], segments_of[index], extracted)
        digests.append(extracted.digest)
        if measured is None:
            problems += entry.describe_problems()
            continue
        problems += entry.describe_problems(measured.problems)
        usable = entry.segments[measured.problems == 0]
        first[usable], frames[usable] = measured.first, measured.frames
        recording_frames[index] = measured.recording_frames
        _add_sums(sums, measured.sums, entry.recording.name)
    return ExtractedClips(plan, tuple(digests), recording_frames, first, frames, problems, sums)


def _add_sums(sums: dict[str, Summary], more: dict[str, Summary], name: str) -> None:
    """Add a recording's sums to those of earlier recordings."""
    for target, summary in more.items():
        known = sums.get(target)
        if known and known.mean.shape != summary.mean.shape:
            raise InputError(
                f"{target} has {len(summary.mean)} values a frame for {name}, and "
                f"{len(known.mean)} for an earlier recording"
            )
        sums[target] = known + summary if known else summary


def _measure(
    plan: Plan, recording: _ClipRecording, extracted: Extracted, *, coefficients: int, longest: int
) -> _ClipSummary:
    """The clips of a recording, and sums over its training frames; runs in a worker process."""
    duration = extracted.duration
    problems = segment_problems(recording.start, recording.end, duration)
    name = mel_key(extracted.digest)
    arrays, frames = read_or_extract(plan, recording, extracted.digest, name, plan.candidates)
    mel = arrays["mel"]
    edges = segment_edges(recording.start, recording.end, duration)
    start, end = (edge[problems == 0] for edge in edges)
    first, stop = frame_range(start, end, audio.WINDOW / 2, audio.HOP, len(mel))
    used = np.array(recording.training)[problems == 0] & (stop - first <= longest)
    sums: dict[str, Summary] = {}
    if used.any():
        spans = zip(first[used], stop[used], strict=True)
        rows = np.concatenate([np.arange(*span) for span in spans])
        bands = mel[rows].astype(np.float32)
        sums = {"mel": Summary.of(bands)}
        if coefficients:
            sums["mfcc"] = Summary.of(bands @ audio.cepstral_basis(bands.shape[1], coefficients))
        for candidate in plan.candidates:
            if candidate.provider != "column":
                values, timing = candidate_values(plan, candidate, frames, duration)
                sums[candidate.name] = Summary.of(align(values, *timing, 0, len(mel))[rows])
    return _ClipSummary(problems, first, stop - first, len(mel), sums)


def _select_segments(
    corpus: Corpus, settings: PretrainSettings
) -> tuple[Corpus, NDArray[np.bool_]]:
    """The segments of the chosen split, and whether each (segments,) is held out."""
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
        # In the order of a digest of the name: random, but the same on every run.
        recordings = np.unique(corpus.recording[keep])
        names = [f"{settings.seed} {corpus.names[r]}" for r in recordings]
        digests = [digest(name.encode(errors="surrogateescape")) for name in names]
        count = max(1, round(share * len(recordings))) if share and len(recordings) > 1 else 0
        for_validation = recordings[np.argsort(digests, kind="stable")[:count]]
        held_out = np.isin(corpus.recording, for_validation)
    return corpus.select(keep), held_out[keep]


def _share(validation: str) -> float | None:
    try:
        share = float(validation)
    except ValueError:
        return None
    if not 0 <= share <= 0.9:
        raise InputError(f"validation is {share:g}, but is a share between 0 and 0.9, or a split")
    return share
