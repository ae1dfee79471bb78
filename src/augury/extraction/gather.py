"""From the store to arrays over the segments of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury import audio, pseudolabels
from augury.embeddings import Embeddings, Indices, Selected
from augury.errors import UnusableFile
from augury.extraction.corpus import Extraction, RecordingEntry
from augury.extraction.extract import extract
from augury.extraction.means import Frames, SegmentMeans
from augury.extraction.plan import Plan, Recording, function_key, opensmile_key
from augury.extraction.segments import range_means
from augury.pseudolabels import opensmile, own, seven, smile_timing, vectors
from augury.pseudolabels.candidate import Candidate, is_voiced_only
from augury.pseudolabels.files import FileValues
from augury.store import Store, digest, key, source_version

#: Log HNR without a voice is -100, before smoothing over three frames and rounding.
NO_VOICE = -99.0


@dataclass(frozen=True)
class Gathered:
    """Arrays over the usable segments of a corpus, in its order."""

    embeddings: list[Embeddings]  # the requested ones; x[rows] is (rows, …) float32
    values: dict[str, NDArray[Any]]  # candidate → see `SegmentMeans`, of the usable segments
    usable: NDArray[np.bool_]  # (segments,)
    problems: list[tuple[int, str, str]]  # (index of a segment, reason, detail)
    unvoiced: dict[str, float]  # candidate → share of frames with the value for no voice


def _in_memory(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)


def gather(
    extraction: Extraction,
    candidates: Sequence[Candidate],
    *,
    files: Mapping[str, FileValues] | None = None,
    which: Sequence[int] = (0,),
    empty: Callable[[tuple[int, ...]], NDArray[np.float32]] = _in_memory,
) -> Gathered:
    """Read the embeddings and values of all segments from the store, which then has the means, too.

    Args:
        extraction: from `extract_corpus`.
        candidates: candidates of the plan to read; columns of the manifest are skipped.
        files: those whose values are in files, by name.
        which: indices, in the plan, of the embeddings to read.
        empty: allocates the embeddings' arrays, given a shape.

    Raises:
        InputError: shapes of values differ between recordings, or files have no usable values.
        UnusableFile: a recording changed since its extraction, and its values are not in the store.
    """
    count = extraction.segments
    usable = np.zeros(count, bool)
    problems: list[tuple[int, str, str]] = []
    filled: list[NDArray[np.float32]] = []
    means = SegmentMeans(count)
    silent: dict[str, NDArray[np.int64]] = {}
    kept = _KeptMeans.of(extraction, [c for c in candidates if c.from_signal])
    for entry in extraction.entries:
        if entry.extracted.problem:
            problems += entry.describe_problems()
            continue
        content, name = entry.extracted.digest, entry.extracted.embeddings
        recording, duration = entry.recording, entry.extracted.duration
        arrays, frames = read_or_extract(extraction.plan, recording, content, name, kept.missing)
        problems += entry.describe_problems(arrays["problem"])
        good_rows = arrays["problem"] == 0
        usable[rows := entry.segments[good_rows]] = True
        filled = filled or [empty((count, *arrays[f"embedding{k}"].shape[1:])) for k in which]
        for k, target in zip(which, filled, strict=True):
            target[_as_slice(rows)] = arrays[f"embedding{k}"]
        of_candidates = _all_frames(extraction.plan, kept.missing, frames, files or {}, entry)
        for candidate in filter(is_voiced_only, kept.missing):
            numbers = _count_silence(frames[candidate.source])
            silent[candidate.name] = silent.get(candidate.name, 0) + numbers
        size = sum(values.nbytes for values in frames.values())
        size += sum(8 * values.size for values, _ in of_candidates.values())  # when averaged
        means.add(recording, duration, good_rows, rows, of_candidates, size)
    for file in (files or {}).values():
        if any(not entry.extracted.problem for entry in extraction.entries):
            file.require_some()
    means.finish()
    embeddings, values = list[Embeddings](filled), dict[str, NDArray[Any]](means.values)
    kept.complete(values, silent)
    if not usable.all():
        embeddings = [Selected.of(array, np.flatnonzero(usable)) for array in filled]
        values = {name: array[usable] for name, array in values.items()}
    shares = {name: float(a / max(b, 1)) for name, (a, b) in silent.items()}
    unvoiced = shares if extraction.plan.unvoiced == "published" else {}
    return Gathered(embeddings, values, usable, sorted(problems), unvoiced)


@dataclass(frozen=True)
class _KeptMeans:
    """The means that an earlier run over the same segments left in the store."""

    store: Store
    name: str
    candidates: Sequence[Candidate]
    arrays: dict[str, NDArray[Any]] | None  # "values …" and "silent …" of candidates; None: none

    @classmethod
    def of(cls, extraction: Extraction, candidates: Sequence[Candidate]) -> _KeptMeans:
        """Those of some candidates; none are needed of no candidates."""
        store, name = Store(extraction.plan.store), _means_key(extraction, candidates)
        if extraction.plan.fresh and any(candidate.of_user for candidate in candidates):
            return cls(store, name, candidates, None)
        return cls(store, name, candidates, store.read(name) if candidates else {})

    @property
    def missing(self) -> Sequence[Candidate]:
        """The candidates whose frames have to be read."""
        return self.candidates if self.arrays is None else ()

    def complete(self, values: dict[str, Any], silent: dict[str, Any]) -> None:
        """Keep what was missing; add what was there to `values` and `silent`, by candidate."""
        if self.arrays is None:
            own = {c.name: values[c.name] for c in self.candidates if c.name in values}
            pairs = (("values", own), ("silent", silent))
            self.store.write(self.name, {f"{k} {n}": a for k, v in pairs for n, a in v.items()})
            return
        for name, array in self.arrays.items():
            what, _, candidate = name.partition(" ")
            (values if what == "values" else silent)[candidate] = array


def _means_key(extraction: Extraction, candidates: Sequence[Candidate]) -> str:
    """The store's name for candidates' means over all segments of an extraction."""
    plan, version = extraction.plan, opensmile.version if extraction.plan.extractor else str
    functions = [(c, version) for c, version in plan.functions if c in candidates]
    parts: list[bytes] = []
    for entry in extraction.entries:
        content, recording = entry.extracted.digest, entry.recording
        names = [  # which say what the segments are, and what a function knows of the recording
            entry.extracted.embeddings,
            *(function_key(content, c, v, recording.info(plan, c)) for c, v in functions),
        ]
        parts += [*map(str.encode, names), entry.segments.astype("<i8").tobytes()]
    names = [[c.name, c.source] for c in candidates]
    windows = plan.extractor and [plan.extractor.columns, plan.extractor.windows]
    code = [
        source_version(function, function.__module__)
        for function in (gather, SegmentMeans, range_means, smile_timing.offset, is_voiced_only)
    ]
    return key("means", code, version(), plan.unvoiced, names, windows, digest(b"".join(parts)))


def _all_frames(
    plan: Plan,
    candidates: Sequence[Candidate],
    frames: dict[str, NDArray[Any]],
    files: Mapping[str, FileValues],
    entry: RecordingEntry,
) -> dict[str, Frames]:
    """One recording's frames of all candidates that have any, in the store (`frames`) or files."""
    recording, duration = entry.recording, entry.extracted.duration
    found = {
        candidate.name: candidate_values(plan, candidate, frames, duration)
        for candidate in candidates
        if candidate.from_signal
    }
    for name, file in files.items():
        values = file.read(recording.path, recording.name, duration)
        if values is not None:
            found[name] = values, file.timing
    return found


def _count_silence(values: NDArray[Any]) -> NDArray[np.int64]:
    """How many frames have the value for no voice, 0 or (log HNR) -100; and how many there are."""
    return np.array([((values == 0) | (values <= NO_VOICE)).sum(), len(values)])


def _as_slice(rows: Indices) -> Indices | slice:
    """The rows as a slice, where they are consecutive: copying is faster then."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def read_or_extract(
    plan: Plan, recording: Recording, content: str, name: str, candidates: Sequence[Candidate]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """One recording's artefact of that name, and the candidates' frames by source.

    Artefacts that were damaged or deleted are computed again.

    Raises:
        UnusableFile: the recording's digest is no longer `content`.
    """
    for _ in range(2):
        arrays = Store(plan.store).read(name)
        frames = read_frames(plan, recording, content, candidates)
        if arrays is not None and frames is not None:
            return arrays, frames
        if extract(plan, recording, verify=True).digest != content:
            raise UnusableFile(
                f"{recording.name}: changed since this run began, and its extracted values are no "
                "longer in the store; restore it, or start again"
            )
    raise RuntimeError(f"{plan.store}: an artefact that was just written can't be read back")


def read_frames(
    plan: Plan,
    recording: Recording,
    content: str,
    candidates: Sequence[Candidate],
    read: Callable[[str], dict[str, NDArray[Any]] | None] | None = None,
) -> dict[str, NDArray[Any]] | None:
    """One recording's values, frame by frame, by source; None if any is not in the store.

    `read` reads an artefact by its name; the default is `Store.read`, which verifies checksums.
    """
    read = read or Store(plan.store).read
    frames: dict[str, NDArray[Any]] = {}
    if any(candidate.provider == "opensmile" for candidate in candidates):
        columns = read(opensmile_key(content)) or {}
        frames = {f"opensmile:{column}": values for column, values in columns.items()}
    wanted = list(candidates)
    for candidate, version in plan.functions:
        pitch = candidates and candidate.provider == "own"  # which tells where there is a voice
        if candidate in candidates or pitch:
            wanted.append(candidate)
            stored = read(
                function_key(content, candidate, version, recording.info(plan, candidate))
            )
            if stored:
                frames[candidate.source] = stored["values"]
    complete = all(c.source in frames for c in wanted if c.from_signal)
    return frames if complete else None


def candidate_values(
    plan: Plan, candidate: Candidate, frames: dict[str, NDArray[Any]], duration: float
) -> tuple[NDArray[Any], tuple[float, float]]:
    """A candidate's values over a recording, and their times (centre of frame 0, hop) in seconds.

    If the plan's `unvoiced` is "published", unvoiced frames have 0 or (log HNR) -100; if it is
    "voiced", columns that describe the voice are NaN there. Voiced frames of a column whose values
    describe another instant than its voicing have those of the right instant.

    Args:
        frames: from `read_frames`.
        duration: of the recording, in seconds.
    """
    values = frames[candidate.source]
    centre, hop = _timing(plan, candidate, len(values), duration)
    if pitch := pseudolabels.pitch_of(candidate):
        if plan.unvoiced == "voiced":
            voiced = frames[pitch.source] > 0
            if candidate.provider == "opensmile":
                voiced = _with_neighbours(voiced)
            values = np.where(voiced, values, np.nan)
        elif candidate.provider == "opensmile" and smile_timing.offset(candidate.item):
            voicing, _ = _timing(plan, pitch, len(values), duration)
            later = round((voicing - centre) / hop)
            values = smile_timing.follow_voice(values, frames[pitch.source] > 0, later)
            centre = (centre + later * hop + voicing) / 2  # what rounding left, halved
    return values, (centre, hop)


def _with_neighbours(voiced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames that have a pitch, as both neighbours have: openSMILE's columns mix three frames."""
    around = np.concatenate([voiced[:1], voiced, voiced[-1:]])
    return around[:-2] & voiced & around[2:]


def _timing(plan: Plan, candidate: Candidate, frames: int, duration: float) -> tuple[float, float]:
    if candidate.provider == "opensmile":
        assert plan.extractor is not None
        column = plan.extractor.columns.index(f"{candidate.origin}:{candidate.item}")
        return plan.extractor.centres[column], opensmile.HOP
    if candidate.provider == "own":
        return seven.centre(candidate.item), audio.HOP
    if candidate.origin in (own.__name__, vectors.__name__):
        return audio.WINDOW / 2, audio.HOP
    return duration / frames / 2, duration / frames
