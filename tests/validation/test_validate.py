"""The experiment whole, on a toy corpus: what it leaves, what it never does twice, how it fails."""

import csv
import pickle
import random
import shutil
import signal
import time

import pytest
from typer.testing import CliRunner

from augury import compute
from augury.cli.app import app
from augury.errors import InputError
from augury.validation.recipe import BASELINES, read_recipe
from reporters import Recorder

import commands
import toy

torch = pytest.importorskip("torch")

from augury.learning.training import Stopped  # noqa: E402
from augury.validation import jobs  # noqa: E402
from augury.validation import validate as experiment  # noqa: E402
from augury.validation.analysis import Analysis  # noqa: E402
from augury.validation.validate import plan_jobs, validate  # noqa: E402

pytestmark = pytest.mark.usefixtures("own_store", "without_pages")

RECIPE = """
candidates = ["toy:pitch", "own:zero_crossings", "own:noise"]
useless = "own:noise"

[pretrain]
manifest = "manifest.csv"
preset = "tiny.toml"
seeds = 1

[[regime]]
name = "alone"
settings = { mel = 0.0, mfcc = 0.0 }

[tasks.pitch]
task = "classify"
manifest = "manifest.csv"
label = "label"
settings = { epochs = 2 }

[groups]
regime = "alone"
size = 1
seeds = 1
modes = ["frozen"]
"""
#: The same without groups of pseudo-labels: eleven jobs where RECIPE has twenty.
SHORT = RECIPE.partition("[groups]")[0]
#: What differs from run to run: times.
TIMES = ("seconds", "pretrain_seconds", "date")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Writes a recipe beside a toy corpus, in the current folder."""

    def write(text=RECIPE):
        (tmp_path / "r.toml").write_text(text)
        return tmp_path / "r.toml"

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(toy.preset(epochs=2))
    toy.corpus(tmp_path, each=12)
    return write


@pytest.fixture(scope="module")
def experiments(tmp_path_factory):
    """Runs a recipe once, and copies its results and its store to wherever a test wants them."""
    done = {}

    def copy(text, path):
        if text not in done:
            done[text] = tmp_path_factory.mktemp("experiment")
            run(path, done[text] / "out")
            shutil.copytree(path.parent / "store", done[text] / "store")
        shutil.copytree(done[text], path.parent, dirs_exist_ok=True)
        return path.parent / "out"

    return copy


def run(path, name="out", **choices):
    return validate(read_recipe(path), out=path.parent / name, jobs=1, **choices)


def rows(folder):
    with (folder / "results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in TIMES} for row in table]


def key_of_line(line):
    return line.split(",")[-3]


def tables(folder):
    names = ("gates", "correlations", "confirmed", "groups", "estimates")
    return {name: (folder / f"{name}.csv").read_bytes() for name in names}


def test_random_encoders_are_of_the_sizes_of_the_pretrained_wherever_these_are_written(
    recipe, tmp_path
):
    def keys():
        key_of = {job.name: job.key for job, *_ in plan_jobs(read_recipe(path)).jobs}
        return {name: key_of[f"pitch (frozen) on baseline: {name}, seed 0"] for name in BASELINES}

    path = recipe()
    before = keys()
    (tmp_path / "other.toml").write_text((tmp_path / "tiny.toml").read_text())
    recipe(RECIPE.replace("tiny.toml", "other.toml"))
    assert keys() == before
    larger = toy.preset(epochs=2).replace("recurrent_units = ", "recurrent_units = 1")
    (tmp_path / "other.toml").write_text(larger)
    after = keys()
    assert after["mel"] == before["mel"]
    assert after["random"] != before["random"]


def test_another_code_of_a_function_is_another_encoder(recipe, monkeypatch):
    def keys():
        key_of = {job.name: job.key for job, *_ in plan_jobs(read_recipe(path)).jobs}
        names = ("toy:pitch", "own:noise")
        return [key_of[f"pitch (frozen) on alone: {name}, seed 0"] for name in names]

    path = recipe()
    before = keys()
    monkeypatch.setattr("augury.pseudolabels.function_version", lambda one: "as edited")
    pitch, noise = keys()
    assert pitch != before[0]
    assert noise == before[1]


def test_another_code_of_a_task_is_another_task(recipe, monkeypatch):
    def keys():
        key_of = {job.name: job.key for job, *_ in plan_jobs(read_recipe(path)).jobs}
        return [key_of[f"{name} (frozen) on baseline: mel, seed 0"] for name in ("pitch", "mine")]

    mine = RECIPE.replace("tasks.pitch", "tasks.mine").partition("[tasks.mine]")[2]
    mine = mine.replace('"classify"', '"augury.downstream.tasks.classify:Classify"')
    path = recipe(RECIPE + "[tasks.mine]" + mine.partition("[groups]")[0])
    before = keys()
    monkeypatch.setattr("augury.downstream.tasks.task.source_version", lambda *_: "as edited")
    shipped, own = keys()
    assert shipped == before[0]
    assert own != before[1]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('label = "label"', 'label = "labels"', "tasks.pitch: .*'labels'.*did you mean"),
        ("epochs = 2", 'epochs = 2, train = "none"', "tasks.pitch: .*'split'"),
        ("epochs = 2 }", 'epochs = 2 }\n[tasks.pitch.rank]\nlabel = "no"', "tasks.pitch: .*'no'"),
        ("seeds = 1", 'seeds = 1\nsettings = { split = "none" }', "no label column 'split'"),
        ("epochs = 2", 'hidden = "many"', "tasks.pitch: settings: hidden is 'many', but must be a"),
        (
            "epochs = 2",
            "hiden = 2",
            "tasks.pitch: settings: hiden: .* did you mean hidden",
        ),
        ("seeds = 1", 'seeds = 1\nsettings = { epochs = "many" }', "epochs is 'many', but must"),
        ("mel = 0.0", 'mel = "none"', "mel is 'none', but must be a number"),
        (
            "epochs = 2 }",
            'epochs = 2 }\n[tasks.pitch.rank]\nsettings = { unvoiced = "voise" }',
            "tasks.pitch.rank: settings: unvoiced is 'voise', but must be published or voiced",
        ),
    ],
)
def test_what_is_wrong_is_named_before_any_work(recipe, tmp_path, before, after, message):
    assert before in RECIPE
    path = recipe(RECIPE.replace(before, after, 1))
    with pytest.raises(InputError, match=message):
        plan_jobs(read_recipe(path))
    assert not (tmp_path / "store").exists()


def test_what_is_not_finite_is_a_failure_of_that_job(tmp_path, monkeypatch):
    monkeypatch.setitem(jobs.KINDS, "pretrain", lambda *_: {"loss": float("nan")})
    chain = [jobs.Job("one", "pretrain", jobs.JobCorpus("m.csv", "", "d"), {})]
    (done,) = jobs.run_chain(jobs.RunOptions(tmp_path), chain)
    assert done.result is None
    assert "finite" in done.reason
    assert done.log


def test_of_a_dead_worker_only_what_it_had_not_done_has_failed(recipe, monkeypatch):
    map_any_order = compute.map_any_order

    def dying(function, site, chains, **how):
        if function is not jobs.run_chain:
            yield from map_any_order(function, site, chains, **how)
            return
        for index, chain in enumerate(chains):
            lost = "toy:pitch, seed 0" in chain[0].name
            done = jobs.run_chain(site, chain[:1] if lost else chain)
            yield index, compute.WorkerDied("died twice") if lost else done

    monkeypatch.setattr(compute, "map_any_order", dying)
    done = run(recipe(SHORT))
    (failed,) = done.failed
    assert failed.job.name == "pitch (frozen) on alone: toy:pitch, seed 0"
    assert "died twice" in failed.reason


def test_what_was_begun_with_another_noise_is_begun_again(recipe, tmp_path, monkeypatch):
    chain = next(
        [job]
        for job, *_ in plan_jobs(read_recipe(recipe())).jobs
        if job.name == "pretrain alone: own:noise, seed 0"
    )
    site = jobs.RunOptions(tmp_path / "store")
    folder = chain[0].folder(site.store) / "encoder"
    jobs.run_pretraining(chain[0], folder, store=site.store, jobs=1, prepare_only=True)
    monkeypatch.setattr("augury.pseudolabels.function_version", lambda one: "as edited")
    (done,) = jobs.run_chain(site, chain)
    assert done.result, done.reason


def test_what_cannot_be_ranked_is_named(recipe, tmp_path):
    path = recipe()
    for name in ("low-0.wav", "low-3.wav"):
        (tmp_path / name).unlink()
    done = CliRunner().invoke(app, ["validate", str(path), "--out", "out", "--jobs", "1"])
    assert done.exit_code == 2
    assert "in a recipe, max_bad" in done.output
    assert "low-3.wav" in (tmp_path / "out" / "quarantine.csv").read_text()


def test_all_that_it_leaves_and_nothing_twice(recipe, tmp_path):
    reporter = Recorder()
    text = RECIPE.replace("seeds = 1", "seeds = 2", 1)
    done = run(recipe(text), reporter=reporter)
    assert done.failed == ()
    names = {path.name for path in done.folder.iterdir()}
    assert {"report.html", "results.csv", "correlations.csv", "figures", "groups.csv"} <= names
    assert {"pair-pitch-alone.png", "scatter-pitch-alone.svg"} <= {
        path.name for path in (done.folder / "figures").iterdir()
    }
    first_rows = rows(done.folder)
    of = {(row["regime"], row["candidate"], row["pretrain_seed"]) for row in first_rows}
    assert ("baseline", "reconstruction", "1") in of
    assert ("alone", "own:noise", "0") in of
    assert ("group pitch: all", "own:zero_crossings, toy:pitch", "0") in of
    assert len(of) == 2 + 2 + 3 * 2 + 4
    (measured,) = done.analysis.task_errors
    assert measured.errors.shape == (3, 2)
    assert {group.group for group in done.analysis.groups} == {"best", "worst", "all", "random"}
    page = (done.folder / "report.html").read_text()
    assert 'pitch, frozen: all <span class="more">own:zero_crossings, toy:pitch</span>' in page
    assert not list((tmp_path / "store" / "jobs").glob("features-*"))  # gone with their jobs
    logs = {path: path.read_bytes() for path in (tmp_path / "store" / "jobs").glob("*/log.txt")}
    before = tables(done.folder)
    again = run(recipe(text), "other", reporter=reporter)
    assert logs == {
        path: path.read_bytes() for path in (tmp_path / "store" / "jobs").glob("*/log.txt")
    }
    assert tables(again.folder) == before
    assert rows(again.folder) == first_rows
    plan = plan_jobs(read_recipe(recipe(text)))
    assert plan.later == 0
    assert all(known for _, known, _ in plan.jobs)
    assert any("on all: " in job.name for job, *_ in plan.jobs)
    page = (again.folder / "report.html").read_text()
    assert "Did the ranking predict downstream errors?" in page


def test_a_regime_is_judged_by_its_tasks_only(recipe, experiments):
    experiments(SHORT, recipe(SHORT))
    text = """
[tasks.again]
task = "classify"
manifest = "manifest.csv"
label = "label"
settings = { epochs = 1 }

[[regime]]
name = "whole"
tasks = ["pitch"]
"""
    done = run(recipe(SHORT + text))
    of = {(errors.task, errors.regime) for errors in done.analysis.task_errors}
    assert of == {("pitch", "alone"), ("again", "alone"), ("pitch", "whole")}
    of = {(row["task"], row["regime"]) for row in rows(done.folder)}
    assert ("again", "baseline") in of
    assert ("again", "whole") not in of
    assert "So far" not in (done.folder / "report.html").read_text()  # nothing is missing


def test_the_same_encoder_is_one_chain_whoever_asks_for_it(recipe):
    reporter = Recorder()
    mine = RECIPE.partition("[tasks.pitch]")[2].partition("[groups]")[0]
    text = RECIPE.replace("[groups]", f"[tasks.again]{mine}[groups]")
    done = run(recipe(text), reporter=reporter)
    # Groups of one are encoders of that regime; "all" is the same for both tasks.
    assert any(line.startswith("7 of 7: ") for line in reporter.messages)
    assert len({group.task for group in done.analysis.groups}) == 2


def test_groups_that_overlap_are_told(recipe, experiments):
    reporter = Recorder()
    experiments(SHORT, recipe(SHORT))
    run(recipe(RECIPE.replace("size = 1", "size = 2")), reporter=reporter)
    assert any(
        "best and worst of pitch overlap: 2 of 3 candidates" in line for line in reporter.messages
    )


def test_groups_need_relevant_candidates(recipe, experiments):
    reporter = Recorder()
    experiments(SHORT, recipe(SHORT))
    done = run(recipe(RECIPE.replace('"toy:pitch"', '"toy:level"')), reporter=reporter)
    assert done.analysis.groups == ()
    assert any(
        "no groups for pitch: 1 of 3 candidates are relevant" in line for line in reporter.messages
    )


def test_a_longer_recipe_adds_to_what_was_done(recipe, experiments, tmp_path):
    experiments(RECIPE, recipe())
    jobs = set((tmp_path / "store" / "jobs").iterdir())
    plan = plan_jobs(read_recipe(recipe(RECIPE.replace("seeds = 1", "seeds = 2", 1))))
    todo = [job.name for job, known, _ in plan.jobs if not known]
    assert todo
    assert all(name.endswith("seed 1") for name in todo)
    assert plan.later == 0  # rankings, and so groups, are known
    assert plan.seconds > 0
    assert set((tmp_path / "store" / "jobs").iterdir()) == jobs  # planning does nothing


def test_the_rows_of_results_csv_count_as_done(recipe, experiments, tmp_path):
    path = recipe(SHORT)
    folder = experiments(SHORT, path)
    elsewhere = tmp_path / "elsewhere"
    plan = plan_jobs(read_recipe(path), elsewhere, folder)
    todo = [job for job, known, _ in plan.jobs if not known]
    assert {job.kind for job in todo} == {"estimates"}
    table = folder / "results.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if "toy:pitch,pitch,frozen,0," not in line))
    plan = plan_jobs(read_recipe(path), elsewhere, folder)
    todo = [job.name for job, known, _ in plan.jobs if not known and job.kind != "estimates"]
    assert todo == [
        "pretrain alone: toy:pitch, seed 0", "pitch (frozen) on alone: toy:pitch, seed 0",
    ]  # fmt: skip
    assert 0 < plan.seconds < 60  # as the others took
    assert not elsewhere.exists()


def test_what_fails_is_said_and_stops_nothing_else(recipe, experiments, monkeypatch):
    experiments(SHORT, recipe(SHORT))
    monkeypatch.setattr(experiment, "REPORT_SECONDS", -1.0)
    written, write = [], Analysis.write
    monkeypatch.setattr(Analysis, "write", lambda *given: written.append(0) or write(*given))
    reporter = Recorder()
    done = run(recipe(SHORT.replace('"own:zero_crossings"', '"toy:nothing"')), reporter=reporter)
    failed = {outcome.job.name: outcome for outcome in done.failed}
    first = failed["pretrain alone: toy:nothing, seed 0"]
    assert "Traceback" in first.log.read_text()
    needed = failed["pitch (frozen) on alone: toy:nothing, seed 0"]
    assert needed.reason == "pretrain alone: toy:nothing, seed 0 failed"
    assert any("failed: pretrain alone: toy:nothing, seed 0" in line for line in reporter.messages)
    assert {row["candidate"] for row in rows(done.folder)} == {
        "mel", "random", "reconstruction", "toy:pitch", "own:noise",
    }  # fmt: skip
    assert len(written) == 1 + 1  # what is known so far, after each encoder to do
    page = (done.folder / "report.html").read_text()
    assert "So far 2 of 3 errors of candidates are measured." in page
    # Reconstruction need not help here; where nothing is worth judging by, nothing predicts best.
    assert ("predicts best" in page) == any(gate.open for gate in done.analysis.gates)


def test_killed_at_random_moments_it_ends_with_the_same_tables(
    recipe, experiments, tmp_path, monkeypatch
):
    path = recipe()
    whole = experiments(RECIPE, path)
    store = tmp_path / "other-store"
    monkeypatch.setenv("AUGURY_STORE", str(store))
    words = ["validate", path, "--out", tmp_path / "killed", "--jobs", 1, "--minutes", 0.01]
    chance = random.Random(0)
    finished = 0
    for _ in range(3):
        killed = commands.Command(words)
        while not killed.ended() and len(list(store.glob("jobs/*/result.json"))) <= finished:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 3.0))
        killed.kill()
        finished = len(list(store.glob("jobs/*/result.json")))
    output = tmp_path / "output"
    assert commands.run(words, output) == 0, output.read_text()
    assert tables(tmp_path / "killed") == tables(whole)
    assert rows(tmp_path / "killed") == rows(whole)


def test_rows_are_enough_to_go_on_from_elsewhere(recipe, experiments, tmp_path, monkeypatch):
    folder = experiments(SHORT, recipe(SHORT))
    before = rows(folder)
    monkeypatch.setenv("AUGURY_STORE", str(tmp_path / "empty"))
    lines = (folder / "results.csv").read_text().splitlines(keepends=True)
    lost = [line for line in lines if "own:noise" in line and ",0,0,error," in line]
    assert len(lost) == 1
    kept = "".join(line for line in lines if line not in lost)
    # A row twice, as of two groups with the same members, and one of another experiment.
    kept += lines[2] + lines[1].replace(key_of_line(lines[1]), "0" * 64)
    (folder / "results.csv").write_text(kept)
    reporter = Recorder()
    run(recipe(SHORT), reporter=reporter)
    assert "5 of 6 encoders were evaluated before" in reporter.messages
    logs = [path.read_text() for path in (tmp_path / "empty" / "jobs").glob("*/log.txt")]
    assert sum("pretrain" in log for log in logs) == 1  # nothing else was trained
    assert rows(folder) == before
    (aside,) = folder.glob("results-*.csv")
    assert aside.read_text() == kept
    assert any("rows of 1 jobs that are not in this recipe" in line for line in reporter.messages)
    (folder / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="as this version writes it"):
        run(recipe(SHORT))


def test_a_cluster_gives_the_same_tables(recipe, experiments, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    here = experiments(SHORT, recipe(SHORT))
    monkeypatch.setenv("AUGURY_STORE", str(tmp_path / "other-store"))
    there = validate(read_recipe(recipe(SHORT)), out=tmp_path / "there", cluster="local", jobs=2)
    assert there.failed == ()
    assert tables(there.folder) == tables(here)
    assert rows(there.folder) == rows(here)


def test_an_experiment_that_is_asked_to_stop_does_not_call_it_a_failure(tmp_path, monkeypatch):
    def stopped(*_):
        raise Stopped("stopped in epoch 1", signal.SIGTERM)

    monkeypatch.setitem(jobs.KINDS, "pretrain", stopped)
    chain = [jobs.Job("one", "pretrain", jobs.JobCorpus("m.csv", "", "d"), {})]
    with pytest.raises(Stopped) as error:
        jobs.run_chain(jobs.RunOptions(tmp_path), chain)
    again = pickle.loads(pickle.dumps(error.value))  # as a worker sends it
    assert (str(again), again.signal) == ("stopped in epoch 1", signal.SIGTERM)


def test_a_damaged_result_is_made_again_wherever_the_corpus_is_now(recipe, experiments, tmp_path):
    folder = experiments(SHORT, recipe(SHORT))
    jobs = sorted((tmp_path / "store" / "jobs").glob("*/result.json"))
    # An encoder is not trained again while all that it was judged by is known.
    results = [path for path in jobs if '"outcomes"' in path.read_text()][:2]
    results += [path for path in jobs if '"table"' in path.read_text()]
    for path in results:
        path.write_text(path.read_text()[:-20])
    before = tables(folder)
    again = run(recipe(SHORT), "again")
    assert tables(again.folder) == before
    assert all(path.read_text().endswith("}\n") for path in results)


def test_the_command_line_plans(recipe):
    done = CliRunner().invoke(app, ["validate", str(recipe()), "--plan", "--jobs", "2"])
    assert done.exit_code == 0, done.output
    assert "to do  estimates for pitch" in done.output
    assert "pretrain alone: own:noise, seed 0" in done.output
    assert "8 jobs of groups" in done.output
    bad = CliRunner().invoke(app, ["validate", "none.toml"])
    assert bad.exit_code == 2
