"""A labelled corpus as arrays: embeddings of its segments, candidates' values, and labels."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augury import pseudolabels
from augury.compute import Pool, RunTasks, measure_time, open_pool, run_in_threads, run_tasks
from augury.corpus.copies import find_copies, reject_copy
from augury.corpus.corpus import Corpus, Rejected, TooManyBad, refuse_too_many
from augury.embeddings import Embeddings, Scratch, Selected, Shifted
from augury.errors import InputError
from augury.extraction.corpus import PACKAGES, Extraction, extract_corpus
from augury.extraction.gather import Gathered, gather
from augury.extraction.plan import Embedding, Plan
from augury.pseudolabels.candidate import Candidate
from augury.pseudolabels.columns import columns
from augury.pseudolabels.files import FileValues, open_files
from augury.ranking.settings import RankSettings
from augury.reporter import Reporter
from augury.store import default_store, digest

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Dataset:
    """The usable segments of a corpus as arrays, and what they were extracted from."""

    corpus: Corpus  # of the usable segments
    candidates: list[Candidate]
    x: list[Embeddings]  # requested embeddings, each (segments, parts, mels) float32
    #: Candidate → (segments,) or (segments, dims), NaN missing; codes of categories, -1 missing; or
    #: counts of categories (segments, K), whole numbers, 0 in all of a row missing.
    values: dict[str, NDArray[Any]]
    files: dict[str, FileValues]  # the candidates whose values are in files
    unvoiced: dict[str, float]  # candidate → share of frames with the value for no voice
    y: NDArray[np.int64]  # (segments,) codes of the label
    classes: NDArray[Any]  # names of the codes
    counts: NDArray[np.int64]  # segments of each class
    seconds: NDArray[np.float64]  # (segments,) their lengths
    rejected: tuple[Rejected, ...]
    timings: dict[str, float]  # seconds by kind of work
    run: RunTasks  # runs the estimators' tasks: on a cluster, or in threads of this process
    here: RunTasks  # the same, always in threads of this process
    extraction: Extraction  # of all segments of the corpus
    keep: NDArray[np.bool_]  # (all segments,) which of them are usable

    def inputs(self, label: str) -> dict[str, str]:
        """Digests of the inputs: the segments with their labels, and the audio."""
        return {
            "segments": self.corpus.digest(label),
            "audio": self.extraction.digest(),
            **{
                name: value
                for file in self.files.values()
                for name, value in file.digests().items()
            },
        }

    def faults(self) -> dict[str, tuple[int, str]]:
        """Candidate → number of recordings without usable values, and the first reason."""
        return {
            name: (len(file.faults), next(iter(file.faults.values())))
            for name, file in self.files.items()
            if file.faults
        }


@contextmanager
def open_dataset(
    corpus: Corpus,
    settings: RankSettings,
    *,
    embeddings: Sequence[Embedding],
    which: Sequence[int] = (0,),
    subset: int = 0,
    store: Path | str | None = None,
    jobs: int | None = None,
    cluster: str | Client | None = None,
    fresh: bool = False,
    reporter: Reporter | None = None,
) -> Generator[Dataset]:
    """Extract what is not in the store yet; the embeddings can be read inside the `with` block.

    Args:
        corpus: from `select_segments`.
        embeddings: kinds of embedding to extract.
        which: indices of those to load for every segment.
        subset: extract all embeddings for recordings with at least so many segments; 0: extract
            only those in `which`, for all recordings.
        store, jobs, cluster, fresh, reporter: as for `rank`; and so is what is raised.
    """
    candidates = pseudolabels.parse_candidates(settings.candidates)
    column_values = columns(corpus, candidates)
    files = open_files(candidates, list(zip(corpus.names, corpus.recordings, strict=True)))
    root = Path(store or default_store()).absolute()  # as a cluster's workers run in other folders
    plan = Plan.of(
        candidates, root, unvoiced=settings.unvoiced, embeddings=tuple(embeddings), fresh=fresh
    )
    whole = _choose_recordings(corpus, len(corpus) if len(which) > 1 else subset)
    with open_pool(cluster, jobs, packages=PACKAGES) as pool, Scratch(root) as scratch:
        extraction = extract_corpus(
            corpus, plan, pool=pool, all_embeddings=whole, reporter=reporter
        )
        with measure_time(extraction.timings, "gather"):
            empty = partial(scratch.empty, shared=pool.remote)
            gathered = gather(extraction, candidates, files=files, which=which, empty=empty)
            keep, gathered, rejected = _select_usable(corpus, gathered, settings, extraction)
            kept = corpus if keep.all() else corpus.select(keep)
        classes, y, counts = _count_classes(kept, settings.label)
        here = partial(run_in_threads, count=None if pool.remote else jobs)
        level = partial(adjust_level, recording=kept.recording, settings=settings)
        yield Dataset(
            corpus=kept, candidates=candidates, files=files,
            x=[level(scratch.rows(x)) for x in gathered.embeddings],
            values=gathered.values | {name: z[keep] for name, z in column_values.items()},
            unvoiced=gathered.unvoiced, y=y, classes=classes, counts=counts,
            seconds=extraction.segment_seconds(corpus)[keep],
            rejected=rejected, timings=extraction.timings,
            run=partial(_run_on_files, pool, scratch) if pool.remote else here, here=here,
            extraction=extraction, keep=keep,
        )  # fmt: skip


def select_segments(corpus: Corpus, settings: RankSettings) -> Corpus:
    """The segments to rank: those of the split, without the excluded labels."""
    y = corpus.label(settings.label)
    keep = np.ones(len(corpus), bool)
    if settings.split:
        keep &= corpus.in_split(settings.split)
    for name in settings.exclude:
        if not (y == name).any():
            raise InputError(f"--exclude {name}: no segment has this {settings.label}")
        keep &= y != name
    if not keep.any():
        why = "all are excluded" if len(corpus) else "all rows were refused"
        message = f"there is no segment to rank: {why}"
        raise TooManyBad(message, corpus.rejected) if corpus.rejected else InputError(message)
    return corpus if keep.all() else corpus.select(keep)


def adjust_level(
    x: Embeddings, recording: NDArray[np.integer], settings: RankSettings
) -> Embeddings:
    """The embeddings without the mean level of each recording, where the settings ask for that."""
    if settings.recording_level == "kept":
        return x
    codes = np.unique(recording, return_inverse=True)[1]
    levels = np.empty(len(x))
    for begin in range(0, len(x), 1024):
        rows = np.arange(begin, min(begin + 1024, len(x)))
        levels[rows] = x[rows].reshape(len(rows), -1).mean(axis=1, dtype=np.float64)
    means = np.bincount(codes, levels) / np.bincount(codes)
    return Shifted(x, means.mean() - means[codes])


def _choose_recordings(corpus: Corpus, least: int) -> set[int]:
    """Indices of recordings that together have at least so many segments."""
    if not least:
        return set()
    segments = corpus.by_recording()
    chosen: set[int] = set()
    count = 0
    # In the order of digests of the names: spread over the corpus, and the same in every run.
    digests = [digest(name.encode(errors="surrogateescape")) for name in corpus.names]
    for r in sorted(range(len(digests)), key=digests.__getitem__):
        if count >= least:
            break
        chosen.add(r)
        count += len(segments[r])
    return chosen


def _count_classes(corpus: Corpus, label: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Names of the classes, their codes (segments,), and their sizes; InputError for too few."""
    classes, y, counts = np.unique(corpus.label(label), return_inverse=True, return_counts=True)
    if len(classes) < 2 or counts.max() < 4:
        raise InputError(
            f"column {label} leaves {len(classes)} classes, the largest of {counts.max()} "
            "segments; at least two classes, and four segments in one, are needed"
        )
    return classes, y, counts


def _select_usable(
    corpus: Corpus, gathered: Gathered, settings: RankSettings, extraction: Extraction
) -> tuple[NDArray[np.bool_], Gathered, tuple[Rejected, ...]]:
    """Mask of the usable segments, their arrays, and the others with the reasons."""
    rejected = list(corpus.rejected)
    for segment, reason, detail in gathered.problems:
        rejected.append(corpus.reject(segment, reason, detail))
    y = corpus.label(settings.label)
    keep = gathered.usable.copy()
    digests = [entry.extracted.digest for entry in extraction.entries]
    for segment, first in find_copies(corpus, digests).items():
        if keep[segment] and keep[first]:
            rejected.append(reject_copy(corpus, segment, first))
            keep[segment] = False
    for segment in np.flatnonzero(keep & (y == "")):
        detail = f"column {settings.label} is empty"
        rejected.append(corpus.reject(int(segment), "no-label", detail))
    keep &= y != ""
    names, counts = np.unique(y[keep], return_counts=True)
    lone = set(names[counts == 1])
    for segment in np.flatnonzero(keep):
        label = y[segment]
        if label in lone:
            text = f"the only segment whose {settings.label} is {label}: nothing to compare it with"
            rejected.append(corpus.reject(int(segment), "lone-label", text))
            keep[segment] = False
    kept = keep[gathered.usable]
    if not kept.all():
        rows = np.flatnonzero(kept)
        gathered = replace(
            gathered,
            embeddings=[Selected.of(x, rows) for x in gathered.embeddings],
            values={name: array[kept] for name, array in gathered.values.items()},
        )
    unusable = tuple(row for row in rejected if row.reason != "copy")
    refuse_too_many(unusable, int(keep.sum()), settings.max_bad)
    return keep, gathered, tuple(sorted(rejected, key=lambda row: (row.row, row.reason)))


def _run_on_files(
    pool: Pool, scratch: Scratch, x: Embeddings, tasks: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """Run an estimator's tasks on workers, which read the embeddings from a file."""
    tasks = list(tasks)
    return run_tasks(scratch.whole(x), tasks, pool=pool) if tasks else iter(())
