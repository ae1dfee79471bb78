# openSMILE has no types:
# pyright: reportMissingTypeStubs=false
"""openSMILE's low-level descriptors: only the requested ones, over whole recordings.

openSMILE is free for research and private use only, and so are features computed with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.errors import InputError, MissingPackage, did_you_mean
from augury.pseudolabels import smile_graph, smile_timing

LICENCE = (
    "openSMILE is free for research and private use only, and so are features computed with it; "
    "candidates named own:… have no such limit."
)
RATE = 16000
HOP = 0.010  # seconds between frames
SHORTEST = 0.060  # seconds; a shorter recording has no frames

SETS = {
    "GeMAPSv01b": "gemaps/v01b/GeMAPSv01b.conf",
    "eGeMAPSv02": "egemaps/v02/eGeMAPSv02.conf",
    "ComParE_2016": "compare/ComParE_2016.conf",
}


@dataclass(frozen=True)
class Extractor:
    """An openSMILE configuration for some columns. Small, as it is sent to workers."""

    config: str  # configuration text
    columns: tuple[str, ...]  # "SET:COLUMN"
    elements: tuple[int, ...]  # each column's index in the output
    windows: tuple[float, ...]  # each column's analysis window, in seconds

    @cached_property
    def centres(self) -> tuple[float, ...]:
        """Seconds from the recording's start to what each column's frame 0 describes."""
        # Frames of 60 ms are centred 30 ms after their start and frames of 20 ms 10 ms, but both
        # are numbered alike: the centre of frame 0 follows from the column's window.
        names = [column.split(":", 1)[1] for column in self.columns]
        pairs = zip(names, self.windows, strict=True)
        return tuple(window / 2 + smile_timing.offset(name) for name, window in pairs)


def extractor(columns: Sequence[tuple[str, str]]) -> Extractor:
    """An extractor of columns, each (feature set, column name); InputError for an unknown one."""
    graphs: list[smile_graph.Graph] = []
    places: list[tuple[str, dict[str, tuple[str, float]]]] = []
    for feature_set in dict.fromkeys(feature_set for feature_set, _ in columns):
        graph = smile_graph.read_graph(_config_path(feature_set))
        own_columns = [column for owner, column in columns if owner == feature_set]
        for column in own_columns:
            if column not in descriptor_names(feature_set):
                raise InputError(_unknown_column(feature_set, column))
        kept, found = smile_graph.subgraph(
            graph, own_columns, lambda level, s=feature_set: list(_fields(s, level))
        )
        graphs.append(kept)
        places.append((feature_set, found))
    merged, renamed = smile_graph.merge(graphs)
    levels: dict[tuple[str, str], tuple[str, float]] = {
        (feature_set, column): (new[level], window)
        for (feature_set, found), new in zip(places, renamed, strict=True)
        for column, (level, window) in found.items()
    }
    final = list(dict.fromkeys(level for level, _ in levels.values()))
    config = smile_graph.config_text(merged, final)
    # Two feature sets can have elements of the same name: look names up level by level.
    offsets = 0
    elements: dict[tuple[str, str], int] = {}
    for level in final:
        inside = _config_fields(smile_graph.config_text(merged, [level]))
        for column, (place, _) in levels.items():
            if place == level:
                elements[column] = offsets + inside.index(column[1])
        offsets += len(inside)
    return Extractor(
        config,
        tuple(":".join(column) for column in columns),
        tuple(elements[column] for column in columns),
        tuple(levels[column][1] for column in columns),
    )


@cache
def version() -> str:
    """The version of the installed openSMILE, read without importing it."""
    return metadata.version("opensmile")


def descriptor_names(feature_set: str) -> tuple[str, ...]:
    """The low-level descriptors of a feature set."""
    return _fields(feature_set, "lld")


def extract(plan: Extractor, signal: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
    """Each column over a whole recording.

    Args:
        plan: from `extractor`.
        signal: (samples,) at 16 kHz, full scale ±1.

    Returns:
        Column → (frames,) float32, every 10 ms; bit-identical to the stock configuration. No
        frames if the recording is shorter than 60 ms.
    """
    # In the stock configuration every column ends one smoothed frame after the last whole 60 ms
    # window; columns of 20 ms windows alone would have more frames.
    spare = len(signal) - round(SHORTEST * RATE)
    if spare < 0:
        return {column: np.empty(0, np.float32) for column in plan.columns}
    frames = 2 + spare // round(HOP * RATE)
    # +1.0 would wrap to −32768 in 16 bits and double the zero-crossing rate.
    clipped = np.clip(signal, -1.0, 32767 / 32768)
    samples = (clipped * np.float32(32768)).astype(np.int16)
    rows: list[NDArray[np.float32]] = []
    smile = _cached_instance(plan.config)

    def keep(row: NDArray[np.float32]) -> None:
        rows.append(row.copy())

    smile.external_sink_set_callback("sink", keep)
    if not smile.external_audio_source_write_data("source", samples.tobytes()):
        raise RuntimeError("openSMILE refused the audio")
    smile.external_audio_source_set_eoi("source")
    smile.run()
    smile.reset()
    smile._callbacks.clear()  # else each recording's values stay in memory
    if len(rows) < frames:
        raise RuntimeError(f"openSMILE gave {len(rows)} frames where {frames} were expected")
    values = np.stack(rows[:frames])
    return {c: values[:, e].copy() for c, e in zip(plan.columns, plan.elements, strict=True)}


@cache
def _cached_instance(config: str) -> Any:
    """An initialised openSMILE, cached: initialisation takes as long as a short file."""
    return _start(config, {})


def _start(config: str | Path, options: dict[str, object]) -> Any:
    lib = _package().core.lib
    smile = lib.OpenSMILE()
    if isinstance(config, Path):
        smile.initialize(str(config), options, loglevel=0)
        return smile
    with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="ascii") as file:
        file.write(config)
        file.flush()
        smile.initialize(file.name, options, loglevel=0)
    return smile


@cache
def _fields(feature_set: str, level: str) -> tuple[str, ...]:
    """The element names of a level of a stock configuration, as openSMILE reports them."""
    shared = _config_path(feature_set).parents[0]
    while not (shared / "shared").is_dir():
        shared = shared.parent
    shared = shared / "shared"
    options: dict[str, object] = {
        "source": shared / "standard_external_wave_input.conf.inc",
        "sampleRate": RATE,
        "nBits": 16,
        "sink": shared / "standard_external_data_output_single.conf.inc",
        "sinkLevel": level,
        "bufferModeRbConf": shared / "BufferModeRb.conf.inc",
        "frameModeFunctionalsConf": shared / "FrameModeFunctionals.conf.inc",
    }
    return _elements(_start(_config_path(feature_set), options), "extsink")


def _config_fields(config: str) -> tuple[str, ...]:
    return _elements(_start(config, {}), "sink")


def _elements(smile: Any, sink: str) -> tuple[str, ...]:
    count = smile.external_sink_get_num_elements(sink)
    names = tuple(smile.external_sink_get_element_name(sink, k) for k in range(count))
    smile.free()
    return names


def _config_path(feature_set: str) -> Path:
    if feature_set not in SETS:
        raise InputError(f"{feature_set}: no such feature set here; there are {', '.join(SETS)}")
    return Path(str(_package().__file__)).parent / "core" / "config" / SETS[feature_set]


def _package() -> ModuleType:
    try:
        import opensmile
    except ImportError as error:
        raise MissingPackage(
            "this candidate is computed by openSMILE, which is not installed; "
            "pip install 'augury[opensmile]', or rank own:… candidates only"
        ) from error
    return opensmile


def _unknown_column(feature_set: str, column: str) -> str:
    hint = did_you_mean(column, descriptor_names(feature_set), count=3, cutoff=0.3)
    return f"{column}: openSMILE's {feature_set} has no such low-level descriptor{hint}"
