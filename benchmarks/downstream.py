"""A downstream task of speechocean762 on encoders: python benchmarks/downstream.py DATA OUT TASK …

    python benchmarks/downstream.py ../shared/data/speechocean762 OUT speaker mel random recon f0
    python benchmarks/downstream.py … --mode finetune --seeds 1 asr f0

TASK is speaker, asr (phones) or classify (phone segments); preset `small`; encoders are folders
that `augury pretrain` wrote, or mel or random. Rows go to benchmarks/downstream.csv; one that is
there is replaced. What was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import platform
from datetime import date
from pathlib import Path

import augury
from augury.reporter import Reporter

TABLE = Path(__file__).with_name("downstream.csv")
TASKS = {
    "speaker": ("utterances.tsv", {"label": "speaker"}),
    "asr": ("phones.tsv", {"label": "phone", "joined": True, "exclude": ("SIL", "+NSN+", "+SPN+")}),
    "classify": ("phones.tsv", {"label": "phone", "exclude": ("SIL", "+NSN+")}),
}
NAMES = ("task", "encoder", "mode", "seed", "metric", "error", "low", "high", "epochs", "seconds",
         "real_time", "scoring_real_time", "memory_gb", "date", "machine")  # fmt: skip


def rows(found: augury.Evaluation) -> list[dict[str, str]]:
    made = []
    for one in found.models:
        for outcome in one.outcomes:
            low, high = outcome.interval or (float("nan"), float("nan"))
            about = outcome.about
            values = (
                found.task, one.name, one.mode, outcome.seed, found.metric.name,
                f"{outcome.score:.4f}", f"{low:.4f}", f"{high:.4f}", about["epochs"],
                about["seconds"], about["real_time"], about["scoring_real_time"],
                about["memory_gb"], date.today(), platform.processor() or platform.machine(),
            )  # fmt: skip
            made.append(dict(zip(NAMES, map(str, values), strict=True)))
    return made


def keep(new: list[dict[str, str]]) -> None:
    kept = {}
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            kept = {tuple(row[n] for n in NAMES[:4]): row for row in csv.DictReader(file)}
    for row in new:
        kept.setdefault(tuple(row[n] for n in NAMES[:4]), row).update(row)
    with TABLE.open("w", newline="") as file:
        table = csv.DictWriter(file, list[str](NAMES))
        table.writeheader()
        table.writerows(row for _, row in sorted(kept.items()))


class Printer(Reporter):
    """Prints messages and warnings."""

    def message(self, text: str) -> None:
        print(text)

    warning = message


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("encoders", nargs="+")
    parser.add_argument("--mode", default="frozen")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--decoder")
    given = parser.parse_args()
    manifest, choices = TASKS[given.task]
    for name in ("epochs", "decoder"):
        if getattr(given, name):
            choices = choices | {name: getattr(given, name)}
    found = augury.evaluate(
        given.task, augury.read_corpus(given.data / manifest), given.encoders, out=given.out,
        mode=given.mode, seeds=given.seeds, reporter=Printer(), **choices,
    )  # fmt: skip
    keep(rows(found))
    for one in found.models_by_error():
        print(f"{one.name} {one.mode}: {one.mean:.2%}, sd {one.standard_deviation or 0:.2%}")


if __name__ == "__main__":
    main()
