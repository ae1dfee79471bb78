"""Where numbers came from: versions of what computed them, digests of what they were made of."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata

import numpy as np

from augury.corpus.corpus import Corpus
from augury.pseudolabels.candidate import Candidate
from augury.store import digest, key


def versions(chosen: Sequence[Candidate] = (), others: Sequence[str] = ()) -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ["augury", "numpy", "scipy", "soundfile", "soxr", *others]
    if any(one.kind == "opensmile" for one in chosen):
        names.append("opensmile")
    found = {"python": platform.python_version()}
    return found | {name: metadata.version(name) for name in names}


def segments_digest(kept: Corpus, *columns: str) -> str:
    """Of the segments: their recordings' names, their times, and these columns."""
    spans = np.stack([kept.start, kept.end]).tobytes()
    parts = [list(kept.names), kept.recording.tolist(), digest(spans)]
    return key(*parts, *(list(kept.label(column)) for column in columns))
