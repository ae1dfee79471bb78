"""What a corpus holds and what is wrong with it, audio included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio
from augury.corpus.corpus import Corpus, Rejected, Texts

#: Transcripts are rounded, and lossy files are some samples longer or shorter than their source:
#: a segment may end this much (seconds) after its recording.
SLACK = 0.05


@dataclass(frozen=True)
class LabelColumn:
    """How one label column's classes are filled."""

    column: str
    classes: int
    absent: int  # segments with no label here
    singletons: int  # classes of a single segment
    top: tuple[tuple[str, int], ...]  # the largest classes and their segments, largest first
    smallest: tuple[str, int] | None


@dataclass(frozen=True)
class Check:
    """What a corpus holds and what is wrong with it: segments + rejected = rows."""

    source: str
    rows: int
    segments: int  # usable ones; what follows describes these alone
    recordings: int
    hours: float  # of segments
    recorded_hours: float  # of the recordings that they are cut from
    durations: dict[str, float]  # segment seconds: "min", "5 %", "median", "95 %", "max"
    labels: tuple[LabelColumn, ...]
    rates: dict[int, int]  # Hz: recordings
    channels: dict[int, int]  # channels: recordings
    formats: dict[str, int]  # "WAV PCM_16": recordings
    problems: dict[str, int]  # reason: rows, most frequent first
    rejected: tuple[Rejected, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can write it (its keys become text)."""
        return asdict(self)


def check(corpus: Corpus, *, decode: bool = False, top: int = 10) -> Check:
    """What a corpus holds, and every row that can't be used, audio included.

    Reads every recording's header; with `decode`, decodes every recording too, which alone finds
    silent, non-finite and some damaged ones. `top` is how many classes a label column lists.

    >>> check(augury.read_corpus(demo)).rates  # doctest: +SKIP
    {8000: 480}
    """
    headers, faults = _headers(corpus, decode)
    length = np.array([h.seconds if h else 0.0 for h in headers], np.float64)[corpus.recording]
    begin = np.nan_to_num(corpus.start)
    end = np.where(np.isnan(corpus.end), length, corpus.end)
    sound = np.array([h is not None for h in headers], bool)[corpus.recording]
    inside = (begin < length) & (end <= length + SLACK)
    new = [
        corpus.reject(i, faults[corpus.recording[i]].reason, faults[corpus.recording[i]].detail)
        for i in np.flatnonzero(~sound).tolist()
    ]
    new += [
        corpus.reject(
            i,
            "outside-recording",
            f"{corpus.names[corpus.recording[i]]}: the segment runs from {begin[i]:g} to "
            f"{end[i]:g} s, but the recording is {length[i]:g} s long; correct the times",
        )
        for i in np.flatnonzero(sound & ~inside).tolist()
    ]
    seconds = np.minimum(end, length) - begin
    short = sound & inside & (seconds < audio.WINDOW - 1e-9)
    new += [
        corpus.reject(
            i,
            "too-short",
            f"{corpus.names[corpus.recording[i]]}: a segment of {seconds[i]:.4f} s, shorter than "
            f"one analysis window, {audio.WINDOW} s; it can't be ranked",
        )
        for i in np.flatnonzero(short).tolist()
    ]
    good = sound & inside & ~short
    rejected = tuple(sorted([*corpus.rejected, *new], key=lambda r: r.row))
    usable = corpus.select(good)
    seconds = seconds[good]
    used: list[int] = np.unique(corpus.recording[good]).tolist()
    found = [h for i in used if (h := headers[i])]
    return Check(
        source=str(corpus.source),
        rows=len(corpus) + len(corpus.rejected),
        segments=len(usable),
        recordings=len(usable.recordings),
        hours=float(seconds.sum() / 3600),
        recorded_hours=sum(h.seconds for h in found) / 3600,
        durations=_quantiles(seconds),
        labels=tuple(_describe_labels(column, v, top) for column, v in usable.columns.items()),
        rates=dict(sorted(Counter(h.rate for h in found).items())),
        channels=dict(sorted(Counter(h.channels for h in found).items())),
        formats=_by_count(h.format for h in found),
        problems=_by_count(r.reason for r in rejected),
        rejected=rejected,
    )


def _headers(
    corpus: Corpus, decode: bool
) -> tuple[list[audio.Header | None], dict[int, audio.BadAudio]]:
    """Each recording's header, or None and its fault."""
    headers: list[audio.Header | None] = []
    faults: dict[int, audio.BadAudio] = {}
    for i, (path, name) in enumerate(zip(corpus.recordings, corpus.names, strict=True)):
        try:
            headers.append(audio.header(path, name))
            if decode:
                audio.decode(path.read_bytes(), name)
        except (audio.BadAudio, OSError) as error:
            headers[i:] = [None]
            faults[i] = (
                error
                if isinstance(error, audio.BadAudio)
                else audio.BadAudio("unreadable", f"{name}: {error}; see that it can be opened")
            )
    return headers, faults


def _describe_labels(column: str, values: Texts, top: int) -> LabelColumn:
    counts: Counter[str] = Counter(values.tolist())
    absent = counts.pop("", 0)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return LabelColumn(
        column=column,
        classes=len(ordered),
        absent=absent,
        singletons=sum(n == 1 for _, n in ordered),
        top=tuple(ordered[:top]),
        smallest=ordered[-1] if ordered else None,
    )


def _quantiles(seconds: NDArray[np.float64]) -> dict[str, float]:
    if len(seconds) == 0:
        return {}
    names = {"min": 0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1}
    values = np.quantile(seconds, list(names.values())).tolist()
    return dict(zip(names, values, strict=True))


def _by_count(items: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(items).items(), key=lambda item: (-item[1], item[0])))
