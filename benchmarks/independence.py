"""Scores of independent data: 0 on average for the unbiased estimator, not for the published one.

python benchmarks/independence.py
"""

from __future__ import annotations

import numpy as np

from augury import hsic

from measure import machine

REPEATS = 2000


def main() -> None:
    print(machine())
    print(f"x and z independent Gaussians, one class of n, {REPEATS} draws: mean ± standard error")
    print(f"{'n':>5}{'robust':>22}{'paper (z-scored)':>26}")
    rng = np.random.default_rng(0)
    for n in (5, 20, 200):
        y = np.zeros(n)
        scores = np.empty((REPEATS, 2))
        for k in range(REPEATS):
            x, z = rng.standard_normal((n, 8)) + 1, rng.standard_normal(n)
            scores[k] = hsic.robust(x, [z], y)[0].score, hsic.paper(x, [z], y)[0].score
        mean, error = scores.mean(axis=0), scores.std(axis=0) / np.sqrt(REPEATS)
        print(
            f"{n:5}{mean[0]:12.5f} ± {error[0]:.5f}{mean[1]:16.6f} ± {error[1]:.6f}"
            f"   ({mean[0] / error[0]:+.1f} and {mean[1] / error[1]:+.0f} errors from 0)"
        )


if __name__ == "__main__":
    main()
