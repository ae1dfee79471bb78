from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augury.corpus.corpus import Rejected
from augury.corpus.manifest import write_manifest, write_quarantine
from augury.corpus.read import read_corpus
from manifests import manifest, reasons

from conftest import tone


def test_equal_labels_are_one_object(tones):
    text = "path,start,phone\n" + "".join(f"a.wav,{i},long phone\n" for i in range(50))
    assert len({id(p) for p in read_corpus(manifest(tones, text)).label("phone")}) == 1


@pytest.mark.parametrize(
    ("row", "reason", "message"),
    [
        (",0,1,aa", "missing-path", "no path is given"),
        ("a.wav,x,1,aa", "bad-time", "the start 'x'"),
        ("a.wav,-0.1,1,aa", "bad-time", "0 or more"),
        ("a.wav,nan,1,aa", "bad-time", "nan"),
        ("a.wav,0,inf,aa", "bad-time", "the end 'inf'"),
        ("a.wav,0.5,0.5,aa", "end-before-start", "ends at 0.5 s"),
        ("a.wav,,0,aa", "end-before-start", "start at 0 s"),
        ("none.wav,0,1,aa", "missing-file", "none.wav"),
        ("gone/none.wav,0,1,aa", "missing-file", "none.wav"),
        ("deep,0,1,aa", "not-a-file", "name an audio file"),
        ("deep/..,0,1,aa", "not-a-file", "name an audio file"),
        ("a\0.wav,0,1,aa", "bad-path", "correct it"),
        (f"{'a' * 300}.wav,0,1,aa", "bad-path", "correct it"),
        ("circle.wav,0,1,aa", "bad-path", "correct it"),
        ("../outside.wav,0,1,aa", "outside-folder", "--allow-outside"),
        ("link.wav,0,1,aa", "outside-folder", "--allow-outside"),
        ("linked/outside.wav,0,1,aa", "outside-folder", "--allow-outside"),
        ("../nowhere.wav,0,1,aa", "outside-folder", "--allow-outside"),
        ("a.wav,0,1", "bad-row", "3 cells, but the header has 4"),
        ("a.wav,0,1,aa,bb", "bad-row", "5 cells"),
    ],
)
def test_a_bad_row_is_rejected_and_the_rest_kept(tmp_path, row, reason, message):
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    for path in (folder / "a.wav", tmp_path / "outside.wav"):
        soundfile.write(path, tone(), 16_000)
    (folder / "link.wav").symlink_to(tmp_path / "outside.wav")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "circle.wav").symlink_to(folder / "circle.wav")
    text = f"path,start,end,phone\na.wav,0,0.1,aa\n{row}\na.wav,0.1,0.2,aa\n"
    corpus = read_corpus(manifest(folder, text))
    assert reasons(corpus) == [(2, reason)]
    assert message in corpus.rejected[0].detail
    assert corpus.rejected[0].detail.startswith("m.csv, row 2: ")
    np.testing.assert_array_equal(corpus.rows, [1, 3])
    assert corpus.names == ("a.wav",)


def test_allow_outside(tmp_path):
    (tmp_path / "corpus").mkdir()
    outside = tmp_path / "outside.wav"
    soundfile.write(outside, tone(), 16_000)
    source = manifest(tmp_path / "corpus", f"path,start\n../outside.wav,\n{outside},0.1\n")
    assert reasons(read_corpus(source)) == [(1, "outside-folder"), (2, "outside-folder")]
    allowed = read_corpus(source, allow_outside=True)
    assert allowed.recordings == (outside,)
    assert allowed.names == ("../outside.wav",)
    assert len(allowed) == 2


def test_an_absolute_path_inside_the_folder_is_accepted(tones):
    corpus = read_corpus(manifest(tones, f"path\n{tones / 'a.wav'}\n"))
    assert corpus.recordings == (tones / "a.wav",)


def test_duplicates_are_rejected_however_written(tones):
    text = (
        "path,start,end,phone,speaker\n"
        "a.wav,0,1,aa,s1\n"
        "b.wav,0,1,aa,s1\n"
        "./a.wav,,1.0,aa,s1\n"  # the same stretch
        "deep/../a.wav,0,1,iy,s2\n"  # the same, labelled otherwise
        "a.wav,0,,aa,s1\n"  # up to the end: another stretch
    )
    corpus = read_corpus(manifest(tones, text))
    assert reasons(corpus) == [(3, "duplicate"), (4, "duplicate")]
    same_labels, other_labels = corpus.rejected
    assert "row 1;" in same_labels.detail
    assert "row 1, but with another phone and speaker;" in other_labels.detail
    np.testing.assert_array_equal(corpus.rows, [1, 2, 5])


def test_a_row_rejected_before_has_no_duplicates(tones):
    corpus = read_corpus(manifest(tones, "path,start\nx.wav,0\nx.wav,0\na.wav,0\n"))
    assert reasons(corpus) == [(1, "missing-file"), (2, "missing-file")]


nasty = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


times = st.floats(0, 1e4).map(lambda t: t or 0.0)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a.wav", "b.wav"]), times, nasty, nasty),
        min_size=1,
        unique_by=lambda r: r[:2],
    ),
    column=nasty.filter(lambda c: c not in ("", "path", "start", "end", "other")),
)
def test_any_text_is_read_back(tones, rows, column):
    lines = [{"path": p, "start": s, column: x, "other": y} for p, s, x, y in rows]
    text = "\n".join(map(json.dumps, lines))
    corpus = read_corpus(manifest(tones, text, "m.jsonl"))
    assert len(corpus) == len(rows)
    write_manifest(corpus, tones / "again.csv")
    again = read_corpus(tones / "again.csv")
    assert again.recordings == corpus.recordings
    assert list(again.columns) == list(corpus.columns)
    for name in ("recording", "start", "end", "rows"):
        np.testing.assert_array_equal(getattr(again, name), getattr(corpus, name))
    for name, values in corpus.columns.items():
        assert again.columns[name].tolist() == values.tolist()


def test_recordings_elsewhere_are_written_absolutely(three, tmp_path):
    path = tmp_path / "new" / "copy.csv"
    write_manifest(three, path)
    assert read_corpus(path, allow_outside=True).recordings == three.recordings
    assert [r.reason for r in read_corpus(path).rejected] == ["outside-folder"] * 3


def test_a_failed_write_leaves_the_old_file(three, tones):
    write_manifest(three, tones / "again.csv")
    before = (tones / "again.csv").read_bytes()
    three.columns["phone"][2] = "\ud800"  # half of a surrogate pair: UTF-8 has no such thing
    with pytest.raises(UnicodeEncodeError):
        write_manifest(three, tones / "again.csv")
    assert (tones / "again.csv").read_bytes() == before
    assert sorted(p.name for p in tones.iterdir()) == [
        "a.wav",
        "again.csv",
        "b.wav",
        "deep",
        "m.csv",
    ]


def test_quarantine(tmp_path):
    rejected = (
        Rejected(2, 'a "b",c.wav', 0.5, None, "missing-file", "m.csv, row 2: gone\nfor good"),
        Rejected(0, "odd\udcff.wav", None, None, "unreadable", "whatever its name"),
    )
    write_quarantine(rejected, tmp_path / "quarantine.csv")
    with (tmp_path / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "row": "2",
        "path": 'a "b",c.wav',
        "start": "0.5",
        "end": "",
        "reason": "missing-file",
        "detail": "m.csv, row 2: gone\nfor good",
    }
    assert second["path"] == "odd\\udcff.wav"
