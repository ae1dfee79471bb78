"""A folder of recordings, without labels: every audio file in it, each whole."""

from __future__ import annotations

import os
from pathlib import Path

from augury.corpus.corpus import Corpus
from augury.corpus.manifest import assemble
from augury.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph", ".nist")


def read(folder: Path, *, allow_outside: bool = False) -> Corpus:
    """A corpus of all recordings under a folder, in order of their paths; InputError if none."""
    paths = [
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    if not paths:
        raise InputError(
            f"{folder}: a folder with neither wav.scp (Kaldi) nor .phn files (TIMIT), nor any "
            f"recording ({', '.join(SUFFIXES)}); give a manifest with a column 'path'"
        )
    return assemble(
        folder, folder, sorted(paths), starts=None, ends=None, columns={}, rows=[0] * len(paths),
        allow_outside=allow_outside,
    )  # fmt: skip
