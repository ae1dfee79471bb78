"""Eq. 3 once, n = 8,000 and d = 1,600, by us, by a plain dense product and by other packages.

    python -m pip install -e '.[benchmarks]'
    python benchmarks/peers.py

One class, one pseudo-label of unit range; cosine kernel of the speech (float32), RBF kernel of the
pseudo-label with σ = 0.05. Every row is timed from the same arrays in memory, kernels included, in
a process of its own. Statistics only: no package is asked for a p-value. "peak" is the process's
largest resident size, "more" its growth beyond the interpreter, the modules and x.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from augury import hsic
from engines import dense32, label, oracle, speech, timed

from measure import machine, peak_memory

Array = np.ndarray

WIDTH = 0.05


def ours(x: Array, z: Array) -> float:
    return hsic.paper(x, [z], np.zeros(len(x)), width=WIDTH)[0].score


def plain(x: Array, z: Array) -> float:
    return dense32(x, z, WIDTH)


def kernels(x: Array, z: Array) -> tuple[Array, Array]:
    """scikit-learn's K and L; hyppo makes its own with the same functions."""
    from sklearn.metrics.pairwise import (  # pyright: ignore[reportMissingImports]
        cosine_similarity,
        rbf_kernel,
    )

    return cosine_similarity(x), rbf_kernel(z[:, None], gamma=1 / (2 * WIDTH**2))


def scikit_learn(x: Array, z: Array) -> float:
    from sklearn.preprocessing import KernelCenterer  # pyright: ignore[reportMissingImports]

    K, L = kernels(x, z)
    return float(np.vdot(KernelCenterer().fit_transform(K), L)) / len(x) ** 2


def causal_learn(x: Array, z: Array) -> float:
    """KCI's kernels, centring and sum; `KCI_UInd.kernel_matrix` would z-score x and z first."""
    from causallearn.utils.KCI.GaussianKernel import (  # pyright: ignore[reportMissingImports]
        GaussianKernel,
    )
    from causallearn.utils.KCI.KCI import KCI_UInd  # pyright: ignore[reportMissingImports]
    from causallearn.utils.KCI.LinearKernel import (  # pyright: ignore[reportMissingImports]
        LinearKernel,
    )

    K = LinearKernel().kernel(x / np.linalg.norm(x, axis=1, keepdims=True))
    L = GaussianKernel(WIDTH).kernel(z[:, None])
    return float(KCI_UInd().HSIC_V_statistic(K, L)[0]) / len(x) ** 2


def causal_learn_as_called(x: Array, z: Array) -> float:
    """With its defaults: Gaussian kernels on both sides, of a width that follows from n."""
    from causallearn.utils.KCI.KCI import KCI_UInd  # pyright: ignore[reportMissingImports]

    test = KCI_UInd()
    return float(test.HSIC_V_statistic(*test.kernel_matrix(x, z[:, None]))[0])


def hyppo(x: Array, z: Array) -> float:
    """√(HSIC(K,L) / √(HSIC(K,K)·HSIC(L,L))); with one kernel for both sides, so K and L are given.

    Its compiled code takes float64 alone, to which its `test` casts.
    """
    from hyppo.independence import Hsic  # pyright: ignore[reportMissingImports]

    K, L = kernels(x, z)
    return float(Hsic(compute_kernel=None, bias=True).statistic(K.astype(np.float64), L))


def hyppo_as_called(x: Array, z: Array) -> float:
    """With its defaults: Gaussian kernels of median width on both sides, unbiased."""
    from hyppo.independence import Hsic  # pyright: ignore[reportMissingImports]

    return float(Hsic().statistic(x.astype(np.float64), z[:, None]))


def dcor_centred(x: Array, z: Array) -> float:
    """dcor has no kernels, but centres and multiplies any two matrices."""
    import dcor

    X = x / np.linalg.norm(x, axis=1, keepdims=True)
    L = np.exp(-np.square(z[:, None] - z[None, :]) / (2 * WIDTH**2))
    return float(dcor.mean_product(dcor.double_centered(X @ X.T), dcor.double_centered(L)))


@dataclass(frozen=True)
class Row:
    """One way of computing it."""

    title: str
    function: Callable[[Array, Array], float]
    module: str
    package: str
    repeats: int = 3
    same: bool = True  # the number of eq. 3, not another statistic


ROWS = {
    "ours": Row("ours", ours, "augury", "augury"),
    "plain": Row("plain dense float32", plain, "numpy", "numpy"),
    "scikit-learn": Row("scikit-learn", scikit_learn, "sklearn", "scikit-learn"),
    "causal-learn": Row("causal-learn", causal_learn, "causallearn", "causal-learn"),
    "causal-learn-as-called": Row(
        "causal-learn, its defaults",
        causal_learn_as_called,
        "causallearn",
        "causal-learn",
        1,
        False,
    ),
    "hyppo": Row("hyppo, kernels given", hyppo, "hyppo", "hyppo", 2, False),
    "hyppo-as-called": Row("hyppo, its defaults", hyppo_as_called, "hyppo", "hyppo", 1, False),
    "dcor": Row("dcor, kernels given", dcor_centred, "dcor", "dcor"),
}


def prepare(folder: Path) -> dict:
    """The problem, and its answer in float64."""
    x = speech(8000, 1600)
    z = label(x, 5)
    np.save(folder / "x.npy", x)
    np.save(folder / "z.npy", z)
    return {"exact": oracle(x, z, WIDTH)}


def measured(row: Row, folder: Path) -> dict:
    x, z = np.load(folder / "x.npy"), np.load(folder / "z.npy")
    row.function(x[:500], z[:500])  # imports, threads, compiled code
    before = peak_memory()
    seconds, value = timed(lambda: row.function(x, z), row.repeats)
    peak = peak_memory()
    return {"seconds": seconds, "value": value, "peak": peak, "more": peak - before}


def alone(name: str, folder: Path) -> dict | str:
    """What the row says in a process of its own, or why it says nothing.

    This process stays small, since a child's largest resident size begins with its parent's.
    """
    command = [sys.executable, __file__, name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if done.returncode == -9 or "MemoryError" in done.stderr:
        return "out of memory"
    said = [text for text in done.stderr.splitlines() if "Error" in text]
    return said[-1].strip() if said else f"ended with {done.returncode}"


def table(seen: dict[str, dict], exact: float) -> None:
    print(f"{'':48}{'best':>10}{'peak':>11}{'more':>11}{'/ ours':>9}{'/ plain':>9}  error")
    for key, found in seen.items():
        row = ROWS[key]
        title = f"{row.title} ({row.package} {version(row.package)})"
        ratios = [
            f"{found['seconds'] / seen[to]['seconds']:9.3g}" if to in seen else f"{'-':>9}"
            for to in ("ours", "plain")
        ]
        error = f"{abs(found['value'] / exact - 1):.1e}" if row.same else "another statistic"
        print(
            f"{title:48}{found['seconds']:8.3f} s{found['peak'] * 1e3:8.0f} MB"
            f"{found['more'] * 1e3:8.0f} MB{''.join(ratios)}  {error}"
        )


def asked(seen: dict[str, dict], exact: float) -> str:
    own = seen["ours"]
    parts = [
        f"1/{seen[key]['seconds'] / own['seconds']:.0f} of {ROWS[key].title} (asked: 1/{wanted})"
        for key, wanted in (
            ("plain", 20),
            ("causal-learn", 200),
            ("causal-learn-as-called", 200),
            ("hyppo", 200),
            ("hyppo-as-called", 200),
        )
        if key in seen
    ]
    parts.append(f"{own['peak'] * 1e3:.0f} MB, {own['more'] * 1e3:.0f} of them more "
                 "than before (asked: 300)")  # fmt: skip
    parts.append(f"relative error {abs(own['value'] / exact - 1):.1e} (asked: 1e-6)")
    return "ours: " + "; ".join(parts)


def main(arguments: list[str]) -> None:
    if len(arguments) == 2:  # a row, in its own process
        name, folder = arguments[0], Path(arguments[1])
        print(json.dumps(prepare(folder) if name == "prepare" else measured(ROWS[name], folder)))
        return
    if arguments:
        sys.exit(__doc__)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problem = alone("prepare", folder)
        if isinstance(problem, str):
            sys.exit(problem)
        missing = {row.package for row in ROWS.values() if find_spec(row.module) is None}
        for package in sorted(missing):
            print(f"{package}: not installed; python -m pip install -e '.[benchmarks]'")
        seen: dict[str, dict] = {}
        for key, row in ROWS.items():
            if row.package in missing:
                continue
            found = alone(key, folder)
            if isinstance(found, str):
                print(f"{row.title}: {found}")
                continue
            seen[key] = found
    table(seen, problem["exact"])
    if "ours" in seen:
        print(asked(seen, problem["exact"]))


if __name__ == "__main__":
    main(sys.argv[1:])
