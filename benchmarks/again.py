"""Ranking again from the store: what it takes, and where: python benchmarks/again.py DATA [STORE]

DATA is ../shared/data/speechocean762. By speaker (5,000 utterances), then the same audio by phone
(95,618 segments): each for the first time in this store, again, and again with `--jobs 1`; then the
processor seconds of the stages of a further run, all threads counted, and a profile of one more by
the functions that the main thread was in. A store that is kept saves the first time. To compare
with another version, run this with its `src` in PYTHONPATH and the same STORE.
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
#: The stages of a ranking: functions, by module, that are not inside each other.
STAGES = {
    "manifest": ("augury.corpus.read", "read_corpus"),
    "looking up": ("augury.ranking.dataset", "extract_corpus"),
    "gathering": ("augury.ranking.dataset", "gather"),
    "estimators": ("augury.ranking.scoring", "_estimate_group"),
    "intervals, tiers": ("augury.ranking.scoring", "_add_intervals"),
    "information": ("augury.ranking.scoring", "_judge"),
    "sensitivity": ("augury.ranking.rank", "estimate_sensitivity"),
    "redundancy": ("augury.ranking.rank", "redundancy"),
    "report": ("augury.ranking.report", "write_report"),
}
#: Runs the command line with a clock around each of the stages.
TIMED = f"""
import functools, importlib, sys, time
spent = dict.fromkeys(["imports", *{list(STAGES)}], 0.0)
def clocked(stage, function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        began = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[stage] += time.process_time() - began
    return inner
def load():
    for stage, (module, name) in {STAGES!r}.items():
        place = importlib.import_module(module)
        setattr(place, name, clocked(stage, getattr(place, name)))
clocked("imports", load)()
try:
    from augury.cli.app import main
    sys.argv = ["augury", *sys.argv[1:]]
    main()
finally:
    spent["others"] = time.process_time() - sum(spent.values())
    print("stages", *(f"{{name}} {{seconds:.2f}}" for name, seconds in spent.items()), sep="; ")
"""
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
        done = run([sys.executable, "-c", TIMED, *arguments])
        if done.status:
            sys.exit(done.output)
        print(*(line for line in done.output.splitlines() if line.startswith("stages")), flush=True)
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
