import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augury import pseudolabels
from augury.extraction.extract import extract
from augury.extraction.gather import candidate_values, read_frames
from augury.extraction.plan import Embedding, Plan, Recording, opensmile_key
from augury.pseudolabels import opensmile, smile_timing
from augury.store import Store, digest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from changes import HOP, Change, Response

PITCHES = (160, 220, 300)
GAUSSIAN = Embedding("gaussian", 20, 0.07)

pytest.importorskip("opensmile", reason="the extra `opensmile` is not installed")


@pytest.fixture(scope="module")
def changes():
    """Kind of change → signals of some pitches, made when first asked for."""
    made = {}

    def make(kind, pitch):
        if (kind, pitch) not in made:
            made[kind, pitch] = Change.of(kind, pitch=pitch, count=30)
        return made[kind, pitch]

    return make


def seen(candidate, change, tmp_path, unvoiced="published"):
    """Seconds from the changes to when a candidate is seen to change."""
    (candidate,) = pseudolabels.parse_candidates([candidate])
    plan = Plan.of([candidate], tmp_path, unvoiced=unvoiced)
    values = opensmile.extract(plan.extractor, change.signal)
    frames = {f"opensmile:{column}": array for column, array in values.items()}
    values, (centre, hop) = candidate_values(plan, candidate, frames, len(change.signal) / 16000)
    assert hop == HOP
    return Response.of(values, centre, change.at).crossing()


@pytest.mark.parametrize(
    ("candidate", "kind"),
    [
        ("loudness", "noise level"),
        ("alpha_ratio", "noise tilt"),
        ("F0", "pitch"),
        ("voicing", "voice, noise"),
        ("zcr", "noise tilt"),
        ("opensmile:GeMAPSv01b:HNRdBACF_sma3nz", "harmonicity"),
        ("opensmile:eGeMAPSv02:mfcc1_sma3", "noise tilt"),
        ("opensmile:eGeMAPSv02:spectralFlux_sma3", "noise level"),
        ("opensmile:ComParE_2016:pcm_fftMag_spectralFlux_sma", "noise level"),
        ("opensmile:ComParE_2016:pcm_fftMag_spectralCentroid_sma", "tone, noise"),
        ("opensmile:eGeMAPSv02:F3frequency_sma3nz", "tone, noise"),
    ],
)
def test_a_change_at_one_second_is_seen_there(changes, tmp_path, candidate, kind):
    """3 ms: a third of a frame; kinds of change and pitches differ by 2."""
    assert seen(candidate, changes(kind, 220), tmp_path) == pytest.approx(0, abs=0.003)


@pytest.mark.parametrize(
    ("candidate", "kind"),
    [
        ("log_hnr", "harmonicity"),
        ("opensmile:ComParE_2016:shimmerLocal_sma", "shimmer"),
        ("opensmile:GeMAPSv01b:jitterLocal_sma3nz", "jitter"),
    ],
)
def test_values_of_periods_are_seen_changing_when_they_do(changes, tmp_path, candidate, kind):
    """On average over pitches, on which their delay depends."""
    for unvoiced in ("published", "voiced"):
        late = [seen(candidate, changes(kind, pitch), tmp_path, unvoiced) for pitch in PITCHES]
        assert np.mean(late) == pytest.approx(0, abs=0.003)


def test_voicing_of_log_hnr_is_not_moved_with_its_values(changes, tmp_path):
    assert seen("log_hnr", changes("voice, noise", 160), tmp_path) == pytest.approx(0, abs=0.003)


def test_rasta_follows_five_changes_a_second(tmp_path):
    """Its filter delays by 5 ms at 4 Hz and by 11 ms at 6 Hz: 7 ms is between."""
    time = np.arange(16 * 16000) / 16000
    level = 0.02 * 2 ** np.sin(2 * np.pi * 5 * time)
    signal = (level * np.random.default_rng(0).standard_normal(len(time))).astype(np.float32)
    (candidate,) = pseudolabels.parse_candidates(["rasta_l1"])
    plan = Plan.of([candidate], tmp_path, unvoiced="published")
    (values,) = opensmile.extract(plan.extractor, signal).values()
    frames = plan.extractor.centres[0] + HOP * np.arange(len(values))
    steady = (frames > 2) & (frames < 14)
    phase = np.angle(np.sum(values[steady] * np.exp(-2j * np.pi * 5 * frames[steady]))) + np.pi / 2
    assert -phase / (2 * np.pi * 5) == pytest.approx(0, abs=0.003)


def test_a_voiced_stretch_is_moved_within_itself():
    values = np.array([-100, -30, 1, 2, 3, 4, -30, -100, 7, 8, -100, -30.0, 5])
    voiced = values > -50
    moved = smile_timing.follow_voice(values, voiced, 2)
    assert moved.tolist() == [-100, 2, 3, 4, 4, 4, 4, -100, 7, 8, -100, -30, 5]
    assert smile_timing.follow_voice(values, values > 99, 3).tolist() == values.tolist()
    whole = smile_timing.follow_voice(np.arange(5.0), np.ones(5, bool), 9)
    assert whole.tolist() == [3] * 5
    assert smile_timing.follow_voice(np.empty(0), np.empty(0, bool), 3).shape == (0,)


def test_every_column_of_the_table_exists_once():
    names = {name for names in map(opensmile.descriptor_names, opensmile.SETS) for name in names}
    listed = [column for columns in smile_timing.OFFSETS.values() for column in columns]
    assert len(listed) == len(set(listed))
    assert set(listed) <= names


def test_a_store_without_the_pitch_is_completed(changes, tmp_path):
    """A store that was filled before values were moved has log HNR, and not what moves it."""
    soundfile.write(tmp_path / "a.wav", changes("harmonicity", 220).signal[:32000], 16000)
    recording = Recording(tmp_path / "a.wav", "a.wav", (0.0,), (1.0,))
    (candidate,) = pseudolabels.parse_candidates(["log_hnr"])
    plan = Plan.of([candidate], tmp_path, unvoiced="published", embeddings=(GAUSSIAN,))
    content = digest(recording.path.read_bytes())

    def values():
        content = extract(plan, recording).digest
        frames = read_frames(plan, recording, content, [candidate])
        return candidate_values(plan, candidate, frames, 2.0)[0]

    expected = values()
    store, name = Store(tmp_path), opensmile_key(content)
    old = {"ComParE_2016:logHNR_sma": store.read(name)["ComParE_2016:logHNR_sma"]}
    store.write(name, old)
    assert np.array_equal(values(), expected)
    assert not np.array_equal(expected, old["ComParE_2016:logHNR_sma"])
