"""Segments of a corpus: those with a label, error intervals over them, and one as text or sound."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import soundfile
from numpy.typing import NDArray

from augury import audio
from augury.corpus.corpus import Corpus, Rejected
from augury.downstream.scores import metrics
from augury.errors import InputError

#: Fewest speakers that an interval is given for.
FEWEST_SPEAKERS = 5
#: Longest stretch of a segment that a report can play, in seconds.
LONGEST_SOUND = 15.0


def with_label(
    corpus: Corpus, column: str, exclude: Sequence[str]
) -> tuple[Corpus, list[Rejected]]:
    """The segments with a label that is not in `exclude`, and those without a label, rejected.

    Excluded segments are not among the rejected.

    Raises:
        InputError: there is no such column, or no segment has an excluded label.
    """
    labels = corpus.label(column)
    unknown = sorted(set(exclude) - set(labels.tolist()))
    if unknown:
        raise InputError(f"no segment has the {column} {unknown[0]!r}, which is to be excluded")
    empty = np.asarray(labels == "", bool)
    rejected = [
        corpus.reject(int(i), "no-label", f"{corpus.names[corpus.recording[i]]}: no {column}")
        for i in np.flatnonzero(empty)
    ]
    return corpus.select(~empty & ~np.isin(labels, list(exclude))), rejected


def error_interval(
    corpus: Corpus, places: NDArray[np.int64], errors: NDArray, counts: NDArray
) -> tuple[float, float] | None:
    """95 % bootstrap interval of Σ errors / Σ counts, where speakers are resampled.

    Recordings are, if the corpus has no speakers. None with fewer than `FEWEST_SPEAKERS` of them.

    Args:
        places: (n,) of the segments in the corpus.
        errors, counts: (n,) number of errors, and of tokens, in each segment.
    """
    group = corpus.recording[places]
    if "speaker" in corpus.columns:
        group = corpus.columns["speaker"][places].astype(str)
    if len(set(group.tolist())) < FEWEST_SPEAKERS:
        return None
    return metrics.bootstrap_rate(errors, counts, group, seed=0)


def describe(corpus: Corpus, place: int) -> str:
    """A segment as text: the recording's name and the start, e.g. "a.wav at 0.50 s"."""
    name, start = corpus.names[corpus.recording[place]], corpus.start[place]
    return name if np.isnan(start) else f"{name} at {start:.2f} s"


def sound_uri(corpus: Corpus, place: int) -> str:
    """A segment as a data URI that a page can play; "" where it can't be read."""
    path = corpus.recordings[corpus.recording[place]]
    try:
        signal, rate = audio.decode(path.read_bytes(), str(path))
    except (OSError, ValueError):
        return ""
    start, end = np.nan_to_num([corpus.start[place], corpus.end[place]], nan=0.0)
    first = round(start * rate)
    stop = min(round(end * rate) if end else len(signal), first + round(LONGEST_SOUND * rate))
    data = io.BytesIO()
    signal = audio.resample(signal[first:stop], rate)
    soundfile.write(data, signal, audio.RATE, format="OGG", subtype="OPUS")
    return "data:audio/ogg;base64," + base64.b64encode(data.getvalue()).decode()
