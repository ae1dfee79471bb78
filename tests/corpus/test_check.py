from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from augury.corpus.check import check
from augury.corpus.read import read_corpus
from manifests import manifest


def test_check_counts(three):
    summary = check(three)
    assert (summary.rows, summary.segments, summary.recordings) == (3, 3, 2)
    assert summary.hours == pytest.approx(2 / 3600)  # 0.5 + 1 + 0.5 s; sums of a few floats
    assert summary.recorded_hours == pytest.approx(2 / 3600)
    assert summary.durations["min"] == 0.5
    assert summary.durations["max"] == 1.0
    assert summary.rates == {16_000: 2}
    assert summary.channels == {1: 2}
    assert summary.formats == {"WAV PCM_16": 2}
    assert summary.problems == {}
    phone, speaker = summary.labels
    assert (phone.classes, phone.singletons, phone.absent) == (2, 1, 0)
    assert phone.top == (("aa", 2), ("iy", 1))
    assert phone.smallest == ("iy", 1)
    assert (speaker.classes, speaker.absent) == (2, 1)
    assert json.loads(json.dumps(summary.to_dict()))["rates"] == {"16000": 2}


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
    summary = check(corpus)
    assert [(r.row, r.reason) for r in summary.rejected] == [
        (2, "outside-recording"),
        (3, "outside-recording"),
        (4, "empty-file"),
        (5, "truncated"),
        (6, "truncated"),
        (8, "missing-file"),
    ]
    assert summary.segments + len(summary.rejected) == summary.rows == 8
    assert next(iter(summary.problems.items())) == ("outside-recording", 2)
    assert "1 s long" in summary.rejected[0].detail
    assert summary.clipped is None
    decoded = check(corpus, decode=True)
    assert decoded.problems["silent"] == 1
    assert decoded.clipped == {"all": 0.0, "max": 0.0}


def test_decoding_finds_clipped_recordings(tones):
    samples, rate = soundfile.read(tones / "a.wav")
    soundfile.write(tones / "loud.wav", np.clip(8 * samples, -1, 1), rate)
    summary = check(read_corpus(manifest(tones, "path\na.wav\nloud.wav\n")), decode=True)
    assert summary.clipped is not None
    assert summary.clipped["max"] > 0.5
    assert summary.clipped["all"] == pytest.approx(summary.clipped["max"] / 2)


def test_check_of_nothing_usable(tones):
    summary = check(read_corpus(manifest(tones, "path,phone\nx.wav,aa\n")))
    assert (summary.rows, summary.segments, summary.hours, summary.durations) == (1, 0, 0.0, {})
    assert summary.labels[0].smallest is None
    json.dumps(summary.to_dict())


def test_check_survives_a_file_that_vanished(three, tones):
    (tones / "a.wav").unlink()
    assert check(three).problems == {"unreadable": 1}
