"""Eq. 4 at sizes where matrices of all pairs do not fit, beside the plain dense product.

    python benchmarks/engines.py [one] [sweep] [voxceleb] [timit] [million] [stream] [FOLDER]

Synthetic embeddings (float32, correlated dimensions, a mean) and labels that depend on them.
`million` and `stream` write 6.4 and 12.8 GB to FOLDER (the current one if not given) and delete
them again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

from augury import hsic
from augury.embeddings import Stored
from augury.hsic.kernels import label_kernel

from measure import current_memory, machine, peak_memory

Array = np.ndarray
T = TypeVar("T")


def speech(n: int, d: int, path: Path | None = None) -> Array:
    """(n, d) float32 like log-mel embeddings: a common mean, a few directions, some noise."""
    rng = np.random.default_rng(0)
    x = np.empty((n, d), np.float32) if path is None else np.lib.format.open_memmap(
        path, "w+", np.float32, (n, d))  # fmt: skip
    directions = rng.standard_normal((32, d)).astype(np.float32) * 4
    mean = -40 + 8 * rng.standard_normal(d).astype(np.float32)
    for begin in range(0, n, 10_000):
        rows = slice(begin, min(begin + 10_000, n))
        size = rows.stop - begin
        x[rows] = rng.standard_normal((size, 32), np.float32) @ directions + mean
        x[rows] += 3 * rng.standard_normal((size, d), np.float32)
    return x


def label(x: Array, seed: int) -> Array:
    """A label of unit range that depends on the speech a little."""
    rng = np.random.default_rng(seed)
    z = x[:, seed].astype(np.float64) + 10 * rng.standard_normal(len(x))
    low, high = np.quantile(z, [0.001, 0.999])
    return np.clip((z - low) / (high - low), 0, 1)


def hertz(x: Array) -> Array:
    """Like the mean F0: 0 for a third of the points, else spread over 300 Hz."""
    rng = np.random.default_rng(9)
    return np.where(rng.random(len(x)) < 1 / 3, 0, 80 + 300 * label(x, 11))


def dense32(x: Array, z: Array, width: float) -> float:
    """The plain way, in float32: both matrices, centred, multiplied."""
    X = x / np.linalg.norm(x, axis=1, keepdims=True)
    K = X @ X.T
    if z.dtype.kind in "iu":
        L = (z[:, None] == z[None, :]).astype(np.float32)
    else:
        z = z.astype(np.float32).reshape(len(z), -1)
        L = np.square(z[:, None, 0] - z[None, :, 0])
        for dim in range(1, z.shape[1]):
            L += np.square(z[:, None, dim] - z[None, :, dim])
        L = np.exp(-L / np.float32(2 * width**2))
    K -= K.mean(axis=0)
    K -= K.mean(axis=1)[:, None]
    return float(np.vdot(K, L)) / len(x) ** 2


def oracle(x: Array, z: Array, width: float) -> float:
    """The same in float64, by blocks."""
    X = x.astype(np.float64)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X -= X.mean(axis=0)
    blocks = [slice(k, k + 500) for k in range(0, len(x), 500)]
    total = sum(np.vdot(X[own] @ X.T, label_kernel(z[own], z, width=width)) for own in blocks)
    return float(total) / len(x) ** 2


def timed(function: Callable[[], T], repeats: int = 3) -> tuple[float, T]:
    """The shortest time of several runs, and the result."""
    took = []
    result = None
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        took.append(time.perf_counter() - began)
    return min(took), cast(T, result)


def problem(path: Path, n: int, d: int, labels: int, *, raw: bool = False) -> None:
    """`speech` in a file, and its labels in another."""
    x = speech(n, d, path)
    zs = [label(x, 5 + k) for k in range(labels - raw)] + [hertz(x)] * raw
    np.save(path.with_suffix(".labels.npy"), np.stack(zs))


def made(path: Path, n: int, d: int, labels: int, *, raw: bool = False) -> tuple[Stored, Array]:
    """A problem made by another process, so that its memory is not counted here."""
    process = get_context("spawn").Process(
        target=problem, args=(path, n, d, labels), kwargs={"raw": raw}
    )
    process.start()
    process.join()
    return Stored(path), np.load(path.with_suffix(".labels.npy"))


def one() -> None:
    x = speech(8000, 1600)
    z, y = label(x, 5), np.zeros(8000)
    hsic.paper(x[:100], [z[:100]], y[:100])
    ours, (found,) = timed(lambda: hsic.paper(x, [z], y), 10)
    score = found.score
    plain, rough = timed(lambda: dense32(x, z, 0.05), 3)
    exact = oracle(x, z, 0.05)
    print(f"n = 8,000, d = 1,600: ours {ours * 1e3:.0f} ms; plain dense float32 {plain:.2f} s: "
          f"1/{plain / ours:.0f} of it (asked: 1/20). Relative error: ours "
          f"{abs(score / exact - 1):.1e} ({found.error:.0e} at most from approximation), dense "
          f"float32 {abs(rough / exact - 1):.1e}; memory and other packages: peers.py")  # fmt: skip


def sweep() -> None:
    """Time of one class and one label of every kind, as a share of the plain product's."""
    sizes_ = (30, 100, 300, 700, 1000, 1500, 3000, 6000, 12_000)
    print("\nshare of plain dense float32's time, d = 1,600 (asked: never above 1.10)")
    print(" " * 22 + "".join(f"{f'n = {n:,}':>12}" for n in sizes_))
    x = speech(max(sizes_), 1600)
    rng = np.random.default_rng(3)
    vectors = x[:, :13].astype(np.float64) / x[:, :13].std(axis=0)
    labels = {
        "unit range, σ = 0.05": (label(x, 5), 0.05),
        "raw Hz, σ = 0.05": (hertz(x), 0.05),
        "13 dimensions, σ = 3": (vectors, 3.0),
        "40 categories": (rng.integers(0, 40, len(x)), 1.0),
        "5,000 categories": (rng.integers(0, 5000, len(x)), 1.0),
    }
    for name, (z, width) in labels.items():
        cells = []
        for n in sizes_:
            case, repeats = (x[:n], z[:n]), 7 if n <= 1000 else 3
            ours, (estimate,) = timed(
                partial(hsic.paper, x[:n], [z[:n]], np.zeros(n), width=width), repeats
            )
            plain, rough = timed(partial(dense32, *case, width), repeats if n < 6000 else 1)
            assert abs(estimate.score / rough - 1) < 1e-3
            cells.append(f"{ours / plain:.3f}")
        print(f"{name:22}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def classes(name: str, n: int, sizes: Array, labels: int, *, raw: bool = False) -> None:
    """Rows of the classes scattered over the file."""
    with tempfile.TemporaryDirectory() as folder:
        x, zs = made(Path(folder) / "x.npy", n, 1600, labels, raw=raw)
        y = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
        before = current_memory()
        took, _ = timed(lambda: hsic.paper(x, list(zs), y), 3)
        print(f"{name} ({n:,} x 1,600, {len(sizes):,} classes, largest {max(sizes):,}, {labels} "
              f"labels{', raw Hz among them' * raw}): {took:.1f} s (asked: 5 s); peak "
              f"{peak_memory():.2f} GB, {before:.2f} of it before", flush=True)  # fmt: skip


def stored(name: str, rows: int, d: int, labels: int, shards: list[int], folder: Path) -> None:
    """Embeddings on disk in shards of `rows` rows, each in the order of 40 classes.

    Shards repeat the first one's embeddings, and are read with nothing of them in memory before.
    """
    path = folder / f"{name}.npy"
    try:
        base, zs = made(path, rows, d, labels)
        with path.open("r+b") as file:
            count = max(shards)
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows * count, d)}
            np.lib.format.write_array_header_1_0(file, header)
            file.seek(0, 2)
            for _ in range(1, count):
                for begin in range(0, rows, 100_000):
                    file.write(base[np.arange(begin, begin + 100_000)].tobytes())
        x = Stored(path)
        y = np.arange(rows) * 40 // rows
        for count in shards:
            before = current_memory()
            began = time.perf_counter()
            hsic.paper(x, [np.tile(z, count) for z in zs], np.tile(y, count))
            took = time.perf_counter() - began
            print(f"{rows * count:,} x {d:,}, 40 classes, {labels} labels, from disk: {took:.1f} "
                  f"s, {took / (rows * count) * 1e6:.2f} µs a row; peak {peak_memory():.2f} GB, "
                  f"{before:.2f} of it before", flush=True)  # fmt: skip
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".labels.npy").unlink(missing_ok=True)


def sizes(n: int, count: int, largest: int | None = None) -> Array:
    """Class sizes that add up to n."""
    if largest is None:
        return np.bincount(np.arange(n) % count)
    rest = np.linspace(2, 0.05, count - 1)
    found = np.floor(rest / rest.sum() * (n - largest)).astype(int)
    found[0] += n - largest - found.sum()
    return np.concatenate([[largest], found])


def main(names: list[str]) -> None:
    print(machine())
    folder = Path(names.pop()) if names and Path(names[-1]).is_dir() else Path()
    for name in names or ["one", "sweep", "voxceleb", "timit", "million", "stream"]:
        if name == "one":
            one()
        elif name == "sweep":
            sweep()
        elif name == "voxceleb":
            classes("VoxCeleb1-sized", 148_642, sizes(148_642, 1251), 7)
        elif name == "timit":
            classes("TIMIT-sized", 140_000, sizes(140_000, 61, 16_000), 7, raw=True)
        elif name == "million":
            stored("million", 1_000_000, 1600, 7, [1, 1], folder)
        elif name == "stream":
            stored("stream", 1_000_000, 320, 1, [1, 3, 10], folder)
        else:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
