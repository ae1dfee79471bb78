"""Options of the command line: those that commands share, and those that settings declare."""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
import typing
from collections.abc import Callable, Collection, Iterable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from augury.errors import InputError
from augury.settings import Declaration, Settings, declarations, option_name

Manifest = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="CSV, TSV, JSON Lines or Parquet with a column `path` (and `start`, `end`, labels), "
        "a Kaldi data folder, or an unpacked TIMIT, VoxCeleb1 or Common Voice.",
    ),
]
Speech = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="Speech, labelled or not: a manifest as for `augury rank`, or a folder of recordings.",
    ),
]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Accept audio outside the manifest's folder.")
]
Preset = Annotated[
    str, typer.Option(help="small (minutes on two cores), paper (the paper's), or a TOML file.")
]
Store = Annotated[
    Path | None,
    typer.Option(help="Folder in which computed values are kept, shared by all commands."),
]
Jobs = Annotated[int, typer.Option(min=0, help="Processes; 0: enough for all cores.")]
Cluster = Annotated[
    str,
    typer.Option(
        help="Run on Dask: a scheduler's address (tcp://host:8786), local (--jobs processes "
        "here), slurm (--jobs workers, as your dask-jobqueue configuration says), or a YAML "
        "file with such a configuration."
    ),
]
Device = Annotated[str, typer.Option(help="cpu or cuda; if not given, a GPU if there is one.")]
Minutes = Annotated[
    float, typer.Option(min=0.01, help="Between checkpoints; each epoch also ends with one.")
]

#: The types of settings that can be options, and their types there; others are for presets only.
OPTION_TYPES = {int: int, float: float, bool: bool, str: str, tuple[str, ...]: list[str]}


def with_settings(
    *stages: type[Settings],
    panels: Iterable[str],
    without: Collection[str] = (),
    defaults: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every setting of some stages, from its declaration.

    The command receives the options that were set as its argument `choices`, a dict.

    Args:
        stages: classes of settings; of two declarations with one name, the first counts.
        panels: each stage's heading in the help.
        without: settings that get no option, as the command has its own way to set them.
        defaults: show and pass the declared defaults; else the preset decides.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = typing.get_type_hints(command, include_extras=True)
        own_parameters = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != "choices"
        ]
        names = {parameter.name for parameter in own_parameters} | set(without)
        options: dict[str, inspect.Parameter] = {}
        for stage, panel in zip(stages, panels, strict=True):
            for name, declaration in declarations(stage).items():
                option = _option(declaration, panel, defaults=defaults)
                if option and name not in names and name not in options:
                    options[name] = option

        @wraps(command)
        def run(**arguments: Any) -> None:
            values = {name: arguments.pop(name) for name in options}
            command(**arguments, choices={k: v for k, v in values.items() if v is not None})

        parameters = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for p in (*own_parameters, *options.values())
        ]
        required = [p for p in parameters if p.default is inspect.Parameter.empty]
        optional = [p for p in parameters if p.default is not inspect.Parameter.empty]
        run.__dict__["__signature__"] = inspect.Signature(required + optional)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _option(declaration: Declaration, panel: str, *, defaults: bool) -> inspect.Parameter | None:
    """A setting as a parameter of a command; None if it can't be an option."""
    kind = OPTION_TYPES.get(str if declaration.choices else declaration.type)
    if kind is None:
        return None
    required = defaults and declaration.default is dataclasses.MISSING
    default: Any = inspect.Parameter.empty if required else None
    if defaults and not required and kind is not list[str]:
        default, hint = declaration.default, kind
    else:
        hint = kind if required else kind | None
    names = [] if kind is bool else [option_name(declaration.name)]
    option = typer.Option(*names, help=declaration.help, rich_help_panel=panel)
    return inspect.Parameter(
        declaration.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[hint, option],
    )


def read_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """The settings in --set NAME=VALUE options: values as in TOML, or else strings.

    >>> read_assignments(["hidden=256", "decoder=ctc"])
    {'hidden': 256, 'decoder': 'ctc'}
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment}: write NAME=VALUE, such as epochs=5")
        try:
            values[name.strip()] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            values[name.strip()] = value
    return values
