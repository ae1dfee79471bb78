"""The ranking: candidates ordered by how independent of the speech they are, given the label."""

from __future__ import annotations

import os
import platform
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from augury import compute, hsic, pseudolabels
from augury.cluster import Cluster, opened
from augury.corpus import Corpus, Rejected
from augury.doubts import doubts, redundancy
from augury.extract import Embedding, Gathered, Outcome, Plan, Work, extract, gather
from augury.pseudolabels import Candidate, opensmile
from augury.results import Ranking, Result, Sensitivity
from augury.settings import RankSettings
from augury.store import digest, key

if TYPE_CHECKING:
    from distributed import Client

#: Segments that the sensitivity of the order is looked at on.
SUBSET = 2000
#: More categories than this are rather names, each on a row or two.
MOST_CATEGORIES = 1000
#: A candidate's relevance counts from this many standard deviations of chance on.
RELEVANT = 3.0

Progress = Callable[[int, int, float], None]  # recordings done, of how many, seconds of audio done


class TooManyBad(ValueError):
    """More segments can't be used than was allowed; `rejected` names them."""

    def __init__(self, message: str, rejected: tuple[Rejected, ...]) -> None:
        super().__init__(message)
        self.rejected = rejected


def rank(
    corpus: Corpus,
    candidates: Sequence[str] = tuple(pseudolabels.SEVEN),
    *,
    label: str,
    store: Path | str | None = None,
    jobs: int | None = None,
    cluster: str | Client | None = None,
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
    columns = _columns(given, chosen)  # first: an unknown column should not cost an extraction
    # Absolute, as a cluster's workers run in other folders.
    plan = _plan(chosen, settings, Path(store or default_store()).absolute())
    works, places = _works(given, settings)
    with opened(cluster, jobs) as there:
        if there:
            there.check(plan, works)
        outcomes = _extracted(plan, works, jobs or compute.enough(), there, progress)
    for outcome in outcomes:
        for name, seconds in outcome.seconds.items():
            timings[name] = timings.get(name, 0.0) + seconds
    with compute.timed(timings, "gather"):
        data = gather(plan, works, outcomes, places, chosen, unvoiced=settings.unvoiced)
        keep, data, rejected = _usable(given, data, settings)
        kept = given if keep.all() else given.select(keep)
    _refuse_too_many(rejected, len(kept), settings.max_bad)
    values = data.values | {name: z[keep] for name, z in columns.items()}
    classes, y, counts = np.unique(
        kept.label(settings.label), return_inverse=True, return_counts=True
    )
    if len(classes) < 2 or counts.max() < 4:
        raise ValueError(
            f"column {settings.label} leaves {len(classes)} classes, the largest of {counts.max()} "
            "segments; at least two classes, and four segments in one, are needed"
        )
    with compute.timed(timings, "HSIC"):
        results = _scored(chosen, values, data.embeddings[0], y, settings)
    with compute.timed(timings, "sensitivity"):
        subset = [k for k, w in enumerate(works) if w.variants and not outcomes[k].problem]
        near = [(works[k], outcomes[k], places[k]) for k in subset]
        sensitivity = _sensitivity(plan, near, keep, chosen, values, y, settings)
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
        ),
        redundancy=redundancy([values.get(name) for name in order]),
        sensitivity=sensitivity,
        quarantine=dict(sorted(Counter(one.reason for one in rejected).items())),
        settings=settings.to_dict(),
        versions=versions(chosen),
        inputs={"segments": _segments_digest(kept, settings.label), "audio": key(sorted(used))},
        command=_command(corpus, settings),
        rejected=rejected,
        timings=timings,
    )


def default_store() -> Path:
    """Where extracted values are kept unless told otherwise: AUGURY_STORE, or the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("AUGURY_STORE") or Path(cache) / "augury")


# ------------------------------------------------------------------------- before extraction


def _selection(corpus: Corpus, settings: RankSettings) -> Corpus:
    """The segments asked for: of the split, without the excluded labels."""
    y = corpus.label(settings.label)
    keep = np.ones(len(corpus), bool)
    if settings.split:
        keep &= corpus.label("split") == settings.split
        if not keep.any():
            splits = ", ".join(sorted(set(map(str, corpus.label("split")))))
            raise ValueError(f"no segment is of split {settings.split!r}; there are {splits}")
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
    columns = [(one.where, one.what) for one in chosen if one.kind == "opensmile"]
    if settings.unvoiced == "voiced":  # the set's own pitch tells which frames have a voice
        columns += [
            (one.where, pseudolabels.PITCH[one.where])
            for one in chosen
            if one.kind == "opensmile" and one.what.startswith(pseudolabels.OF_VOICE)
        ]
    columns = list(dict.fromkeys(columns))
    functions = [one for one in chosen if one.kind == "function"]
    return Plan(
        store=store,
        embeddings=(base, *(e for _, e, scale in _variants(settings) if e != base)),
        smile=opensmile.extractor(columns) if columns else None,
        functions=tuple((one, pseudolabels.function_version(one)) for one in functions),
    )


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
    order = np.argsort(given.recording, kind="stable")
    counts = np.bincount(given.recording, minlength=len(given.recordings))
    places = np.split(order, np.cumsum(counts)[:-1])
    subset: set[int] = set()
    if settings.sensitivity:
        # By a digest of the name: spread over the corpus, and the same on every run.
        taken = 0
        digests = [digest(name.encode(errors="surrogateescape")) for name in given.names]
        for r in sorted(range(len(digests)), key=digests.__getitem__):
            if taken >= SUBSET:
                break
            subset.add(r)
            taken += int(counts[r])
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

    def refuse(place: int, reason: str, detail: str) -> None:
        start, end = (
            None if np.isnan(v) else float(v) for v in (given.start[place], given.end[place])
        )
        name = given.names[given.recording[place]]
        rejected.append(Rejected(int(given.rows[place]), name, start, end, reason, detail))

    for place, reason, detail in data.problems:
        refuse(place, reason, detail)
    y = given.label(settings.label)
    keep = data.usable.copy()
    for place in np.flatnonzero(keep & (y == "")):
        refuse(int(place), "no-label", f"column {settings.label} is empty")
    keep &= y != ""
    names, counts = np.unique(y[keep], return_counts=True)
    lone = set(names[counts == 1])
    for place in np.flatnonzero(keep):
        if y[place] in lone:
            text = (
                f"the only segment whose {settings.label} is {y[place]}: nothing to compare it with"
            )
            refuse(int(place), "lone-label", text)
            keep[place] = False
    among = keep[data.usable]
    if not among.all():
        values = {name: array[among] for name, array in data.values.items()}
        data = replace(data, embeddings=[x[among] for x in data.embeddings], values=values)
    return keep, data, tuple(sorted(rejected, key=lambda one: (one.row, one.reason)))


def _refuse_too_many(rejected: tuple[Rejected, ...], kept: int, max_bad: float) -> None:
    total = kept + len(rejected)
    if not total:
        raise ValueError("there is no segment")
    if len(rejected) <= max_bad * total and kept:
        return
    reasons = Counter(one.reason for one in rejected)
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    enough = -(-len(rejected) * 100 // total) / 100
    hint = f"; --max-bad {enough:g} would go on without them" if kept else ""
    if reasons["lone-label"] > total / 2:
        hint = "; nearly every row has a label of its own: is this a column of classes?"
    raise TooManyBad(
        f"{len(rejected)} of {total} segments can't be used ({counted}), more than the "
        f"{max_bad:.0%} allowed{hint}. quarantine.csv names each. The first: {rejected[0].detail}",
        rejected,
    )


def _columns(given: Corpus, chosen: list[Candidate]) -> dict[str, NDArray]:
    """Values of the candidates that are columns of the manifest: numbers, or codes of categories.

    Numbers are NaN, and codes -1, where a cell is empty; a number beyond 1e100 counts as none.
    """
    found: dict[str, NDArray] = {}
    for one in chosen:
        if one.kind != "column":
            continue
        text = given.label(one.what)
        numbers = [_as_number(cell) for cell in text]
        filled = text != ""
        known = np.array([number is not None for number in numbers])
        if known.sum() == filled.sum():
            values = np.array(numbers, np.float64)  # None, an empty cell, becomes NaN
            large = ~(np.abs(values) < pseudolabels.LARGEST)
            found[one.name] = np.where(large, np.nan, values)
        elif known.sum() >= 0.9 * filled.sum():
            row = int(np.flatnonzero(filled & ~known)[0])
            raise ValueError(
                f"{one.name}: row {given.rows[row]} holds {text[row]!r} where nearly all rows hold "
                "numbers; correct or empty it"
            )
        else:
            names, codes = np.unique(text, return_inverse=True)
            if len(names) > MOST_CATEGORIES:
                raise ValueError(
                    f"{one.name} has {len(names):,} different texts, more than the "
                    f"{MOST_CATEGORIES:,} that categories may have"
                )
            found[one.name] = np.where(filled, codes, -1).astype(np.int64)
    return found


def _as_number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _scored(
    chosen: list[Candidate],
    values: dict[str, NDArray],
    x: NDArray[np.float32],
    y: NDArray,
    settings: RankSettings,
) -> tuple[Result, ...]:
    """Every candidate's result, best first."""
    results: list[Result] = []
    all_classes = np.unique(y)
    for members, has, status in _alike(chosen, values, y):
        if status != "ranked":
            results += [_unranked(one, status, values.get(one.name), has) for one in members]
            continue
        rows = slice(None) if has.all() else has
        zs = [values[one.name][rows] for one in members]
        dependences = estimate(
            x[rows], zs, y[rows], estimator=settings.estimator, width=settings.kernel_width
        )
        totals, relevances = hsic.ingredients(x[rows], zs, y[rows])
        where = np.searchsorted(all_classes, np.unique(y[rows]))
        for one, z, c, t, r in zip(members, zs, dependences, totals, relevances, strict=True):
            if not np.isfinite([c.score, t.value, r.value]).all():
                raise ArithmeticError(f"{one.name}: a score is not finite; please report this")
            classes = np.full(len(all_classes), np.nan)
            classes[where] = c.classes
            relevant = r.value > RELEVANT * r.shuffled_sd
            results.append(
                Result(
                    name=one.name,
                    source=one.source,
                    status=status,
                    score=c.score,
                    shuffled=c.shuffled,
                    shuffled_sd=c.shuffled_sd,
                    spread=c.spread,
                    total=t.value,
                    relevance=r.value,
                    chance_sd=r.shuffled_sd,
                    relevant=relevant,
                    classes=tuple(None if np.isnan(v) else float(v) for v in classes),
                    dims=1 if z.ndim == 1 else z.shape[1],
                    missing=int((~has).sum()),
                    histogram=_histogram(z),
                    note="" if relevant else f"no relevance: it says nothing of {settings.label}",
                )
            )
    last = float("inf")
    return tuple(sorted(results, key=lambda r: (last if r.score is None else r.score, r.name)))


def _alike(
    chosen: list[Candidate], values: dict[str, NDArray], y: NDArray
) -> list[tuple[list[Candidate], NDArray[np.bool_], str]]:
    """Candidates that lack a value on the same segments, those segments, and their status.

    They share the work on the speech. Those that can't be ranked stand alone.
    """
    found: dict[tuple[str, bytes], tuple[list[Candidate], NDArray[np.bool_], str]] = {}
    for one in chosen:
        z = values.get(one.name)
        has = _has_value(z) if z is not None else np.zeros(len(y), bool)
        status = _status(z, has, y)
        found.setdefault((status, has.tobytes()), ([], has, status))[0].append(one)
    return list(found.values())


def estimate(
    x: NDArray,
    zs: Sequence[NDArray],
    y: NDArray,
    *,
    estimator: str,
    width: float,
    scale: float = 1.0,
) -> list[hsic.Dependence]:
    """An estimator of `augury.hsic` by name.

    Args:
        width: σ of the paper's kernel; `released` and `robust` have their own.
        scale: factor of whichever width is used.
    """
    if estimator == "paper":
        return hsic.paper(x, zs, y, width=width * scale)
    return {"released": hsic.released, "robust": hsic.robust}[estimator](x, zs, y, scale=scale)


def _has_value(z: NDArray) -> NDArray[np.bool_]:
    if z.dtype.kind in "iu":
        return np.asarray(z >= 0)
    return np.asarray(np.isfinite(z).reshape(len(z), -1).all(axis=1))


def _status(z: NDArray | None, has: NDArray[np.bool_], y: NDArray) -> str:
    counts = np.unique(y[has], return_counts=True)[1]
    if z is None or len(counts) < 2 or counts.max() < 4:
        return "missing"
    known = z[has]
    if known.dtype.kind in "iu":
        return "constant" if (known == known[0]).all() else "ranked"
    return "ranked" if hsic.standardised(known).any() else "constant"


def _unranked(one: Candidate, status: str, z: NDArray | None, has: NDArray[np.bool_]) -> Result:
    note = (
        "the same value everywhere: there is nothing to learn from it"
        if status == "constant"
        else "too few values: two classes, and four segments in one of them, are needed"
    )
    dims = 1 if z is None or z.ndim == 1 else z.shape[1]
    empty = ((), 0.0, 0.0)
    return Result(
        one.name, one.source, status, None, None, None, None, None, None, None, None,
        (), dims, int((~has).sum()), empty, note,
    )  # fmt: skip


def _histogram(z: NDArray) -> tuple[tuple[int, ...], float, float]:
    first = (z if z.ndim == 1 else z[:, 0]).astype(np.float64)
    counts, edges = np.histogram(first, bins=30)
    return tuple(map(int, counts)), float(edges[0]), float(edges[-1])


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
    inside = keep[among[data.usable]]
    scores: dict[str, list[float | None]] = {one.name: [] for one in chosen}
    groups = _alike(chosen, zs, y[rows])
    for _, embedding, scale in variants:
        x = data.embeddings[plan.embeddings.index(embedding)][inside]
        for members, has, status in groups:
            found: list[float | None] = [None] * len(members)
            if status == "ranked":
                known = [zs[one.name][has] for one in members]
                found = [
                    one.score
                    for one in estimate(
                        x[has],
                        known,
                        y[rows][has],
                        estimator=settings.estimator,
                        width=settings.kernel_width,
                        scale=scale,
                    )
                ]
            for one, score in zip(members, found, strict=True):
                scores[one.name].append(score)
    names = tuple(name for name, _, _ in variants)
    return Sensitivity(len(rows), names, {name: tuple(row) for name, row in scores.items()})


# ------------------------------------------------------------------------- where it came from


def versions(chosen: Sequence[Candidate] = ()) -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ["augury", "numpy", "scipy", "soundfile", "soxr"]
    if any(one.kind == "opensmile" for one in chosen):
        names.append("opensmile")
    found = {"python": platform.python_version()}
    return found | {name: metadata.version(name) for name in names}


def _segments_digest(kept: Corpus, label: str) -> str:
    spans = np.stack([kept.start, kept.end]).tobytes()
    parts = [list(kept.names), kept.recording.tolist(), digest(spans), list(kept.label(label))]
    return key(*parts)


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
    if not settings.sensitivity:
        words.append("--no-sensitivity")
    home = corpus.source if corpus.source.is_dir() else corpus.source.parent
    if not all(path.is_relative_to(home.resolve()) for path in corpus.recordings):
        words.append("--allow-outside")
    return shlex.join(words)
