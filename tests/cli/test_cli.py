import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import augury
from augury import pseudolabels
from augury.cli.app import app
from augury.corpus import read

import toy

RUN = CliRunner()


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("AUGURY_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")


def python(*code):
    return subprocess.run(
        [sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True
    ).stdout


def test_rank_writes_its_files_and_says_where(tmp_path):
    manifest, out = toy.corpus(tmp_path), tmp_path / "out"
    result = RUN.invoke(
        app,
        ["rank", str(manifest), "--label", "label", "--candidates", "own:rms,own:noise",
         "--out", str(out), "--jobs", "1"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"report: {out / 'report.html'}" in result.output
    row = next(line for line in result.output.splitlines() if " own:noise " in line)
    assert row.split()[:2] == ["–", "–"]  # noise is relevant to nothing, and has no rank
    assert " none " in row
    assert "No estimator is shown to predict" in result.output
    names = {path.name for path in out.iterdir()}
    assert names == {
        "ranking.json", "ranking.csv", "report.html", "quarantine.csv", "timings.json",
    }  # fmt: skip
    # The command in the result gives the same result.
    kept = json.loads((out / "ranking.json").read_text())
    words = kept["command"].split()[1:]
    again = RUN.invoke(app, [*words, "--out", str(tmp_path / "again"), "--jobs", "1"])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "ranking.json").read_text() == (out / "ranking.json").read_text()


def test_intervals_can_be_requested_and_are_reproduced(tmp_path):
    manifest = toy.corpus(tmp_path)
    asked = {"bootstrap": 150, "group": "age", "permutations": 99, "seed": 3, "tolerance": 1e-4}
    options = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    result = RUN.invoke(
        app,
        ["rank", str(manifest), "--label", "label", "--candidates", "own:rms,own:noise",
         "--no-sensitivity", "--jobs", "1", "--out", str(tmp_path / "out"), *options],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "ranking.json").read_text()
    kept = json.loads(text)
    assert asked.items() <= kept["settings"].items()
    assert kept["resampled"] == "age"
    words = shlex.split(kept["command"])[1:]
    again = RUN.invoke(app, [*words, "--out", str(tmp_path / "again"), "--jobs", "1"])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "ranking.json").read_text() == text


def test_the_table_fits_a_terminal_and_shows_only_known_columns(tmp_path):
    manifest = toy.corpus(tmp_path)
    command = ["rank", str(manifest), "--label", "label", "--candidates", "own:centroid,"
               "toy:constant",
               "--no-sensitivity", "--jobs", "1", "--out", str(tmp_path / "out")]  # fmt: skip
    has_intervals = RUN.invoke(app, command).output

    def table(output):
        lines = output.splitlines()
        titles = [k for k, line in enumerate(lines) if " classes · " in line]
        return lines[titles[0] + 1 :]

    head, row = table(has_intervals)[:2]
    assert head.split() == [
        "tier", "rank", "95", "%", "candidate", "CI", "estimate", "95", "%", "p", "relevance",
        "depend.", "ratio", "nats",
    ]  # fmt: skip
    assert "1,000 resamples of 24 segments" in has_intervals
    assert "not ranked: toy:constant, constant: the same value everywhere" in has_intervals
    assert len(head) <= 102
    assert row.split()[:4] == ["1", "1", "1", "own:centroid"]
    for options, columns in (
        (["--bootstrap", "0"], "rank candidate CI estimate shuffled relevance depend. ratio nats"),
        (["--estimator", "paper"],
         "tier rank 95 % candidate CI estimate 95 % shuffled relevance depend. ratio nats"),
        (["--estimator", "paper", "--permutations", "99"],
         "tier rank 95 % candidate CI estimate 95 % p relevance depend. ratio nats"),
    ):  # fmt: skip
        output = RUN.invoke(app, [*command, *options]).output
        assert " ".join(table(output)[0].split()) == columns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such.csv", "--label", "x"], "no-such.csv"),
        (["{}", "--label", "lable"], "label"),
        (["{}", "--label", "label", "--candidates", "own:nois"], "did you mean noise?"),
        (["{}", "--label", "label", "--estimator", "robus"], "did you mean robust?"),
        (["{}", "--label", "label", "--exclude", "q"], "no segment has this label"),
        (["{}", "--label", "label", "--bootstrap", "50"], "95 % need at least 100"),
        (["{}", "--label", "label", "--group", "colours"], "colour"),
        (["{}", "--label", "label", "--device", "abacus"], "--device abacus"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(tmp_path, arguments, message):
    manifest = toy.corpus(tmp_path, each=2)
    words = [word.format(manifest) for word in arguments]
    result = RUN.invoke(app, ["rank", *words, "--jobs", "1"])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_too_much_bad_input_fails_and_leaves_the_quarantine(tmp_path):
    manifest = toy.corpus(tmp_path, each=4)
    (tmp_path / "low-0.wav").write_bytes(b"")
    result = RUN.invoke(
        app,
        ["rank", str(manifest), "--label", "label", "--candidates", "own:rms", "--jobs", "1",
         "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert result.exit_code == 2
    assert "--max-bad" in result.output
    assert "empty-file" in (tmp_path / "out" / "quarantine.csv").read_text()


def test_names_are_not_interpreted_as_markup(tmp_path):
    manifest = toy.corpus(tmp_path, each=4)
    manifest.write_text(manifest.read_text().replace("label", "[/x] :smile:", 1))
    out = tmp_path / "o[best]"
    result = RUN.invoke(
        app,
        ["rank", str(manifest), "--label", "[/x] :smile:", "--candidates", "own:rms", "--jobs", "1",
         "--out", str(out)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "[/x] :smile:" in result.output
    assert f"report: {out / 'report.html'}" in result.output


def test_a_folder_that_can_not_be_written_is_found_before_the_work(tmp_path):
    manifest = toy.corpus(tmp_path, each=2)
    (tmp_path / "file").write_text("")
    for option in ("--out", "--store"):
        result = RUN.invoke(
            app, ["rank", str(manifest), "--label", "label", option, str(tmp_path / "file")]
        )
        assert result.exit_code == 2
        assert f"{option} {tmp_path / 'file'}: not a folder" in result.output


def test_version():
    assert RUN.invoke(app, ["--version"]).output.startswith("augury 0.")


def test_check_prints_content_and_problems(tmp_path):
    manifest = toy.corpus(tmp_path, each=4)
    result = RUN.invoke(app, ["check", str(manifest)])
    assert result.exit_code == 0
    assert "12 usable segments" in result.output
    assert "no problems found" in result.output
    (tmp_path / "low-0.wav").unlink()
    result = RUN.invoke(app, ["check", str(manifest), "--out", str(tmp_path / "bad.csv")])
    assert result.exit_code == 1
    assert "missing-file" in (tmp_path / "bad.csv").read_text()


def test_candidates_lists_what_can_be_ranked():
    result = RUN.invoke(app, ["candidates"])
    assert "opensmile:ComParE_2016:F0final_sma" in result.output
    assert "own:noise" in result.output
    pytest.importorskip("opensmile")
    result = RUN.invoke(app, ["candidates", "eGeMAPSv02"])
    assert "opensmile:eGeMAPSv02:Loudness_sma3" in result.output


def test_demo_ranks_two_tasks_on_the_speech_that_ships(tmp_path):
    pytest.importorskip("opensmile")
    result = RUN.invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for label, classes in (("speaker", 6), ("digit", 10)):
        kept = json.loads((tmp_path / label / "ranking.json").read_text())
        assert len(kept["results"]) == 7
        assert len(kept["class_names"]) == classes
        assert kept["segments"] == 480
        assert (tmp_path / label / "report.html").exists()


def test_openSMILE_missing_is_explained(tmp_path, monkeypatch):
    manifest = toy.corpus(tmp_path, each=2)
    monkeypatch.setitem(sys.modules, "opensmile", None)
    arguments = ["rank", str(manifest), "--label", "label", "--jobs", "1", "--candidates", "F0"]
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 2
    assert "augury[opensmile]" in result.output


def test_without_openSMILE_the_demo_ranks_our_own_seven_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    whole = read.read_corpus

    def few(path):  # an eighth of the recordings: to rank all of them takes a minute
        corpus = whole(path)
        return corpus.select(np.arange(len(corpus)) % 8 == 0)

    monkeypatch.setattr(read, "read_corpus", few)
    result = RUN.invoke(app, ["demo", "--out", str(tmp_path), "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert "own seven (own:…) take the place of the paper's" in " ".join(result.output.split())
    assert "research" not in result.output  # no licence of openSMILE's
    kept = json.loads((tmp_path / "digit" / "ranking.json").read_text("utf-8"))
    assert {each["name"] for each in kept["results"]} == set(pseudolabels.OWN_SEVEN)


def test_importing_is_quick_and_pulls_in_no_torch():
    """The time itself is for benchmarks; that nothing heavy is imported is what makes it small."""
    heavy = {"torch", "scipy", "matplotlib", "pandas", "opensmile", "pyarrow", "numpy", "soundfile"}
    found = python("import sys, augury", "print(*sys.modules)").split()
    assert not heavy & set(found)
    found = python("import sys, augury", "augury.rank", "print(*sys.modules)").split()
    assert not {"torch", "matplotlib", "opensmile"} & set(found)


def test_fresh_calls_a_function_again_and_says_so(tmp_path, own_store):
    manifest = toy.corpus(tmp_path, each=4)
    command = ["rank", str(manifest), "--label", "label", "--candidates", "toy:level",
               "--no-sensitivity", "--jobs", "1", "--out", str(tmp_path / "out")]  # fmt: skip
    for options, stored in (([], 0), ([], 12), (["--fresh"], 0)):
        result = RUN.invoke(app, [*command, *options])
        assert result.exit_code == 0, result.output
        said = f"values of 12 recordings: {stored} from the store, {12 - stored} computed"
        assert said in result.output


def test_fresh_values_replace_the_means_in_the_store(tmp_path, own_store, monkeypatch):
    """Of a function that reads what it does not declare."""
    corpus = augury.read_corpus(toy.corpus(tmp_path, each=4))
    scores = []
    for factor, fresh in ((1.0, False), (0.0, False), (0.0, True), (0.0, False)):
        monkeypatch.setattr(toy, "level", lambda signal, rate, f=factor: f * signal[:800] + rate)
        ranking = augury.rank(
            corpus, ["toy:level"], label="label", jobs=1, sensitivity=False, fresh=fresh
        )
        scores.append(ranking.results[0].status)
    assert scores == ["ranked", "ranked", "constant", "constant"]
