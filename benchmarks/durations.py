"""Noise is relevant where segments' lengths depend on the label: longer means vary less.

    python benchmarks/durations.py recipes/words.csv

Independent noise of every frame, averaged over the words of each speaker as `rank` does it, and the
same with equal variance: relevance HSIC(Z, Y) and its p, of five draws; p against what
`hsic.noise_relevance` expects of such means, which is what `rank` goes by. No audio is read.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from augury import audio, hsic

from measure import machine


def main() -> None:
    print(machine())
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    lengths = np.array([float(row["end"]) - float(row["start"]) for row in rows])
    speakers = np.unique([row["speaker"] for row in rows], return_inverse=True)[1]
    frames = np.maximum(lengths / audio.HOP, 1)
    print(f"{len(rows):,} words of {speakers.max() + 1} speakers, {np.median(frames):.0f} frames")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((len(rows), 1, 1))  # relevance does not look at it
    expected = hsic.noise_relevance(lengths, speakers)
    print(f"expected of noise {expected[0]:.5f}")
    for _ in range(5):
        noise = rng.standard_normal(len(rows))
        for name, z in (("mean over frames", noise / np.sqrt(frames)), ("equal variance", noise)):
            relevance = hsic.robust_with_associations(x, [z], speakers)[2][0]
            p, beyond = relevance.p_above(), relevance.p_above(*expected)
            print(f"{name:18}{relevance.value:10.5f}   p {p:.1g}   beyond noise {beyond:.1g}")


if __name__ == "__main__":
    main()
