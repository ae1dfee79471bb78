import hashlib
import os
import stat

import numpy as np
import pytest

from augury.errors import UnusableFile
from augury.store import Store, key, unpack, write_atomically

ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.zeros(0, np.uint8)}


def test_what_is_written_is_read(tmp_path):
    store = Store(tmp_path)
    store.write(key("x", 1), ARRAYS)
    arrays_read = store.read(key("x", 1))
    assert arrays_read is not None
    assert sorted(arrays_read) == ["a", "b"]
    for name, array in ARRAYS.items():
        assert arrays_read[name].dtype == array.dtype
        assert np.array_equal(arrays_read[name], array)
    assert store.read(key("x", 2)) is None


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    store, other_store = Store(tmp_path / "one"), Store(tmp_path / "other")
    store.write("k", ARRAYS)
    other_store.write("k", dict(reversed(ARRAYS.items())))
    assert store.path("k").read_bytes() == other_store.path("k").read_bytes()


def test_keys_tell_inputs_apart():
    assert key("a", "bc") != key("ab", "c")
    assert key(1) != key("1")
    assert key({"x": 1, "y": 2}) == key({"y": 2, "x": 1})


@pytest.mark.parametrize("position", [0, 20, 40, -1])
def test_one_flipped_bit_is_noticed(tmp_path, position):
    store = Store(tmp_path)
    store.write("k", ARRAYS)
    data = bytearray(store.path("k").read_bytes())
    data[position] ^= 1
    store.path("k").write_bytes(data)
    assert store.read("k") is None


@pytest.mark.parametrize("length", [0, 10, 32, 50])
def test_a_short_file_is_noticed(tmp_path, length):
    store = Store(tmp_path)
    store.write("k", ARRAYS)
    store.path("k").write_bytes(store.path("k").read_bytes()[:length])
    assert store.read("k") is None


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_as_readable_as_the_user_wants(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_mapped_arrays_are_those_written(tmp_path):
    store = Store(tmp_path)
    arrays = {
        "a": np.arange(12, dtype=np.float16).reshape(4, 3),
        "b": np.array([2.5]),
        "c": np.arange(5, dtype=np.float32),
    }
    store.write("x" * 64, arrays)
    arrays_read = store.memory_map("x" * 64)
    assert arrays_read is not None
    assert set(arrays_read) == set(arrays)
    for name, expected in arrays.items():
        assert isinstance(arrays_read[name], np.memmap)
        np.testing.assert_array_equal(arrays_read[name], expected)
    assert store.memory_map("y" * 64) is None
    path = store.path("x" * 64)
    for length in (path.stat().st_size - 1, 60, 36, 0):
        with path.open("r+b") as file:
            file.truncate(length)
        assert store.memory_map("x" * 64) is None


def test_an_artefact_that_cannot_be_opened_names_its_file(tmp_path):
    store = Store(tmp_path)
    store.path("x" * 64).mkdir(parents=True)
    for read in (store.read, store.look, store.memory_map):
        with pytest.raises(UnusableFile, match=f"{'x' * 64}: can't be used: Is a directory"):
            read("x" * 64)


def write_as_before(store, name):
    """An artefact as earlier versions wrote it: its payload after a BLAKE2b."""
    store.write(name, ARRAYS)
    payload = store.path(name).read_bytes()[32:]
    store.path(name).write_bytes(hashlib.blake2b(payload, digest_size=32).digest() + payload)


def test_artefacts_of_earlier_versions_are_read(tmp_path):
    store = Store(tmp_path)
    write_as_before(store, "k")
    arrays_read = store.read("k")
    assert arrays_read is not None
    for name, array in ARRAYS.items():
        assert arrays_read[name].dtype == array.dtype
        assert np.array_equal(arrays_read[name], array)
    for position in (0, 20, 40, -1):
        write_as_before(store, "k")
        data = bytearray(store.path("k").read_bytes())
        data[position] ^= 1
        store.path("k").write_bytes(data)
        assert store.read("k") is None


def test_types_and_shapes_come_back_and_may_be_written_to(tmp_path):
    store = Store(tmp_path)
    kinds = "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"
    arrays = {kind: np.arange(6).reshape(1, 3, 2).astype(kind) for kind in kinds}
    arrays["none"] = np.empty((0, 4))
    store.write("k", arrays)
    for arrays_read in (store.read("k"), unpack(store.path("k").read_bytes())):
        assert arrays_read is not None
        for name, array in arrays.items():
            assert arrays_read[name].dtype == array.dtype
            assert np.array_equal(arrays_read[name], array)
            arrays_read[name][...] = 0


def test_a_look_tells_names_and_small_arrays(tmp_path):
    store = Store(tmp_path)
    arrays = {"large": np.zeros(9), "small": np.arange(8.0), "rate": np.array([16000])}
    store.write("k", arrays)
    arrays_read = store.look("k")
    assert arrays_read is not None
    assert arrays_read["large"] is None
    assert np.array_equal(arrays_read["small"], arrays["small"])
    assert np.array_equal(arrays_read["rate"], arrays["rate"])
    assert store.look("other") is None
    data = store.path("k").read_bytes()
    for length in (0, 20, 36, 60, len(data) - 1):
        store.path("k").write_bytes(data[:length])
        assert store.look("k") is None
    store.path("k").write_bytes(data + b"x")
    assert store.look("k") is None
