"""A manifest of words, from one of their phones: python benchmarks/words.py PHONES.tsv OUT.csv

Neighbouring phones of one word are joined; words shorter than 0.15 s are left out.
"""

from __future__ import annotations

import csv
import os
import sys
from itertools import groupby
from pathlib import Path

#: Seconds of the shortest word.
SHORTEST = 0.15
NO_WORD = ("<sil>", "")


def main() -> None:
    # Not resolved: also where `shared` is a link, segments are to have the same names.
    phones, out = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    with phones.open(newline="") as file, out.open("w", newline="") as into:
        table = csv.writer(into)
        table.writerow(("path", "start", "end", "word", "speaker", "split"))
        rows = csv.DictReader(file, delimiter="\t")
        for (path, word), found in groupby(rows, lambda row: (row["path"], row["word"])):
            first, *rest = found
            last = rest[-1] if rest else first
            if word in NO_WORD or float(last["end"]) - float(first["start"]) < SHORTEST:
                continue
            where = os.path.relpath(phones.parent / path, out.parent)
            times = (first["start"], last["end"])
            table.writerow((where, *times, word, first["speaker"], first["split"]))


if __name__ == "__main__":
    main()
