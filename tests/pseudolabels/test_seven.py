"""Our own seven and their relatives, on signals whose values are known."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augury import audio, pseudolabels
from augury.extraction.extract import extract
from augury.extraction.gather import candidate_values, read_frames
from augury.extraction.plan import Plan, Recording, function_key
from augury.pseudolabels import periods, pitch, seven, spectra, spectral
from augury.store import Store, digest

import toy

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from changes import Change, Response

RATE = 16000
RNG = np.random.default_rng(0)
NOISE = 0.1 * RNG.standard_normal(RATE)


def tone(hertz, seconds=1.0, rate=RATE):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def pulses(hertz, seconds=1.0, rate=RATE):
    """Harmonics up to 4 kHz, weaker by 6 dB an octave."""
    harmonics = range(1, int(min(4000, 0.45 * rate) // hertz) + 1)
    return 0.5 * sum(tone(hertz * h, seconds, rate) / h for h in harmonics)


def middle(name, signal, rate=RATE):
    """A descriptor's median, away from the edges."""
    return float(np.median(seven.values([name], signal, rate)[name][10:-10]))


@pytest.mark.parametrize("hertz", [80, 120, 200, 333, 500])
def test_the_pitch_of_harmonics_and_of_a_tone_is_theirs(hertz):
    """1 %: the grid's step is 1.5 %, and a parabola finds the vertex between."""
    for signal in (pulses(hertz), tone(hertz)):
        assert middle("F0", signal) == pytest.approx(hertz, rel=0.01)
        assert middle("voicing", signal) > pitch.VOICE


def test_a_missing_fundamental_is_heard():
    signal = sum(tone(200 * h) for h in (3, 4, 5, 6, 7)) / 5
    assert middle("F0", signal) == pytest.approx(200, rel=0.01)


def test_noise_and_silence_have_no_voice():
    for signal in (NOISE, np.zeros(RATE), 1e-5 * NOISE):
        values = seven.values(seven.NAMES, signal, RATE)
        assert (values["F0"] > 0).mean() < 0.02
        unvoiced = values["F0"] == 0
        assert (values["log_hnr"][unvoiced] == periods.NO_VOICE).all()
        assert (values["jitter"][unvoiced] == 0).all()
        assert (values["shimmer"][unvoiced] == 0).all()
    silent = seven.values(seven.NAMES, np.zeros(RATE), RATE)
    for name in ("voicing", "loudness", "alpha_ratio", "zcr", "harmonicity"):
        limit = 0.4 if name == "loudness" else 0  # of the power that silence counts as: none
        assert np.abs(silent[name]).max() <= limit


def test_loudness_follows_a_power_law_and_rasta_forgets_the_level():
    quiet, loud = (seven.values(seven.NAMES, gain * NOISE, RATE) for gain in (1, 2))
    assert loud["loudness"] / quiet["loudness"] == pytest.approx(2 ** (2 / 3), rel=1e-3)
    # 1e-2: the power of rounding, which is added before the logarithm, is 1e-5 of a band's.
    for name in ("rasta_l1", "alpha_ratio", "entropy", "zcr", "voicing", "harmonicity"):
        assert loud[name] == pytest.approx(quiet[name], rel=1e-2)


def test_descriptors_of_the_voice_do_not_depend_on_its_level():
    quiet, loud = (seven.values(seven.NAMES, gain * pulses(150), RATE) for gain in (0.05, 0.5))
    for name in ("F0", "log_hnr", "jitter", "shimmer"):
        assert loud[name] == pytest.approx(quiet[name], rel=1e-2, abs=0.2)


def test_zero_crossings_of_a_tone_are_two_a_period():
    assert middle("zcr", tone(1003)) == pytest.approx(2 * 1003 / RATE, rel=0.02)
    alternating = np.resize([1.0, -1.0], RATE)
    assert middle("zcr", alternating) == pytest.approx(1)


def test_zero_crossings_are_those_counted_one_by_one():
    signal = NOISE[:3000].astype(np.float32)
    shared = spectra.Spectra.of(signal, RATE)
    counts = []
    for centre in 160 + 160 * np.arange(shared.count):
        part = np.signbit(signal[max(0, centre - 480) : centre + 481])
        counts.append((part[1:] != part[:-1]).sum() / 960)
    assert spectral.zcr(shared) == pytest.approx(spectra.smooth(np.array(counts)), abs=1e-6)


def test_alpha_ratio_and_entropy_of_lines():
    low, high = tone(500), tone(2000)
    assert middle("alpha_ratio", low + 0.1 * high) == pytest.approx(-20, abs=0.5)
    assert middle("alpha_ratio", low + high) == pytest.approx(0, abs=0.5)
    # A line is four points wide under a Hamming window: at most 2 bits; two lines: one bit more.
    one, two = middle("entropy", low), middle("entropy", low + high)
    assert two - one == pytest.approx(1, abs=0.1)
    # White noise: log2(257) less what its own variation takes.
    assert 6.5 < middle("entropy", NOISE) < 8.01


@pytest.mark.parametrize("decibels", [10, 20, 30])
def test_log_hnr_rises_with_the_voice_over_the_noise(decibels):
    """The mean of two periods takes half of the noise for voice: 3 dB more. 160 Hz: 100 samples."""
    voice = pulses(160)
    noise = RNG.standard_normal(RATE) * voice.std() * 10 ** (-decibels / 20)
    assert middle("log_hnr", voice + noise) == pytest.approx(decibels + 3, abs=1.5)


def test_jitter_and_shimmer_measure_what_was_put_in():
    rng = np.random.default_rng(1)

    def voice(jitter, shimmer):
        signal, place = np.zeros(3 * RATE), 100.0
        shape = np.exp(-np.arange(40) / 8) * np.sin(2 * np.pi * np.arange(40) / 20)
        while place < len(signal) - 100:
            signal[round(place) : round(place) + 40] += shape * (1 + shimmer * rng.uniform(-1, 1))
            place += 107 * (1 + jitter * rng.uniform(-1, 1))
        return signal

    steady, changing = voice(0, 0), voice(0, 0.3)
    assert middle("jitter", steady) < 0.01
    assert middle("jitter", voice(0.04, 0)) > 0.015
    assert middle("shimmer", steady) < 0.02
    # Two uniform values between 1 - a and 1 + a differ by 2 a / 3 on average.
    assert middle("shimmer", changing) == pytest.approx(0.2, rel=0.25)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_any_rate_gives_the_frames_and_values_of_16_khz(rate):
    values = seven.values(seven.NAMES, pulses(180, 1.0, rate), rate)
    expected = seven.values(seven.NAMES, pulses(180), RATE)
    assert {array.shape for array in values.values()} == {expected["F0"].shape}
    assert np.median(values["F0"]) == pytest.approx(180, rel=0.01)
    if rate > 8000:  # there is no power above 4 kHz
        assert np.median(values["loudness"]) == pytest.approx(
            np.median(expected["loudness"]), rel=0.2
        )


@pytest.mark.parametrize(
    "samples", [1, 2, 159, 160, 319, 320, 321, 400, 479, 480, 639, 640, 959, 960, 1281, 5000]
)
def test_every_length_gives_finite_values_of_one_shape(samples):
    for signal in (NOISE, pulses(210), np.zeros(RATE), np.ones(RATE)):
        values = seven.values(seven.NAMES, signal[:samples], RATE)
        frames = 1 + max(0, samples - 320) // 160
        for array in values.values():
            assert array.shape == (frames,)
            assert array.dtype == np.float32
            assert np.isfinite(array).all()


def test_a_delay_of_whole_frames_moves_the_values():
    signal = np.concatenate([pulses(140, 0.5), NOISE[:8000]])
    delayed = np.concatenate([np.zeros(1600), signal])
    names = [name for name in seven.NAMES if name != "rasta_l1"]  # it remembers the silence
    first, second = seven.values(names, signal, RATE), seven.values(names, delayed, RATE)
    for name in names:
        assert second[name][20:90] == pytest.approx(first[name][10:80], rel=1e-3, abs=1e-3)


def test_values_do_not_depend_on_what_else_is_asked():
    signal = pulses(170) + NOISE
    every = seven.values(seven.NAMES, signal, RATE)
    for name in seven.NAMES:
        assert np.array_equal(seven.values([name], signal, RATE)[name], every[name])


def test_the_best_path_is_that_of_all_paths():
    """Against every path of a few frames, one by one."""
    rng = np.random.default_rng(2)
    hertz, strength = 60 + 500 * rng.random((6, 2)), rng.random((6, 2))
    local = np.concatenate([np.full((6, 1), 0.5), strength], axis=1)

    def worth(path):
        total = sum(local[t, state] for t, state in enumerate(path))
        for t, (a, b) in enumerate(itertools.pairwise(path)):
            if a and b:
                total -= pitch.JUMP * abs(np.log2(hertz[t, a - 1] / hertz[t + 1, b - 1]))
            elif a or b:
                total -= pitch.CHANGE
        return total

    paths = np.stack(np.meshgrid(*[range(3)] * 6, indexing="ij"), axis=-1).reshape(-1, 6)
    best = max(paths.tolist(), key=worth)
    assert pitch.best_path(hertz, strength, voice=0.5).tolist() == best
    for count in (1, 2, 3, 5):
        part = max(({tuple(path[:count]) for path in paths.tolist()}), key=worth)
        assert tuple(pitch.best_path(hertz[:count], strength[:count], voice=0.5)) == part


def test_a_long_path_is_as_exact_as_a_short_one():
    """float32 would lose the differences in sums over a hundred thousand frames."""
    rng = np.random.default_rng(3)
    hertz, strength = 60 + 500 * rng.random((300, 3)), rng.random((300, 3))
    once = pitch.best_path(hertz, strength)
    many = pitch.best_path(np.tile(hertz, (400, 1)), np.tile(strength, (400, 1)))
    assert np.array_equal(many[-280:], once[-280:])


def test_periods_match_where_they_repeat():
    wave = periods.Waveform(np.pad(pulses(160).astype(np.float32), 2000))
    centre = np.arange(6000, 12000, 500)
    found = periods.match_periods(wave, centre, np.full(len(centre), 97.0), 0.1)
    assert (found == 100).all()
    fine = periods.match_periods(wave, centre, np.full(len(centre), 101.0), 0.1, fine=True)
    assert fine == pytest.approx(100, abs=0.1)


def test_harmonicity_is_one_for_a_period_and_low_for_noise():
    assert middle("harmonicity", pulses(150)) > 0.97
    assert middle("harmonicity", NOISE) < 0.35


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("loudness", "noise level"), ("alpha_ratio", "noise tilt"), ("zcr", "noise tilt"),
        ("entropy", "tone, noise"), ("F0", "pitch"), ("voicing", "voice, noise"),
        ("harmonicity", "harmonicity"), ("log_hnr", "harmonicity"), ("shimmer", "shimmer"),
    ],
)  # fmt: skip
def test_a_change_is_seen_when_it_happens(name, kind):
    """3 ms, as for openSMILE's columns: kinds of change and pitches differ by 2."""
    change = Change.of(kind, pitch=220, count=30)
    values = seven.values([name], change.signal, RATE)[name]
    seen = Response.of(values, seven.centre(name), change.at).crossing()
    assert seen == pytest.approx(0, abs=0.003)


def test_rasta_follows_five_changes_a_second():
    time = np.arange(16 * RATE) / RATE
    level = 0.02 * 2 ** np.sin(2 * np.pi * 5 * time)
    signal = level * np.random.default_rng(0).standard_normal(len(time))
    values = seven.values(["rasta_l1"], signal, RATE)["rasta_l1"]
    frames = seven.centre("rasta_l1") + audio.HOP * np.arange(len(values))
    steady = (frames > 2) & (frames < 14)
    phase = np.angle(np.sum(values[steady] * np.exp(-2j * np.pi * 5 * frames[steady]))) + np.pi / 2
    assert -phase / (2 * np.pi * 5) == pytest.approx(0, abs=0.003)


# ---------------------------------------------------------------------------- as candidates


def test_they_are_candidates_with_a_line_each():
    for name in seven.NAMES:
        candidate = pseudolabels.parse_candidate(f"own:{name}")
        assert (candidate.source, candidate.kind) == (f"own:{name}", "scalar")
        assert seven.describe(name)
    assert {f"own:{name}" for name in seven.NAMES} > set(pseudolabels.OWN_SEVEN)
    paper = [name.removeprefix("own:") for name in pseudolabels.OWN_SEVEN]
    assert paper == list(pseudolabels.SEVEN)
    with pytest.raises(ValueError, match=re.escape("own:F1: own: has F0, voicing")):
        pseudolabels.parse_candidate("own:F1")


def test_unvoiced_frames_can_be_left_out(tmp_path):
    """As for openSMILE's: `--unvoiced voiced` makes them missing, by the pitch in the store."""
    signal = np.concatenate([pulses(140, 0.5), NOISE[:8000]])
    soundfile.write(tmp_path / "a.wav", 0.5 * signal, RATE)
    recording = Recording(tmp_path / "a.wav", "a.wav", (0.0,), (1.0,))
    candidates = pseudolabels.parse_candidates(["own:log_hnr", "own:zcr"])
    for unvoiced in ("published", "voiced"):
        plan = Plan.of(candidates, tmp_path, unvoiced=unvoiced, mel=True)
        content = extract(plan, recording).digest
        frames = read_frames(plan, recording, content, candidates)
        hnr, (centre, hop) = candidate_values(plan, candidates[0], frames, 1.0)
        rate, _ = candidate_values(plan, candidates[1], frames, 1.0)
        assert (centre, hop) == (seven.centre("log_hnr"), audio.HOP)
        assert np.isfinite(rate).all()
        missing = np.isnan(hnr) if unvoiced == "voiced" else hnr == periods.NO_VOICE
        assert not missing[5:40].any()
        assert missing[60:].mean() > 0.9


def test_a_recording_is_analysed_once(tmp_path, monkeypatch):
    """Several candidates come from one call, and a second run from the store."""
    manifest = toy.corpus(tmp_path, each=1)
    path = next(manifest.parent.rglob("*.wav"))
    candidates = pseudolabels.parse_candidates([f"own:{name}" for name in seven.NAMES])
    plan = Plan.of(candidates, tmp_path / "store", unvoiced="published", mel=True)
    calls = []
    whole = seven.values

    def count(names, signal, rate):
        calls.append(list(names))
        return whole(names, signal, rate)

    monkeypatch.setattr(seven, "values", count)
    for _ in range(2):
        extract(plan, Recording(path, "a"))
    assert calls == [list(seven.NAMES)]
    # One that is lost is computed alone.
    content = digest(path.read_bytes())
    lost = Store(plan.store).path(function_key(content, *plan.functions[4]))
    lost.unlink()
    extract(plan, Recording(path, "a"))
    assert calls[1:] == [["zcr"]]


def test_an_edit_of_any_module_makes_all_values_anew(monkeypatch, tmp_path):
    before = seven.version.__wrapped__()
    copy = tmp_path / "spectra.py"
    copy.write_bytes(Path(spectra.__file__).read_bytes() + b"# edited\n")
    monkeypatch.setattr(spectra, "__file__", str(copy))
    assert seven.version.__wrapped__() != before
    candidate = pseudolabels.parse_candidate("own:zcr")
    assert pseudolabels.function_version(candidate) == seven.version()
