"""What the seven pseudo-labels cost: both stock feature sets in turn, and only what is asked.

    python benchmarks/opensmile_cost.py ../shared/data/speechocean762/audio [files]

One process, one thread, the same recordings for both in one run; every value is compared.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import opensmile

from augury import audio
from augury.pseudolabels import opensmile as ours
from augury.pseudolabels.candidate import SEVEN

from measure import machine


def main(folder: str, count: int) -> None:
    print(machine())
    signals = []
    for path in sorted(Path(folder).iterdir())[:: max(1, 5000 // count)][:count]:
        signal, rate = audio.decode(path.read_bytes(), path.name)
        signals.append(np.clip(audio.resample(signal, rate), -1, 32767 / 32768))
    seconds = sum(map(len, signals)) / 16000
    asked = [(s.split(":")[1], s.split(":")[2]) for s in SEVEN.values()]
    level = opensmile.FeatureLevel.LowLevelDescriptors
    stock: dict[str, list] = {}
    spent = {}
    for name in ("ComParE_2016", "GeMAPSv01b"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            smile = opensmile.Smile(opensmile.FeatureSet[name], level)
            began = time.perf_counter()
            stock[name] = [smile.process_signal(signal, 16000) for signal in signals]
            spent[name] = time.perf_counter() - began
    began = time.perf_counter()
    plan = ours.extractor(asked)
    planning = time.perf_counter() - began
    began = time.perf_counter()
    found = [ours.extract(plan, signal) for signal in signals]
    spent["ours"] = time.perf_counter() - began
    equal = sum(
        np.array_equal(values[f"{s}:{c}"], stock[s][k][c].to_numpy())
        for k, values in enumerate(found)
        for s, c in asked
    )
    print(f"{len(signals)} recordings, {seconds:.0f} s of speech")
    for name, took in spent.items():
        print(f"{name:14} {took:7.2f} s, × {seconds / took:5.0f} real time")
    both = spent["ComParE_2016"] + spent["GeMAPSv01b"]
    print(f"{'both stock':14} {both:7.2f} s, × {seconds / both:5.0f} real time")
    print(f"gain × {both / spent['ours']:.1f} (after {planning:.2f} s of planning, once a run)")
    print(f"columns equal to the last bit: {equal} of {len(signals) * len(asked)}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 100)
