from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from augury.corpus.check import check
from augury.corpus.read import read_corpus
from manifests import manifest


def test_check_counts(three):
    found = check(three)
    assert (found.rows, found.segments, found.recordings) == (3, 3, 2)
    assert found.hours == pytest.approx(2 / 3600)  # 0.5 + 1 + 0.5 s; sums of a few floats
    assert found.recorded_hours == pytest.approx(2 / 3600)
    assert found.durations["min"] == 0.5
    assert found.durations["max"] == 1.0
    assert found.rates == {16_000: 2}
    assert found.channels == {1: 2}
    assert found.formats == {"WAV PCM_16": 2}
    assert found.problems == {}
    phone, speaker = found.labels
    assert (phone.classes, phone.singletons, phone.absent) == (2, 1, 0)
    assert phone.top == (("aa", 2), ("iy", 1))
    assert phone.smallest == ("iy", 1)
    assert (speaker.classes, speaker.absent) == (2, 1)
    assert json.loads(json.dumps(found.to_dict()))["rates"] == {"16000": 2}


def test_check_finds_bad_audio_and_times(tones):
    (tones / "empty.wav").touch()
    data = (tones / "b.wav").read_bytes()
    (tones / "cut.wav").write_bytes(data[:1000])
    soundfile.write(tones / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    text = (
        "path,start,end\na.wav,0,1.04\na.wav,0,1.06\na.wav,1,\nempty.wav,,\ncut.wav,0,0.1\n"
        "cut.wav,0.1,0.2\nsilent.wav,,\nnone.wav,,\n"
    )
    corpus = read_corpus(manifest(tones, text))
    found = check(corpus)
    assert [(r.row, r.reason) for r in found.rejected] == [
        (2, "outside-recording"),
        (3, "outside-recording"),
        (4, "empty-file"),
        (5, "truncated"),
        (6, "truncated"),
        (8, "missing-file"),
    ]
    assert found.segments + len(found.rejected) == found.rows == 8
    assert next(iter(found.problems.items())) == ("outside-recording", 2)
    assert "1 s long" in found.rejected[0].detail
    assert check(corpus, decode=True).problems["silent"] == 1


def test_check_of_nothing_usable(tones):
    found = check(read_corpus(manifest(tones, "path,phone\nx.wav,aa\n")))
    assert (found.rows, found.segments, found.hours, found.durations) == (1, 0, 0.0, {})
    assert found.labels[0].smallest is None
    json.dumps(found.to_dict())


def test_check_survives_a_file_that_vanished(three, tones):
    (tones / "a.wav").unlink()
    assert check(three).problems == {"unreadable": 1}
