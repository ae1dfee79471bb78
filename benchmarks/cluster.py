"""What Dask costs: a local run beside `--cluster local`, as many processes, from an empty store.

    python benchmarks/cluster.py ../shared/data/speechocean762 [rounds, 2 if not given]

By speaker, 5,000 utterances, 2 processes; the two take turns. At last once more on the cluster, one
worker being killed midway.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil

from measure import Run, machine, run

FILES = ("ranking.json", "ranking.csv", "report.html", "quarantine.csv")
JOBS = "2"


def main(data: Path, rounds: int) -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        took: dict[str, list[Run]] = {"local run": [], "--cluster local": []}
        wanted = None
        for number in range(rounds):
            order = list(took) if number % 2 == 0 else list(took)[::-1]
            for name in order:
                extra = name.split() if name.startswith("--") else []
                done, files = rank(data, folder / f"{number}{name}", extra)
                took[name].append(done)
                wanted = wanted or files
                print(
                    f"{name:16}{done.wall:8.1f} s, {done.cpu:.0f} processor seconds, "
                    f"files identical: {same(files, wanted)}",
                    flush=True,
                )
        wall, cpu = (
            median(getattr(one, what) for one in took["--cluster local"])
            / median(getattr(one, what) for one in took["local run"])
            for what in ("wall", "cpu")
        )
        print(
            f"overhead {wall - 1:+.1%} of the wall time (asked: at most 15 %), "
            f"{cpu - 1:+.1%} of the processor time",
            flush=True,
        )
        killer = threading.Thread(target=kill_one, args=(folder / "killed" / "store",), daemon=True)
        killer.start()
        done, files = rank(data, folder / "killed", ["--cluster", "local"])
        print(f"one worker killed: {done.wall:.1f} s, files identical: {same(files, wanted)}")


def rank(data: Path, folder: Path, extra: list[str]) -> tuple[Run, dict[str, bytes]]:
    command = [
        sys.executable, "-m", "augury", "rank", str(data / "utterances.tsv"), "--label", "speaker",
        "--store", str(folder / "store"), "--out", str(folder), "--jobs", JOBS, *extra,
    ]  # fmt: skip
    done = run(command)
    if done.status:
        sys.exit(done.output)
    return done, {name: (folder / name).read_bytes() for name in FILES}


def same(files: dict[str, bytes], wanted: dict[str, bytes] | None) -> str:
    return "yes" if files == wanted else "NO"


def kill_one(store: Path) -> None:
    """Kill -9 a worker once half of the recordings are in the store: two files each."""
    while sum(len(files) for _, _, files in os.walk(store)) < 5000:
        time.sleep(0.5)
    children = psutil.Process().children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    print(f"killed one of {len(workers)} workers", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 2)
