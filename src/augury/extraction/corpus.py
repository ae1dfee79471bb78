"""A corpus extracted over a pool of workers: one object that describes what the store has of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from augury import pseudolabels
from augury.compute import (
    Pool,
    Processes,
    Threads,
    WorkerDied,
    cores,
    in_order,
    map_any_order,
)
from augury.corpus.corpus import Corpus
from augury.extraction.extract import Extracted, extract, look_up
from augury.extraction.plan import Plan, Recording
from augury.extraction.segments import SEGMENT_PROBLEMS, segment_edges
from augury.pseudolabels.candidate import Candidate
from augury.report.text import count
from augury.reporter import ExtractionProgress, Reporter
from augury.store import key

#: Packages whose versions the extracted values depend on; workers must have the same versions.
PACKAGES = ("augury", "numpy", "scipy", "soundfile", "soxr", "opensmile")
#: Recordings that a thread looks at in turn.
CHUNK = 32

Cut = TypeVar("Cut", bound=Recording)
Measurement = TypeVar("Measurement")


@dataclass(frozen=True)
class RecordingEntry:
    """A recording of a corpus, and the outcome of its extraction."""

    recording: Recording
    segments: NDArray[np.int64]  # its segments' indices in the corpus
    extracted: Extracted

    def describe_problems(
        self, codes: NDArray[np.uint8] | None = None
    ) -> list[tuple[int, str, str]]:
        """Its unusable segments, as (index in the corpus, reason, detail).

        `codes` (segments,) are those of `augury.extraction.segments.SEGMENT_PROBLEMS`, 0 for none;
        they are ignored if the whole recording is unusable.
        """
        if self.extracted.problem:
            return [(int(segment), *self.extracted.problem) for segment in self.segments]
        problems: list[tuple[int, str, str]] = []
        if codes is None:
            return problems
        for k in np.flatnonzero(codes):
            reason, detail = SEGMENT_PROBLEMS[int(codes[k])]
            span = f"{self.recording.start[k]:.3f} to {self.recording.end[k]:.3f} s"
            detail = detail.format(duration=self.extracted.duration)
            text = f"{self.recording.name}: {span} {detail}"
            problems.append((int(self.segments[k]), reason, text))
        return problems


@dataclass(frozen=True)
class Extraction:
    """The extraction of a corpus: its recordings with their segments and outcomes."""

    plan: Plan
    entries: tuple[RecordingEntry, ...]  # one per recording, in the corpus's order

    @property
    def segments(self) -> int:
        """The number of segments."""
        return sum(len(entry.segments) for entry in self.entries)

    @property
    def seconds(self) -> float:
        """Seconds of audio in the recordings."""
        return sum(entry.extracted.duration for entry in self.entries)

    @property
    def rates(self) -> list[int]:
        """The rate, in Hz, of every recording that could be decoded."""
        return [entry.extracted.rate for entry in self.entries if entry.extracted.rate]

    @property
    def clipped_shares(self) -> list[float]:
        """The share of clipped samples of every recording of which it is known."""
        shares = [entry.extracted.clipped for entry in self.entries]
        return [share for share in shares if share is not None]

    @property
    def timings(self) -> dict[str, float]:
        """Processor seconds spent on extraction, by kind of work."""
        timings: dict[str, float] = {}
        for entry in self.entries:
            for name, seconds in entry.extracted.seconds.items():
                timings[name] = timings.get(name, 0.0) + seconds
        return timings

    def digest(self) -> str:
        """A digest of the usable audio, independent of the order of recordings."""
        usable = [entry.extracted for entry in self.entries if not entry.extracted.problem]
        return key(sorted({extracted.digest for extracted in usable}))

    def segment_seconds(self, corpus: Corpus) -> NDArray[np.float64]:
        """The length (segments,) in seconds of each segment, up to its recording's end."""
        durations = np.array([entry.extracted.duration for entry in self.entries])[corpus.recording]
        begin, stop = segment_edges(corpus.start, corpus.end, durations)
        return stop - begin

    def with_all_embeddings(self) -> tuple[Extraction, NDArray[np.int64]]:
        """The usable recordings with all embeddings, as an extraction of their own.

        Returns:
            The smaller extraction, and the indices of its segments in this one's corpus.
        """
        extracted = [
            entry
            for entry in self.entries
            if entry.recording.all_embeddings and not entry.extracted.problem
        ]
        entries: list[RecordingEntry] = []
        count = 0
        for entry in extracted:
            segments = np.arange(count, count + len(entry.segments))
            entries.append(replace(entry, segments=segments))
            count += len(entry.segments)
        indices = np.concatenate([np.empty(0, np.int64), *(entry.segments for entry in extracted)])
        return Extraction(self.plan, tuple(entries)), indices


def extract_corpus(
    corpus: Corpus,
    plan: Plan,
    *,
    pool: Pool,
    all_embeddings: Collection[int] = (),
    reporter: Reporter | None = None,
) -> Extraction:
    """Extract everything of a corpus that is not in the store.

    Args:
        pool: from `augury.compute.open_pool`.
        all_embeddings: indices of the recordings for which all embeddings of the plan are
            extracted; for the others only the first is.
        reporter: receives the progress.

    Raises:
        InputError: a cluster's worker sees other files, or has other versions.
    """
    recordings = list_recordings(corpus, plan, all_embeddings)
    results = in_order(extract_recordings(plan, recordings, pool=pool, reporter=reporter))
    entries = [
        RecordingEntry(recording, segments, extracted)
        for recording, segments, (extracted, _) in zip(
            recordings, corpus.by_recording(), results, strict=True
        )
    ]
    if reporter and (plan.extractor or plan.functions):
        reused = sum(entry.extracted.reused for entry in entries)
        usable = sum(not entry.extracted.problem for entry in entries)
        reporter.message(
            f"candidates' values of {count(usable, 'recording')}: {reused:,} from the store, "
            f"{usable - reused:,} computed"
        )
    return Extraction(plan, tuple(entries))


def list_recordings(
    corpus: Corpus, plan: Plan, all_embeddings: Collection[int] = ()
) -> list[Recording]:
    """The recordings of a corpus, each with its segments."""
    rows = common_rows(corpus) if plan.with_recording else [()] * len(corpus.recordings)
    return [
        Recording(
            path,
            name,
            tuple(corpus.start[segments].tolist()),
            tuple(corpus.end[segments].tolist()),
            index in all_embeddings,
            row,
        )
        for index, (path, name, segments, row) in enumerate(
            zip(corpus.recordings, corpus.names, corpus.by_recording(), rows, strict=True)
        )
    ]


def common_rows(corpus: Corpus) -> list[tuple[tuple[str, str], ...]]:
    """Each recording's columns, and their values, that are the same in all of its segments."""
    rows: list[tuple[tuple[str, str], ...]] = []
    for segments in corpus.by_recording():
        cells = {name: set(values[segments]) for name, values in corpus.columns.items()}
        rows.append(tuple((name, *found) for name, found in cells.items() if len(found) == 1))
    return rows


def extract_recordings(
    plan: Plan,
    recordings: Sequence[Cut],
    *,
    pool: Pool,
    measure: Callable[[Plan, Cut, Extracted], Measurement] | None = None,
    reporter: Reporter | None = None,
) -> Iterator[tuple[int, tuple[Extracted, Measurement | None]]]:
    """Extract recordings; yields (index, (outcome, measurement)) of each when it is done.

    A recording on which a worker process died has the problem "crashed"; like bad audio, it is a
    result, not an exception.

    Args:
        measure: called on a worker for each usable recording after its extraction; must be
            importable by name (or a `partial` of such a function).

    Raises:
        InputError: a cluster's worker sees other files, or has other versions.
    """
    pool.require_paths(plan.store, [recording.path for recording in recordings[:1]])
    pool.require_same(
        _function_versions,
        [candidate for candidate, _ in plan.functions],
        remedy="every worker must find the same module; put its folder on the workers' PYTHONPATH",
    )
    count, seconds = 0, 0.0
    if measure is None and isinstance(pool, Processes):
        for extracted in _look_up_first(plan, recordings, min(pool.count, cores())):
            yield count, (extracted, None)
            count, seconds = count + 1, seconds + extracted.duration
            if reporter:
                reporter.progress(ExtractionProgress(count, len(recordings), seconds))
    rest, first = recordings[count:], count
    for index, result in map_any_order(_extract_and_measure, (plan, measure), rest, pool=pool):
        index += first
        if isinstance(result, WorkerDied):
            problem = ("crashed", f"{recordings[index].name}: {result}")
            extracted, measurement = Extracted(problem=problem), None
        else:
            extracted, measurement = result
        count, seconds = count + 1, seconds + extracted.duration
        if reporter:
            reporter.progress(ExtractionProgress(count, len(recordings), seconds))
        yield index, (extracted, measurement)


def _look_up_first(
    plan: Plan, recordings: Sequence[Recording], threads: int
) -> Iterator[Extracted]:
    """The outcomes of the first recordings, up to one of which the store does not have all.

    In this process: to start others takes longer than to look at thousands of recordings.
    """
    chunks = [recordings[k : k + CHUNK] for k in range(0, len(recordings), CHUNK)]
    results = map_any_order(_look_up_all, plan, chunks, pool=Threads(threads))
    for some in in_order(results):
        assert not isinstance(some, WorkerDied)
        for extracted in some:
            if extracted is None:
                return
            yield extracted


def _look_up_all(plan: Plan, recordings: Sequence[Recording]) -> list[Extracted | None]:
    """The outcomes of recordings, up to and with the first that is None."""
    outcomes: list[Extracted | None] = []
    for recording in recordings:
        outcomes.append(look_up(plan, recording))
        if outcomes[-1] is None:
            break
    return outcomes


def _extract_and_measure(
    shared: tuple[Plan, Callable[[Plan, Cut, Extracted], Measurement] | None], recording: Cut
) -> tuple[Extracted, Measurement | None]:
    plan, measure = shared
    extracted = extract(plan, recording)
    if extracted.problem or not measure:
        return extracted, None
    return extracted, measure(plan, recording, extracted)


def _function_versions(candidates: Sequence[Candidate]) -> dict[str, str]:
    return {candidate.name: pseudolabels.function_version(candidate) for candidate in candidates}
