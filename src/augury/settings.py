"""Settings: each is declared once, in its stage's `settings.py`; everything else follows from that.

A stage's settings are a frozen dataclass, each field annotated with its type, bounds and help:

    epochs: Annotated[int, setting("passes over the data", 1, 100_000)] = 10

From this declaration come the check of what a user gave, in Python, TOML or a recipe, the options
of the command line with their help, and the command that reproduces a run.

pydantic checks the types (nested lists, tables and choices are its business, it is kept well, and
other tools read its declarations); it costs 0.15 s where a stage's settings are first needed, and
four small packages. The messages are ours: they name the setting, its value and what it must be.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
from annotated_types import Ge, Le
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from augury.errors import InputError, did_you_mean


def setting(
    description: str, low: float | None = None, high: float | None = None, *, unit: str = ""
) -> Any:
    """What a field is: its help text, the smallest and largest value it may have, and its unit."""
    return Field(description=description, ge=low, le=high, json_schema_extra={"unit": unit})


@dataclass(frozen=True)
class Declaration:
    """A setting as it was declared."""

    name: str
    type: Any  # without bounds: int, float, bool, str, a Literal, tuple[int, ...], …
    default: Any  # `dataclasses.MISSING` where there is none
    description: str
    low: float | None
    high: float | None
    unit: str
    adapter: TypeAdapter[Any] | None  # None: a table of settings of its own

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values it may have, where they are few."""
        return typing.get_args(self.type) if typing.get_origin(self.type) is Literal else ()

    @property
    def requirement(self) -> str:
        """What it must be, in words."""
        if self.choices:
            return " or ".join(str(choice) or '""' for choice in self.choices)
        return describe_type(self.type) + describe_range(self.low, self.high)

    @property
    def help(self) -> str:
        """Its help text, with unit, choices and range."""
        notes = [self.unit] if self.unit else []
        if self.choices:
            notes.append(", ".join(str(choice) for choice in self.choices if choice != ""))
        if self.low is not None and self.high is not None:
            notes.append(f"{self.low:g} to {self.high:g}")
        first = self.description[:1]
        text = (first.upper() if first.isascii() else first) + self.description[1:]
        return f"{text} ({'; '.join(notes)})." if notes else f"{text}."

    def check(self, value: Any) -> Any:
        """The value, lists as tuples and NumPy's numbers as Python's; InputError if it can't be."""
        value = _plain(value)
        if self.adapter is None:
            if not isinstance(value, self.type):
                raise InputError(f"{self.name} is {value!r}, but must be {self.type.__name__}")
            return value
        try:
            self.adapter.validate_python(value)
        except ValidationError:
            hint = did_you_mean(value, self.choices, cutoff=0.3) if self.choices else ""
            wanted = f"{self.name} is {value!r}, but must be {self.requirement}{hint}"
            raise InputError(wanted) from None
        return value


def describe_type(hint: Any) -> str:
    """A type in words.

    >>> describe_type(tuple[int, ...])
    'a list of whole numbers'
    """
    metadata: tuple[Any, ...] = ()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *metadata_ = typing.get_args(hint)
        metadata = tuple(metadata_)
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    if hint in plain:
        return plain[hint] + describe_range(*_bounds(metadata))
    if typing.get_origin(hint) is tuple:
        inner = describe_type(typing.get_args(hint)[0])
        noun, _, rest = inner.removeprefix("a ").partition(" from ")
        return f"a list of {noun}s{' from ' + rest if rest else ''}"
    return "a table of names and values"


def describe_range(low: float | None, high: float | None) -> str:
    """Bounds in words, "" where there are none."""
    return "" if low is None or high is None else f" from {low:g} to {high:g}"


def _bounds(metadata: tuple[Any, ...]) -> tuple[float | None, float | None]:
    low = high = None
    for item in metadata:
        for bound in item.metadata if isinstance(item, FieldInfo) else (item,):
            low = bound.ge if isinstance(bound, Ge) else low
            high = bound.le if isinstance(bound, Le) else high
    return cast(Any, low), cast(Any, high)


def _plain(value: Any) -> Any:
    """Lists as tuples, and NumPy's numbers as Python's, inside lists and tables too."""
    if isinstance(value, np.generic | np.ndarray):
        value = cast(Any, value).tolist()
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in cast(Iterable[Any], value))
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in cast(dict[Any, Any], value).items()}
    return value


@cache
def declarations(settings: type[Settings]) -> dict[str, Declaration]:
    """The settings of a class by name, those of the classes it extends first."""
    hints = typing.get_type_hints(settings, include_extras=True)
    return {field.name: _declaration(field, hints[field.name]) for field in fields(settings)}


def _declaration(field: dataclasses.Field[Any], hint: Any) -> Declaration:
    bare, metadata = hint, ()
    if typing.get_origin(hint) is typing.Annotated:
        bare, *metadata_ = typing.get_args(hint)
        metadata = tuple(metadata_)
    about = next((item for item in metadata if isinstance(item, FieldInfo)), None)
    extra = about.json_schema_extra if about else None
    nested = isinstance(bare, type) and issubclass(bare, Settings)
    return Declaration(
        field.name,
        bare,
        field.default,
        (about.description if about else None) or field.name.replace("_", " "),
        *_bounds(metadata),
        str(cast(dict[str, Any], extra).get("unit", "")) if isinstance(extra, dict) else "",
        None if nested else TypeAdapter(hint, config=ConfigDict(strict=True)),
    )


@dataclass(frozen=True)
class Settings:
    """What a stage was asked to do. Extend it as a frozen dataclass of `setting` fields."""

    of_what: ClassVar[str] = "these settings"  # in messages: "no such setting of …"

    def __post_init__(self) -> None:
        """Check every setting by its declaration, then those that depend on each other."""
        for name, declaration in declarations(type(self)).items():
            object.__setattr__(self, name, declaration.check(getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Raise InputError where settings do not go together."""

    @classmethod
    def from_choices(cls, choices: Any) -> Self:
        """Settings from names and values; InputError names an unknown one, and the nearest."""
        known, table = declarations(cls), cls._table(choices)
        given = {
            name: known[name].type.from_choices(value)
            if known[name].adapter is None and not isinstance(value, Settings)
            else value
            for name, value in table.items()
        }
        absent = [
            declaration.name
            for declaration, field in zip(known.values(), fields(cls), strict=True)
            if field.default is field.default_factory is dataclasses.MISSING
            and declaration.name not in given
        ]
        if absent:
            raise InputError(f"{', '.join(absent)}: {cls.of_what} needs it; say what it is")
        return cls(**given)

    @classmethod
    def check_choices(cls, choices: Any) -> None:
        """Raise InputError where one of these is unknown or, taken by itself, can't be.

        Others may be missing: a table that changes some settings is checked before it is merged.

        >>> from augury.ranking.settings import RankSettings
        >>> RankSettings.check_choices({"part": 20})
        Traceback (most recent call last):
        ...
        augury.errors.InputError: part: no such setting of a ranking; did you mean parts?
        """
        for name, value in cls._table(choices).items():
            declaration = declarations(cls)[name]
            if declaration.adapter is None and not isinstance(value, Settings):
                declaration.type.check_choices(value)
            else:
                declaration.check(value)

    @classmethod
    def _table(cls, choices: Any) -> Mapping[str, Any]:
        """The choices; InputError unless they are a table of settings that there are."""
        if not isinstance(choices, Mapping):
            raise InputError(f"the settings of {cls.of_what} are {choices!r}, but must be a table")
        known, table = declarations(cls), cast(Mapping[str, Any], choices)
        for name in table:
            if name not in known:
                hint = did_you_mean(name, known, cutoff=0.3) or f"; there are {', '.join(known)}"
                raise InputError(f"{name}: no such setting of {cls.of_what}{hint}")
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and TOML hold them."""
        return {
            name: value.to_dict()
            if isinstance(value, Settings)
            else list(cast(tuple[Any, ...], value))
            if isinstance(value, tuple)
            else value
            for name in declarations(type(self))
            for value in [getattr(self, name)]
        }

    def to_options(self, default: Self, *, without: Collection[str] = ()) -> list[str]:
        """The options of the command line that make these settings of the default ones.

        Args:
            default: settings to compare with.
            without: names of settings that are left out.
        """
        words: list[str] = []
        for name in declarations(type(self)):
            value, option = getattr(self, name), option_name(name)
            if name in without or value == getattr(default, name):
                continue
            if isinstance(value, bool):
                words.append(option if value else f"--no-{option.removeprefix('--')}")
            elif isinstance(value, tuple):
                items = cast(tuple[Any, ...], value)
                words += [word for item in items for word in (option, str(item))]
            else:
                words += [option, str(value)]
        return words


def option_name(setting_name: str) -> str:
    """A setting's option on the command line.

    >>> option_name("max_bad")
    '--max-bad'
    """
    return f"--{setting_name.replace('_', '-')}"


def read_preset(preset: str | Path, task: str = "pretrain") -> dict[str, Any]:
    """A preset's choices; InputError if there is none of that name, or it is not TOML."""
    shipped = resources.files("augury").joinpath("presets", task)
    presets = shipped.iterdir() if shipped.is_dir() else ()
    names = sorted(file.name.removesuffix(".toml") for file in presets)
    source = shipped / f"{preset}.toml" if str(preset) in names else Path(preset)
    try:
        return tomllib.loads(source.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(
            f"{preset}: no such preset; there are {', '.join([*names, 'any TOML file'])}"
            f"{did_you_mean(str(preset), names, cutoff=0.3)}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{preset}: not TOML: {error}") from error
