"""Where the segments of a ranking were read, as data: enough to find the very same ones again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augury.corpus.corpus import Corpus
from augury.corpus.read import read_corpus
from augury.errors import InputError


@dataclass(frozen=True)
class Origin:
    """What `read_corpus` was given, and which segments of it were kept before ranking.

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
        """Of a corpus as it was given to `rank`."""
        stretches = None if corpus.kept is None else _stretches(corpus.kept)
        return cls(str(corpus.source), corpus.allow_outside, corpus.level, stretches)

    def places(self) -> np.ndarray | None:
        """Indices of the kept segments among those read; None: all."""
        if self.stretches is None:
            return None
        pieces = [np.arange(first, stop) for first, stop in self.stretches]
        return np.concatenate([np.zeros(0, np.int64), *pieces])

    def read(self, manifest: Path | str | None = None) -> Corpus:
        """The segments again, from where the manifest is now if it has moved.

        Raises:
            InputError: the manifest is not there, or has fewer segments than were read then.
        """
        here = self if manifest is None else replace(self, manifest=str(manifest))
        corpus = read_corpus(here.manifest, allow_outside=here.allow_outside, level=here.level)
        places = here.places()
        if places is None:
            return corpus
        if places.size and places.max() >= len(corpus):
            raise InputError(
                f"{here.manifest} has {len(corpus):,} usable segments, but number "
                f"{places.max() + 1:,} was ranked: it is not what was ranked; rank it again"
            )
        return corpus.select(places)


def _stretches(places: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Runs of consecutive places, [first, stop)."""
    if not places.size:
        return ()
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    runs = np.split(places, breaks)
    return tuple((int(run[0]), int(run[-1]) + 1) for run in runs)
