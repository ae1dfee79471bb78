"""From a recording to the store: it is read, decoded and analysed once; later runs reuse that.

A first run and a cached one differ only in what `extract` finds in the store.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio, pseudolabels
from augury.extraction.plan import (
    Plan,
    Recording,
    embedding_key,
    function_key,
    log_mel_key,
    mel_key,
    opensmile_key,
    recording_embeddings,
)
from augury.extraction.segments import frame_range, segment_edges, segment_problems
from augury.pseudolabels import opensmile, seven
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
    clipped: float | None = None  # share of its samples; None: stored before this was measured
    embeddings: str = ""  # the store's name for the embeddings of its segments, "" without any
    reused: bool = False  # whether the store had all candidates' values


def extract(plan: Plan, recording: Recording, *, verify: bool = False) -> Extracted:
    """Compute what is not in the store of one recording. Bad audio is a result, not an error.

    Args:
        verify: whether to compute what is damaged anew; else whoever reads it has to notice.
    """
    clock = _Clock()
    try:
        data = recording.path.read_bytes()
    except OSError as error:
        return Extracted(problem=("unreadable", f"{recording.name}: {error.strerror or error}"))
    missing = _find_missing(plan, recording, data, clock, verify)
    if missing.nothing:
        return missing.outcome(clock)
    try:
        return _extract_missing(plan, recording, data, missing, clock)
    except audio.BadAudio as error:
        return Extracted(missing.content, (error.reason, str(error)), clock.seconds)


def look_up(plan: Plan, recording: Recording) -> Extracted | None:
    """The outcome of a recording of which all is in the store; None if anything lacks."""
    clock = _Clock()
    try:
        data = recording.path.read_bytes()
    except OSError:
        return None
    missing = _find_missing(plan, recording, data, clock, verify=False)
    return missing.outcome(clock) if missing.nothing else None


def _extract_missing(
    plan: Plan, recording: Recording, data: bytes, missing: _Missing, clock: _Clock
) -> Extracted:
    """The outcome, after what is missing was computed and stored; BadAudio if it can't be."""
    store, content = Store(plan.store), missing.content
    stored = None
    if not missing.about and plan.embeddings:
        stored = store.read(log_mel_key(content))
        clock.record("store")
    signal, mel, about = None, None, missing.about
    if missing.extractor or missing.functions or not (about or stored):
        signal, about = _decode(plan, recording, data, clock)
        descriptors = _run_own(missing.functions, signal)
        if descriptors:
            clock.record("own")
        for candidate, version in missing.functions:
            values = descriptors.get(candidate.item) if candidate.provider == "own" else None
            if values is None:
                values = _call(plan, candidate, signal, recording)
                clock.record(candidate.source)
            name = function_key(content, candidate, version, recording.info(plan, candidate))
            store.write(name, {"values": values})
        if missing.extractor:
            columns = _run_opensmile(missing.extractor, signal, recording)
            clock.record("openSMILE")
            store.write(opensmile_key(content), {**missing.columns, **columns})
        clock.record("store")
    if not missing.about:
        if stored:
            mel, about = stored["mel"], About.of(stored)
        else:
            assert signal is not None
            mel = audio.log_mel(signal)
            clock.record("mel")
        assert about is not None
        _store_spectrogram(plan, recording, missing, mel, about, clock, new=not stored)
    assert about is not None
    return about.outcome(missing, clock)


def _store_spectrogram(
    plan: Plan,
    recording: Recording,
    missing: _Missing,
    mel: NDArray[np.float32],
    about: About,
    clock: _Clock,
    *,
    new: bool,
) -> None:
    """Store what is computed from a recording's log-mel (frames, bands); itself, if it is `new`."""
    store = Store(plan.store)
    if plan.embeddings:
        if new:  # for segments by another label, which should not cost decoding again
            store.write(log_mel_key(missing.content), {**about.arrays(), "mel": mel})
            clock.record("store")
        embeddings = _embed_segments(plan, recording, mel, about.duration)
        clock.record("embedding")
        store.write(missing.embeddings, about.arrays() | embeddings)
    if plan.mel:  # in half precision: exact to 0.03 dB, in half the space
        store.write(mel_key(missing.content), {**about.arrays(), "mel": mel.astype(np.float16)})
    clock.record("store")


@dataclass(frozen=True)
class About:
    """What is known of a recording, and kept in every artefact of its spectrogram."""

    duration: float  # seconds of audio
    rate: int  # Hz, as recorded
    clipped: float | None  # share of its samples

    @classmethod
    def of(cls, artefact: Mapping[str, NDArray[Any] | None] | None) -> About | None:
        """From an artefact; None if it does not say."""
        duration, rate, clipped = ((artefact or {}).get(field.name) for field in fields(cls))
        if duration is None or rate is None:
            return None
        share = None if clipped is None else float(clipped[0])
        return cls(float(duration[0]), int(rate[0]), share)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As an artefact has it."""
        known = {"duration": np.array([self.duration]), "rate": np.array([self.rate], np.int64)}
        return known if self.clipped is None else {**known, "clipped": np.array([self.clipped])}

    def outcome(self, missing: _Missing, clock: _Clock) -> Extracted:
        """The outcome of a recording's extraction."""
        return Extracted(
            missing.content, None, clock.seconds, self.duration, self.rate, self.clipped,
            missing.embeddings, reused=not (missing.extractor or missing.functions),
        )  # fmt: skip


@dataclass(frozen=True)
class _Missing:
    """What the store does not have of a recording."""

    content: str  # digest of the recording's bytes
    embeddings: str  # the store's name for the embeddings of its segments, "" if none are wanted
    extractor: opensmile.Extractor | None  # None: its columns are stored, or none is needed
    columns: dict[str, NDArray[Any]]  # openSMILE columns that are stored, unless all are
    functions: list[tuple[Candidate, str]]
    about: About | None  # None: an artefact of the spectrogram lacks

    @property
    def nothing(self) -> bool:
        """Whether all is there."""
        return bool(self.about and not (self.extractor or self.functions))

    def outcome(self, clock: _Clock) -> Extracted:
        """The outcome where nothing is missing."""
        assert self.about is not None
        return self.about.outcome(self, clock)


def _find_missing(
    plan: Plan, recording: Recording, data: bytes, clock: _Clock, verify: bool
) -> _Missing:
    store, content = Store(plan.store), digest(data)
    clock.record("read")
    look = store.read if verify else store.look
    extractor, columns = plan.extractor, {}
    if extractor and set(extractor.columns) <= set(look(opensmile_key(content)) or {}):
        extractor = None
    elif extractor:
        columns = store.read(opensmile_key(content)) or {}
    functions = [
        (candidate, version)
        for candidate, version in plan.functions
        if (plan.fresh and candidate.of_user)
        or look(function_key(content, candidate, version, recording.info(plan, candidate))) is None
    ]
    embeddings = embedding_key(content, plan, recording) if plan.embeddings else ""
    names = [embeddings] if embeddings else []
    artefacts = [look(name) for name in ([*names, mel_key(content)] if plan.mel else names)]
    about = About.of(artefacts[-1]) if all(artefacts) else None
    clock.record("store")
    return _Missing(content, embeddings, extractor, columns, functions, about)


def _decode(
    plan: Plan, recording: Recording, data: bytes, clock: _Clock
) -> tuple[NDArray[np.float32], About]:
    """The signal (samples,) at 16 kHz, read-only, and about it; BadAudio if unusable."""
    signal, rate = audio.decode(data, recording.name)
    clipped = audio.clipped_share(signal)
    clock.record("decode")
    signal = audio.resample(signal, rate)
    clock.record("resample")
    duration = len(signal) / audio.RATE
    shortest = opensmile.SHORTEST if plan.extractor else audio.WINDOW
    if duration < shortest:
        detail = f"{recording.name}: {duration:.3f} s, but {shortest} s are needed"
        raise audio.BadAudio("too-short", detail)
    signal.flags.writeable = False  # a function that writes to it would change all later values
    return signal, About(duration, rate, clipped)


def _call(
    plan: Plan, candidate: Candidate, signal: NDArray[np.float32], recording: Recording
) -> NDArray[Any]:
    try:
        info = recording.info(plan, candidate)
        return pseudolabels.call_function(candidate, signal, audio.RATE, info)
    except (Exception, SystemExit) as error:  # user functions may raise anything; the run continues
        detail = f"{recording.name}: {candidate.name} raised {error!r}"
        raise audio.BadAudio("function-failed", detail) from error


def _run_own(
    functions: Sequence[tuple[Candidate, str]], signal: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Our descriptors among the functions, in one pass, as they share most of the work."""
    names = [candidate.item for candidate, _ in functions if candidate.provider == "own"]
    return seven.values(names, signal, audio.RATE)


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
