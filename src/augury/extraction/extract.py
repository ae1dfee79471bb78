"""From a recording to the store: it is read, decoded and analysed once; later runs reuse that.

A first run and a cached one differ only in what `extract` finds in the store.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio, pseudolabels
from augury.extraction.plan import (
    Plan,
    Recording,
    embedding_key,
    function_key,
    mel_key,
    opensmile_key,
    recording_embeddings,
)
from augury.extraction.segments import frame_range, segment_edges, segment_problems
from augury.pseudolabels import opensmile
from augury.pseudolabels.candidate import Candidate
from augury.store import Store, digest


@dataclass(frozen=True)
class Extracted:
    """The outcome of one recording's extraction."""

    digest: str = ""  # of the file's bytes
    problem: tuple[str, str] | None = None  # (reason, detail) if the whole recording is unusable
    seconds: dict[str, float] = field(default_factory=dict)  # time spent, by kind of work
    duration: float = 0.0  # seconds of audio
    rate: int = 0  # Hz, as recorded


def extract(plan: Plan, recording: Recording) -> Extracted:
    """Compute what is not in the store of one recording. Bad audio is a result, not an error."""
    clock = _Clock()
    store = Store(plan.store)
    try:
        data = recording.path.read_bytes()
    except OSError as error:
        return Extracted(problem=("unreadable", f"{recording.name}: {error.strerror or error}"))
    content = digest(data)
    clock.record("read")
    missing = _find_missing(plan, recording, content, store)
    clock.record("store")
    if missing.length and not (missing.extractor or missing.functions):
        return Extracted(content, None, clock.seconds, *missing.length)
    try:
        signal, rate = _decode(plan, recording, data, clock)
        for candidate, version in missing.functions:
            values = {"values": _call(candidate, signal, recording)}
            clock.record(candidate.source)
            store.write(function_key(content, candidate, version), values)
        if missing.extractor:
            columns = _run_opensmile(missing.extractor, signal, recording)
            clock.record("openSMILE")
            store.write(opensmile_key(content), {**missing.columns, **columns})
        clock.record("store")
        duration = len(signal) / audio.RATE
        if not missing.length:
            mel = audio.log_mel(signal)
            clock.record("mel")
            about = {"duration": np.array([duration]), "rate": np.array([rate], np.int64)}
            artefacts: list[dict[str, NDArray[Any]]] = []
            if plan.embeddings:
                artefacts.append(_embed_segments(plan, recording, mel, duration))
                clock.record("embedding")
            if plan.mel:  # in half precision: exact to 0.03 dB, in half the space
                artefacts.append({"mel": mel.astype(np.float16)})
            names = _spectrogram_keys(plan, recording, content)
            for name, arrays in zip(names, artefacts, strict=True):
                store.write(name, about | arrays)
            clock.record("store")
    except audio.BadAudio as error:
        return Extracted(content, (error.reason, str(error)), clock.seconds)
    return Extracted(content, None, clock.seconds, duration, rate)


@dataclass(frozen=True)
class _Missing:
    """What the store does not have of a recording."""

    extractor: opensmile.Extractor | None  # None: its columns are stored, or none is needed
    columns: dict[str, NDArray[Any]]  # openSMILE columns that are stored
    functions: list[tuple[Candidate, str]]
    length: tuple[float, int] | None  # seconds and Hz; None: an artefact of the spectrogram lacks


def _find_missing(plan: Plan, recording: Recording, content: str, store: Store) -> _Missing:
    columns = (store.read(opensmile_key(content)) or {}) if plan.extractor else {}
    complete = not plan.extractor or set(plan.extractor.columns) <= set(columns)
    functions = [
        (candidate, version)
        for candidate, version in plan.functions
        if store.read(function_key(content, candidate, version)) is None
    ]
    artefacts = [store.read(name) for name in _spectrogram_keys(plan, recording, content)]
    length = None
    if (last := artefacts[-1]) and all(artefacts):
        length = float(last["duration"][0]), int(last["rate"][0])
    return _Missing(None if complete else plan.extractor, columns, functions, length)


def _spectrogram_keys(plan: Plan, recording: Recording, content: str) -> list[str]:
    """The store's names of the artefacts computed from a recording's spectrogram."""
    names = [embedding_key(content, plan, recording)] if plan.embeddings else []
    return [*names, mel_key(content)] if plan.mel else names


def _decode(
    plan: Plan, recording: Recording, data: bytes, clock: _Clock
) -> tuple[NDArray[np.float32], int]:
    """The signal (samples,) at 16 kHz, read-only, and its original rate; BadAudio if unusable."""
    signal, rate = audio.decode(data, recording.name)
    clock.record("decode")
    signal = audio.resample(signal, rate)
    clock.record("resample")
    duration = len(signal) / audio.RATE
    shortest = opensmile.SHORTEST if plan.extractor else audio.WINDOW
    if duration < shortest:
        detail = f"{recording.name}: {duration:.3f} s, but {shortest} s are needed"
        raise audio.BadAudio("too-short", detail)
    signal.flags.writeable = False  # a function that writes to it would change all later values
    return signal, rate


def _call(candidate: Candidate, signal: NDArray[np.float32], recording: Recording) -> NDArray[Any]:
    try:
        return pseudolabels.call_function(candidate, signal, audio.RATE)
    except (Exception, SystemExit) as error:  # user functions may raise anything; the run continues
        detail = f"{recording.name}: {candidate.name} raised {error!r}"
        raise audio.BadAudio("function-failed", detail) from error


def _run_opensmile(
    extractor: opensmile.Extractor, signal: NDArray[np.float32], recording: Recording
) -> dict[str, NDArray[np.float32]]:
    try:
        return opensmile.extract(extractor, signal)
    except RuntimeError as error:
        raise audio.BadAudio("openSMILE-failed", f"{recording.name}: {error}") from error


def _embed_segments(
    plan: Plan, recording: Recording, mel: NDArray[np.float32], duration: float
) -> dict[str, NDArray[Any]]:
    """One recording's embedding artefact: problem codes, and embeddings of the usable segments."""
    problem = segment_problems(recording.start, recording.end, duration)
    edges = segment_edges(recording.start, recording.end, duration)
    start, end = (edge[problem == 0] for edge in edges)
    first, stop = frame_range(start, end, audio.WINDOW / 2, audio.HOP, len(mel))
    embeddings = [e.embed(mel, first, stop) for e in recording_embeddings(plan, recording)]
    finite = np.ones(len(first), bool)
    for array in embeddings:
        finite &= np.isfinite(array).reshape(len(finite), -1).all(axis=1)
    problem[np.flatnonzero(problem == 0)[~finite]] = 3
    return {
        "problem": problem,
        **{f"embedding{k}": array[finite] for k, array in enumerate(embeddings)},
    }


class _Clock:
    """Processor seconds since the last record, summed by name.

    Not wall time: while one worker waits for the disk, another uses the core.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.thread_time()

    def record(self, name: str) -> None:
        now = time.thread_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
