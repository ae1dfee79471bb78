"""From the rows of a reader to a corpus, and from a corpus to a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augury.corpus.corpus import Corpus, Rejected, Texts, seconds_or_none
from augury.corpus.paths import resolve_paths
from augury.tables import write_csv

RESERVED = ("path", "start", "end")  # every other column of a manifest is a label column


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
    """A corpus from the rows of a reader; each sequence has one item per row.

    An unusable row is rejected with a reason: "missing-path", "bad-time", "end-before-start",
    "bad-path", "outside-folder", "missing-file", "not-a-file", "duplicate". `paths` are relative to
    `folder`, and must lie in it unless `allow_outside`. Empty text, or None, in `starts` and `ends`
    stands for the recording's beginning and end.
    """
    count = len(paths)
    refused: dict[int, tuple[str, str]] = {}  # index: reason, detail
    start = _parse_seconds(starts, "start", count, refused)
    end = _parse_seconds(ends, "end", count, refused)
    _refuse_ends_before_starts(start, end, refused)
    recordings, names, recording = resolve_paths(paths, folder, allow_outside, refused)
    usable = np.ones(count, bool)
    usable[list(refused)] = False
    for later, first in _duplicates(recording, np.nan_to_num(start), end, usable):
        different = [c for c, values in columns.items() if values[later] != values[first]]
        difference = f", but with another {' and '.join(different)}" if different else ""
        refused[later] = (
            "duplicate",
            f"the same segment of the same recording as row {rows[first]}{difference}; "
            "keep one of them",
        )
        usable[later] = False

    new = [
        Rejected(
            rows[i],
            paths[i],
            seconds_or_none(start[i]),
            seconds_or_none(end[i]),
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
        columns={column: _intern(values) for column, values in columns.items()},
        rows=np.asarray(rows, np.int64),
        rejected=tuple(sorted([*rejected, *new], key=lambda r: r.row)),
    )
    return whole if usable.all() and not refused else whole.select(usable)


def write_manifest(corpus: Corpus, path: Path | str) -> None:
    """Write the corpus as a CSV manifest, atomically; `read_corpus` reads the same segments.

    Paths of recordings in the manifest's folder are written relative to it, others absolutely;
    reading the latter needs `allow_outside`.
    """
    path = Path(path)
    folder = path.parent.resolve()
    names = [
        (r.relative_to(folder) if r.is_relative_to(folder) else r).as_posix()
        for r in corpus.recordings
    ]
    lists: list[list[str]] = [values.tolist() for values in corpus.columns.values()]
    recordings: list[int] = corpus.recording.tolist()
    paths = [names[recording] for recording in recordings]
    starts, ends = (list(map(_format_seconds, t.tolist())) for t in (corpus.start, corpus.end))
    lines = zip(paths, starts, ends, *lists, strict=True)
    write_csv(path, (*RESERVED, *corpus.columns), lines, errors="strict")


def write_quarantine(rejected: Iterable[Rejected], path: Path | str) -> None:
    """Write rejected rows as CSV (row,path,start,end,reason,detail), atomically."""
    lines = (
        (str(r.row), r.path, _format_seconds(r.start), _format_seconds(r.end), r.reason, r.detail)
        for r in rejected
    )
    write_csv(Path(path), ("row", *RESERVED, "reason", "detail"), lines)


def _parse_seconds(
    cells: Sequence[str | float | None] | None,
    column: str,
    count: int,
    refused: dict[int, tuple[str, str]],
) -> NDArray[np.float64]:
    """Times (count,) in seconds, NaN where absent; anything else is rejected as "bad-time"."""
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
                    f"the {column} {cell!r} is not a time; give seconds from the recording's "
                    "beginning, 0 or more, or nothing",
                ),
            )
    return seconds


def _refuse_ends_before_starts(
    start: NDArray[np.float64], end: NDArray[np.float64], refused: dict[int, tuple[str, str]]
) -> None:
    """Reject rows that end at or before their start as "end-before-start"."""
    begin = np.nan_to_num(start)
    for i in np.flatnonzero(end <= begin).tolist():
        detail = (
            f"the segment ends at {end[i]:g} s, not after its start at {begin[i]:g} s; "
            "correct the times or leave the row out"
        )
        refused.setdefault(i, ("end-before-start", detail))


def _duplicates(
    recording: NDArray[np.int64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    usable: NDArray[np.bool_],
) -> Iterator[tuple[int, int]]:
    """Usable rows that repeat the segment of an earlier row: (row, the first such row)."""
    rows = np.flatnonzero(usable)
    keys = np.stack([np.nan_to_num(end[rows], nan=-1), start[rows], recording[rows]])
    order = np.lexsort(keys)  # stable: equal keys stay in the manifest's order
    repeated = (np.diff(keys[:, order], axis=1) == 0).all(axis=0)
    first = -1
    for place in np.flatnonzero(repeated).tolist():
        if place == 0 or not repeated[place - 1]:
            first = int(rows[order[place]])
        yield int(rows[order[place + 1]]), first


def _intern(values: Sequence[str]) -> Texts:
    """The texts (n,) as an object array in which equal strings are one object."""
    once: dict[str, str] = {}
    array = np.empty(len(values), object)
    array[:] = [once.setdefault(value, value) for value in values]
    return array


def _format_seconds(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else repr(float(value))
