"""Whether p-values and intervals keep their word: rejections on independent data, and coverage.

    python benchmarks/calibration.py

Speech of 50 correlated dimensions with a mean; pseudo-labels of the shapes that occur. The level
is .05 (asked: within .01 on independent data), the intervals' 95 %.
"""

from __future__ import annotations

import numpy as np

from augury import hsic
from augury.hsic import uncertainty

from measure import machine

Array = np.ndarray

LABELS = {
    "Gaussian": lambda rng, n: rng.standard_normal(n),
    "log-normal": lambda rng, n: rng.lognormal(0, 1, n),
    "two thirds 0": lambda rng, n: np.where(rng.random(n) < 2 / 3, 0, rng.normal(150, 50, n)),
    "3 dimensions": lambda rng, n: rng.standard_normal((n, 3)),
    "5 categories": lambda rng, n: rng.integers(0, 5, n),
}
CLASSES = {
    "1 of 20": (1, 20),
    "2 of 50": (2, 50),
    "40 of 6": (40, 6),
    "20 of 20": (20, 20),
    "1 of 300": (1, 300),
}
SHARED = 80  # pseudo-labels that share a draw of the speech
DRAWS = 50


def speech(rng: np.random.Generator, n: int) -> Array:
    directions = rng.standard_normal((50, 50)) * 0.8 ** np.arange(50)[:, None]
    return rng.standard_normal((n, 50)) @ directions + 3


def rejections() -> None:
    rng = np.random.default_rng(0)
    draws = SHARED * DRAWS
    print(f"\nrejections at .05, independent data, {draws:,} draws (standard error "
          f"{np.sqrt(0.05 * 0.95 / draws):.4f}): by moments / by 199 permutations")  # fmt: skip
    print(" " * 14 + "".join(f"{name:>16}" for name in LABELS))
    for name, (count, size) in CLASSES.items():
        y = np.repeat(np.arange(count), size)
        groups = [np.flatnonzero(y == c) for c in range(count)]
        cells = []
        for make in LABELS.values():
            by_moments, by_shuffles = [], []
            for draw in range(DRAWS):
                x = speech(rng, len(y))
                zs = [make(rng, len(y)) for _ in range(SHARED)]
                by_moments += [one.p_value for one in hsic.robust(x, zs, y, points=True)]
                if draw % 10 == 0:
                    by_shuffles += list(
                        uncertainty.permutation_p(
                            x, zs, groups, np.full(count, 1 / count),
                            widths=None, permutations=199, seed=draw,
                        )
                    )  # fmt: skip
            rates = (np.mean(np.array(p) <= 0.05) for p in (by_moments, by_shuffles))
            cells.append(" / ".join(f"{rate:.3f}" for rate in rates))
        print(f"{name:14}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def coverage() -> None:
    """How often the interval holds the value that a very large sample has."""
    print("\n95 % intervals, dependent data, 400 draws: share that hold the true score; their "
          "standard deviation as a share of the draws'")  # fmt: skip
    mix = np.random.default_rng(1).standard_normal((8, 50))

    def population(rng: np.random.Generator, y: Array, link: float) -> tuple[Array, Array]:
        hidden = rng.standard_normal((len(y), 8)) + np.sin(y)[:, None]
        x = hidden @ mix + rng.standard_normal((len(y), 50)) + 3
        return x, link * hidden[:, 0] + rng.standard_normal(len(y))

    for link in (2.0, 0.7, 0.2):
        cells = []
        for count, size in ((4, 20), (4, 100), (30, 10), (4, 1200)):
            # A large sample of the same classes, and the same standardisation, gives the truth.
            y = np.repeat(np.arange(count), 20_000 // count)
            rng = np.random.default_rng(2)
            x, z = population(rng, y, link)
            truth = hsic.robust(x, [z], y)[0].score
            y = np.repeat(np.arange(count), size)
            held, scores, spreads = [], [], []
            for draw in range(400 if size < 1000 else 100):
                x, z = population(rng, y, link)
                one = hsic.robust(x, [z], y, points=True)[0]
                assert one.influence is not None
                found = uncertainty.bootstrap(
                    np.array([one.score]), one.influence[:, None], y,
                    within=True, replicates=400, seed=draw,
                )  # fmt: skip
                low, high = uncertainty.intervals(found)[0]
                held.append(low <= truth <= high)
                scores.append(one.score)
                spreads.append(found.std())
            cells.append(
                f"{count} of {size:,}: {np.mean(held):.3f}, {np.mean(spreads) / np.std(scores):.2f}"
            )
        print(f"  true score {truth:.3f}:  " + ";  ".join(cells), flush=True)


if __name__ == "__main__":
    print(machine())
    rejections()
    coverage()
