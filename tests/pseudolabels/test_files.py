import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augury.errors import InputError, MissingFile
from augury.pseudolabels import parse_candidate, parse_candidates, require_no_files
from augury.pseudolabels.files import open_files


def recordings(*names, root="/speech"):
    return [(name, Path(root) / name) for name in names]


def write_km(folder, units, names=None, root="/speech", stem="train"):
    """fairseq's files of a dict recording → units; the .km."""
    lines = [" ".join(map(str, line)) for line in units.values()]
    km = folder / f"{stem}.km"
    km.write_text("".join(f"{line}\n" for line in lines))
    rows = [f"{name}\t16000" for name in (names or units)]
    km.with_suffix(".tsv").write_text("\n".join([root, *rows]) + "\n")
    return km


def read(name, corpus, duration=0.1, *, reads=None):
    """The values of a corpus's recordings, of one candidate; and its faults by recording's name."""
    (file,) = open_files([parse_candidate(name)], corpus).values()
    values: dict[str, Any] = {
        name: file.read(path, name, duration) for name, path in reads or corpus
    }
    return values, {path.name: text for path, text in file.faults.items()}, file


def write_npy(folder, **arrays):
    for name, array in arrays.items():
        path = folder / f"{name.replace('__', '/')}.npy"
        path.parent.mkdir(exist_ok=True, parents=True)
        np.save(path, np.asarray(array))


# ------------------------------------------------------------------------------------- formats


def test_a_km_has_a_line_of_units_for_each_recording_of_its_tsv(tmp_path):
    km = write_km(tmp_path, {"a.wav": [3, 3, 0, 7, 7], "deep/b.wav": [40000] * 5})
    values, faults, file = read(f"units:{km}@50", recordings("deep/b.wav", "a.wav"))
    assert values["a.wav"].tolist() == [3, 3, 0, 7, 7]
    assert (values["a.wav"].dtype, values["deep/b.wav"].dtype) == (np.int16, np.int32)
    assert not faults
    assert file.timing == (0.01, 0.02)


def test_json_lines_name_recordings_by_path_or_id(tmp_path):
    lines = [{"name": "a", "units": [1, 2]}, {"audio": "x/b.flac", "units": [5, 5]}]
    (tmp_path / "units.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    corpus = recordings("deep/a.wav", "b.flac")
    values, faults, _ = read(f"units:{tmp_path / 'units.jsonl'}@20", corpus)
    assert {name: v.tolist() for name, v in values.items()} == {
        "deep/a.wav": [1, 2], "b.flac": [5, 5]
    }  # fmt: skip
    assert not faults


def test_a_folder_has_an_array_for_each_recording(tmp_path):
    write_npy(tmp_path, one__a=[1, 2], two__a=np.array([3, 4], np.uint8))
    values, faults, _ = read(f"units:{tmp_path}@20", recordings("two/a.wav", "one/a.wav"))
    assert values["one/a.wav"].tolist() == [1, 2]
    assert values["two/a.wav"].tolist() == [3, 4]
    assert not faults


def test_a_glob_takes_the_files_of_all_splits(tmp_path):
    write_km(tmp_path, {"a.wav": [1, 2]}, stem="train")
    write_km(tmp_path, {"b.wav": [3, 4]}, stem="valid")
    values, faults, file = read(f"units:{tmp_path}/*.km@20", recordings("b.wav", "a.wav"))
    assert {name: v.tolist() for name, v in values.items()} == {"b.wav": [3, 4], "a.wav": [1, 2]}
    assert not faults
    assert len(file.digests()) == 4
    with pytest.raises(MissingFile, match="no file matches"):
        read(f"units:{tmp_path}/*.none@20", recordings("a.wav"))


def test_vectors_are_memory_mapped_and_keep_their_type(tmp_path):
    write_npy(tmp_path, a=np.ones((5, 3), np.float16), b=np.ones((6, 3), np.float32))
    values, faults, _ = read(f"frames:{tmp_path}@50", recordings("a.wav", "b.wav"))
    assert all(isinstance(v, np.memmap) for v in values.values())
    assert [v.dtype for v in values.values()] == [np.float16, np.float32]
    assert not faults


def test_vectors_of_whole_numbers_are_vectors(tmp_path):
    write_npy(tmp_path, a=np.ones((5, 3), np.int16))
    values, _, _ = read(f"frames:{tmp_path}@50", recordings("a.wav"))
    assert values["a.wav"].dtype == np.float32


def test_fairseqs_joined_array_is_cut_by_its_lengths(tmp_path):
    write_km(tmp_path, {"a.wav": [], "b.wav": []})
    array = np.arange(22, dtype=np.float32).reshape(11, 2)
    np.save(tmp_path / "train.npy", array)
    (tmp_path / "train.len").write_text("5\n6\n")
    name = f"frames:{tmp_path / 'train.npy'}@50"
    values, faults, _ = read(name, recordings("b.wav", "a.wav"))
    assert np.array_equal(values["b.wav"], array[5:])
    assert np.array_equal(values["a.wav"], array[:5])
    assert not faults
    (tmp_path / "train.len").write_text("5\n70000\n")  # more frames than there may be units
    with pytest.raises(InputError, match=r"add up to 70,005"):
        read(name, recordings("a.wav"))
    (tmp_path / "train.len").write_text("5\n7\n")
    with pytest.raises(InputError, match=r"11 frames, but the lengths in .*train.len add up to 12"):
        read(name, recordings("a.wav"))


def test_shards_share_the_listing_of_their_split(tmp_path):
    """Of 5 recordings the first of two shards has round(2.5) = 2, as fairseq cuts them."""
    names = [f"{name}.wav" for name in "abcde"]
    km = write_km(tmp_path, {name: [k, k] for k, name in enumerate(names)})
    lines = km.read_text().splitlines(keepends=True)
    km.unlink()
    for rank, share in enumerate((lines[:2], lines[2:])):
        (tmp_path / f"train_{rank}_2.km").write_text("".join(share))
        np.save(tmp_path / f"train_{rank}_2.npy", np.full((2 * len(share), 3), rank + 0.5))
        (tmp_path / f"train_{rank}_2.len").write_text("2\n" * len(share))
    corpus = recordings(*names)
    values, faults, _ = read(f"units:{tmp_path}/*.km@20", corpus)
    assert [v.tolist() for v in values.values()] == [[k, k] for k in range(5)]
    vectors, more, _ = read(f"frames:{tmp_path}@20", corpus)
    assert [v[0, 0] for v in vectors.values()] == [0.5, 0.5, 1.5, 1.5, 1.5]
    assert faults == more == {}
    (tmp_path / "train_0_2.km").write_text("1 1\n")
    with pytest.raises(InputError, match=r"train_0_2.km: 1 lines, but .*train.tsv names 2 "):
        read(f"units:{tmp_path}/*.km@20", corpus)


def test_parquet_has_a_row_a_recording(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, corpus = tmp_path / "frames.parquet", recordings("b.wav", "a.wav", "c.wav", "d.wav")
    vectors = [[[0.5, 1.5]] * 2, [[2.5, 3.5]] * 2, [[1.0], [1.0, 2.0]], [[1.0, None]] * 2]
    columns = {"name": ["a", "b", "c", "d"], "units": [[1, 2], [3, 3], [-1, 1], None]}
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float16(), 2)):
        stacked = pa.array(vectors if kind == pa.list_(pa.float32()) else vectors[:2] * 2,
                           pa.list_(kind))  # fmt: skip
        table = pa.table({**columns, "frames": stacked})
        parquet.write_table(table, path, row_group_size=3)
        values, faults, _ = read(f"frames:{path}@20", corpus)
        assert values["b.wav"].tolist() == vectors[1]
        assert values["a.wav"].dtype == kind.value_type.to_pandas_dtype()
        assert set(faults) == ({"c.wav", "d.wav"} if len(stacked[2][0]) == 1 else set())
    values, faults, _ = read(f"units:{path}@20", corpus)
    assert values["a.wav"].tolist() == [1, 2]
    assert "row 3 of" in faults["c.wav"]
    assert "units is no list" in faults["d.wav"]
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match="columns are name, units; it must have frames, and"):
        read(f"frames:{path}@20", corpus)
    path.write_text("nothing")
    with pytest.raises(InputError, match="can't be read as Parquet"):
        read(f"units:{path}@20", corpus)


# ------------------------------------------------------------------------------------ matching


@pytest.mark.parametrize(
    ("entry", "root", "recording"),
    [
        ("a.wav", "/speech", "a.wav"),  # the full path
        ("wav/spk/a.wav", "/elsewhere", "wav/spk/a.wav"),  # as the manifest wrote it
        ("spk/a.flac", "/elsewhere", "wav/spk/a.wav"),  # the end of the path
        ("LibriSpeech/train/spk/a.flac", "/data", "train/spk/a.flac"),  # and the other way round
        ("other/a.ogg", "/data", "spk/a.wav"),  # the stem alone
    ],
)
def test_recordings_are_found_by_path_or_unique_stem(tmp_path, entry, root, recording):
    km = write_km(tmp_path, {entry: [1, 2], "z/zz.wav": [3, 4]}, root=root)
    values, faults, _ = read(f"units:{km}@20", recordings(recording, "q/zz.wav"))
    assert values[recording].tolist() == [1, 2]
    assert not faults


def test_names_that_fit_two_are_taken_for_neither(tmp_path):
    write_npy(tmp_path, one__a=[1, 2], two__a=[3, 4], b=[5, 6], c=[7, 8])
    corpus = recordings("a.wav", "x/b.wav", "y/b.wav", "c.wav")
    values, faults, _ = read(f"units:{tmp_path}@20", corpus)
    assert [name for name, v in values.items() if v is not None] == ["c.wav"]
    (file,) = open_files([parse_candidate(f"units:{tmp_path}@20")], corpus).values()
    first, second, third = file.faults.values()
    assert first == (
        f"a.wav: {tmp_path}/one/a.npy and {tmp_path}/two/a.npy both may be it; name recordings by "
        "their paths"
    )
    assert "b.npy may be it, or that of y/b.wav" in second
    assert "b.npy may be it, or that of x/b.wav" in third
    assert set(faults) == {"a.wav", "b.wav"}


def test_a_whole_path_wins_over_a_stem(tmp_path):
    km = write_km(tmp_path, {"spk1/a.wav": [1, 2]}, root="/elsewhere")
    values, faults, file = read(f"units:{km}@20", recordings("spk1/a.wav", "spk2/a.wav"))
    assert values["spk1/a.wav"].tolist() == [1, 2]
    assert values["spk2/a.wav"] is None
    assert "may be it" in faults["a.wav"]
    file.require_some()


def test_a_recording_named_twice_is_taken_for_neither(tmp_path):
    km = write_km(tmp_path, {"a.wav": [1, 2], "b.wav": [1, 2], "c.wav": [1, 2]},
                  names=["a.wav", "a.wav", "c.wav"])  # fmt: skip
    _, faults, _ = read(f"units:{km}@20", recordings("a.wav", "c.wav"))
    assert faults["a.wav"].startswith(f"a.wav: line 1 of {km} and line 2 of {km} both may be it")


# -------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([1] * 6, r"a.wav: 6 units at 50 Hz are 0.12 s, but .* has 0.24 s: is the rate 25\?"),
        ([1] * 4, r"4 units at 50 Hz are 0.08 s, but .* 0.24 s: are they of this recording\?"),
        ([], r"0 units at 50 Hz"),
        ([1, -1] * 6, r"a.wav: line 1 of .*train.km: '-1' is not the id of a unit"),
        ([1.5] * 12, r"'1.5' is not the id of a unit, a whole number from 0"),
        ([65536] * 12, r"a unit has the id 65536, but ids end at 65535"),
        ([10**30] * 12, r"but ids end at 65535"),
    ],
)  # fmt: skip
def test_a_fault_of_one_recording_is_told_and_others_are_read(tmp_path, units, message):
    km = write_km(tmp_path, {"a.wav": units, "b.wav": [1] * 12})
    corpus = recordings("a.wav", "b.wav", "c.wav")
    values, faults, file = read(f"units:{km}@50", corpus, 0.24)
    assert values["a.wav"] is None
    assert values["b.wav"].tolist() == [1] * 12
    assert faults["c.wav"] == "c.wav: not among the 2 recordings there"
    assert re.search(message, faults["a.wav"])
    file.require_some()
    with pytest.raises(InputError, match="no recording has usable values; the first: "):
        read(f"units:{km}@50", recordings("c.wav"), reads=())


def test_lengths_may_differ_by_two_frames_or_a_tenth_of_a_second(tmp_path):
    for rate, count, right in ((50, 45, True), (50, 44, False), (10, 12, True), (10, 13, False)):
        km = write_km(tmp_path, {"a.wav": [1] * count, "b.wav": [1]})
        values, _, _ = read(f"units:{km}@{rate}", recordings("a.wav"), 1.0)
        assert (values["a.wav"] is not None) == right, (rate, count)


def test_faults_of_vectors(tmp_path):
    bad = np.ones((5, 3))
    bad[2, 1] = np.nan
    write_npy(tmp_path, a=np.ones((5, 3)), bad=bad, flat=np.ones(5), wide=np.ones((5, 4)))
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    names = ("a.wav", "bad.wav", "flat.wav", "wide.wav", "text.wav", "pickled.wav")
    values, faults, _ = read(f"frames:{tmp_path}@50", recordings(*names))
    assert [name for name, v in values.items() if v is not None] == ["a.wav"]
    assert faults["bad.wav"] == "bad.wav: 1 of 5 frames are not finite numbers"
    assert "shape (5,) and type float64; numbers (frames, dims) are needed" in faults["flat.wav"]
    assert faults["wide.wav"].endswith("vectors of 4 dimensions, but those of a.wav have 3")
    assert "not an array of numbers in .npy" in faults["text.wav"]
    assert "not an array of numbers in .npy" in faults["pickled.wav"]


def test_files_that_are_wrong_as_a_whole_are_refused(tmp_path):
    km = write_km(tmp_path, {"a.wav": [1, 2], "b.wav": [1, 2]})
    name, corpus = f"units:{km}@20", recordings("a.wav")
    km.write_text("1 2\n")
    with pytest.raises(InputError, match=r"train.km: 1 lines, but .*train.tsv names 2 rec"):
        read(name, corpus)
    km.with_suffix(".tsv").unlink()
    with pytest.raises(MissingFile, match=r"train\.tsv: there is no such file"):
        read(name, corpus)
    lines = tmp_path / "units.jsonl"
    for text, message in (
        ("{", "not JSON"),
        ('{"units": [1]}', "an object of name"),
        ("", "empty"),
    ):
        lines.write_text(text)
        with pytest.raises(InputError, match=message):
            read(f"units:{lines}@20", corpus)
    lines.write_text('{"name": "a", "units": [[1], [2, 3]]}\n{"name": "b", "units": [1, true]}\n')
    with pytest.raises(InputError, match=r"a.wav: line 1 of .*units.jsonl: units are no ids"):
        read(f"units:{lines}@20", corpus)[2].require_some()


def test_a_digest_shows_an_exchanged_file(tmp_path):
    km = write_km(tmp_path, {"a.wav": [1, 2]})
    write_npy(tmp_path / "npy", a=[1, 2])
    for name, change in (
        (f"units:{km}@20", lambda: km.write_text("1 3\n")),
        (f"units:{tmp_path / 'npy'}@20", lambda: write_npy(tmp_path / "npy", a=[1, 3])),
    ):
        before, again = (read(name, recordings("a.wav"))[2].digests() for _ in range(2))
        change()
        assert before == again
        assert read(name, recordings("a.wav"))[2].digests() != before


# --------------------------------------------------------------------------------------- names


def test_a_rate_is_needed():
    candidate = parse_candidate("units:km/train.km@12.5")
    assert (candidate.item, candidate.rate, candidate.kind) == ("km/train.km", 12.5, "category")
    assert candidate.source == "units:km/train.km@12.5"
    assert parse_candidate("frames:a@b/x@50").item == "a@b/x"
    for name in ("units:train.km", "units:train.km@", "units:train.km@0", "units:@50", "units:",
                 "units:train.km@nan", "units:train.km@-5", "units:train.km@1e9"):  # fmt: skip
        with pytest.raises(InputError, match=r"say how many frames a second .* units:.*@50"):
            parse_candidate(name)


def test_what_is_in_files_is_not_pretrained_with():
    with pytest.raises(InputError, match="can be ranked, but not pretrained with yet"):
        require_no_files(parse_candidates(["own:rms", "units:train.km@50"]))
