import shutil

import numpy as np
import pytest
import soundfile

from augury import audio, pseudolabels, read_corpus
from augury.corpus import TooManyBad
from augury.extract import Plan
from augury.learning.clips import Clips, Summary, aligned, prepare
from augury.settings import PretrainSettings
from augury.store import Store

import toy


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(toy.__file__.rpartition("/")[0])


@pytest.fixture
def manifest(tmp_path):
    return toy.corpus(tmp_path)


def prepared(manifest, names, store, jobs=1, **choices):
    settings = PretrainSettings.of("small", dict.fromkeys(names, 1.0), **choices)
    candidates = pseudolabels.candidates(list(names)) if names else []
    plan = Plan.of(candidates, store, unvoiced=settings.unvoiced, mel=True)
    corpus = manifest if not hasattr(manifest, "suffix") else read_corpus(manifest)
    return prepare(corpus, candidates, plan, settings, jobs=jobs)


# ------------------------------------------------------------------------------------ alignment


def test_alignment_worked_by_hand():
    # openSMILE's 60 ms frames are centred 30 ms + 10 ms a frame, the log-mel's 12.5 + 10 ms: the
    # nearest to log-mel frame 2 (32.5 ms) is frame 0, and frames 0 and 1 have none.
    values = np.array([5.0, 6.0, 7.0], np.float32)
    found = aligned(values, 0.030, 0.010, 0, 6)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 5, 6, 7, np.nan])
    # 20 ms frames: 10 + 10 ms, 2.5 ms before.
    np.testing.assert_array_equal(aligned(values, 0.010, 0.010, 0, 4), [5, 6, 7, np.nan])


def test_alignment_of_a_later_clip_is_that_part_of_the_whole():
    values = np.random.default_rng(0).standard_normal((98, 3))
    whole = aligned(values, 0.03, 0.01, 0, 100)
    np.testing.assert_array_equal(aligned(values, 0.03, 0.01, 40, 25), whole[40:65])


def test_alignment_against_a_plain_search():
    rng = np.random.default_rng(1)
    for _ in range(50):
        count, hop = rng.integers(1, 60), rng.uniform(0.003, 0.05)
        centre = rng.uniform(0, 0.05)
        values, first, frames = rng.standard_normal(count), rng.integers(0, 30), rng.integers(1, 50)
        found = aligned(values, centre, hop, first, frames)
        for k in range(frames):
            at = audio.WINDOW / 2 + audio.HOP * (first + k)
            apart = np.abs(centre + hop * np.arange(count) - at)
            nearest = apart.argmin()
            expected = values[nearest] if apart[nearest] <= hop / 2 else np.nan
            np.testing.assert_equal(found[k], expected)


def test_what_is_no_value_has_no_place():
    found = aligned(np.array([np.inf, np.nan, 1e200, 1.0]), 0.0125, 0.01, 0, 4)
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, 1.0])


# ------------------------------------------------------------------------------------ summaries


def test_summaries_add_up_to_the_summary_of_all():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((1000, 3)) * [1, 1e-3, 1e4] + [0, 1e3, -7e5]
    values[rng.random(values.shape) < 0.1] = np.nan
    parts = np.split(values, [1, 17, 17, 400])
    total = Summary.of(parts[0])
    for part in parts[1:]:
        total = total + Summary.of(part)
    np.testing.assert_array_equal(total.count, np.isfinite(values).sum(axis=0))
    # The second column's mean is a million times its deviation: sums of squares would lose it.
    np.testing.assert_allclose(total.mean, np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(total.deviation, np.nanstd(values, axis=0), rtol=1e-9)


def test_a_summary_of_nothing_counts_nothing():
    total = Summary.of(np.full((3, 1), np.nan)) + Summary.of(np.array([2.0, 4.0]))
    assert (total.count[0], total.mean[0], total.deviation[0]) == (2, 3, 1)


# ------------------------------------------------------------------------------------ preparing


def test_clips_and_statistics_are_those_made_by_hand(manifest, tmp_path):
    names = ("toy:level", "toy:bands", "column:age", "column:colour")
    found = prepared(manifest, names, tmp_path / "store", validation="0")
    targets = {target.name: target for target in found.targets}
    corpus = read_corpus(manifest)
    mels, levels, ages = [], [], []
    for k, segment in enumerate(corpus):
        signal = soundfile.read(segment.path, dtype="float32")[0]
        mel, values = found.clips.read(k)
        expected = audio.log_mel(signal)
        np.testing.assert_allclose(mel, expected, atol=0.04)  # half precision at 100 dB
        level = toy.level(signal, 16_000)
        hop = len(signal) / 16_000 / len(level)
        expected = aligned(level, hop / 2, hop, 0, len(mel))
        np.testing.assert_array_equal(values["toy:level"], expected)
        assert values["toy:bands"].shape == (len(mel), 3)
        assert set(values["column:age"]) == {float(segment.labels["age"])}
        colour = targets["column:colour"].categories[values["column:colour"][0]]
        assert colour == segment.labels["colour"]
        mels.append(mel)
        levels.append(values["toy:level"])
        ages.append(values["column:age"])
    mel, level, age = (np.concatenate(values) for values in (mels, levels, ages))
    np.testing.assert_allclose(targets["mel"].mean, mel.mean(axis=0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(targets["mel"].deviation, mel.std(axis=0, dtype=float), rtol=1e-6)
    mfcc = mel.astype(float) @ audio.cosines(80, 40).astype(float)
    np.testing.assert_allclose(targets["mfcc"].mean, mfcc.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(targets["mfcc"].deviation, mfcc.std(axis=0), rtol=1e-4)
    for name, values in (("toy:level", level), ("column:age", age)):
        np.testing.assert_allclose(targets[name].mean, np.nanmean(values))
        np.testing.assert_allclose(targets[name].deviation, np.nanstd(values))
    shares = targets["column:colour"].mean
    red = sum(len(m) for m, s in zip(mels, corpus, strict=True) if s.labels["colour"] == "red")
    np.testing.assert_allclose(shares[1], red / len(mel))


def test_mfccs_are_scipys_dct():
    from scipy import fft

    mel = np.random.default_rng(0).standard_normal((5, 80))
    expected = fft.dct(mel, axis=1, norm="ortho")[:, :40]
    np.testing.assert_allclose(mel @ audio.cosines(80, 40), expected, atol=1e-6)  # float32 matrix


def test_workers_and_a_second_run_find_the_same(manifest, tmp_path):
    names = ("toy:level", "toy:bands")
    first = prepared(manifest, names, tmp_path / "store", jobs=2)
    for other in (
        prepared(manifest, names, tmp_path / "store"),
        prepared(manifest, names, tmp_path / "b"),
    ):
        for one, two in zip(first.targets, other.targets, strict=True):
            assert np.array_equal(one.mean, two.mean)
            assert np.array_equal(one.deviation, two.deviation)
        assert np.array_equal(first.clips.held_out, other.clips.held_out)


def test_statistics_are_of_training_clips_alone(manifest, tmp_path):
    found = prepared(manifest, ("toy:level",), tmp_path / "store", validation="0.25")
    clips = found.clips
    assert clips.held_out.sum() == 6  # a quarter of 24
    levels = [clips.read(k)[1]["toy:level"] for k in np.flatnonzero(~clips.held_out)]
    np.testing.assert_allclose(found.targets[2].mean, np.nanmean(np.concatenate(levels)))
    other = prepared(manifest, ("toy:level",), tmp_path / "store", validation="0.25", seed=1)
    assert not np.array_equal(clips.held_out, other.clips.held_out)


def test_splits(tmp_path):
    toy.corpus(tmp_path)
    rows = (tmp_path / "manifest.csv").read_text().splitlines()
    splits = ["train"] * 12 + ["dev"] * 6 + ["test"] * 6
    lines = [f"{row},{split}" for row, split in zip(rows, ["split", *splits], strict=True)]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    manifest, store = tmp_path / "manifest.csv", tmp_path / "store"
    found = prepared(manifest, (), store, split="train", validation="dev").clips
    assert (len(found), found.held_out.sum()) == (18, 6)
    with pytest.raises(ValueError, match="validation is the split 'test'; say with split"):
        prepared(manifest, (), store, validation="test")
    with pytest.raises(ValueError, match="no segment is of split 'valid'; there are dev, test"):
        prepared(manifest, (), store, split="train", validation="valid")
    with pytest.raises(ValueError, match=r"validation is 1\.5"):
        prepared(manifest, (), store, validation="1.5")


def test_segments_of_a_recording_are_clips_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    signal = np.concatenate([toy.voice(rng, k % 3, 0.5) for k in range(6)])
    soundfile.write(tmp_path / "long.wav", signal, 16_000)
    lines = ["path,start,end"] + [f"long.wav,{k / 2},{k / 2 + 0.4}" for k in range(6)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    clips = prepared(tmp_path / "m.csv", ("toy:level",), tmp_path / "store", validation="0").clips
    mel = audio.log_mel(soundfile.read(tmp_path / "long.wav", dtype="float32")[0])
    assert len(clips) == 6
    for k in range(6):
        found, values = clips.read(k)
        # Frames whose centres lie in the segment: from 50 k on, 40 of them, but for the first's.
        first = max(0, round((k / 2 - 0.0125) / 0.01 + 0.25))
        np.testing.assert_allclose(found, mel[first : first + len(found)], atol=0.04)
        assert len(found) in (39, 40)
        assert len(values["toy:level"]) == len(found)


def test_clips_of_a_long_recording_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("augury.learning.clips._LONG", 1.0)
    soundfile.write(tmp_path / "long.wav", toy.voice(np.random.default_rng(0), 1, 6.0), 16_000)
    lines = ["path,start,end"] + [f"long.wav,{k / 2},{k / 2 + 0.4}" for k in range(12)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    clips = prepared(tmp_path / "m.csv", ("toy:level",), tmp_path / "store", validation="0").clips
    first = [clips.read(k) for k in (3, 5)]
    monkeypatch.setattr("augury.extract.stored", None)  # must not be called again
    for (mel, values), k in zip(first, (3, 5), strict=True):
        again = clips.read(k)
        assert np.array_equal(mel, again[0])
        assert np.array_equal(values["toy:level"], again[1]["toy:level"])
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "store")
    assert np.array_equal(clips.read(3)[0], first[0][0])


def test_long_clips_are_left_out_and_named_but_are_no_fault(manifest, tmp_path):
    found = prepared(manifest, (), tmp_path / "store", longest=0.45, validation="0")
    long = [one for one in found.rejected if one.reason == "longer-than-longest"]
    assert long
    assert len(long) + len(found.clips) == 24
    assert found.clips.frames.max() * audio.HOP <= 0.45
    assert "longest is 0.45 s" in long[0].detail
    with pytest.raises(ValueError, match=r"24 longer than 0\.2 s"):
        prepared(manifest, (), tmp_path / "store", longest=0.2)


def test_bad_recordings_are_named_and_the_rest_is_as_if_alone(manifest, tmp_path):
    alone = prepared(manifest, ("toy:level",), tmp_path / "store", validation="0")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not a sound")
    soundfile.write(tmp_path / "short.wav", np.sin(np.arange(100.0)), 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    with manifest.open("a") as file:
        for name in ("empty", "text", "short", "silent", "absent"):
            file.write(f"{name}.wav,low,1,red\n")
    with pytest.raises(TooManyBad, match="5 of 29 segments"):
        prepared(manifest, ("toy:level",), tmp_path / "store", validation="0")
    found = prepared(manifest, ("toy:level",), tmp_path / "store", validation="0", max_bad=0.5)
    reasons = sorted(one.reason for one in found.rejected)
    expected = ["empty-file", "missing-file", "silent", "too-short", "unsupported-format"]
    assert reasons == expected
    for one, other in zip(alone.targets, found.targets, strict=True):
        assert np.array_equal(one.mean, other.mean)


def test_a_constant_or_absent_pseudo_label_is_refused(manifest, tmp_path):
    with pytest.raises(ValueError, match=r"toy:constant is 0.1 everywhere: nothing to learn"):
        prepared(manifest, ("toy:constant",), tmp_path / "store")
    with pytest.raises(ValueError, match="toy:nothing has no value at all"):
        prepared(manifest, ("toy:nothing",), tmp_path / "store")
    with pytest.raises(ValueError, match=r"no label column 'colr'.*did you mean 'colour'"):
        prepared(manifest, ("column:colr",), tmp_path / "store")


def test_what_the_store_lost_is_made_again(manifest, tmp_path):
    found = prepared(manifest, ("toy:level",), tmp_path / "store")
    before = found.clips.read(0)
    for path in (tmp_path / "store").glob("*/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    after = found.clips.read(0)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1]["toy:level"], after[1]["toy:level"])
    shutil.rmtree(tmp_path / "store")
    assert np.array_equal(before[0], found.clips.read(0)[0])
    shutil.rmtree(tmp_path / "store")
    soundfile.write(found.clips.recordings[0], toy.voice(np.random.default_rng(9), 0, 1), 16_000)
    with pytest.raises(OSError, match="changed since this run began"):
        found.clips.read(0)


def test_clips_come_back_from_their_arrays(manifest, tmp_path):
    clips = prepared(manifest, ("toy:level", "column:colour"), tmp_path / "store").clips
    store = Store(tmp_path / "kept")
    store.write("clips", clips.arrays())
    kept = store.read("clips")
    assert kept is not None
    again = Clips.of_arrays(kept, clips.plan, clips.candidates, clips.unvoiced)
    assert again.recordings == clips.recordings
    assert again.digests == clips.digests
    assert np.array_equal(again.frames, clips.frames)
    assert np.array_equal(again.read(3)[1]["column:colour"], clips.read(3)[1]["column:colour"])
