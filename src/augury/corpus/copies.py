"""Segments that are there twice: recordings with the same bytes under other names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from augury.corpus.corpus import Corpus, Rejected
from augury.store import digest


def find_copies(corpus: Corpus, digests: Sequence[str]) -> dict[int, int]:
    """Each segment that repeats an earlier one of another recording, and that one.

    It has the same times, in a recording of the same bytes.

    Args:
        digests: of each recording's bytes; "" where it is not known.
    """
    recordings: dict[str, list[int]] = defaultdict(list)
    for index, content in enumerate(digests):
        if content:
            recordings[content].append(index)
    repeated = {k: content for content, same in recordings.items() if same[1:] for k in same}
    seen: dict[tuple[str, float, float], int] = {}
    copies: dict[int, int] = {}
    if not repeated:
        return copies
    for segment in np.flatnonzero(np.isin(corpus.recording, list(repeated))).tolist():
        content = repeated[int(corpus.recording[segment])]
        start, end = np.nan_to_num([corpus.start[segment], corpus.end[segment]], nan=-1.0).tolist()
        first = seen.setdefault((content, start, end), segment)
        if corpus.recording[first] != corpus.recording[segment]:
            copies[segment] = first
    return copies


def reject_copy(corpus: Corpus, segment: int, first: int) -> Rejected:
    """The copy, with the reason "copy"."""
    name = corpus.names[int(corpus.recording[segment])]
    other = corpus.names[int(corpus.recording[first])]
    detail = f"{name}: the same bytes as {other}; no new evidence, and counted once"
    return corpus.reject(segment, "copy", detail)


def digests_of_equal_sizes(corpus: Corpus) -> list[str]:
    """The digest of each recording that has the size of another, "" of all others.

    Files of other sizes can't be copies, and are not read.
    """
    sizes: dict[int, list[int]] = defaultdict(list)
    for index, path in enumerate(corpus.recordings):
        try:
            sizes[path.stat().st_size].append(index)
        except OSError:  # found when it is read
            continue
    digests = [""] * len(corpus.recordings)
    for same in sizes.values():
        for index in same if same[1:] else ():
            try:
                digests[index] = digest(corpus.recordings[index].read_bytes())
            except OSError:
                continue
    return digests
