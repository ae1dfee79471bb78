"""A corpus: labelled stretches of recordings, in columns; written, checked and quarantined.

A corpus may have millions of segments, so none is an object: all is held in arrays, and a
`Segment` is made only where one is asked for. Formats are read by `readers`.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury import audio
from augury.errors import InputError
from augury.store import digest, key
from augury.tables import write_csv

RESERVED = ("path", "start", "end")  # every other column of a manifest is a label column

#: Transcripts are rounded, and lossy files are some samples longer or shorter than their source:
#: a segment may end this much (seconds) after its recording.
SLACK = 0.05


@dataclass(frozen=True)
class Rejected:
    """A row that can't be used, and why."""

    row: int  # 1-based data row of the manifest, or line of the file named; 0 where there is none
    path: str  # as written in the manifest
    start: float | None  # seconds
    end: float | None  # seconds
    reason: str  # a stable kind in one word, such as "missing-file"
    detail: str  # a sentence for people


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of a recording."""

    path: Path
    start: float | None  # seconds from the recording's beginning; None: the beginning itself
    end: float | None  # seconds; None: the recording's end
    labels: dict[str, str]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Segments in columns, in the manifest's order."""

    source: Path  # the manifest, or the folder that was read
    recordings: tuple[Path, ...]  # absolute, each once, in order of first appearance
    names: tuple[str, ...]  # the same as first written in the manifest
    recording: NDArray[np.int64]  # (n,) which recording each segment is cut from
    start: NDArray[np.float64]  # (n,) seconds, NaN: the recording's beginning
    end: NDArray[np.float64]  # (n,) seconds, NaN: the recording's end
    columns: dict[str, np.ndarray]  # each (n,) of str as objects, equal ones shared; "": absent
    rows: NDArray[np.int64]  # (n,) row of the manifest, 1-based; 0 where there is none
    rejected: tuple[Rejected, ...]  # rows refused while reading

    def __len__(self) -> int:
        return len(self.recording)

    def __iter__(self) -> Iterator[Segment]:
        for i in range(len(self)):
            labels = {column: values[i] for column, values in self.columns.items()}
            path = self.recordings[self.recording[i]]
            yield Segment(path, _seconds(self.start[i]), _seconds(self.end[i]), labels)

    def select(self, keep: ArrayLike) -> Corpus:
        """The segments that `keep` (n,) is true for, or those at its indices, in that order.

        Recordings no longer used are dropped; what was rejected while reading stays on record.
        """
        chosen = np.asarray(keep)
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise InputError(
                f"keep has shape {chosen.shape}, but there are {len(self)} segments; give one "
                "true or false for each, or indices"
            )
        if chosen.dtype != bool:
            chosen = chosen.astype(np.int64, casting="same_kind" if chosen.size else "unsafe")
        used, recording = _by_first_appearance(self.recording[chosen])
        return replace(
            self,
            recordings=tuple(self.recordings[i] for i in used),
            names=tuple(self.names[i] for i in used),
            recording=recording,
            start=self.start[chosen],
            end=self.end[chosen],
            columns={column: values[chosen] for column, values in self.columns.items()},
            rows=self.rows[chosen],
        )

    def in_split(self, split: str) -> NDArray[np.bool_]:
        """Which segments (n,) are of a split; InputError if none is."""
        splits = self.label("split")
        found = np.asarray(splits == split, bool)
        if not found.any():
            there = ", ".join(sorted(set(map(str, splits))))
            raise InputError(f"no segment is of split {split!r}; there are {there}")
        return found

    def by_recording(self) -> list[NDArray[np.int64]]:
        """The segments of each recording, in order."""
        order = np.argsort(self.recording, kind="stable")
        counts = np.bincount(self.recording, minlength=len(self.recordings))
        return np.split(order, np.cumsum(counts)[:-1])

    def reject(self, segment: int, reason: str, detail: str) -> Rejected:
        """A segment of this corpus that turned out not to be usable."""
        name = self.names[self.recording[segment]]
        start, end = _seconds(self.start[segment]), _seconds(self.end[segment])
        return Rejected(int(self.rows[segment]), name, start, end, reason, detail)

    def digest(self, *columns: str) -> str:
        """A digest of the segments: their recordings' names, their times, and these columns."""
        spans = np.stack([self.start, self.end]).tobytes()
        parts = [list(self.names), self.recording.tolist(), digest(spans)]
        return key(*parts, *(list(self.label(column)) for column in columns))

    def label(self, column: str) -> np.ndarray:
        """A label column (n,) of str; ValueError, with the nearest name, if there is none."""
        try:
            return self.columns[column]
        except KeyError:
            raise InputError(_no_column(self.source, column, self.columns)) from None


class TooManyBad(InputError):
    """More segments can't be used than was allowed; `rejected` names them."""

    def __init__(self, message: str, rejected: tuple[Rejected, ...]) -> None:
        super().__init__(message)
        self.rejected = rejected


def refuse_too_many(rejected: tuple[Rejected, ...], kept: int, max_bad: float) -> None:
    """Raises TooManyBad where more than that share was rejected, or nothing was kept."""
    total = kept + len(rejected)
    if not total:
        raise InputError("there is no segment")
    if len(rejected) <= max_bad * total and kept:
        return
    reasons = Counter(one.reason for one in rejected)
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    enough = -(-len(rejected) * 100 // total) / 100
    hint = f"; --max-bad {enough:g} (in a recipe, max_bad) would go on without them" if kept else ""
    if reasons["lone-label"] > total / 2:
        hint = "; nearly every row has a label of its own: is this a column of classes?"
    raise TooManyBad(
        f"{len(rejected)} of {total} segments can't be used ({counted}), more than the "
        f"{max_bad:.0%} allowed{hint}. quarantine.csv names each. The first: {rejected[0].detail}",
        rejected,
    )


def assemble(
    source: Path,
    folder: Path,
    paths: Sequence[str],
    *,
    starts: Sequence[str | float | None] | None,
    ends: Sequence[str | float | None] | None,
    columns: Mapping[str, Sequence[str]],
    rows: Sequence[int],
    rejected: Iterable[Rejected] = (),
    allow_outside: bool = False,
) -> Corpus:
    """A corpus from what a reader found, one item a row in each sequence.

    A row that can't be used is rejected with its reason: "missing-path", "bad-time",
    "end-before-start", "bad-path", "outside-folder", "missing-file", "not-a-file", "duplicate".
    `paths` are relative to `folder`, and must stay in it unless `allow_outside`. Empty text, or
    None, in `starts` and `ends` stands for the recording's own beginning and end.
    """
    count = len(paths)
    refused: dict[int, tuple[str, str]] = {}  # index: reason, detail
    start = _parse_seconds(starts, "start", count, refused)
    end = _parse_seconds(ends, "end", count, refused)
    begin = np.nan_to_num(start)
    for i in np.flatnonzero(end <= begin):
        refused.setdefault(
            int(i),
            (
                "end-before-start",
                f"the segment ends at {end[i]:g} s, not after its start at {begin[i]:g} s; "
                "correct the times or leave the row out",
            ),
        )
    recordings, names, recording = _resolve_all(paths, folder, allow_outside, refused)
    usable = np.ones(count, bool)
    usable[list(refused)] = False
    for later, first in _duplicates(recording, begin, end, usable):
        unlike = [c for c, values in columns.items() if values[later] != values[first]]
        differing = f", but with another {' and '.join(unlike)}" if unlike else ""
        refused[later] = (
            "duplicate",
            f"the same stretch of the same recording as row {rows[first]}{differing}; "
            "keep one of them",
        )
        usable[later] = False

    new = [
        Rejected(
            rows[i],
            paths[i],
            _seconds(start[i]),
            _seconds(end[i]),
            reason,
            f"{source.name}, row {rows[i]}: {detail}" if rows[i] else f"{source.name}: {detail}",
        )
        for i, (reason, detail) in refused.items()
    ]
    whole = Corpus(
        source=source,
        recordings=tuple(map(Path, recordings)),
        names=tuple(names),
        recording=recording,
        start=start,
        end=end,
        columns={column: _shared(values) for column, values in columns.items()},
        rows=np.asarray(rows, np.int64),
        rejected=tuple(sorted([*rejected, *new], key=lambda r: r.row)),
    )
    return whole if usable.all() and not refused else whole.select(usable)


def write_manifest(corpus: Corpus, path: Path | str) -> None:
    """Writes the corpus as a CSV manifest, there whole or not at all, that reads back the same.

    Recordings inside the manifest's folder are written relative to it, others absolutely: to read
    those back takes `allow_outside`.
    """
    path = Path(path)
    folder = path.parent.resolve()
    names = [
        (r.relative_to(folder) if r.is_relative_to(folder) else r).as_posix()
        for r in corpus.recordings
    ]
    lists = [values.tolist() for values in corpus.columns.values()]
    lines = (
        (names[r], _number(s), _number(e), *labels)
        for r, s, e, *labels in zip(
            corpus.recording.tolist(),
            corpus.start.tolist(),
            corpus.end.tolist(),
            *lists,
            strict=True,
        )
    )
    write_csv(path, (*RESERVED, *corpus.columns), lines, errors="strict")


def write_quarantine(rejected: Iterable[Rejected], path: Path | str) -> None:
    """Writes rejected rows as CSV (row,path,start,end,reason,detail), whole or not at all."""
    lines = (
        (str(r.row), r.path, _number(r.start), _number(r.end), r.reason, r.detail) for r in rejected
    )
    write_csv(Path(path), ("row", *RESERVED, "reason", "detail"), lines)


@dataclass(frozen=True)
class Labels:
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
    labels: tuple[Labels, ...]
    rates: dict[int, int]  # Hz: recordings
    channels: dict[int, int]  # channels: recordings
    formats: dict[str, int]  # "WAV PCM_16": recordings
    problems: dict[str, int]  # reason: rows, most frequent first
    rejected: tuple[Rejected, ...]

    def to_dict(self) -> dict:
        """The same as JSON can write it (its keys become text)."""
        return asdict(self)


def check(corpus: Corpus, *, decode: bool = False, top: int = 10) -> Check:
    """What a corpus holds, and every row that can't be used, audio included.

    Reads every recording's header; with `decode`, decodes every recording too, which alone finds
    silent, non-finite and some damaged ones. `top` is how many classes a label column lists.
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
    used = [headers[i] for i in np.unique(corpus.recording[good])]
    found = [h for h in used if h]
    return Check(
        source=str(corpus.source),
        rows=len(corpus) + len(corpus.rejected),
        segments=len(usable),
        recordings=len(usable.recordings),
        hours=float(seconds.sum() / 3600),
        recorded_hours=sum(h.seconds for h in found) / 3600,
        durations=_quantiles(seconds),
        labels=tuple(_labels(column, v, top) for column, v in usable.columns.items()),
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


def _labels(column: str, values: np.ndarray, top: int) -> Labels:
    counts = Counter(values.tolist())
    absent = counts.pop("", 0)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Labels(
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


def _parse_seconds(
    cells: Sequence[str | float | None] | None,
    what: str,
    count: int,
    refused: dict[int, tuple[str, str]],
) -> NDArray[np.float64]:
    """Times (count,) in seconds, NaN where absent; what is no time is refused as "bad-time"."""
    seconds = np.full(count, np.nan)
    for i, cell in enumerate(cells or ()):
        if cell is None or cell == "":
            continue
        try:
            value = float(cell)
        except (ValueError, TypeError, OverflowError):
            value = np.nan
        if 0 <= value < np.inf:
            seconds[i] = value
        else:
            refused.setdefault(
                i,
                (
                    "bad-time",
                    f"the {what} {cell!r} is not a time; give seconds from the recording's "
                    "beginning, 0 or more, or nothing",
                ),
            )
    return seconds


def _resolve_all(
    paths: Sequence[str], folder: Path, allow_outside: bool, refused: dict[int, tuple[str, str]]
) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Recordings, their names, and each row's recording; -1 for rows refused because of theirs."""
    base = os.path.realpath(folder)
    folders: dict[str, str] = {}  # as written: resolved, so that each is resolved once
    known: dict[str, int | tuple[str, str]] = {}  # as written: recording, or reason and detail
    numbers: dict[str, int] = {}  # resolved path: recording
    names: list[str] = []
    recording = np.full(len(paths), -1, np.int64)
    for i, path in enumerate(paths):
        found = known.get(path)
        if found is None:
            resolved = _resolve(path, base, folders, allow_outside)
            if isinstance(resolved, str):
                found = numbers.setdefault(resolved, len(numbers))
                if found == len(names):
                    names.append(path)
            else:
                found = resolved
            known[path] = found
        if isinstance(found, int):
            recording[i] = found
        else:
            refused.setdefault(i, found)
    return list(numbers), names, recording


def _resolve(
    path: str, base: str, folders: dict[str, str], allow_outside: bool
) -> str | tuple[str, str]:
    """The file that a path written in a manifest means, or (reason, detail) why there is none."""
    if not path:
        return "missing-path", "no path is given; name the recording"
    try:
        full, status = _follow(path, base, folders)
    except FileNotFoundError:
        full, status = os.path.realpath(os.path.join(base, path)), None
    except (ValueError, OSError, RuntimeError) as error:  # NUL, too long, a circle of links
        return "bad-path", f"{path!r} can't be a path here ({error}); correct it"
    if not allow_outside and full != base and not full.startswith(base.rstrip(os.sep) + os.sep):
        return (
            "outside-folder",
            f"{path!r} is {full}, outside the manifest's folder; move it inside, or pass "
            "--allow-outside if you trust this manifest",
        )
    if status is None:
        return "missing-file", f"there is no file {full}; restore it or leave the row out"
    if not stat.S_ISREG(status.st_mode):
        return "not-a-file", f"{full} is no ordinary file; name an audio file"
    return full


def _follow(path: str, base: str, folders: dict[str, str]) -> tuple[str, os.stat_result]:
    """The path with every link and `..` followed, and what is there."""
    head, tail = os.path.split(os.path.join(base, path))
    if head not in folders:
        folders[head] = os.path.realpath(head)
    full = os.path.join(folders[head], tail)
    status = os.lstat(full)
    if stat.S_ISLNK(status.st_mode) or tail in ("", ".", ".."):
        full = os.path.realpath(full, strict=True)
        status = os.lstat(full)
    return full, status


def _duplicates(
    recording: NDArray[np.int64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    usable: NDArray[np.bool_],
) -> Iterator[tuple[int, int]]:
    """Usable rows that cut the same stretch as an earlier one: (row, the earliest)."""
    rows = np.flatnonzero(usable)
    keys = np.stack([np.nan_to_num(end[rows], nan=-1), start[rows], recording[rows]])
    order = np.lexsort(keys)  # stable: equal keys stay in the manifest's order
    repeated = (np.diff(keys[:, order], axis=1) == 0).all(axis=0)
    first = -1
    for place in np.flatnonzero(repeated).tolist():
        if place == 0 or not repeated[place - 1]:
            first = int(rows[order[place]])
        yield int(rows[order[place + 1]]), first


def _by_first_appearance(
    recording: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The recordings used, in order of first appearance, and each segment's place among them."""
    used, first, place = np.unique(recording, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(used), np.int64)
    rank[order] = np.arange(len(used))
    return used[order], rank[place.reshape(-1)]


def _shared(values: Sequence[str]) -> np.ndarray:
    """The texts (n,) as an object array in which equal ones are one object."""
    once: dict[str, str] = {}
    array = np.empty(len(values), object)
    array[:] = [once.setdefault(value, value) for value in values]
    return array


def _no_column(source: Path, column: str, columns: Iterable[str]) -> str:
    there = list(columns)
    near = difflib.get_close_matches(column, there, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"{source}: no label column {column!r}; there are "
        f"{', '.join(map(repr, there)) or 'none'}{hint}"
    )


def _seconds(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else repr(float(value))
