"""A manifest of the Free Spoken Digit Dataset: python benchmarks/fsdd.py FOLDER OUT.csv

Its labels are in the names of its files, DIGIT_SPEAKER_INDEX.wav.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path


def main() -> None:
    # Not resolved: also where `shared` is a link, segments are to have the same names.
    folder, out = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    with out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "digit", "speaker"))
        for path in sorted(folder.rglob("*_*_*.wav")):
            digit, speaker, _ = path.stem.split("_")
            table.writerow((os.path.relpath(path, out.parent), digit, speaker))


if __name__ == "__main__":
    main()
