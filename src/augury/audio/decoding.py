# soundfile has no types:
# pyright: reportMissingTypeStubs=false
"""From a file's bytes to a signal: decoded by libsndfile, checked and bounded before and after."""

from __future__ import annotations

import io
import os
import re
import signal as signals
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO, cast

import numpy as np
import soundfile

from augury.audio.containers import BadAudio, check_container, truncation
from augury.audio.spectrum import Signal
from augury.errors import explain_os_errors

_RATES = (4_000, 192_000)  # Hz, lowest and highest accepted
_MAX_HOURS = 6.0  # hours
_CHANNELS = 32
_BLOCK = 1 << 22  # samples of all channels decoded at a time
#: Largest accepted amplitude, in full scales: floats may be a few times too loud, but larger ones
#: are integers written as floats, which openSMILE would clip.
_MAX_AMPLITUDE = 32.0


@dataclass(frozen=True)
class Header:
    """The content of a recording's header."""

    rate: int  # Hz
    channels: int
    frames: int  # samples of each channel
    format: str  # "WAV PCM_16", "OGG OPUS", ...

    @property
    def seconds(self) -> float:
        """The recording's length."""
        return self.frames / self.rate


def decode(data: bytes, name: str, *, max_hours: float = _MAX_HOURS) -> tuple[Signal, int]:
    """A file's content as a mono signal (samples,), the mean of its channels, and its rate in Hz.

    Reads WAV, FLAC, Ogg Vorbis and Opus, MP3 and NIST SPHERE. `name` is used in messages. Samples
    of float files may lie outside -1..1, up to 32 times; nothing is clipped. A truncated MP3
    without a Xing header is not recognised, as nothing in it states its length.

    Raises:
        BadAudio: unusable; its `reason` is "empty-file", "unsupported-format", "unreadable",
            "bad-rate", "no-samples", "too-long", "too-many-channels", "truncated", "not-finite",
            "too-loud" or "silent".

    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.array([[0.5, -0.5], [0.25, 0.5]]), 8000, format="WAV")
    >>> signal, rate = decode(file.getvalue(), "stereo.wav")
    >>> signal.round(3).tolist(), rate
    ([0.0, 0.375], 8000)
    """
    with _defer_interrupts(), _open(io.BytesIO(data), len(data), name, max_hours) as sound:
        signal = _decode_mono(sound, name)
        expected, rate = sound.frames, sound.samplerate
    if len(signal) < expected:
        raise truncation(name, f"only {len(signal)} of the {expected} samples its header gives")
    low, high = signal.min(), signal.max()  # NaN and infinity survive into one of them
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadAudio("not-finite", f"{name}: holds NaN or infinite samples; export it again")
    if max(-low, high) > _MAX_AMPLITUDE:
        peak = max(-low, high)
        detail = (
            f"{name}: a peak of {peak:.6g}, where 1 is full scale; if these are integers of 16 "
            "bits, divide them by 32768"
        )
        raise BadAudio("too-loud", detail)
    if low == high:
        raise BadAudio(
            "silent", f"{name}: all {len(signal)} samples are {low:g}; leave it out or record again"
        )
    return signal, rate


@contextmanager
def _defer_interrupts() -> Generator[None]:
    """Defer Ctrl-C to the end of the block.

    libsndfile reads through callbacks and swallows an interrupt raised in one: the file would seem
    truncated, and the run would continue.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # interrupts are raised in the main thread only
        return
    caught: list[tuple[int, FrameType | None]] = []
    before = signals.signal(signals.SIGINT, lambda number, frame: caught.append((number, frame)))
    try:
        yield
    finally:
        signals.signal(signals.SIGINT, before)
        if caught and callable(before):
            before(*caught[0])


def header(path: Path, name: str | None = None, *, max_hours: float = _MAX_HOURS) -> Header:
    """The content of a recording's header, checked but without decoding the recording.

    Raises:
        BadAudio: the header shows that the file is unusable, see `decode`.
        MissingFile, UnusableFile: the file can't be opened.

    >>> soundfile.write("a.wav", np.zeros((16000, 2)), 16000)
    >>> header(Path("a.wav"))
    Header(rate=16000, channels=2, frames=16000, format='WAV PCM_16')
    """
    with explain_os_errors(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        with _open(file, size, name or str(path), max_hours) as sound:
            kind = f"{sound.format} {sound.subtype}"
            return Header(sound.samplerate, sound.channels, sound.frames, kind)


def _decode_mono(sound: soundfile.SoundFile, name: str) -> Signal:
    """All samples (samples,), read in blocks: memory follows the data, not the header's claim."""
    block_size = _BLOCK // sound.channels
    blocks: list[Signal] = []
    count = 0
    while count < sound.frames:
        try:
            samples = sound.read(block_size, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise _read_failure(name, error) from error
        if len(samples) == 0:
            break
        mono = samples[:, 0] if sound.channels == 1 else samples.mean(axis=1)
        blocks.append(cast(Signal, mono))
        count += len(samples)
    if not blocks:
        raise truncation(name, f"none of the {sound.frames} samples its header gives")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _open(file: BinaryIO, size: int, name: str, max_hours: float) -> soundfile.SoundFile:
    """The sound file in `file` of `size` bytes, with its header checked."""
    if size == 0:
        raise BadAudio("empty-file", f"{name}: has 0 bytes; copy or download it again")
    check_container(file, size, name)
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise _read_failure(name, error) from error
    try:
        _check_header(sound, name, max_hours)
    except BadAudio:
        sound.close()
        raise
    return sound


def _check_header(sound: soundfile.SoundFile, name: str, max_hours: float) -> None:
    lowest, highest = _RATES
    if not lowest <= sound.samplerate <= highest:
        raise BadAudio(
            "bad-rate",
            f"{name}: its header says {sound.samplerate} Hz, but {lowest} to {highest} Hz is "
            "wanted; resample it, or mend the header",
        )
    if sound.channels > _CHANNELS:
        raise BadAudio(
            "too-many-channels",
            f"{name}: its header says {sound.channels} channels, but at most {_CHANNELS} are "
            "read; split it into recordings",
        )
    if sound.frames <= 0:
        raise BadAudio(
            "no-samples", f"{name}: a header and no samples; export it again or leave it out"
        )
    if sound.frames >= 1 << 62:  # libsndfile's value for an unknown length
        raise BadAudio(
            "unreadable", f"{name}: its header does not say how long it is; encode it again"
        )
    if sound.frames > max_hours * 3600 * sound.samplerate:
        hours = sound.frames / sound.samplerate / 3600
        raise BadAudio(
            "too-long",
            f"{name}: its header says {hours:.1f} h, but at most {max_hours:g} h are read; cut it "
            "into shorter recordings",
        )


def _read_failure(name: str, error: Exception) -> BadAudio:
    message = re.sub(r"<_io\.\w+ object at \w+>", "it", str(error)).strip().rstrip(".")
    return BadAudio(
        "unreadable",
        f"{name}: libsndfile can't read it ({message}); copy, download or encode it again",
    )
