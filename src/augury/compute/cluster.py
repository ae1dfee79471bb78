"""Workers on other machines: a Dask cluster from what the user wrote, and what is asked of it.

Workers run the functions that a local run runs, on the same files, under the same versions: that is
checked before the work, as otherwise the bytes could differ.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from threadpoolctl import threadpool_info, threadpool_limits

from augury import pseudolabels
from augury.compute import processes
from augury.errors import InputError, MissingPackage, did_you_mean
from augury.pseudolabels.candidate import Candidate

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client, LocalCluster

    from augury.extraction.extract import Plan, Work

#: Seconds in which a scheduler must answer, and in which it must have a worker.
ANSWER, WORKER = 10.0, 60.0
#: Of what the numbers depend on the version.
PACKAGES = ("augury", "numpy", "scipy", "soundfile", "soxr", "opensmile")
#: How Dask is set where we start it.
SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,  # a second worker that dies under a task is enough
    "distributed.worker.profile.enabled": False,  # nobody would look at it
    # Dask's has freed memory given back at once: seven times the page faults when it is used again.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
#: Ctrl-C reaches workers too: it is for the parent, which then ends them.
_LEAVE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"

_log = logging.getLogger(__name__)
_alone = threading.Lock()


class Cluster:
    """A Dask client, as `compute.spread` uses it."""

    def __init__(self, client: Client, *, slurm: SLURMCluster | None = None, jobs: int = 0) -> None:
        from distributed import KilledWorker

        self.client = client
        self.slurm = slurm  # where workers wait in a queue, for as long as it takes
        self.jobs = jobs  # and how many of them are wanted
        self.death = KilledWorker  # what a task raises whose workers all died

    @contextmanager
    def pool(self) -> Iterator[Callable[..., Future[Any]]]:
        """`submit`; what still runs when the block is left by an exception is cancelled."""
        executor = self.client.get_executor(pure=False)
        try:
            yield partial(executor.submit, _there, versions())
        except CancelledError as error:
            raise ConnectionError(
                f"the Dask scheduler {self._address} went away, or cancelled the work; what was "
                "extracted is in the store, and the next run goes on from there"
            ) from error
        except BaseException:
            executor.shutdown(wait=False)
            raise

    def workers(self) -> int:
        """How many there are now, at least one."""
        return max(1, len(self._threads()))

    def wait(self) -> None:
        """Return when there is a worker; ConnectionError if none comes."""
        began, told = time.monotonic(), 0.0
        while not self._threads():
            waited = time.monotonic() - began
            if self.slurm:
                jobs = self.slurm.workers.values()
                if jobs and not any(getattr(job, "job_id", True) for job in jobs):
                    refusal = _refusal(self.slurm.job_script())
                    raise ConnectionError(f"SLURM took none of the jobs: {refusal}")
                self.slurm.scale(self.jobs)  # anew for those that have ended
                if waited >= told:
                    told = waited + 60
                    _log.warning("waiting for a job to start (squeue shows them; Ctrl-C gives up)")
            elif waited > WORKER:
                raise ConnectionError(
                    f"the Dask scheduler {self._address} has had no worker for {waited:.0f} s; "
                    f"start some: dask worker {self._address} --nthreads 1"
                )
            time.sleep(0.5)

    def check(self, plan: Plan, works: Sequence[Work]) -> None:
        """InputError unless all workers see the store, the recordings, the user's functions."""
        plan.store.mkdir(parents=True, exist_ok=True)
        mark = plan.store / f".{secrets.token_hex(8)}"
        mark.touch()
        try:
            self._agree(
                "every worker must see the recordings and the store (--store) under the same path; "
                "put both on a disk that the machines share",
                _there_are,
                [mark, *(work.path for work in works[:1])],
            )
        finally:
            mark.unlink()
        self._agree(
            "every worker must find the same module; put its folder on the workers' PYTHONPATH",
            _function_versions,
            [one for one, _ in plan.functions],
        )

    def _alike(self) -> None:
        """InputError unless all workers have one thread and our versions."""
        self._agree("install the same versions there, or the bytes would differ", versions)
        for worker, threads in self._threads().items():
            if threads > 1:
                raise InputError(
                    f"worker {worker} has {threads} threads, but openSMILE needs a process each; "
                    "start it with --nthreads 1, and --nworkers for more of them"
                )
        ours, theirs = processor(), self._asked(processor)
        if others := sorted({str(its) for its in theirs.values()} - {ours}):
            _log.warning(
                "last digits may differ from a run here: BLAS computes as for %s here, as for %s "
                "on workers", ours, ", ".join(others),
            )  # fmt: skip

    def _agree(self, mend: str, function: Callable[..., dict[str, str]], *given: object) -> None:
        """InputError unless a function gives on every worker what it gives here."""
        ours = function(*given)
        for worker, theirs in self._asked(function, *given).items():
            if isinstance(theirs, Exception):
                raise InputError(f"worker {worker} failed: {theirs}; {mend}")
            if found := _differences(ours, theirs):
                raise InputError(f"worker {worker} differs: {found}; {mend}")

    def _asked(self, function: Callable[..., Any], *given: object) -> dict[str, Any]:
        return cast(dict[str, Any], self.client.run(function, *given, on_error="return"))

    def _threads(self) -> dict[str, int]:
        """Each worker's threads."""
        return cast(dict[str, int], self.client.nthreads())

    @property
    def _address(self) -> str:
        return str(self.client.scheduler.address) if self.client.scheduler else ""


@contextmanager
def open_cluster(cluster: str | Client | None, jobs: int | None) -> Iterator[Cluster | None]:
    """The cluster that a text stands for, its workers checked; closed afterwards.

    Args:
        cluster: a scheduler's address ("tcp://host:8786"); "local", processes of this machine;
            "slurm", jobs as the user's Dask configuration says (jobqueue.slurm); the path of a YAML
            file with such a configuration; a client, which stays open; None gives None.
        jobs: workers to start; of no effect on an address or a client.

    Raises:
        InputError: a text that stands for nothing, or workers that would give other bytes.
        ConnectionError: no scheduler there, or no worker.
    """
    if cluster is None:
        yield None
        return
    with _extra():
        import distributed
    if isinstance(cluster, distributed.Client):
        yield _ready(Cluster(cluster))
    elif cluster == "local":
        with (
            _local(jobs or processes.process_count()) as started,
            distributed.Client(started, set_as_default=False) as client,
        ):
            yield _ready(Cluster(client))
    elif "://" in cluster:
        with _connected(cluster) as client:
            yield _ready(Cluster(client))
    else:
        settings = {} if cluster == "slurm" else _read(Path(cluster))
        if not jobs:
            raise InputError(f"--cluster {cluster} needs --jobs: the number of workers to ask for")
        with (
            _slurm(cluster, settings) as started,
            distributed.Client(started, set_as_default=False) as client,
        ):
            yield _ready(Cluster(client, slurm=started, jobs=jobs))


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingPackage(
            "--cluster needs Dask: pip install 'augury[cluster]'", name=error.name
        ) from error


def _ready(cluster: Cluster) -> Cluster:
    cluster.wait()
    cluster._alike()
    return cluster


def _connected(address: str) -> Client:
    from distributed import Client
    from distributed.comm.addressing import get_address_host_port

    try:
        get_address_host_port(address, strict=True)  # a client for none would not close
        return Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"--cluster {address}: no Dask scheduler answers ({error}); `dask scheduler` starts "
            "one and says its address"
        ) from error


@contextmanager
def _local(jobs: int) -> Iterator[LocalCluster]:
    import dask.config
    from distributed import LocalCluster

    environment = set(os.environ)
    try:
        with (
            dask.config.set(SETTINGS),
            LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                env=processes.ONE_THREAD,
                preload=[_LEAVE_INTERRUPTS],
                memory_limit=0,  # nor has a local run any
                silence_logs=logging.CRITICAL,  # a worker's death is ours to tell
                scheduler_kwargs={
                    "dashboard": False,
                    "dashboard_address": "127.0.0.1:0",  # what remains of it takes any free port
                },
            ) as started,
        ):
            yield cast(LocalCluster, started)
    finally:
        for name in set(os.environ) - environment:  # Dask sets its workers' here too
            del os.environ[name]


@contextmanager
def _slurm(cluster: str, settings: dict[str, object]) -> Iterator[SLURMCluster]:
    with _extra():
        import dask.config

        handler = signal.getsignal(signal.SIGINT)
        from dask_jobqueue.slurm import SLURMCluster

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # importing that makes Ctrl-C end the process
    known = dask.config.get("jobqueue.slurm")
    for name in settings:
        if name.replace("_", "-") not in known:
            hint = did_you_mean(name, known)
            raise InputError(f"{cluster}: jobqueue.slurm has no setting {name}{hint}")
    with dask.config.set(SETTINGS | {f"jobqueue.slurm.{k}": v for k, v in settings.items()}):
        cores = dask.config.get("jobqueue.slurm.cores")
        if not (cores and dask.config.get("jobqueue.slurm.memory")):
            where = "the Dask configuration" if cluster == "slurm" else cluster
            raise InputError(f"{where} says no jobqueue.slurm.cores and jobqueue.slurm.memory")
        started = SLURMCluster(processes=cores, silence_logs="critical")  # of one thread each
        try:
            yield started
        finally:
            with suppress(AssertionError):  # on closing a job that SLURM did not take
                started.close()


def _refusal(script: str) -> str:
    """What SLURM says of a job that it does not take."""
    command = ["sbatch", "--test-only"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    return done.stderr.strip()


def _read(path: Path) -> dict[str, object]:
    """The settings under jobqueue.slurm in a YAML file."""
    import yaml

    if not path.is_file():
        raise InputError(
            f"--cluster {path}: neither tcp://host:port, nor local, nor slurm, nor a file of YAML"
        )
    try:
        found = yaml.safe_load(path.read_bytes())
        settings = found["jobqueue"]["slurm"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no YAML with settings under jobqueue: slurm:") from error
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise InputError(f"{path}: what is under jobqueue: slurm: must be names with values")
    return settings


# ------------------------------------------------------------------------- what workers answer


@cache
def versions() -> dict[str, str]:
    """The versions installed of what the numbers depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def processor() -> str:
    """For which processors BLAS computes here: others may round otherwise."""
    import scipy.linalg  # noqa: F401  # it brings a BLAS of its own

    blas = [one for one in threadpool_info() if one["user_api"] == "blas"]
    return " and ".join(sorted({one.get("architecture") or one["prefix"] for one in blas}))


def _there_are(paths: Sequence[Path]) -> dict[str, str]:
    return {str(path): "there" if os.access(path, os.R_OK) else "not there" for path in paths}


def _function_versions(candidates: Sequence[Candidate]) -> dict[str, str]:
    return {one.name: pseudolabels.function_version(one) for one in candidates}


def _differences(ours: dict[str, str], theirs: dict[str, str]) -> str:
    names = [name for name in ours if theirs[name] != ours[name]]
    return ", ".join(f"{name} is {theirs[name]} there, {ours[name]} here" for name in names)


def _there(wanted: dict[str, str], function: Callable[..., Any], *given: object) -> Any:
    """Run a task on a worker, which may have come after the others were checked."""
    if found := _differences(wanted, versions()):
        raise InputError(f"a worker differs: {found}; install the same versions there")
    with _alone, threadpool_limits(1):  # whoever started it, and with how many threads
        return function(*given)
