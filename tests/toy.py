"""A toy corpus of tones, and functions of it, for tests of everything that reads audio."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import soundfile

LABELS = ("low", "middle", "high")


def preset(*, epochs: int = 3, longest: float = 2.0, dropout: float = 0.1) -> str:
    """A preset of pretraining (TOML) with a tiny encoder."""
    return f"""
epochs = {epochs}
batch_seconds = {2 * longest}
longest = {longest}
optimiser = "adam"
learning_rate = 5e-3
validation = "0.2"

[encoder]
channels = [4]
convolutions = 1
pools = [8]
recurrent_layers = 1
recurrent_units = 8
dense_layers = 1
dimensions = 16
dropout = {dropout}
"""


def voice(rng: np.random.Generator, label: int, seconds: float) -> np.ndarray:
    """A tone whose pitch says the label, of random loudness, and noise after it."""
    time = np.arange(round(seconds * 16000)) / 16000
    pitch = (120, 180, 260)[label] * rng.uniform(0.9, 1.1)
    tone = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 8))
    tone *= time < 0.7 * seconds  # the rest is unvoiced
    signal = rng.uniform(0.05, 0.3) * tone + 0.01 * rng.standard_normal(len(time))
    return signal.astype(np.float32)


def corpus(folder: Path, each: int = 8, seed: int = 0) -> Path:
    """Write `each` recordings of three labels and a manifest; the manifest's path."""
    rng = np.random.default_rng(seed)
    lines = ["path,label,age,colour"]
    for k in range(each * len(LABELS)):
        label = k % len(LABELS)
        name = f"{LABELS[label]}-{k}.wav"
        soundfile.write(folder / name, voice(rng, label, rng.uniform(0.3, 0.6)), 16000)
        lines.append(f"{name},{LABELS[label]},{20 + k % 7},{('red', 'blue')[k % 2]}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def level(signal: np.ndarray, rate: int) -> np.ndarray:
    """A user's pseudo-label: level in dB, and its calls counted where TOY_LOG says."""
    log = os.environ.get("TOY_LOG")
    if log:
        # One write of a short line to a file opened for appending can't be torn.
        with open(log, "a") as file:
            file.write(f"{signal.sum():.6f}\n")
    frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
    return 10 * np.log10(np.square(frames).mean(axis=1) + 1e-9)


def pitch(signal: np.ndarray, rate: int) -> np.ndarray:
    """The strongest period of each 40 ms, in Hz: what the labels of `corpus` are."""
    frames = signal[: len(signal) // 640 * 640].reshape(-1, 640)
    power = np.square(np.abs(np.fft.rfft(frames, 2048, axis=1)))
    likeness = np.fft.irfft(power, axis=1)[:, 50:160]
    return rate / (50 + likeness.argmax(axis=1))


def slow(signal: np.ndarray, rate: int) -> np.ndarray:
    """A level that takes its time, so that a test can come between."""
    time.sleep(0.05)
    return level(signal, rate)


def bands(signal: np.ndarray, rate: int) -> np.ndarray:
    """A user's pseudo-label of three dimensions."""
    frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
    power = np.square(np.abs(np.fft.rfft(frames)))[:, :75].reshape(-1, 3, 25).sum(axis=2)
    return np.log(power + 1e-9)


def constant(signal: np.ndarray, rate: int) -> np.ndarray:
    """The same everywhere."""
    return np.full(10, 0.1)


def nothing(signal: np.ndarray, rate: int) -> np.ndarray:
    """No value anywhere."""
    return np.full(10, np.nan)


def broken(signal: np.ndarray, rate: int) -> np.ndarray:
    """Raises for some recordings."""
    if np.abs(signal).max() > 0.5:
        raise RuntimeError("too loud for me")
    return np.ones(3) * signal.std()


def spoiler(signal: np.ndarray, rate: int) -> np.ndarray:
    """Writes into what it is given."""
    signal *= 0
    return np.arange(5.0)


def complex_values(signal: np.ndarray, rate: int) -> np.ndarray:
    """No real numbers."""
    return np.fft.fft(signal[:64])


def words(signal: np.ndarray, rate: int) -> np.ndarray:
    """No numbers at all."""
    return np.array(["1", "2"])


def leave(signal: np.ndarray, rate: int) -> np.ndarray:
    """Ends the process, or tries to."""
    raise SystemExit(3)


def prepared(manifest: Path, names: tuple[str, ...], store: Path, jobs: int = 1, **choices: object):
    """A manifest prepared for pretraining with the small preset."""
    from augury import pseudolabels, read_corpus
    from augury.extraction.plan import Plan
    from augury.pretraining.prepare import prepare
    from augury.pretraining.settings import PretrainSettings

    settings = PretrainSettings.of("small", dict.fromkeys(names, 1.0), **choices)
    candidates = pseudolabels.parse_candidates(list(names)) if names else []
    plan = Plan.of(candidates, store, unvoiced=settings.unvoiced, mel=True)
    return prepare(read_corpus(manifest), plan, settings, jobs=jobs)


def sentences(folder: Path, speakers: int = 6, each: int = 6, seed: int = 0) -> tuple[Path, Path]:
    """Recordings of three tones each by speakers that colour them; manifests of both kinds.

    The first has a row a recording (path, speaker, gender, text), the second a row a tone (path,
    start, end, phone, speaker).
    """
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    whole, tones = ["path,speaker,gender,text"], ["path,start,end,phone,speaker"]
    for speaker in range(speakers):
        pole = -0.8 + 1.6 * speaker / max(1, speakers - 1)
        for k in range(each):
            labels = rng.integers(0, len(LABELS), 3)
            signal = np.concatenate([voice(rng, label, 0.3) for label in labels])
            signal = lfilter([1 - abs(pole)], [1, -pole], signal)
            name = f"s{speaker}-{k}.wav"
            soundfile.write(folder / name, signal, 16000)
            text = " ".join(LABELS[label] for label in labels)
            whole.append(f"{name},s{speaker},{'fm'[speaker % 2]},{text}")
            for i, label in enumerate(labels):
                tones.append(f"{name},{0.3 * i:.1f},{0.3 * (i + 1):.1f},{LABELS[label]},s{speaker}")
    manifests = folder / "sentences.csv", folder / "tones.csv"
    for path, lines in zip(manifests, (whole, tones), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return manifests


def voxceleb(folder: Path) -> Path:
    """A tree of VoxCeleb1's layout with five speakers to train on and two to test on."""
    rng = np.random.default_rng(0)
    for speaker in (1, 2, 3, 4, 5, 270, 271):
        for k in range(4):
            place = folder / f"wav/id{10000 + speaker}/video{k % 2}"
            place.mkdir(parents=True, exist_ok=True)
            soundfile.write(place / f"{k:05}.wav", voice(rng, speaker % 3, 0.8), 16000)
    return folder


def common_voice(folder: Path) -> Path:
    """A language of Common Voice's layout: 16 clips to train on, by four speakers."""
    rng = np.random.default_rng(1)
    (folder / "clips").mkdir(parents=True)
    names = ("client_id", "path", "sentence", "age", "gender", "accent", "locale")
    for split, numbers in (("train", range(16)), ("dev", (16,)), ("test", (17,))):
        lines = ["\t".join(names)]
        for k in numbers:
            name = f"common_voice_en_{k}.mp3"
            soundfile.write(folder / "clips" / name, voice(rng, k % 3, 0.9), 16000)
            lines.append("\t".join((f"speaker{k % 4}", name, "What is said.", "", "", "", "en")))
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def timit(folder: Path) -> Path:
    """A tree of TIMIT's layout: four training speakers, two of dev and two of the core test."""
    rng = np.random.default_rng(2)
    phones = ("sh", "iy", "ae")
    speakers = ("TRAIN/DR1/FCJF0", "TRAIN/DR1/MCPM0", "TRAIN/DR2/FAEM0", "TRAIN/DR2/MARC0")
    for place in (
        *speakers,
        *(f"TEST/DR1/{speaker}" for speaker in ("FAKS0", "MMDB1", "MDAB0", "FELC0")),
    ):
        (folder / place).mkdir(parents=True)
        for sentence in ("SA1", "SI648", "SX37", "SX127", "SX217"):
            order = rng.permutation(3)
            pieces = [voice(rng, label, 0.25) for label in order.tolist()]
            lines, at = [], 0
            for label, piece in zip(order, pieces, strict=True):
                lines.append(f"{at} {at + len(piece)} {phones[label]}")
                at += len(piece)
            (folder / place / f"{sentence}.PHN").write_text("\n".join(lines) + "\n")
            (folder / place / f"{sentence}.TXT").write_text(f"0 {at} She had.\n")
            path = folder / place / f"{sentence}.WAV"
            soundfile.write(path, np.concatenate(pieces), 16000, format="NIST", subtype="PCM_16")
    return folder
