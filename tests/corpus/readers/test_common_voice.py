from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from augury.cli.app import app
from augury.corpus.read import prepare, read_corpus
from augury.corpus.readers import common_voice

RUN = CliRunner()
RELEASE_6 = "client_id path sentence up_votes down_votes age gender accent locale segment"
RELEASE_17 = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents "
    "variant locale segment"
)


def tsv(folder: Path, split: str, rows: list[dict[str, str]], header: str = RELEASE_6):
    names = header.split()
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    (folder / f"{split}.tsv").write_bytes("".join("\t".join(x) + "\n" for x in lines).encode())


def clip(number: int, **others: str) -> dict[str, str]:
    shared = {
        "client_id": f"speaker{number % 2}",
        "locale": "en",
        "sentence": f"Sentence {number}.",
    }
    return {"path": f"common_voice_en_{number}.mp3"} | shared | others


def build(folder: Path, header: str = RELEASE_6) -> Path:
    """A language in which every file lists a clip, and validated those of train, dev and test."""
    (folder / "clips").mkdir(parents=True)
    for number in range(1, 7):
        (folder / "clips" / f"common_voice_en_{number}.mp3").touch()
    for number, split in enumerate(("train", "dev", "test"), 1):
        tsv(folder, split, [clip(number)], header)
    tsv(folder, "validated", [clip(number) for number in (1, 2, 3, 4)], header)
    tsv(folder, "invalidated", [clip(5)], header)
    tsv(folder, "other", [clip(6)], header)
    return folder


@pytest.fixture
def en(tmp_path: Path) -> Path:
    return build(tmp_path / "cv-corpus-6.1-2020-12-11" / "en")


def splits(corpus) -> dict[str, str]:
    names = (path.stem.rpartition("_")[2] for path in corpus.recordings)
    return dict(zip(names, corpus.label("split"), strict=True))


def reasons(corpus) -> list[tuple[str, str]]:
    return [(item.path, item.reason) for item in corpus.rejected]


@pytest.mark.parametrize("header", [RELEASE_6, RELEASE_17])
def test_one_row_a_clip_of_its_most_specific_split(tmp_path, header):
    corpus = read_corpus(build(tmp_path / "en", header))
    assert splits(corpus) == {
        "1": "train",
        "2": "dev",
        "3": "test",
        "4": "validated",
        "5": "invalidated",
        "6": "other",
    }
    assert corpus.rejected == ()
    assert list(corpus.columns) == ["speaker", "text", "age", "gender", "accent", "locale", "split"]
    assert np.isnan(corpus.end).all()


def test_a_clip_held_out_is_not_trained_on(en):
    tsv(en, "train", [clip(1), clip(2), clip(3)])
    tsv(en, "dev", [clip(2), clip(3)])
    found = splits(read_corpus(en))
    assert (found["1"], found["2"], found["3"]) == ("train", "dev", "test")


def test_quotes_and_strange_line_ends_are_text(en):
    text = '"Well", she said: "\u2028\x0b\x85\r nothing.'
    tsv(en, "train", [clip(1, sentence=text, age="twenties", gender="female", accent="us")])
    corpus = read_corpus(en)
    row = splits(corpus)["1"], *(corpus.columns[c][2] for c in ("text", "age", "gender", "accent"))
    assert row == ("train", text, "twenties", "female", "us")
    assert corpus.label("speaker")[2] == "speaker1"
    again = read_corpus(prepare("common_voice", en, en / "m.csv").manifest)
    assert again.label("text").tolist() == corpus.label("text").tolist()
    assert again.recordings == corpus.recordings


def test_accents_of_later_releases(tmp_path):
    folder = build(tmp_path / "en", RELEASE_17)
    tsv(folder, "train", [clip(1, accents="Scottish English,Welsh")], RELEASE_17)
    assert read_corpus(folder).label("accent").tolist()[2] == "Scottish English,Welsh"


def test_windows_line_ends_a_byte_order_mark_and_blank_lines(en):
    data = (en / "train.tsv").read_bytes()
    (en / "train.tsv").write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n") + b"\r\n\n")
    corpus = read_corpus(en)
    assert splits(corpus)["1"] == "train"
    assert corpus.rejected == ()


def test_some_files_are_enough(tmp_path):
    folder = build(tmp_path / "en")
    for split in ("train", "dev", "test", "other", "invalidated"):
        (folder / f"{split}.tsv").unlink()
    assert set(splits(read_corpus(folder)).values()) == {"validated"}


def test_a_split_may_be_empty(en):
    tsv(en, "dev", [])
    assert splits(read_corpus(en))["2"] == "validated"


def test_lines_that_cannot_be_used_are_named(en):
    good = (en / "train.tsv").read_bytes()
    (en / "train.tsv").write_bytes(
        good + b"x\tshort.mp3\n" + good.splitlines()[1] + b"\tmore\n"
        b"y\tlatin.mp3\tcaf\xe9\t2\t0\t\t\t\ten\t\n" + good.splitlines()[1] + b"\n"
    )
    corpus = read_corpus(en)
    assert len(corpus) == 6
    assert [(item.row, item.reason) for item in corpus.rejected] == [
        (3, "bad-row"),
        (4, "bad-row"),
        (5, "bad-row"),
        (6, "duplicate"),
    ]
    details = [item.detail for item in corpus.rejected]
    assert details[0].startswith("train.tsv, line 3: 2 cells, but the header has 10")
    assert "not UTF-8" in details[2]
    assert "common_voice_en_1.mp3 is listed before" in details[3]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone.mp3", "missing-file"),
        ("", "missing-path"),
        ("../train.tsv", "outside-folder"),
        ("../../../../etc/passwd", "outside-folder"),
        ("/etc/passwd", "outside-folder"),
        ("a\0b.mp3", "bad-path"),
        ("x" * 5000, "bad-path"),
        (".", "not-a-file"),
        ("./common_voice_en_1.mp3", "duplicate"),
        ("..\\train.tsv", "missing-file"),
    ],
)
def test_paths_that_cannot_be_used(en, path, reason):
    tsv(en, "other", [clip(6), clip(7, path=path)])
    corpus = read_corpus(en)
    assert len(corpus) == 6
    assert reasons(corpus) == [(path, reason)]


def test_a_link_to_clips_elsewhere_is_followed(en, tmp_path):
    (en / "clips").rename(tmp_path / "clips")
    (en / "clips").symlink_to(tmp_path / "clips")
    assert len(read_corpus(en)) == 6


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no column 'client_id', 'path', 'sentence'"),
        (b"client_id,path,sentence\n", "no column 'client_id'"),
        ("client_id\tpath\tsentence\n".encode("utf-16"), "the header is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read(en, data, message):
    (en / "dev.tsv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_corpus(en)


def test_other_folders_are_not_common_voice(tmp_path):
    with pytest.raises(ValueError, match="not a language of Common Voice"):
        common_voice.read(tmp_path)
    (tmp_path / "clips").mkdir()
    tsv(tmp_path, "train", [])
    with pytest.raises(ValueError, match="list no clip"):
        read_corpus(tmp_path)


# ── published counts ──


def test_published_counts_of_a_release_that_is_known(en):
    result = prepare("common_voice", en, en / "m.csv")
    counts = {item.name: (item.found, item.published) for item in result.counts}
    assert counts["train utterances"] == (1, 564_337)
    # validated.tsv has 1,224,864 clips; those of train, dev and test are counted there.
    assert counts["validated utterances"] == (1, 628_199)
    assert len(counts) == 6


def test_published_counts_of_other_releases(tmp_path):
    folder = build(tmp_path / "cv-corpus-17.0-2024-03-15" / "en", RELEASE_17)
    assert prepare("common_voice", folder, tmp_path / "m.csv").counts == ()
    buckets = {"train": 1, "dev": 1, "test": 1, "validated": 4, "invalidated": 1, "other": 1}
    stats = tmp_path / "stats.json"
    stats.write_text(json.dumps({"locales": {"en": {"buckets": buckets | {"reported": 3}}}}))
    words = ["prepare", "common_voice", str(folder), "--out", str(tmp_path / "m.csv")]
    assert "no published counts" in RUN.invoke(app, words).output
    result = RUN.invoke(app, [*words, "--stats", str(stats)])
    assert result.exit_code == 0, result.output
    assert "as many utterances and speakers as published" in result.output


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"locales": {"en": 1}}', "[" * 100_000])
def test_statistics_that_cannot_be_read(en, tmp_path, text):
    (tmp_path / "stats.json").write_text(text)
    with pytest.raises(ValueError, match="not the statistics of a release that has 'en'"):
        prepare("common_voice", en, tmp_path / "m.csv", stats=tmp_path / "stats.json")


def test_many_rows_take_seconds(tmp_path):
    """The parse alone: 50,000 rows, of which 600,000 are to take seconds."""
    folder = tmp_path / "en"
    (folder / "clips").mkdir(parents=True)
    tsv(folder, "validated", [clip(n, client_id=f"{n % 999:0128}") for n in range(50_000)])
    begin = time.process_time()
    rows = common_voice._rows(folder / "validated.tsv", [])
    assert len(rows) == 50_000
    assert time.process_time() - begin < 2  # 0.2 s is usual; the rest is for busy machines
