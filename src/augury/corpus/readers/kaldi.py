"""Kaldi data folders: wav.scp, and optionally segments, utt2spk, text and spk2gender."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from augury.corpus.corpus import Corpus, Rejected
from augury.corpus.manifest import assemble
from augury.errors import InputError


def recognises(folder: Path) -> bool:
    """Whether a folder is a Kaldi data folder."""
    return (folder / "wav.scp").is_file()


def read(folder: Path, *, allow_outside: bool = False) -> Corpus:
    """A corpus of the utterances in `segments`, or of the recordings in `wav.scp` without it.

    Label columns: id, and speaker, text, gender if utt2spk, text, spk2gender exist. Paths are
    relative to the folder. A command ("sox ... |") is rejected, never run. `utt2dur` is not read.
    Reasons for rejection, beside those of `assemble`: "bad-row", "pipe-command", "archive",
    "unknown-recording"; rows are lines of `segments`, or of wav.scp without it.
    """
    rejected: list[Rejected] = []
    recordings = {key: (line, path) for line, key, path in _pairs(folder, "wav.scp", rejected)}
    rows: list[int] = []
    ids: list[str] = []
    paths: list[str] = []
    starts: list[str] = []
    ends: list[str] = []
    whole = ((line, key, key, "", "") for key, (line, _) in recordings.items())
    cut = (folder / "segments").is_file()
    for line, key, recording, start, end in _segments(folder, rejected) if cut else whole:
        path = recordings.get(recording, (0, None))[1]
        fault = _fault(recording, path)
        if path is None or fault:
            file = "segments" if cut else "wav.scp"
            reason, detail = fault or ("", "")
            rejected.append(
                Rejected(line, path or "", None, None, reason, f"{file}, line {line}: {detail}")
            )
            continue
        rows.append(line)
        ids.append(key)
        paths.append(path)
        starts.append(start)
        ends.append("" if end == "-1" else end)  # the recording's end
    if not rows and not rejected:
        raise InputError(f"{folder}: wav.scp or segments is empty; write a line for each utterance")

    columns = {"id": ids}
    if (folder / "utt2spk").is_file():
        speakers = {key: value for _, key, value in _pairs(folder, "utt2spk", rejected)}
        columns["speaker"] = [speakers.get(key, "") for key in ids]
        if (folder / "spk2gender").is_file():
            genders = {key: value for _, key, value in _pairs(folder, "spk2gender", rejected)}
            columns["gender"] = [genders.get(speaker, "") for speaker in columns["speaker"]]
    if (folder / "text").is_file():
        texts = {key: value for _, key, value in _pairs(folder, "text", [])}  # may be empty
        columns["text"] = [texts.get(key, "") for key in ids]
    return assemble(
        folder,
        folder,
        paths,
        starts=starts,
        ends=ends,
        columns=columns,
        rows=rows,
        rejected=rejected,
        allow_outside=allow_outside,
    )


def _fault(recording: str, path: str | None) -> tuple[str, str] | None:
    if path is None:
        return (
            "unknown-recording",
            f"the recording {recording!r} is not in wav.scp; add it or remove the line",
        )
    if path.startswith("|") or path.endswith("|"):
        return (
            "pipe-command",
            f"{recording!r} is the command {path!r}; commands found in data are never run: run it "
            "yourself, and name the file it writes",
        )
    if re.search(r"\.ark:\d+$", path):
        return (
            "archive",
            f"{recording!r} lies in the archive {path!r}, which is not read; unpack it to audio "
            "files (wav-copy)",
        )
    return None


def _segments(folder: Path, rejected: list[Rejected]) -> Iterator[tuple[int, str, str, str, str]]:
    """Line number, utterance, recording, start and end of each valid line of `segments`."""
    for line, text in _lines(folder / "segments"):
        cells = text.split()
        if len(cells) == 4:
            yield line, cells[0], cells[1], cells[2], cells[3]
        else:
            rejected.append(
                _bad_line("segments", line, text, "utterance, recording, start and end")
            )


def _pairs(folder: Path, name: str, rejected: list[Rejected]) -> Iterator[tuple[int, str, str]]:
    """Line number, first word and rest of each valid line."""
    keys: set[str] = set()
    for line, text in _lines(folder / name):
        key, *rest = text.split(maxsplit=1)
        if not rest:
            rejected.append(_bad_line(name, line, text, "a name and its value"))
        elif key in keys:
            rejected.append(_bad_line(name, line, text, f"{key!r} once, but it is there before"))
        else:
            keys.add(key)
            yield line, key, rest[0].rstrip()


def _bad_line(name: str, line: int, text: str, expected: str) -> Rejected:
    short = text if len(text) <= 80 else text[:80] + "…"
    detail = f"{name}, line {line}: {short!r}, but {expected} is wanted; correct the line"
    return Rejected(line, "", None, None, "bad-row", detail)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The 1-based number and text of each line that is not blank."""
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start} is not UTF-8; save it as UTF-8") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.strip()
