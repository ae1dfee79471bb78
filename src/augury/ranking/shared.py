"""What the candidates of a ranking share with each other, on the scale of their relevance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.hsic.shared import LabelColumns
from augury.ranking.reopen import reopen
from augury.ranking.result import Ranking
from augury.ranking.values import value_mask
from augury.reporter import Reporter

#: Most segments that it is computed from: independent values share 0 ± √2 / 2,000 there.
MOST_SEGMENTS = 2000


class SharedDependence:
    """HSIC(Z, Z′) of two candidates, unbiased and normalised: 0 independent, 1 the same.

    Scalars, vectors and categories alike, over segments where both have a value. A pair is computed
    when it is asked for.

    >>> shared = SharedDependence({"a": np.arange(9.0), "b": -np.arange(9.0), "c": np.ones(9)})
    >>> round(shared("a", "b"), 6), shared("a", "c")
    (1.0, 0.0)
    """

    def __init__(self, values: Mapping[str, NDArray[Any]]) -> None:
        count = len(next(iter(values.values()), ()))
        rows = np.sort(np.random.default_rng(0).permutation(count)[:MOST_SEGMENTS])
        self._values = {name: z[rows] for name, z in values.items()}
        self._columns: dict[str, LabelColumns] = {}
        self._pairs: dict[tuple[str, str], float] = {}

    @classmethod
    def from_store(
        cls,
        ranking: Ranking,
        *,
        manifest: Path | str | None = None,
        store: Path | str | None = None,
        jobs: int | None = None,
        reporter: Reporter | None = None,
    ) -> SharedDependence:
        """Of a ranking's relevant candidates, on the segments that were ranked.

        Args:
            manifest, store, jobs, reporter: as for `reopen`.

        Raises:
            InputError: as `reopen`.
        """
        names = [result.name for result in ranking.relevant_results]
        with reopen(
            ranking, names, which=(), manifest=manifest, store=store, jobs=jobs, reporter=reporter
        ) as data:
            return cls({name: data.values[name] for name in names})

    def __call__(self, one: str, other: str) -> float:
        """The value of two candidates."""
        pair = (min(one, other), max(one, other))
        if pair not in self._pairs:
            self._pairs[pair] = self._of(pair[0]).correlation_with(self._of(pair[1]))
        return self._pairs[pair]

    def _of(self, name: str) -> LabelColumns:
        if name not in self._columns:
            z = self._values[name]
            self._columns[name] = LabelColumns.of(z, value_mask(z))
        return self._columns[name]
