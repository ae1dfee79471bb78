# SciPy's types know no seed of kmeans2:
# pyright: reportCallIssue=false
"""Candidates of today on real speech: python benchmarks/units.py DATA

DATA is ../shared/data/timit_sample. Units of MFCCs by k-means, of a random projection, drawn at
random, and mixtures with the true phones; MFCCs themselves; the paper's seven. In fairseq's files,
as `augury rank` takes them; the label is the phone. PNMI published for MFCC targets of LibriSpeech
(Hsu et al. 2021): .227 / .243 / .276 for 50 / 100 / 500.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.cluster.vq import kmeans2

import augury
from augury import audio
from augury.pseudolabels import SEVEN

from measure import machine

SILENCES = ("h#", "pau", "epi", "bcl", "dcl", "gcl", "pcl", "tcl", "kcl")
RATE = 100  # frames a second

Array = np.ndarray


def corpus(data: Path, folder: Path) -> tuple[list[Path], list[Array], list[Array]]:
    """Write the manifest; the recordings, their MFCCs (frames, 39), and phones (frames,)."""
    paths, features, phones = [], [], []
    with (folder / "phones.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "start", "end", "phone", "speaker"])
        for path in sorted(data.glob("dr*/*.wav")):
            signal, _ = audio.decode(path.read_bytes(), path.name)
            mel = audio.log_mel(signal)
            mfcc = mel @ audio.cepstral_basis(mel.shape[1], 13)
            delta = np.gradient(mfcc, axis=0)
            features.append(np.concatenate([mfcc, delta, np.gradient(delta, axis=0)], axis=1))
            frames = np.full(len(mel), SILENCES[0], object)
            for line in path.with_suffix(".phn").read_text().splitlines():
                first, last, phone = line.split()
                begin, end = int(first) / audio.RATE, int(last) / audio.RATE
                frames[round(begin * RATE) : round(end * RATE)] = phone
                if phone not in SILENCES and end - begin >= 0.03:
                    table.writerow([path, begin, end, phone, path.parent.name])
            paths.append(path)
            phones.append(frames)
    return paths, features, phones


def write_units(
    folder: Path, name: str, paths: list[Path], lengths: list[int], units: Array
) -> str:
    """Units of all frames in fairseq's files; the candidate's name."""
    lines = np.split(units, np.cumsum(lengths)[:-1])
    (folder / f"{name}.km").write_text(
        "".join(" ".join(map(str, line.tolist())) + "\n" for line in lines)
    )
    (folder / f"{name}.tsv").write_text("/\n" + "".join(f"{str(path)[1:]}\t0\n" for path in paths))
    return f"units:{folder / name}.km@{RATE}"


def main(data: Path, folder: Path) -> None:
    rng = np.random.default_rng(0)
    paths, features, phones = corpus(data.resolve(), folder)
    lengths = [len(mfcc) for mfcc in features]
    names, truth = np.unique(np.concatenate(phones).astype(str), return_inverse=True)
    X = np.concatenate(features)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    units = {f"mfcc_kmeans{k}": kmeans2(X, k, 10, minit="++", seed=1)[1] for k in (50, 100, 500)}
    projected = X @ rng.standard_normal((X.shape[1], 16)).astype(np.float32)
    codebook = rng.standard_normal((512, 16)).astype(np.float32)
    cosines = (projected / np.linalg.norm(projected, axis=1, keepdims=True)) @ (
        codebook / np.linalg.norm(codebook, axis=1, keepdims=True)
    ).T
    units["random_projection"] = cosines.argmax(axis=1)
    units["shuffled"] = rng.permutation(units["mfcc_kmeans100"])
    for share in (0.25, 0.5, 0.75, 1.0):
        known = rng.random(len(truth)) < share
        units[f"phones{share:.0%}".rstrip("%")] = np.where(
            known, truth, rng.integers(0, len(names), len(truth))
        )
    candidates = [write_units(folder, name, paths, lengths, own) for name, own in units.items()]
    vectors = folder / "mfcc"
    for path, mfcc in zip(paths, features, strict=True):
        file = vectors / path.parent.name / f"{path.stem}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, mfcc.astype(np.float32))
    candidates += [f"frames:{vectors}@{RATE}", *SEVEN, "own:noise"]
    began = time.perf_counter()
    ranking = augury.rank(
        augury.read_corpus(folder / "phones.csv", allow_outside=True),
        candidates, label="phone", out=folder / "results", store=folder / "store",
    )  # fmt: skip
    seconds = time.perf_counter() - began
    print(f"{ranking.segments:,} phones, {len(candidates)} candidates: {seconds:.0f} s")
    print(f"{'':28}{'score':>8}{'relevance':>11}{'depend.':>9}{'nats':>7}  PNMI (95 %)")
    for result in ranking.ranked_results:
        name = Path(result.name.partition("@")[0]).stem if "/" in result.name else result.name
        agreement = ""
        if result.clusters and result.clusters.pnmi_interval:
            low, high = result.clusters.pnmi_interval
            agreement = f"  {result.clusters.pnmi:.3f} ({low:.3f} to {high:.3f})"
        print(
            f"{name + ' ' + result.kind:28}{result.score:8.3f}{result.relevance:11.3f}"
            f"{result.dependence:9.3f}{result.information:7.2f}{agreement}"
        )
    for warning in ranking.warnings:
        print("!", warning)


if __name__ == "__main__":
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder))
