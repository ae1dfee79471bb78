import numpy as np

from augury import pseudolabels, read_corpus
from augury.compute import Threads
from augury.extraction import gather as module
from augury.extraction.corpus import extract_corpus
from augury.extraction.plan import Embedding, Plan


def test_frames_are_read_once_and_means_kept_for_the_same_segments(manifest, tmp_path, monkeypatch):
    read: list[int] = []
    read_frames = module.read_frames

    def counted(plan, recording, content, candidates):
        read.append(len(candidates))
        return read_frames(plan, recording, content, candidates)

    monkeypatch.setattr(module, "read_frames", counted)
    corpus = read_corpus(manifest)

    def gathered(names, corpus=corpus):
        candidates = pseudolabels.parse_candidates(names)
        embeddings = (Embedding("gaussian", 4, 0.07),)
        plan = Plan.of(candidates, tmp_path, unvoiced="published", embeddings=embeddings)
        read.clear()
        return module.gather(extract_corpus(corpus, plan, pool=Threads(1)), candidates).values

    names = ["own:rms", "own:noise"]
    first = gathered(names)
    assert set(read) == {2}
    again = gathered(names)
    assert set(read) == {0}  # only embeddings
    assert set(first) == set(again) == set(names)
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in names)
    fewer = gathered(names, corpus.select(np.arange(2, len(corpus))))
    assert set(read) == {2}
    assert len(fewer["own:rms"]) < len(first["own:rms"])
    assert list(gathered(["own:rms"])) == ["own:rms"]
    assert set(read) == {1}
