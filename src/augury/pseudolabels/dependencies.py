"""What a user's function depends on: its file, modules of the user's that it imports, and files.

Modules are followed by their source, without importing any, as far as they are the user's: found on
the path of imports, but neither installed (site-packages) nor Python's or Augury's own.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from augury.errors import InputError, explain_os_errors
from augury.store import digest, key, source_version

#: The attribute, of a function or its module, that lists files which its values depend on.
ATTRIBUTE = "depends_on"


def version_of(function: Callable[..., Any], module: str, name: str) -> str:
    """A digest of all that a function depends on; of its own file alone where that is all.

    Args:
        module: where it was looked up.
        name: of the candidate, for messages.

    Raises:
        InputError: a file that it declares does not exist, or the list is none.
    """
    own = source_version(function, module)
    file = getattr(sys.modules.get(module), "__file__", None)
    modules = imported_modules(Path(file), module) if file and not _is_ours(module) else {}
    files = declared_files(function, module, name)
    if not modules and not files:
        return own
    digests = [(other, digest(path.read_bytes())) for other, path in sorted(modules.items())]
    return key(own, digests, sorted(files.items()))[:16]


def imported_modules(file: Path, module: str) -> dict[str, Path]:
    """The user's modules that a module imports, directly or through others, with their files.

    The module itself is not among them.
    """
    found: dict[str, Path] = {}
    waiting = [(module, file)]
    while waiting:
        importer, path = waiting.pop()
        for name in _imports(path, importer, path.stat().st_mtime_ns):
            if name in found or name == module:
                continue
            if (source := _find_source(name)) and source != file:
                found[name] = source
                waiting.append((name, source))
    return found


def declared_files(function: Callable[..., Any], module: str, name: str) -> dict[str, str]:
    """The files in `depends_on` of a function and its module, with digests of their content.

    Relative paths begin in the current folder, or else in the module's.
    """
    listed: list[str] = []
    for owner in (sys.modules.get(module), function):
        value: Any = getattr(owner, ATTRIBUTE, ())
        if isinstance(value, (str, bytes, Path)) or not isinstance(value, Sequence):
            raise InputError(f"{name}: {ATTRIBUTE} is {value!r}, but must be a list of files")
        listed += [str(item) for item in cast(Sequence[Any], value)]
    beside = Path(getattr(sys.modules.get(module), "__file__", None) or ".").parent
    digests: dict[str, str] = {}
    for item in listed:
        path = Path(item) if Path(item).exists() else beside / item
        if not path.is_file():
            raise InputError(
                f"{name}: {ATTRIBUTE} names {item}, but there is no such file, here or in {beside}"
            )
        with explain_os_errors(path):
            digests[item] = digest(path.read_bytes())
    return digests


@lru_cache(maxsize=4096)
def _imports(path: Path, module: str, changed: int) -> tuple[str, ...]:
    """Full names of all that a file imports, and of the packages around them.

    Parsed once for each `changed`, the time of the file's last change.
    """
    is_package = path.name == "__init__.py"
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return ()  # it can't be imported either; where it is, that is told
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        for name in _names_in(node, module, is_package):
            parts = name.split(".")
            names |= dict.fromkeys(".".join(parts[: k + 1]) for k in range(len(parts)))
    return tuple(names)


def _names_in(node: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Names that may be modules in a statement that imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = module.split(".") if is_package else module.split(".")[:-1]
        around = parts[: len(parts) - node.level + 1] if node.level else []
        base = ".".join([*around, *([node.module] if node.module else [])])
        if base:
            yield base
        yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _find_source(module: str) -> Path | None:
    """The source of a module of the user's; None for others, and for names that are no modules."""
    if _is_ours(module) or module.partition(".")[0] in sys.stdlib_module_names:
        return None
    relative = Path(*module.split("."))
    for entry in sys.path:
        for place in (relative / "__init__.py", relative.with_suffix(".py")):
            source = Path(entry or ".") / place
            if source.is_file():
                return None if _from_package(source) else source.resolve()
    return None


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "augury"


def _from_package(source: Path) -> bool:
    """Whether a file was installed: pip's and Python's, not the user's own."""
    if {"site-packages", "dist-packages"} & set(source.parts):
        return True
    paths = sysconfig.get_paths()
    return any(source.resolve().is_relative_to(paths[name]) for name in ("stdlib", "platstdlib"))
