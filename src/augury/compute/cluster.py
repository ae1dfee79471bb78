# threadpoolctl and SciPy have no types, and those of distributed are partly unknown:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Workers on other machines: a Dask client as a pool, and what is asked of its workers.

Workers run the functions that a local run runs, on the same files, under the same versions: that is
checked before the work, as otherwise the bytes could differ.
"""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from threadpoolctl import threadpool_info

from augury.compute.pool import Submit
from augury.compute.threads import one_blas_thread
from augury.errors import InputError, explain_os_errors

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client

#: Seconds in which a scheduler must have a worker.
WORKER = 60.0

_log = logging.getLogger(__name__)
_one_task = threading.Lock()


class ClusterError(ConnectionError, InputError):
    """The cluster can't be reached, has no workers, or went away."""


class Cluster:
    """The workers of a Dask scheduler, as a pool.

    `slurm` is where its workers wait in a queue, for as long as it takes; `jobs` how many are
    wanted; `packages` those whose versions must be the same on every worker.
    """

    dies_whole = False
    remote = True

    def __init__(
        self,
        client: Client,
        *,
        jobs: int = 0,
        slurm: SLURMCluster | None = None,
        packages: Sequence[str] = (),
    ) -> None:
        from distributed import KilledWorker

        self.client = client
        self.jobs = jobs
        self.slurm = slurm
        self.packages = tuple(packages)
        self.deaths: tuple[type[Exception], ...] = (KilledWorker,)

    def limit(self, tasks: int) -> Cluster:
        """The same: a cluster's workers are there, however few the tasks."""
        return self

    @contextmanager
    def open(self, workers: int | None = None) -> Generator[Submit]:
        """`submit`; what still runs when the block is left by an exception is cancelled."""
        executor = self.client.get_executor(pure=False)
        try:
            yield partial(executor.submit, _run_on_worker, versions(self.packages))
        except CancelledError as error:
            raise ClusterError(
                f"the Dask scheduler {self._address} went away, or cancelled the work; what is "
                "finished is in the store, and the next run goes on from there"
            ) from error
        except BaseException:
            executor.shutdown(wait=False)
            raise

    def in_flight(self) -> int:
        """Two tasks a worker; workers come and go."""
        return 2 * self.workers()

    def task_size(self, items: int) -> int:
        """A task costs the scheduler's time: four a worker."""
        return max(1, items // (4 * max(self.jobs, self.workers())))

    def workers(self) -> int:
        """How many there are now, at least one."""
        return max(1, len(self._threads()))

    def wait_for_worker(self) -> None:
        """Return when there is a worker; ClusterError if none comes."""
        began, warned = time.monotonic(), 0.0
        while not self._threads():
            waited = time.monotonic() - began
            if self.slurm:
                jobs = cast(Collection[object], self.slurm.workers.values())
                if jobs and not any(getattr(job, "job_id", True) for job in jobs):
                    refusal = _refusal(cast(str, self.slurm.job_script()))
                    raise ClusterError(f"SLURM refused all of the jobs: {refusal}")
                self.slurm.scale(self.jobs)  # anew for those that have ended
                if waited >= warned:
                    warned = waited + 60
                    _log.warning("waiting for a job to start (squeue shows them; Ctrl-C gives up)")
            elif waited > WORKER:
                raise ClusterError(
                    f"the Dask scheduler {self._address} has had no worker for {waited:.0f} s; "
                    f"start some: dask worker {self._address} --nthreads 1"
                )
            time.sleep(0.5)

    def require_paths(self, folder: Path, files: Sequence[Path]) -> None:
        """InputError unless every worker sees the folder and the files under the same names."""
        mark = folder / f".{secrets.token_hex(8)}"
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
        try:
            self.require_same(
                _visibility,
                [mark, *files],
                remedy=f"every worker must see {folder} and the recordings under the same paths; "
                "put them on a disk that the machines share",
            )
        finally:
            mark.unlink()

    def require_same(
        self, facts: Callable[..., dict[str, str]], *arguments: object, remedy: str
    ) -> None:
        """InputError, with the remedy, unless `facts(*arguments)` is the same on every worker."""
        ours = facts(*arguments)
        for worker, theirs in self._ask(facts, *arguments).items():
            if isinstance(theirs, Exception):
                raise InputError(f"worker {worker} failed: {theirs}; {remedy}")
            if differences := _differences(ours, theirs):
                raise InputError(f"worker {worker} differs: {differences}; {remedy}")

    def check(self) -> None:
        """InputError unless all workers have one thread and our versions; a warning of others."""
        self.require_same(
            versions, self.packages, remedy="install the same versions there, or the bytes would "
            "differ"
        )  # fmt: skip
        for worker, threads in self._threads().items():
            if threads > 1:
                raise InputError(
                    f"worker {worker} has {threads} threads, but every task needs a process of "
                    "its own; start it with --nthreads 1, and --nworkers for more of them"
                )
        ours, theirs = blas_architecture(), self._ask(blas_architecture)
        if others := sorted({str(answer) for answer in theirs.values()} - {ours}):
            _log.warning(
                "last digits may differ from a run here: BLAS computes as for %s here, as for %s "
                "on workers", ours, ", ".join(others),
            )  # fmt: skip

    def _ask(self, function: Callable[..., Any], *arguments: object) -> dict[str, Any]:
        """What a function returns on each worker, or the exception that it raises there."""
        return cast(dict[str, Any], self.client.run(function, *arguments, on_error="return"))

    def _threads(self) -> dict[str, int]:
        """Each worker's threads."""
        return cast(dict[str, int], self.client.nthreads())

    @property
    def _address(self) -> str:
        scheduler = cast(Any, self.client.scheduler)
        return str(scheduler.address) if scheduler else ""


def _refusal(script: str) -> str:
    """What SLURM says of a job that it refuses."""
    command = ["sbatch", "--test-only"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    return done.stderr.strip()


# ------------------------------------------------------------------------- what workers answer


@cache
def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions installed of some packages."""
    installed: dict[str, str] = {}
    for name in packages:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def blas_architecture() -> str:
    """The processors that BLAS computes for here: for others it may round otherwise."""
    import scipy.linalg  # noqa: F401  # pyright: ignore[reportUnusedImport]  # brings its own BLAS

    libraries = cast(list[dict[str, str]], threadpool_info())
    names = {
        library.get("architecture") or library["prefix"]
        for library in libraries
        if library["user_api"] == "blas"
    }
    return " and ".join(sorted(names))


def _visibility(paths: Sequence[Path]) -> dict[str, str]:
    return {str(path): "there" if os.access(path, os.R_OK) else "not there" for path in paths}


def _differences(ours: dict[str, str], theirs: dict[str, str]) -> str:
    names = [name for name in ours if theirs[name] != ours[name]]
    return ", ".join(f"{name} is {theirs[name]} there, {ours[name]} here" for name in names)


def _run_on_worker(
    required: dict[str, str], function: Callable[..., Any], *arguments: object
) -> Any:
    """Run a task on a worker, which may have come after the others were checked."""
    if differences := _differences(required, versions(tuple(required))):
        raise InputError(f"a worker differs: {differences}; install the same versions there")
    with _one_task, one_blas_thread():  # whoever started it, and with how many threads
        return function(*arguments)
