"""From a file's bytes to a signal, and from a signal to its log-mel.

libsndfile reads a file that was cut off silently short, so every container is checked against
what its own header promises, and bounded, before anything is allocated or believed.
"""

from __future__ import annotations

import io
import os
import re
import signal as signals
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from augury.errors import InputError

RATE = 16_000  # Hz, what every estimator works at
WINDOW = 0.025  # seconds of signal behind one spectrum
HOP = 0.010  # seconds from one spectrum to the next
BANDS = 80  # of the mel scale, the paper's

Signal = NDArray[np.float32]

_RATES = (4_000, 192_000)  # Hz, lowest and highest believed
_MAX_HOURS = 6.0  # hours
_CHANNELS = 32
_PIECE = 1 << 22  # samples of all channels decoded at a time
_MAX_AMPLITUDE = (
    1e6  # times full scale: integers written as floats pass, what would overflow does not
)
FLOOR = 1e-10  # power: -100 dB
_FRAMES = 512  # spectra computed at a time, so that they stay in the cache
_UNKNOWN_LENGTH = (
    0x7FFFF000  # a WAV length from here on was written by a program that could not seek back
)


class BadAudio(InputError):
    """A recording that can't be used: `reason` is a stable kind, `detail` the human sentence."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        return BadAudio, (self.reason, self.detail)  # so that it crosses processes


@dataclass(frozen=True)
class Header:
    """What a recording's header says of it."""

    rate: int  # Hz
    channels: int
    frames: int  # samples of each channel
    format: str  # "WAV PCM_16", "OGG OPUS", ...

    @property
    def seconds(self) -> float:
        """The recording's length."""
        return self.frames / self.rate


def decode(data: bytes, name: str, *, max_hours: float = _MAX_HOURS) -> tuple[Signal, int]:
    """A file's bytes as a mono signal (samples,), the mean of its channels, and its rate in Hz.

    Reads WAV, FLAC, Ogg Vorbis and Opus, MP3 and NIST SPHERE. `name` is for messages; `longest` is
    in hours. Float files may go beyond -1..1: nothing is clipped.

    BadAudio says why not: "empty-file", "unsupported-format", "unreadable", "bad-rate",
    "no-samples", "too-long", "too-many-channels", "truncated", "not-finite", "too-loud", "silent".
    An MP3 without a Xing header doesn't say how long it is: one cut off is not recognised.
    """
    with _defer_interrupts(), _open(io.BytesIO(data), len(data), name, max_hours) as sound:
        signal = _decode_mono(sound, name)
        wanted, rate = sound.frames, sound.samplerate
    if len(signal) < wanted:
        raise _truncation(name, f"only {len(signal)} of the {wanted} samples its header gives")
    low, high = signal.min(), signal.max()  # NaN and infinity survive into one of them
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadAudio("not-finite", f"{name}: holds NaN or infinite samples; export it again")
    if max(-low, high) > _MAX_AMPLITUDE:
        peak = max(-low, high)
        detail = f"{name}: a peak of {peak:.1e}, where 1 is full scale; rescale it"
        raise BadAudio("too-loud", detail)
    if low == high:
        raise BadAudio(
            "silent", f"{name}: all {len(signal)} samples are {low:g}; leave it out or record again"
        )
    return signal, rate


@contextmanager
def _defer_interrupts() -> Iterator[None]:
    """Ctrl-C waits until the end of this block.

    libsndfile reads through callbacks, and an interrupt raised in one is swallowed there: the file
    would seem truncated and the run go on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # interrupts are raised in the main thread only
        return
    caught: list[tuple[int, FrameType | None]] = []
    before = signals.signal(signals.SIGINT, lambda *received: caught.append(received))
    try:
        yield
    finally:
        signals.signal(signals.SIGINT, before)
        if caught and callable(before):
            before(*caught[0])


def header(path: Path, name: str | None = None, *, max_hours: float = _MAX_HOURS) -> Header:
    """What a recording's header says, decoding nothing; BadAudio and OSError for what it shows."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        with _open(file, size, name or str(path), max_hours) as sound:
            kind = f"{sound.format} {sound.subtype}"
            return Header(sound.samplerate, sound.channels, sound.frames, kind)


def resample(signal: Signal, rate: int, wanted: int = RATE) -> Signal:
    """The signal (samples,) at another rate; itself where the rate is already right."""
    if rate == wanted:
        return signal
    return soxr.resample(signal, rate, wanted, quality="HQ")


def log_mel(
    signal: Signal,
    rate: int = RATE,
    *,
    bands: int = BANDS,
    window: float = WINDOW,
    hop: float = HOP,
) -> NDArray[np.float32]:
    """Log-mel spectrogram: (frames, bands) float32 dB, at least -100, with no normalisation.

    Hann window, power spectrum with no zero padding, triangles evenly spaced in mel (HTK's
    formula) from 0 to half the rate. Frame i starts at sample i * hop, with no padding at the
    edges: there are 1 + (samples - window) // hop of them, frame i centred at
    window/2 + i * hop.
    InputError if the signal is shorter than one window.
    """
    width, step = round(window * rate), round(hop * rate)
    if len(signal) < width:
        raise InputError(
            f"the signal has {len(signal)} samples, but one window of {window:g} s at {rate} Hz "
            f"needs {width}; leave out recordings shorter than that"
        )
    hann, mel = window_and_filters(rate, bands, window)
    frames = sliding_window_view(np.asarray(signal, np.float32), width)[::step]
    db = np.empty((len(frames), bands), np.float32)
    for i in range(0, len(frames), _FRAMES):
        windowed = frames[i : i + _FRAMES] * hann
        spectra: NDArray[np.complex64] = np.asarray(fft.rfft(windowed, axis=1, workers=1))
        power = np.square(spectra.real)
        power += np.square(spectra.imag)
        np.matmul(power, mel, out=db[i : i + _FRAMES])
    np.maximum(db, np.float32(FLOOR), out=db)
    np.log(db, out=db)
    db *= np.float32(10 / np.log(10))
    return db


@cache
def cepstral_basis(bands: int, count: int) -> NDArray[np.float32]:
    """(bands, count): log-mel @ this is its first MFCCs, an orthonormal DCT (type 2)."""
    return _read_only(np.asarray(fft.dct(np.eye(bands), axis=1, norm="ortho"))[:, :count])


def window_and_filters(
    rate: int, bands: int, window: float = WINDOW
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What `log_mel` computes with: its window (samples,) and its mel filters (bins, bands)."""
    width = round(window * rate)
    return _hann(width), _mel_filters(rate, width, bands)


@cache
def _hann(width: int) -> NDArray[np.float32]:
    return _read_only(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width))  # periodic


@cache
def _mel_filters(rate: int, width: int, bands: int) -> NDArray[np.float32]:
    """Triangles (bins, bands) of height 1, straight in Hz between points evenly spaced in mel."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    points = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)  # Hz
    left, centre, right = points[:-2], points[1:-1], points[2:]
    hertz = np.arange(width // 2 + 1)[:, None] * (rate / width)
    rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
    filters = np.maximum(0, np.minimum(rising, falling))
    if not filters.any(axis=0).all():
        raise InputError(
            f"{bands} mel bands at {rate} Hz are finer than the spectrum's {rate / width:g} Hz, so "
            "some would be empty; ask for fewer bands or a longer window"
        )
    return _read_only(filters)


def _read_only(values: np.ndarray) -> NDArray[np.float32]:
    array = values.astype(np.float32)
    array.flags.writeable = False  # it is cached and shared
    return array


def _decode_mono(sound: soundfile.SoundFile, name: str) -> Signal:
    """All samples (samples,), decoded in pieces: memory grows with what is there, not claimed."""
    piece = _PIECE // sound.channels
    pieces, count = [], 0
    while count < sound.frames:
        try:
            samples = sound.read(piece, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise _read_failure(name, error) from error
        if len(samples) == 0:
            break
        pieces.append(samples[:, 0] if sound.channels == 1 else samples.mean(axis=1))
        count += len(samples)
    if not pieces:
        raise _truncation(name, f"none of the {sound.frames} samples its header gives")
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _open(file: BinaryIO, size: int, name: str, max_hours: float) -> soundfile.SoundFile:
    """The sound in a file of `size` bytes, its header checked and bounded."""
    if size == 0:
        raise BadAudio("empty-file", f"{name}: has 0 bytes; copy or download it again")
    _check_container(file, size, name)
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
    if sound.frames >= 1 << 62:  # libsndfile's way of saying unknown
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


def _check_container(file: BinaryIO, size: int, name: str) -> None:
    """Raises BadAudio where the container's own structure shows that its end is missing."""
    head = file.read(1024)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        _check_wav(file, size, name, big=head[:4] == b"RIFX")
    elif head[:7] == b"NIST_1A":
        _check_sphere(head, size, name)
    elif head[:4] == b"OggS":
        _check_ogg(file, size, name)
    elif head[:3] == b"ID3" or _is_mpeg_frame(head):
        _check_mp3(file, size, name)
    elif head[:4] != b"fLaC":  # whose decoder itself counts up to the header's samples
        raise BadAudio(
            "unsupported-format",
            f"{name}: not WAV, FLAC, Ogg, MP3 or NIST SPHERE by its first bytes ({head[:4]!r}); "
            "convert it to one of them, preferably FLAC",
        )


def _check_wav(file: BinaryIO, size: int, name: str, *, big: bool) -> None:
    """Walks the chunks to the data, whose length must be there."""
    order = ">" if big else "<"
    at, long = 12, None
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack(f"{order}4sI", file.read(8))
        if kind == b"ds64":  # RF64: the 64-bit lengths come in a chunk of their own
            lengths = file.read(16)
            long = struct.unpack("<Q", lengths[8:])[0] if len(lengths) == 16 else None
        if kind == b"data":
            known = length if length < _UNKNOWN_LENGTH else long
            if known is not None and at + 8 + known > size:
                raise _truncation(name, f"{size - at - 8} of the {known} bytes its header gives")
            return
        at += 8 + length + length % 2
    raise _truncation(name, "none of its samples: it ends before them")


def _check_sphere(head: bytes, size: int, name: str) -> None:
    def field(key: str) -> int | None:
        found = re.search(rf"^{key} -i (\d{{1,18}})\s*$".encode(), head, re.MULTILINE)
        return int(found[1]) if found else None

    if re.search(rb"^sample_coding -s\d+ \S*shorten", head, re.MULTILINE):
        raise BadAudio(
            "unreadable",
            f"{name}: NIST SPHERE packed with shorten, which is not read; unpack it with sph2pipe",
        )
    begin = re.match(rb"NIST_1A\r?\n\s*(\d{1,9})\s", head)
    count, width = field("sample_count"), field("sample_n_bytes")
    if begin and count is not None and width is not None:
        wanted = count * width * (field("channel_count") or 1)
        there = max(0, size - int(begin[1]))
        if there < wanted:
            raise _truncation(name, f"{there} of the {wanted} bytes of samples its header gives")


def _check_ogg(file: BinaryIO, size: int, name: str) -> None:
    """Walks the pages: the last one must be whole and say that it is the last."""
    at, last = 0, False
    while at < size:
        file.seek(at)
        page = file.read(27)
        is_page = page[:4] == b"OggS"
        if last and not is_page:
            return  # something was appended after the end
        table = file.read(page[26]) if len(page) == 27 else b""
        end = at + 27 + len(table) + sum(table)
        if not is_page or len(page) < 27 or len(table) < page[26] or end > size:
            raise _truncation(name, f"whole pages up to byte {at} of {size}, then a broken one")
        at, last = end, bool(page[5] & 4)
    if not last:
        raise _truncation(name, "pages that end without an end-of-stream mark")


def _check_mp3(file: BinaryIO, size: int, name: str) -> None:
    """Compares the Xing or Info header's length, where there is one, with what is there."""
    file.seek(0)
    tag = file.read(10)
    at = 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        a, b, c, d = tag[6:10]
        at = 10 + (a << 21 | b << 14 | c << 7 | d)
        at += 10 if tag[5] & 0x10 else 0  # a footer
    file.seek(at)
    frame = file.read(64)
    mark = next((found for m in (b"Xing", b"Info") if (found := frame.find(m)) > 0), None)
    if mark is None or not _is_mpeg_frame(frame):
        return
    flags, *counts = struct.unpack(">3I", frame[mark + 4 : mark + 16].ljust(12, b"\0"))
    if flags & 2:
        length = counts[1] if flags & 1 else counts[0]
        if at + length > size:
            raise _truncation(name, f"{size - at} of the {length} bytes its header gives")


def _is_mpeg_frame(head: bytes) -> bool:
    return len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def _truncation(name: str, found: str) -> BadAudio:
    return BadAudio("truncated", f"{name}: cut off: it holds {found}; copy or download it again")


def _read_failure(name: str, error: Exception) -> BadAudio:
    said = re.sub(r"<_io\.\w+ object at \w+>", "it", str(error)).strip().rstrip(".")
    return BadAudio(
        "unreadable",
        f"{name}: libsndfile can't read it ({said}); copy, download or encode it again",
    )
