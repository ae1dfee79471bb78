"""Manifests that tests write, and what became of their rows."""

from __future__ import annotations

from pathlib import Path

from augury import Corpus


def manifest(folder: Path, text: str, name: str = "m.csv") -> Path:
    """A manifest with this text; its path."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def reasons(corpus: Corpus) -> list[tuple[int, str]]:
    """The rows that were rejected, and why."""
    return [(r.row, r.reason) for r in corpus.rejected]
