"""A labelled corpus as arrays: embeddings of its segments, candidates' values, and labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augury import compute, pseudolabels
from augury.compute.cluster import Cluster, open_cluster
from augury.compute.threads import RunTasks, run_in_threads
from augury.corpus.corpus import Corpus, Rejected, TooManyBad, refuse_too_many
from augury.embeddings import Scratch, Selected
from augury.errors import InputError
from augury.extraction.extract import (
    Embedding,
    Gathered,
    Outcome,
    Plan,
    Work,
    extract,
    gather,
    segment_edges,
)
from augury.pseudolabels.candidate import Candidate
from augury.pseudolabels.columns import columns
from augury.ranking.settings import RankSettings
from augury.reporter import ExtractionProgress, Reporter
from augury.store import default_store, digest, key

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Dataset:
    """The segments that can be compared, and what they came from."""

    corpus: Corpus  # of these segments
    candidates: list[Candidate]
    x: list[Any]  # embeddings as asked for, (segments, parts, mels) float32 each, of x[rows]
    values: dict[str, NDArray]  # candidate → (segments,) or (segments, dims); NaN, or -1: none
    y: NDArray[np.int64]  # (segments,) codes of the label
    classes: NDArray  # its names
    counts: NDArray[np.int64]  # segments of each
    seconds: NDArray[np.float64]  # (segments,) their lengths
    rejected: tuple[Rejected, ...]
    timings: dict[str, float]  # seconds by kind of work
    run: RunTasks  # who runs work on the segments: a cluster, or threads here
    here: RunTasks  # the same, for what stays here
    plan: Plan
    works: list[Work]  # one a recording
    outcomes: list[Outcome]
    places: list[NDArray[np.int64]]  # each recording's segments in the corpus given
    keep: NDArray[np.bool_]  # (segments given,) which of them are here

    def inputs(self, label: str) -> dict[str, str]:
        """Digests of what was read: the segments with their labels, and the audio."""
        used = {outcome.digest for outcome in self.outcomes if not outcome.problem}
        return {"segments": self.corpus.digest(label), "audio": key(sorted(used))}


@contextmanager
def open_dataset(
    given: Corpus,
    settings: RankSettings,
    *,
    embeddings: Sequence[Embedding],
    which: Sequence[int] = (0,),
    subset: int = 0,
    store: Path | str | None = None,
    jobs: int | None = None,
    cluster: str | Client | None = None,
    reporter: Reporter | None = None,
) -> Iterator[Dataset]:
    """Extract what is not in the store yet; the embeddings live as long as the block.

    Args:
        given: from `selected`.
        embeddings: those extracted.
        which: places of those that are wanted of every segment.
        subset: segments, at least, for whose recordings all embeddings are extracted; 0: those
            wanted are extracted for all, and no others.
        store, jobs, cluster, reporter: as for `rank`.

    Raises:
        As `rank` does.
    """
    chosen = pseudolabels.parse_candidates(settings.candidates)
    of_columns = columns(given, chosen)
    # Absolute, as a cluster's workers run in other folders.
    place = Path(store or default_store()).absolute()
    plan = Plan.of(chosen, place, unvoiced=settings.unvoiced, embeddings=tuple(embeddings))
    works, places = _works(given, len(given) if len(which) > 1 else subset)
    timings: dict[str, float] = {}
    with open_cluster(cluster, jobs) as there, Scratch(plan.store) as scratch:
        if there:
            there.check(plan, works)
        outcomes = _extracted(plan, works, jobs or compute.process_count(), there, reporter)
        for outcome in outcomes:
            for name, seconds in outcome.seconds.items():
                timings[name] = timings.get(name, 0.0) + seconds
        with compute.timed(timings, "gather"):
            data = gather(
                plan, works, outcomes, places, chosen, unvoiced=settings.unvoiced, which=which,
                empty=partial(scratch.empty, shared=there is not None),
            )  # fmt: skip
            keep, data, rejected = _usable(given, data, settings)
            kept = given if keep.all() else given.select(keep)
        refuse_too_many(rejected, len(kept), settings.max_bad)
        classes, y, counts = np.unique(
            kept.label(settings.label), return_inverse=True, return_counts=True
        )
        if len(classes) < 2 or counts.max() < 4:
            raise InputError(
                f"column {settings.label} leaves {len(classes)} classes, the largest of "
                f"{counts.max()} segments; at least two classes, and four segments in one, are "
                "needed"
            )
        # With a cluster, jobs are its workers.
        here = partial(run_in_threads, count=None if there else jobs)
        yield Dataset(
            corpus=kept,
            candidates=chosen,
            x=[scratch.rows(one) for one in data.embeddings],
            values=data.values | {name: z[keep] for name, z in of_columns.items()},
            y=y,
            classes=classes,
            counts=counts,
            seconds=_lengths(given, outcomes)[keep],
            rejected=rejected,
            timings=timings,
            run=partial(_over, there, scratch) if there else here,
            here=here,
            plan=plan,
            works=works,
            outcomes=outcomes,
            places=places,
            keep=keep,
        )


def select_segments(corpus: Corpus, settings: RankSettings) -> Corpus:
    """The segments asked for: of the split, without the excluded labels."""
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


def _works(given: Corpus, least: int) -> tuple[list[Work], list[NDArray[np.int64]]]:
    """One work a recording, and the places of its segments in the corpus.

    `least`: segments whose recordings get all embeddings.
    """
    places = given.by_recording()
    subset: set[int] = set()
    if least:
        # By a digest of the name: spread over the corpus, and the same on every run.
        taken = 0
        digests = [digest(name.encode(errors="surrogateescape")) for name in given.names]
        for r in sorted(range(len(digests)), key=digests.__getitem__):
            if taken >= least:
                break
            subset.add(r)
            taken += len(places[r])
    works = [
        Work(
            path,
            given.names[r],
            tuple(given.start[places[r]].tolist()),
            tuple(given.end[places[r]].tolist()),
            r in subset,
        )
        for r, path in enumerate(given.recordings)
    ]
    return works, places


def _extracted(
    plan: Plan, works: list[Work], jobs: int, cluster: Cluster | None, reporter: Reporter | None
) -> list[Outcome]:
    outcomes: list[Outcome] = [Outcome()] * len(works)
    done, seconds = 0, 0.0
    for index, outcome in compute.spread(extract, plan, works, jobs=jobs, cluster=cluster):
        if isinstance(outcome, compute.WorkerDied):
            outcome = Outcome(problem=("crashed", f"{works[index].name}: {outcome}"))
        outcomes[index] = outcome
        done, seconds = done + 1, seconds + outcome.duration
        if reporter:
            reporter.progress(ExtractionProgress(done, len(works), seconds))
    return outcomes


def _lengths(given: Corpus, outcomes: list[Outcome]) -> NDArray[np.float64]:
    """Seconds of each segment that lie in its recording."""
    whole = np.array([outcome.duration for outcome in outcomes])[given.recording]
    begin, stop = segment_edges(given.start, given.end, whole)
    return stop - begin


def _usable(
    given: Corpus, data: Gathered, settings: RankSettings
) -> tuple[NDArray[np.bool_], Gathered, tuple[Rejected, ...]]:
    """Which segments can be compared, their arrays, and what was left out with the reason."""
    rejected = list(given.rejected)
    for place, reason, detail in data.problems:
        rejected.append(given.reject(place, reason, detail))
    y = given.label(settings.label)
    keep = data.usable.copy()
    for place in np.flatnonzero(keep & (y == "")):
        detail = f"column {settings.label} is empty"
        rejected.append(given.reject(int(place), "no-label", detail))
    keep &= y != ""
    names, counts = np.unique(y[keep], return_counts=True)
    lone = set(names[counts == 1])
    for place in np.flatnonzero(keep):
        if y[place] in lone:
            text = (
                f"the only segment whose {settings.label} is {y[place]}: nothing to compare it with"
            )
            rejected.append(given.reject(int(place), "lone-label", text))
            keep[place] = False
    among = keep[data.usable]
    if not among.all():
        values = {name: array[among] for name, array in data.values.items()}
        places = np.flatnonzero(among)
        data = replace(
            data, embeddings=[Selected.of(x, places) for x in data.embeddings], values=values
        )
    return keep, data, tuple(sorted(rejected, key=lambda one: (one.row, one.reason)))


def _over(
    there: Cluster, scratch: Scratch, x: Any, tasks: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """Run the estimator's tasks on a cluster; results in their order."""
    items = list(tasks)
    if not items:
        return
    found = compute.spread(_task, scratch.whole(x), items, jobs=1, cluster=there)
    for result in compute.in_order(found):
        if isinstance(result, compute.WorkerDied):
            raise RuntimeError(
                f"a part of the estimate killed two workers; out of memory? {result}"
            )
        yield result


def _task(x: Any, task: tuple[Any, ...]) -> Any:
    function, *arguments = task
    return function(x, *arguments)
