from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augury.corpus.check import check
from augury.corpus.corpus import Rejected
from augury.corpus.manifest import write_manifest, write_quarantine
from augury.corpus.read import read_corpus

from conftest import tone


def manifest(folder: Path, text: str, name: str = "m.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def reasons(corpus) -> list[tuple[int, str]]:
    return [(r.row, r.reason) for r in corpus.rejected]


@pytest.fixture
def three(tones):
    """Segments of b, a and b again, so that recordings' order isn't the alphabet's."""
    text = "path,start,end,phone,speaker\nb.wav,0,0.5,aa,s1\na.wav,,,iy,s2\nb.wav,0.5,,aa,\n"
    return read_corpus(manifest(tones, text))


def test_columns(three, tones):
    assert len(three) == 3
    assert three.recordings == (tones / "b.wav", tones / "a.wav")
    assert three.names == ("b.wav", "a.wav")
    np.testing.assert_array_equal(three.recording, [0, 1, 0])
    np.testing.assert_array_equal(three.start, [0, np.nan, 0.5])
    np.testing.assert_array_equal(three.end, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(three.rows, [1, 2, 3])
    assert list(three.columns) == ["phone", "speaker"]
    assert three.label("speaker").tolist() == ["s1", "s2", ""]
    assert three.rejected == ()


def test_iterating_gives_segments(three, tones):
    first, second, _ = three
    assert (first.path, first.start, first.end) == (tones / "b.wav", 0.0, 0.5)
    assert first.labels == {"phone": "aa", "speaker": "s1"}
    assert (second.start, second.end) == (None, None)


def test_equal_labels_are_one_object(tones):
    text = "path,start,phone\n" + "".join(f"a.wav,{i},long phone\n" for i in range(50))
    assert len({id(p) for p in read_corpus(manifest(tones, text)).label("phone")}) == 1


def test_select_drops_unused_recordings(three):
    second = three.select([False, True, False])
    assert second.names == ("a.wav",)
    np.testing.assert_array_equal(second.recording, [0])
    np.testing.assert_array_equal(second.rows, [2])


def test_select_by_index_keeps_the_order_asked_for(three):
    turned = three.select(np.array([1, 0]))
    assert turned.names == ("a.wav", "b.wav")
    assert turned.label("phone").tolist() == ["iy", "aa"]
    assert len(three.select([])) == 0


@pytest.mark.parametrize("keep", [[True], [True] * 4])
def test_select_wants_one_for_each(three, keep):
    with pytest.raises(ValueError, match="there are 3 segments"):
        three.select(keep)


def test_label_names_the_nearest(three):
    with pytest.raises(ValueError, match=r"'phone', 'speaker'; did you mean phone\?"):
        three.label("phones")


# ── rows that can't be used ──


@pytest.mark.parametrize(
    ("row", "reason", "said"),
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
def test_a_bad_row_is_rejected_and_the_rest_kept(tmp_path, row, reason, said):
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
    assert said in corpus.rejected[0].detail
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


def test_an_absolute_path_inside_is_no_outsider(tones):
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
    plain, unlike = corpus.rejected
    assert "row 1;" in plain.detail
    assert "row 1, but with another phone and speaker;" in unlike.detail
    np.testing.assert_array_equal(corpus.rows, [1, 2, 5])


def test_a_refused_row_is_no_first_of_duplicates(tones):
    corpus = read_corpus(manifest(tones, "path,start\nx.wav,0\nx.wav,0\na.wav,0\n"))
    assert reasons(corpus) == [(1, "missing-file"), (2, "missing-file")]


# ── writing ──

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
def test_any_text_comes_back(tones, rows, column):
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
    other = tmp_path / "new" / "copy.csv"
    write_manifest(three, other)
    assert read_corpus(other, allow_outside=True).recordings == three.recordings
    assert [r.reason for r in read_corpus(other).rejected] == ["outside-folder"] * 3


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


# ── check ──


def test_check_counts(three):
    found = check(three)
    assert (found.rows, found.segments, found.recordings) == (3, 3, 2)
    assert found.hours == pytest.approx(2 / 3600)  # 0.5 + 1 + 0.5 s; sums of a few floats
    assert found.recorded_hours == pytest.approx(2 / 3600)
    assert found.durations["min"] == 0.5
    assert found.durations["max"] == 1.0
    assert found.rates == {16_000: 2}
    assert found.channels == {1: 2}
    assert found.formats == {"WAV PCM_16": 2}
    assert found.problems == {}
    phone, speaker = found.labels
    assert (phone.classes, phone.singletons, phone.absent) == (2, 1, 0)
    assert phone.top == (("aa", 2), ("iy", 1))
    assert phone.smallest == ("iy", 1)
    assert (speaker.classes, speaker.absent) == (2, 1)
    assert json.loads(json.dumps(found.to_dict()))["rates"] == {"16000": 2}


def test_check_finds_bad_audio_and_times(tones):
    (tones / "empty.wav").touch()
    data = (tones / "b.wav").read_bytes()
    (tones / "cut.wav").write_bytes(data[:1000])
    soundfile.write(tones / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    text = (
        "path,start,end\na.wav,0,1.04\na.wav,0,1.06\na.wav,1,\nempty.wav,,\ncut.wav,0,0.1\n"
        "cut.wav,0.1,0.2\nsilent.wav,,\nnone.wav,,\n"
    )
    corpus = read_corpus(manifest(tones, text))
    found = check(corpus)
    assert [(r.row, r.reason) for r in found.rejected] == [
        (2, "outside-recording"),
        (3, "outside-recording"),
        (4, "empty-file"),
        (5, "truncated"),
        (6, "truncated"),
        (8, "missing-file"),
    ]
    assert found.segments + len(found.rejected) == found.rows == 8
    assert next(iter(found.problems.items())) == ("outside-recording", 2)
    assert "1 s long" in found.rejected[0].detail
    assert check(corpus, decode=True).problems["silent"] == 1


def test_check_of_nothing_usable(tones):
    found = check(read_corpus(manifest(tones, "path,phone\nx.wav,aa\n")))
    assert (found.rows, found.segments, found.hours, found.durations) == (1, 0, 0.0, {})
    assert found.labels[0].smallest is None
    json.dumps(found.to_dict())


def test_check_survives_a_file_that_vanished(three, tones):
    (tones / "a.wav").unlink()
    assert check(three).problems == {"unreadable": 1}
