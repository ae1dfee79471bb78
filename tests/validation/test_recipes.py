"""The recipes that ship: planned as they are, and run whole on miniatures of the corpora."""

import csv
from pathlib import Path

import pytest

from augury.validation.recipe import read_recipe

import toy

pytest.importorskip("torch")
pytest.importorskip("opensmile")

from augury.validation.validate import plan_jobs, validate

pytestmark = pytest.mark.usefixtures("own_store", "without_pages")
RECIPES = Path(__file__).parents[2] / "recipes"

ASR = """
epochs = 2
batch_seconds = 6.0
longest = 3.0
learning_rate = 0.01
decoder = "ctc"
channels = []
time_pool = 2
recurrent = "lstm"
recurrent_layers = 1
recurrent_units = 8
dense_layers = 0
beam = 1
random_encoder = "tiny.toml"
"""
SPEAKER = """
epochs = 1
batch_seconds = 6.0
longest = 3.0
channels = [8]
kernels = [3]
dilations = [1]
dimensions = 8
crop = 0.5
random_encoder = "tiny.toml"
"""
TRIALS = """\
1 id10270/video0/00000.wav id10270/video1/00001.wav
0 id10270/video0/00002.wav id10271/video0/00000.wav
1 id10271/video0/00000.wav id10271/video1/00003.wav
0 id10271/video1/00001.wav id10270/video0/00000.wav
"""


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """The folder recipes look into, with miniatures of the official trees, and tiny presets."""
    monkeypatch.chdir(tmp_path)
    toy.common_voice(tmp_path / "corpora" / "common_voice")
    toy.timit(tmp_path / "corpora" / "timit")
    toy.voxceleb(tmp_path / "corpora" / "voxceleb1")
    (tmp_path / "corpora" / "veri_test.txt").write_text(TRIALS)
    (tmp_path / "tiny.toml").write_text(toy.preset(epochs=1))
    (tmp_path / "asr.toml").write_text(ASR)
    (tmp_path / "speaker.toml").write_text(SPEAKER)
    return tmp_path


@pytest.mark.parametrize(("name", "task"), [("timit", "asr"), ("voxceleb1", "speaker")])
def test_the_papers_experiments_on_miniature_trees(corpora, name, task):
    text = (RECIPES / f"{name}.toml").read_text()
    (corpora / f"{name}.toml").write_text(text)
    plan = plan_jobs(read_recipe(corpora / f"{name}.toml"))
    # Estimates, two baselines, and three seeds of seven candidates and of reconstruction, judged.
    assert len(plan.jobs) == 1 + 2 + 3 * 8 * 2
    assert plan.later == 3 * 4 * 3
    assert text.count("seeds = 3") == 3
    text = text.replace("seeds = 3", "seeds = 1").replace(
        'preset = "paper"', 'preset = "tiny.toml"', 1
    )
    text = text.replace('preset = "paper"', f'preset = "{task}.toml"')
    (corpora / "small.toml").write_text(text)
    done = validate(read_recipe(corpora / "small.toml"), out=corpora / "out", jobs=1)
    assert [(outcome.job.name, outcome.reason) for outcome in done.failed] == []
    (measured,) = done.analysis.task_errors
    assert measured.errors.shape == (7, 1)
    assert {(group.mode, group.group) for group in done.analysis.groups} == {
        (mode, group)
        for mode in ("frozen", "finetune")
        for group in ("best", "worst", "all", "random")
    }
    assert (corpora / "out" / "report.html").exists()


def test_the_demo_is_of_what_ships():
    plan = plan_jobs(read_recipe(RECIPES / "demo.toml"))
    assert len(plan.jobs) == 1 + 2 + 2 * 7 * 2
    assert plan.seconds < 20 * 60


def test_the_demo_s_jobs_keep_their_keys():
    """Results in users' stores and in benchmarks/validation/results.csv are found by them.

    The estimates' key is not among them: versions of packages are in it.
    """
    with (Path(__file__).parent / "demo_keys.csv").open(newline="") as file:
        expected = {row["job"]: row["key"] for row in csv.DictReader(file)}
    plan = plan_jobs(read_recipe(RECIPES / "demo.toml"))
    keys = {job.name: job.key for job, _, _ in plan.jobs if job.kind != "estimates"}
    assert keys == expected


def test_a_list_of_trials_counts_by_what_is_in_it(corpora):
    text = (RECIPES / "voxceleb1.toml").read_text()
    (corpora / "r.toml").write_text(text)

    def keys():
        return {job.key for job, _, _ in plan_jobs(read_recipe(corpora / "r.toml")).jobs}

    before = keys()
    (corpora / "corpora" / "veri_test.txt").rename(corpora / "corpora" / "list.txt")
    (corpora / "r.toml").write_text(text.replace("veri_test.txt", "list.txt"))
    assert keys() == before
    (corpora / "corpora" / "list.txt").write_text(TRIALS + TRIALS.splitlines()[0] + "\n")
    assert keys() != before
