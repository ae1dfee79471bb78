"""Readers: one file per kind of source, each giving a `Corpus`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from augury.corpus.corpus import Corpus
from augury.corpus.manifest import write_manifest, write_quarantine
from augury.corpus.readers import common_voice, folder, kaldi, table, timit, voxceleb
from augury.corpus.readers.voxceleb import read_trials
from augury.errors import InputError, MissingFile, UnusableFile, explain_os_errors

__all__ = [
    "CORPORA",
    "PreparedCorpus",
    "SplitCount",
    "common_voice",
    "folder",
    "is_timit",
    "kaldi",
    "prepare",
    "read_corpus",
    "read_trials",
    "table",
    "timit",
    "voxceleb",
]

#: What `prepare` reads.
CORPORA = ("timit", "voxceleb1", "common_voice")


def read_corpus(
    source: Path | str, *, allow_outside: bool = False, level: str | None = None
) -> Corpus:
    """A corpus from a manifest (.csv, .tsv, .jsonl, .parquet), or a folder.

    A folder is a Kaldi data folder, VoxCeleb1, a language of Common Voice, a TIMIT tree, or else
    recordings without labels.

    A row that can't be used is in the corpus's `rejected`, with its reason. A source that can't be
    read at all raises InputError, one that is not there MissingFile. Recordings outside the
    source's folder are refused unless `allow_outside`. `level`, "phone" or "utterance", is TIMIT's.

    >>> import augury
    >>> from pathlib import Path
    >>> manifest = Path(augury.__file__).parent / "demo_data" / "manifest.csv"
    >>> corpus = augury.read_corpus(manifest)
    >>> len(corpus), sorted(corpus.columns)
    (480, ['digit', 'speaker'])
    """
    source = Path(source)
    with explain_os_errors(source):
        if not source.exists():
            raise MissingFile(f"{source}: there is no such manifest or folder; check the path")
        if level is not None and not is_timit(source):
            raise InputError(
                f"{source}: level={level!r} is for TIMIT, which this is not; leave it out"
            )
        corpus = _read(source, allow_outside, level)
    return replace(corpus, allow_outside=allow_outside, level=level, kept=None)


def _read(source: Path, allow_outside: bool, level: str | None) -> Corpus:
    if not source.is_dir():
        return table.read(source, allow_outside=allow_outside)
    for reader in (kaldi, voxceleb, common_voice):
        if reader.recognises(source):
            return reader.read(source, allow_outside=allow_outside)
    if timit.recognises(source):
        return timit.read(source, allow_outside=allow_outside, level=level or "phone")
    return folder.read(source, allow_outside=allow_outside)


def is_timit(source: Path) -> bool:
    """Whether a source is a TIMIT tree, which can be read by phone or by utterance."""
    if not source.is_dir():
        return False
    # These are asked first, as they need not look into every folder.
    others = any(reader.recognises(source) for reader in (kaldi, voxceleb, common_voice))
    return not others and timit.recognises(source)


@dataclass(frozen=True)
class SplitCount:
    """How much of a published split was found."""

    name: str  # "dev utterances"
    found: int
    published: int


@dataclass(frozen=True)
class PreparedCorpus:
    """A published corpus that was read and written as a manifest."""

    corpus: Corpus
    counts: tuple[SplitCount, ...]  # none where no published ones are known
    manifest: Path
    quarantine: Path  # what can't be used, and why


def prepare(
    name: str,
    root: Path | str,
    out: Path | str,
    *,
    split: str | None = None,
    level: str | None = None,
    stats: Path | str | None = None,
    allow_outside: bool = False,
) -> PreparedCorpus:
    """Read a published corpus, one of `CORPORA`, from its own layout and write its manifest (.csv).

    `split` says which published split the column `split` holds: TIMIT's "core" (default),
    "complete" or "folders", VoxCeleb1's "verification" (default) or "identification". `level`:
    TIMIT's "phone" (default) or "utterance". `stats`: the statistics of a release of Common Voice,
    see `common_voice.published_counts`. Segments that can't be used are listed beside the manifest,
    in NAME.quarantine.csv. InputError for a choice that the corpus does not have, or where no
    segment can be used; MissingFile where `root` is not there.
    """
    root, out = Path(root), Path(out)
    if name not in CORPORA:
        raise InputError(f"{name!r} is no corpus known here; there are {', '.join(CORPORA)}")
    for option, value, whose in (
        ("level", level, ("timit",)),
        ("split", split, ("timit", "voxceleb1")),
        ("stats", stats, ("common_voice",)),
    ):
        if value is not None and name not in whose:
            raise InputError(f"{option}={value!r} is for {' and '.join(whose)}; leave it out")
    if out.suffix.lower() != ".csv":
        raise InputError(f"{out}: the manifest is CSV; give it a name that ends in .csv")
    if not root.exists():
        raise MissingFile(f"{root}: there is no such folder; check the path")
    if not root.is_dir():
        raise UnusableFile(f"{root}: this is a file; give the folder that holds the corpus")
    corpus, counts = _read_archive(name, root, split, level, stats, allow_outside)
    quarantine = out.with_suffix(".quarantine.csv")
    write_quarantine(corpus.rejected, quarantine)  # makes the folder
    if not len(corpus):
        raise InputError(
            f"{root}: none of {len(corpus.rejected):,} segments can be used; {quarantine} names "
            f"each. The first: {corpus.rejected[0].detail}"
        )
    write_manifest(corpus, out)
    return PreparedCorpus(corpus, counts, out, quarantine)


def _read_archive(
    name: str,
    root: Path,
    split: str | None,
    level: str | None,
    stats: Path | str | None,
    allow_outside: bool,
) -> tuple[Corpus, tuple[SplitCount, ...]]:
    """A published corpus, and how much of each of its splits was found."""
    with explain_os_errors(root):
        if name == "timit":
            split, level = split or "core", level or "phone"
            corpus = timit.read(root, allow_outside=allow_outside, level=level, split=split)
            return corpus, _counts(corpus, timit.PUBLISHED[split])
        if name == "voxceleb1":
            split = split or "verification"
            corpus = voxceleb.read(root, allow_outside=allow_outside, split=split)
            return corpus, _counts(corpus, voxceleb.PUBLISHED[split])
        corpus = common_voice.read(root, allow_outside=allow_outside)
        clips = common_voice.published_counts(corpus, Path(stats) if stats else None)
        return corpus, _counts(corpus, {split: (clips[split], None) for split in clips})


def _counts(
    corpus: Corpus, published: Mapping[str, tuple[int, int | None]]
) -> tuple[SplitCount, ...]:
    """Utterances, and speakers where they are published, of each split."""
    counts: list[SplitCount] = []
    for split, (utterances, speakers) in published.items():
        of_split = corpus.label("split") == split
        found = len(set(corpus.recording[of_split].tolist()))
        counts.append(SplitCount(f"{split} utterances", found, utterances))
        if speakers is not None:
            found = len(set(corpus.label("speaker")[of_split].tolist()))
            counts.append(SplitCount(f"{split} speakers", found, speakers))
    return tuple(counts)
