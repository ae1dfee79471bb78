"""Speaker verification: trials, scores, and the whole task on synthetic voices."""

import itertools
from collections import Counter

import numpy as np
import pytest

from augury import read_corpus

import toy

torch = pytest.importorskip("torch")

from augury import evaluate  # noqa: E402
from augury.downstream.scores import plda  # noqa: E402
from augury.downstream.settings import SpeakerSettings  # noqa: E402
from augury.downstream.tasks import speaker as speakers  # noqa: E402
from augury.downstream.tasks.speaker import Speaker, _plda, make_trials  # noqa: E402

SIZES = {"channels": (6, 8), "kernels": (3, 1), "dilations": (2, 1), "dimensions": 5}


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("AUGURY_STORE", str(tmp_path / "store"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ------------------------------------------------------------------------------------------ trials


def draw_trials(speakers=8, each=6, count=400, gender=True, per_recording=1):
    speaker = np.array([f"s{k}" for k in range(speakers) for _ in range(each)], object)
    places = np.arange(100, 100 + len(speaker))
    genders = np.full(100 + len(speaker), "", object)
    genders[places] = [("f", "m")[int(name[1:]) % 2] for name in speaker]
    speaker_of = dict(zip(places.tolist(), speaker.tolist(), strict=True))
    recording = np.arange(100 + len(speaker)) // per_recording
    trials = make_trials(places, speaker, recording, genders if gender else None, count)
    return trials, speaker_of, genders


def test_trials_are_balanced_and_of_the_right_kind():
    trials, speaker_of, gender = draw_trials(count=240)
    pairs = list(zip(trials.enrol.tolist(), trials.test.tolist(), strict=True))
    is_target = np.array([speaker_of[a] == speaker_of[b] for a, b in pairs])
    assert (is_target == trials.is_target).all()
    assert is_target.sum() == 120
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 240  # no pair twice
    counts = Counter(speaker_of[a] for (a, _), same in zip(pairs, is_target, strict=True) if same)
    assert list(counts.values()) == [15] * 8
    same = np.array([gender[a] == gender[b] for a, b in pairs])
    assert same[~is_target].sum() == 60
    counts = {}
    for (a, b), target in zip(pairs, is_target, strict=True):
        if not target:
            speakers = frozenset((speaker_of[a], speaker_of[b]))
            counts[speakers] = counts.get(speakers, 0) + 1
    assert len(counts) == 28  # all pairs of speakers
    assert max(counts.values()) - min(counts.values()) <= 2


def test_trials_are_the_same_on_every_run():
    first, second = draw_trials()[0], draw_trials()[0]
    assert np.array_equal(first.enrol, second.enrol)
    assert np.array_equal(first.test, second.test)


def test_all_trials_are_used_if_there_are_too_few():
    trials, _, _ = draw_trials(speakers=2, each=3, count=1000, gender=False)
    assert (trials.is_target.sum(), (~trials.is_target).sum()) == (6, 9)
    with pytest.raises(ValueError, match="has 1 speakers and 4 segments, too few to make trials"):
        draw_trials(speakers=1, each=4)
    with pytest.raises(ValueError, match="too few to make trials"):
        draw_trials(speakers=4, each=1)


def test_no_trial_is_within_a_recording():
    trials, _, _ = draw_trials(
        speakers=2, each=6, count=1000, per_recording=2
    )  # 100 // 2: none is cut
    assert not (trials.enrol // 2 == trials.test // 2).any()
    assert (trials.is_target.sum(), (~trials.is_target).sum()) == (2 * (15 - 3), 36)
    with pytest.raises(ValueError, match="two recordings of one speaker"):
        draw_trials(speakers=2, each=2, per_recording=2)


def test_large_groups_are_sampled_without_repetition(monkeypatch):
    monkeypatch.setattr(speakers, "MANY", 10)
    trials, speaker_of, _ = draw_trials(count=240)
    pairs = list(zip(trials.enrol.tolist(), trials.test.tolist(), strict=True))
    assert len({frozenset(pair) for pair in pairs}) == 240
    assert [speaker_of[a] == speaker_of[b] for a, b in pairs] == trials.is_target.tolist()


# -------------------------------------------------------------------------------------- the network


# ------------------------------------------------------------------------------------------ scores


def test_plda_scores_of_trials_equal_those_of_all_pairs():
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(12), 6)
    centres = rng.normal(size=(12, 7))
    train = centres[speaker] + 0.5 * rng.normal(size=(72, 7))
    test = rng.normal(size=(300, 7))
    pairs = np.array(list(itertools.islice(itertools.product(range(0, 300, 7), range(300)), 900)))
    pairs = pairs[rng.permutation(len(pairs))]
    ratios = _plda(train, speaker, test, pairs[:, 0], pairs[:, 1], rank=5)
    matrix, mean = plda.lda(train, speaker, dims=5)
    a, b = (plda.normalise_length((x - mean) @ matrix) for x in (train, test))
    table = plda.Plda.fit(a, speaker).score(b, b)
    np.testing.assert_allclose(ratios, table[pairs[:, 0], pairs[:, 1]], rtol=1e-12)


def run(folder, corpus, name="out", **choices):
    defaults = {
        **SIZES, "epochs": 25, "batch_seconds": 6.0, "longest": 3.0, "crop": 0.6, "jobs": 1,
        "seeds": 1, "made": 200, "learning_rate": 0.01, "rank": 3,
    }  # fmt: skip
    return evaluate("speaker", corpus, out=folder / name, **(defaults | choices))


def test_unseen_speakers_are_verified(tmp_path):
    corpus = read_corpus(toy.sentences(tmp_path, speakers=15, each=5)[0])
    evaluation = run(tmp_path, corpus)
    outcome = evaluation.models[0].outcomes[0]
    assert outcome.score < 0.25  # by chance .5
    assert "same gender" in outcome.groups
    assert {"EER cosine", "EER PLDA", "minDCF 0.01 PLDA", "minDCF 0.05 cosine"} <= set(
        outcome.scores
    )
    assert outcome.score == outcome.scores["EER PLDA"]
    alarms, misses = outcome.det
    assert (alarms[0], misses[0], alarms[-1], misses[-1]) == (1, 0, 0, 1)
    assert len(outcome.mistakes) == 10
    assert outcome.mistakes[0].audio.startswith("data:audio/ogg;base64,")
    lines = (tmp_path / "out/trials.txt").read_text().splitlines()
    assert sorted({line[0] for line in lines}) == ["0", "1"]
    marked = (tmp_path / "out/trials.csv").read_text().splitlines()
    assert len(marked) == len(lines) + 1
    assert {line.rsplit(",", 1)[1] for line in marked[1:]} <= {"same", "cross"}
    # The list that was made is a list to be given.
    trials = tmp_path / "out/trials.txt"
    cosine = run(tmp_path, corpus, name="cosine", backend="cosine", trials=str(trials))
    assert (tmp_path / "cosine/trials.txt").read_text() == trials.read_text()
    outcome = cosine.models[0].outcomes[0]
    assert outcome.score == outcome.scores["EER cosine"]


# --------------------------------------------------------------------------------- lists of trials


def test_the_official_list_of_trials(tmp_path):
    corpus = read_corpus(toy.voxceleb(tmp_path / "vox"))
    lines = [
        "1 id10270/video0/00000.wav id10270/video1/00001.wav",
        "0 id10270/video0/00002.wav id10271/video0/00000.wav",
        "1 id10271/video0/00000.wav id10271/video1/00003.wav",
        "0 id10271/video1/00001.wav id10270/video0/00000.wav",
    ]
    path = tmp_path / "veri_test.txt"
    path.write_text("\n".join(lines) + "\n")
    evaluation = run(tmp_path, corpus, trials=str(path), epochs=2)
    assert evaluation.data["test"] == {"segments": 8, "hours": 0.0017, "speakers": 2}
    assert evaluation.warnings == ()
    assert evaluation.models[0].outcomes[0].interval is None  # of two speakers it would say nothing
    path.write_text("\n".join([*lines, "0 id10270/video0/00000.wav id10309/x/00001.wav"]) + "\n")
    evaluation = run(tmp_path, corpus, name="absent", trials=str(path), epochs=2)
    assert "1 of 5 trials are left out" in evaluation.warnings[0]
    path.write_text("1 id10300/x/00000.wav id10300/y/00001.wav\n")
    with pytest.raises(ValueError, match="the corpus has none of the recordings in these trials"):
        run(tmp_path, corpus, name="none", trials=str(path))
    path.write_text("1 id10001/video0/00000.wav id10001/video1/00001.wav\n" + lines[1] + "\n")
    with pytest.raises(ValueError, match="that are not in the test split"):
        run(tmp_path, corpus, name="shared", trials=str(path))
    path.write_text("1 id10270\n")
    with pytest.raises(ValueError, match="line 1 is no trial"):
        run(tmp_path, corpus, name="bad", trials=str(path))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="must have one number for each layer"):
        SpeakerSettings(channels=(3,), kernels=(3, 1), dilations=(1,))
    with pytest.raises(ValueError, match="folds is not for the task speaker"):
        SpeakerSettings(folds=3)
    with pytest.raises(ValueError, match="backend is 'lda', but must be plda or cosine"):
        SpeakerSettings(backend="lda")


def test_one_speaker_is_not_enough(tmp_path):
    corpus = read_corpus(toy.sentences(tmp_path, speakers=2, each=4)[0])
    with pytest.raises(ValueError, match="only one training speaker"):
        run(tmp_path, corpus)
    assert Speaker.known_speakers
