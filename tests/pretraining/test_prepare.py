import numpy as np
import pytest
import soundfile

from augury import audio, read_corpus
from augury.corpus.corpus import TooManyBad
from augury.pretraining.clips import align

import toy
from toy import prepared


def test_clips_and_statistics_are_those_computed_by_hand(manifest, tmp_path):
    names = ("toy:level", "toy:bands", "column:age", "column:colour")
    result = prepared(manifest, names, tmp_path / "store", validation="0")
    targets = {target.name: target for target in result.targets}
    corpus = read_corpus(manifest)
    mels, levels, ages = [], [], []
    for k, segment in enumerate(corpus):
        signal = soundfile.read(segment.path, dtype="float32")[0]
        mel, values = result.clips.read(k)
        expected = audio.log_mel(signal)
        np.testing.assert_allclose(mel, expected, atol=0.04)  # half precision at 100 dB
        level = toy.level(signal, 16_000)
        hop = len(signal) / 16_000 / len(level)
        expected = align(level, hop / 2, hop, 0, len(mel))
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
    np.testing.assert_allclose(
        targets["mel"].standard_deviation, mel.std(axis=0, dtype=float), rtol=1e-6
    )
    mfcc = mel.astype(float) @ audio.cepstral_basis(80, 40).astype(float)
    np.testing.assert_allclose(targets["mfcc"].mean, mfcc.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(targets["mfcc"].standard_deviation, mfcc.std(axis=0), rtol=1e-4)
    for name, values in (("toy:level", level), ("column:age", age)):
        np.testing.assert_allclose(targets[name].mean, np.nanmean(values))
        np.testing.assert_allclose(targets[name].standard_deviation, np.nanstd(values))
    shares = targets["column:colour"].mean
    red = sum(len(m) for m, s in zip(mels, corpus, strict=True) if s.labels["colour"] == "red")
    np.testing.assert_allclose(shares[1], red / len(mel))


def test_two_processes_and_a_second_run_give_the_same_statistics(manifest, tmp_path):
    names = ("toy:level", "toy:bands")
    first = prepared(manifest, names, tmp_path / "store", jobs=2)
    for other in (
        prepared(manifest, names, tmp_path / "store"),
        prepared(manifest, names, tmp_path / "b"),
    ):
        for target, two in zip(first.targets, other.targets, strict=True):
            assert np.array_equal(target.mean, two.mean)
            assert np.array_equal(target.standard_deviation, two.standard_deviation)
        assert np.array_equal(first.clips.held_out, other.clips.held_out)


def test_statistics_are_of_training_clips_only(manifest, tmp_path):
    result = prepared(manifest, ("toy:level",), tmp_path / "store", validation="0.25")
    clips = result.clips
    assert clips.held_out.sum() == 6  # a quarter of 24
    levels = [clips.read(k)[1]["toy:level"] for k in np.flatnonzero(~clips.held_out)]
    np.testing.assert_allclose(result.targets[2].mean, np.nanmean(np.concatenate(levels)))
    other = prepared(manifest, ("toy:level",), tmp_path / "store", validation="0.25", seed=1)
    assert not np.array_equal(clips.held_out, other.clips.held_out)


def test_splits(tmp_path):
    toy.corpus(tmp_path)
    rows = (tmp_path / "manifest.csv").read_text().splitlines()
    splits = ["train"] * 12 + ["dev"] * 6 + ["test"] * 6
    lines = [f"{row},{split}" for row, split in zip(rows, ["split", *splits], strict=True)]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    manifest, store = tmp_path / "manifest.csv", tmp_path / "store"
    clips = prepared(manifest, (), store, split="train", validation="dev").clips
    assert (len(clips), clips.held_out.sum()) == (18, 6)
    with pytest.raises(ValueError, match="validation is the split 'test'; say with split"):
        prepared(manifest, (), store, validation="test")
    with pytest.raises(ValueError, match="no segment is of split 'valid'; there are dev, test"):
        prepared(manifest, (), store, split="train", validation="valid")
    with pytest.raises(ValueError, match=r"validation is 1\.5"):
        prepared(manifest, (), store, validation="1.5")


def test_each_segment_of_a_recording_is_a_clip(tmp_path):
    rng = np.random.default_rng(0)
    signal = np.concatenate([toy.voice(rng, k % 3, 0.5) for k in range(6)])
    soundfile.write(tmp_path / "long.wav", signal, 16_000)
    lines = ["path,start,end"] + [f"long.wav,{k / 2},{k / 2 + 0.4}" for k in range(6)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    clips = prepared(tmp_path / "m.csv", ("toy:level",), tmp_path / "store", validation="0").clips
    mel = audio.log_mel(soundfile.read(tmp_path / "long.wav", dtype="float32")[0])
    assert len(clips) == 6
    for k in range(6):
        clip, values = clips.read(k)
        # Frames whose centres lie in the segment: from 50 k on, 40 of them, but for the first's.
        first = max(0, round((k / 2 - 0.0125) / 0.01 + 0.25))
        np.testing.assert_allclose(clip, mel[first : first + len(clip)], atol=0.04)
        assert len(clip) in (39, 40)
        assert len(values["toy:level"]) == len(clip)


def test_long_clips_are_left_out_and_listed_but_not_counted_as_bad(manifest, tmp_path):
    result = prepared(manifest, (), tmp_path / "store", longest=0.45, validation="0")
    long = [row for row in result.rejected if row.reason == "longer-than-longest"]
    assert long
    assert len(long) + len(result.clips) == 24
    assert result.clips.frames.max() * audio.HOP <= 0.45
    assert "longest is 0.45 s" in long[0].detail
    with pytest.raises(ValueError, match=r"24 longer than 0\.2 s"):
        prepared(manifest, (), tmp_path / "store", longest=0.2)


def test_bad_recordings_are_listed_and_do_not_change_the_rest(manifest, tmp_path):
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
    result = prepared(manifest, ("toy:level",), tmp_path / "store", validation="0", max_bad=0.5)
    reasons = sorted(row.reason for row in result.rejected)
    expected = ["empty-file", "missing-file", "silent", "too-short", "unsupported-format"]
    assert reasons == expected
    for target, same in zip(alone.targets, result.targets, strict=True):
        assert np.array_equal(target.mean, same.mean)


def test_a_constant_or_absent_pseudo_label_is_refused(manifest, tmp_path):
    with pytest.raises(ValueError, match=r"toy:constant is 0.1 everywhere: nothing to learn"):
        prepared(manifest, ("toy:constant",), tmp_path / "store")
    with pytest.raises(ValueError, match="toy:nothing has no value at all"):
        prepared(manifest, ("toy:nothing",), tmp_path / "store")
    with pytest.raises(ValueError, match=r"no label column 'colr'.*did you mean colour"):
        prepared(manifest, ("column:colr",), tmp_path / "store")
