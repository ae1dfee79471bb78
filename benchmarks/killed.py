"""An experiment killed again and again: python benchmarks/killed.py RECIPE [KILLS]

Runs it whole, then in a fresh store with SIGKILL at so many random moments of about that time, and
says whether the tables are the same, byte for byte. Times and dates in results.csv are left aside.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TABLES = ("gates", "correlations", "confirmed", "groups", "estimates")
TIMES = ("seconds", "pretrain_seconds", "date")


def started(recipe: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "augury", "validate", recipe, "--out", str(folder / "out"),
        "--minutes", "0.05",
    ]  # fmt: skip
    environment = os.environ | {"AUGURY_STORE": str(folder / "store")}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def found(folder: Path) -> dict[str, object]:
    tables: dict[str, object] = {
        name: (folder / "out" / f"{name}.csv").read_bytes() for name in TABLES
    }
    with (folder / "out" / "results.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    return tables | {"results": rows}


def main() -> None:
    recipe, kills = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        whole, killed = Path(place) / "whole", Path(place) / "killed"
        began = time.monotonic()
        assert started(recipe, whole).wait() == 0
        spent = time.monotonic() - began
        print(f"whole: {spent:.0f} s")
        ended = 0
        for k in range(kills):
            process = started(recipe, killed)
            moment = chance.uniform(0.02, 0.15) * spent
            try:
                process.wait(moment)
                ended += 1
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            print(f"kill {k + 1} after {moment:.0f} s", flush=True)
        assert started(recipe, killed).wait() == 0
        same = [name for name, one in found(whole).items() if one == found(killed)[name]]
        print(f"the same after {kills - ended} kills: {', '.join(same)}")
        print(f"different: {', '.join(set(found(whole)) - set(same)) or 'none'}")


if __name__ == "__main__":
    main()
