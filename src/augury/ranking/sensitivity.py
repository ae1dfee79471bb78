"""Whether the order holds under other settings: scores of a fixed subset of the segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.embeddings import Indices, Selected, Shifted
from augury.extraction.corpus import Extraction
from augury.extraction.gather import gather
from augury.extraction.plan import Embedding
from augury.pseudolabels.candidate import Candidate, is_voiced_only, parse_candidates
from augury.ranking.dataset import Dataset, adjust_level
from augury.ranking.ranks import average_ranks
from augury.ranking.result import Sensitivity
from augury.ranking.scoring import estimate, group_by_missing
from augury.ranking.settings import RankSettings
from augury.ranking.values import value_mask

#: Smallest number of segments of the subset.
SUBSET = 2000
#: dB by which recordings are made louder or quieter.
GAIN = 20.0


@dataclass(frozen=True)
class Variant:
    """Settings near the chosen ones."""

    name: str  # "as set", "N = 10", "kernel width × 2"
    embedding: Embedding
    scale: float = 1.0  # factor of the kernel's width
    gain: float = 0.0  # dB by which each recording is made louder or quieter, at random
    by_rank: bool = False  # scalars replaced by their ranks
    unvoiced: str = ""  # how frames without a voice are averaged, "" as set


def variants_of(settings: RankSettings) -> list[Variant]:
    """The variants that a ranking is repeated under, the chosen settings first; [] if disabled.

    >>> [variant.name for variant in variants_of(RankSettings(label="phone"))][-3:]
    ['recordings ± 20 dB', 'ranks of scalars', 'unvoiced = voiced']
    """
    base = settings.base_embedding()
    if not settings.sensitivity:
        return []
    name = "directions" if base.kind == "svcca" else "N"
    variants = [Variant("as set", base)]
    fewer = base.parts // 4 * 2  # even, as `released` must be
    numbers = [n for n in (fewer, base.parts * 2) if n]
    variants += [Variant(f"{name} = {n}", replace(base, parts=n)) for n in numbers]
    if base.kind != "svcca":
        widths = (base.width / 2, base.width * 2)
        variants += [Variant(f"σ_gd = {w:g}", replace(base, width=w)) for w in widths]
    variants += [Variant(f"kernel width × {f:g}", base, f) for f in (0.5, 2.0)]
    if base.kind != "svcca":  # whose directions have no level
        variants.append(Variant(f"recordings ± {GAIN:g} dB", base, gain=GAIN))
    variants.append(Variant("ranks of scalars", base, by_rank=True))
    if any(is_voiced_only(candidate) for candidate in parse_candidates(settings.candidates)):
        other = "published" if settings.unvoiced == "voiced" else "voiced"
        variants.append(Variant(f"unvoiced = {other}", base, unvoiced=other))
    return variants


def estimate_sensitivity(
    data: Dataset, variants: Sequence[Variant], settings: RankSettings
) -> Sensitivity | None:
    """The scores under each variant of the settings, on the recordings of the subset.

    None where there are no variants, or no recording of the subset could be read.
    """
    extraction, subset = data.extraction.with_all_embeddings()
    if not variants or not len(subset):
        return None
    rows = (np.cumsum(data.keep) - 1)[subset[data.keep[subset]]]  # among the segments kept
    embeddings = extraction.plan.embeddings
    arrays = gather(extraction, (), which=range(len(embeddings)))
    usable = np.flatnonzero(data.keep[subset[arrays.usable]])
    known_values = {name: z[rows] for name, z in data.values.items()}
    ranked_values = {name: _ranks(z) for name, z in known_values.items()}
    other = next((variant.unvoiced for variant in variants if variant.unvoiced), "")
    other_values = known_values | _gather_voiced_only(extraction, data.candidates, other, usable)
    y, recording = data.y[rows], data.corpus.recording[rows]
    louder = np.random.default_rng(settings.seed).choice([-1.0, 1.0], recording.max() + 1)
    scores: dict[str, list[float | None]] = {candidate.name: [] for candidate in data.candidates}
    # Ranks are missing where the values are.
    groups, other_groups = (
        group_by_missing(data.candidates, zs, y) for zs in (known_values, other_values)
    )
    for variant in variants:
        x = Selected.of(arrays.embeddings[embeddings.index(variant.embedding)], usable)
        x = adjust_level(x, recording, settings)
        if variant.gain:
            x = Shifted(x, variant.gain * louder[recording])
        zs = ranked_values if variant.by_rank else known_values
        zs = other_values if variant.unvoiced else zs
        for members, known, status in other_groups if variant.unvoiced else groups:
            values: list[float | None] = [None] * len(members)
            if status == "ranked":
                estimates = estimate(
                    Selected.of(x, np.flatnonzero(known)),
                    [zs[candidate.name][known] for candidate in members],
                    y[known],
                    settings,
                    scale=variant.scale,
                    run=data.here,
                )
                values = [result.score for result in estimates]
            for candidate, value in zip(members, values, strict=True):
                scores[candidate.name].append(value)
    names = tuple(variant.name for variant in variants)
    return Sensitivity(len(rows), names, {name: tuple(row) for name, row in scores.items()})


def _gather_voiced_only(
    extraction: Extraction, candidates: Sequence[Candidate], unvoiced: str, usable: Indices
) -> dict[str, NDArray[Any]]:
    """Values of candidates that describe the voice, averaged in another way over their frames."""
    voiced_only = [candidate for candidate in candidates if is_voiced_only(candidate)]
    if not unvoiced or not voiced_only:
        return {}
    extraction = replace(extraction, plan=replace(extraction.plan, unvoiced=unvoiced))
    gathered = gather(extraction, voiced_only, which=())
    return {name: z[usable] for name, z in gathered.values.items()}


def _ranks(z: NDArray[Any]) -> NDArray[Any]:
    """A scalar's ranks, NaN where it has no value; vectors and categories as they are."""
    if z.dtype.kind in "iu" or z.ndim > 1:
        return z
    known, ranked = value_mask(z), np.full(len(z), np.nan)
    ranked[known] = average_ranks(z[known])
    return ranked
