"""VoxCeleb1 as unpacked from its archives, and its lists of trials.

Recordings are in wav/, or dev/wav/ and test/wav/, as id10001/VIDEO/00001.wav. Optional files:
vox1_meta.csv (gender, nationality, Set) and iden_split.txt (identification).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augury.corpus.corpus import Corpus, Rejected
from augury.corpus.manifest import assemble
from augury.errors import InputError, explain_os_errors

#: Folders with recordings, and the split that each of them stands for.
FOLDERS = {
    "wav": "",
    "dev/wav": "dev",
    "test/wav": "test",
    "vox1_dev_wav/wav": "dev",  # the archives' own names
    "vox1_test_wav/wav": "test",
}
META, IDENTIFICATION = "vox1_meta.csv", "iden_split.txt"
#: Utterances and speakers of each split, as PaddleSpeech's examples/voxceleb (verification) and
#: yangwang825/vox1-iden-full on Hugging Face quote VoxCeleb's page; both add up to its 153,516
#: utterances of 1,251 speakers. The 148,642 are those of the 1,211 development speakers.
PUBLISHED = {
    "verification": {"dev": (148_642, 1_211), "test": (4_874, 40)},
    "identification": {"train": (138_361, 1_251), "dev": (6_904, 1_251), "test": (8_251, 1_251)},
}
_SPEAKER = re.compile(r"id\d{5}")
_TRIAL = re.compile(r"([01])\s+(\S+)\s+(\S+)")
_NAME = re.compile(r"id\d{5}/[^/\\]+/[^/\\]+\.\w+")
_COLUMNS = ("VoxCeleb1 ID", "Gender", "Nationality", "Set")
_SETS = {"1": "train", "2": "dev", "3": "test"}


@dataclass(frozen=True, eq=False)
class Trials:
    """Trials of speaker verification: pairs of recordings."""

    is_target: NDArray[np.bool_]  # (n,) whether both are of the same speaker
    enrol: np.ndarray  # (n,) of str: "id10270/x6uYqmx31kE/00001.wav"
    test: np.ndarray  # (n,) of str
    usable: NDArray[np.bool_]  # (n,) whether the corpus has both recordings; all true without one
    absent: tuple[str, ...]  # recordings that the corpus lacks, without repetition, in order


def recognises(folder: Path) -> bool:
    """Whether a folder has speakers (id10001) where VoxCeleb's archives put them."""
    return any(
        _SPEAKER.fullmatch(entry.name) for top in FOLDERS for entry in _entries(folder / top)
    )


def read(folder: Path, *, allow_outside: bool = False, split: str = "verification") -> Corpus:
    """A corpus of whole utterances.

    Label columns: speaker, video, split ("dev", "test"), with vox1_meta.csv gender and nationality,
    and with iden_split.txt identification ("train", "dev", "test"); with split="identification" the
    column split is the latter. A speaker's split is vox1_meta.csv's Set, or else that of the folder
    (dev/wav, test/wav), or else follows from the number: id10270 to id10309, whose names begin with
    E, are the 40 test speakers. Reasons for rejection, beside those of `assemble`: "bad-row" (lines
    of those two files), "bad-place". VoxCeleb2 (m4a) raises InputError.
    """
    if split not in PUBLISHED:
        raise InputError(f"split={split!r}, but VoxCeleb1 has 'verification' and 'identification'")
    rejected: list[Rejected] = []
    meta = _meta(folder, rejected)
    identification = _identification(folder, rejected)
    if split == "identification" and identification is None:
        raise InputError(f"{folder}: the identification split is in {IDENTIFICATION}; put it there")
    paths: list[str] = []
    columns: dict[str, list[str]] = {"speaker": [], "video": [], "split": []}
    if meta is not None:
        columns |= {"gender": [], "nationality": []}
    if identification is not None:
        columns["identification"] = []
    places: dict[str, str] = {}
    for top, utterance in _utterances(folder, rejected):
        path = f"{top}/{utterance}"
        if utterance in places:
            detail = f"{path}: {places[utterance]} is the same utterance; keep one of them"
            rejected.append(Rejected(0, path, None, None, "duplicate", detail))
            continue
        places[utterance] = path
        paths.append(path)
        speaker, video, _ = utterance.split("/")
        gender, nationality, of_speaker = (meta or {}).get(speaker, ("", "", ""))
        labels = {
            "speaker": speaker,
            "video": video,
            "split": of_speaker or FOLDERS[top] or _split_by_number(speaker),
            "gender": gender,
            "nationality": nationality,
            "identification": (identification or {}).get(utterance, ""),
        }
        if split == "identification":
            labels["split"] = labels["identification"]
        for column, values in columns.items():
            values.append(labels[column])
    if not paths and not rejected:
        raise InputError(
            f"{folder}: no VoxCeleb1 recordings in it; give the folder that holds wav, or dev/wav "
            "and test/wav, with id10001/VIDEO/00001.wav and so on"
        )
    return assemble(
        folder, folder, paths, starts=None, ends=None, columns=columns, rows=[0] * len(paths),
        rejected=rejected, allow_outside=allow_outside,
    )  # fmt: skip


def read_trials(path: Path | str, corpus: Corpus | None = None) -> Trials:
    """The trials of a list such as veri_test.txt: lines "1 idA/VIDEO/x.wav idB/VIDEO/y.wav".

    With `corpus`, `usable` and `absent` say which recordings it lacks, and lines may also name
    recordings as its manifest does. Any other line raises InputError.

    >>> from pathlib import Path
    >>> enrol, test = "id10270/x6uYqmx31kE/00001.wav", "id10271/8jEAjG6SegY/00008.wav"
    >>> _ = Path("trials.txt").write_text(f"0 {enrol} {test}")
    >>> read_trials("trials.txt").is_target.tolist()
    [False]
    """
    path = Path(path)
    written: set[str] = set(corpus.names) if corpus is not None else set()
    pairs: list[tuple[str, str, str]] = []
    bad: list[tuple[int, str]] = []
    for number, line in _lines(path):
        match = _TRIAL.fullmatch(line)
        if match and all(name in written or _NAME.fullmatch(name) for name in match.groups()[1:]):
            pairs.append((match[1], match[2], match[3]))
        else:
            bad.append((number, line))
    if bad:
        number, line = bad[0]
        slashes = "; write / between folders" if "\\" in line else ""
        raise InputError(
            f"{path}: line {number} is no trial: {_short(line)} ({len(bad)} such lines of "
            f"{len(bad) + len(pairs)}); wanted is '1 id10270/x6uYqmx31kE/00001.wav "
            f"id10270/8jEAjG6SegY/00008.wav', or 0{slashes}"
        )
    if not pairs:
        raise InputError(f"{path}: there is no trial in it; download the list again")
    is_target, enrol, test = (np.array(column, object) for column in zip(*pairs, strict=True))
    usable, absent = np.ones(len(pairs), bool), ()
    if corpus is not None:
        known = written | {"/".join(recording.parts[-3:]) for recording in corpus.recordings}
        usable = np.array([first in known and second in known for _, first, second in pairs])
        named = dict.fromkeys(name for _, *names in pairs for name in names)
        absent = tuple(name for name in named if name not in known)
    return Trials(is_target == "1", enrol, test, usable, absent)


def _utterances(folder: Path, rejected: list[Rejected]) -> Iterator[tuple[str, str]]:
    """The folder and name (id10001/VIDEO/00001.wav) of every recording, in order.

    Links to folders are followed only where a speaker or a video is expected.
    """
    if any((folder / part / "aac").is_dir() for part in ("", "dev", "test")):
        raise _voxceleb2_error(folder)
    for top in FOLDERS:
        for speaker in _entries(folder / top):
            if not _SPEAKER.fullmatch(speaker.name):
                _check_place(folder, speaker, rejected)
                continue
            for video in _entries(speaker):
                if not video.is_dir():
                    _check_place(folder, video, rejected)
                    continue
                for file in _entries(video):
                    if file.name.lower().endswith(".m4a"):
                        raise _voxceleb2_error(Path(file.path))
                    if file.name.lower().endswith(".wav"):
                        yield top, f"{speaker.name}/{video.name}/{file.name}"
                    else:
                        _check_place(folder, file, rejected)


def _check_place(folder: Path, entry: os.DirEntry[str], rejected: list[Rejected]) -> None:
    """Reject a recording, or a folder, in the place of a speaker or a video."""
    if entry.is_dir() or entry.name.lower().endswith(".wav"):
        name = Path(entry.path).relative_to(folder).as_posix()
        detail = f"{name}: not where VoxCeleb1 has it, wav/id10001/VIDEO/00001.wav; move it there"
        rejected.append(Rejected(0, name, None, None, "bad-place", detail))


def _voxceleb2_error(path: Path) -> InputError:
    return InputError(
        f"{path}: aac and m4a are VoxCeleb2; this reads VoxCeleb1, whose recordings are wav"
    )


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, without hidden files; [] if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if e.name[0] != "."), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _split_by_number(speaker: str) -> str:
    if not "id10001" <= speaker <= "id11251":
        return ""  # VoxCeleb2 has id00012 to id09272
    return "test" if "id10270" <= speaker <= "id10309" else "dev"


def _meta(folder: Path, rejected: list[Rejected]) -> dict[str, tuple[str, str, str]] | None:
    """Gender, nationality and set of each speaker; None without the file."""
    file = folder / META
    if not file.is_file():
        return None
    lines = _lines(file)
    header = [name.strip() for name in next(lines, (0, ""))[1].split("\t")]
    lacking = [name for name in _COLUMNS if name not in header]
    if lacking:
        raise InputError(
            f"{file}: no column {', '.join(map(repr, lacking))} in its first line, tab-separated; "
            "download it again (VoxCeleb2's is vox2_meta.csv)"
        )
    places = [header.index(name) for name in _COLUMNS]
    speakers: dict[str, tuple[str, str, str]] = {}
    for number, line in lines:
        cells = [cell.strip() for cell in line.split("\t")]
        speaker, *rest = [cells[p] for p in places] if len(cells) == len(header) else [""]
        if not _SPEAKER.fullmatch(speaker) or rest[2] not in ("dev", "test"):
            expected = f"{len(header)} cells, a speaker such as id10001 and the set dev or test"
            rejected.append(_bad_line(file, number, line, f"{expected} are"))
        elif speaker in speakers:
            rejected.append(_bad_line(file, number, line, "each speaker once is"))
        else:
            speakers[speaker] = (rest[0], rest[1], rest[2])
    return speakers


def _identification(folder: Path, rejected: list[Rejected]) -> dict[str, str] | None:
    """The identification split of each utterance; None without the file."""
    file = folder / IDENTIFICATION
    if not file.is_file():
        return None
    splits: dict[str, str] = {}
    for number, line in _lines(file):
        mark, _, name = line.partition(" ")
        name = name.strip()
        if mark not in _SETS or not _NAME.fullmatch(name):
            expected = "1, 2 or 3 and id10001/VIDEO/00001.wav are"
            rejected.append(_bad_line(file, number, line, expected))
        elif splits.setdefault(name, _SETS[mark]) != _SETS[mark]:
            rejected.append(_bad_line(file, number, line, "one split for an utterance is"))
    return splits


def _bad_line(file: Path, number: int, line: str, expected: str) -> Rejected:
    detail = f"{file.name}, line {number}: {_short(line)}, but {expected} wanted; correct the line"
    return Rejected(number, "", None, None, "bad-row", detail)


def _short(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:80] + "…")


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The 1-based number and text of each line that is not blank."""
    try:
        with explain_os_errors(file):
            text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start} is not UTF-8; save it as UTF-8") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.strip("\r ")
