"""The ranking: candidates ordered by how independent of the speech they are, given the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from augury import compute, pseudolabels
from augury.corpus.corpus import Corpus
from augury.embeddings import OnDevice, Selected
from augury.errors import InputError
from augury.extraction.extract import Embedding, gather
from augury.provenance import versions
from augury.ranking.caveats import find_caveats, redundancy
from augury.ranking.dataset import Dataset, open_dataset, select_segments
from augury.ranking.result import Ranking, Sensitivity
from augury.ranking.scoring import estimate, group_by_missing, score_candidates
from augury.ranking.settings import RankSettings
from augury.reporter import Reporter

if TYPE_CHECKING:
    from distributed import Client

#: Segments that the sensitivity of the order is looked at on.
SUBSET = 2000


def rank(
    corpus: Corpus,
    candidates: Sequence[str] = tuple(pseudolabels.SEVEN),
    *,
    label: str,
    out: Path | str | None = None,
    store: Path | str | None = None,
    jobs: int | None = None,
    cluster: str | Client | None = None,
    device: str | None = None,
    reporter: Reporter | None = None,
    **choices: object,
) -> Ranking:
    """Rank candidate pseudo-labels for a labelled downstream set; nothing is trained.

    Args:
        corpus: from `read_corpus`.
        candidates: names, see `augury.pseudolabels.candidate`; the paper's seven if not given.
        label: the column that holds the downstream label.
        out: folder for ranking.json, ranking.csv, report.html and the like; None: nothing is
            written.
        store: folder in which extracted values are kept; a second run reads them.
        jobs: worker processes; enough to keep all cores busy if not given.
        cluster: a Dask cluster that does the work instead, see `augury.compute.cluster.opened`.
        device: "cuda" (or another device of torch) to score on a GPU; needs torch.
        reporter: told of the recordings that are done.
        choices: fields of `RankSettings`, such as `estimator="paper"`.

    Raises:
        InputError: a candidate, column or choice that does not exist, or labels that leave nothing
            to compare.
        TooManyBad: a larger share than `max_bad` of the segments can't be used.
        ConnectionError: the cluster can't be reached, or has no workers.
    """
    if isinstance(candidates, str):
        raise InputError(f"candidates is {candidates!r}, but must be a list of names")
    settings = RankSettings.of(label=label, candidates=tuple(candidates), **choices)
    given = select_segments(corpus, settings)
    _units(given, settings)  # now, as a column that is not there should not cost an extraction
    if device and cluster:
        raise InputError("--device and --cluster can't be combined; leave one out")
    if device:
        OnDevice.check(device)
    variants = _variants(settings)
    embeddings = tuple(dict.fromkeys([settings.base_embedding(), *(e for _, e, _ in variants)]))
    with open_dataset(
        given, settings, embeddings=embeddings, subset=SUBSET if variants else 0,
        store=store, jobs=jobs, cluster=cluster, reporter=reporter,
    ) as data:  # fmt: skip
        kept, timings = data.corpus, data.timings
        resampled, units = _units(kept, settings)
        groups = len(kept) if units is None else len(np.unique(units))
        x = OnDevice(data.x[0], device) if device else data.x[0]
        with compute.timed(timings, "HSIC"):
            found = score_candidates(
                data.candidates, data.values, x, data.y, data.seconds, units, settings, data.run
            )
        results = found.results
    with compute.timed(timings, "sensitivity"):
        sensitivity = _sensitivity(data, variants, settings)
    order = [result.name for result in results]
    ranking = Ranking(
        estimator=settings.estimator,
        label=settings.label,
        results=results,
        class_names=tuple(map(str, data.classes)),
        class_counts=tuple(map(int, data.counts)),
        class_shares=_shares(data.counts, settings.estimator),
        segments=len(kept),
        recordings=len(kept.recordings),
        hours=sum(outcome.duration for outcome in data.outcomes) / 3600,
        warnings=find_caveats(
            results,
            data.counts,
            [outcome.rate for outcome in data.outcomes if outcome.rate],
            estimator=settings.estimator,
            label=settings.label,
            resampled=None if units is None or not settings.bootstrap else (resampled, groups),
        ),
        redundancy=redundancy([data.values.get(name) for name in order]),
        better=found.better,
        resampled=resampled,
        units=groups,
        sensitivity=sensitivity,
        quarantine=dict(sorted(Counter(one.reason for one in data.rejected).items())),
        settings=settings.to_dict(),
        versions=versions(*pseudolabels.packages(data.candidates)),
        inputs=data.inputs(settings.label),
        command=_command(corpus, settings),
        rejected=data.rejected,
        timings=timings,
    )
    if out is not None:
        from augury.ranking.report import write_report  # matplotlib takes a while to load

        ranking.write(out)
        write_report(ranking, out)
    return ranking


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
            raise InputError(
                f"--group {name}: the column is empty in {(text == '').sum()} rows; fill it, or "
                "leave those rows out"
            )
        groups = np.unique(text, return_inverse=True)[1]
    if settings.bootstrap and groups.min() == groups.max():
        raise InputError(
            f"--group {name}: all segments are of one; to resample whole groups, at least two are "
            "needed"
        )
    return name, groups


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


def _shares(counts: NDArray, estimator: str) -> tuple[float, ...]:
    if estimator == "released":
        return (1.0 / len(counts),) * len(counts)
    weights = np.where(counts >= 4, counts, 0) if estimator == "robust" else counts
    return tuple(map(float, weights / max(weights.sum(), 1)))


def _sensitivity(
    data: Dataset, variants: list[tuple[str, Embedding, float]], settings: RankSettings
) -> Sensitivity | None:
    """The scores under settings near the chosen ones, on the recordings of the subset."""
    plan, keep = data.plan, data.keep
    near = [
        (work, outcome, place)
        for work, outcome, place in zip(data.works, data.outcomes, data.places, strict=True)
        if work.variants and not outcome.problem
    ]
    if not variants or not near:
        return None
    works, outcomes, places = (list(column) for column in zip(*near, strict=True))
    among = np.concatenate(places)  # the subset's segments, as places in the corpus given
    own = np.split(np.arange(len(among)), np.cumsum([len(p) for p in places])[:-1])
    rows = (np.cumsum(keep) - 1)[among[keep[among]]]  # and as places among the kept
    zs = {name: z[rows] for name, z in data.values.items()}
    which = range(len(plan.embeddings))
    found = gather(plan, works, outcomes, own, (), unvoiced=settings.unvoiced, which=which)
    inside = np.flatnonzero(keep[among[found.usable]])
    scores: dict[str, list[float | None]] = {one.name: [] for one in data.candidates}
    y = data.y[rows]
    groups = group_by_missing(data.candidates, zs, y)
    for _, embedding, scale in variants:
        x = Selected.of(found.embeddings[plan.embeddings.index(embedding)], inside)
        for members, has, status in groups:
            values: list[float | None] = [None] * len(members)
            if status == "ranked":
                known = [zs[one.name][has] for one in members]
                at = Selected.of(x, np.flatnonzero(has))
                made = estimate(at, known, y[has], settings, scale=scale, run=data.here)
                values = [one.score for one in made]
            for one, value in zip(members, values, strict=True):
                scores[one.name].append(value)
    names = tuple(name for name, _, _ in variants)
    return Sensitivity(len(rows), names, {name: tuple(row) for name, row in scores.items()})


def _command(corpus: Corpus, settings: RankSettings) -> str:
    """A command line that gives this ranking again."""
    home = corpus.source if corpus.source.is_dir() else corpus.source.parent
    inside = all(path.is_relative_to(home.resolve()) for path in corpus.recordings)
    return settings.command(str(corpus.source), *([] if inside else ["--allow-outside"]))
