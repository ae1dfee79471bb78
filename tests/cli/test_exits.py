"""How commands end: exit codes, and what is printed."""

import errno
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from augury.cli.exits import plain_exits
from augury.errors import InputError, MissingPackage
from augury.learning.training import Stopped

import toy


def end(error):
    program = typer.Typer()

    def command() -> None:
        raise error

    program.command()(plain_exits(command))
    return CliRunner().invoke(program, [])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("parts is 0"), 2, "augury: parts is 0"),
        (MissingPackage("needs torch"), 2, "augury: needs torch"),
        (OSError(errno.ENOSPC, "No space left on device", "/disk/a"), 2, "/disk/a: no space left"),
        (KeyboardInterrupt(), 130, "stopped"),
        (Stopped("stopped after epoch 3", 15), 143, "stopped after epoch 3"),
    ],
)
def test_an_input_error_is_one_line(error, code, words):
    result = end(error)
    assert result.exit_code == code
    assert words in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "error",
    [ValueError("zip() argument 2"), OSError("odd"), FloatingPointError("odd"), KeyError("odd")],
)
def test_a_bug_shows_a_traceback_and_asks_for_a_report(error, capfd):
    result = end(error)
    assert result.exit_code == 1
    text = result.output + capfd.readouterr().err
    assert "Traceback" in text
    assert "please report it" in text


def test_a_terminal_that_can_not_show_a_character_is_no_error(tmp_path):
    manifest = toy.corpus(tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "augury", "rank", str(manifest), "--label", "label",
         "--candidates", "own:rms,own:flux", "--no-sensitivity", "--out", str(tmp_path / "out"),
         "--jobs", "1"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1", "AUGURY_STORE": str(tmp_path / "store")},
        capture_output=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_a_closed_pipe_ends_quietly(tmp_path):
    result = subprocess.run(
        f"{sys.executable} -m augury candidates ComParE_2016 | head -n 1",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in result.stderr
