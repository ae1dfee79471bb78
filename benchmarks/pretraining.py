"""`small` on the train half of speechocean762: each of the paper's seven alone, and four together.

    python benchmarks/pretraining.py ../shared/data/speechocean762 FOLDER [EPOCHS]

Each run has a folder of its own in FOLDER: a run that was interrupted goes on, a finished one is
read. Rows go to benchmarks/pretraining.csv as they finish: a row for each worker of each run.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

from augury import pretrain, read_corpus
from augury.pseudolabels.candidate import SEVEN
from augury.store import write_atomically

from measure import machine

#: One of each kind: pitch, energy, spectral balance, voice quality.
FOUR = ("F0", "loudness", "alpha_ratio", "log_hnr")
TABLE = Path(__file__).with_suffix(".csv")
COLUMNS = (
    "run", "worker", "training", "validation", "mean_guess", "ratio", "constant_guess",
    "best_epoch", "epochs", "clips", "hours", "seconds", "times_real_time", "machine",
)  # fmt: skip


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    choices: dict[str, Any] = {"epochs": int(sys.argv[3])} if len(sys.argv) > 3 else {}
    corpus = read_corpus(data / "utterances.tsv")
    print(machine())
    for labels in (*((name,) for name in SEVEN), FOUR):
        name = "+".join(labels)
        done = pretrain(
            corpus, labels, out=folder / name, split="train", store=folder / "store", **choices
        )
        assert done
        result, about = done.result, done.config.data
        speed = result["audio_seconds"] / result["seconds"]
        rows: list[list[object]] = []
        for worker, mean in result["mean_guess"].items():
            found, best = result["validation"][worker], result["constant_guess"][worker]
            rows.append(
                [
                    name, worker, f"{result['training'][worker]:.4f}", f"{found:.4f}",
                    f"{mean:.4f}", f"{found / mean:.3f}", f"{best:.4f}", result["best_epoch"],
                    result["epochs"], about["clips"], about["hours"], f"{result['seconds']:.0f}",
                    f"{speed:.0f}", machine(),
                ]
            )  # fmt: skip
            print(
                f"{name:28} {worker:12} {found:.3f} of {mean:.3f} ({found / mean:.0%}); "
                f"of the best constant's {best:.3f}: {found / best:.0%}"
            )
        print(f"{name:28} {result['seconds']:.0f} s, × {speed:.0f} real time", flush=True)
        _write(name, rows)


def _write(run: str, rows: list[list[object]]) -> None:
    """The table with this run's rows in place of those it had."""
    kept: list[list[object]] = []
    if TABLE.exists():
        kept = [[*row] for row in list(csv.reader(TABLE.open()))[1:] if row[0] != run]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *kept, *rows])
    write_atomically(TABLE, text.getvalue())


if __name__ == "__main__":
    main()
