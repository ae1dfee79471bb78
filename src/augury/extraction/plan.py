"""What to extract from every recording, and the store's names for the results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import pseudolabels
from augury.embeddings import Indices
from augury.extraction import embed
from augury.pseudolabels import opensmile, smile_graph
from augury.pseudolabels.candidate import Candidate, RecordingInfo
from augury.store import Store, key, source_version

#: Changes when decoding, the spectrogram or the embeddings change their values.
VERSION = 1


@dataclass(frozen=True)
class Embedding:
    """A kind of fixed-size representation of a segment, with its parameters.

    >>> Embedding("gaussian", parts=20, width=0.07)
    Embedding(kind='gaussian', parts=20, width=0.07)
    """

    kind: str  # "gaussian", "released" or "svcca"
    parts: int  # N: number of Gaussian parts, or of SVCCA's directions
    width: float  # σ_gd, as a fraction of the segment's length; no effect on SVCCA

    def embed(self, mel: NDArray[Any], first: Indices, stop: Indices) -> NDArray[Any]:
        """The embeddings (segments, …) of segments of a log-mel, see `augury.extraction.embed`."""
        if self.kind == "svcca":
            return embed.svcca(mel, first, stop, directions=self.parts)
        down = embed.released_downsample if self.kind == "released" else embed.gaussian_downsample
        return down(mel, first, stop, parts=self.parts, width=self.width)


@dataclass(frozen=True)
class Plan:
    """What to extract from every recording, and the store. Small, as it is sent to workers."""

    store: Path
    embeddings: tuple[Embedding, ...]  # the first for all recordings, the others on request
    extractor: opensmile.Extractor | None
    functions: tuple[tuple[Candidate, str], ...]  # own and users', each with its version
    candidates: tuple[Candidate, ...] = ()
    unvoiced: str = "published"  # see `augury.extraction.gather.candidate_values`
    mel: bool = False  # whether the log-mel itself is stored, as pretraining needs it
    fresh: bool = False  # whether functions of the user's are computed though the store has values
    with_recording: frozenset[str] = frozenset()  # names of the functions that are told of it

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        store: Path,
        *,
        unvoiced: str,
        embeddings: tuple[Embedding, ...] = (),
        mel: bool = False,
        fresh: bool = False,
    ) -> Plan:
        """The plan for some candidates; InputError for an unknown column or function."""
        pitches = [pseudolabels.pitch_of(c) for c in candidates]
        columns = [(c.origin, c.item) for c in candidates if c.provider == "opensmile"]
        columns += [  # the feature set's pitch shows which frames are voiced
            (pitch.origin, pitch.item)
            for pitch in pitches
            if pitch and pitch.provider == "opensmile"
        ]
        columns = list(dict.fromkeys(columns))
        functions = [c for c in candidates if c.provider in ("function", "own")]
        functions += [pitch for pitch in pitches if pitch and pitch.provider == "own"]
        return cls(
            store=store,
            embeddings=embeddings,
            extractor=_extractor(columns, Store(store)) if columns else None,
            functions=tuple(
                (c, pseudolabels.function_version(c)) for c in dict.fromkeys(functions)
            ),
            candidates=tuple(candidates),
            unvoiced=unvoiced,
            mel=mel,
            fresh=fresh,
            with_recording=frozenset(
                c.name for c in functions if c.of_user and pseudolabels.takes_recording(c)
            ),
        )


def _extractor(columns: list[tuple[str, str]], store: Store) -> opensmile.Extractor:
    """openSMILE's configuration for some columns, kept in the store: to plan it takes a second."""
    try:
        version = opensmile.version()
    except PackageNotFoundError:
        return opensmile.extractor(columns)  # which says what to install
    functions = (opensmile.extractor, smile_graph.subgraph)
    code = [source_version(function, function.__module__) for function in functions]
    name = key("opensmile-plan", VERSION, version, code, columns)
    if stored := store.read(name):
        return opensmile.Extractor(
            stored["config"].tobytes().decode(),
            tuple(":".join(column) for column in columns),
            tuple(stored["elements"].tolist()),
            tuple(stored["windows"].tolist()),
        )
    extractor = opensmile.extractor(columns)
    config = np.frombuffer(extractor.config.encode(), np.uint8)
    elements, windows = np.array(extractor.elements, np.int64), np.array(extractor.windows)
    store.write(name, {"config": config, "elements": elements, "windows": windows})
    return extractor


@dataclass(frozen=True)
class Recording:
    """One recording and its segments."""

    path: Path
    name: str  # as the manifest wrote it
    start: tuple[float, ...] = ()  # (segments,) seconds, NaN: the recording's beginning
    end: tuple[float, ...] = ()  # (segments,) seconds, NaN: the recording's end
    all_embeddings: bool = False  # whether to extract all embeddings of the plan, or the first only
    row: tuple[tuple[str, str], ...] = ()  # see `RecordingInfo`; only where a function is told

    def info(self, plan: Plan, candidate: Candidate) -> RecordingInfo | None:
        """What a candidate's function is told of the recording; None where it is told nothing."""
        if candidate.name not in plan.with_recording:
            return None
        return RecordingInfo(self.name, self.path, dict(self.row))


def embedding_key(content: str, plan: Plan, recording: Recording) -> str:
    """The store's name for the embeddings of a recording's segments.

    `content` is the digest of the file's bytes, here and below.
    """
    spans = [
        [_without_nan(start), _without_nan(end)]
        for start, end in zip(recording.start, recording.end, strict=True)
    ]
    how = [[e.kind, e.parts, e.width] for e in recording_embeddings(plan, recording)]
    return key(content, "embedding", VERSION, how, spans)


def recording_embeddings(plan: Plan, recording: Recording) -> tuple[Embedding, ...]:
    """The embeddings to extract from a recording."""
    return plan.embeddings if recording.all_embeddings else plan.embeddings[:1]


def mel_key(content: str) -> str:
    """The store's name for a recording's log-mel in half precision, as pretraining reads it."""
    return key(content, "mel", VERSION)


def log_mel_key(content: str) -> str:
    """The store's name for a recording's log-mel in full, from which segments are embedded."""
    return key(content, "log-mel", VERSION)


def opensmile_key(content: str) -> str:
    """The store's name for a recording's openSMILE columns, all in one artefact."""
    return key(content, "opensmile", VERSION, opensmile.version())


def function_key(
    content: str, candidate: Candidate, version: str, recording: RecordingInfo | None = None
) -> str:
    """The store's name for a function's values over a recording, and for what it is told of it."""
    told = [] if recording is None else [recording.name, str(recording.path), recording.row]
    return key(content, "function", VERSION, candidate.origin, candidate.item, version, *told)


def _without_nan(seconds: float) -> float | None:
    return None if math.isnan(seconds) else float(seconds)
