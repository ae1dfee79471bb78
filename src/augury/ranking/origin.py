"""Where the segments of a ranking were read from, as data: enough to read exactly them again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augury.corpus.corpus import Corpus
from augury.corpus.read import read_corpus
from augury.errors import InputError


@dataclass(frozen=True)
class Origin:
    """The arguments of `read_corpus`, and which of the segments were kept before ranking.

    >>> Origin("digits.csv", stretches=((0, 3), (4, 6))).places().tolist()
    [0, 1, 2, 4, 5]
    """

    manifest: str  # the file or folder
    allow_outside: bool = False
    level: str | None = None  # of TIMIT
    #: Segments kept by `Corpus.select`, as stretches [first, stop) of those read, in their order;
    #: None: all.
    stretches: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def of(cls, corpus: Corpus) -> Origin:
        """The origin of a corpus that is passed to `rank`."""
        stretches = None if corpus.kept is None else _stretches(corpus.kept)
        return cls(str(corpus.source), corpus.allow_outside, corpus.level, stretches)

    def places(self) -> np.ndarray | None:
        """Indices of the kept segments among those read; None: all."""
        if self.stretches is None:
            return None
        runs = [np.arange(first, stop) for first, stop in self.stretches]
        return np.concatenate([np.zeros(0, np.int64), *runs])

    def read(self, manifest: Path | str | None = None) -> Corpus:
        """The segments, read again; `manifest` is its new path if it has moved.

        Raises:
            InputError: the manifest does not exist, or has fewer segments than it had.
        """
        origin = self if manifest is None else replace(self, manifest=str(manifest))
        corpus = read_corpus(
            origin.manifest, allow_outside=origin.allow_outside, level=origin.level
        )
        places = origin.places()
        if places is None:
            return corpus
        if places.size and places.max() >= len(corpus):
            raise InputError(
                f"{origin.manifest} has {len(corpus):,} usable segments, but number "
                f"{places.max() + 1:,} was ranked: the file has changed; rank it again"
            )
        return corpus.select(places)


def _stretches(places: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Runs of consecutive places, [first, stop)."""
    if not places.size:
        return ()
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    runs = np.split(places, breaks)
    return tuple((int(run[0]), int(run[-1]) + 1) for run in runs)
