"""openSMILE's stock component graphs, pruned to the requested columns.

openSMILE's licence forbids shipping its configuration files, so none of them is part of Augury: the
user's installed copy is read at run time, the components between the requested columns and the
waveform are kept, and a new configuration is written. Feature sets share equal components.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from augury.errors import InputError

_READERS = ("reader.dmLevel", "reader2.dmLevel", "F0reader.dmLevel")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r"^\\\{(?:\\cm\[(\w+)(?:\{([^}]*)\})?[^\]]*\]|([^}]*))\}")
_INSTANCE = re.compile(r"^instance\[(\w+)\]\.type\s*=\s*(\w+)")


@dataclass(frozen=True)
class Component:
    """One openSMILE component: it reads some levels of the data memory and writes one."""

    type: str
    settings: tuple[tuple[str, str], ...]

    @property
    def reads(self) -> list[str]:
        """The levels it reads, in order."""
        return [level for key, value in self.settings if key in _READERS for level in _split(value)]

    def get(self, key: str) -> str:
        """A setting's value; empty where it is not set."""
        return dict(self.settings).get(key, "")

    def replacing(self, **changes: str) -> Component:
        """The same component with some settings changed (`.` is written `__`)."""
        new = {key.replace("__", "."): value for key, value in changes.items()}
        return Component(self.type, tuple((k, new.get(k, v)) for k, v in self.settings))


Graph = dict[str, Component]  # the level written → the component that writes it


def read_graph(config: Path) -> Graph:
    """The component graph of an openSMILE configuration file, includes followed."""
    types: dict[str, str] = {}
    settings: dict[str, list[tuple[str, str]]] = {}
    section = ""
    defaults: dict[str, str] = {}
    for line in _lines(config, defaults):
        if line.startswith("["):
            section = line[1:].split(":", 1)[0].strip()
            settings.setdefault(section, [])
        elif instance := _INSTANCE.match(line):
            types[instance[1]] = instance[2]
        elif "=" in line:
            key, value = (part.strip() for part in line.split("=", 1))
            settings[section].append((key, value))
    graph: Graph = {}
    for name, kind in types.items():
        component = Component(kind, tuple(dict(settings.get(name, [])).items()))
        if level := component.get("writer.dmLevel"):
            graph[level] = component
    return graph


def _lines(config: Path, defaults: dict[str, str]) -> Iterable[str]:
    text = _COMMENT.sub("", config.read_text(encoding="latin-1"))
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith((";", "//", "%", "#")):
            continue
        if include := _INCLUDE.match(line):
            option, default, plain = include.groups()
            if option and default:
                defaults[option] = default
            target = plain or (defaults.get(option) if option else None)
            # The source and the sink ({?}) are replaced; functionals are never requested.
            if target and target != "?" and ".func." not in target:
                yield from _lines(config.parent / target, defaults)
        else:
            yield line.split(" ;")[0].split("//")[0].strip()


def window_seconds(graph: Graph, level: str) -> float:
    """The longest analysis window, in seconds, between the waveform and a level."""
    component = graph.get(level)
    if component is None:
        return 0.0
    own = float(component.get("frameSize") or 0) if component.type == "cFramer" else 0.0
    return max([own, *(window_seconds(graph, read) for read in component.reads)])


def subgraph(
    graph: Graph, columns: list[str], fields: Callable[[str], list[str]]
) -> tuple[Graph, dict[str, tuple[str, float]]]:
    """The part of a stock graph that computes `columns`, and the level of each of them.

    Args:
        graph: a stock graph whose level `lld` joins all low-level descriptors.
        columns: names of elements of `lld`.
        fields: level → its element names, as openSMILE reports them.

    Returns:
        The pruned graph, and for each column its level and the analysis window (seconds) of its
        frames.
    """
    kept: Graph = {}
    places: dict[str, tuple[str, float]] = {}
    for final in graph["lld"].reads:
        carried = [column for column in columns if column in fields(final)]
        if not carried:
            continue
        smoother = graph[final]
        kept[final] = _prune_smoother(graph, smoother, carried, fields, kept)
        for column in carried:
            source = _source(smoother, column, fields)
            places[column] = (final, window_seconds(graph, source))
    pending = [level for component in kept.values() for level in component.reads]
    while pending:
        level = pending.pop()
        if level in graph and level not in kept:
            kept[level] = graph[level]
            pending += graph[level].reads
    return kept, places


def _prune_smoother(
    graph: Graph,
    smoother: Component,
    columns: list[str],
    fields: Callable[[str], list[str]],
    kept: Graph,
) -> Component:
    """The smoother with only the readers that carry the columns."""
    reads = _required_readers(graph, smoother, {_source(smoother, c, fields) for c in columns})
    for level in reads:
        if graph[level].type == "cDataSelector":
            kept[level] = _prune_selector(graph, graph[level], columns, fields)
    return smoother.replacing(reader__dmLevel=";".join(reads))


def _prune_selector(
    graph: Graph, selector: Component, columns: list[str], fields: Callable[[str], list[str]]
) -> Component:
    old, new = _split(selector.get("selected")), _split(selector.get("newNames"))
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if any(_is(c, b) for c in columns)]
    carrying = {r for r in selector.reads if any(a in fields(r) for a, _ in pairs)}
    return selector.replacing(
        reader__dmLevel=";".join(_required_readers(graph, selector, carrying)),
        selected=";".join(a for a, _ in pairs),
        newNames=";".join(b for _, b in pairs),
    )


def _required_readers(graph: Graph, component: Component, carrying: set[str]) -> list[str]:
    """The readers that carry the columns, and those that determine the last frame.

    A component ends with the shortest of its readers. Without a reader of the longest window, or
    without the jitter component, which ends earlier than its window, it would have more frames than
    in the stock graph, and different last values.
    """
    carrying = carrying | {r for r in component.reads if graph[r].type == "cPitchJitter"}
    longest = max(window_seconds(graph, level) for level in component.reads)
    if all(window_seconds(graph, level) < longest for level in carrying):
        ends = [r for r in component.reads if window_seconds(graph, r) == longest]
        carrying = carrying | {min(ends, key=lambda level: len(_ancestors(graph, level)))}
    return [level for level in component.reads if level in carrying]


def _source(smoother: Component, column: str, fields: Callable[[str], list[str]]) -> str:
    """The reader of a smoother with the element that becomes `column` when smoothed."""
    for level in smoother.reads:
        if any(_is(column, name) for name in fields(level)):
            return level
    raise InputError(f"{column}: no level of openSMILE's graph carries it")


def _is(column: str, name: str) -> bool:
    """Whether a smoothed column comes from the element `name` (index kept: `mfcc_sma[3]`)."""
    base, bracket, index = name.partition("[")
    return (
        re.fullmatch(rf"{re.escape(base)}_sma\d*(nz)?{re.escape(bracket + index)}", column)
        is not None
    )


def _ancestors(graph: Graph, level: str) -> set[str]:
    component = graph.get(level)
    if component is None:
        return set()
    return {level}.union(*(_ancestors(graph, read) for read in component.reads))


def merge(graphs: list[Graph]) -> tuple[Graph, list[dict[str, str]]]:
    """One graph from several, in which equal components are run once.

    Returns:
        The graph, with renamed levels, and for each input graph its old level names → new ones.
    """
    merged: Graph = {}
    known: dict[Component, str] = {}
    names: list[dict[str, str]] = []
    for graph in graphs:
        renamed = {"wave": "wave"}
        for level in _in_order(graph):
            component = graph[level]
            changes = {
                key: ";".join(renamed[read] for read in _split(value))
                for key, value in component.settings
                if key in _READERS
            }
            changes["writer.dmLevel"] = ""
            settings = tuple((k, changes.get(k, v)) for k, v in component.settings)
            identity = Component(component.type, tuple(sorted(settings)))
            if identity not in known:
                known[identity] = f"level{len(known)}"
                changes["writer.dmLevel"] = known[identity]
                merged[known[identity]] = Component(
                    component.type, tuple((k, changes.get(k, v)) for k, v in component.settings)
                )
            renamed[level] = known[identity]
        names.append(renamed)
    return merged, names


def _in_order(graph: Graph) -> list[str]:
    """Levels in topological order: each after those it reads."""
    ordered: list[str] = []

    def visit(level: str) -> None:
        if level in graph and level not in ordered:
            for read in graph[level].reads:
                visit(read)
            ordered.append(level)

    for level in graph:
        visit(level)
    return ordered


def config_text(graph: Graph, final: list[str]) -> str:
    """The graph as openSMILE configuration text, from an external source to the `final` levels."""
    joined = Component(
        "cVectorConcat",
        (
            ("reader.dmLevel", ";".join(final)),
            ("writer.dmLevel", "augury"),
            ("includeSingleElementFields", "1"),
            ("processArrayFields", "0"),
        ),
    )
    source = Component(
        "cExternalAudioSource",
        (
            ("writer.dmLevel", "wave"),
            ("writer.levelconf.growDyn", "1"),
            ("writer.levelconf.isRb", "0"),
            ("sampleRate", "16000"),
            ("nBits", "16"),
            ("channels", "1"),
        ),
    )
    sink = Component("cExternalSink", (("reader.dmLevel", "augury"), ("blocksize", "1")))
    parts = {
        "dataMemory": Component("cDataMemory", ()),
        "source": source,
        **{f"c_{level}": graph[level] for level in _in_order(graph)},
        "joined": joined,
        "sink": sink,
    }
    lines = ["[componentInstances:cComponentManager]"]
    lines += [f"instance[{name}].type={part.type}" for name, part in parts.items()]
    for name, part in parts.items():
        lines.append(f"[{name}:{part.type}]")
        lines += [f"{key}={value}" for key, value in part.settings]
    return "\n".join(lines) + "\n"


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(";") if part.strip()]
