"""What a corpus contains, and which rows are unusable, audio included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio
from augury.corpus.copies import digests_of_equal_sizes, find_copies, reject_copy
from augury.corpus.corpus import Corpus, Rejected, Texts

#: A segment may end this many seconds after its recording: times in transcripts are rounded, and
#: lossy files are a few samples longer or shorter than their source.
SLACK = 0.05


@dataclass(frozen=True)
class LabelColumn:
    """The classes of one label column, and their sizes."""

    column: str
    classes: int
    absent: int  # segments without a label in this column
    singletons: int  # classes of a single segment
    top: tuple[tuple[str, int], ...]  # the largest classes and their segments, largest first
    smallest: tuple[str, int] | None


@dataclass(frozen=True)
class Check:
    """A summary of a corpus; segments + rejected = rows."""

    source: str
    rows: int
    segments: int  # usable segments; all fields down to `formats` describe these only
    recordings: int
    hours: float  # total length of the segments
    recorded_hours: float  # total length of their recordings
    durations: dict[str, float]  # segment seconds: "min", "5 %", "median", "95 %", "max"
    labels: tuple[LabelColumn, ...]
    rates: dict[int, int]  # Hz: recordings
    channels: dict[int, int]  # channels: recordings
    formats: dict[str, int]  # "WAV PCM_16": recordings
    clipped: dict[str, float] | None  # share of samples: "all", "max"; None unless decoded
    problems: dict[str, int]  # reason: rows, most frequent first
    rejected: tuple[Rejected, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can write them (it turns the keys of `rates` and so on into text)."""
        return asdict(self)


def check(corpus: Corpus, *, decode: bool = False, top: int = 10) -> Check:
    """Summarise a corpus and list every unusable row, audio included, and every copy.

    Reads the header of every recording. `decode` also decodes every recording; only that finds
    silent, non-finite, clipped and some damaged ones. `top`: number of classes listed for each
    label column.

    >>> import augury
    >>> from pathlib import Path
    >>> manifest = Path(augury.__file__).parent / "demo_data" / "manifest.csv"
    >>> summary = check(augury.read_corpus(manifest), top=2)
    >>> summary.rates, summary.labels[0].top
    ({8000: 480}, (('george', 80), ('jackson', 80)))
    """
    headers, faults, clipped = _headers(corpus, decode)
    length = np.array([h.seconds if h else 0.0 for h in headers], np.float64)[corpus.recording]
    end = np.where(np.isnan(corpus.end), length, corpus.end)
    seconds = np.minimum(end, length) - np.nan_to_num(corpus.start)
    readable = np.array([h is not None for h in headers], bool)[corpus.recording]
    inside = (np.nan_to_num(corpus.start) < length) & (end <= length + SLACK)
    long_enough = seconds >= audio.WINDOW - 1e-9
    new = [
        *(_unreadable(corpus, i, faults) for i in np.flatnonzero(~readable).tolist()),
        *(_outside(corpus, i, end, length) for i in np.flatnonzero(readable & ~inside).tolist()),
        *(
            _too_short(corpus, i, seconds)
            for i in np.flatnonzero(readable & inside & ~long_enough).tolist()
        ),
    ]
    keep = readable & inside & long_enough
    copies = find_copies(corpus, digests_of_equal_sizes(corpus))
    copies = {i: first for i, first in copies.items() if keep[i] and keep[first]}
    keep[list(copies)] = False
    new += [reject_copy(corpus, i, first) for i, first in copies.items()]
    rejected = tuple(sorted([*corpus.rejected, *new], key=lambda r: r.row))
    usable = corpus.select(keep)
    seconds = seconds[keep]
    used: list[int] = np.unique(corpus.recording[keep]).tolist()
    known = [h for i in used if (h := headers[i])]
    return Check(
        source=str(corpus.source),
        rows=len(corpus) + len(corpus.rejected),
        segments=len(usable),
        recordings=len(usable.recordings),
        hours=float(seconds.sum() / 3600),
        recorded_hours=sum(h.seconds for h in known) / 3600,
        durations=_quantiles(seconds),
        labels=tuple(_describe_labels(column, v, top) for column, v in usable.columns.items()),
        rates=dict(sorted(Counter(h.rate for h in known).items())),
        channels=dict(sorted(Counter(h.channels for h in known).items())),
        formats=_by_count(h.format for h in known),
        clipped=_summarise_clipping(headers, clipped, used) if decode and used else None,
        problems=_by_count(r.reason for r in rejected),
        rejected=rejected,
    )


def _unreadable(corpus: Corpus, i: int, faults: dict[int, audio.BadAudio]) -> Rejected:
    fault = faults[int(corpus.recording[i])]
    return corpus.reject(i, fault.reason, fault.detail)


def _outside(
    corpus: Corpus, i: int, end: NDArray[np.float64], length: NDArray[np.float64]
) -> Rejected:
    detail = (
        f"{corpus.names[corpus.recording[i]]}: the segment runs from "
        f"{np.nan_to_num(corpus.start[i]):g} to {end[i]:g} s, but the recording is {length[i]:g} s "
        "long; correct the times"
    )
    return corpus.reject(i, "outside-recording", detail)


def _too_short(corpus: Corpus, i: int, seconds: NDArray[np.float64]) -> Rejected:
    detail = (
        f"{corpus.names[corpus.recording[i]]}: a segment of {seconds[i]:.4f} s, shorter than one "
        f"analysis window, {audio.WINDOW} s; it can't be ranked"
    )
    return corpus.reject(i, "too-short", detail)


def _headers(
    corpus: Corpus, decode: bool
) -> tuple[list[audio.Header | None], dict[int, audio.BadAudio], dict[int, float]]:
    """Each recording's header, or None and its fault; shares of clipped samples, if decoded."""
    clipped: dict[int, float] = {}
    headers: list[audio.Header | None] = []
    faults: dict[int, audio.BadAudio] = {}
    for i, (path, name) in enumerate(zip(corpus.recordings, corpus.names, strict=True)):
        try:
            headers.append(audio.header(path, name))
            if decode:
                clipped[i] = audio.clipped_share(audio.decode(path.read_bytes(), name)[0])
        except audio.BadAudio as error:
            headers[i:] = [None]
            faults[i] = error
        except OSError as error:
            headers[i:] = [None]
            faults[i] = audio.BadAudio("unreadable", f"{name}: {error}; make sure it can be opened")
    return headers, faults, clipped


def _summarise_clipping(
    headers: list[audio.Header | None], clipped: dict[int, float], used: list[int]
) -> dict[str, float]:
    frames = [header.frames if header else 0 for header in (headers[i] for i in used)]
    shares = [clipped[i] for i in used]
    return {"all": float(np.average(shares, weights=frames)), "max": max(shares)}


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
