"""Common Voice, release 6.1 and later: one language's folder, with clips/ and its .tsv files.

The files overlap (train, dev and test are parts of validated), but a clip is one row of the corpus.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from operator import itemgetter
from pathlib import Path

from augury.corpus.corpus import Corpus, Rejected
from augury.corpus.manifest import assemble
from augury.errors import InputError

#: A clip's split is the first of these that lists it. Test and dev come before train, so that a
#: clip that is in both by mistake is not trained on.
SPLITS = ("test", "dev", "train", "validated", "invalidated", "other")

#: Clips of each .tsv in release 6.1 (cv-corpus-6.1-2020-12-11.json of common-voice/cv-dataset).
#: For other releases and languages `published_counts` reads that repository's files.
PUBLISHED = {
    "en": {
        "train": 564_337, "dev": 16_164, "test": 16_164,
        "validated": 1_224_864, "invalidated": 189_562, "other": 169_895,
    },
    "de": {
        "train": 246_525, "dev": 15_588, "test": 15_588,
        "validated": 565_186, "invalidated": 32_789, "other": 10_095,
    },
    "fr": {
        "train": 298_982, "dev": 15_763, "test": 15_763,
        "validated": 461_004, "invalidated": 40_351, "other": 3_222,
    },
    "es": {
        "train": 161_813, "dev": 15_089, "test": 15_089,
        "validated": 236_314, "invalidated": 40_640, "other": 144_791,
    },
}  # fmt: skip

#: Label columns, and their names in the files.
_COLUMNS = {
    "speaker": ("client_id",),
    "text": ("sentence",),
    "age": ("age",),
    "gender": ("gender",),
    "accent": ("accents", "accent"),  # later releases, 6.1
    "locale": ("locale",),
}
_NEEDED = ("client_id", "path", "sentence")


def recognises(folder: Path) -> bool:
    """Whether a folder has clips/ beside train.tsv or validated.tsv."""
    return (folder / "clips").is_dir() and any(
        (folder / f"{split}.tsv").is_file() for split in ("train", "validated")
    )


def read(folder: Path, *, allow_outside: bool = False) -> Corpus:
    """A corpus of whole clips, without repetition, from those of the six .tsv files that exist.

    Label columns: speaker, text, age, gender, accent, locale and split, the first of `SPLITS` that
    lists the clip. Paths are relative to clips/. Reasons for rejection, beside those of `assemble`:
    "bad-row", whose row is the line of the file that its detail names.
    """
    clips = folder / "clips"
    splits = [split for split in SPLITS if (folder / f"{split}.tsv").is_file()]
    if not splits or not clips.is_dir():
        raise InputError(
            f"{folder}: not a language of Common Voice, which has clips/ and {SPLITS[0]}.tsv, "
            f"{', '.join(f'{split}.tsv' for split in SPLITS[1:])}, or some of them; give the "
            "folder that holds clips, such as cv-corpus-6.1-2020-12-11/en"
        )
    rejected: list[Rejected] = []
    paths: list[str] = []
    columns: dict[str, list[str]] = {column: [] for column in (*_COLUMNS, "split")}
    listed: set[str] = set()  # in earlier files
    for split in splits:
        rows = _rows(folder / f"{split}.tsv", rejected)
        rows = [row for row in rows if row[0] not in listed]
        listed.update(row[0] for row in rows)
        paths += [row[0] for row in rows]
        for place, column in enumerate(_COLUMNS, 1):
            columns[column] += [row[place] for row in rows]
        columns["split"] += [split] * len(rows)
    if not paths and not rejected:
        raise InputError(f"{folder}: the .tsv files list no clip; download them again")
    return assemble(
        folder, clips, paths, starts=None, ends=None, columns=columns, rows=[0] * len(paths),
        rejected=rejected, allow_outside=allow_outside,
    )  # fmt: skip


def published_counts(corpus: Corpus, stats: Path | None = None) -> dict[str, int]:
    """The published number of clips of each split; {} where it is not known.

    `stats` is the release's JSON file of github.com/common-voice/cv-dataset. Without it, only the
    numbers of release 6.1 in a few languages are known, recognised by the folder's name.
    """
    names: list[str] = corpus.label("locale").tolist()
    locales = Counter(names).most_common(1)
    locale = locales[0][0] if locales else ""
    if stats is None:
        release = re.search(r"cv-corpus-([\d.]+)", corpus.source.resolve().as_posix())
        counts = PUBLISHED.get(locale, {}) if release and release[1] == "6.1" else {}
    else:
        counts = _buckets(stats, locale)
    if not set(SPLITS) <= set(counts):
        return {}
    parts = counts["train"] + counts["dev"] + counts["test"]  # they are validated, too
    return {split: counts[split] for split in SPLITS} | {"validated": counts["validated"] - parts}


def _buckets(stats: Path, locale: str) -> dict[str, int]:
    try:
        buckets = json.loads(stats.read_bytes())["locales"][locale]["buckets"]
        return {split: int(buckets[split]) for split in SPLITS}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{stats}: not the statistics of a release that has {locale!r} ({error!r}); download "
            "them from github.com/common-voice/cv-dataset"
        ) from error


def _rows(file: Path, rejected: list[Rejected]) -> list[tuple[str, ...]]:
    """The path and label columns of each valid line; quotes have no special meaning.

    Only line feeds end lines: sentences contain other characters that Python splits lines at.
    """
    rows: dict[str, tuple[str, ...]] = {}
    once: dict[str, str] = {}
    with file.open("rb") as lines:
        header = _header(file, lines.readline())
        width = len(header)
        cells_of = itemgetter(
            header.index("path"),
            *(next((header.index(n) for n in names if n in header), width)
              for names in _COLUMNS.values()),
        )  # fmt: skip
        for number, raw in enumerate(lines, 2):
            try:
                cells = raw.rstrip(b"\r\n").decode().split("\t")
            except UnicodeDecodeError as error:
                fault = f"byte {error.start} of the line is not UTF-8; save the file as UTF-8"
                rejected.append(_bad_line(file, number, "", fault))
                continue
            if len(cells) != width:
                if cells != [""]:
                    fault = f"{len(cells)} cells, but the header has {width}; correct the line"
                    rejected.append(_bad_line(file, number, "", fault))
                continue
            cells.append("")  # the value of columns that the header lacks
            path, *labels = cells_of(cells)
            if path in rows:
                fault = f"{path} is listed before; keep one of the lines"
                rejected.append(_bad_line(file, number, path, fault, "duplicate"))
                continue
            rows[path] = (path, *(once.setdefault(label, label) for label in labels))
    return list(rows.values())


def _header(file: Path, raw: bytes) -> list[str]:
    try:
        header = raw.decode("utf-8-sig").rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: the header is not UTF-8; save the file as UTF-8") from error
    lacking = [name for name in _NEEDED if name not in header]
    if lacking:
        raise InputError(
            f"{file}: no column {', '.join(map(repr, lacking))} in its first line, tab-separated; "
            "download it again"
        )
    return header


def _bad_line(file: Path, number: int, path: str, fault: str, reason: str = "bad-row") -> Rejected:
    return Rejected(number, path, None, None, reason, f"{file.name}, line {number}: {fault}")
