"""Mutation test: small faults are put into the numeric modules, and their tests must notice.

    python benchmarks/mutants.py [MODULE …] [--sample 15] [--seed 0] [--out mutants.csv] [--again]

One fault (mutant) at a time in a temporary copy of src: a comparison flipped, a number changed, `+`
for `-`, `and` for `or`, a `not` or a minus dropped, None returned. It is killed when a test of the
file that mirrors the module fails (tests/PACKAGE/test_MODULE.py, or all of tests/PACKAGE where
there is none) or does not end in time; otherwise it survives, and its diff is printed. Only the
tests that run the changed line are run, the fastest first.

A row is written as soon as a mutant is settled, so that a stopped run goes on where it was. A row
counts as long as its module is unchanged; `--again` tries the survivors anew, after tests were
added.

Faults that no result shows are listed in equivalent_mutants.csv, each with the reason. They are not
run, but counted beside the others; the share killed is of all others. `--check` runs them, too, and
says which are killed, so that they don't belong there, and which rows match no fault.
"""

from __future__ import annotations

import argparse
import ast
import csv
import difflib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from fnmatch import fnmatch
from pathlib import Path

import coverage
import pytest

from augury.store import digest
from augury.tables import write_csv

ROOT = Path(__file__).parents[1]
#: The modules whose arithmetic and thresholds matter most, as globs below src/augury.
MODULES = (
    "hsic/*.py", "ranking/caveats.py", "ranking/selection.py", "ranking/weights.py",
    "downstream/splits.py", "downstream/scores/*.py", "validation/statistics.py",
)  # fmt: skip
#: Faults that no result shows, with reasons.
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.csv")
#: A mutant is stopped after this many times its tests' own duration, and so many seconds.
PATIENCE, LEAST_SECONDS = 5.0, 10.0
COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="), ast.LtE: ("<", ">"), ast.Gt: (">=", "<="), ast.GtE: (">", "<"),
    ast.Eq: ("!=",), ast.NotEq: ("==",), ast.Is: ("is not",), ast.IsNot: ("is",),
    ast.In: ("not in",), ast.NotIn: ("in",),
}  # fmt: skip
SIGNS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
    ast.Pow: "*", ast.BitAnd: "|", ast.BitOr: "&",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A fault, and what became of it."""

    module: str  # as "hsic/sums.py"
    source: str  # digest of the module's text
    line: int
    column: int
    before: str
    after: str
    result: str = ""  # "killed", "timeout", "survived" or "equivalent"
    seconds: float = 0.0

    @property
    def key(self) -> tuple[object, ...]:
        """Names the fault."""
        return (self.module, self.source, self.line, self.column, self.before, self.after)

    def mutate(self, text: str) -> str:
        """The module with the fault in it."""
        data = text.encode()
        begin = len(b"".join(data.splitlines(keepends=True)[: self.line - 1])) + self.column
        before = self.before.encode()
        assert data[begin:].startswith(before), self
        return (data[:begin] + self.after.encode() + data[begin + len(before) :]).decode()


@dataclass(frozen=True)
class Equivalent:
    """A row of equivalent_mutants.csv: faults that no result shows."""

    module: str  # a glob, as "hsic/*.py"
    code: str  # a piece of a line; the fault begins inside
    before: str  # what the fault replaces; "" for all that begin there
    after: str  # by what; "" for anything
    reason: str

    def matches(self, mutant: Mutant, text: str) -> bool:
        """Whether the row is about the mutant of a module with this text."""
        if not (
            fnmatch(mutant.module, self.module)
            and self.before in ("", mutant.before)
            and self.after in ("", mutant.after)
        ):
            return False
        line = text.splitlines()[mutant.line - 1]
        column = len(line.encode()[: mutant.column].decode())
        places = (k for k in range(len(line)) if line.startswith(self.code, k))
        return any(k <= column < k + len(self.code) for k in places)


def read_equivalents(path: Path = EQUIVALENT) -> list[Equivalent]:
    """The faults that no result shows."""
    with path.open(newline="", encoding="utf-8") as file:
        return [Equivalent(**row) for row in csv.DictReader(file)]


def mutants(path: Path) -> list[Mutant]:
    """Every fault of a module, in its order; none in annotations, decorators and messages."""
    text = path.read_text("utf-8")
    module = path.relative_to(ROOT / "src" / "augury").as_posix()
    source = digest(text.encode())[:16]
    found = []
    for node in _code(ast.parse(text)):
        segment = ast.get_source_segment(text, node)
        if segment:
            found += [
                Mutant(module, source, node.lineno, node.col_offset, segment, after)
                for after in dict.fromkeys(_faults(text, node))
            ]
    return sorted(found, key=lambda mutant: (mutant.line, mutant.column, mutant.after))


def _code(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """The nodes that may be changed."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr | ast.Assert) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield child
            yield from _code(child)


def _faults(text: str, node: ast.AST) -> Iterator[str]:
    """What may stand in place of a node."""

    def source(part: ast.AST) -> str:
        return f"({ast.get_source_segment(text, part)})"

    match node:
        case ast.Compare(left=left, ops=operators, comparators=rights):
            parts = [source(part) for part in (left, *rights)]
            for k, operator in enumerate(operators):
                for other in COMPARISONS[type(operator)]:
                    signs = [SIGNS[type(one)] for one in operators]
                    signs[k] = other
                    pairs = zip(signs, parts[1:], strict=True)
                    yield f"({parts[0]} {' '.join(f'{sign} {part}' for sign, part in pairs)})"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
            yield f"({source(left)} {OPERATORS[type(operator)]} {source(right)})"
        case ast.AugAssign(target=target, op=operator, value=value) if type(operator) in OPERATORS:
            target_text = ast.get_source_segment(text, target)
            yield f"{target_text} {OPERATORS[type(operator)]}= {source(value)}"
        case ast.BoolOp(op=operator, values=values):
            other = " or " if isinstance(operator, ast.And) else " and "
            yield f"({other.join(map(source, values))})"
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield source(operand)
        case ast.Constant(value=bool() | int() | float() as value):
            yield from map(repr, _other_numbers(value))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield "return None"


def _other_numbers(value: float) -> list[float]:
    """What a number may be instead: its neighbours if it is whole, else twice and half of it."""
    if isinstance(value, bool):
        return [not value]
    return [value + 1, value - 1] if isinstance(value, int) or not value else [2 * value, value / 2]


def tests_of(module: str) -> Path:
    """The test file that mirrors a module, or the folder of its package's tests.

    Of hsic it is the folder: its engines are tested by what they come to in the estimators.
    """
    path = ROOT / "tests" / module
    mirror = path.with_name(f"test_{path.name}")
    return mirror if mirror.exists() and path.parent.name != "hsic" else path.parent


def preload(paths: Iterable[Path]) -> None:
    """Import the packages that some files import, once for all forked processes; not augury."""
    for node in (node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            top = name.partition(".")[0]
            if top != "augury" and not (ROOT / "tests" / f"{top}.py").exists():
                with suppress(ImportError):
                    importlib.import_module(name)


class _Recorder:
    """A plugin of pytest: how long each test takes, and which lines of a package it runs."""

    def __init__(self, package: Path) -> None:
        self.measured = coverage.Coverage(
            data_file=None, include=[f"{package}/*"], config_file=False
        )
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.measured.switch_context(item.nodeid)
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.monotonic() - began
            self.measured.switch_context("")

    def write(self, path: Path) -> None:
        """Write each test's seconds, the fastest first, and the tests that run each file's lines.

        Lines that are run at import have the test "".
        """
        self.measured.stop()
        data = self.measured.get_data()
        lines = {Path(name).name: data.contexts_by_lineno(name) for name in data.measured_files()}
        seconds = dict(sorted(self.seconds.items(), key=lambda item: item[1]))
        path.write_text(json.dumps({"seconds": seconds, "lines": lines}), "utf-8")


def run_tests(
    copy: Path, tests: Iterable[str | Path], limit: float, recorder: tuple[Path, Path] | None = None
) -> str:
    """What a copy of src comes to under some tests: "killed", "timeout" or "survived".

    In a forked process, which has pytest and the packages it needs loaded already. `recorder` is a
    module of the copy, and the file to write the tests of its lines to.
    """
    child = os.fork()
    if not child:
        code = 3
        try:
            os.setsid()
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            os.environ["PYTHONPATH"] = str(copy)
            sys.path.insert(0, str(copy))
            for name in [name for name in sys.modules if name.partition(".")[0] == "augury"]:
                del sys.modules[name]
            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={ROOT}"]
            plugin = _Recorder(recorder[0]) if recorder else None
            if plugin:
                plugin.measured.start()
            code = int(pytest.main([*options, *map(str, tests)], [plugin] if plugin else []))
            if plugin and recorder:
                plugin.write(recorder[1])
        finally:
            os._exit(code)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def read_rows(path: Path) -> dict[tuple[object, ...], Mutant]:
    """The mutants that an earlier run settled."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            Mutant(
                row["module"], row["source"], int(row["line"]), int(row["column"]), row["before"],
                row["after"], row["result"], float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip
    return {mutant.key: mutant for mutant in rows}


@dataclass(frozen=True)
class Coverage:
    """Which tests run which lines of a package's modules."""

    seconds: dict[str, float]  # of each test, the fastest first
    lines: dict[str, dict[str, list[str]]]  # of each module's name: the tests of each line

    @classmethod
    def measure(cls, copy: Path, package: Path, tests: Path) -> Coverage:
        """Run the tests before any fault is put in, which compiles what later runs load."""
        preload([*(ROOT / "tests" / package.name).rglob("*.py"), *package.rglob("*.py")])
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "coverage.json"
            if run_tests(copy, [tests], 900.0, (package, written)) != "survived":
                raise SystemExit(f"{tests} fails, or takes over 15 minutes, before any fault")
            return cls(**json.loads(written.read_text("utf-8")))

    def tests(self, mutant: Mutant, text: str) -> list[str]:
        """The tests that run a line of the fault's statement, the fastest first."""
        statements = [
            node.lineno
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.stmt) and node.lineno <= mutant.line <= (node.end_lineno or 0)
        ]
        lines = self.lines.get(Path(mutant.module).name, {})
        last = mutant.line + mutant.before.count("\n")
        names = set().union(
            *(lines.get(str(line), []) for line in range(max(statements), last + 1))
        )
        return [name for name in self.seconds if name in names or "" in names]


def settle(
    copy: Path, path: Path, open_: list[Mutant], covered: Coverage, known: dict, out: Path
) -> None:
    """Run the tests on mutants of a module, and write a row of each to `out`."""
    target, text = copy / path.relative_to(ROOT / "src"), path.read_text("utf-8")
    for mutant in open_:
        for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
            compiled.unlink()
        target.write_text(mutant.mutate(text), "utf-8")
        began = time.monotonic()
        tests = covered.tests(mutant, text)
        limit = PATIENCE * sum(covered.seconds[name] for name in tests) + LEAST_SECONDS
        result = run_tests(copy, tests, limit) if tests else "survived"
        seconds = round(time.monotonic() - began, 2)
        known[mutant.key] = replace(mutant, result=result, seconds=seconds)
        write_csv(out, [field.name for field in fields(Mutant)], map(astuple, known.values()))
        print(f"{result:>8} {mutant.module}:{mutant.line} in {seconds:.1f} s", flush=True)
    target.write_text(text, "utf-8")


def diff(path: Path, mutant: Mutant) -> str:
    """A mutant's fault as a diff."""
    text = path.read_text("utf-8")
    before, after = text.splitlines(), mutant.mutate(text).splitlines()
    lines = difflib.unified_diff(before, after, mutant.module, mutant.result, n=1, lineterm="")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("modules", nargs="*", default=MODULES, help="globs below src/augury")
    parser.add_argument("--sample", type=int, default=0, help="mutants a module; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--out", type=Path, default=Path("mutants.csv"))
    parser.add_argument("--again", action="store_true", help="try survivors anew")
    parser.add_argument("--check", action="store_true", help="run those listed as equivalent, too")
    given = parser.parse_args()
    paths = sorted({p for glob in given.modules for p in (ROOT / "src" / "augury").glob(glob)})
    known, listed = read_rows(given.out), read_equivalents()
    table, reports = [], []
    covered: dict[Path, Coverage] = {}
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy)
        for path in paths:
            chosen, text = mutants(path), path.read_text("utf-8")
            if not chosen:
                continue
            if 0 < given.sample < len(chosen):
                chosen = random.Random(given.seed).sample(chosen, given.sample)
            equivalent = {
                mutant.key for mutant in chosen if any(row.matches(mutant, text) for row in listed)
            }
            open_ = [
                mutant
                for mutant in chosen
                if (given.check or mutant.key not in equivalent)
                and (
                    mutant.key not in known
                    or (given.again and known[mutant.key].result == "survived")
                )
            ]
            tests = tests_of(chosen[0].module)
            if open_ and tests not in covered:
                package = copy / path.parent.relative_to(ROOT / "src")
                covered[tests] = Coverage.measure(copy, package, tests)
            if open_:
                settle(copy, path, open_, covered[tests], known, given.out)
            results = [known.get(mutant.key, mutant) for mutant in chosen]
            reports += [
                "listed as equivalent, but killed:\n" + diff(path, mutant)
                for mutant in results
                if mutant.key in equivalent and mutant.result in ("killed", "timeout")
            ]
            results = [
                replace(mutant, result="equivalent") if mutant.key in equivalent else mutant
                for mutant in results
            ]
            reports += [diff(path, mutant) for mutant in results if mutant.result == "survived"]
            counts = [
                sum(mutant.result in names for mutant in results)
                for names in (("killed", "timeout"), ("survived",), ("equivalent",))
            ]
            table.append((chosen[0].module, len(results), *counts))
    print(*reports, sep="\n\n")
    if given.check:
        print(*unmatched(listed), sep="\n")
    print("\n| module | mutants | killed | survived | equivalent | killed of the others |")
    print("|---|---|---|---|---|---|")
    table.append(("all", *(sum(row[k] for row in table) for k in (1, 2, 3, 4))))
    for module, count, killed, survived, alike in table:
        share = killed / max(killed + survived, 1)
        print(f"| {module} | {count} | {killed} | {survived} | {alike} | {share:.0%} |")


def unmatched(listed: Iterable[Equivalent]) -> list[str]:
    """The rows of equivalent_mutants.csv that are about no fault of any module."""
    open_ = list(listed)
    for path in sorted({p for glob in MODULES for p in (ROOT / "src" / "augury").glob(glob)}):
        text = path.read_text("utf-8")
        for mutant in mutants(path):
            open_ = [row for row in open_ if not row.matches(mutant, text)]
    return [f"matches no fault: {row}" for row in open_]


if __name__ == "__main__":
    main()
