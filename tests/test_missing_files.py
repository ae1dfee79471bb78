"""Whatever reads a user's file says so in one way where it is missing or can't be used."""

from __future__ import annotations

import importlib
import pickle
import pkgutil

import numpy as np
import pytest

import augury
from augury.audio.containers import BadAudio
from augury.compute.cluster import ClusterError
from augury.corpus.corpus import Rejected, TooManyBad
from augury.corpus.read import prepare
from augury.downstream.result import Evaluation
from augury.embeddings import Scratch
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
    with pytest.raises(UnusableFile, match="scratch"):
        Scratch(tmp_path / "file").empty((2, 2), shared=True)


#: What makes an error of the kinds that hold more than a message.
SPECIAL = {
    BadAudio: ("empty", "a.wav: no samples"),
    TooManyBad: (
        "3 of 4 can't be used",
        (Rejected(1, "a.wav", None, None, "empty", "a.wav: no samples"),),
    ),
}


def kinds_below(kind: type) -> set[type]:
    below = set(kind.__subclasses__())
    return below.union(*map(kinds_below, below))


def test_every_input_error_survives_the_way_between_processes():
    for module in pkgutil.walk_packages(augury.__path__, "augury."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds = {kind for kind in kinds_below(InputError) if kind.__module__.startswith("augury.")}
    assert {MissingFile, UnusableFile, BadAudio, ClusterError} <= kinds
    for kind in kinds:
        error = kind(*SPECIAL.get(kind, ("a.csv: gone",)))
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert type(pickle.loads(pickle.dumps(error))) is kind
        # As tblib, on Dask's workers, makes it anew:
        assert str(kind.__new__(kind, *error.args)) == str(error)


def test_an_input_error_passes_unchanged():
    with pytest.raises(InputError, match=r"^as it was$"), explain_os_errors("other"):
        raise InputError("as it was")
