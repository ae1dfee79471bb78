from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augury.corpus.read import prepare, read_corpus
from augury.corpus.readers import timit

from conftest import tone


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def reasons(corpus) -> list[tuple[int, str]]:
    return [(r.row, r.reason) for r in corpus.rejected]


# ── tables ──

ROWS = [
    {"path": "a.wav", "start": 0.0, "end": 0.5, "phone": "aa", "age": 6},
    {"path": "b.wav", "start": None, "end": None, "phone": None, "age": 7},
]


def separated(mark: str) -> str:
    lines = [ROWS[0].keys(), *(["" if v is None else str(v) for v in r.values()] for r in ROWS)]
    return "\n".join(mark.join(line) for line in lines)


def parquet(folder: Path, rows: list[dict], name: str = "m.parquet") -> Path:
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder / name


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "TSV"])
def test_the_same_corpus_from_every_format(tones, suffix):
    if suffix == "parquet":
        source = parquet(tones, ROWS)
    elif suffix == "jsonl":
        source = put(tones, "m.jsonl", "\n\n".join(map(json.dumps, ROWS)))
    else:
        source = put(tones, f"m.{suffix}", separated("," if suffix == "csv" else "\t"))
    corpus = read_corpus(source)
    assert corpus.names == ("a.wav", "b.wav")
    np.testing.assert_array_equal(corpus.start, [0, np.nan])
    np.testing.assert_array_equal(corpus.end, [0.5, np.nan])
    assert {c: v.tolist() for c, v in corpus.columns.items()} == {
        "phone": ["aa", ""],
        "age": ["6", "7"],
    }
    assert corpus.rejected == ()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_a_byte_order_mark_is_ignored(tones, suffix):
    text = '{"path": "a.wav"}' if suffix == "jsonl" else "path\r\na.wav\r\n"
    assert len(read_corpus(put(tones, f"m.{suffix}", "\ufeff" + text))) == 1


def test_quotes_are_text_in_tsv_and_quoting_in_csv(tones):
    tsv = read_corpus(put(tones, "m.tsv", 'path\ttext\na.wav\t"so\nb.wav\tit" is\n'))
    assert tsv.label("text").tolist() == ['"so', 'it" is']
    table = read_corpus(put(tones, "m.csv", 'path,text\na.wav,"so, ""it"" is\nnow"\n'))
    assert table.label("text").tolist() == ['so, "it" is\nnow']


def test_json_values_become_text(tones):
    row = {"path": "a.wav", "start": "0.25", "n": 1.5, "ok": True, "no": None, "list": ["é"]}
    corpus = read_corpus(put(tones, "m.jsonl", json.dumps(row)))
    assert corpus.start.tolist() == [0.25]
    labels = {column: values[0] for column, values in corpus.columns.items()}
    assert labels == {"n": "1.5", "ok": "true", "no": "", "list": '["é"]'}


def test_json_rows_may_lack_keys(tones):
    corpus = read_corpus(
        put(tones, "m.jsonl", '{"path": "a.wav", "x": "1"}\n{"path": "b.wav", "y": "2"}\n{"x": ""}')
    )
    assert corpus.label("x").tolist() == ["1", ""]
    assert corpus.label("y").tolist() == ["", "2"]
    assert reasons(corpus) == [(3, "missing-path")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "", "the manifest is empty"),
        ("m.csv", "\n\n", "only blank lines"),
        ("m.csv", "path,phone\n", "a header and no rows"),
        ("m.csv", "file,phone\na.wav,aa\n", "no column 'path'; there are 'file', 'phone'"),
        ("m.csv", "Path,phone\na.wav,aa\n", "rename 'Path'"),
        ("m.csv", "path,x,x\na.wav,1,2\n", "'x' is there twice"),
        ("m.csv", ",path\n0,a.wav\n", "column 1 has no name"),
        ("m.csv", 'path,x\na.wav,"open\n', "line 2 is no such table"),
        ("m.csv", b"path\n\xe9.wav\n", "byte 5 is not UTF-8"),
        ("m.csv", "path\na.wav\n".encode("utf-16"), "not UTF-8"),
        ("m.xlsx", "path\n", r"must end in \.csv, \.tsv, \.jsonl, \.parquet, not '\.xlsx'"),
        ("m", "path\n", "not 'nothing'"),
        ("m.jsonl", '{"path": "a.wav"}\n{"path"\n', "line 2 is no JSON"),
        ("m.jsonl", '{"path": "a.wav"}\n\n["a.wav"]\n', "line 3 is a list"),
        ("m.jsonl", "[" * 100_000, "line 1 is no JSON"),
        ("m.jsonl", '{"path": "a.wav", "x": "\\ud800"}', "row 1, 'x': half of a surrogate pair"),
        ("m.jsonl", '{"audio": "a.wav"}', "no column 'path'"),
        ("m.parquet", "PAR1 and nonsense", "can't be read as Parquet"),
    ],
)
def test_a_manifest_that_cannot_be_read(tones, name, text, message):
    source = put(tones, name, text)
    with pytest.raises(ValueError, match=message):
        read_corpus(source)


def test_a_manifest_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_corpus(tmp_path / "m.csv")


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"neither wav\.scp"):
        read_corpus(tmp_path)


def test_level_is_for_timit_only(tones):
    with pytest.raises(ValueError, match="is for TIMIT"):
        read_corpus(put(tones, "m.csv", "path\na.wav\n"), level="utterance")


# ── Kaldi ──


def test_kaldi(tones):
    put(tones, "wav.scp", "r1 a.wav\nr2  deep/c.flac \n")
    put(tones, "segments", "u1 r1 0.0 0.5\nu2 r1 0.5 -1\nu3 r2 0 1\n")
    put(tones, "utt2spk", "u1 anna\nu2 anna\nu3 bert\n")
    put(tones, "spk2gender", "anna f\nbert m\n")
    put(tones, "text", "u1 HELLO  THERE\nu2\n")
    corpus = read_corpus(tones)
    assert corpus.names == ("a.wav", "deep/c.flac")
    np.testing.assert_array_equal(corpus.start, [0, 0.5, 0])
    np.testing.assert_array_equal(corpus.end, [0.5, np.nan, 1])
    assert {c: v.tolist() for c, v in corpus.columns.items()} == {
        "id": ["u1", "u2", "u3"],
        "speaker": ["anna", "anna", "bert"],
        "gender": ["f", "f", "m"],
        "text": ["HELLO  THERE", "", ""],
    }
    assert corpus.rejected == ()


def test_kaldi_without_segments(tones):
    put(tones, "wav.scp", "u1 a.wav\nu2 b.wav\n")
    corpus = read_corpus(tones)
    assert corpus.label("id").tolist() == ["u1", "u2"]
    assert np.isnan(corpus.start).all()
    np.testing.assert_array_equal(corpus.rows, [1, 2])


def test_kaldi_refuses_commands_and_runs_none(tones):
    put(
        tones,
        "wav.scp",
        "u1 touch ran.txt; cat a.wav |\nu2 | touch ran.txt\nu3 a.wav\nu4 raw.ark:1234\n"
        "u5\nu3 b.wav\nu6 ../b.wav\n",
    )
    corpus = read_corpus(tones)
    assert corpus.label("id").tolist() == ["u3"]
    assert sorted(reasons(corpus)) == [
        (1, "pipe-command"),
        (2, "pipe-command"),
        (4, "archive"),
        (5, "bad-row"),
        (6, "bad-row"),
        (7, "outside-folder"),
    ]
    assert "never run" in corpus.rejected[0].detail
    assert not (tones / "ran.txt").exists()


def test_kaldi_segments_that_cannot_be_used(tones):
    put(tones, "wav.scp", "r1 a.wav\nr2 cat b.wav |\n")
    put(tones, "segments", "u1 r9 0 1\nu2 r2 0 1\nu3 r1 0\nu4 r1 1 0.5\n")
    corpus = read_corpus(tones)
    assert len(corpus) == 0
    assert reasons(corpus) == [
        (1, "unknown-recording"),
        (2, "pipe-command"),
        (3, "bad-row"),
        (4, "end-before-start"),
    ]


def test_an_empty_kaldi_folder(tones):
    put(tones, "wav.scp", "")
    with pytest.raises(ValueError, match="is empty"):
        read_corpus(tones)


# ── TIMIT ──


@pytest.mark.parametrize(
    ("sound", "phones"),
    [
        ("TRAIN/DR1/FCJF0/SA1.WAV", "TRAIN/DR1/FCJF0/SA1.PHN"),
        ("train/dr1/fcjf0/sa1.wav", "train/dr1/fcjf0/sa1.phn"),
        ("TRAIN/DR1/FCJF0/SA1.WAV.wav", "TRAIN/DR1/FCJF0/SA1.PHN"),
        ("data/TRAIN/DR1/FCJF0/SA1.wav", "data/TRAIN/DR1/FCJF0/SA1.PHN"),
    ],
)
def test_timit_in_the_layout_of_the_ldc(tmp_path, sound, phones):
    put(tmp_path, phones, "0 2200 h#\n2200 4280 SH\n")
    put(tmp_path, phones[:-3] + "TXT", "0 4280 She had.\n")
    with (tmp_path / sound).open("wb") as file:
        soundfile.write(file, tone(), 16_000, format="NIST", subtype="PCM_16")
    corpus = read_corpus(tmp_path)
    assert {c: v.tolist()[1] for c, v in corpus.columns.items()} == {
        "phone": "sh",
        "speaker": "fcjf0",
        "region": "dr1",
        "sentence": "sa1",
        "sex": "f",
        "split": "",  # SA sentences are in none
        "id": "fcjf0_sa1",
    }
    assert corpus.names == (sound,)
    np.testing.assert_array_equal(corpus.start, [0, 0.1375])
    np.testing.assert_array_equal(corpus.end, [0.1375, 0.2675])
    np.testing.assert_array_equal(corpus.rows, [1, 2])

    whole = read_corpus(tmp_path, level="utterance")
    assert whole.label("phones").tolist() == ["h# sh"]
    assert np.isnan(whole.end).all()
    assert whole.label("speaker").tolist() == ["fcjf0"]


def test_timit_prefers_the_converted_recording(tmp_path):
    put(tmp_path, "TEST/DR1/FCJF0/SA1.PHN", "0 2200 h#\n")
    for name in ("SA1.WAV", "SA1.WAV.wav"):
        soundfile.write(tmp_path / "TEST/DR1/FCJF0" / name, tone(), 16_000, format="WAV")
    corpus = read_corpus(tmp_path)
    assert corpus.names == ("TEST/DR1/FCJF0/SA1.WAV.wav",)


def test_timit_that_cannot_be_used(tmp_path):
    put(tmp_path, "dr1-fvmh0/sa1.phn", "0 2200 h#\n2200 sh\n\n4280 4000 iy\n")
    put(tmp_path, "dr1-fvmh0/sa2.phn", "0 2200 h#\n")
    for name in ("sa1.wav", "sx3.wav"):
        soundfile.write(tmp_path / "dr1-fvmh0" / name, tone(), 16_000)
    corpus = read_corpus(tmp_path)
    assert corpus.label("phone").tolist() == ["h#"]
    assert sorted((r.row, r.path, r.reason) for r in corpus.rejected) == [
        (0, "dr1-fvmh0/sa2.phn", "missing-file"),
        (0, "dr1-fvmh0/sx3.wav", "missing-labels"),
        (2, "dr1-fvmh0/sa1.wav", "bad-row"),
        (4, "dr1-fvmh0/sa1.wav", "end-before-start"),
    ]
    assert "dr1-fvmh0/sa1.phn, line 2: '2200 sh'" in corpus.rejected[2].detail
    whole = read_corpus(tmp_path, level="utterance")
    assert whole.label("sentence").tolist() == ["sx3"]


def test_timit_levels(tmp_path):
    put(tmp_path, "dr1-fvmh0/sa1.phn", "0 2200 h#\n")
    with pytest.raises(ValueError, match="'phone' and 'utterance'"):
        read_corpus(tmp_path, level="word")


TREE = (
    "TRAIN/DR1/FCJF0/SA1", "TRAIN/DR1/FCJF0/SI648", "TRAIN/DR1/FCJF0/SX37",
    "TEST/DR1/MDAB0/SA1", "TEST/DR1/MDAB0/SX49",  # core test
    "TEST/DR1/FAKS0/SA1", "TEST/DR1/FAKS0/SI943",  # dev
    "TEST/DR1/MSJS1/SA2", "TEST/DR1/MSJS1/SI869",  # neither
)  # fmt: skip


def timit_tree(folder: Path, utterances=TREE) -> Path:
    for name in utterances:
        put(folder, f"{name}.PHN", "0 2200 h#\n2200 4280 sh\n")
        soundfile.write(folder / f"{name}.WAV", tone(), 16_000, format="NIST", subtype="PCM_16")
    return folder


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("core", {"mdab0_sx49": "test", "faks0_si943": "dev", "msjs1_si869": ""}),
        ("complete", {"mdab0_sx49": "test", "faks0_si943": "test", "msjs1_si869": "test"}),
    ],
)
def test_timit_splits_without_sa(tmp_path, split, expected):
    corpus = timit.read(timit_tree(tmp_path), level="utterance", split=split)
    splits = dict(zip(corpus.label("id"), corpus.label("split"), strict=True))
    sa = {"fcjf0_sa1": "", "mdab0_sa1": "", "faks0_sa1": "", "msjs1_sa2": ""}
    assert splits == sa | {"fcjf0_si648": "train", "fcjf0_sx37": "train"} | expected


def test_timit_split_by_folders(tmp_path):
    corpus = timit.read(timit_tree(tmp_path), level="utterance", split="folders")
    assert corpus.label("split").tolist() == ["test"] * 6 + ["train"] * 3


def test_timit_test_speakers_are_known_by_name(tmp_path):
    corpus = read_corpus(timit_tree(tmp_path, ["TRAIN/DR1/MDAB0/SX49", "dr1-faks0/si943"]))
    assert sorted(set(zip(corpus.label("speaker"), corpus.label("split"), strict=True))) == [
        ("faks0", "dev"),
        ("mdab0", "test"),
    ]


def test_timit_lists_are_as_published():
    core, dev = timit.CORE_TEST.split(), timit.DEV.split()
    assert (len(set(core)), len(core), len(set(dev)), len(dev)) == (24, 24, 50, 50)
    assert not set(core) & set(dev)
    assert [name[0] for name in core] == ["m", "m", "f"] * 8  # two men and a woman of each region
    for counts in timit.PUBLISHED.values():
        for split, (utterances, speakers) in counts.items():
            assert utterances == speakers * (10 if counts["train"][0] == 4_620 else 8), split


def test_prepare_timit(tmp_path):
    folder = timit_tree(tmp_path / "timit")
    prepared = prepare("timit", folder, tmp_path / "m.csv", split="complete")
    assert {count.name: (count.found, count.published) for count in prepared.counts} == {
        "train utterances": (2, 3_696),  # of four phones
        "train speakers": (1, 462),
        "test utterances": (3, 1_344),
        "test speakers": (3, 168),
    }
    written = read_corpus(prepared.manifest)
    assert written.label("phone").tolist() == ["h#", "sh"] * 9
    with pytest.raises(ValueError, match="has 'core', 'complete', 'folders'"):
        prepare("timit", folder, tmp_path / "m.csv", split="test")


# ── real corpora ──


def test_timit_sample(shared_data):
    corpus = read_corpus(shared_data / "timit_sample")
    assert len(corpus.recordings) == 160
    assert corpus.rejected == ()
    assert len(set(corpus.label("speaker"))) == 16
    assert sorted(set(corpus.label("region"))) == [f"dr{i}" for i in range(1, 9)]
    assert sorted(set(corpus.label("sex"))) == ["f", "m"]
    assert len(set(corpus.label("phone"))) == 61
    assert len(read_corpus(shared_data / "timit_sample", level="utterance")) == 160


def test_speechocean762(shared_data):
    begin = time.process_time()
    corpus = read_corpus(shared_data / "speechocean762" / "phones.tsv")
    seconds = time.process_time() - begin
    assert len(corpus) == 111_207
    assert len(corpus.recordings) == 4_991
    assert corpus.rejected == ()
    assert len(set(corpus.label("phone"))) == 41
    if "PYTEST_XDIST_WORKER" not in os.environ:
        assert seconds < 5  # 0.8 s is usual; the rest is for slow and busy machines
    utterances = read_corpus(shared_data / "speechocean762" / "utterances.tsv")
    assert len(utterances) == 5_000
    assert len(set(utterances.label("speaker"))) == 250
