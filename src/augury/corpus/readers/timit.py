"""TIMIT, by phones or by utterances.

Reads the LDC's tree (TRAIN/DR1/FCJF0/SA1.WAV beside SA1.PHN, in upper or lower case, also .WAV.wav)
and the flat one of NLTK's sample (dr1-fvmh0/sa1.wav beside sa1.phn). Its splits:

    core      as in published phone recognition: train, dev and test have 462 speakers, 50, and the
              24 of NIST's core test set; SA sentences, which all speakers read, and the other 94
              speakers of TEST are in none
    complete  train, and all of TEST's 168 speakers; SA sentences are in none
    folders   everything in TRAIN and in TEST, SA sentences included
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from augury.corpus.corpus import Corpus, Rejected
from augury.corpus.manifest import assemble
from augury.errors import InputError

RATE = 16_000  # Hz: .phn and .wrd files count samples at this rate

#: Utterances and speakers of each split. Each speaker read ten sentences, two of them SA, which
#: NIST excludes from both test sets, as they are in the training data, too (TIMIT's testset.doc).
PUBLISHED = {
    "core": {"train": (3_696, 462), "dev": (400, 50), "test": (192, 24)},
    "complete": {"train": (3_696, 462), "test": (1_344, 168)},
    "folders": {"train": (4_620, 462), "test": (1_680, 168)},
}

#: NIST's core test set: two men and a woman of each region, dr1 to dr8 (TIMIT's testset.doc).
CORE_TEST = """
    mdab0 mwbt0 felc0  mtas1 mwew0 fpas0  mjmp0 mlnt0 fpkt0  mlll0 mtls0 fjlm0
    mbpm0 mklt0 fnlp0  mcmj0 mjdh0 fmgd0  mgrt0 mnjm0 fdhc0  mjln0 mpam0 fmld0
"""

#: The development set (Halberstadt, Heterogeneous Acoustic Measurements and Multiple Classifiers
#: for Speech Recognition, MIT, 1998), as in Kaldi's egs/timit/s5/conf/dev_spk.list.
DEV = """
    fadg0 faks0 fcal1 fcmh0 fdac1 fdms0 fdrw0 fedw0 fgjd0 fjem0 fjmg0 fjsj0 fkms0 fmah0 fmml0 fnmr0
    frew0 fsem0 majc0 mbdg0 mbns0 mbwm0 mcsh0 mdlf0 mdls0 mdvc0 mers0 mgjf0 mglb0 mgwt0 mjar0 mjfc0
    mjsw0 mmdb1 mmdm2 mmjr0 mmwh0 mpdf0 mrcs0 mreb0 mrjm4 mrjr0 mroa0 mrtk0 mrws1 mtaa0 mtdt0 mteb0
    mthc0 mwjg0
"""
_CORE_TEST, _DEV = frozenset(CORE_TEST.split()), frozenset(DEV.split())

_UTTERANCE = ("speaker", "region", "sentence", "sex", "split", "id")


@dataclass(frozen=True)
class _Utterance:
    audio: str | None  # relative to the tree
    phones: Path | None
    text: Path | None
    labels: dict[str, str]


def recognises(folder: Path) -> bool:
    """Whether there are TIMIT's phone files anywhere in a folder."""
    return any(name.lower().endswith(".phn") for _, _, names in os.walk(folder) for name in names)


def read(
    folder: Path, *, allow_outside: bool = False, level: str = "phone", split: str = "core"
) -> Corpus:
    """A corpus of phones, or with level="utterance" of whole sentences.

    Label columns: phone (or phones and text, of the whole sentence), then speaker, region,
    sentence, sex, split ("train", "dev", "test", or "" for none; `split` is one of those above) and
    id, all in lower case. A phone's row is its line in its .phn file, an utterance's row is 0; an
    utterance with a bad line is rejected. Reasons for rejection, beside those of `assemble`:
    "bad-row", "missing-labels".
    """
    if level not in ("phone", "utterance"):
        raise InputError(f"level={level!r}, but TIMIT has 'phone' and 'utterance'")
    if split not in PUBLISHED:
        raise InputError(f"split={split!r}, but TIMIT has {', '.join(map(repr, PUBLISHED))}")
    rejected: list[Rejected] = []
    rows: list[int] = []
    paths: list[str] = []
    starts: list[float] = []
    ends: list[float] = []
    own = ("phone",) if level == "phone" else ("phones", "text")
    columns: dict[str, list[str]] = {column: [] for column in (*own, *_UTTERANCE)}
    for utterance in _utterances(folder, split):
        if utterance.audio is None or (level == "phone" and utterance.phones is None):
            rejected.append(_missing_file(folder, utterance))
            continue
        phones, bad = _phones(folder, utterance)
        rejected += bad
        if level == "phone":
            for line, start, end, phone in phones:
                rows.append(line)
                paths.append(utterance.audio)
                starts.append(start)
                ends.append(end)
                columns["phone"].append(phone)
        elif not bad:
            rows.append(0)
            paths.append(utterance.audio)
            columns["phones"].append(" ".join(phone for *_, phone in phones))
            columns["text"].append(_text(utterance.text))
        for column, label in utterance.labels.items():
            columns[column].extend([label] * (len(paths) - len(columns[column])))
    if not paths and not rejected:
        raise InputError(f"{folder}: no TIMIT sentences in it; give the folder that holds TRAIN")
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


def _utterances(folder: Path, split: str) -> Iterator[_Utterance]:
    """Every sentence of the tree, in the order of paths."""
    for place, folders, names in os.walk(folder):
        folders.sort(key=str.lower)
        path = Path(place)
        sentences: dict[str, dict[str, str]] = {}
        for name in sorted(names):
            stem, _, kind = name.lower().partition(".")
            if re.fullmatch(r"s[aix]\d+", stem):
                sentences.setdefault(stem, {})[kind] = name
        for stem, files in sorted(sentences.items()):
            sound = next((files[k] for k in ("wav.wav", "wav", "flac") if k in files), None)
            phones, text = files.get("phn"), files.get("txt")
            if sound or phones:
                yield _Utterance(
                    (path / sound).relative_to(folder).as_posix() if sound else None,
                    path / phones if phones else None,
                    path / text if text else None,
                    _labels(path, stem, split),
                )


def _labels(path: Path, sentence: str, split: str) -> dict[str, str]:
    """The labels in the names of folders: .../train/dr1/fcjf0, or .../dr1-fcjf0."""
    *above, last = (part.lower() for part in path.absolute().parts)
    region, _, speaker = last.rpartition("-")
    region = region or (above.pop() if above else "")
    part = above[-1] if above and above[-1] in ("train", "test") else ""
    return {
        "speaker": speaker,
        "region": region if re.fullmatch(r"dr\d", region) else "",
        "sentence": sentence,
        "sex": speaker[0] if speaker[:1] in ("f", "m") else "",
        "split": _split(speaker, sentence, part, split),
        "id": f"{speaker}_{sentence}",
    }


def _split(speaker: str, sentence: str, part: str, split: str) -> str:
    """The split of an utterance in TRAIN or TEST (`part`; "" if the tree does not show it)."""
    if split == "folders":
        return part
    if sentence.startswith("sa"):
        return ""
    if split == "complete":
        return part
    # By name first: a test speaker found in TRAIN must not be trained on.
    if speaker in _CORE_TEST:
        return "test"
    if speaker in _DEV:
        return "dev"
    return "train" if part == "train" else ""


def _phones(
    folder: Path, utterance: _Utterance
) -> tuple[list[tuple[int, float, float, str]], list[Rejected]]:
    """The valid lines of the .phn file (line, start and end in seconds, phone), and the others."""
    phones: list[tuple[int, float, float, str]] = []
    bad: list[Rejected] = []
    if utterance.phones is None or utterance.audio is None:
        return phones, bad
    name = utterance.phones.relative_to(folder).as_posix()
    lines = utterance.phones.read_text("utf-8", errors="replace").splitlines()
    for line, text in enumerate(lines, 1):
        cells = re.fullmatch(r"\s*(\d{1,12})\s+(\d{1,12})\s+(\S+)\s*", text, re.ASCII)
        if cells:
            phones.append((line, int(cells[1]) / RATE, int(cells[2]) / RATE, cells[3].lower()))
        elif text.strip():
            detail = (
                f"{name}, line {line}: {text[:80]!r}, but first sample, last sample and phone "
                "are wanted; correct the line"
            )
            bad.append(Rejected(line, utterance.audio, None, None, "bad-row", detail))
    return phones, bad


def _missing_file(folder: Path, utterance: _Utterance) -> Rejected:
    if utterance.audio is None and utterance.phones is not None:
        name = utterance.phones.relative_to(folder).as_posix()
        detail = f"{name}: there is no recording beside it; restore it or remove the labels"
        return Rejected(0, name, None, None, "missing-file", detail)
    name = utterance.audio or ""
    detail = f"{name}: there is no .phn file beside it; restore it or remove the recording"
    return Rejected(0, name, None, None, "missing-labels", detail)


def _text(file: Path | None) -> str:
    """The sentence in a .txt file, after its first and last sample; "" without a file."""
    if file is None:
        return ""
    match = re.match(r"\s*\d+\s+\d+\s+(.+)", file.read_text("utf-8", errors="replace"))
    return match[1].strip() if match else ""
