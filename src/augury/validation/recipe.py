"""A recipe: which candidates to pretrain with, on what, and which tasks are to judge them. TOML."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from augury import pseudolabels
from augury.errors import InputError
from augury.settings import MODES, PretrainSettings

Table = TypeVar("Table")

#: Encoders that are judged beside those of candidates: what pretraining has to beat.
BASELINES = ("mel", "random")
#: Settings of tasks that may name a file.
FILE_SETTINGS = ("trials", "random_encoder")
#: Settings of `augury.rank` that a task may choose: what no estimator's name says.
RANK_SETTINGS = ("parts", "downsampling_width", "unvoiced", "max_bad")
#: Name of the encoder that learned to give back the speech, and no pseudo-label.
RECONSTRUCTION = "reconstruction"
#: The regime that these are said to be of.
BASELINE = "baseline"


@dataclass(frozen=True)
class PretrainingRecipe:
    """What encoders learn from, and how."""

    manifest: str
    level: str = ""  # of TIMIT
    preset: str = "small"
    seeds: int = 2
    settings: dict[str, Any] = field(default_factory=dict)  # in place of the preset's


@dataclass(frozen=True)
class Regime:
    """What the encoders of some candidates learn beside the pseudo-label."""

    name: str
    candidates: tuple[str, ...] = ()  # none: all of the recipe's
    tasks: tuple[str, ...] = ()  # that judge them; none: all of the recipe's
    settings: dict[str, Any] = field(default_factory=dict)  # such as mel = 0: no reconstruction


@dataclass(frozen=True)
class RankingData:
    """What a task's candidates are ranked on; what is left out is as in the task."""

    manifest: str = ""
    level: str = ""
    label: str = ""
    split: str = ""
    exclude: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)  # of `augury.rank`, see `RANKED`


@dataclass(frozen=True)
class RecipeTask:
    """A downstream task that candidates are judged by."""

    name: str
    task: str
    manifest: str
    label: str
    level: str = ""
    preset: str = "small"
    seeds: int = 1  # how often each encoder is trained on
    settings: dict[str, Any] = field(default_factory=dict)
    rank: RankingData = field(default_factory=RankingData)


@dataclass(frozen=True)
class GroupExperiment:
    """Several pseudo-labels at once: the best of a ranking against the worst, all, and random."""

    regime: str  # whose settings they are pretrained with
    size: int = 3
    seeds: int = 3
    tasks: tuple[str, ...] = ()  # none: all
    modes: tuple[str, ...] = ("frozen", "finetune")


@dataclass(frozen=True)
class Recipe:
    """An experiment. Manifests are looked for from the recipe's folder."""

    name: str
    source: Path
    candidates: tuple[str, ...]
    pretrain: PretrainingRecipe
    regimes: tuple[Regime, ...]
    tasks: tuple[RecipeTask, ...]
    useless: str = ""  # the candidate that must come out last
    groups: GroupExperiment | None = None

    def __post_init__(self) -> None:
        where = f"{self.source}: "
        self._check_candidates(self.candidates)
        if len(self.candidates) < 3:
            raise InputError(f"{where}an order needs three candidates, and there are fewer")
        for regime in self.regimes:
            self._check_candidates(regime.candidates)
            others = [one for one in regime.candidates if one not in self.candidates]
            if others:
                raise InputError(f"{where}{others[0]} of {regime.name} is not in candidates")
            self.pretrain_settings(
                regime, {self.candidates[0]: 1.0}
            )  # what is no setting is said now
        if any("encoder" in one.settings for one in (self.pretrain, *self.regimes)):
            raise InputError(
                f"{where}sizes of the encoder belong into a preset, a TOML file beside the recipe: "
                "the random encoder is to have the same"
            )
        if self.useless and self.useless not in self.candidates:
            raise InputError(f"{where}useless names {self.useless}, which is not in candidates")
        names = [one.name for one in self.tasks]
        regimes = [one.name for one in self.regimes]
        if not names or not regimes:
            raise InputError(f"{where}a recipe has at least one table tasks.NAME and one regime")
        for regime in self.regimes:
            for one in regime.tasks:
                _check_name(one, names, f"{where}a task of {regime.name}")
        if BASELINE in regimes or len(set(regimes)) < len(regimes):
            raise InputError(f"{where}name each regime otherwise, and none {BASELINE}")
        if self.groups:
            for one in self.groups.tasks:
                _check_name(one, names, f"{where}a task of groups")
            _check_name(self.groups.regime, regimes, f"{where}regime of groups")
            for mode in self.groups.modes:
                _check_name(mode, list(MODES), f"{where}a mode of groups")

    def _check_candidates(self, candidates: tuple[str, ...]) -> None:
        for name in candidates:
            if name != name.strip() or not name:
                raise InputError(f"{self.source}: {name!r} is no candidate; leave out the spaces")
        if candidates:
            pseudolabels.parse_candidates(list(candidates))

    def candidates_of(self, regime: Regime) -> tuple[str, ...]:
        """A regime's candidates."""
        return regime.candidates or self.candidates

    def tasks_of(self, regime: Regime) -> tuple[RecipeTask, ...]:
        """The tasks that judge a regime's encoders."""
        return tuple(one for one in self.tasks if one.name in regime.tasks or not regime.tasks)

    def pretrain_settings(
        self, regime: Regime | None, weights: Mapping[str, float], **choices: Any
    ) -> PretrainSettings:
        """Of one pretraining; without a regime, of reconstruction alone."""
        given = self.pretrain.settings | (regime.settings if regime else {}) | choices
        return PretrainSettings.of(self.pretrain.preset, weights, **given)


def read_recipe(path: Path | str) -> Recipe:
    """A recipe from TOML; InputError says what is wrong with it."""
    path = Path(path)
    try:
        plain = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    try:
        folder = path.absolute().parent
        regimes, tasks = plain.pop("regime", []), plain.pop("tasks", {})
        if not isinstance(regimes, list):
            raise InputError("each regime is a table of its own, [[regime]], with a name")
        if not isinstance(tasks, Mapping):
            raise InputError("each task is a table [tasks.NAME], of a name that you choose")
        made: dict[str, Any] = {
            "name": plain.pop("name", path.stem),
            "source": path,
            "pretrain": _read_table(
                PretrainingRecipe, plain.pop("pretrain", {}), "pretrain", folder
            ),
            "regimes": tuple(_read_table(Regime, one, "regime", folder) for one in regimes),
            "tasks": tuple(_read_task(name, one, folder) for name, one in tasks.items()),
        }
        groups = plain.pop("groups", None)
        made["groups"] = (
            None if groups is None else _read_table(GroupExperiment, groups, "groups", folder)
        )
        return _read_table(Recipe, plain | made, "a recipe", folder)
    except ValueError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _read_task(name: str, plain: Any, folder: Path) -> RecipeTask:
    where = f"tasks.{name}"
    if not isinstance(plain, Mapping):
        raise InputError(f"{where} is {plain!r}, but must be a table")
    ranked = _read_table(RankingData, plain.get("rank", {}), f"{where}.rank", folder)
    for one in ranked.settings:  # every estimator is tried, each as its name says
        _check_name(one, list(RANK_SETTINGS), f"{where}.rank: settings has {one}, but a setting")
    judge = _read_table(RecipeTask, {**plain, "name": name, "rank": ranked}, where, folder)
    given = judge.settings.get("exclude", ())
    if not isinstance(given, list | tuple):
        raise InputError(f"{where}: exclude is {given!r}, but must be a list of texts")
    for file in FILE_SETTINGS:
        if not isinstance(judge.settings.get(file, ""), str):
            raise InputError(f"{where}: {file} is {judge.settings[file]!r}, but must be a text")
    exclude = ranked.exclude or tuple(given)
    rank = RankingData(
        ranked.manifest or judge.manifest, ranked.level or judge.level,
        ranked.label or judge.label, ranked.split, exclude, ranked.settings,
    )  # fmt: skip
    return RecipeTask(
        **{**{one.name: getattr(judge, one.name) for one in fields(judge)}, "rank": rank}
    )


def _read_table(cls: type[Table], plain: Any, what: str, folder: Path) -> Table:
    """A table's dataclass: lists become tuples, manifests are found from the recipe's folder."""
    if not isinstance(plain, Mapping):
        raise InputError(f"{what} is {plain!r}, but must be a table")
    types = {one.name: str(one.type) for one in fields(cls)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for name, value in plain.items():
        _check_name(name, list(types), f"{what} has {name}, but a setting")
        if types[name] == "str" and not isinstance(value, str):
            raise InputError(f"{what}: {name} is {value!r}, but must be a text")
        if types[name] == "int" and (type(value) is not int or not 1 <= value <= 1000):
            raise InputError(f"{what}: {name} is {value!r}, but must be from 1 to 1000")
        if types[name].startswith("dict[") and not isinstance(value, Mapping):
            raise InputError(f"{what}: {name} is {value!r}, but must be a table")
        if types[name].startswith("tuple[str") and not (
            isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        ):
            raise InputError(f"{what}: {name} is {value!r}, but must be a list of texts")
        if name == "manifest" and isinstance(value, str) and value:
            value = str((folder / value).resolve())
        if name == "preset":
            value = _resolve_file(value, folder)
        if name == "settings" and isinstance(value, Mapping):
            value = {
                k: _resolve_file(v, folder) if k in FILE_SETTINGS else v for k, v in value.items()
            }
        given[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**given)
    except TypeError as error:  # what has no default
        raise InputError(f"{what}: {str(error).rpartition('__init__() ')[2]}") from error


def _resolve_file(value: Any, folder: Path) -> Any:
    """A file beside the recipe by its path; anything else as it is."""
    beside = folder / value if isinstance(value, str) and value else folder
    return str(beside.resolve()) if beside.is_file() else value


def _check_name(name: str, names: list[str], what: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{what} is one of {', '.join(names)}, not {name}{hint}")
