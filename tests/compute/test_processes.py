import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from augury.compute import Processes, WorkerDied, map_any_order, processes


def square(offset, item):
    return item * item + offset


def fail_at_three(_, item):
    if item == 3:
        raise ValueError("three")
    return item


def die_at_three(_, item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die_once(folder, item):
    mark = os.path.join(folder, "died")
    if item == 3 and not os.path.exists(mark):
        with open(mark, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def threads(_, __):
    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_item_comes_back_once(jobs):
    found = dict(map_any_order(square, 1, list(range(30)), pool=Processes(jobs)))
    assert found == {k: k * k + 1 for k in range(30)}


def test_exceptions_are_the_callers():
    with pytest.raises(ValueError, match="three"):
        dict(map_any_order(fail_at_three, None, list(range(10)), pool=Processes(2)))


def test_a_worker_that_dies_costs_only_its_item():
    found = dict(map_any_order(die_at_three, None, list(range(200)), pool=Processes(2)))
    assert isinstance(found.pop(3), WorkerDied)
    assert found == {k: k for k in range(200) if k != 3}


def test_an_item_whose_worker_was_killed_once_is_done_again(tmp_path):
    found = dict(map_any_order(die_once, str(tmp_path), list(range(20)), pool=Processes(2)))
    assert found == {k: k for k in range(20)}


def test_a_pool_that_breaks_between_two_looks_loses_nothing(monkeypatch):
    """Handing a task over can be what tells of the death."""
    submit, calls = processes.ProcessPoolExecutor.submit, []

    def late(self, *args):
        calls.append(args)
        if len(calls) == 3:
            raise processes.BrokenProcessPool
        return submit(self, *args)

    monkeypatch.setattr(processes.ProcessPoolExecutor, "submit", late)
    found = dict(map_any_order(square, 0, list(range(40)), pool=Processes(2)))
    assert found == {k: k * k for k in range(40)}


def test_workers_have_one_thread():
    assert set(dict(map_any_order(threads, None, [1, 2], pool=Processes(2))).values()) == {"1"}


def sleep_but_for_the_first(_, item):
    if item:
        time.sleep(300)
    return item


def test_a_caller_that_stops_early_waits_for_nobody():
    results = map_any_order(sleep_but_for_the_first, None, list(range(8)), pool=Processes(2))
    assert next(results) == (0, 0)
    results.close()  # as Ctrl-C, or an error in the loop over them, does
    names = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("LokyProcess" in name for name in names)


def sleep_and_say(folder, item):
    (folder / str(os.getpid())).touch()
    time.sleep(60)


KILLED = """
import sys
from pathlib import Path

from compute import test_processes
from augury.compute import Processes, map_any_order

list(map_any_order(test_processes.sleep_and_say, Path(sys.argv[1]), range(4), pool=Processes(2)))
"""


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    parent = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=environment)
    until = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    workers = [psutil.Process(int(one.name)) for one in tmp_path.iterdir()]
    parent.kill()
    parent.wait()
    assert len(workers) == 2
    assert not psutil.wait_procs(workers, timeout=30)[1]  # they look every second
