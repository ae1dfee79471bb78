import pytest

from augury.validation.recipe import read_recipe

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
        ("seeds = 3", "seeds = 0", "seeds is 0, but must be from 1"),
        ("seeds = 3", "sedes = 3", "did you mean seeds"),
        ("mel = 0.0", "mal = 0.0", "mal: no such setting of pretraining"),
        ("mel = 0.0", "encoder = { dimensions = 8 }", "sizes of the encoder belong into a preset"),
        ('name = "alone"', 'name = "baseline"', "name each regime otherwise"),
        ('name = "alone"', 'name = "alone"\ntasks = ["digits"]', "task of alone .* mean digit"),
        ('regime = "alone"', 'regime = "aline"', "did you mean alone"),
        ("size = 2", 'tasks = ["digits"]', "did you mean digit"),
        ("size = 2", 'modes = ["fintune"]', "did you mean finetune"),
        ('label = "digit"', "", "tasks.digit: label is missing"),
        ("useless =", "source =", "a recipe has source, but a setting is one of name, candidates"),
        ('task = "classify"', "task = 3", "task is 3, but must be a text"),
        ("[pretrain]", "[pretrain", "not TOML"),
        ('split = "train"', 'exclude = "x"', "must be a list of texts"),
        ('split = "train"', 'settings = { estimator = "paper" }', "max_bad, not estimator"),
        ("[tasks.digit.rank]", "[other]", "other, but a setting"),
        ("[[regime]]", "[regime]", r"a table of its own, \[\[regime\]\]"),
        ("[tasks.digit.rank]", "[[tasks.digit.rank]]", "rank is .* must be a table"),
        ("settings = { mel = 0.0, mfcc = 0.0 }", "settings = 3", "settings is 3, but must be a t"),
        ('settings = { exclude = ["x"] }', 'settings = ["x"]', "settings is .* must be a table"),
        ('exclude = ["x"]', "exclude = 3", "exclude is 3, but must be a list"),
        ('exclude = ["x"]', "trials = 3", "trials is 3, but must be a text"),
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


def test_tasks_are_tables_with_names(written):
    with pytest.raises(ValueError, match=r"a table \[tasks\.NAME\]"):
        read_recipe(written(GOOD.partition("[tasks.digit]")[0] + "[[tasks]]\n"))


def test_no_such_recipe(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml: no such recipe"):
        read_recipe(tmp_path / "none.toml")
