"""Unlabelled speech as clips: log-mel and pseudo-labels frame by frame, aligned by time.

Clips are read from the store that `augury rank` uses, too. Memory holds an index, not the corpus.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augury import audio, pseudolabels
from augury.extraction.gather import candidate_values, read_frames, read_or_extract
from augury.extraction.plan import Plan, Recording, mel_key
from augury.store import Store

#: Batches are read by several threads, and openSMILE is not thread-safe.
_EXTRACTING = threading.Lock()


@dataclass(frozen=True)
class Clips:
    """An index of clips: where each lies in the store. A clip is one segment of the corpus."""

    plan: Plan
    recordings: tuple[Path, ...]
    names: tuple[str, ...]  # of the recordings, as written in the manifest
    digests: tuple[str, ...]  # of the recordings' bytes: their keys in the store
    recording: NDArray[np.int64]  # (clips,) index of the recording that a clip is cut from
    first: NDArray[np.int64]  # (clips,) first frame of a clip, counted in its recording
    frames: NDArray[np.int64]  # (clips,) number of frames
    held_out: NDArray[np.bool_]  # (clips,) whether a clip is for validation
    columns: dict[str, NDArray] = field(default_factory=dict)  # (clips,) numbers, or codes
    long: float = 60.0  # seconds beyond which a checked recording is read through a memory map
    rows: tuple[tuple[tuple[str, str], ...], ...] = ()  # of the recordings, see `Recording.row`
    _checked: set[int] = field(default_factory=set)  # long recordings whose checksum was right

    def __len__(self) -> int:
        return len(self.recording)

    def name(self, clip: int) -> str:
        """The clip for messages: its recording, and where it begins."""
        return f"{self.names[self.recording[clip]]} at {self.first[clip] * audio.HOP:.2f} s"

    def describe(self, clips: NDArray[np.int64]) -> str:
        """Some clips for messages: the first five by name, and how many more."""
        names = [self.name(int(clip)) for clip in clips[:5]]
        return ", ".join(names) + (f" and {len(clips) - 5} more" if len(clips) > 5 else "")

    def read(self, clip: int) -> tuple[NDArray[np.float32], dict[str, NDArray]]:
        """One clip, from the store; extracted again if the store has lost it.

        Returns:
            Its log-mel (frames, bands) in dB, and each pseudo-label at the same frames: (frames,)
            or (frames, dims) in its own units, NaN where it has no value; or codes (frames,), -1
            where it has none.
        """
        r = int(self.recording[clip])
        first, count = int(self.first[clip]), int(self.frames[clip])
        mel, frames, duration = self._read_recording(r)
        targets: dict[str, NDArray] = {}
        for candidate in self.plan.candidates:
            if candidate.provider == "column":
                values = np.full(count, self.columns[candidate.name][clip])
            else:
                values, timing = candidate_values(self.plan, candidate, frames, duration)
                values = align(values, *timing, first, count)
            targets[candidate.name] = values
        return mel[first : first + count].astype(np.float32), targets

    def read_whole(self, clip: int) -> NDArray[np.float32]:
        """The log-mel (frames, bands) in dB of the whole recording that a clip is cut from."""
        return self._read_recording(int(self.recording[clip]))[0].astype(np.float32)

    def _read_recording(self, r: int) -> tuple[NDArray, dict[str, NDArray], float]:
        """A recording's log-mel, the candidates' frames by source, and its length in seconds."""
        content, name = self.digests[r], mel_key(self.digests[r])
        candidates, store = self.plan.candidates, Store(self.plan.store)
        # A short clip of a long recording should not cost all of it.
        read = store.memory_map if r in self._checked else store.read
        arrays = read(name)
        row = self.rows[r] if self.rows else ()
        recording = Recording(self.recordings[r], self.names[r], row=row)
        frames = read_frames(self.plan, recording, content, candidates, read)
        if arrays is None or frames is None:
            with _EXTRACTING:
                arrays, frames = read_or_extract(self.plan, recording, content, name, candidates)
        duration = float(arrays["duration"][0])
        if duration > self.long:
            self._checked.add(r)
        return arrays["mel"], frames, duration

    def to_arrays(self) -> dict[str, NDArray]:
        """The index as arrays, without the plan; `from_arrays` reads them."""
        texts = [[str(path) for path in self.recordings], self.names, self.digests]
        texts += [self.rows] if self.rows else []
        arrays = {"texts": np.frombuffer(json.dumps(texts).encode(), np.uint8)}
        for name in ("recording", "first", "frames", "held_out"):
            arrays[name] = getattr(self, name)
        return arrays | {f"column {name}": values for name, values in self.columns.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray], plan: Plan) -> Clips:
        """The clips whose index `to_arrays` returned."""
        paths, names, digests, *rows = json.loads(arrays["texts"].tobytes())
        columns = [c.name for c in plan.candidates if c.provider == "column"]
        return cls(
            plan, tuple(map(Path, paths)), tuple(names), tuple(digests), arrays["recording"],
            arrays["first"], arrays["frames"], arrays["held_out"],
            {name: arrays[f"column {name}"] for name in columns},
            rows=tuple(tuple((name, value) for name, value in row) for row in (*rows, [])[0]),
        )  # fmt: skip


def align(
    values: NDArray, centre: float, hop: float, first: int, count: int
) -> NDArray[np.float64]:
    """Values at the frames of the log-mel, whatever their own timing: the nearest in time.

    Not interpolated, since a pitch halfway to openSMILE's 0 for "no voice" is not a pitch.

    Args:
        values: (frames,) or (frames, dims).
        centre: seconds from the beginning of the recording to the centre of the values' frame 0.
        hop: seconds from one of their frames to the next.
        first: frame of the log-mel that comes first in the result.
        count: frames of the result.

    Returns:
        (count,) or (count, dims); NaN where no frame is within half a hop, or where its value is
        not finite or beyond 1e100.

    >>> align(np.array([5.0, 6.0]), 0.0225, 0.010, 0, 4)  # the log-mel's frame 1 is at 0.0225 s
    array([nan,  5.,  6., nan])
    """
    times = audio.WINDOW / 2 + audio.HOP * np.arange(first, first + count)
    nearest = np.rint((times - centre) / hop).astype(np.int64)
    inside = (nearest >= 0) & (nearest < len(values))
    aligned = np.full((count, *values.shape[1:]), np.nan)
    known = values[nearest[inside]].astype(np.float64)
    aligned[inside] = np.where(np.abs(known) < pseudolabels.LARGEST, known, np.nan)
    return aligned
