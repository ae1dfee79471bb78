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
def test_what_users_cause_is_one_line(error, code, words):
    done = end(error)
    assert done.exit_code == code
    assert words in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "error",
    [ValueError("zip() argument 2"), OSError("odd"), FloatingPointError("odd"), KeyError("odd")],
)
def test_a_fault_of_ours_shows_a_traceback_and_asks_for_a_report(error, capfd):
    done = end(error)
    assert done.exit_code == 1
    text = done.output + capfd.readouterr().err
    assert "Traceback" in text
    assert "please report it" in text


def test_a_terminal_that_can_not_show_a_character_is_no_error(tmp_path):
    manifest = toy.corpus(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "augury", "rank", str(manifest), "--label", "label",
         "--candidates", "own:rms,own:flux", "--no-sensitivity", "--out", str(tmp_path / "out"),
         "--jobs", "1"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1", "AUGURY_STORE": str(tmp_path / "store")},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_ends_quietly(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m augury candidates ComParE_2016 | head -n 1",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
