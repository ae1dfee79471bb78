import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from typer.testing import CliRunner

from augury import pseudolabels, rank, read_corpus
from augury.cli.app import app
from augury.compute import WorkerDied, cluster, connect, map_any_order, open_pool
from augury.compute.processes import ONE_THREAD
from augury.errors import InputError
from augury.extraction.corpus import PACKAGES, extract_recordings
from augury.extraction.plan import Plan, Recording
from compute.test_processes import die_at_three, die_once, fail_at_three, square
from reporters import Recorder

import toy

distributed = pytest.importorskip("distributed")
handler = signal.getsignal(signal.SIGINT)
dask_jobqueue = pytest.importorskip("dask_jobqueue")
signal.signal(signal.SIGINT, handler)  # which importing it takes over

FILES = ("ranking.json", "ranking.csv", "report.html", "quarantine.csv")
#: A cluster without workers, which would be threads of this process.
HERE = {
    "n_workers": 0, "threads_per_worker": 1, "processes": False, "protocol": "tcp://",
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
}  # fmt: skip
SLURM = "jobqueue:\n  slurm:\n    cores: 1\n    memory: 1GB\n"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Where `toy.slow` notes its calls: the workers below are started with it."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("log") / "calls"
        patch.setenv("TOY_LOG", str(path))
        yield path


@pytest.fixture(scope="module")
def two(log):
    """Two workers that the tests share; one that they kill is started again."""
    with open_pool("local", 2, packages=PACKAGES) as opened:
        yield opened


@pytest.fixture
def manifest(tmp_path):
    return toy.corpus(tmp_path)


def ranked(manifest, out, **how):
    names = ("own:rms", "own:centroid", "toy:slow")
    rank(read_corpus(manifest), names, label="label", out=out, store=out / "store", **how)
    return {name: (out / name).read_bytes() for name in FILES}


def blas_threads(_, __):
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def noted(folder, item):
    (Path(folder) / str(item)).touch()
    time.sleep(0.2 if item else 0)
    return item


# -------------------------------------------------------------------------------- spreading


def test_every_item_comes_back_once(two):
    found = list(map_any_order(square, 1, list(range(50)), pool=two))
    assert sorted(found) == [(k, k * k + 1) for k in range(50)]
    assert list(map_any_order(square, 1, [7], pool=two)) == [(0, 50)]
    assert list(map_any_order(square, 1, [], pool=two)) == []


def test_exceptions_are_the_callers(two):
    with pytest.raises(ValueError, match="three"):
        dict(map_any_order(fail_at_three, None, list(range(10)), pool=two))


def test_a_worker_that_dies_costs_only_its_item(two):
    found = dict(map_any_order(die_at_three, None, list(range(200)), pool=two))
    assert isinstance(found.pop(3), WorkerDied)
    assert found == {k: k for k in range(200) if k != 3}


def test_an_item_whose_worker_was_killed_once_is_done_again(two, tmp_path):
    found = dict(map_any_order(die_once, str(tmp_path), list(range(20)), pool=two))
    assert found == {k: k for k in range(20)}


def test_a_caller_that_stops_early_cancels_the_rest(two, tmp_path):
    results = map_any_order(noted, str(tmp_path), list(range(40)), pool=two, most=1)
    assert next(results)[1] == 0
    results.close()
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) <= 4  # two workers: one running, one handed over each


def test_a_task_computes_in_one_thread_whoever_started_its_worker():
    np.ones(1)
    with threadpool_limits(2):
        assert cluster._run_on_worker({}, blas_threads, None, None) == {1}


def test_a_worker_that_came_late_with_another_version_does_nothing():
    with pytest.raises(ValueError, match=r"numpy is .* there, 1.0 here; install"):
        cluster._run_on_worker(cluster.versions(PACKAGES) | {"numpy": "1.0"}, square, 0, 1)


def test_a_cluster_leaves_no_trace_in_the_environment(monkeypatch):
    for name in (*ONE_THREAD, "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with open_pool("local", 1) as opened:
        assert os.environ != before
        there = opened.client.run(lambda: dict(os.environ))
    assert os.environ == before
    for environment in there.values():
        assert environment["OMP_NUM_THREADS"] == "1"
        assert "MALLOC_TRIM_THRESHOLD_" not in environment


# --------------------------------------------------------------------------------- rankings


def test_a_cluster_gives_the_same_bytes_even_if_a_worker_is_killed(two, log, manifest, tmp_path):
    here = ranked(manifest, tmp_path / "here", jobs=2)
    log.unlink()
    assert ranked(manifest, tmp_path / "there", jobs=2, cluster=two.client) == here
    assert len(log.read_text().split()) == 24  # each recording once
    assert len(set(log.read_text().split())) == 24
    log.unlink()
    alive = list(two.client.run(os.getpid).values())

    def kill(progress):
        if alive:
            assert progress.done < progress.total
            os.kill(alive.pop(), signal.SIGKILL)
            alive.clear()

    killed = ranked(
        manifest,
        tmp_path / "killed",
        jobs=2,
        cluster=two.client,
        reporter=Recorder(on_extraction=kill),
    )
    assert killed == here
    calls = log.read_text().split()
    assert len(set(calls)) == 24
    assert len(calls) <= 24 + 3  # at most a task, 24 / (4 · 2) recordings, was begun anew


def test_an_address_from_the_command_line(two, manifest, tmp_path):
    address = two.client.scheduler.address
    arguments = ["rank", str(manifest), "--label", "label", "--candidates", "own:rms"]
    arguments += ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--cluster", address])
    assert done.exit_code == 0, done.output
    assert two.client.submit(square, 1, 2).result() == 5  # the scheduler was not ours to close


# ---------------------------------------------------------------------------- what is refused


def test_nobody_there(monkeypatch):
    monkeypatch.setattr(connect, "ANSWER", 0.3)
    for address in ("tcp://127.0.0.1:1", "tcp://127.0.0.1", "sctp://127.0.0.1:1"):
        with pytest.raises(ConnectionError, match="no Dask scheduler answers"):
            open_pool(address).__enter__()


def test_a_scheduler_without_workers(monkeypatch):
    monkeypatch.setattr(cluster, "WORKER", 0.1)
    with (
        distributed.LocalCluster(**HERE) as empty,
        pytest.raises(
            ConnectionError, match=r"no worker for .*: dask worker tcp://.* --nthreads 1"
        ),
    ):
        open_pool(empty.scheduler_address).__enter__()


def test_workers_of_several_threads():
    with (
        distributed.LocalCluster(**HERE | {"n_workers": 1, "threads_per_worker": 2}) as wide,
        distributed.Client(wide, set_as_default=False) as client,
        pytest.raises(ValueError, match=r"has 2 threads.*--nthreads 1"),
    ):
        open_pool(client).__enter__()


def test_workers_of_another_version(two, monkeypatch):
    cluster.versions.cache_clear()
    monkeypatch.setattr(cluster.metadata, "version", lambda name: "0.0")
    try:
        with pytest.raises(ValueError, match=r"augury is .* there, 0\.0 here.*the same versions"):
            open_pool(two.client, packages=PACKAGES).__enter__()
    finally:
        cluster.versions.cache_clear()


def test_workers_with_another_processor_are_told_of(two, monkeypatch, caplog):
    monkeypatch.setattr(cluster, "threadpool_info", list)
    assert open_pool(two.client, packages=PACKAGES).__enter__()
    assert "last digits may differ" in caplog.text


def test_workers_that_do_not_see_the_files_or_the_users_module(two, tmp_path, monkeypatch):
    store = tmp_path / "store"
    two.require_paths(store, [])
    assert list(store.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: True)
        gone = Recording(tmp_path / "gone.wav", "gone.wav")
        with pytest.raises(InputError, match=r"gone\.wav is not there there.*machines share"):
            next(extract_recordings(Plan(store, (), None, ()), [gone], pool=two))
    (tmp_path / "only_here.py").write_text("def f(signal, rate): return signal\n")
    monkeypatch.syspath_prepend(tmp_path)
    plan = Plan.of([pseudolabels.parse_candidate("only_here:f")], store, unvoiced="published")
    with pytest.raises(InputError, match=r"only_here can't be imported.*PYTHONPATH"):
        next(extract_recordings(plan, [], pool=two))


def test_dask_missing_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'augury\[cluster\]'"):
        open_pool("local", 2).__enter__()


# ------------------------------------------------------------------------------------- SLURM


class Slurm(distributed.LocalCluster):
    """Stands in for dask-jobqueue's: workers of this process, none before `scale`."""

    def __init__(self, *, processes, silence_logs):
        import dask.config

        self.read = dask.config.get("jobqueue.slurm") | {"processes": processes}
        super().__init__(**HERE, silence_logs=silence_logs)


@pytest.fixture
def slurm(monkeypatch):
    monkeypatch.setattr(dask_jobqueue.slurm, "SLURMCluster", Slurm)


def test_slurm_as_a_file_says(slurm, tmp_path, caplog):
    file = tmp_path / "jobs.yaml"
    file.write_text(SLURM + "    job_extra_directives: ['--exclusive']\n")
    with open_pool(str(file), 2) as opened:
        assert opened.client.cluster.read["processes"] == 1  # one thread each
        assert opened.client.cluster.read["walltime"] == "00:30:00"  # what the file leaves out
        found = dict(map_any_order(square, 0, list(range(9)), pool=opened))
        opened.client.wait_for_workers(2, timeout=10)
    assert found == {k: k * k for k in range(9)}
    assert "waiting for a job to start" in caplog.text


def test_slurm_as_the_users_configuration_says(slurm):
    import dask.config

    with (
        dask.config.set({"jobqueue.slurm.cores": 1, "jobqueue.slurm.memory": "1GB"}),
        open_pool("slurm", 1) as opened,
    ):
        assert opened.workers() == 1


@pytest.mark.parametrize(
    ("text", "jobs", "message"),
    [
        (SLURM, None, "needs --jobs"),
        (SLURM.replace("memory", "memry"), 2, "no setting memry; did you mean memory?"),
        ("jobqueue:\n  slurm:\n    cores: 1\n", 2, "says no jobqueue.slurm.cores and"),
        ("jobqueue:\n  slurm: 1\n", 2, "must be names with values"),
        ("slurm:\n  cores: 1\n", 2, "no YAML with settings under jobqueue: slurm:"),
        ("jobqueue: !!python/object/apply:os.getpid []", 2, "no YAML with settings"),
        (None, 2, "neither tcp://host:port, nor local, nor slurm, nor a file"),
    ],
)
def test_slurm_settings_that_will_not_do(slurm, tmp_path, text, jobs, message):
    file = tmp_path / "jobs.yaml"
    if text:
        file.write_text(text)
    with pytest.raises(ValueError, match=message):
        open_pool(str(file), jobs).__enter__()


def test_what_slurm_says_of_a_job_it_does_not_take(slurm, monkeypatch, tmp_path):
    file = tmp_path / "jobs.yaml"
    file.write_text(SLURM)
    refused = SimpleNamespace(job_id=None)
    monkeypatch.setattr(Slurm, "scale", lambda self, n: self.workers.update({0: refused}))
    monkeypatch.setattr(Slurm, "close", lambda self: self.workers.clear())
    monkeypatch.setattr(Slurm, "job_script", lambda self: "exit", raising=False)
    monkeypatch.setattr(cluster, "_refusal", lambda script: "invalid partition")
    with pytest.raises(ConnectionError, match="refused all of the jobs: invalid partition"):
        open_pool(str(file), 1).__enter__()
