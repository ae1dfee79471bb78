# pyright: reportMissingTypeStubs=false
"""How well categories of frames agree with the label, as published tables of units measure it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array  # pyright: ignore[reportUnknownVariableType]

from augury.hsic.information import entropy
from augury.hsic.kernels import Matrix, Values, Vector, frame_counts

#: Entries of tables that are drawn again at once.
BATCH = 1 << 22


@dataclass(frozen=True)
class ClusterMeasures:
    """Agreement of categories with a label over all frames, and how the categories are used.

    Hsu et al. (2021, HuBERT, section IV.C): the label of a frame is that of its segment.
    """

    pnmi: (
        float  # mutual information with the label / the label's entropy, 0..1; not freed of chance
    )
    pnmi_interval: tuple[float, float] | None  # 95 %, of units drawn again
    label_purity: float  # mean share of a category's most frequent label ("phone purity")
    label_purity_interval: tuple[float, float] | None
    cluster_purity: float  # mean share of a label's most frequent category
    cluster_purity_interval: tuple[float, float] | None
    entropy: float  # of the categories, in nats
    used: int  # categories that come at all
    categories: int


def cluster_measures(
    z: Values,
    y: ArrayLike,
    units: ArrayLike | None = None,
    *,
    replicates: int = 200,
    seed: int = 0,
) -> ClusterMeasures:
    """PNMI, purities and entropy of categories.

    >>> z = np.array([[4, 0], [3, 1], [0, 4], [0, 4]])
    >>> measures = cluster_measures(z, ["a", "a", "b", "b"], replicates=0)
    >>> round(measures.pnmi, 3), measures.label_purity, measures.cluster_purity
    (0.717, 0.9375, 0.9375)

    Args:
        z: (n,) codes of categories, each segment of weight 1, or (n, categories) counts of frames.
        y: (n,) label.
        units: (n,) codes of what is independent: recordings, speakers; None: segments.
        replicates, seed: how often units are drawn again for the intervals, which the chance that
            PNMI contains makes neither wider nor moves; 0: no intervals.
    """
    labels = np.unique(np.asarray(y), return_inverse=True)[1]
    codes = np.arange(len(z)) if units is None else np.unique(units, return_inverse=True)[1]
    rows, columns, weights = frame_counts(z)
    names, columns = np.unique(columns, return_inverse=True)
    shape = len(names), int(labels.max()) + 1
    cells = columns * shape[1] + labels[rows]
    tables: Any = csr_array(
        (weights, (codes[rows], cells)), shape=(int(codes.max()) + 1, shape[0] * shape[1])
    )
    whole = np.asarray(tables.sum(axis=0)).reshape(1, *shape)
    pnmi, label_purity, cluster_purity = _agreement(whole)[:, 0].tolist()
    ends = _intervals(tables, shape, replicates, seed)
    return ClusterMeasures(
        pnmi, ends[0], label_purity, ends[1], cluster_purity, ends[2],
        entropy(whole[0].sum(axis=1)), len(names), z.shape[1] if z.ndim == 2 else len(names),
    )  # fmt: skip


def _agreement(tables: NDArray[np.float64]) -> Matrix:
    """(3, tables): PNMI, label purity and cluster purity of tables (…, categories, labels)."""
    total = tables.sum(axis=(1, 2))
    of_labels, of_clusters = tables.sum(axis=1), tables.sum(axis=2)
    nats = np.array([entropy(own) for own in of_labels])
    known = np.array(
        [
            entropy(own) - entropy(table.ravel()) + label
            for own, table, label in zip(of_clusters, tables, nats, strict=True)
        ]
    )
    purity = tables.max(axis=2).sum(axis=1) / total, tables.max(axis=1).sum(axis=1) / total
    return np.stack([known / np.where(nats > 0, nats, 1.0), *purity])


def _intervals(
    tables: Any, shape: tuple[int, int], replicates: int, seed: int
) -> list[tuple[float, float] | None]:
    """95 % of each measure, moved so that their means are the estimates: chance adds to copies."""
    units = tables.shape[0]
    if not replicates or units < 2:
        return [None] * 3
    rng = np.random.default_rng(seed)
    size = max(1, BATCH // max(shape[0] * shape[1], units))
    parts: list[Matrix] = []
    for k in range(0, replicates, size):
        draws = min(size, replicates - k)
        weights = rng.multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64)
        parts.append(_agreement(np.asarray(weights @ tables).reshape(-1, *shape)))
    drawn = np.concatenate(parts, axis=1)
    estimates: Vector = _agreement(np.asarray(tables.sum(axis=0)).reshape(1, *shape))[:, 0]
    drawn += (estimates - drawn.mean(axis=1))[:, None]
    low, high = np.clip(np.quantile(drawn, [0.025, 0.975], axis=1), 0, 1)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
