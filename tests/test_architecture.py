"""The shape of the house: imports run one way, names stand once, and nothing grows too long.

`python tests/test_architecture.py [PACKAGE]` prints what breaks a rule, of one package or of all.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "augury"

#: The tree of packages, top to bottom: whatever stands in a row imports only from rows below it.
LAYERS = [
    ["__main__"],
    ["cli"],
    [""],  # augury/__init__.py, the public names
    ["validation"],
    ["downstream"],
    ["pretraining"],
    ["ranking"],
    ["extraction"],
    ["pseudolabels"],
    ["hsic"],
    ["learning"],
    ["corpus"],
    ["compute"],
    ["audio"],
    ["report"],
    ["tables"],
    ["store", "embeddings", "settings", "provenance"],
    ["reporter"],
    ["errors"],
]
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60  # lines
#: Longer than that, each for a reason.
LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "downstream.evaluate.evaluate": "the public entry point: its length is its docstring",
    "ranking.rank.rank": "the public entry point: what each argument is, and what can go wrong",
    "ranking.weights.learn_weights": "the objective, its arguments and outcome are explained",
}

PARTICIPLES = {
    "begun", "beaten", "broken", "brought", "built", "chosen", "cut", "done", "drawn",
    "driven", "fed", "forgotten", "found", "given", "gone", "heard", "held", "hidden", "kept",
    "known", "left", "lost", "made", "met", "said", "seen", "shown", "sought", "spent",
    "spoken", "taken", "taught", "thought", "told", "torn", "understood", "won", "worn",
    "written",
}  # fmt: skip
#: Verbs that end like a participle, and nouns.
NO_PARTICIPLES = {"embed", "exceed", "feed", "need", "proceed", "seed", "speed", "cut"}
#: Functions that are named so on purpose.
NAMED_SO = {"released": "the estimator of that name", "__setitem__": "Python's"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name within it; "" is the package itself."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[re.sub(r"\.?__init__$", "", name)] = ast.parse(path.read_text("utf-8"))
    return found


def path_of(name: str) -> Path:
    """The file of a module."""
    path = SOURCE / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """What each module imports of the package: at its top, lazily, or for types alone."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in targets:
                if target == "augury" or target.startswith("augury."):
                    inside = target.removeprefix("augury").removeprefix(".")
                    found[name].add(inside if inside in trees else inside.rpartition(".")[0])
    return found


def layer(name: str) -> int:
    """The row of a module's package, counted from the top."""
    package = name.partition(".")[0]
    (row,) = [k for k, row in enumerate(LAYERS) if package in row]
    return row


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports that do not run down the tree."""
    return [
        f"{name or 'augury'} imports {target or 'augury'}"
        for name, targets in sorted(graph.items())
        for target in sorted(targets)
        if name.partition(".")[0] != target.partition(".")[0] and layer(target) <= layer(name)
    ]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that can be reached from themselves."""
    found = []
    for name in sorted(graph):
        seen: set[str] = set()
        waiting = list(graph[name])
        while waiting:
            target = waiting.pop()
            if target not in seen:
                seen.add(target)
                waiting += graph.get(target, ())
        if name in seen:
            found.append(name)
    return found


def repeated_classes(trees: dict[str, ast.Module]) -> list[str]:
    """Class names that stand in more than one place; a leading underscore makes no other name."""
    places = defaultdict(list)
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(name)
    return [f"{name}: {', '.join(where)}" for name, where in sorted(places.items()) if where[1:]]


def long_modules(trees: dict[str, ast.Module]) -> list[str]:
    """Modules of more lines than are read at a sitting."""
    counts = {name: len(path_of(name).read_text("utf-8").splitlines()) for name in trees}
    return [
        f"{name}: {count} lines"
        for name, count in counts.items()
        if count > LONGEST_MODULE and name not in LONG_MODULES
    ]


def functions(trees: dict[str, ast.Module]) -> list[tuple[str, ast.FunctionDef]]:
    """Every function and method, with its module."""
    return [
        (name, node)
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]


def long_functions(trees: dict[str, ast.Module]) -> list[str]:
    """Functions of more lines than a screen, their docstrings included."""
    return [
        f"{name}.{node.name}: {length} lines"
        for name, node in functions(trees)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
        and f"{name}.{node.name}" not in LONG_FUNCTIONS
    ]


def participles(trees: dict[str, ast.Module]) -> list[str]:
    """Functions named by a past participle rather than by a verb or by what they return."""
    found = []
    for name, node in functions(trees):
        last = node.name.strip("_").split("_")[-1]
        ending = last.endswith("ed") and last not in NO_PARTICIPLES
        if (ending or last in PARTICIPLES) and node.name not in NAMED_SO:
            found.append(f"{name}.{node.name}")
    return found


def module_map(trees: dict[str, ast.Module]) -> str:
    """A line for each module, of its file and the first line of its docstring, top to bottom."""
    lines: list[str] = []
    names = [name for name in trees if not path_of(name).name.startswith("__")]
    for name in sorted(names, key=lambda name: (layer(name), name)):
        first = (ast.get_docstring(trees[name]) or "").split("\n")[0]
        lines.append(f"- `{path_of(name).relative_to(SOURCE).as_posix()}`: {first}")
    return "\n".join(lines)


def test_the_map_of_contributing_is_that_of_the_modules():
    """`python tests/test_architecture.py --map` prints it."""
    text = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    assert module_map(modules()) in text


def test_imports_run_one_way():
    assert upward(imports(modules())) == []


def test_there_is_no_circle_of_imports():
    assert circles(imports(modules())) == []


def test_a_class_name_stands_once():
    assert repeated_classes(modules()) == []


def test_no_module_and_no_function_is_too_long():
    trees = modules()
    assert long_modules(trees) == []
    assert long_functions(trees) == []


def test_exceptions_are_still_needed():
    trees = modules()
    lengths = {
        f"{name}.{n.name}": (n.end_lineno or 0) - n.lineno + 1 for name, n in functions(trees)
    }
    assert all(lengths.get(name, 0) > LONGEST_FUNCTION for name in LONG_FUNCTIONS)
    for name in LONG_MODULES:
        assert len(path_of(name).read_text("utf-8").splitlines()) > LONGEST_MODULE


def test_functions_are_named_by_verbs_or_nouns():
    assert participles(modules()) == []


def test_the_rules_find_what_breaks_them():
    trees = {
        "": ast.parse(""),
        "store": ast.parse("from augury.hsic import kernels\nclass A: ..."),
        "hsic": ast.parse(""),
        "hsic.kernels": ast.parse("def centred():\n    from augury import store\nclass _A: ..."),
    }
    graph = imports(trees)
    assert upward(graph) == ["store imports hsic.kernels"]
    assert circles(graph) == ["hsic.kernels", "store"]
    assert repeated_classes(trees) == ["A: store, hsic.kernels"]
    assert participles(trees) == ["hsic.kernels.centred"]
    trees["store"] = ast.parse("def long():\n" + "    x = 1\n" * 60)
    assert long_functions(trees) == ["store.long: 61 lines"]


def main(package: str = "") -> None:
    """Print what breaks a rule, and how much of it there is."""
    trees = modules()
    graph = imports(trees)
    found = {
        "imports that run up": upward(graph),
        "modules in a circle": circles(graph),
        "class names that stand twice": repeated_classes(trees),
        "modules over 400 lines": long_modules(trees),
        "functions over 60 lines": long_functions(trees),
        "participles": participles(trees),
    }
    for rule, broken in found.items():
        mine = [line for line in broken if package in line]
        print(f"{rule}: {len(mine)}")
        for line in mine:
            print(f"  {line}")
    pyproject = (SOURCE.parents[1] / "pyproject.toml").read_text("utf-8")
    strict = tomllib.loads(pyproject)["tool"]["basedpyright"].get("strict", [])
    places = [path_of(name).relative_to(SOURCE.parents[1]).as_posix() for name in trees]
    count = sum(place.startswith(tuple(strict)) for place in places)
    print(f"strictly typed modules: {count} of {len(trees)}")


def test_every_package_imported_is_declared():
    """One that another package happens to bring goes missing with its next version."""
    declared = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    wanted = [
        *declared["dependencies"],
        *(r for name in ("opensmile", "cluster", "train") for r in extras[name]),
    ]
    names = {re.split(r"[<>=]", requirement)[0].replace("-", "_") for requirement in wanted}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            packages = {module.partition(".")[0] for module in modules}
            packages = {{"yaml": "pyyaml"}.get(package, package) for package in packages}
            assert packages <= names | {"augury"} | set(sys.stdlib_module_names), path


if __name__ == "__main__":
    if "--map" in sys.argv:
        print(module_map(modules()))
    else:
        main(*sys.argv[1:2])
