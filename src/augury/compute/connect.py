# Of dask.config.get one argument has no full type:
# pyright: reportUnknownMemberType=false
"""The pool that the user asked for: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from augury.compute.cluster import Cluster, ClusterError
from augury.compute.pool import Pool
from augury.compute.processes import ONE_THREAD, Processes, process_count
from augury.errors import InputError, MissingPackage, did_you_mean, explain_os_errors

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client, LocalCluster

#: Seconds in which a scheduler must answer.
ANSWER = 10.0
#: How Dask is set where we start it.
SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,  # a second worker that dies under a task is enough
    "distributed.worker.profile.enabled": False,  # its results would not be read
    # Dask's default returns freed memory at once: seven times the page faults when it is reused.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
#: Ctrl-C reaches workers too: it is for the parent, which then ends them.
_IGNORE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


@contextmanager
def open_pool(
    cluster: str | Client | None = None,
    jobs: int | None = None,
    *,
    packages: Sequence[str] = (),
) -> Generator[Pool]:
    """The pool that the user asked for, its workers checked; closed afterwards.

    Args:
        cluster: a scheduler's address ("tcp://host:8786"); "local", a Dask cluster of this
            machine; "slurm", jobs as the user's Dask configuration says (jobqueue.slurm); the path
            of a YAML file with such a configuration; a client, which stays open; None: processes
            of this machine, without Dask.
        jobs: workers to start, enough to keep all cores busy if not given; of no effect on an
            address or a client.
        packages: those whose versions must be the same on a cluster's workers.

    Raises:
        InputError: a text that names no cluster, or workers that would compute other bytes;
            `ClusterError`, which is a ConnectionError too: no scheduler there, or no worker.

    >>> from augury.compute import map_any_order
    >>> with open_pool(jobs=1) as pool:
    ...     list(map_any_order(pow, 2, [3, 4], pool=pool))
    [(0, 8), (1, 16)]
    """
    if cluster is None:
        yield Processes(jobs)
        return
    with _explain_missing_dask():
        import distributed
    if isinstance(cluster, distributed.Client):
        yield _check(Cluster(cluster, jobs=jobs or 0, packages=packages))
    elif cluster == "local":
        with (
            _start_local(jobs or process_count()) as started,
            distributed.Client(started, set_as_default=False) as client,
        ):
            yield _check(Cluster(client, packages=packages))
    elif "://" in cluster:
        with _connect(cluster) as client:
            yield _check(Cluster(client, jobs=jobs or 0, packages=packages))
    else:
        settings = {} if cluster == "slurm" else _read_settings(Path(cluster))
        if not jobs:
            raise InputError(f"--cluster {cluster} needs --jobs: the number of workers to ask for")
        with (
            _start_slurm(cluster, settings) as started,
            distributed.Client(started, set_as_default=False) as client,
        ):
            yield _check(Cluster(client, slurm=started, jobs=jobs, packages=packages))


@contextmanager
def _explain_missing_dask() -> Generator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingPackage("--cluster needs Dask: pip install 'augury[cluster]'") from error


def _check(cluster: Cluster) -> Cluster:
    """The cluster, once it has a worker, and its workers are as they must be."""
    cluster.wait_for_worker()
    cluster.check()
    return cluster


def _connect(address: str) -> Client:
    from distributed import Client
    from distributed.comm.addressing import get_address_host_port

    try:
        get_address_host_port(address, strict=True)  # a client of a wrong one would not close
        return Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"--cluster {address}: no Dask scheduler answers ({error}); `dask scheduler` starts "
            "one and says its address"
        ) from error


@contextmanager
def _start_local(jobs: int) -> Generator[LocalCluster]:
    import dask.config
    from distributed import LocalCluster

    environment = set(os.environ)
    try:
        with (
            dask.config.set(SETTINGS),
            LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                env=ONE_THREAD,
                preload=[_IGNORE_INTERRUPTS],
                memory_limit=0,  # as in a local run
                silence_logs=logging.CRITICAL,  # we report a worker's death ourselves
                scheduler_kwargs={
                    "dashboard": False,
                    "dashboard_address": "127.0.0.1:0",  # what remains of it takes any free port
                },
            ) as started,  # pyright: ignore[reportUnknownVariableType]  # or a coroutine, says distributed
        ):
            yield cast(LocalCluster, started)
    finally:
        for name in set(os.environ) - environment:  # Dask sets its workers' here too
            del os.environ[name]


@contextmanager
def _start_slurm(cluster: str, settings: dict[str, object]) -> Generator[SLURMCluster]:
    with _explain_missing_dask():
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
            with suppress(AssertionError):  # on closing a job that SLURM refused
                started.close()


def _read_settings(path: Path) -> dict[str, object]:
    """The settings under jobqueue.slurm in a YAML file."""
    import yaml

    if not path.is_file():
        raise InputError(
            f"--cluster {path}: neither tcp://host:port, nor local, nor slurm, nor a file of YAML"
        )
    try:
        with explain_os_errors(path):
            content = yaml.safe_load(path.read_bytes())
        settings = content["jobqueue"]["slurm"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no YAML with settings under jobqueue: slurm:") from error
    if not isinstance(settings, dict) or not all(
        isinstance(name, str) for name in cast(dict[object, object], settings)
    ):
        raise InputError(f"{path}: what is under jobqueue: slurm: must be names with values")
    return cast(dict[str, object], settings)
