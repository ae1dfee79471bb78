"""Examples in docstrings run in an empty folder, with a store of their own."""

import os
import sys

import pytest

if "OMP_NUM_THREADS" in os.environ:  # Numba, which dcor uses, reads a variable of its own
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])


@pytest.fixture(autouse=True)
def _torch_keeps_its_threads():
    """Numba sets the number of OpenMP's threads for the whole process, and torch follows it.

    Two processes that train small networks on two threads each, on two cores, need ten times as
    long as on one thread.
    """
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    yield
    if torch and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _examples_in_a_folder_of_their_own(request, monkeypatch):
    if isinstance(request.node, pytest.DoctestItem):
        folder = request.getfixturevalue("tmp_path")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("AUGURY_STORE", str(folder / "store"))
