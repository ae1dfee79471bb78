"""Fixtures that several modules' tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import toy


def tone(hertz: float = 440.0, seconds: float = 0.5, rate: int = 16_000) -> np.ndarray:
    """A sine (samples,) of amplitude 0.3."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A folder of recordings a.wav (200 Hz, 1 s), b.wav (400 Hz, 1 s) and deep/c.flac (800 Hz)."""
    (tmp_path / "deep").mkdir()
    for name, hertz in (("a.wav", 200), ("b.wav", 400), ("deep/c.flac", 800)):
        soundfile.write(tmp_path / name, tone(hertz, 1.0), 16_000)
    return tmp_path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real speech that isn't part of the project; $AUGURY_DATA says where it is."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    data = Path(os.environ.get("AUGURY_DATA", beside))
    if not data.is_dir():
        pytest.skip(f"no real speech at {data}; set AUGURY_DATA to the folder that holds it")
    return data


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy corpus's manifest, with `toy`'s functions importable as pseudo-labels."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return toy.corpus(tmp_path)


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty store, and `toy`'s functions importable in child processes too."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("AUGURY_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *sys.path]))
    monkeypatch.syspath_prepend(here)
