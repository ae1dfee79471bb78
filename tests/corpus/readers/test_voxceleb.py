from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from augury.cli.app import app
from augury.corpus.read import CORPORA, prepare, read_corpus, read_trials
from augury.corpus.readers import voxceleb

from conftest import tone

RUN = CliRunner()
DEV, TEST = "id10001/1zcIwhmdeo4/00001.wav", "id10270/x6uYqmx31kE/00001.wav"
META = (
    "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
    "id10001\tA.J._Buckley\tm\tIreland\tdev\n"
    "id10270\tEartha_Kitt\tf\tUSA\ttest\n"
)


def put(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds=0.05), 16_000, format="WAV")


@pytest.fixture
def vox(tmp_path: Path) -> Path:
    """VoxCeleb1's layout with a speaker of each split, in one folder wav, and vox1_meta.csv."""
    for name in (DEV, "id10001/1zcIwhmdeo4/00002.wav", TEST):
        put(tmp_path / "wav", name)
    (tmp_path / "vox1_meta.csv").write_text(META)
    return tmp_path


def labels(corpus) -> dict[str, list[str]]:
    return {column: values.tolist() for column, values in corpus.columns.items()}


def reasons(corpus) -> list[tuple[int, str]]:
    return [(item.row, item.reason) for item in corpus.rejected]


def test_what_the_folders_and_vox1_meta_say(vox):
    corpus = read_corpus(vox)
    assert corpus.names == (
        "wav/id10001/1zcIwhmdeo4/00001.wav",
        "wav/id10001/1zcIwhmdeo4/00002.wav",
        "wav/id10270/x6uYqmx31kE/00001.wav",
    )
    assert labels(corpus) == {
        "speaker": ["id10001", "id10001", "id10270"],
        "video": ["1zcIwhmdeo4", "1zcIwhmdeo4", "x6uYqmx31kE"],
        "split": ["dev", "dev", "test"],
        "gender": ["m", "m", "f"],
        "nationality": ["Ireland", "Ireland", "USA"],
    }
    assert np.isnan(corpus.start).all()
    assert np.isnan(corpus.end).all()
    assert corpus.rejected == ()


@pytest.mark.parametrize(("dev", "test"), [("dev", "test"), ("vox1_dev_wav", "vox1_test_wav")])
def test_the_two_archives_side_by_side(tmp_path, dev, test):
    put(tmp_path, f"{dev}/wav/{DEV}")
    put(tmp_path, f"{test}/wav/id10300/abc/00001.wav")
    put(tmp_path, f"{test}/wav/id10002/abc/00001.wav")  # the folder says more than the number
    corpus = read_corpus(tmp_path)
    assert corpus.label("split").tolist() == ["dev", "test", "test"]
    assert set(corpus.columns) == {"speaker", "video", "split"}


def test_without_vox1_meta_the_number_says_the_split(tmp_path):
    for number in (10001, 10269, 10270, 10309, 10310, 11251, 11252, 12):
        put(tmp_path, f"wav/id{number:05}/abc/00001.wav")
    corpus = read_corpus(tmp_path)
    assert dict(zip(corpus.label("speaker"), corpus.label("split"), strict=True)) == {
        "id00012": "",
        "id10001": "dev",
        "id10269": "dev",
        "id10270": "test",
        "id10309": "test",
        "id10310": "dev",
        "id11251": "dev",
        "id11252": "",
    }


def test_the_set_of_vox1_meta_comes_first(vox):
    shutil.move(vox / "wav", vox / "dev" / "wav")
    assert read_corpus(vox).label("split").tolist() == ["dev", "dev", "test"]


def test_the_identification_split(vox):
    lines = [f"1 {DEV}", f"3 {TEST}", "2 id10001/gone/00001.wav"]
    (vox / "iden_split.txt").write_bytes("\r\n".join(lines).encode())
    corpus = voxceleb.read(vox)
    assert corpus.label("identification").tolist() == ["train", "", "test"]
    assert corpus.label("split").tolist() == ["dev", "dev", "test"]
    assert voxceleb.read(vox, split="identification").label("split").tolist() == [
        "train",
        "",
        "test",
    ]


def test_identification_without_its_file(vox):
    with pytest.raises(ValueError, match=r"iden_split\.txt; put it there"):
        voxceleb.read(vox, split="identification")
    with pytest.raises(ValueError, match="has 'verification' and 'identification'"):
        voxceleb.read(vox, split="test")


def test_lines_that_cannot_be_used_are_named(vox):
    with (vox / "vox1_meta.csv").open("a") as file:
        file.write("id10003\tA\tm\n\n../x\tA\tm\tUSA\tdev\nid10004\tA\tm\tUSA\ttrain\n")
        file.write("id10001\tA.J._Buckley\tf\tUSA\tdev\n")
    (vox / "iden_split.txt").write_text(
        f"4 {DEV}\n1 ../../etc/passwd\n1 {DEV}\n1 {DEV}\n2 {DEV}\n1 id10001\\abc\\00001.wav\n"
    )
    corpus = read_corpus(vox)
    assert len(corpus) == 3
    assert corpus.label("gender").tolist() == ["m", "m", "f"]
    assert corpus.label("identification").tolist() == ["train", "", ""]
    named = {item.detail.split(":")[0] for item in corpus.rejected}
    assert named == {f"vox1_meta.csv, line {n}" for n in (4, 6, 7, 8)} | {
        f"iden_split.txt, line {n}" for n in (1, 2, 5, 6)
    }
    assert {reason for _, reason in reasons(corpus)} == {"bad-row"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no column 'VoxCeleb1 ID', 'Gender', 'Nationality', 'Set'"),
        (META.replace("\t", ",").encode(), "no column 'VoxCeleb1 ID'"),
        (b"VoxCeleb2 ID \tVGGFace2 ID \tGender \tSet \n", "VoxCeleb2's is vox2_meta.csv"),
        (META.encode("utf-16"), "byte 0 is not UTF-8"),
        (META.encode() + b"id10002\tJos\xe9\tm\tUSA\tdev\n", "is not UTF-8"),
    ],
)
def test_a_meta_file_that_cannot_be_read(vox, text, message):
    (vox / "vox1_meta.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read_corpus(vox)


def test_a_meta_file_with_windows_line_ends_and_a_byte_order_mark(vox):
    (vox / "vox1_meta.csv").write_bytes(("\ufeff" + META.replace("\n", "\r\n")).encode())
    corpus = read_corpus(vox)
    assert corpus.rejected == ()
    assert corpus.label("split").tolist() == ["dev", "dev", "test"]


@pytest.mark.parametrize(
    "name", ["wav/id10001/abc/00001.m4a", "dev/aac/id00012/abc/00001.m4a", "aac/id00017/a/1.m4a"]
)
def test_voxceleb2_is_refused(tmp_path, name):
    put(tmp_path, "wav/id10001/abc/00002.wav")
    put(tmp_path, name)
    with pytest.raises(ValueError, match="aac and m4a are VoxCeleb2"):
        voxceleb.read(tmp_path)


def test_recordings_in_other_places_and_twice(vox):
    put(vox, "wav/id10001/00001.wav")
    put(vox, "wav/00001.wav")
    put(vox, "wav/Eartha_Kitt/abc/00001.wav")
    put(vox, "wav/id10001/1zcIwhmdeo4/deeper/00001.wav")
    put(vox, f"dev/wav/{DEV}")
    (vox / "wav" / "readme.txt").write_text("no recording")
    (vox / "wav" / "id10001" / "1zcIwhmdeo4" / "._00001.wav").write_text("macOS leaves these")
    corpus = read_corpus(vox)
    assert len(corpus) == 3
    assert sorted((item.path, item.reason) for item in corpus.rejected) == [
        (f"dev/wav/{DEV}", "duplicate"),
        ("wav/00001.wav", "bad-place"),
        ("wav/Eartha_Kitt", "bad-place"),
        ("wav/id10001/00001.wav", "bad-place"),
        ("wav/id10001/1zcIwhmdeo4/deeper", "bad-place"),
    ]


def test_links_out_of_the_tree_are_refused_unless_allowed(tmp_path):
    put(tmp_path, "elsewhere/abc/00001.wav")
    (tmp_path / "vox" / "wav").mkdir(parents=True)
    (tmp_path / "vox" / "wav" / "id10001").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "vox" / "wav" / "id10002").symlink_to(tmp_path / "vox")  # a circle
    corpus = read_corpus(tmp_path / "vox")
    assert len(corpus) == 0
    assert {item.reason for item in corpus.rejected} == {"outside-folder", "bad-place"}
    assert len(read_corpus(tmp_path / "vox", allow_outside=True)) == 1


def test_a_folder_without_recordings(tmp_path):
    with pytest.raises(ValueError, match="no VoxCeleb1 recordings in it"):
        voxceleb.read(tmp_path)


# ── trials ──

PAIRS = f"1 {TEST} id10270/8jEAjG6SegY/00008.wav\n0 {TEST} {DEV}\n"


@pytest.mark.parametrize("text", [PAIRS, "\ufeff" + PAIRS.replace("\n", "\r\n"), PAIRS + "\n\n"])
def test_trials(vox, text):
    (vox / "veri_test.txt").write_bytes(text.encode())
    trials = read_trials(vox / "veri_test.txt")
    assert trials.is_target.dtype == bool
    assert trials.is_target.tolist() == [True, False]
    assert trials.enrol.tolist() == [TEST, TEST]
    assert trials.test.tolist() == ["id10270/8jEAjG6SegY/00008.wav", DEV]
    assert trials.usable.all()
    assert trials.absent == ()


def test_trials_of_absent_recordings_are_named(vox):
    (vox / "veri_test.txt").write_text(PAIRS + f"0 {DEV} id10270/8jEAjG6SegY/00008.wav\n")
    trials = read_trials(vox / "veri_test.txt", read_corpus(vox))
    assert trials.usable.tolist() == [False, True, False]
    assert trials.absent == ("id10270/8jEAjG6SegY/00008.wav",)
    manifest = prepare("voxceleb1", vox, vox / "lists" / "m.csv").manifest
    again = read_trials(vox / "veri_test.txt", read_corpus(manifest, allow_outside=True))
    assert again.usable.tolist() == trials.usable.tolist()


@pytest.mark.parametrize(
    "line",
    [
        f"2 {TEST} {DEV}",
        f"1 {TEST}",
        f"1 {TEST} {DEV} 0.5",
        f"1 ../{TEST} {DEV}",
        f"1 /data/{TEST} {DEV}",
        f"{TEST} {DEV} 1",
        "1 Eartha_Kitt/x6uYqmx31kE_1.wav Ewan_McGregor/x_2.wav",
        "<!DOCTYPE html>",
        "1 " + "x" * 500,
    ],
)
def test_lines_that_are_no_trials(tmp_path, line):
    (tmp_path / "veri_test.txt").write_text(f"{PAIRS}\n{line}\n")
    with pytest.raises(ValueError, match=r"line 4 is no trial: .* \(1 such lines of 3\)") as caught:
        read_trials(tmp_path / "veri_test.txt")
    assert len(str(caught.value)) < 500


def test_trials_with_windows_paths_say_what_to_do(tmp_path):
    (tmp_path / "veri_test.txt").write_text(PAIRS.replace("/", "\\"))
    with pytest.raises(ValueError, match=r"line 1 is no trial.*; write / between folders"):
        read_trials(tmp_path / "veri_test.txt")


@pytest.mark.parametrize(
    ("data", "message"), [(b"\n", "no trial in it"), (PAIRS.encode("utf-16"), "not UTF-8")]
)
def test_a_list_of_trials_that_cannot_be_read(tmp_path, data, message):
    (tmp_path / "veri_test.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_trials(tmp_path / "veri_test.txt")


def test_published_counts_add_up():
    for counts in voxceleb.PUBLISHED.values():
        assert sum(utterances for utterances, _ in counts.values()) == 153_516
    assert sum(speakers for _, speakers in voxceleb.PUBLISHED["verification"].values()) == 1_251


# ── prepare ──


def test_prepare_writes_a_manifest_that_reads_back_the_same(vox):
    put(vox, "wav/00001.wav")
    result = prepare("voxceleb1", vox, vox / "manifest.csv")
    again = read_corpus(result.manifest)
    assert labels(again) == labels(result.corpus)
    assert again.recordings == result.corpus.recordings
    assert {item.name: (item.found, item.published) for item in result.counts} == {
        "dev utterances": (2, 148_642),
        "dev speakers": (1, 1_211),
        "test utterances": (1, 4_874),
        "test speakers": (1, 40),
    }
    assert "bad-place" in result.quarantine.read_text()


def test_the_command_says_what_it_found_and_warns_of_other_counts(vox, tmp_path):
    put(vox, "wav/00001.wav")
    out = tmp_path / "lists" / "manifest.csv"
    result = RUN.invoke(app, ["prepare", "voxceleb1", str(vox), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "3 segments in 3 recordings of 2 speakers" in result.output
    assert "splits: 2 dev, 1 test" in result.output
    assert "! 2 dev utterances, but 148,642 were published" in result.output
    assert "! 40 test speakers" not in result.output
    assert "! left out: 1 bad-place" in result.output
    assert "--allow-outside" in result.output
    assert f"manifest: {out}" in result.output
    assert out.is_file()


def test_the_command_says_that_counts_are_as_published(vox, monkeypatch):
    monkeypatch.setattr(voxceleb, "PUBLISHED", {"verification": {"dev": (2, 1), "test": (1, 1)}})
    out = vox / "manifest.csv"
    result = RUN.invoke(app, ["prepare", "voxceleb1", str(vox), "--out", str(out)])
    assert "as many utterances and speakers as published" in result.output
    assert "!" not in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["librispeech", "."], f"there are {', '.join(CORPORA)}"),
        (["voxceleb1", "nowhere"], "there is no such folder"),
        (["voxceleb1", ".", "--out", "m.tsv"], "ends in .csv"),
        (["voxceleb1", ".", "--level", "phone"], "is for timit; leave it out"),
        (["common_voice", ".", "--split", "core"], "is for timit and voxceleb1"),
        (["timit", ".", "--stats", "x.json"], "is for common_voice"),
        (["timit", "."], "no TIMIT sentences"),
        (["common_voice", "."], "not a language of Common Voice"),
    ],
)
def test_what_the_command_refuses(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = RUN.invoke(app, ["prepare", *words])
    assert result.exit_code == 2
    assert message in result.output
    assert not list(tmp_path.iterdir())


def test_prepare_of_nothing_usable(tmp_path):
    put(tmp_path, "wav/00001.wav")
    with pytest.raises(ValueError, match="none of 1 segments can be used"):
        prepare("voxceleb1", tmp_path, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()
    assert "bad-place" in (tmp_path / "m.quarantine.csv").read_text()
