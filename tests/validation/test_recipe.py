import tomllib
from typing import get_origin

import pytest

from augury.downstream.settings import AsrSettings, ClassifySettings, SpeakerSettings
from augury.errors import InputError
from augury.pretraining.settings import PretrainSettings
from augury.ranking.settings import RankSettings
from augury.settings import declarations
from augury.validation.recipe import (
    RANK_SETTINGS,
    GroupExperiment,
    PretrainingRecipe,
    RankingData,
    RecipeTask,
    Regime,
    read_recipe,
)

GOOD = """
candidates = ["own:rms", "own:flux", "own:noise"]
useless = "own:noise"

[pretrain]
manifest = "speech/all.csv"
seeds = 3

[[regime]]
name = "alone"
settings = { mel = 0.0, mfcc = 0.0 }

[tasks.digit]
task = "classify"
manifest = "digits.csv"
label = "digit"
settings = { exclude = ["x"] }
[tasks.digit.rank]
split = "train"

[groups]
regime = "alone"
size = 2
"""


@pytest.fixture
def written(tmp_path):
    def write(text=GOOD):
        (tmp_path / "r.toml").write_text(text)
        return tmp_path / "r.toml"

    return write


def test_defaults_are_filled_in(written, tmp_path):
    recipe = read_recipe(written())
    assert (recipe.name, recipe.pretrain.seeds, recipe.pretrain.preset) == ("r", 3, "small")
    assert recipe.pretrain.manifest == str(tmp_path / "speech" / "all.csv")
    (regime,), (task,) = recipe.regimes, recipe.tasks
    assert recipe.candidates_of(regime) == ("own:rms", "own:flux", "own:noise")
    ranked = task.rank
    assert (ranked.manifest, ranked.label) == (str(tmp_path / "digits.csv"), "digit")
    assert (ranked.split, ranked.exclude) == ("train", ("x",))
    assert recipe.groups.modes == ("frozen", "finetune")
    settings = recipe.pretrain_settings(regime, {"own:rms": 1.0}, seed=2)
    assert (settings.mel, settings.seed, settings.pseudo_labels) == (0.0, 2, {"own:rms": 1.0})
    assert recipe.pretrain_settings(None, {}).mel == 1.0  # reconstruction alone


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("own:flux", "own:flucks", "flucks"),
        ('"own:rms", ', "", "an order needs three candidates"),
        ('useless = "own:noise"', 'useless = "F0"', "useless names F0"),
        ("seeds = 3", "seeds = 0", "pretrain: seeds is 0, but must be a whole number from 1"),
        ("seeds = 3", "sedes = 3", "did you mean seeds"),
        ("mel = 0.0", "mal = 0.0", "regime alone: settings: mal: no such setting of pretraining"),
        ("mel = 0.0", "encoder = { dimensions = 8 }", "sizes of the encoder belong into a preset"),
        ('name = "alone"', 'name = "baseline"', "name each regime otherwise"),
        ('name = "alone"', 'name = "alone"\ntasks = ["digits"]', "task of alone .* mean digit"),
        ('regime = "alone"', 'regime = "aline"', "did you mean alone"),
        ("size = 2", 'tasks = ["digits"]', "did you mean digit"),
        ("size = 2", 'modes = ["fintune"]', "did you mean finetune"),
        ('label = "digit"', "", "tasks.digit: label: a recipe's task needs it"),
        ("useless =", "source =", "source: no such setting of a recipe"),
        ('task = "classify"', "task = 3", "task is 3, but must be a text"),
        ("[pretrain]", "[pretrain", "not TOML"),
        ('split = "train"', 'exclude = "x"', "must be a list of texts"),
        ('split = "train"', 'settings = { estimator = "paper" }', "max_bad, not estimator"),
        (
            "[tasks.digit.rank]",
            "[other]",
            "other: no such .*; there are name, cand",
        ),
        ("[[regime]]", "[regime]", r"a table of its own, \[\[regime\]\]"),
        ("[tasks.digit.rank]", "[[tasks.digit.rank]]", "tasks.digit.rank: .* must be a table"),
        ("settings = { mel = 0.0, mfcc = 0.0 }", "settings = 3", "settings is 3, but must be a t"),
        ('settings = { exclude = ["x"] }', 'settings = ["x"]', "settings is .* must be a table"),
        ('exclude = ["x"]', "exclude = 3", "exclude is 3, but must be a list"),
        ('exclude = ["x"]', "trials = 3", "tasks.digit: settings: trials: no such"),
        ("seeds = 3", "settings = { batch_seconds = 1 }", "pretrain: batch_seconds is 1, less"),
        ("seeds = 3", "settings = { seed = 0, pseudo_labels = {} }", "pretrain: .* candidates"),
        ("mel = 0.0", "batch_seconds = 1", "regime alone: batch_seconds is 1, less"),
        ('name = "alone"', "", "regime 1: name: a recipe's regime needs it"),
        ('"own:rms", ', '" own:rms", ', "' own:rms' is no candidate; leave out the spaces"),
        (
            'name = "alone"',
            'name = "alone"\ncandidates = ["own:rms", "own:rms"]',
            "same candidate; give it once",
        ),
    ],
)
def test_mistakes_are_named(written, before, after, message):
    assert before in GOOD
    path = written(GOOD.replace(before, after, 1))
    with pytest.raises(ValueError, match=message) as error:
        read_recipe(path)
    assert "r.toml" in str(error.value)


#: Every table of a recipe, by the keys that lead to it, its declaration, and how errors name it.
TABLES = [
    (("pretrain",), PretrainingRecipe, "pretrain: "),
    (("pretrain", "settings"), PretrainSettings, "pretrain: settings: "),
    (("regime", 0), Regime, "regime (alone|1): "),
    (("regime", 0, "settings"), PretrainSettings, "regime alone: settings: "),
    (("tasks", "digit"), RecipeTask, "tasks.digit: "),
    (("tasks", "digit", "settings"), ClassifySettings, "tasks.digit: settings: "),
    (("tasks", "speech", "settings"), AsrSettings, "tasks.speech: settings: "),
    (("tasks", "voice", "settings"), SpeakerSettings, "tasks.voice: settings: "),
    (("tasks", "digit", "rank"), RankingData, "tasks.digit.rank: "),
    (("tasks", "digit", "rank", "settings"), RankSettings, "tasks.digit.rank: settings: "),
    (("groups",), GroupExperiment, "groups: "),
]
#: Of these tables some keys are the recipe's own to fill in.
FILLED = {RecipeTask: {"name"}, PretrainSettings: {"pseudo_labels"}}


def wrong_values(declaration):
    """Values of another type than the setting's, and beyond its range."""
    if declaration.type in (int, float):
        yield "many"
        for bound, sign in ((declaration.low, -1), (declaration.high, 1)):
            if bound is not None:
                beyond = bound + sign * max(1, abs(bound))
                yield declaration.type(beyond) if abs(beyond) < 2**62 else float(beyond)
    elif declaration.choices:
        yield from ("no such choice", 3)
    elif get_origin(declaration.type) is tuple:
        yield from ("x", [{}])
    else:  # a text, a truth value or a table
        yield 3


def wrong_entries():
    for path, settings, where in TABLES:
        yield path, "no_such_key", 3, f"{where}no_such_key.* no(t| such) "
        for name, declaration in declarations(settings).items():
            if name in FILLED.get(settings, ()):
                continue
            if settings is RankSettings and name not in RANK_SETTINGS:
                yield path, name, 3, f"{where}{name} is not for a recipe"
                continue
            nested = settings is RecipeTask and name == "rank"  # is a table itself
            message = "tasks.digit.rank: .*" if nested else f"{where}.*{name}.*"
            for value in wrong_values(declaration):
                yield path, name, value, f"{message}must be "


@pytest.mark.parametrize(
    ("path", "name", "value", "message"),
    [
        pytest.param(*entry, id=f"{'.'.join(map(str, entry[0]))}-{entry[1]}-{entry[2]!r:.12}")
        for entry in wrong_entries()
    ],
)
def test_every_table_names_itself_and_the_key_that_is_wrong(written, path, name, value, message):
    tomli_w = pytest.importorskip("tomli_w")
    plain = tomllib.loads(GOOD)
    for task, kind in (("speech", "asr"), ("voice", "speaker")):
        plain["tasks"][task] = {"task": kind, "manifest": "m.csv", "label": "x"}
    table = plain
    for key in path:
        table = table[key] if isinstance(table, list) else table.setdefault(key, {})
    table[name] = value
    with pytest.raises(InputError, match=message):
        read_recipe(written(tomli_w.dumps(plain)))


def test_tasks_are_tables_with_names(written):
    with pytest.raises(ValueError, match=r"a table \[tasks\.NAME\]"):
        read_recipe(written(GOOD.partition("[tasks.digit]")[0] + "[[tasks]]\n"))


def test_no_such_recipe(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml: no such recipe"):
        read_recipe(tmp_path / "none.toml")
