"""Ranking again from the store: what it takes, and where: python benchmarks/again.py DATA [STORE]

DATA is ../shared/data/speechocean762. By speaker (5,000 utterances), then the same audio by phone
(95,618 segments): each for the first time in this store, again, and again with `--jobs 1`; then a
profile of the last two in processor seconds of all threads, by the functions that the main thread
was in. A store that is kept saves the first time. To compare with another version, run this with
its `src` in PYTHONPATH and the same STORE.
"""

from __future__ import annotations

import pstats
import sys
import tempfile
from pathlib import Path

from measure import machine, run

#: Functions of the profile take at least so many seconds, with all that they call.
SHOWN = 0.15
TABLES = (
    ("speaker", "utterances.tsv", ()),
    ("phone", "phones.tsv", ("--exclude", "SIL")),
)
#: Runs the command line under a profiler whose clock counts the processor time of all threads.
PROFILE = """
import cProfile, sys, time
profile = cProfile.Profile(time.process_time)
profile.enable()
try:
    from augury.cli.app import main
    file, sys.argv = sys.argv[1], ["augury", *sys.argv[2:]]
    main()
finally:
    profile.disable()
    profile.dump_stats(file)
"""


def main(data: Path, store: Path, out: Path) -> None:
    print(machine(), flush=True)
    for label, table, options in TABLES:
        arguments = [
            "rank", str(data / table), "--label", label,
            "--store", str(store), "--out", str(out / label), *options,
        ]  # fmt: skip
        for name, more in (("first", ()), ("again", ()), ("again, --jobs 1", ("--jobs", "1"))):
            done = run([sys.executable, "-m", "augury", *arguments, *more])
            if done.status:
                sys.exit(done.output)
            print(
                f"{label}, {name}: {done.wall:.1f} s, {done.cpu:.1f} processor seconds, "
                f"{done.memory:.2f} GB",
                flush=True,
            )
        show_profile(arguments, out / f"{label}.profile")


def show_profile(arguments: list[str], file: Path) -> None:
    """Run the command under the profiler; print Augury's functions and imports, the largest first.

    Those inside others count in both.
    """
    done = run([sys.executable, "-c", PROFILE, str(file), *arguments])
    if done.status:
        sys.exit(done.output)
    stats = pstats.Stats(str(file)).stats  # pyright: ignore[reportAttributeAccessIssue]
    rows: list[tuple[float, float, str]] = []
    for (path, _, name), (_, _, own, total, _) in stats.items():
        module = path.partition("/augury/")[2] if "/augury/" in path else ""
        if name == "<module>":
            module = "/".join(Path(path).parts[-2:])
        if module and total >= SHOWN:
            rows.append((total, own, f"{module}: {name}"))
    print(f"  {'with calls':>10}{'itself':>8}  processor seconds, {done.cpu:.1f} in all")
    for total, own, name in sorted(rows, reverse=True):
        print(f"  {total:10.2f}{own:8.2f}  {name}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        main(
            Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else folder / "store", folder
        )
