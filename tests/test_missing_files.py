"""Whatever reads a user's file says so in one way where it is missing or can't be used."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import augury
from augury.corpus.read import prepare
from augury.downstream.result import Evaluation
from augury.errors import InputError, MissingFile, UnusableFile, explain_os_errors
from augury.pretraining.choice import read_weights
from augury.ranking.result import Ranking
from augury.store import Store, write_atomically
from augury.validation.analysis import Analysis

READERS = {
    "read_corpus": augury.read_corpus,
    "prepare": lambda path: prepare("timit", path, path.with_name("out.csv")),
    "read_trials": augury.read_trials,
    "Ranking.read": Ranking.read,
    "Pretrained.read": augury.Pretrained.read,
    "Evaluation.read": Evaluation.read,
    "load_encoder": augury.load_encoder,
    "from_ranking": augury.from_ranking,
    "read_recipe": augury.read_recipe,
    "read_weights": lambda path: read_weights(str(path)),
    "Analysis.read": Analysis.read,
}


@pytest.mark.parametrize("name", READERS)
def test_a_missing_path_is_a_missing_file(name, tmp_path):
    with pytest.raises(MissingFile, match=r"absent\.csv"):
        READERS[name](tmp_path / "absent.csv")


@pytest.mark.parametrize("name", ["read_trials", "read_recipe", "read_weights"])
def test_a_folder_in_place_of_a_file_is_the_users_error(name, tmp_path):
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(UnusableFile, match=r"folder\.csv"):
        READERS[name](folder)


@pytest.mark.parametrize("name", ["prepare", "load_encoder", "Pretrained.read", "Evaluation.read"])
def test_a_file_in_place_of_a_folder_is_the_users_error(name, tmp_path):
    file = tmp_path / "file.csv"
    file.write_text("path\n")
    with pytest.raises(UnusableFile, match=r"file\.csv"):
        READERS[name](file)


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableFile, match=r"can't be written: Not a directory|File exists"):
        write_atomically(tmp_path / "file" / "ranking.json", "{}")
    with pytest.raises(UnusableFile):
        Store(tmp_path / "file").write("ab12", {"x": np.zeros(1)})


def test_errors_of_files_survive_the_way_between_processes():
    for error in (MissingFile("a.csv: gone"), UnusableFile("a.csv: shut")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert isinstance(again, InputError)
        assert isinstance(again, OSError)


def test_an_input_error_passes_unchanged():
    with pytest.raises(InputError, match=r"^as it was$"), explain_os_errors("other"):
        raise InputError("as it was")
