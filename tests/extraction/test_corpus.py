"""Functions of the user's: what they are told, when they are called again, and what is said."""

import sys

import pytest

from augury import read_corpus
from augury.compute import Threads
from augury.extraction.corpus import common_rows, extract_corpus
from augury.extraction.gather import gather
from augury.extraction.plan import Embedding, Plan
from augury.pseudolabels import parse_candidates
from reporters import Recorder

SOURCE = """\
import numpy as np

CALLS = []


def plain(signal, rate, size=160):
    CALLS.append("plain")
    return np.array([float(size)])


def told(signal, rate, recording):
    CALLS.append(recording.name)
    assert recording.path.is_file()
    return np.array([float(recording.row["age"])])
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The calls of the functions of a user's module, `told_of`."""
    (tmp_path / "told_of.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    import told_of  # pyright: ignore[reportMissingImports]

    yield told_of.CALLS
    del sys.modules["told_of"]


def run(manifest, names, *, fresh=False):
    """The values of candidates by name, and what was said."""
    corpus, reporter = read_corpus(manifest), Recorder()
    candidates = parse_candidates(names)
    embedding = Embedding("gaussian", 20, 0.07)
    store = manifest.parent / "store"
    plan = Plan.of(candidates, store, unvoiced="published", embeddings=(embedding,), fresh=fresh)
    extraction = extract_corpus(corpus, plan, pool=Threads(1), reporter=reporter)
    return gather(extraction, candidates).values, reporter.messages


def test_a_function_of_three_arguments_is_told_of_the_recording(manifest, calls):
    corpus = read_corpus(manifest)
    values, _ = run(manifest, ["told_of:told", "told_of:plain"])
    assert values["told_of:told"].tolist() == [float(age) for age in corpus.label("age")]
    assert set(values["told_of:plain"]) == {160.0}  # a third argument with a default is none
    assert set(calls) == {"plain", *corpus.names}
    calls.clear()
    manifest.write_text(manifest.read_text().replace(",20,", ",50,"))
    values, _ = run(manifest, ["told_of:told", "told_of:plain"])
    ages = [float(age) for age in read_corpus(manifest).label("age")]
    assert values["told_of:told"].tolist() == ages
    assert len(calls) == ages.count(50.0) > 0  # only those of which it is told something else


def test_it_is_said_what_the_store_had_and_fresh_computes_anew(manifest, calls):
    _, messages = run(manifest, ["told_of:plain"])
    assert messages == ["candidates' values of 24 recordings: 0 from the store, 24 computed"]
    _, messages = run(manifest, ["told_of:plain"])
    assert messages == ["candidates' values of 24 recordings: 24 from the store, 0 computed"]
    assert len(calls) == 24
    _, messages = run(manifest, ["told_of:plain", "own:rms"], fresh=True)
    assert messages == ["candidates' values of 24 recordings: 0 from the store, 24 computed"]
    assert len(calls) == 48


def test_columns_that_differ_within_a_recording_are_not_told(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    rows = "path,start,end,phone,speaker\na.wav,0,1,x,s\na.wav,1,2,y,s\n"
    (tmp_path / "m.csv").write_text(rows)
    assert common_rows(read_corpus(tmp_path / "m.csv")) == [(("speaker", "s"),)]
