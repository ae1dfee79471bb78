import pickle

import numpy as np
import pytest

from augury import embeddings, hsic
from augury.embeddings import OnDevice, Scratch, Selected, Stored
from augury.errors import UnusableFile


@pytest.fixture
def file(tmp_path):
    x = np.random.default_rng(0).standard_normal((500, 3, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return x, tmp_path / "x.npy"


@pytest.mark.parametrize(
    "places",
    [[7], [3, 4, 5], [5, 3, 4, 3], [0, 499], [2, 6, 7, 9], list(range(500)), [499, 1, 250, 250]],
)
def test_stored_rows_are_the_array_s(file, places):
    x, path = file
    stored = Stored(path)
    places = np.array(places)
    assert len(stored) == 500
    for _ in range(2):
        assert (stored[places] == x[places]).all()
    rows_read = stored[places]
    rows_read[:] = 0  # a copy
    assert (stored[places] == x[places]).all()


def test_pages_are_given_back(monkeypatch, file):
    x, path = file
    monkeypatch.setattr(embeddings, "MAPPED", 100)
    stored = Stored(path)
    for places in (np.array([0, 400]), np.array([1, 300]), np.array([499, 2])):
        assert (stored[places] == x[places]).all()


def test_a_stored_array_travels_as_its_path(file):
    _, path = file
    stored = Stored(path)
    stored[np.array([0, 400])]
    sent = pickle.dumps(stored)
    assert len(sent) < 500
    assert (pickle.loads(sent)[np.array([3])] == stored[np.array([3])]).all()


def test_what_is_no_array_of_rows_is_refused(tmp_path, file):
    np.save(tmp_path / "columns.npy", np.asfortranarray(np.ones((3, 4))))
    with pytest.raises(ValueError, match="row by row"):
        Stored(tmp_path / "columns.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, []], object))
    with pytest.raises(ValueError, match="row by row"):
        Stored(tmp_path / "objects.npy")
    with pytest.raises(IndexError, match="500 rows"):
        Stored(file[1])[np.array([500])]


def test_selections_of_selections(file):
    x, path = file
    first = np.arange(10, 400, 3)
    for base in (x, Stored(path)):
        selection = Selected.of(base, first)
        nested = Selected.of(selection, np.array([5, 2, 9]))
        assert (nested[np.array([0, 2])] == x[first[[5, 9]]]).all()
        assert len(nested) == 3
        assert nested.x is base
        assert Selected.of(base, np.arange(500)) is base


def test_scores_are_the_same_to_the_last_bit_wherever_rows_are(file):
    x, path = file
    y, z = np.arange(500) % 2, x[:, 0, 0].astype(np.float64)
    order = np.random.default_rng(0).permutation(500)
    in_memory, stored = (
        hsic.robust(rows_, [z[order]], y[order], points=True)[0]
        for rows_ in (x[order], Selected(Stored(path), order))
    )
    assert in_memory.score == stored.score
    assert (in_memory.influence == stored.influence).all()


def test_scratch_files_live_as_long_as_the_block(monkeypatch, tmp_path):
    with Scratch(tmp_path) as scratch:
        assert not isinstance(scratch.empty((5, 2), shared=False), np.memmap)
        array = scratch.empty((5, 2), shared=True)
        array[:] = np.arange(10).reshape(5, 2)
        stored = scratch.rows(Selected(array, np.array([4, 1])))
        assert isinstance(stored.x, Stored)
        whole = scratch.whole(stored)
        assert isinstance(whole, Stored)
        assert whole[np.arange(2)].tolist() == [[8, 9], [2, 3]]
        monkeypatch.setattr(
            embeddings.psutil, "virtual_memory", lambda: type("M", (), {"available": 10})
        )
        assert isinstance(scratch.empty((5, 2), shared=False), np.memmap)
    assert not list(tmp_path.iterdir())


def test_a_scratch_folder_that_cannot_be_written_names_its_file(monkeypatch, tmp_path):
    (tmp_path / "store").touch()
    with (
        Scratch(tmp_path / "store") as scratch,
        pytest.raises(UnusableFile, match=r"store/scratch-.*: can't be used: Not a directory"),
    ):
        scratch.empty((5, 2), shared=True)

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embeddings.os, "posix_fallocate", full)
    with (
        Scratch(tmp_path) as scratch,
        pytest.raises(UnusableFile, match=r"scratch-.*: can't be used: No space left"),
    ):
        scratch.empty((5, 2), shared=True)


def test_a_device_that_is_not_there_is_an_error():
    pytest.importorskip("torch")
    OnDevice.check("cpu")
    with pytest.raises(ValueError, match="--device abacus"):
        OnDevice.check("abacus")
