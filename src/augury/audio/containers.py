"""Checks of audio containers: whether a file's own structure shows that its end is missing.

libsndfile reads truncated files without an error and returns fewer samples, so each file is
compared with the lengths that its container states, before anything is allocated.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from augury.errors import InputError

#: WAV lengths from here on mean "unknown": the writing program could not seek back.
_UNKNOWN_LENGTH = 0x7FFFF000


class BadAudio(InputError):
    """An unusable recording: `reason` is a fixed identifier, `detail` a sentence for the user."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        return BadAudio, (self.reason, self.detail)  # so that it crosses processes


def check_container(file: BinaryIO, size: int, name: str) -> None:
    """Raise BadAudio if the container's structure shows that the file's end is missing."""
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
    offset, long = 12, None
    while offset + 8 <= size:
        file.seek(offset)
        kind, length = struct.unpack(f"{order}4sI", file.read(8))
        if kind == b"ds64":  # RF64: the 64-bit lengths come in a chunk of their own
            lengths = file.read(16)
            long = struct.unpack("<Q", lengths[8:])[0] if len(lengths) == 16 else None
        if kind == b"data":
            known = length if length < _UNKNOWN_LENGTH else long
            if known is not None and offset + 8 + known > size:
                raise truncation(name, f"{size - offset - 8} of the {known} bytes its header gives")
            return
        offset += 8 + length + length % 2
    raise truncation(name, "none of its samples: it ends before them")


def _check_sphere(head: bytes, size: int, name: str) -> None:
    def field(key: str) -> int | None:
        match = re.search(rf"^{key} -i (\d{{1,18}})\s*$".encode(), head, re.MULTILINE)
        return int(match[1]) if match else None

    if re.search(rb"^sample_coding -s\d+ \S*shorten", head, re.MULTILINE):
        raise BadAudio(
            "unreadable",
            f"{name}: NIST SPHERE packed with shorten, which is not read; unpack it with sph2pipe",
        )
    begin = re.match(rb"NIST_1A\r?\n\s*(\d{1,9})\s", head)
    count, width = field("sample_count"), field("sample_n_bytes")
    if begin and count is not None and width is not None:
        expected = count * width * (field("channel_count") or 1)
        present = max(0, size - int(begin[1]))
        if present < expected:
            raise truncation(name, f"{present} of the {expected} bytes of samples its header gives")


def _check_ogg(file: BinaryIO, size: int, name: str) -> None:
    """Check all pages: the last one must be complete and marked as the last."""
    offset, last = 0, False
    while offset < size:
        file.seek(offset)
        page = file.read(27)
        is_page = page[:4] == b"OggS"
        if last and not is_page:
            return  # something was appended after the end
        table = file.read(page[26]) if len(page) == 27 else b""
        end = offset + 27 + len(table) + sum(table)
        if not is_page or len(page) < 27 or len(table) < page[26] or end > size:
            raise truncation(name, f"whole pages up to byte {offset} of {size}, then a broken one")
        offset, last = end, bool(page[5] & 4)
    if not last:
        raise truncation(name, "pages that end without an end-of-stream mark")


def _check_mp3(file: BinaryIO, size: int, name: str) -> None:
    """Compare the length in the Xing or Info header, if there is one, with the file's size."""
    file.seek(0)
    tag = file.read(10)
    offset = 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        a, b, c, d = tag[6:10]
        offset = 10 + (a << 21 | b << 14 | c << 7 | d)
        offset += 10 if tag[5] & 0x10 else 0  # a footer
    file.seek(offset)
    frame = file.read(64)
    mark = next((position for m in (b"Xing", b"Info") if (position := frame.find(m)) > 0), None)
    if mark is None or not _is_mpeg_frame(frame):
        return
    flags, *counts = struct.unpack(">3I", frame[mark + 4 : mark + 16].ljust(12, b"\0"))
    if flags & 2:
        length = counts[1] if flags & 1 else counts[0]
        if offset + length > size:
            raise truncation(name, f"{size - offset} of the {length} bytes its header gives")


def _is_mpeg_frame(head: bytes) -> bool:
    return len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def truncation(name: str, remaining: str) -> BadAudio:
    """The error for a truncated file; `remaining` says what is left of it."""
    return BadAudio(
        "truncated", f"{name}: cut off: it holds {remaining}; copy or download it again"
    )
