"""Examples in docstrings run in an empty folder, with a store of their own."""

import pytest


@pytest.fixture(autouse=True)
def _examples_in_a_folder_of_their_own(request, monkeypatch):
    if isinstance(request.node, pytest.DoctestItem):
        folder = request.getfixturevalue("tmp_path")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("AUGURY_STORE", str(folder / "store"))
