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
    result: str = ""  # "killed", "timeout" or "survived"
    seconds: float = 0.0

    @property
    def key(self) -> tuple[object, ...]:
        """Names the fault."""
        return (self.module, self.source, self.line, self.column, self.before, self.after)

    def tests(self, tests_of_line: dict[str, list[str]], text: str) -> list[str]:
        """The tests that run a line of the fault's statement, the fastest first."""
        statements = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.stmt) and node.lineno <= self.line <= (node.end_lineno or 0)
        ]
        first = max((node.lineno for node in statements), default=self.line)
        last = self.line + self.before.count("\n")
        of_lines = [tests_of_line.get(str(line), []) for line in range(first, last + 1)]
        return max(of_lines, key=len)

    def mutate(self, text: str) -> str:
        """The module with the fault in it."""
        data = text.encode()
        begin = len(b"".join(data.splitlines(keepends=True)[: self.line - 1])) + self.column
        before = self.before.encode()
        assert data[begin:].startswith(before), self
        return (data[:begin] + self.after.encode() + data[begin + len(before) :]).decode()


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
    """The test file that mirrors a module, or the folder of its package's tests."""
    path = ROOT / "tests" / module
    mirror = path.with_name(f"test_{path.name}")
    return mirror if mirror.exists() else path.parent


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
    """A plugin of pytest: how long each test takes, and which lines of a module it runs."""

    def __init__(self, target: Path) -> None:
        self.measured = coverage.Coverage(data_file=None, include=[str(target)], config_file=False)
        self.target, self.seconds = str(target), {}

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
        """Write for each line its tests, the fastest first; of lines run at import, all tests."""
        self.measured.stop()
        every = sorted(self.seconds, key=self.seconds.__getitem__)
        lines = self.measured.get_data().contexts_by_lineno(self.target)
        tests = {
            line: every if "" in names else [name for name in every if name in names]
            for line, names in lines.items()
        }
        path.write_text(json.dumps(tests), "utf-8")


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


def settle(path: Path, chosen: list[Mutant], known: dict, out: Path, *, again: bool) -> None:
    """Run the tests on each mutant of a module that is not settled yet, and write its row."""
    open_ = [
        mutant
        for mutant in chosen
        if mutant.key not in known or (again and known[mutant.key].result == "survived")
    ]
    if not open_:
        return
    tests = tests_of(chosen[0].module)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy)
        target = copy / path.relative_to(ROOT / "src")
        preload([*tests.parent.rglob("*.py"), *path.parent.rglob("*.py")])
        began = time.monotonic()
        lines = Path(folder) / "lines.json"
        # This run compiles what the others load; of a mutant nothing is kept.
        if run_tests(copy, [tests], 900.0, (target, lines)) != "survived":
            raise SystemExit(f"{tests} fails, or takes over 15 minutes, before any fault")
        tests_of_line = json.loads(lines.read_text("utf-8"))
        limit = PATIENCE * (time.monotonic() - began) + LEAST_SECONDS
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        text = path.read_text("utf-8")
        for mutant in open_:
            for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
                compiled.unlink()
            target.write_text(mutant.mutate(text), "utf-8")
            began = time.monotonic()
            of_line = mutant.tests(tests_of_line, text)
            result = run_tests(copy, of_line, limit) if of_line else "survived"
            seconds = round(time.monotonic() - began, 2)
            known[mutant.key] = replace(mutant, result=result, seconds=seconds)
            header = [field.name for field in fields(Mutant)]
            write_csv(out, header, (astuple(row) for row in known.values()))
            print(f"{result:>8} {mutant.module}:{mutant.line} in {seconds:.1f} s", flush=True)
        del os.environ["PYTHONDONTWRITEBYTECODE"]
        sys.dont_write_bytecode = False


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
    given = parser.parse_args()
    paths = sorted({p for glob in given.modules for p in (ROOT / "src" / "augury").glob(glob)})
    known = read_rows(given.out)
    table, survivors = [], []
    for path in paths:
        chosen = mutants(path)
        if not chosen:
            continue
        if 0 < given.sample < len(chosen):
            chosen = random.Random(given.seed).sample(chosen, given.sample)
        settle(path, chosen, known, given.out, again=given.again)
        results = [known[mutant.key] for mutant in chosen]
        alive = [mutant for mutant in results if mutant.result == "survived"]
        survivors += [diff(path, mutant) for mutant in alive]
        table.append((chosen[0].module, len(results), len(results) - len(alive)))
    print(*survivors, sep="\n\n")
    print("\n| module | mutants | killed | survived | share |\n|---|---|---|---|---|")
    table.append(("all", *(sum(row[k] for row in table) for k in (1, 2))))
    for module, count, killed in table:
        share = killed / max(count, 1)
        print(f"| {module} | {count} | {killed} | {count - killed} | {share:.0%} |")


if __name__ == "__main__":
    main()
