"""Rank candidates by how independent of the speech they are, given the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from augury import compute, pseudolabels
from augury.corpus.corpus import Corpus
from augury.embeddings import OnDevice
from augury.errors import InputError
from augury.provenance import versions
from augury.pseudolabels.columns import columns_to_declare
from augury.ranking.caveats import find_caveats
from augury.ranking.dataset import Dataset, open_dataset, select_segments
from augury.ranking.origin import Origin
from augury.ranking.ranks import redundancy
from augury.ranking.result import Ranking, Sensitivity
from augury.ranking.scoring import CandidateScores, score_candidates
from augury.ranking.sensitivity import SUBSET, estimate_sensitivity, variants_of
from augury.ranking.settings import RankSettings
from augury.reporter import Reporter

if TYPE_CHECKING:
    from distributed import Client


def rank(
    corpus: Corpus,
    candidates: Sequence[str] | None = None,
    *,
    label: str,
    out: Path | str | None = None,
    store: Path | str | None = None,
    jobs: int | None = None,
    cluster: str | Client | None = None,
    device: str | None = None,
    fresh: bool = False,
    reporter: Reporter | None = None,
    **choices: object,
) -> Ranking:
    """Rank candidate pseudo-labels for a labelled downstream set; nothing is trained.

    Args:
        corpus: from `read_corpus`.
        candidates: names, see `augury.pseudolabels.candidate`; the paper's seven if not given, or
            Augury's own where openSMILE is not installed.
        label: the column that holds the downstream label.
        out: folder for ranking.json, ranking.csv, report.html, quarantine.csv and timings.json;
            None: write nothing.
        store: folder in which extracted values are kept; a second run reads them.
        jobs: worker processes; enough to keep all cores busy if not given.
        cluster: a Dask cluster that does the work instead, see `augury.compute.open_pool`.
        device: "cuda" (or another device of torch) to score on a GPU; needs torch.
        fresh: compute the values of your own functions anew, though the store has some.
        reporter: shows progress and warnings.
        choices: fields of `RankSettings`, such as `estimator="paper"`.

    Raises:
        InputError: a candidate, column or choice that does not exist, or too few classes or
            segments to compare.
        TooManyBad: a larger share than `max_bad` of the segments is unusable.
        ConnectionError: the cluster can't be reached, or has no workers.

    >>> import augury
    >>> from pathlib import Path
    >>> manifest = Path(augury.__file__).parent / "demo_data" / "manifest.csv"
    >>> corpus = augury.read_corpus(manifest)
    >>> ranking = augury.rank(corpus, ["own:rms", "own:noise"], label="digit", jobs=1)
    >>> [result.name for result in ranking.results]
    ['own:rms', 'own:noise']
    """
    if isinstance(candidates, str):
        raise InputError(f"candidates is {candidates!r}, but must be a list of names")
    if candidates is None:
        candidates = pseudolabels.default_candidates()
    settings = RankSettings.of(label=label, candidates=tuple(candidates), **choices)
    segments = select_segments(corpus, settings)
    _resampling_units(segments, settings)  # a missing column should not cost an extraction
    if device and cluster:
        raise InputError("--device and --cluster can't be combined; leave one out")
    if device:
        OnDevice.check(device)
    variants = variants_of(settings)
    embeddings = dict.fromkeys([settings.base_embedding(), *(v.embedding for v in variants)])
    with open_dataset(
        segments, settings, embeddings=tuple(embeddings), subset=SUBSET if variants else 0,
        store=store, jobs=jobs, cluster=cluster, fresh=fresh, reporter=reporter,
    ) as data:  # fmt: skip
        units = _resampling_units(data.corpus, settings)
        x = OnDevice(data.x[0], device) if device else data.x[0]
        with compute.measure_time(data.timings, "HSIC"):
            scores = score_candidates(
                data.candidates, data.values, x, data.y, data.seconds, units.codes, settings,
                data.run,
            )  # fmt: skip
    with compute.measure_time(data.timings, "sensitivity"):
        sensitivity = estimate_sensitivity(data, variants, settings)
    ranking = _assemble(corpus, data, scores, units, sensitivity, settings)
    if out is not None:
        from augury.ranking.report import write_report  # matplotlib takes a while to load

        ranking.write(out)
        write_report(ranking, out)
    return ranking


@dataclass(frozen=True)
class _Units:
    """What the bootstrap resamples."""

    name: str  # "segment", "recording" or a column
    codes: NDArray[np.int64] | None  # (n,) of each segment; None: segments are units
    count: int


def _assemble(
    corpus: Corpus,
    data: Dataset,
    scores: CandidateScores,
    units: _Units,
    sensitivity: Sensitivity | None,
    settings: RankSettings,
) -> Ranking:
    """The ranking from its computed parts; `corpus` is the argument of `rank`."""
    results = scores.results
    grouped = units.codes is not None and settings.bootstrap
    return Ranking(
        estimator=settings.estimator,
        label=settings.label,
        results=results,
        class_names=tuple(map(str, data.classes)),
        class_counts=tuple(map(int, data.counts)),
        class_shares=_shares(data.counts, settings.estimator),
        segments=len(data.corpus),
        recordings=len(data.corpus.recordings),
        hours=data.extraction.seconds / 3600,
        warnings=find_caveats(
            results,
            data.counts,
            data.extraction.rates,
            estimator=settings.estimator,
            label=settings.label,
            resampled=(units.name, units.count) if grouped else None,
            unvoiced=data.unvoiced,
            clipped=data.extraction.clipped_shares,
            copies=[row.path for row in data.rejected if row.reason == "copy"],
            faults=data.faults(),
            to_declare=columns_to_declare(data.candidates, data.values),
        ),
        redundancy=redundancy([data.values.get(result.name) for result in results]),
        better=scores.better,
        resampled=units.name,
        units=units.count,
        sensitivity=sensitivity,
        quarantine=dict(sorted(Counter(row.reason for row in data.rejected).items())),
        origin=Origin.of(corpus),
        settings=settings,
        versions=versions(*pseudolabels.packages(data.candidates)),
        inputs=data.inputs(settings.label),
        rejected=data.rejected,
        timings={name: round(seconds, 3) for name, seconds in data.timings.items()},
    )


def _resampling_units(corpus: Corpus, settings: RankSettings) -> _Units:
    """The units that the bootstrap resamples.

    Segments of one recording are not independent: unless `group` is set, whole recordings are
    resampled if there are at least two and any has several segments.
    """
    recordings = len(np.unique(corpus.recording))
    several = 1 < recordings < len(corpus)
    name = settings.group or ("recording" if several else "segment")
    if name == "segment":
        return _Units("segment", None, len(corpus))
    if name == "recording" and name not in corpus.columns:
        codes = corpus.recording.astype(np.int64)
    else:
        text = corpus.label(name)
        if (text == "").any():
            raise InputError(
                f"--group {name}: the column is empty in {(text == '').sum()} rows; fill it, or "
                "leave those rows out"
            )
        codes = np.unique(text, return_inverse=True)[1]
    if settings.bootstrap and codes.min() == codes.max():
        raise InputError(
            f"--group {name}: all segments are of one group; resampling whole groups needs at "
            "least two"
        )
    return _Units(name, codes, len(np.unique(codes)))


def _shares(counts: NDArray[np.int64], estimator: str) -> tuple[float, ...]:
    """Weights of the classes in the score."""
    if estimator == "released":
        return (1.0 / len(counts),) * len(counts)
    weights = np.where(counts >= 4, counts, 0) if estimator == "robust" else counts
    return tuple(map(float, weights / max(weights.sum(), 1)))
