"""Prepare a corpus for a task: assign splits and folds, extract log-mel, cut stretches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio
from augury.corpus.corpus import Corpus, Rejected, TooManyBad, refuse_too_many
from augury.corpus.manifest import write_quarantine
from augury.downstream.features import Mel, Stretches, cut_stretches, mean_and_std
from augury.downstream.settings import EvaluateSettings
from augury.downstream.splits import SPLITS, TEST, TRAIN, assign_splits
from augury.downstream.tasks.task import Task, task_version
from augury.errors import InputError
from augury.extraction.plan import Plan
from augury.learning.processes import ProcessGroup
from augury.pretraining.clips import Clips
from augury.pretraining.prepare import ExtractedClips, extract_clips
from augury.reporter import Reporter
from augury.store import key


@dataclass(frozen=True)
class Fold:
    """A task with one assignment of segments to splits; several in cross-validation, else one."""

    task: Task
    stretches: Stretches

    @cached_property
    def mel_statistics(self) -> tuple[NDArray, NDArray]:
        """Mean and standard deviation (bands,) of the log-mel of the training split, in dB.

        The standard deviation is at least 1 dB: rounding errors of a band without energy (speech
        sampled at 8 kHz) would otherwise be amplified.
        """
        mean, std = mean_and_std(Mel(self.stretches.clips), self.stretches.of(TRAIN))
        return mean, np.maximum(std, 1.0)


@dataclass(frozen=True)
class TaskData:
    """A corpus ready for a task to be trained and tested on."""

    name: str  # of the task
    settings: EvaluateSettings
    folds: tuple[Fold, ...]
    about: dict[str, Any]  # the field `data` of results.json: what each split holds, digests


def prepare_task(
    name: str,
    task: type[Task],
    settings: EvaluateSettings,
    corpus: Corpus,
    *,
    store: Path,
    folder: Path,
    group: ProcessGroup,
    jobs: int | None,
    reporter: Reporter | None,
) -> TaskData:
    """Select the task's segments, assign them to splits, extract log-mel, and cut stretches.

    Writes quarantine.csv to `folder`: the segments that are left out, with their reasons.

    Raises:
        InputError: no segment has a label, or a split is empty.
        TooManyBad: a larger share than `settings.max_bad` of the segments can't be used.
    """
    source = corpus.source
    if not len(corpus):  # the reader rejected all rows, with reasons
        _refuse_too_many(corpus.rejected, 0, settings, folder, group)
    corpus, rejected = task.select_segments(settings, corpus)
    rejected += corpus.rejected
    if not len(corpus):
        raise InputError(f"{source}: no segment has a {settings.label}; is it the right column?")
    corpus, splits = _assign_folds(task, settings, corpus)
    plan = Plan.of([], store, unvoiced="published", mel=True)
    processes = 1 if group.rank else jobs
    held_out = np.ones(len(corpus), bool)  # of all segments: no statistics are needed here
    extracted = extract_clips(
        corpus, held_out, plan, jobs=processes, reporter=None if group.rank else reporter
    )
    problems = extracted.problems
    rejected += [corpus.reject(*problem) for problem in problems]
    _refuse_too_many(tuple(rejected), len(corpus) - len(problems), settings, folder, group)
    corpus, splits, extracted = _keep_usable(corpus, splits, extracted)
    folds = tuple(
        _make_fold(task, settings, corpus, split, extracted, rejected) for split in splits
    )
    rejected = sorted(set(rejected), key=lambda row: (row.row, row.reason))
    if not group.rank:
        write_quarantine(rejected, folder / "quarantine.csv")
    about = _describe_data(settings, corpus, source, splits, extracted, folds, rejected)
    if version := task_version(name):
        about["code"] = version[name]
    return TaskData(name, settings, folds, about)


def _refuse_too_many(
    rejected: tuple[Rejected, ...],
    kept: int,
    settings: EvaluateSettings,
    folder: Path,
    group: ProcessGroup,
) -> None:
    try:
        refuse_too_many(rejected, kept, settings.max_bad)
    except TooManyBad as error:
        if not group.rank:
            write_quarantine(error.rejected, folder / "quarantine.csv")
        raise


def _assign_folds(
    task: type[Task], settings: EvaluateSettings, corpus: Corpus
) -> tuple[Corpus, list[NDArray]]:
    """The segments that are in any split of any fold, and each fold's split of them (segments,)."""
    splits = [
        assign_splits(corpus, settings, known_speakers=task.known_speakers, fold=fold)
        for fold in range(max(1, settings.folds))
    ]
    used = np.any([split != "" for split in splits], axis=0)
    return corpus.select(used), [split[used] for split in splits]


def _keep_usable(
    corpus: Corpus, splits: list[NDArray], extracted: ExtractedClips
) -> tuple[Corpus, list[NDArray], ExtractedClips]:
    """All three without the segments that could not be extracted."""
    usable = np.flatnonzero(extracted.frames > 0)
    place = {path: r for r, path in enumerate(corpus.recordings)}
    corpus = corpus.select(usable)
    recordings = [place[path] for path in corpus.recordings]  # those still used
    return corpus, [split[usable] for split in splits], extracted.select(usable, recordings)


def _make_fold(
    task: type[Task],
    settings: EvaluateSettings,
    corpus: Corpus,
    split: NDArray,
    extracted: ExtractedClips,
    rejected: list[Rejected],
) -> Fold:
    """The task with one assignment to splits; adds segments it can't train on to `rejected`."""
    prepared = task(settings, corpus, split, extracted.frames)
    split = split.copy()
    for place, reason, detail in [*prepared.untrainable(), *_too_long(prepared, settings)]:
        if split[place] != TEST:  # the test set stays the same
            split[place] = ""
            rejected.append(corpus.reject(place, reason, detail))
    for name in SPLITS:
        if not (split == name).any():
            raise InputError(f"no segment is left in the {name} split: {_count_reasons(rejected)}")
    return Fold(prepared, _make_stretches(task, settings, corpus, split, extracted))


def _too_long(task: Task, settings: EvaluateSettings) -> list[tuple[int, str, str]]:
    """Uncropped segments longer than the settings allow: place, reason, detail."""
    if task.crop:
        return []
    longest = round(settings.longest / audio.HOP)
    return [
        (
            int(place), "longer-than-longest",
            f"{task.frames[place] * audio.HOP:.2f} s, and longest is {settings.longest:g} s",
        )
        for place in np.flatnonzero(task.frames > longest)
    ]  # fmt: skip


def _make_stretches(
    task: type[Task],
    settings: EvaluateSettings,
    corpus: Corpus,
    split: NDArray,
    extracted: ExtractedClips,
) -> Stretches:
    """The stretches of all splits; segments that are in no split are left out."""
    order, rows = cut_stretches(
        corpus.recording, extracted.first, extracted.frames, split, extracted.recording_frames,
        longest=round(settings.longest / audio.HOP), separate=task.separate,
    )  # fmt: skip
    counts = rows[:, 4] - rows[:, 3]  # segments of each stretch
    used = split[order[rows[:, 3]]] != ""
    order, rows, counts = order[np.repeat(used, counts)], rows[used], counts[used]
    clips = Clips(
        extracted.plan, corpus.recordings, corpus.names, extracted.digests,
        rows[:, 0], rows[:, 1], rows[:, 2], np.zeros(len(rows), bool),
    )  # fmt: skip
    stretch = np.repeat(np.arange(len(rows)), counts)
    first_segment = np.cumsum(counts) - counts
    first = extracted.first[order] - rows[stretch, 1]
    return Stretches(
        clips, split[order[first_segment]], order, stretch, first, extracted.frames[order]
    )


def _describe_data(
    settings: EvaluateSettings,
    corpus: Corpus,
    source: Any,
    splits: list[NDArray],
    extracted: ExtractedClips,
    folds: tuple[Fold, ...],
    rejected: Sequence[Rejected],
) -> dict[str, Any]:
    """The field `data` of results.json: digests, and what each split holds."""
    columns = [settings.label, *(c for c in ("split", "speaker") if c in corpus.columns)]
    about: dict[str, Any] = {
        # JSON must be UTF-8, which names of files need not be.
        "manifest": str(source).encode(errors="backslashreplace").decode(),
        "segments": corpus.digest(*dict.fromkeys(columns)),
        "audio": key(*extracted.digests),
        "left_out": _count_reasons(rejected),
    }
    stretches = folds[0].stretches
    for name in SPLITS:
        # The test segments of all folds are counted; of the other splits only the first fold's.
        places = (
            np.flatnonzero(np.any([split == TEST for split in splits], axis=0))
            if name == TEST
            else np.sort(stretches.segment[stretches.split[stretches.stretch] == name])
        )
        about[name] = {
            "segments": len(places),
            "hours": round(float(extracted.frames[places].sum() * audio.HOP / 3600), 4),
        }
        if "speaker" in corpus.columns:
            about[name]["speakers"] = len(set(corpus.columns["speaker"][places].tolist()))
    return about


def _count_reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    return dict(sorted(Counter(row.reason for row in rejected).items()))
