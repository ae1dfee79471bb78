"""Readers: one file per kind of source, each giving a `Corpus`."""

from __future__ import annotations

from pathlib import Path

from augury.corpus import Corpus
from augury.readers import folder, kaldi, table, timit

__all__ = ["folder", "is_timit", "kaldi", "read_corpus", "table", "timit"]


def read_corpus(
    source: Path | str, *, allow_outside: bool = False, level: str | None = None
) -> Corpus:
    """A corpus from a manifest (.csv, .tsv, .jsonl, .parquet), or a folder.

    A folder is a Kaldi data folder, a TIMIT tree, or else recordings without labels.

    A row that can't be used is in the corpus's `rejected`, with its reason. A source that can't be
    read at all raises ValueError or FileNotFoundError saying what to do. Recordings outside the
    source's folder are refused unless `allow_outside`. `level`, "phone" or "utterance", is TIMIT's.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source}: there is no such manifest or folder; check the path")
    if level is not None and not is_timit(source):
        raise ValueError(f"{source}: level={level!r} is for TIMIT, which this is not; leave it out")
    if is_timit(source):
        return timit.read(source, allow_outside=allow_outside, level=level or "phone")
    if not source.is_dir():
        return table.read(source, allow_outside=allow_outside)
    if kaldi.recognised(source):
        return kaldi.read(source, allow_outside=allow_outside)
    return folder.read(source, allow_outside=allow_outside)


def is_timit(source: Path) -> bool:
    """Whether a source is a TIMIT tree, which can be read by phone or by utterance."""
    return source.is_dir() and not kaldi.recognised(source) and timit.recognised(source)
