import csv
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augury import audio, check, hsic, rank, read_corpus
from augury.compute import processes
from augury.corpus.corpus import TooManyBad
from augury.extraction import embed
from augury.ranking.report import render

import commands
import oracles
import toy
from conftest import tone

OWN = ("own:rms", "own:centroid", "own:noise")


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("AUGURY_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


@pytest.fixture
def manifest(tmp_path):
    return toy.corpus(tmp_path)


def by_name(ranking):
    return {result.name: result for result in ranking.results}


def test_scores_are_those_of_the_plain_loops_on_arrays_made_by_hand(manifest):
    """The whole path against soundfile, one mean, the embedding's and the estimator's oracles."""
    from augury.audio import log_mel

    corpus = read_corpus(manifest)
    ranking = rank(corpus, ("toy:level",), label="label", estimator="paper", jobs=1)
    x, z, y = [], [], []
    for segment in corpus:
        sound = soundfile.read(segment.path, dtype="float32")[0]
        mel = log_mel(sound)
        x.append(np.ravel(oracles.gaussian_downsample(mel.astype(float), 20, 0.07)))
        z.append([toy.level(sound, 16000).mean()])
        y.append(segment.labels["label"])
    # The embedding is float32 on the way, and float64 in the oracle.
    assert ranking.results[0].score == pytest.approx(oracles.paper(x, z, y), rel=1e-5)


def test_a_ranking_is_ordered_and_complete(manifest):
    names = (*OWN, "toy:bands", "column:age", "column:colour")
    ranking = rank(read_corpus(manifest), names, label="label", jobs=1)
    order = [(result.relevant is False, result.kind != "scalar", result.kind == "category",
              result.score) for result in ranking.results]  # fmt: skip
    assert order == sorted(order)
    assert {result.name for result in ranking.results} == set(names)
    assert by_name(ranking)["toy:bands"].dims == 3
    kinds = {result.name: result.kind for result in ranking.results}
    assert kinds == dict.fromkeys(names, "scalar") | {
        "toy:bands": "vector", "column:colour": "category",
    }  # fmt: skip
    assert ranking.class_names == ("high", "low", "middle")
    assert ranking.class_counts == (8, 8, 8)
    assert by_name(ranking)["own:centroid"].relevant
    assert not by_name(ranking)["own:noise"].relevant
    assert any("own:noise" in w and "no relevance" in w for w in ranking.warnings)
    for result in ranking.results:
        assert len(result.classes) == 3
        assert sum(result.histogram[0]) == 24
        # Pooled: near the mean of the classes' own values, which are correlations too.
        shares = np.array(ranking.class_shares)
        assert shares @ np.array(result.classes, float) == pytest.approx(result.score, abs=0.1)


@pytest.mark.parametrize("estimator", ["paper", "released", "robust"])
@pytest.mark.parametrize("embedding", ["gaussian", "svcca"])
def test_every_estimator_and_embedding(manifest, estimator, embedding):
    corpus = read_corpus(manifest)
    if (estimator, embedding) == ("released", "svcca"):
        with pytest.raises(ValueError, match="Gaussian downsampling only"):
            rank(corpus, OWN, label="label", estimator=estimator, embedding=embedding)
        return
    ranking = rank(corpus, OWN, label="label", estimator=estimator, embedding=embedding, jobs=1)
    assert all(np.isfinite(result.score) for result in ranking.results)
    assert ranking.sensitivity is not None
    for name, scores in ranking.sensitivity.scores.items():
        assert scores[0] == pytest.approx(by_name(ranking)[name].score, rel=1e-9)
        assert all(score is not None and np.isfinite(score) for score in scores)


def test_workers_and_a_second_run_give_the_same_bytes(manifest, tmp_path):
    names = (*OWN, "toy:level")
    for run, jobs, store in (("one", 1, "a"), ("two", 2, "b"), ("cached", 2, "a")):
        rank(
            read_corpus(manifest), names, label="label", jobs=jobs, store=tmp_path / store,
            permutations=99, out=tmp_path / run,
        )  # fmt: skip
    for file in ("ranking.json", "ranking.csv", "report.html", "quarantine.csv"):
        first = (tmp_path / "one" / file).read_bytes()
        assert first == (tmp_path / "two" / file).read_bytes()
        assert first == (tmp_path / "cached" / file).read_bytes()


def test_the_order_of_the_manifest_does_not_matter(manifest):
    before = by_name(rank(read_corpus(manifest), OWN, label="label", jobs=1))
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    after = by_name(rank(read_corpus(manifest), OWN, label="label", jobs=1))
    for name, result in before.items():
        # Embeddings are float32, and their products are summed in another order.
        assert after[name].score == pytest.approx(result.score, rel=1e-5, abs=1e-7)


def test_the_written_files_hold_the_ranking(manifest, tmp_path):
    ranking = rank(read_corpus(manifest), OWN, label="label", jobs=1, out=tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_text("utf-8") == render(ranking)
    kept = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert [r["name"] for r in kept["results"]] == [r.name for r in ranking.results]
    assert kept["results"][0]["score"] == ranking.results[0].score
    assert set(kept["inputs"]) == {"segments", "audio"}
    assert "numpy" in kept["versions"]
    assert kept["command"].startswith("augury rank ")
    rows = list(csv.DictReader((tmp_path / "out" / "ranking.csv").open()))
    assert [float(row["score"]) for row in rows] == [r.score for r in ranking.results]
    assert float(rows[0]["class:low"]) == ranking.results[0].classes[1]
    first = ranking.results[0]
    assert (float(rows[0]["low"]), float(rows[0]["high"])) == first.interval
    assert (int(rows[0]["rank_low"]), int(rows[0]["rank_high"])) == first.rank_interval
    assert (int(rows[0]["tier"]), float(rows[0]["p_value"])) == (1, first.p_value)


def test_cached_values_are_not_computed_again(manifest, tmp_path, monkeypatch):
    log = tmp_path / "calls"
    monkeypatch.setenv("TOY_LOG", str(log))
    for _ in range(2):
        rank(read_corpus(manifest), ("toy:level",), label="label", jobs=1)
    assert len(log.read_text().splitlines()) == 24


def test_changed_audio_and_damaged_artefacts_are_computed_again(manifest, tmp_path, monkeypatch):
    log = tmp_path / "calls"
    monkeypatch.setenv("TOY_LOG", str(log))
    first = rank(read_corpus(manifest), ("toy:level",), label="label", jobs=1)
    soundfile.write(manifest.parent / "low-0.wav", tone(150, 0.4), 16000)
    rank(read_corpus(manifest), ("toy:level",), label="label", jobs=1)
    assert len(log.read_text().splitlines()) == 25
    toy.corpus(manifest.parent)  # as it was
    for path in (tmp_path / "store").glob("*/*"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    again = rank(read_corpus(manifest), ("toy:level",), label="label", jobs=1)
    assert len(log.read_text().splitlines()) == 49
    assert again.to_dict() == first.to_dict()


def test_segments_of_one_recording_decode_it_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pieces = [toy.voice(rng, k % 3, 0.4) for k in range(30)]
    soundfile.write(tmp_path / "long.wav", np.concatenate(pieces), 16000)
    lines = [f"long.wav,{0.4 * k:.1f},{0.4 * k + 0.4:.1f},{k % 3}" for k in range(30)]
    (tmp_path / "m.csv").write_text("\n".join(["path,start,end,label", *lines]))
    calls = []
    decode = audio.decode
    monkeypatch.setattr(audio, "decode", lambda *a, **k: calls.append(a) or decode(*a, **k))
    ranking = rank(read_corpus(tmp_path / "m.csv"), OWN, label="label", jobs=1)
    assert len(calls) == 1
    assert ranking.segments == 30
    assert ranking.recordings == 1


def test_the_same_audio_in_other_segments_is_not_decoded_again(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pieces = [toy.voice(rng, k % 3, 0.4) for k in range(30)]
    soundfile.write(tmp_path / "long.wav", np.concatenate(pieces), 16000)
    for name, step in (("m", 0.4), ("other", 0.3)):
        lines = [f"long.wav,{step * k:.1f},{step * k + step:.1f},{k % 3}" for k in range(30)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,start,end,label", *lines]))
    calls = []
    decode = audio.decode
    monkeypatch.setattr(audio, "decode", lambda *a, **k: calls.append(a) or decode(*a, **k))
    rank(read_corpus(tmp_path / "m.csv"), OWN, label="label", jobs=1)
    other = read_corpus(tmp_path / "other.csv")
    again = rank(other, OWN, label="label", jobs=1)
    assert len(calls) == 1
    fresh = rank(other, OWN, label="label", jobs=1, store=tmp_path / "empty")
    assert len(calls) == 2
    assert again.to_dict() == fresh.to_dict()


def test_no_process_is_started_where_all_is_in_the_store(manifest, monkeypatch):
    corpus = read_corpus(manifest)
    first = rank(corpus, OWN, label="label", jobs=2)
    monkeypatch.setattr(processes, "ProcessPoolExecutor", None)
    assert rank(corpus, OWN, label="label", jobs=2).to_dict() == first.to_dict()
    with pytest.raises(TypeError, match="not callable"):
        rank(corpus, [*OWN, "toy:level"], label="label", jobs=2)


# ---------------------------------------------------------------------------- how sure it is


def test_what_is_resampled_is_told(manifest):
    corpus = read_corpus(manifest)
    ranking = rank(corpus, OWN, label="label", jobs=1)
    assert (ranking.resampled, ranking.units) == ("segment", 24)
    ranking = rank(corpus, OWN, label="label", jobs=1, group="age")
    assert (ranking.resampled, ranking.units) == ("age", 7)
    assert any("7 groups (age)" in warning for warning in ranking.warnings)
    none = rank(corpus, OWN, label="label", jobs=1, group="age", bootstrap=0)
    assert none.better == ()
    assert {(r.interval, r.rank_interval, r.tier) for r in none.results} == {(None, None, None)}
    assert not any("groups" in warning for warning in none.warnings)
    assert [r.score for r in none.results] == [r.score for r in ranking.results]


def test_groups_that_can_not_be_resampled_are_refused_before_the_work(manifest, monkeypatch):
    monkeypatch.setattr("augury.ranking.dataset.extract_corpus", None)
    lines = manifest.read_text().splitlines()
    more = [f"{line},{'' if k == 4 else 'x'},x" for k, line in enumerate(lines[1:])]
    manifest.write_text("\n".join([lines[0] + ",some,one", *more]))
    corpus = read_corpus(manifest)
    with pytest.raises(ValueError, match="colours"):
        rank(corpus, OWN, label="label", group="colours")
    with pytest.raises(ValueError, match="some: the column is empty in 1 rows"):
        rank(corpus, OWN, label="label", group="some")
    with pytest.raises(ValueError, match="one: all segments are of one"):
        rank(corpus, OWN, label="label", group="one")


def cut(folder, files, each):
    """A manifest of `files` recordings of `each` segments, three labels; its path."""
    rng = np.random.default_rng(0)
    lines = ["path,start,end,label"]
    for f in range(files):
        pieces = [toy.voice(rng, k % 3, 0.4) for k in range(each)]
        soundfile.write(folder / f"{f}.wav", np.concatenate(pieces), 16000)
        lines += [f"{f}.wav,{0.4 * k:.1f},{0.4 * k + 0.4:.1f},{k % 3}" for k in range(each)]
    (folder / "cut.csv").write_text("\n".join(lines))
    return folder / "cut.csv"


def test_recordings_of_several_segments_are_resampled_whole(tmp_path):
    corpus = read_corpus(cut(tmp_path, files=4, each=6))
    ranking = rank(corpus, OWN, label="label", jobs=1)
    assert (ranking.resampled, ranking.units) == ("recording", 4)
    assert any("4 groups (recording)" in warning for warning in ranking.warnings)
    same = rank(corpus, OWN, label="label", jobs=1, group="recording")
    assert same.results == ranking.results
    each = rank(corpus, OWN, label="label", jobs=1, group="segment")
    assert (each.resampled, each.units) == ("segment", 24)
    assert any("treat segments as independent" in warning for warning in each.warnings)


def test_segments_of_a_single_recording_are_resampled_and_doubted(tmp_path):
    """Of one recording, every resample would be the same, and every order seem settled."""
    ranking = rank(read_corpus(cut(tmp_path, files=1, each=24)), OWN, label="label", jobs=1)
    assert ranking.resampled == "segment"
    assert any("treat segments as independent" in warning for warning in ranking.warnings)
    for result in ranking.results:
        low, high = result.interval
        assert low < result.score < high


def test_noise_is_expected_to_have_what_lengths_say(tmp_path):
    """Of segments with both ends, with one, and with none, by hand."""
    lines = cut(tmp_path, files=6, each=4).read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    lengths, labels = [], []
    for k, (path, start, end, label) in enumerate(rows):
        end = "" if k % 4 == 3 else end if k % 4 else "0.6"  # the last runs to the recording's end
        start = "" if k % 4 == 0 else start
        rows[k] = [path, start, end, label]
        lengths.append((float(end) if end else 1.6) - (float(start) if start else 0.0))
        labels.append(label)
    (tmp_path / "cut.csv").write_text("\n".join([lines[0], *map(",".join, rows)]))
    corpus = read_corpus(tmp_path / "cut.csv")
    ranking = rank(corpus, ("own:rms", "own:noise"), label="label", jobs=1)
    expected, _ = hsic.noise_relevance(lengths, labels, [path for path, *_ in rows])
    assert expected > 0
    for result in ranking.results:
        assert result.noise_relevance == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------------------ bad input


def spoil(folder: Path) -> dict[str, str]:
    """Rows of every kind of bad input; name of the row's file → the reason it should be given."""
    good = soundfile.read(folder / "low-0.wav", dtype="float32")[0]
    write = soundfile.write
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("not audio")
    write(folder / "silent.wav", np.zeros(8000), 16000)
    write(folder / "nan.wav", np.full(8000, np.nan), 16000, subtype="FLOAT")
    write(folder / "short.wav", good[:700], 16000)
    write(folder / "slow.wav", good, 1000)
    write(folder / "whole.wav", good, 16000)
    data = (folder / "whole.wav").read_bytes()
    (folder / "cut.wav").write_bytes(data[: len(data) // 2])
    write(folder / "headless.flac", good, 16000)
    flac = bytearray((folder / "headless.flac").read_bytes())
    flac[22:26] = b"\xff\xff\xff\xff"  # the low 32 of STREAMINFO's 36 bits: 74 hours
    (folder / "long.flac").write_bytes(flac)
    outside = folder.parent / f"{folder.name}-outside.wav"
    shutil.copy(folder / "low-3.wav", outside)
    (folder / "link.wav").symlink_to(outside)
    return {
        "missing.wav": "missing-file",
        "empty.wav": "empty-file",
        "text.wav": "unsupported-format",
        "silent.wav": "silent",
        "nan.wav": "not-finite",
        "short.wav": "too-short",
        "slow.wav": "bad-rate",
        "cut.wav": "truncated",
        "long.flac": "too-long",
        f"../{outside.name}": "outside-folder",
        "link.wav": "outside-folder",
    }


def test_every_bad_input_is_named_and_the_rest_ranks_as_if_it_were_alone(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    manifest = toy.corpus(folder, each=12)
    clean = rank(read_corpus(manifest), (*OWN, "F0"), label="label", jobs=1)
    reasons = spoil(folder)
    lines = manifest.read_text().splitlines()
    header, rows = lines[0] + ",start,end", [line + ",," for line in lines[1:]]
    spoilt = [f"{name},low,30,red,," for name in reasons]
    extra = {
        "low-0.wav,low,20,red,5,6": "outside-recording",
        "low-0.wav,low,20,red,0.1,0.11": "too-short",
        "low-3.wav,alone,20,red,,": "duplicate",
        "low-0.wav,alone,20,red,0.0,0.2": "lone-label",
        "low-0.wav,,20,red,0.05,0.25": "no-label",
        "low-0.wav,low,20,red,0.2,0.1": "end-before-start",
        "low-0.wav,low,20,red,x,0.1": "bad-time",
        ",low,20,red,,": "missing-path",
    }
    everything = rows[:20] + spoilt + rows[20:] + list(extra)
    manifest.write_text("\n".join([header, *everything]) + "\n")
    with pytest.raises(TooManyBad, match="--max-bad"):
        rank(read_corpus(manifest), (*OWN, "F0"), label="label", jobs=1)
    ranking = rank(read_corpus(manifest), (*OWN, "F0"), label="label", jobs=1, max_bad=0.5)
    assert ranking.results == clean.results
    assert ranking.segments == clean.segments
    named = {bad.row: bad for bad in ranking.rejected}
    for k, (name, reason) in enumerate(reasons.items()):
        assert named[21 + k].reason == reason, name
        assert named[21 + k].path == name
    for k, (line, reason) in enumerate(extra.items()):
        assert named[len(rows) + len(spoilt) + k + 1].reason == reason, line
    assert len(ranking.rejected) == len(reasons) + len(extra)
    ranking.write(tmp_path / "out")
    table = list(csv.DictReader((tmp_path / "out" / "quarantine.csv").open()))
    assert len(table) == len(ranking.rejected)
    assert all(row["detail"] for row in table)


def test_candidates_without_information_are_not_ranked_and_say_why(manifest):
    names = ("own:rms", "toy:constant", "toy:nothing")
    ranking = rank(read_corpus(manifest), names, label="label", jobs=1)
    results = by_name(ranking)
    assert [results[name].status for name in names] == ["ranked", "constant", "missing"]
    assert results["toy:constant"].score is None
    assert "the same value everywhere" in results["toy:constant"].note
    assert next(r.name for r in ranking.results) == "own:rms"
    json.dumps(ranking.to_dict(), allow_nan=False)


def test_a_function_that_raises_costs_its_recordings_only(manifest):
    ranking = rank(read_corpus(manifest), ("toy:broken",), label="label", jobs=1, max_bad=0.9)
    assert set(ranking.quarantine) == {"function-failed"}
    assert "too loud for me" in ranking.rejected[0].detail
    assert ranking.segments + len(ranking.rejected) == 24


def test_a_function_can_not_touch_what_others_get(manifest):
    with pytest.raises(TooManyBad, match="read-only"):
        rank(read_corpus(manifest), ("toy:spoiler", "own:rms"), label="label", jobs=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("complex_values", "complex"), ("words", "should return numbers"), ("leave", "SystemExit")],
)
def test_odd_results_of_functions_are_refused(manifest, name, message):
    with pytest.raises(TooManyBad, match=message):
        rank(read_corpus(manifest), (f"toy:{name}",), label="label", jobs=1)


def test_huge_numbers_in_a_column_count_as_none(manifest):
    lines = manifest.read_text().splitlines()
    huge = [f"{line},{k}e306,{1e98 * k}" for k, line in enumerate(lines[1:], 1)]
    manifest.write_text("\n".join([lines[0] + ",big,large", *huge]))
    names = ("column:big", "column:large", "own:rms")
    ranking = rank(read_corpus(manifest), names, label="label", jobs=1)
    assert by_name(ranking)["column:big"].status == "missing"
    assert by_name(ranking)["column:large"].status == "ranked"
    json.dumps(ranking.to_dict(), allow_nan=False)


def test_a_column_with_values_in_one_class_only_is_named_and_the_rest_ranked(manifest):
    lines = manifest.read_text().splitlines()
    some = [f"{line},{k if ',low,' in line else ''}" for k, line in enumerate(lines[1:])]
    manifest.write_text("\n".join([lines[0] + ",one", *some]))
    ranking = rank(read_corpus(manifest), ("column:one", "own:rms"), label="label", jobs=1)
    assert by_name(ranking)["column:one"].status == "missing"
    assert by_name(ranking)["own:rms"].status == "ranked"


def test_a_typing_error_does_not_turn_numbers_into_categories(manifest):
    text = manifest.read_text().replace(",22,", ",2O,", 1)
    manifest.write_text(text)
    with pytest.raises(ValueError, match="row 3 holds '2O'"):
        rank(read_corpus(manifest), ("column:age",), label="label", jobs=1)


def test_numbers_of_clusters_under_other_names(manifest):
    """Renumbering clusters, or writing "c7" for 7, changes nothing that they say."""
    lines = manifest.read_text().splitlines()
    unit = np.random.default_rng(0).integers(0, 5, len(lines) - 1)
    other = np.array([3, 0, 4, 1, 2])[unit]
    rows = [f"{line},{u},{o},c{u}" for line, u, o in zip(lines[1:], unit, other, strict=True)]
    manifest.write_text("\n".join([lines[0] + ",unit,other,text", *rows]))
    names = ("category:unit", "category:other", "column:text", "column:unit", "number:age")
    ranking = rank(read_corpus(manifest), names, label="label", jobs=1, sensitivity=False)
    same = [by_name(ranking)[name] for name in names[:3]]
    assert {result.kind for result in same} == {"category"}
    assert [r.score for r in same] == pytest.approx([same[0].score] * 3, abs=1e-12)
    assert [r.relevance for r in same] == pytest.approx([same[0].relevance] * 3, abs=1e-12)
    asked = [w for w in ranking.warnings if "come again and again" in w]
    assert [w.partition(": ")[0] for w in asked] == ["column:unit"]


def test_too_many_categories_are_names(tmp_path, monkeypatch):
    monkeypatch.setattr("augury.pseudolabels.columns.MOST_CATEGORIES", 1)
    with pytest.raises(ValueError, match="more than the 1 that categories"):
        rank(read_corpus(toy.corpus(tmp_path)), ("column:colour",), label="label", jobs=1)


def test_a_recording_too_loud_to_analyse_is_named(manifest):
    path = manifest.parent / "low-0.wav"
    sound = soundfile.read(path)[0]
    soundfile.write(path, sound * 1e25, 16000, subtype="FLOAT")
    ranking = rank(read_corpus(manifest), OWN, label="label", jobs=1)
    assert ranking.quarantine == {"too-loud": 1}


def test_nothing_left_is_an_error_that_says_so(manifest):
    corpus = read_corpus(manifest)
    with pytest.raises(ValueError, match="all are excluded"):
        rank(corpus, OWN, label="label", exclude=toy.LABELS)
    manifest.write_text("path,label\nno.wav,a\nnone.wav,b\n")
    with pytest.raises(TooManyBad, match="all rows were refused"):
        rank(read_corpus(manifest), OWN, label="label")


def test_the_published_order_is_that_of_the_spread_and_says_so(manifest):
    """Units make the order: one candidate in three units, scored by the released arithmetic."""
    lines = manifest.read_text().splitlines()
    rng = np.random.default_rng(0)
    rows = [f"{line},{z},{10 * z},{0.1 * z}" for line, z in zip(
        lines[1:], rng.standard_normal(24), strict=True)]  # fmt: skip
    manifest.write_text("\n".join([lines[0] + ",a,b,c", *rows]))
    names = ("column:a", "column:b", "column:c")
    published = rank(read_corpus(manifest), names, label="label", jobs=1, estimator="released")
    assert any("no better explained" in warning for warning in published.warnings)
    robust = rank(read_corpus(manifest), names, label="label", jobs=1)
    scores = [result.score for result in robust.results]
    assert scores[0] == pytest.approx(scores[2], rel=1e-9)


def test_missing_values_of_a_column_are_counted(manifest):
    text = manifest.read_text().splitlines()
    text[3] = text[3].replace(",22,", ",,")
    manifest.write_text("\n".join(text))
    ranking = rank(read_corpus(manifest), ("column:age", "own:rms"), label="label", jobs=1)
    assert by_name(ranking)["column:age"].missing == 1
    assert by_name(ranking)["own:rms"].missing == 0


def test_unvoiced_frames_are_a_named_choice(manifest):
    pytest.importorskip("opensmile")
    values = [
        by_name(rank(read_corpus(manifest), ("F0",), label="label", jobs=1, unvoiced=u))["F0"]
        for u in ("published", "voiced")
    ]
    assert values[0].histogram[1:] != values[1].histogram[1:]


def test_voiced_leaves_out_frames_that_smoothing_mixed(shared_data):
    """log HNR is −100 without a voice; means over voiced frames hold nothing near it."""
    pytest.importorskip("opensmile")
    corpus = read_corpus(shared_data / "timit_sample", level="utterance")
    corpus = corpus.select(np.arange(len(corpus)) % 10 < 5)
    ranking = rank(
        corpus, ("log_hnr", "F0"), label="speaker", jobs=1, unvoiced="voiced", sensitivity=False
    )
    low = by_name(ranking)["log_hnr"].histogram[1]
    assert low > 0
    assert by_name(ranking)["F0"].histogram[1] > 60


def test_wrong_names_say_what_there_is(manifest):
    corpus = read_corpus(manifest)
    with pytest.raises(ValueError, match="label"):
        rank(corpus, OWN, label="lable")
    with pytest.raises(ValueError, match="did you mean robust"):
        rank(corpus, OWN, label="label", estimator="robus")
    with pytest.raises(ValueError, match="did you mean max_bad"):
        rank(corpus, OWN, label="label", maxbad=0.1)
    for value in ("x", 2):
        with pytest.raises(ValueError, match=f"max_bad is {value!r}, but must be a number from 0"):
            rank(corpus, OWN, label="label", max_bad=value)
    with pytest.raises(ValueError, match="no segment has this label"):
        rank(corpus, OWN, label="label", exclude=("SIL",))
    with pytest.raises(ValueError, match="age"):
        rank(corpus, ("column:agee",), label="label", jobs=1)


def test_exclude_and_split(tmp_path):
    manifest = toy.corpus(tmp_path)
    lines = manifest.read_text().splitlines()
    half = [line + (",train" if k % 2 else ",test") for k, line in enumerate(lines[1:])]
    manifest.write_text("\n".join([lines[0] + ",split", *half]))
    corpus = read_corpus(manifest)
    assert rank(corpus, OWN, label="label", jobs=1, split="train").segments == 12
    assert rank(corpus, OWN, label="label", jobs=1, exclude=("high",)).class_names == (
        "low",
        "middle",
    )
    with pytest.raises(ValueError, match="there are test, train"):
        rank(corpus, OWN, label="label", split="dev")


# ------------------------------------------------------------------------- killed and resumed


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path):
    """Eight kills of the whole process group; no recording whose values were kept is redone."""
    manifest = toy.corpus(tmp_path, each=40)
    log = tmp_path / "calls"
    words = [
        "rank", manifest, "--label", "label", "--candidates", "toy:level,own:centroid",
        "--jobs", 2, "--store",
    ]  # fmt: skip

    def start(name):
        given = [*words, tmp_path / name, "--out", tmp_path / f"out-{name}"]
        return commands.Command(given, TOY_LOG=str(log))

    assert start("whole").wait() == 0
    log.unlink()
    rng = np.random.default_rng(0)
    kills, finished = 0, 0
    while kills < 8:
        process = start("killed")
        # Watch the store grow, and kill at a random moment of the extraction.
        enough = finished + int(rng.integers(0, 25))
        deadline = time.monotonic() + 60
        while not process.ended() and time.monotonic() < deadline:
            if len(kept(tmp_path / "killed")) > enough:
                time.sleep(rng.uniform(0, 0.01))
                break
            time.sleep(0.01)
        if not process.ended():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.1)  # workers that outlive their parent end with their task
        kills += 1
        finished = len(kept(tmp_path / "killed"))
    assert start("killed").wait() == 0
    for file in ("ranking.json", "ranking.csv", "report.html"):
        whole, killed = (tmp_path / f"out-{name}" / file for name in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()
    calls = log.read_text().splitlines()
    # A kill can cost what the two workers were at, and no more.
    assert len(set(calls)) == 120
    assert len(calls) <= 120 + 8 * 2


def kept(store: Path) -> list[Path]:
    return [path for path in store.glob("*/*") if not path.name.startswith(".")]


# ------------------------------------------------------------------------------- real speech


def test_timit_sample_by_phone(shared_data, tmp_path):
    pytest.importorskip("opensmile")
    corpus = read_corpus(shared_data / "timit_sample")
    ranking = rank(corpus, label="phone", exclude=("h#",), max_bad=0.25, jobs=1)
    assert len(ranking.results) == 7
    assert all(result.relevant for result in ranking.results)
    assert ranking.segments > 4500


def test_embedding_reaches_the_recording_s_ends():
    mel = np.arange(40.0)[:, None] * np.ones((1, 2))
    values = embed.gaussian_downsample(mel, [0], [40], parts=4, width=0.01)[0, :, 0]
    assert values == pytest.approx([4.5, 14.5, 24.5, 34.5], abs=1e-6)


def test_copies_under_other_names_are_named_and_counted_once(manifest, tmp_path):
    """The same bytes twice are no new evidence: the ranking is that of the originals alone."""
    corpus = read_corpus(manifest)
    alone = rank(corpus, OWN, label="label", jobs=1, sensitivity=False)
    head, *lines = manifest.read_text().splitlines()
    for line in lines:
        name = line.partition(",")[0]
        shutil.copyfile(manifest.parent / name, manifest.parent / f"copy-{name}")
    manifest.write_text("\n".join([head, *lines, *(f"copy-{line}" for line in lines)]))
    corpus = read_corpus(manifest)
    ranking = rank(corpus, OWN, label="label", jobs=1, sensitivity=False)
    assert ranking.quarantine == {"copy": 24}
    assert ranking.results == alone.results
    assert any("24 segments lie in recordings with the bytes of" in w for w in ranking.warnings)
    assert ranking.rejected[0].detail.startswith("copy-low-0.wav: the same bytes as low-0.wav")
    checked = check(corpus)
    assert checked.problems == {"copy": 24}
    assert checked.segments == 24


def test_stretches_of_copies_that_differ_are_both_counted(tmp_path):
    """One recording under two names, cut into halves: each half is there once."""
    signal = toy.voice(np.random.default_rng(0), 0, 1.0)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, signal, 16000)
    rows = ["path,start,end", "a.wav,0,0.5", "b.wav,0.5,1", "b.wav,0,0.5"]
    (tmp_path / "m.csv").write_text("\n".join(rows))
    checked = check(read_corpus(tmp_path / "m.csv"))
    assert [row.row for row in checked.rejected] == [3]


def test_tiny_data_has_no_tiers_and_no_intervals(tmp_path):
    """One class of four that can be scored: resampled whole, all intervals would be points."""
    names = []
    for k, label in enumerate("3333557799"):
        signal = toy.voice(np.random.default_rng(k), int(label) % 3, 0.5)
        soundfile.write(tmp_path / f"{k}.wav", signal, 16000)
        names.append(f"{k}.wav,{label}")
    (tmp_path / "m.csv").write_text("\n".join(["path,digit", *names]))
    corpus = read_corpus(tmp_path / "m.csv")
    ranking = rank(corpus, OWN, label="digit", jobs=1, sensitivity=False)
    assert {(r.tier, r.interval, r.rank_interval) for r in ranking.results} == {(None,) * 3}
    assert ranking.better == ()
    assert any(
        w.startswith("Too little data to say how certain the order is: 1 class has")
        for w in ranking.warnings
    )
    assert "too little data" in render(ranking)


def test_frames_without_a_voice_are_counted_and_named(manifest):
    """Three tenths of each toy recording are noise; neighbours and onsets add or take a few."""
    pytest.importorskip("opensmile")
    corpus = read_corpus(manifest)
    ranking = rank(corpus, ("F0", "log_hnr", "zcr"), label="label", jobs=1)
    (text,) = [w for w in ranking.warnings if "so many frames have no voice" in w]
    shares = [int(n) for n in re.findall(r"(\d+)%", text)]
    assert text.startswith("F0 (")
    assert "log_hnr (" in text
    assert "zcr" not in text
    assert all(15 <= share <= 60 for share in shares)
    voiced = rank(corpus, ("F0", "log_hnr", "zcr"), label="label", jobs=1, unvoiced="voiced")
    assert not any("no voice" in w for w in voiced.warnings)
    # Each one's sensitivity has the other's scores.
    for one, other in ((ranking, voiced), (voiced, ranking)):
        assert one.sensitivity is not None
        assert one.sensitivity.settings[-1] == f"unvoiced = {other.settings.unvoiced}"
        for name, scores in one.sensitivity.scores.items():
            assert scores[-1] == pytest.approx(by_name(other)[name].score, rel=1e-6)


def test_clipped_recordings_are_said_again_from_the_store(manifest):
    """The share is kept beside the embeddings; artefacts of before have none."""
    folder = manifest.parent
    for path in sorted(folder.rglob("*.wav"))[:3]:
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.clip(20 * samples, -1, 1), rate)
    texts = []
    for _ in range(2):
        ranking = rank(read_corpus(manifest), OWN, label="label", jobs=1, sensitivity=False)
        texts += [w for w in ranking.warnings if "are clipped" in w]
    assert len(texts) == 2
    assert texts[0] == texts[1]
    assert texts[0].startswith("3 of 24 recordings are clipped")
