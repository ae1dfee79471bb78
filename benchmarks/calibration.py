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


def recordings() -> None:
    """What recordings share, and neither label nor speech: relevant at .01, rejected at .05."""
    rng = np.random.default_rng(0)
    count, draws, shared = 60, 15, 40
    print(
        f"\nz whose recording decides a share of its variance, {count} recordings of 1 to 12 "
        f"segments, {draws * shared:,} draws: relevant at .01 / independence rejected at .05"
    )
    for label in ("speaker", "phone"):
        cells = []
        for share in (0.0, 0.1, 0.3, 1.0):
            relevant, rejected = [], []
            for _ in range(draws):
                codes = np.repeat(np.arange(count), np.maximum(1, rng.poisson(5, count)))
                n = len(codes)
                y = codes // 4 if label == "speaker" else rng.integers(0, 5, n)
                x = speech(rng, n) + speech(rng, count)[codes]
                zs = [
                    np.sqrt(share) * rng.standard_normal(count)[codes]
                    + np.sqrt(1 - share) * rng.standard_normal(n)
                    for _ in range(shared)
                ]
                estimates, _, relevances = hsic.robust_with_associations(
                    x, zs, y, points=True, units=codes
                )
                relevant += [own.p_above() < 0.01 for own in relevances]
                rejected += [own.p_value <= 0.05 for own in estimates if own.p_value is not None]
            cells.append(f"{share:.0%}: {np.mean(relevant):.3f} / {np.mean(rejected):.3f}")
        print(f"  label {label}:  " + ";  ".join(cells), flush=True)


def tiers() -> None:
    """How often candidates of one law are divided into tiers."""
    rng = np.random.default_rng(11)
    n, classes, draws = 600, 6, 200
    y = np.arange(n) % classes
    print(f"\ncandidates of equal truth that are divided into tiers, {draws} draws")
    for count in (2, 7, 30):
        divided = 0
        for _ in range(draws):
            u = rng.standard_normal((n, 10))
            zs = [0.4 * u[:, 0] + np.sqrt(0.84) * rng.standard_normal(n) for _ in range(count)]
            estimates = hsic.robust(u * np.r_[4, 3, 2, np.ones(7)], zs, y, points=True)
            scores = np.array([own.score for own in estimates])
            influence = np.stack([np.asarray(own.influence) for own in estimates], axis=1)
            by_chance = np.stack([np.asarray(own.by_chance) for own in estimates], axis=1)
            replicates = uncertainty.bootstrap(
                scores, influence, y, by_chance=by_chance, cautious=True, replicates=1000, seed=0
            )
            divided += uncertainty.tiers(scores, replicates).max() > 1
        print(f"  {count} candidates: {divided / draws:.3f}", flush=True)


def population(
    rng: np.random.Generator, y: Array, link: float, differs: float, kind: str
) -> tuple[Array, Array]:
    """Speech, and a pseudo-label that shares `link` with it; `differs`: more in some classes."""
    u = rng.standard_normal((len(y), 10)) + np.sin(y)[:, None]
    z = (link + differs * np.cos(3 * y)) * u[:, 0] + rng.standard_normal(len(y))
    if kind == "vector":
        z = np.stack([z, u[:, 1] + rng.standard_normal(len(y))], axis=1)
    return u * np.r_[4, 3, 2, np.ones(7)], np.digitize(z, [-1, 0, 1]) if kind == "category" else z


def coverage(draws: int = 300, recordings: int = 80) -> None:
    """How often the interval holds the value that a very large sample has."""
    print(f"\n95 % intervals of dependent data, {draws} draws: share that hold the true score, by "
          "segment / by recording; their standard deviation over that of the draws")  # fmt: skip
    for kind, link, differs in (
        ("scalar", 1.5, 0.0),
        ("scalar", 0.5, 0.0),
        ("scalar", 0.5, 0.5),
        ("scalar", 0.1, 0.0),
        ("vector", 0.7, 0.0),
        ("category", 0.7, 0.0),
    ):
        for classes, size in ((240, 4), (160, 6), (80, 12), (40, 24), (8, 120), (4, 1200)):
            y = np.arange(600_000 // classes * classes) % classes
            x, z = population(np.random.default_rng(2), y, link, differs, kind)
            truth = hsic.robust(x, [z], y)[0].score
            y = np.repeat(np.arange(classes), size)
            rng, held, scores, variances = np.random.default_rng(3), [], [], []
            for draw in range(draws):
                x, z = population(rng, y, link, differs, kind)
                codes = rng.permutation(np.arange(len(y)) % recordings)
                (own,), _, _ = hsic.robust_with_associations(x, [z], y, points=True, units=codes)
                row = []
                for units, effect in ((None, 1.0), (codes, own.design_effect)):
                    replicates = uncertainty.bootstrap(
                        np.array([own.score]), np.asarray(own.influence)[:, None], y, units,
                        by_chance=np.asarray(own.by_chance)[:, None],
                        effects=np.array([effect]), replicates=1000, seed=draw,
                    )  # fmt: skip
                    low, high = uncertainty.intervals(replicates)[0]
                    row.append(low <= truth <= high)
                held.append(row)
                scores.append(own.score)
                variances.append(replicates.var())
            by_segment, by_recording = np.mean(held, axis=0)
            ratio = np.sqrt(np.mean(variances)) / np.std(scores)
            print(
                f"  {kind} {link:g} ± {differs:g}, {classes} of {size:,}: true {truth:.3f}, mean "
                f"{np.mean(scores):.3f}: {by_segment:.3f} / {by_recording:.3f}, {ratio:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    print(machine())
    rejections()
    recordings()
    tiers()
    coverage()
