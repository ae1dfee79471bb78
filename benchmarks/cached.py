"""What caching a frozen encoder's features saves: python benchmarks/cached.py DATA ENCODER [EPOCHS]

Both ways in one run, in turn, on phone segments and on speakers of the train half: seconds of
training (and, with the cache, of filling it) for so many epochs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import augury
from augury.reporter import ExtractionProgress, Progress, Reporter

TASKS = {"classify": ("phones.tsv", "phone"), "speaker": ("utterances.tsv", "speaker")}


class Clock(Reporter):
    """Notes when recordings are encoded."""

    def __init__(self, times: list[float]) -> None:
        self.times = times

    def progress(self, event: Progress) -> None:
        if isinstance(event, ExtractionProgress):
            self.times.append(time.monotonic())


def main() -> None:
    data, encoder = Path(sys.argv[1]), sys.argv[2]
    epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    for task, (manifest, label) in TASKS.items():
        corpus = augury.read_corpus(data / manifest)
        corpus = corpus.select(corpus.in_split("train"))
        seconds = {}
        with tempfile.TemporaryDirectory() as folder:
            for cache in (True, False):
                filled: list[float] = []
                found = augury.evaluate(
                    task, corpus, encoder, out=Path(folder) / str(cache), label=label, seeds=1,
                    epochs=epochs, test="0.1", cache=cache, shared_speakers=True,
                    reporter=Clock(filled),
                )  # fmt: skip
                outcome = found.models[0].outcomes[0]
                seconds[cache] = outcome.about["seconds"]
                spent = filled[-1] - filled[0] if cache and filled else 0.0
                print(
                    f"{task}, cache {cache}: {outcome.about['seconds']:.1f} s of training "
                    f"(× {outcome.about['real_time']:.0f}), {spent:.1f} s of filling"
                )
        print(f"{task}: × {seconds[False] / seconds[True]:.2f} with cached features")


if __name__ == "__main__":
    main()
