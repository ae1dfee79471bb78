"""The ranking: candidates ordered by how independent of the speech they are, given the label."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augury import compute, pseudolabels
from augury.cluster import Cluster, opened
from augury.corpus import Corpus, Rejected, TooManyBad, refuse_too_many
from augury.doubts import doubts, redundancy
from augury.extract import Embedding, Gathered, Outcome, Plan, Work, extract, gather
from augury.provenance import segments_digest, versions
from augury.pseudolabels import Candidate
from augury.pseudolabels.columns import columns
from augury.results import Ranking, Sensitivity
from augury.rows import OnDevice, Scratch, Selected
from augury.scoring import alike, estimate, scored
from augury.settings import RankSettings
from augury.store import default_store, digest, key
from augury.threads import Run, threads

if TYPE_CHECKING:
    from distributed import Client

#: Segments that the sensitivity of the order is looked at on.
SUBSET = 2000
Progress = Callable[[int, int, float], None]  # recordings done, of how many, seconds of audio done


def rank(
    corpus: Corpus,
    candidates: Sequence[str] = tuple(pseudolabels.SEVEN),
    *,
    label: str,
    store: Path | str | None = None,
    jobs: int | None = None,
    cluster: str | Client | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    **choices: object,
) -> Ranking:
    """Rank candidate pseudo-labels for a labelled downstream set; nothing is trained.

    Args:
        corpus: from `read_corpus`.
        candidates: names, see `augury.pseudolabels`; the paper's seven if not given.
        label: the column that holds the downstream label.
        store: folder in which extracted values are kept; a second run reads them.
        jobs: worker processes; enough to keep all cores busy if not given.
        cluster: a Dask cluster that does the work instead, see `augury.cluster.opened`.
        device: "cuda" (or another device of torch) to score on a GPU; needs torch.
        progress: called as recordings are done.
        choices: fields of `RankSettings`, such as `estimator="paper"`.

    Raises:
        ValueError: a candidate, column or choice that does not exist, or labels that leave nothing
            to compare.
        TooManyBad: a larger share than `max_bad` of the segments can't be used.
        ConnectionError: the cluster can't be reached, or has no workers.
    """
    if isinstance(candidates, str):
        raise ValueError(f"candidates is {candidates!r}, but must be a list of names")
    settings = RankSettings.of(label=label, candidates=tuple(candidates), **choices)
    chosen = pseudolabels.candidates(settings.candidates)
    timings: dict[str, float] = {}
    given = _selection(corpus, settings)
    # First, as an unknown column or device should not cost an extraction.
    of_columns = columns(given, chosen)
    _units(given, settings)
    if device and cluster:
        raise ValueError("--device and --cluster can't be combined; leave one out")
    if device:
        OnDevice.check(device)
    # Absolute, as a cluster's workers run in other folders.
    plan = _plan(chosen, settings, Path(store or default_store()).absolute())
    works, places = _works(given, settings)
    with opened(cluster, jobs) as there, Scratch(plan.store) as scratch:
        if there:
            there.check(plan, works)
        outcomes = _extracted(plan, works, jobs or compute.enough(), there, progress)
        for outcome in outcomes:
            for name, seconds in outcome.seconds.items():
                timings[name] = timings.get(name, 0.0) + seconds
        with compute.timed(timings, "gather"):
            data = gather(
                plan, works, outcomes, places, chosen,
                unvoiced=settings.unvoiced, empty=partial(scratch.empty, shared=there is not None),
            )  # fmt: skip
            keep, data, rejected = _usable(given, data, settings)
            kept = given if keep.all() else given.select(keep)
        refuse_too_many(rejected, len(kept), settings.max_bad)
        values = data.values | {name: z[keep] for name, z in of_columns.items()}
        classes, y, counts = np.unique(
            kept.label(settings.label), return_inverse=True, return_counts=True
        )
        if len(classes) < 2 or counts.max() < 4:
            raise ValueError(
                f"column {settings.label} leaves {len(classes)} classes, the largest of "
                f"{counts.max()} segments; at least two classes, and four segments in one, are "
                "needed"
            )
        resampled, units = _units(kept, settings)
        groups = len(kept) if units is None else len(np.unique(units))
        x = scratch.rows(data.embeddings[0])
        # With a cluster, jobs are its workers; the sensitivity's few segments stay here.
        here = partial(threads, count=None if there else jobs)
        run = partial(_over, there, scratch) if there else here
        if device:
            x = OnDevice(x, device)
        with compute.timed(timings, "HSIC"):
            found = scored(chosen, values, x, y, units, settings, run)
        results = found.results
    with compute.timed(timings, "sensitivity"):
        subset = [k for k, w in enumerate(works) if w.variants and not outcomes[k].problem]
        near = [(works[k], outcomes[k], places[k]) for k in subset]
        sensitivity = _sensitivity(plan, near, keep, chosen, values, y, settings, here)
    order = [result.name for result in results]
    used = {outcome.digest for outcome in outcomes if not outcome.problem}
    return Ranking(
        estimator=settings.estimator,
        label=settings.label,
        results=results,
        class_names=tuple(map(str, classes)),
        class_counts=tuple(map(int, counts)),
        class_shares=_shares(counts, settings.estimator),
        segments=len(kept),
        recordings=len(kept.recordings),
        hours=sum(outcome.duration for outcome in outcomes) / 3600,
        warnings=doubts(
            results,
            counts,
            [outcome.rate for outcome in outcomes if outcome.rate],
            estimator=settings.estimator,
            label=settings.label,
            resampled=None if units is None or not settings.bootstrap else (resampled, groups),
        ),
        redundancy=redundancy([values.get(name) for name in order]),
        better=found.better,
        resampled=resampled,
        units=groups,
        sensitivity=sensitivity,
        quarantine=dict(sorted(Counter(one.reason for one in rejected).items())),
        settings=settings.to_dict(),
        versions=versions(chosen),
        inputs={"segments": segments_digest(kept, settings.label), "audio": key(sorted(used))},
        command=_command(corpus, settings),
        rejected=rejected,
        timings=timings,
    )


# ------------------------------------------------------------------------- before extraction


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


def _units(kept: Corpus, settings: RankSettings) -> tuple[str, NDArray[np.int64] | None]:
    """What the bootstrap resamples, and its codes; None: segments inside their classes.

    Segments cut from one recording are no independent evidence: unless told otherwise, recordings
    are resampled as soon as one has several, and there are at least two.
    """
    recordings = len(np.unique(kept.recording))
    several = 1 < recordings < len(kept)
    name = settings.group or ("recording" if several else "segment")
    if name == "segment":
        return "segment", None
    if name == "recording" and name not in kept.columns:
        groups = kept.recording.astype(np.int64)
    else:
        text = kept.label(name)
        if (text == "").any():
            raise ValueError(
                f"--group {name}: the column is empty in {(text == '').sum()} rows; fill it, or "
                "leave those rows out"
            )
        groups = np.unique(text, return_inverse=True)[1]
    if settings.bootstrap and groups.min() == groups.max():
        raise ValueError(
            f"--group {name}: all segments are of one; to resample whole groups, at least two are "
            "needed"
        )
    return name, groups


def _selection(corpus: Corpus, settings: RankSettings) -> Corpus:
    """The segments asked for: of the split, without the excluded labels."""
    y = corpus.label(settings.label)
    keep = np.ones(len(corpus), bool)
    if settings.split:
        keep &= corpus.of_split(settings.split)
    for name in settings.exclude:
        if not (y == name).any():
            raise ValueError(f"--exclude {name}: no segment has this {settings.label}")
        keep &= y != name
    if not keep.any():
        why = "all are excluded" if len(corpus) else "all rows were refused"
        message = f"there is no segment to rank: {why}"
        raise TooManyBad(message, corpus.rejected) if corpus.rejected else ValueError(message)
    return corpus if keep.all() else corpus.select(keep)


def _plan(chosen: list[Candidate], settings: RankSettings, store: Path) -> Plan:
    base = settings.base_embedding()
    others = (e for _, e, _ in _variants(settings) if e != base)
    return Plan.of(chosen, store, unvoiced=settings.unvoiced, embeddings=(base, *others))


def _variants(settings: RankSettings) -> list[tuple[str, Embedding, float]]:
    """Settings near the chosen ones: (name, embedding, factor of the kernel's width)."""
    base = settings.base_embedding()
    if not settings.sensitivity:
        return []
    name = "directions" if base.kind == "svcca" else "N"
    found = [("as set", base, 1.0)]
    fewer = base.parts // 4 * 2  # even, as `released` must be
    numbers = [n for n in (fewer, base.parts * 2) if n]
    found += [(f"{name} = {n}", replace(base, parts=n), 1.0) for n in numbers]
    if base.kind != "svcca":
        widths = (base.width / 2, base.width * 2)
        found += [(f"σ_gd = {w:g}", replace(base, width=w), 1.0) for w in widths]
    return found + [(f"kernel width × {f:g}", base, f) for f in (0.5, 2.0)]


def _works(given: Corpus, settings: RankSettings) -> tuple[list[Work], list[NDArray[np.int64]]]:
    """One work a recording, and the places of its segments in the corpus."""
    places = given.by_recording()
    subset: set[int] = set()
    if settings.sensitivity:
        # By a digest of the name: spread over the corpus, and the same on every run.
        taken = 0
        digests = [digest(name.encode(errors="surrogateescape")) for name in given.names]
        for r in sorted(range(len(digests)), key=digests.__getitem__):
            if taken >= SUBSET:
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
    plan: Plan, works: list[Work], jobs: int, cluster: Cluster | None, progress: Progress | None
) -> list[Outcome]:
    outcomes: list[Outcome] = [Outcome()] * len(works)
    done, seconds = 0, 0.0
    for index, outcome in compute.spread(extract, plan, works, jobs=jobs, cluster=cluster):
        if isinstance(outcome, compute.WorkerDied):
            outcome = Outcome(problem=("crashed", f"{works[index].name}: {outcome}"))
        outcomes[index] = outcome
        done, seconds = done + 1, seconds + outcome.duration
        if progress:
            progress(done, len(works), seconds)
    return outcomes


# -------------------------------------------------------------------------- after extraction


def _usable(
    given: Corpus, data: Gathered, settings: RankSettings
) -> tuple[NDArray[np.bool_], Gathered, tuple[Rejected, ...]]:
    """Which segments can be compared, their arrays, and what was left out with the reason."""
    rejected = list(given.rejected)
    for place, reason, detail in data.problems:
        rejected.append(given.refused(place, reason, detail))
    y = given.label(settings.label)
    keep = data.usable.copy()
    for place in np.flatnonzero(keep & (y == "")):
        detail = f"column {settings.label} is empty"
        rejected.append(given.refused(int(place), "no-label", detail))
    keep &= y != ""
    names, counts = np.unique(y[keep], return_counts=True)
    lone = set(names[counts == 1])
    for place in np.flatnonzero(keep):
        if y[place] in lone:
            text = (
                f"the only segment whose {settings.label} is {y[place]}: nothing to compare it with"
            )
            rejected.append(given.refused(int(place), "lone-label", text))
            keep[place] = False
    among = keep[data.usable]
    if not among.all():
        values = {name: array[among] for name, array in data.values.items()}
        places = np.flatnonzero(among)
        data = replace(
            data, embeddings=[Selected.of(x, places) for x in data.embeddings], values=values
        )
    return keep, data, tuple(sorted(rejected, key=lambda one: (one.row, one.reason)))


def _shares(counts: NDArray, estimator: str) -> tuple[float, ...]:
    if estimator == "released":
        return (1.0 / len(counts),) * len(counts)
    weights = np.where(counts >= 4, counts, 0) if estimator == "robust" else counts
    return tuple(map(float, weights / max(weights.sum(), 1)))


def _sensitivity(
    plan: Plan,
    near: list[tuple[Work, Outcome, NDArray[np.int64]]],
    keep: NDArray[np.bool_],
    chosen: list[Candidate],
    values: dict[str, NDArray],
    y: NDArray,
    settings: RankSettings,
    run: Run,
) -> Sensitivity | None:
    """The scores under settings near the chosen ones, on the recordings of the subset."""
    variants = _variants(settings)
    if not variants or not near:
        return None
    works, outcomes, places = (list(column) for column in zip(*near, strict=True))
    among = np.concatenate(places)  # the subset's segments, as places in the corpus given
    own = np.split(np.arange(len(among)), np.cumsum([len(p) for p in places])[:-1])
    rows = (np.cumsum(keep) - 1)[among[keep[among]]]  # and as places among the kept
    zs = {name: z[rows] for name, z in values.items()}
    which = range(len(plan.embeddings))
    data = gather(plan, works, outcomes, own, (), unvoiced=settings.unvoiced, which=which)
    inside = np.flatnonzero(keep[among[data.usable]])
    scores: dict[str, list[float | None]] = {one.name: [] for one in chosen}
    groups = alike(chosen, zs, y[rows])
    for _, embedding, scale in variants:
        x = Selected.of(data.embeddings[plan.embeddings.index(embedding)], inside)
        for members, has, status in groups:
            found: list[float | None] = [None] * len(members)
            if status == "ranked":
                known = [zs[one.name][has] for one in members]
                at = Selected.of(x, np.flatnonzero(has))
                made = estimate(at, known, y[rows][has], settings, scale=scale, run=run)
                found = [one.score for one in made]
            for one, score in zip(members, found, strict=True):
                scores[one.name].append(score)
    names = tuple(name for name, _, _ in variants)
    return Sensitivity(len(rows), names, {name: tuple(row) for name, row in scores.items()})


# ------------------------------------------------------------------------- where it came from


def _command(corpus: Corpus, settings: RankSettings) -> str:
    default = RankSettings(label=settings.label, estimator=settings.estimator)
    words = ["augury", "rank", str(corpus.source), "--label", settings.label]
    words += ["--candidates", ",".join(settings.candidates), "--estimator", settings.estimator]
    for name in ("embedding", "parts", "downsampling_width", "kernel_width", "unvoiced", "split"):
        if (value := getattr(settings, name)) != getattr(default, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for name in settings.exclude:
        words += ["--exclude", name]
    if settings.max_bad != default.max_bad:
        words += ["--max-bad", str(settings.max_bad)]
    for name in ("tolerance", "bootstrap", "group", "permutations", "seed"):
        if (value := getattr(settings, name)) != getattr(default, name):
            words += [f"--{name}", str(value)]
    if not settings.sensitivity:
        words.append("--no-sensitivity")
    home = corpus.source if corpus.source.is_dir() else corpus.source.parent
    if not all(path.is_relative_to(home.resolve()) for path in corpus.recordings):
        words.append("--allow-outside")
    return shlex.join(words)
