"""Error rates of ten million trials.

python benchmarks/trials.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from augury.downstream.scores.metrics import bootstrap_eer, det, eer, min_dcf

from measure import machine, peak_memory

TRIALS, SPEAKERS = 10_000_000, 1_251


def main() -> None:
    print(machine())
    rng = np.random.default_rng(0)
    speaker = rng.integers(0, SPEAKERS, (2, TRIALS))
    speaker[1, ::10] = speaker[0, ::10]
    is_target = speaker[0] == speaker[1]
    scores = rng.standard_normal(TRIALS) + 3 * is_target
    targets, nontargets = scores[is_target], scores[~is_target]
    rows: tuple[tuple[str, Callable[[], object]], ...] = (
        ("eer", lambda: f"{eer(targets, nontargets).rate:.4f}"),
        ("min_dcf", lambda: f"{min_dcf(targets, nontargets):.4f}"),
        ("det", lambda: f"{len(det(targets, nontargets)[0]):,} corners"),
        (
            "bootstrap_eer, 100 replicates",
            lambda: bootstrap_eer(scores, is_target, *speaker, replicates=100, seed=0),
        ),
    )
    for name, call in rows:
        began = time.perf_counter()
        found = call()
        spent = time.perf_counter() - began
        print(f"{name:30} {spent:6.2f} s  peak {peak_memory():.2f} GB  {found}")


if __name__ == "__main__":
    main()
