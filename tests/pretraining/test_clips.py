import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from augury import audio
from augury.pretraining.clips import Clips, align
from augury.store import Store

import toy
from toy import prepared


def test_alignment_worked_by_hand():
    # openSMILE's 60 ms frames are centred 30 ms + 10 ms a frame, the log-mel's 12.5 + 10 ms: the
    # nearest to log-mel frame 2 (32.5 ms) is frame 0, and frames 0 and 1 have none.
    values = np.array([5.0, 6.0, 7.0], np.float32)
    aligned = align(values, 0.030, 0.010, 0, 6)
    np.testing.assert_array_equal(aligned, [np.nan, np.nan, 5, 6, 7, np.nan])
    # 20 ms frames: 10 + 10 ms, 2.5 ms before.
    np.testing.assert_array_equal(align(values, 0.010, 0.010, 0, 4), [5, 6, 7, np.nan])


def test_alignment_of_a_later_clip_is_a_slice_of_the_whole():
    values = np.random.default_rng(0).standard_normal((98, 3))
    whole = align(values, 0.03, 0.01, 0, 100)
    np.testing.assert_array_equal(align(values, 0.03, 0.01, 40, 25), whole[40:65])


def test_alignment_against_a_plain_search():
    rng = np.random.default_rng(1)
    for _ in range(50):
        count, hop = rng.integers(1, 60), rng.uniform(0.003, 0.05)
        centre = rng.uniform(0, 0.05)
        values, first, frames = rng.standard_normal(count), rng.integers(0, 30), rng.integers(1, 50)
        aligned = align(values, centre, hop, first, frames)
        for k in range(frames):
            time = audio.WINDOW / 2 + audio.HOP * (first + k)
            apart = np.abs(centre + hop * np.arange(count) - time)
            nearest = apart.argmin()
            expected = values[nearest] if apart[nearest] <= hop / 2 else np.nan
            np.testing.assert_equal(aligned[k], expected)


def test_values_that_are_not_finite_or_too_large_become_nan():
    aligned = align(np.array([np.inf, np.nan, 1e200, 1.0]), 0.0125, 0.01, 0, 4)
    np.testing.assert_array_equal(aligned, [np.nan, np.nan, np.nan, 1.0])


def test_clips_of_a_long_recording_are_read_through_a_memory_map(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "long.wav", toy.voice(np.random.default_rng(0), 1, 6.0), 16_000)
    lines = ["path,start,end"] + [f"long.wav,{k / 2},{k / 2 + 0.4}" for k in range(12)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    clips = prepared(tmp_path / "m.csv", ("toy:level",), tmp_path / "store", validation="0").clips
    clips = replace(clips, long=1.0)
    first = [clips.read(k) for k in (3, 5)]
    monkeypatch.setattr("augury.store.unpack", None)  # no artefact is read whole again
    for (mel, values), k in zip(first, (3, 5), strict=True):
        again = clips.read(k)
        assert np.array_equal(mel, again[0])
        assert np.array_equal(values["toy:level"], again[1]["toy:level"])
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "store")
    assert np.array_equal(clips.read(3)[0], first[0][0])


def test_values_that_the_store_has_lost_are_extracted_again(manifest, tmp_path):
    prepared_clips = prepared(manifest, ("toy:level",), tmp_path / "store")
    before = prepared_clips.clips.read(0)
    for path in (tmp_path / "store").glob("*/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    after = prepared_clips.clips.read(0)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1]["toy:level"], after[1]["toy:level"])
    shutil.rmtree(tmp_path / "store")
    assert np.array_equal(before[0], prepared_clips.clips.read(0)[0])
    shutil.rmtree(tmp_path / "store")
    soundfile.write(
        prepared_clips.clips.recordings[0], toy.voice(np.random.default_rng(9), 0, 1), 16_000
    )
    with pytest.raises(OSError, match="changed since this run began"):
        prepared_clips.clips.read(0)


def test_from_arrays_inverts_to_arrays(manifest, tmp_path):
    clips = prepared(manifest, ("toy:level", "column:colour"), tmp_path / "store").clips
    store = Store(tmp_path / "kept")
    store.write("clips", clips.to_arrays())
    arrays = store.read("clips")
    assert arrays is not None
    again = Clips.from_arrays(arrays, clips.plan)
    assert again.recordings == clips.recordings
    assert again.digests == clips.digests
    assert np.array_equal(again.frames, clips.frames)
    assert np.array_equal(again.read(3)[1]["column:colour"], clips.read(3)[1]["column:colour"])
