"""Columns of the manifest as candidates: numbers, categories, and what may be either."""

from pathlib import Path

import numpy as np
import pytest

from augury import Corpus, read_corpus
from augury.pseudolabels import parse_candidates
from augury.pseudolabels.columns import columns, columns_to_declare
from manifests import manifest


def corpus(folder: Path, cells: list[str]) -> Corpus:
    """One column "z" with these cells, of recordings that need not exist to be listed."""
    for k in range(len(cells)):
        (folder / f"{k}.wav").touch()
    rows = [f'{k}.wav,"{cell}"' for k, cell in enumerate(cells)]
    return read_corpus(manifest(folder, "\n".join(["path,z", *rows])))


def values(folder: Path, name: str, *cells: str) -> np.ndarray:
    return columns(corpus(folder, list(cells)), parse_candidates([name]))[name]


def test_a_declared_kind_decides_what_cells_are(tmp_path):
    assert values(tmp_path, "number:z", "7", "3", "").tolist()[:2] == [7.0, 3.0]
    codes = values(tmp_path, "category:z", "7", "3", "", "7")
    assert codes.dtype.kind == "i"
    assert codes.tolist() == [2, 1, -1, 2]  # of "", "3", "7"
    assert values(tmp_path, "column:z", "7", "3").tolist() == [7.0, 3.0]
    assert values(tmp_path, "column:z", "c7", "c3").tolist() == [1, 0]


def test_names_of_declared_kinds():
    number, category, column = parse_candidates(["number:z", "category:z", "column:z"])
    assert [c.kind for c in (number, category, column)] == ["scalar", "category", ""]
    assert [c.source for c in (number, category, column)] == ["number:z", "category:z", "column:z"]
    assert parse_candidates(["F0", "own:rms", "toy:bands"])[2].kind == ""
    with pytest.raises(ValueError, match="the same candidate"):
        parse_candidates(["number:z", "number:z"])


@pytest.mark.parametrize(
    "cells", [("3,14", "2,72", "1,41"), ("1,234.5", "2,000", "7"), ("-3,1e-4", "2", " 5,0 ")]
)
@pytest.mark.parametrize("name", ["column:z", "number:z"])
def test_numbers_with_commas_are_neither_names_nor_skipped(tmp_path, name, cells):
    with pytest.raises(ValueError, match=f"row 1 holds '{cells[0]}', a number with a comma") as e:
        values(tmp_path, name, *cells)
    assert "decimal point" in str(e.value)
    assert "category:z if these are names" in str(e.value)
    assert len(values(tmp_path, "category:z", *cells)) == len(cells)


def test_lists_of_names_with_commas_are_names(tmp_path):
    assert values(tmp_path, "column:z", "a,b", "1,2", "c").tolist() == [1, 0, 2]


def test_a_declared_number_may_not_hold_anything_else(tmp_path):
    with pytest.raises(ValueError, match="row 2 holds 'red', which is not a number"):
        values(tmp_path, "number:z", "1", "red", "blue", "green")


def test_whole_numbers_that_come_twice_may_be_codes():
    few = np.array([3.0, 3, 1, 1, np.nan])
    cases = {
        "column:few": few,
        "column:once": np.array([3.0, 1, 2, 4, 4]),
        "column:half": few + 0.5,
        "column:none": np.full(3, np.nan),
        "column:text": np.array([0, 0, 1, 1]),
        "number:few": few,
        "category:few": np.array([0, 0, 1, 1]),
    }
    assert columns_to_declare(parse_candidates(list(cases)), cases) == ["column:few"]
