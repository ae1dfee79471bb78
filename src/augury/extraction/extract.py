"""From recordings to arrays: every recording is read, decoded and analysed once, then remembered.

`extract` does one recording's work and leaves it in the store; `gather` reads the store back into
arrays over segments. A first run and a cached one differ only in what `extract` finds already done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury import audio, pseudolabels
from augury.corpus.check import SLACK
from augury.embeddings import Selected
from augury.errors import InputError
from augury.extraction import embed
from augury.pseudolabels import opensmile, own
from augury.pseudolabels.candidate import Candidate
from augury.store import Store, digest, key

#: Changes when decoding, the spectrogram or the embeddings change their values.
VERSION = 1


@dataclass(frozen=True)
class Embedding:
    """How a segment becomes a fixed-size array."""

    kind: str  # "gaussian", "released" or "svcca"
    parts: int  # N: Gaussian parts, or directions kept by svcca
    width: float  # σ_gd, a fraction of the segment's length; of no effect on svcca

    def of(self, mel: NDArray, first: NDArray, stop: NDArray) -> NDArray:
        """The segments' embeddings; see `augury.extraction.embed`."""
        if self.kind == "svcca":
            return embed.svcca(mel, first, stop, directions=self.parts)
        down = embed.released_downsample if self.kind == "released" else embed.gaussian_downsample
        return down(mel, first, stop, parts=self.parts, width=self.width)


@dataclass(frozen=True)
class Plan:
    """What is wanted of every recording."""

    store: Path
    embeddings: tuple[Embedding, ...]  # the first of every recording, the others where asked
    smile: opensmile.Extractor | None
    functions: tuple[tuple[Candidate, str], ...]  # each with its version
    mel: bool = False  # whether the log-mel itself is kept, as pretraining needs it

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        store: Path,
        *,
        unvoiced: str,
        embeddings: tuple[Embedding, ...] = (),
        mel: bool = False,
    ) -> Plan:
        """What candidates need of a recording; InputError for a column or function not there."""
        columns = [(one.origin, one.item) for one in candidates if one.kind == "opensmile"]
        if unvoiced == "voiced":  # the set's own pitch tells which frames have a voice
            columns += [
                (one.origin, pseudolabels.PITCH[one.origin])
                for one in candidates
                if one.kind == "opensmile" and one.item.startswith(pseudolabels.VOICED_ONLY)
            ]
        columns = list(dict.fromkeys(columns))
        functions = [one for one in candidates if one.kind == "function"]
        return cls(
            store=store,
            embeddings=embeddings,
            smile=opensmile.extractor(columns) if columns else None,
            functions=tuple((one, pseudolabels.function_version(one)) for one in functions),
            mel=mel,
        )


@dataclass(frozen=True)
class Work:
    """One recording and the segments to cut from it."""

    path: Path
    name: str
    start: tuple[float, ...]  # seconds, NaN: from the beginning
    end: tuple[float, ...]  # seconds, NaN: to the end
    variants: bool  # whether all embeddings of the plan are wanted, or the first only


@dataclass(frozen=True)
class Outcome:
    """What became of one recording."""

    digest: str = ""  # of the file's bytes
    problem: tuple[str, str] | None = None  # (reason, detail): nothing of it can be used
    seconds: dict[str, float] = field(default_factory=dict)  # time spent, by kind of work
    duration: float = 0.0  # seconds of audio
    rate: int = 0  # Hz, as recorded


#: Codes of the array "problem" of an embedding artefact.
SEGMENT_PROBLEMS = {
    1: ("outside-recording", "lies outside its recording, which lasts {duration:.3f} s"),
    2: ("too-short", "is shorter than one analysis window, 0.025 s"),
    3: ("not-finite", "has an embedding that is not finite"),
}


def extract(plan: Plan, work: Work) -> Outcome:
    """Compute what the store lacks of one recording. Bad audio is an outcome, not an exception."""
    clock = _Clock()
    store = Store(plan.store)
    try:
        data = work.path.read_bytes()
    except OSError as error:
        return Outcome(problem=("unreadable", f"{work.name}: {error.strerror or error}"))
    content = digest(data)
    clock.spent("read")
    known = (store.read(smile_key(content)) or {}) if plan.smile else {}
    smile = plan.smile if plan.smile and not set(plan.smile.columns) <= set(known) else None
    functions = [
        (one, version)
        for one, version in plan.functions
        if store.read(function_key(content, one, version)) is None
    ]
    wanted = _of_spectrogram(plan, work, content)
    made = [store.read(name) for name in wanted]
    clock.spent("store")
    if not (smile or functions) and (last := made[-1]) and all(made):
        duration, rate = float(last["duration"][0]), int(last["rate"][0])
        return Outcome(content, None, clock.seconds, duration, rate)
    try:
        signal, rate = audio.decode(data, work.name)
        clock.spent("decode")
        signal = audio.resample(signal, rate)
        clock.spent("resample")
        duration = len(signal) / audio.RATE
        shortest = opensmile.SHORTEST if plan.smile else audio.WINDOW
        if duration < shortest:
            detail = f"{work.name}: {duration:.3f} s, but {shortest} s are needed"
            raise audio.BadAudio("too-short", detail)
        signal.flags.writeable = False  # what a function did to it would reach all that come after
        for one, version in functions:
            values = {"values": _called(one, signal, work)}
            clock.spent(one.source)
            store.write(function_key(content, one, version), values)
        if smile:
            columns = _smiled(smile, signal, work)
            clock.spent("openSMILE")
            store.write(smile_key(content), {**known, **columns})
        clock.spent("store")
        if not all(made):
            mel = audio.log_mel(signal)
            clock.spent("mel")
            about = {"duration": np.array([duration]), "rate": np.array([rate], np.int64)}
            arrays = []
            if plan.embeddings:
                arrays.append(_embedded(plan, work, mel, duration))
                clock.spent("embedding")
            if plan.mel:  # in half precision: exact to 0.03 dB, and half the disk
                arrays.append({"mel": mel.astype(np.float16)})
            for name, found in zip(wanted, arrays, strict=True):
                store.write(name, about | found)
            clock.spent("store")
    except audio.BadAudio as error:
        return Outcome(content, (error.reason, str(error)), clock.seconds)
    return Outcome(content, None, clock.seconds, duration, rate)


def _of_spectrogram(plan: Plan, work: Work, content: str) -> list[str]:
    """The store's names for what is computed from a recording's spectrogram."""
    names = [embedding_key(content, plan, work)] if plan.embeddings else []
    return [*names, mel_key(content)] if plan.mel else names


def _called(one: Candidate, signal: NDArray[np.float32], work: Work) -> NDArray:
    try:
        return pseudolabels.call_function(one, signal, audio.RATE)
    except (Exception, SystemExit) as error:  # theirs may raise anything; the run goes on
        detail = f"{work.name}: {one.name} raised {error!r}"
        raise audio.BadAudio("function-failed", detail) from error


def _smiled(
    plan: opensmile.Extractor, signal: NDArray[np.float32], work: Work
) -> dict[str, NDArray[np.float32]]:
    try:
        return opensmile.extract(plan, signal)
    except RuntimeError as error:
        raise audio.BadAudio("openSMILE-failed", f"{work.name}: {error}") from error


def _embedded(
    plan: Plan, work: Work, mel: NDArray[np.float32], duration: float
) -> dict[str, NDArray]:
    """One recording's embedding artefact: its usable segments, and what is wrong with others."""
    problem = segment_problems(work, duration)
    start, end = (edge[problem == 0] for edge in segment_edges(work.start, work.end, duration))
    first, stop = frame_range(start, end, audio.WINDOW / 2, audio.HOP, len(mel))
    embeddings = [one.of(mel, first, stop) for one in _embeddings(plan, work)]
    finite = np.ones(len(first), bool)
    for array in embeddings:
        finite &= np.isfinite(array).reshape(len(finite), -1).all(axis=1)
    problem[np.flatnonzero(problem == 0)[~finite]] = 3
    return {
        "problem": problem,
        **{f"embedding{k}": array[finite] for k, array in enumerate(embeddings)},
    }


def embedding_key(content: str, plan: Plan, work: Work) -> str:
    """The store's name for one recording's embeddings of these segments."""
    spans = [[_plain(s), _plain(e)] for s, e in zip(work.start, work.end, strict=True)]
    how = [[one.kind, one.parts, one.width] for one in _embeddings(plan, work)]
    return key(content, "embedding", VERSION, how, spans)


def _embeddings(plan: Plan, work: Work) -> tuple[Embedding, ...]:
    return plan.embeddings if work.variants else plan.embeddings[:1]


def mel_key(content: str) -> str:
    """The store's name for one recording's log-mel."""
    return key(content, "mel", VERSION)


def smile_key(content: str) -> str:
    """The store's name for one recording's openSMILE columns, all in one artefact."""
    return key(content, "opensmile", VERSION, opensmile.version())


def function_key(content: str, one: Candidate, version: str) -> str:
    """The store's name for one recording's values of a function."""
    return key(content, "function", VERSION, one.origin, one.item, version)


def frame_range(
    start: NDArray, end: NDArray, centre: float, hop: float, frames: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The frames whose centres lie in [start, end), at least one: else the nearest.

    Args:
        start, end: (segments,) seconds.
        centre: seconds from the recording's beginning to the middle of frame 0.
        hop: seconds between frames.
        frames: how many there are.
    """
    # A time written with a few decimals should not miss its frame by a rounding of the last bit.
    first, stop = (np.ceil((t - centre) / hop - 1e-6).astype(np.int64) for t in (start, end))
    first, stop = np.clip(first, 0, frames), np.clip(stop, 0, frames)
    nearest = np.clip(np.round(((start + end) / 2 - centre) / hop).astype(np.int64), 0, frames - 1)
    none = stop <= first
    return np.where(none, nearest, first), np.where(none, nearest + 1, stop)


def segment_problems(work: Work, duration: float) -> NDArray[np.uint8]:
    """What is wrong with each segment: 0, or a code of `SEGMENT_PROBLEMS`."""
    start, end = np.array(work.start), np.array(work.end)
    outside = (start >= duration) | (end > duration + SLACK)
    begin, stop = segment_edges(work.start, work.end, duration)
    short = stop - begin < audio.WINDOW - 1e-9
    return np.where(outside, 1, np.where(short, 2, 0)).astype(np.uint8)


def segment_edges(
    start: ArrayLike, end: ArrayLike, duration: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Segments' beginnings and ends inside recordings so long, all in seconds; NaN: its own."""
    return np.nan_to_num(np.asarray(start, np.float64)), np.fmin(end, duration)


# ----------------------------------------------------------------------- back from the store


@dataclass(frozen=True)
class Gathered:
    """Arrays over the usable segments of a corpus, in its order."""

    embeddings: list[Any]  # those asked for, each gives (…, parts, mels) float32 for x[rows]
    values: dict[str, NDArray]  # candidate → (usable,) or (usable, dims) float64; NaN: no value
    usable: NDArray[np.bool_]  # (segments given,)
    problems: list[tuple[int, str, str]]  # (index of the segment given, reason, detail)


def _in_memory(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)


def gather(
    plan: Plan,
    works: Sequence[Work],
    outcomes: Sequence[Outcome],
    places: Sequence[NDArray[np.int64]],
    candidates: Sequence[Candidate],
    *,
    unvoiced: str,
    which: Sequence[int] = (0,),
    empty: Callable[[tuple[int, ...]], NDArray[np.float32]] = _in_memory,
) -> Gathered:
    """Read the segments of extracted recordings back.

    Args:
        plan, works: as given to `extract`.
        outcomes: what it returned for each work.
        places: for each work, its segments' places in the corpus.
        candidates: those whose values are wanted; columns of the manifest are not here.
        unvoiced: "published" keeps what openSMILE writes where there is no voice; "voiced" takes
            such frames out of the mean of the columns that describe the voice.
        which: the embeddings wanted, by their places in the plan.
        empty: makes the arrays that hold them, of a shape.
    """
    count = sum(map(len, places))
    usable = np.zeros(count, bool)
    problems: list[tuple[int, str, str]] = []
    embeddings: list[NDArray[np.float32]] = []
    values: dict[str, NDArray] = {}
    for work, outcome, place in zip(works, outcomes, places, strict=True):
        if outcome.problem:
            problems += [(int(p), *outcome.problem) for p in place]
            continue
        name = embedding_key(outcome.digest, plan, work)
        arrays, frames = read_stored(plan, work, outcome.digest, name, candidates)
        problems += describe_problems(work, place, arrays["problem"], outcome.duration)
        good = arrays["problem"] == 0
        rows = place[good]
        usable[rows] = True
        if not embeddings:
            shapes = [arrays[f"embedding{k}"].shape[1:] for k in which]
            embeddings = [empty((count, *shape)) for shape in shapes]
        for k, into in zip(which, embeddings, strict=True):
            into[rows] = arrays[f"embedding{k}"]
        start, end = (edge[good] for edge in segment_edges(work.start, work.end, outcome.duration))
        ranges: dict[tuple[float, float, int], tuple[NDArray, NDArray]] = {}
        for one in candidates:
            if one.kind == "column":
                continue
            known, timing = candidate_values(plan, one, frames, outcome.duration, unvoiced)
            if one.name not in values:
                values[one.name] = np.full((count, *known.shape[1:]), np.nan)
            into = values[one.name]
            if known.shape[1:] != into.shape[1:]:
                raise InputError(
                    f"{one.name} gave values of shape {known.shape[1:]} for {work.name}, and of "
                    f"shape {into.shape[1:]} for an earlier recording"
                )
            at = (*timing, len(known))
            if at not in ranges:
                ranges[at] = frame_range(start, end, *at)
            into[rows] = means(known, *ranges[at])
    if not usable.all():
        embeddings = [Selected.of(array, np.flatnonzero(usable)) for array in embeddings]
        values = {name: array[usable] for name, array in values.items()}
    return Gathered(embeddings, values, usable, sorted(problems))


def read_stored(
    plan: Plan, work: Work, content: str, name: str, candidates: Sequence[Candidate]
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """One recording's artefact of that name, and the candidates' frames by source.

    What was damaged, or cleaned away, since it was written is made again.
    """
    for _ in range(2):
        arrays = Store(plan.store).read(name)
        frames = read_frames(plan, content, candidates)
        if arrays is not None and frames is not None:
            return arrays, frames
        if extract(plan, work).digest != content:
            raise OSError(
                f"{work.name}: changed since this run began, and what was extracted of it is no "
                "longer in the store; restore it, or start anew"
            )
    raise OSError(f"{plan.store}: what was just written there can't be read back")


def read_frames(
    plan: Plan,
    content: str,
    candidates: Sequence[Candidate],
    read: Callable[[str], dict[str, NDArray] | None] | None = None,
) -> dict[str, NDArray] | None:
    """One recording's values, frame by frame, by source; None if the store lacks any.

    `read` gives an artefact by its name; the store's own, which looks at checksums, if not given.
    """
    read, found = read or Store(plan.store).read, {}
    if any(one.kind == "opensmile" for one in candidates):
        columns = read(smile_key(content)) or {}
        found = {f"opensmile:{column}": frames for column, frames in columns.items()}
    for one, version in plan.functions:
        if one in candidates and (known := read(function_key(content, one, version))):
            found[one.source] = known["values"]
    complete = all(one.source in found for one in candidates if one.kind != "column")
    return found if complete else None


def describe_problems(
    work: Work, place: NDArray[np.int64], codes: NDArray[np.uint8], duration: float
) -> list[tuple[int, str, str]]:
    """Segments that can't be used, as (place in the corpus, reason, detail)."""
    found = []
    for k in np.flatnonzero(codes):
        reason, detail = SEGMENT_PROBLEMS[int(codes[k])]
        where = f"{work.name}: {work.start[k]:.3f} to {work.end[k]:.3f} s "
        found.append((int(place[k]), reason, where + detail.format(duration=duration)))
    return found


def _voiced(one: Candidate, values: NDArray, frames: dict[str, NDArray]) -> NDArray:
    """A column that describes the voice, NaN where there is none.

    Columns are smoothed over three frames: one counts if it and both its neighbours have a pitch.
    """
    if not one.item.startswith(pseudolabels.VOICED_ONLY):
        return values
    pitch = frames[f"opensmile:{one.origin}:{pseudolabels.PITCH[one.origin]}"] > 0
    around = np.concatenate([pitch[:1], pitch, pitch[-1:]])
    return np.where(around[:-2] & pitch & around[2:], values, np.nan)


def candidate_values(
    plan: Plan, one: Candidate, frames: dict[str, NDArray], duration: float, unvoiced: str
) -> tuple[NDArray, tuple[float, float]]:
    """A candidate's values over a recording, and when: its first frame's centre and hop, seconds.

    Args:
        plan, frames: what was extracted, and what `stored_frames` gave of it.
        duration: of the recording, seconds.
        unvoiced: see `gather`.
    """
    values = frames[one.source]
    if one.kind == "opensmile" and unvoiced == "voiced":
        values = _voiced(one, values, frames)
    return values, _timing(plan, one, len(values), duration)


def _timing(plan: Plan, one: Candidate, frames: int, duration: float) -> tuple[float, float]:
    if one.kind == "opensmile":
        assert plan.smile is not None
        column = plan.smile.columns.index(f"{one.origin}:{one.item}")
        return plan.smile.centres[column], opensmile.HOP
    if one.origin == own.__name__:
        return audio.WINDOW / 2, audio.HOP
    return duration / frames / 2, duration / frames


def means(frames: NDArray, first: NDArray, stop: NDArray) -> NDArray:
    """Mean of each range of frames; frames that are not finite, or beyond 1e100, do not count.

    Args:
        frames: (frames,) or (frames, dims).
        first, stop: (segments,) ranges, none empty.

    Returns:
        (segments,) or (segments, dims) float64; NaN where no frame of the range is finite.
    """
    frames = frames.astype(np.float64)
    finite = np.abs(frames) < pseudolabels.LARGEST  # false for NaN
    # Sums from each first to its stop are every other one; the row of zeros lets a stop be the end.
    ranges = np.stack([first, stop], axis=1).ravel()
    nothing = np.zeros((1, *frames.shape[1:]))
    total, number = (
        np.add.reduceat(np.concatenate([values, nothing]), ranges, axis=0)[::2]
        for values in (np.where(finite, frames, 0.0), finite)
    )
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


class _Clock:
    """Processor seconds spent since the last question, added up by name.

    Not time by the clock: waiting for the disk, another worker has the core.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.thread_time()

    def spent(self, name: str) -> None:
        now = time.thread_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def _plain(seconds: float) -> float | None:
    return None if np.isnan(seconds) else float(seconds)
