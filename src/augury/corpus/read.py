"""Read a corpus from any known source, and prepare manifests of published corpora."""

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

#: The corpora that `prepare` reads.
CORPORA = ("timit", "voxceleb1", "common_voice")


def read_corpus(
    source: Path | str, *, allow_outside: bool = False, level: str | None = None
) -> Corpus:
    """A corpus from a manifest (.csv, .tsv, .jsonl, .parquet), or a folder.

    A folder is a Kaldi data folder, VoxCeleb1, a language of Common Voice, a TIMIT tree, or else
    recordings without labels.

    Unusable rows are in the corpus's `rejected`, with their reasons. A source that can't be read
    raises InputError, one that does not exist MissingFile. Recordings outside the source's folder
    are rejected unless `allow_outside`. `level`, "phone" or "utterance", is for TIMIT only.

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
                f"{source}: level={level!r} is for TIMIT, and this is not TIMIT; leave it out"
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
    # The others first: they need not search the whole tree.
    others = any(reader.recognises(source) for reader in (kaldi, voxceleb, common_voice))
    return not others and timit.recognises(source)


@dataclass(frozen=True)
class SplitCount:
    """The size of a split as read, and as published."""

    name: str  # "dev utterances"
    found: int
    published: int


@dataclass(frozen=True)
class PreparedCorpus:
    """A published corpus, and the manifest written of it."""

    corpus: Corpus
    counts: tuple[SplitCount, ...]  # empty where the published sizes are unknown
    manifest: Path
    quarantine: Path  # lists the unusable segments with reasons


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
    """Read a published corpus, one of `CORPORA`, in its original layout; write its manifest (.csv).

    Args:
        split: which published split the column `split` contains: TIMIT's "core" (default),
            "complete" or "folders", VoxCeleb1's "verification" (default) or "identification".
        level: TIMIT's "phone" (default) or "utterance".
        stats: the statistics of a release of Common Voice, see `common_voice.published_counts`.

    Unusable segments are listed beside the manifest, in NAME.quarantine.csv.

    Raises:
        InputError: an option that the corpus does not have, or no usable segment.
        MissingFile: `root` does not exist.

    >>> import numpy, soundfile
    >>> (folder := Path("timit/TRAIN/DR1/FCJF0")).mkdir(parents=True)
    >>> soundfile.write(folder / "SX1.WAV", numpy.zeros(16000), 16000)
    >>> _ = (folder / "SX1.PHN").write_text("0 2000 h#\\n2000 5000 sh\\n")
    >>> prepare("timit", "timit", "timit.csv").corpus.label("phone").tolist()
    ['h#', 'sh']
    """
    root, out = Path(root), Path(out)
    if name not in CORPORA:
        raise InputError(f"{name!r} is not a known corpus; there are {', '.join(CORPORA)}")
    for option, value, corpora in (
        ("level", level, ("timit",)),
        ("split", split, ("timit", "voxceleb1")),
        ("stats", stats, ("common_voice",)),
    ):
        if value is not None and name not in corpora:
            raise InputError(f"{option}={value!r} is for {' and '.join(corpora)}; leave it out")
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
    """A published corpus, and the sizes of its splits."""
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
    """Numbers of utterances, and of speakers where published, of each split."""
    counts: list[SplitCount] = []
    for split, (utterances, speakers) in published.items():
        of_split = corpus.label("split") == split
        count = len(set(corpus.recording[of_split].tolist()))
        counts.append(SplitCount(f"{split} utterances", count, utterances))
        if speakers is not None:
            count = len(set(corpus.label("speaker")[of_split].tolist()))
            counts.append(SplitCount(f"{split} speakers", count, speakers))
    return tuple(counts)
