"""A recipe: which candidates to pretrain with, on what, and which tasks are to judge them. TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast

from augury import pseudolabels
from augury.downstream.settings import TASK_SETTINGS, EvaluateSettings
from augury.errors import InputError, MissingFile, did_you_mean, explain_os_errors
from augury.pretraining.settings import PretrainSettings
from augury.ranking.settings import RankSettings
from augury.settings import Settings, declarations, setting

MODES = declarations(EvaluateSettings)["mode"].choices
Table = TypeVar("Table", bound=Settings)

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

Seeds = Annotated[int, setting("seeds, beginning with 0", 1, 1000)]
Choices = Annotated[dict[str, Any], setting("settings in place of the preset's")]


@dataclass(frozen=True)
class PretrainingRecipe(Settings):
    """What encoders learn from, and how: the table `pretrain`."""

    of_what: ClassVar[str] = "a recipe's pretraining"

    manifest: Annotated[str, setting("the corpus, looked for from the recipe's folder")]
    level: Annotated[str, setting("of TIMIT: phone or utterance")] = ""
    preset: Annotated[str, setting("preset of pretraining")] = "small"
    seeds: Seeds = 2
    settings: Choices = field(default_factory=dict[str, Any])

    def check(self) -> None:
        """Raise InputError where settings are not of pretraining, or not a recipe's to choose."""
        _check_pretrain_settings(self.settings)


@dataclass(frozen=True)
class Regime(Settings):
    """What the encoders of some candidates learn beside the pseudo-label: a table `[[regime]]`."""

    of_what: ClassVar[str] = "a recipe's regime"

    name: Annotated[str, setting("what it is called")]
    candidates: Annotated[tuple[str, ...], setting("its candidates; none: the recipe's")] = ()
    tasks: Annotated[tuple[str, ...], setting("tasks that judge them; none: all")] = ()
    settings: Choices = field(default_factory=dict[str, Any])  # such as mel = 0: no reconstruction

    def check(self) -> None:
        """Raise InputError where settings are not of pretraining, or not a recipe's to choose."""
        _check_pretrain_settings(self.settings)


@dataclass(frozen=True)
class RankingData(Settings):
    """What a task's candidates are ranked on, `tasks.NAME.rank`; the rest is as in the task."""

    of_what: ClassVar[str] = "a recipe's ranking"

    manifest: Annotated[str, setting("the labelled corpus")] = ""
    level: Annotated[str, setting("of TIMIT: phone or utterance")] = ""
    label: Annotated[str, setting("column with the label")] = ""
    split: Annotated[str, setting("use only rows of this split")] = ""
    exclude: Annotated[tuple[str, ...], setting("labels to leave out")] = ()
    settings: Choices = field(default_factory=dict[str, Any])  # those in `RANK_SETTINGS`

    def check(self) -> None:
        """Raise InputError for settings that estimators' names say, or that are not of ranking."""
        with _naming("settings"):
            for name in self.settings:  # every estimator is tried, each as its name says
                _check_name(name, RANK_SETTINGS, f"{name} is not for a recipe: a setting")
            RankSettings.check_choices(self.settings)


@dataclass(frozen=True)
class RecipeTask(Settings):
    """A downstream task that candidates are judged by: the table `tasks.NAME`."""

    of_what: ClassVar[str] = "a recipe's task"

    name: Annotated[str, setting("what it is called in this recipe")]
    task: Annotated[str, setting("asr, speaker, classify, or module:class")]
    manifest: Annotated[str, setting("the corpus, looked for from the recipe's folder")]
    label: Annotated[str, setting("column with the label")]
    level: Annotated[str, setting("of TIMIT: phone or utterance")] = ""
    preset: Annotated[str, setting("preset of the task")] = "small"
    seeds: Seeds = 1  # how often each encoder is trained on
    settings: Choices = field(default_factory=dict[str, Any])
    rank: Annotated[RankingData, setting("what candidates are ranked on")] = field(
        default_factory=RankingData
    )

    def check(self) -> None:
        """Raise InputError where settings are not of the task; of a user's own, those shared."""
        if own := TASK_SETTINGS.get(self.task):
            known, given = own, self.settings
        else:
            shared = declarations(EvaluateSettings)
            known = EvaluateSettings
            given = {name: value for name, value in self.settings.items() if name in shared}
        with _naming("settings"):
            known.check_choices(given)


@dataclass(frozen=True)
class GroupExperiment(Settings):
    """Several pseudo-labels at once: the best of a ranking against the worst, all, and random."""

    of_what: ClassVar[str] = "a recipe's groups"

    regime: Annotated[str, setting("regime whose settings they are pretrained with")]
    size: Annotated[int, setting("candidates of a group", 1, 1000)] = 3
    seeds: Seeds = 3
    tasks: Annotated[tuple[str, ...], setting("tasks that judge them; none: all")] = ()
    modes: Annotated[tuple[str, ...], setting("frozen, finetune")] = ("frozen", "finetune")


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
        with _naming("pretrain"):
            self.pretrain_settings(None, {})
        self._check_regimes()
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
            with _naming(f"regime {regime.name}"):
                self.pretrain_settings(regime, {self.candidates[0]: 1.0})

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


@dataclass(frozen=True)
class _Top(Settings):
    """The top of a recipe: values, and tables that have declarations of their own."""

    of_what: ClassVar[str] = "a recipe"

    name: Annotated[str, setting("what the experiment is called")] = ""
    candidates: Annotated[tuple[str, ...], setting("candidates to pretrain with")] = ()
    useless: Annotated[str, setting("the candidate that must come out last")] = ""
    pretrain: Annotated[Any, setting("what encoders learn from, and how")] = field(
        default_factory=dict[str, Any]
    )
    regime: Annotated[Any, setting("what they learn beside the pseudo-label")] = ()
    tasks: Annotated[Any, setting("tasks that judge them, by name")] = field(
        default_factory=dict[str, Any]
    )
    groups: Annotated[Any, setting("the experiment with several pseudo-labels")] = None

    def check(self) -> None:
        """Raise InputError where regimes are no list of tables, or tasks have no names."""
        if not isinstance(self.regime, tuple):
            raise InputError("each regime is a table of its own, [[regime]], with a name")
        if not isinstance(self.tasks, Mapping):
            raise InputError("each task is a table [tasks.NAME], of a name that you choose")


def _make_recipe(plain: Mapping[str, Any], path: Path) -> Recipe:
    folder = path.absolute().parent
    top = _Top.from_choices(plain)
    regimes = cast(tuple[Any, ...], top.regime)
    tasks = cast(Mapping[str, Any], top.tasks)
    return Recipe(
        name=top.name if "name" in plain else path.stem,
        candidates=top.candidates,
        useless=top.useless,
        source=path,
        pretrain=_read_table(PretrainingRecipe, top.pretrain, "pretrain", folder),
        regimes=tuple(
            _read_table(Regime, regime, _regime_name(regime, place), folder)
            for place, regime in enumerate(regimes, 1)
        ),
        tasks=tuple(_read_task(name, task, folder) for name, task in tasks.items()),
        groups=None
        if top.groups is None
        else _read_table(GroupExperiment, top.groups, "groups", folder),
    )


def _regime_name(plain: Any, place: int) -> str:
    name = cast(Mapping[str, Any], plain).get("name") if isinstance(plain, Mapping) else None
    return f"regime {name if isinstance(name, str) else place}"


def _read_task(name: str, plain: Any, folder: Path) -> RecipeTask:
    """A table tasks.NAME; what its table `rank` leaves out is as in the task."""
    where = f"tasks.{name}"
    if isinstance(plain, Mapping):
        given: dict[str, Any] = {"rank": {}, **cast(Mapping[str, Any], plain), "name": name}
        given["rank"] = _read_table(RankingData, given["rank"], f"{where}.rank", folder)
        plain = given
    task = _read_table(RecipeTask, plain, where, folder)
    rank = replace(
        task.rank,
        manifest=task.rank.manifest or task.manifest,
        level=task.rank.level or task.level,
        label=task.rank.label or task.label,
        exclude=task.rank.exclude or task.settings.get("exclude", ()),
    )
    return replace(task, rank=rank)


def _read_table(table: type[Table], plain: Any, where: str, folder: Path) -> Table:
    """A table as its declaration, its files by their paths; InputError names it."""
    with _naming(where):
        if isinstance(plain, Mapping):
            plain = _resolve_files(cast(Mapping[str, Any], plain), folder)
        return table.from_choices(plain)


@contextmanager
def _naming(where: str) -> Generator[None]:
    """Name a table in the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _resolve_files(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A table whose files, named from the recipe's folder, are given by their paths."""
    values = dict(table)
    if isinstance(manifest := values.get("manifest"), str) and manifest:
        values["manifest"] = str((folder / manifest).resolve())
    if "preset" in values:
        values["preset"] = _resolve_file(values["preset"], folder)
    if isinstance(settings := values.get("settings"), Mapping):
        values["settings"] = {
            name: _resolve_file(value, folder) if name in FILE_SETTINGS else value
            for name, value in cast(Mapping[str, Any], settings).items()
        }
    return values


def _resolve_file(value: Any, folder: Path) -> Any:
    """A file beside the recipe by its path; anything else as it is."""
    beside = folder / value if isinstance(value, str) and value else folder
    return str(beside.resolve()) if beside.is_file() else value


def _check_pretrain_settings(settings: Mapping[str, Any]) -> None:
    """Raise InputError where settings are not of pretraining, or not a recipe's to choose."""
    with _naming("settings"):
        if "pseudo_labels" in settings:
            raise InputError("pseudo_labels are the recipe's candidates; leave them out here")
        PretrainSettings.check_choices(settings)
        if "encoder" in settings:
            raise InputError(
                "sizes of the encoder belong into a preset, a TOML file beside the recipe: "
                "the random encoder is to have the same"
            )


def _check_name(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        hint = did_you_mean(name, names, cutoff=0.3)
        raise InputError(f"{what} is one of {', '.join(names)}, not {name}{hint}")


def _check_candidates(names: Sequence[str]) -> None:
    for name in names:
        if name != name.strip() or not name:
            raise InputError(f"{name!r} is no candidate; leave out the spaces")
    if names:
        pseudolabels.require_no_files(pseudolabels.parse_candidates(list(names)))
