"""A recipe: which candidates to pretrain with, on what, and which tasks are to judge them. TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from augury import pseudolabels
from augury.downstream.settings import EvaluateSettings
from augury.errors import InputError, MissingFile, did_you_mean, explain_os_errors
from augury.pretraining.settings import PretrainSettings
from augury.settings import declarations

MODES = declarations(EvaluateSettings)["mode"].choices
Table = TypeVar("Table")

#: Encoders that are judged beside those of candidates: what pretraining has to beat.
BASELINES = ("mel", "random")
#: Settings of tasks that may name a file.
FILE_SETTINGS = ("trials", "random_encoder")
#: Settings of `augury.rank` that a task may choose: what no estimator's name says.
RANK_SETTINGS = ("parts", "downsampling_width", "unvoiced", "max_bad")
#: Name of the encoder that learned to reconstruct the speech, and no pseudo-label.
RECONSTRUCTION = "reconstruction"
#: The regime of reconstruction and of the encoders in `BASELINES`.
BASELINE = "baseline"
#: What stands at the top of a recipe: values, and tables.
TOP_KEYS, TABLES = ("name", "candidates", "useless"), ("pretrain", "regime", "tasks", "groups")


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
        _check_candidates(self.candidates)
        if len(self.candidates) < 3:
            raise InputError("an order needs three candidates, and there are fewer")
        if self.useless and self.useless not in self.candidates:
            raise InputError(f"useless names {self.useless}, which is not in candidates")
        if not self.tasks or not self.regimes:
            raise InputError("a recipe has at least one table tasks.NAME and one regime")
        self._check_regimes()
        if any("encoder" in table.settings for table in (self.pretrain, *self.regimes)):
            raise InputError(
                "sizes of the encoder belong into a preset, a TOML file beside the recipe: "
                "the random encoder is to have the same"
            )
        if self.groups:
            self._check_tasks(self.groups.tasks, "a task of groups")
            names = [regime.name for regime in self.regimes]
            _check_name(self.groups.regime, names, "regime of groups")
            for mode in self.groups.modes:
                _check_name(mode, list(MODES), "a mode of groups")

    def _check_regimes(self) -> None:
        names = [regime.name for regime in self.regimes]
        if BASELINE in names or len(set(names)) < len(names):
            raise InputError(f"name each regime otherwise, and none {BASELINE}")
        for regime in self.regimes:
            _check_candidates(regime.candidates)
            for candidate in regime.candidates:
                if candidate not in self.candidates:
                    raise InputError(f"{candidate} of {regime.name} is not in candidates")
            self._check_tasks(regime.tasks, f"a task of {regime.name}")
            self.pretrain_settings(regime, {self.candidates[0]: 1.0})  # raises if one is wrong

    def _check_tasks(self, names: Sequence[str], what: str) -> None:
        for name in names:
            _check_name(name, [task.name for task in self.tasks], what)

    def candidates_of(self, regime: Regime) -> tuple[str, ...]:
        """A regime's candidates."""
        return regime.candidates or self.candidates

    def tasks_of(self, regime: Regime) -> tuple[RecipeTask, ...]:
        """The tasks that judge a regime's encoders."""
        return tuple(task for task in self.tasks if task.name in regime.tasks or not regime.tasks)

    def pretrain_settings(
        self, regime: Regime | None, weights: Mapping[str, float], **choices: Any
    ) -> PretrainSettings:
        """The settings of one pretraining; without a regime, of reconstruction alone."""
        given = self.pretrain.settings | (regime.settings if regime else {}) | choices
        return PretrainSettings.of(self.pretrain.preset, weights, **given)


def read_recipe(path: Path | str) -> Recipe:
    """A recipe from a TOML file; its manifests and presets are looked for in the file's folder.

    Raises:
        MissingFile: no such file.
        InputError: not TOML, or a table, key or value that is wrong, named.

    >>> read_recipe("none.toml")
    Traceback (most recent call last):
    ...
    augury.errors.MissingFile: none.toml: no such recipe
    """
    path = Path(path)
    try:
        with explain_os_errors(path):
            plain = tomllib.loads(path.read_text("utf-8"))
    except MissingFile:
        raise MissingFile(f"{path}: no such recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    try:
        return _make_recipe(plain, path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _make_recipe(plain: Mapping[str, Any], path: Path) -> Recipe:
    folder = path.absolute().parent
    regimes, tasks, groups = plain.get("regime", []), plain.get("tasks", {}), plain.get("groups")
    if not isinstance(regimes, list):
        raise InputError("each regime is a table of its own, [[regime]], with a name")
    if not isinstance(tasks, Mapping):
        raise InputError("each task is a table [tasks.NAME], of a name that you choose")
    top = {name: value for name, value in plain.items() if name not in TABLES}
    chosen = _check_table(Recipe, top, "a recipe", folder, names=(*TOP_KEYS, *TABLES))
    return Recipe(
        **{"name": path.stem, "candidates": ()} | chosen,
        source=path,
        pretrain=_read_table(PretrainingRecipe, plain.get("pretrain", {}), "pretrain", folder),
        regimes=tuple(_read_table(Regime, regime, "regime", folder) for regime in regimes),
        tasks=tuple(_read_task(name, task, folder) for name, task in tasks.items()),
        groups=None if groups is None else _read_table(GroupExperiment, groups, "groups", folder),
    )


def _read_task(name: str, plain: Any, folder: Path) -> RecipeTask:
    """A table tasks.NAME; what its table `rank` leaves out is as in the task."""
    where = f"tasks.{name}"
    if not isinstance(plain, Mapping):
        raise InputError(f"{where} is {plain!r}, but must be a table")
    rank = _read_table(RankingData, plain.get("rank", {}), f"{where}.rank", folder)
    for setting in rank.settings:  # every estimator is tried, each as its name says
        what = f"{where}.rank: settings has {setting}, but a setting"
        _check_name(setting, RANK_SETTINGS, what)
    own = {key: value for key, value in plain.items() if key not in ("name", "rank")}
    task = _read_table(RecipeTask, {"name": name, **own}, where, folder)
    exclude = task.settings.get("exclude", ())
    if not isinstance(exclude, list | tuple):
        raise InputError(f"{where}: exclude is {exclude!r}, but must be a list of texts")
    for setting in FILE_SETTINGS:
        file = task.settings.get(setting, "")
        if not isinstance(file, str):
            raise InputError(f"{where}: {setting} is {file!r}, but must be a text")
    rank = replace(
        rank,
        manifest=rank.manifest or task.manifest,
        level=rank.level or task.level,
        label=rank.label or task.label,
        exclude=rank.exclude or tuple(exclude),
    )
    return replace(task, rank=rank)


def _read_table(cls: type[Table], plain: Any, what: str, folder: Path) -> Table:
    """A table as its dataclass; InputError if a key is missing, unknown, or of another type."""
    declared = fields(cast(Any, cls))
    chosen = _check_table(cls, plain, what, folder, names=[setting.name for setting in declared])
    for setting in declared:
        optional = setting.default is not MISSING or setting.default_factory is not MISSING
        if not optional and setting.name not in chosen:
            raise InputError(f"{what}: {setting.name} is missing")
    return cls(**chosen)


def _check_table(
    cls: type[Any], plain: Any, what: str, folder: Path, *, names: Sequence[str]
) -> dict[str, Any]:
    """The values of a table: lists as tuples, files by their path from the recipe's folder."""
    if not isinstance(plain, Mapping):
        raise InputError(f"{what} is {plain!r}, but must be a table")
    kinds = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, value in plain.items():
        _check_name(name, names, f"{what} has {name}, but a setting")
        if problem := _problem(value, kinds[name]):
            raise InputError(f"{what}: {name} is {value!r}, but must be {problem}")
        if name == "manifest" and value:
            value = str((folder / value).resolve())
        elif name == "preset":
            value = _resolve_file(value, folder)
        elif name == "settings":
            value = {
                setting: _resolve_file(given, folder) if setting in FILE_SETTINGS else given
                for setting, given in value.items()
            }
        values[name] = tuple(value) if isinstance(value, list) else value
    return values


def _problem(value: Any, kind: Any) -> str:
    """What a value of a table must be, if it is not of its field's type; "" if it is."""
    if kind is str:
        return "" if isinstance(value, str) else "a text"
    if kind is int:
        return "" if type(value) is int and 1 <= value <= 1000 else "from 1 to 1000"
    if kind == tuple[str, ...]:
        texts = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
        return "" if texts else "a list of texts"
    return "" if isinstance(value, Mapping) else "a table"


def _resolve_file(value: Any, folder: Path) -> Any:
    """A file beside the recipe by its path; anything else as it is."""
    beside = folder / value if isinstance(value, str) and value else folder
    return str(beside.resolve()) if beside.is_file() else value


def _check_name(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        hint = did_you_mean(name, names, cutoff=0.3)
        raise InputError(f"{what} is one of {', '.join(names)}, not {name}{hint}")


def _check_candidates(names: Sequence[str]) -> None:
    for name in names:
        if name != name.strip() or not name:
            raise InputError(f"{name!r} is no candidate; leave out the spaces")
    if names:
        pseudolabels.parse_candidates(list(names))
