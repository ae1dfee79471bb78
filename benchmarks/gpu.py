"""The estimator on a GPU beside the processor: one class of 100,000 segments, 70 candidates.

    python benchmarks/gpu.py [SEGMENTS]

Needs torch with CUDA. The share of the peak is that of float32 products, of which nearly all the
work is; the peak is measured by one large product of the same type.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from augury import hsic
from augury.embeddings import OnDevice
from engines import label, speech

from measure import machine


def main(n: int) -> None:
    import torch  # pyright: ignore[reportMissingImports]

    print(machine())
    if not torch.cuda.is_available():
        sys.exit("no CUDA device here")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    a = torch.randn(8192, 8192, device="cuda")
    torch.matmul(a, a)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(10):
        torch.matmul(a, a)
    torch.cuda.synchronize()
    peak = 10 * 2 * 8192**3 / (time.perf_counter() - began)
    x = speech(n, 1600)
    zs = [label(x, 5 + k) for k in range(70)]
    y = np.zeros(n)
    on_gpu = OnDevice(torch.asarray(x, device="cuda"), "cuda")
    hsic.paper(on_gpu, zs[:2], y)
    began = time.perf_counter()
    found = hsic.paper(on_gpu, zs, y)
    gpu = time.perf_counter() - began
    began = time.perf_counter()
    exact = hsic.paper(x, zs, y)
    here = time.perf_counter() - began
    worst = max(abs(a.score / b.score - 1) for a, b in zip(found, exact, strict=True))
    # Each label's factor has about 58 columns at this tolerance.
    work = 2 * n * 1600 * 70 * 58
    print(f"{n:,} x 1,600 in one class, 70 candidates: GPU {gpu:.2f} s, {here / gpu:.0f} times as "
          f"fast as the processor's {here:.1f} s; {work / gpu / peak:.0%} of the float32 peak of "
          f"{peak / 1e12:.0f} TFLOP/s; scores within {worst:.0e}")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
