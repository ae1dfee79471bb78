import warnings

import numpy as np
import pytest

from augury import pseudolabels
from augury.pseudolabels import opensmile, own, smile_graph
from augury.pseudolabels.candidate import SEVEN

from conftest import tone

smile = pytest.importorskip("opensmile", reason="the extra `opensmile` is not installed")


def stock(feature_set, signal):
    """The values of the stock configuration, by the package's own wrapper."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = smile.FeatureLevel.LowLevelDescriptors
        extractor = smile.Smile(smile.FeatureSet[feature_set], level)
        # The wrapper would wrap +1.0 to -32768.
        return extractor.process_signal(np.clip(signal, -1, 32767 / 32768), 16000)


@pytest.fixture(scope="module")
def speech(shared_data):
    import soundfile

    files = sorted((shared_data / "timit_sample").glob("*/s*.wav"))[::40]
    return [soundfile.read(file, dtype="float32")[0] for file in files]


def voice(seconds=1.3, seed=0):
    """A buzzing, drifting tone with pauses and noise: voiced and unvoiced frames."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(3 * time)) / 16000
    buzz = sum(np.sin(k * pitch) / k for k in range(1, 12)) * (np.sin(9 * time) > -0.3)
    return (0.2 * buzz + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.mark.parametrize("feature_set", ["GeMAPSv01b", "eGeMAPSv02", "ComParE_2016"])
def test_every_single_column_equals_the_stock_set_to_the_last_bit(feature_set):
    signals = [voice(), voice(0.2, 1), tone(300, 0.06), tone(900, 0.5) * 3.4]
    expected = [stock(feature_set, signal) for signal in signals]
    for column in opensmile.descriptor_names(feature_set):
        plan = opensmile.extractor([(feature_set, column)])
        for signal, table in zip(signals, expected, strict=True):
            (values,) = opensmile.extract(plan, signal).values()
            assert np.array_equal(values, table[column].to_numpy(), equal_nan=True), column


def test_the_seven_together_equal_the_stock_sets_on_real_speech(speech):
    columns = [tuple(source.split(":")[1:]) for source in SEVEN.values()]
    plan = opensmile.extractor(columns)
    for signal in speech:
        values = opensmile.extract(plan, signal)
        for feature_set in ("GeMAPSv01b", "ComParE_2016"):
            table = stock(feature_set, signal)
            for owner, column in columns:
                if owner == feature_set:
                    assert np.array_equal(values[f"{owner}:{column}"], table[column].to_numpy())


def test_values_do_not_depend_on_the_recording_before():
    plan = opensmile.extractor([("ComParE_2016", "F0final_sma"), ("GeMAPSv01b", "Loudness_sma3")])
    first = opensmile.extract(plan, voice())
    opensmile.extract(plan, tone(700, 2.0))
    again = opensmile.extract(plan, voice())
    assert all(np.array_equal(first[c], again[c]) for c in plan.columns)


def test_a_signal_shorter_than_a_window_has_no_frames():
    plan = opensmile.extractor([("ComParE_2016", "pcm_zcr_sma")])
    assert opensmile.extract(plan, tone(300, 0.0599))["ComParE_2016:pcm_zcr_sma"].shape == (0,)


def test_full_scale_does_not_wrap():
    """A square wave of ±1 crosses zero 200 times a second; wrapped to 16 bits it would differ."""
    square = np.sign(tone(100, 1.0)).astype(np.float32)
    plan = opensmile.extractor([("ComParE_2016", "pcm_zcr_sma")])
    (rate,) = opensmile.extract(plan, square).values()
    (softer,) = opensmile.extract(plan, square * 0.5).values()
    assert np.array_equal(rate, softer)


def test_columns_are_timed_by_their_own_window():
    """A click at 0.5 s: each column is loudest or most restless in the frame that says 0.5 s."""
    signal = np.zeros(16000, np.float32)
    signal[8000:8016] = 0.5
    for feature_set, column in (
        ("GeMAPSv01b", "Loudness_sma3"), ("ComParE_2016", "pcm_RMSenergy_sma"),
    ):  # fmt: skip
        plan = opensmile.extractor([(feature_set, column)])
        (values,) = opensmile.extract(plan, signal).values()
        loud = np.flatnonzero(values > 0.5 * values.max())
        time = plan.centres[0] + opensmile.HOP * loud.mean()
        assert time == pytest.approx(0.5, abs=0.006)
    assert opensmile.extractor([("ComParE_2016", "pcm_zcr_sma")]).centres == (0.03,)


def test_only_needed_components_are_run():
    graph = smile_graph.read_graph(opensmile._config_path("ComParE_2016"))
    plan = opensmile.extractor([("ComParE_2016", "pcm_RMSenergy_sma")])
    assert plan.config.count(".type=") < len(graph) / 2
    assert "cPitchShs" not in plan.config
    both = opensmile.extractor([("ComParE_2016", "pcm_zcr_sma"), ("GeMAPSv01b", "Loudness_sma3")])
    assert both.config.count("cFramer") == 2 * 2  # one of 20 ms, one of 60 ms, each named twice


def test_errors_of_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"did you mean F0\?"):
        pseudolabels.parse_candidate("f0")
    with pytest.raises(ValueError, match="did you mean pcm_zcr_sma"):
        opensmile.extractor([("ComParE_2016", "pcm_zrc_sma")])
    with pytest.raises(ValueError, match="no such feature set here; there are GeMAPSv01b"):
        opensmile.extractor([("ComParE_2013", "pcm_zcr_sma")])
    with pytest.raises(ValueError, match=r"did you mean noise\?"):
        pseudolabels.parse_candidate("own:nois")
    with pytest.raises(ValueError, match="can't be imported"):
        pseudolabels.load_function(pseudolabels.parse_candidate("no_such_module:f"))
    with pytest.raises(ValueError, match="has no function"):
        pseudolabels.load_function(pseudolabels.parse_candidate("math:no_such_function"))
    with pytest.raises(ValueError, match="the same candidate"):
        pseudolabels.parse_candidates(["F0", "opensmile:ComParE_2016:F0final_sma"])
    with pytest.raises(ValueError, match="no candidate"):
        pseudolabels.parse_candidates([" "])


# ----------------------------------------------------------------------------- our own


@pytest.mark.parametrize("name", own.NAMES)
def test_own_pseudo_labels_are_finite_and_deterministic(name):
    function = getattr(own, name)
    for signal in (voice(), np.zeros(8000, np.float32), tone(300, 0.01)):
        values = function(signal, 16000)
        assert values.dtype == np.float32
        assert values.ndim == 1
        assert np.isfinite(values).all()
        assert np.array_equal(values, function(signal, 16000))


def test_own_pseudo_labels_of_a_tone():
    signal = tone(1000, 1.0)  # amplitude 0.3
    assert own.rms(signal, 16000) == pytest.approx(0.3 / np.sqrt(2), rel=0.01)
    # 2,000 crossings a second in windows of 25 ms: one more or less at the ends.
    assert own.zero_crossings(signal, 16000) == pytest.approx(2000 / 16000, abs=1 / 399)
    assert own.centroid(signal, 16000) == pytest.approx(1000, rel=0.01)
    assert own.rolloff(signal, 16000) == pytest.approx(1000, abs=45)  # a bin is 40 Hz
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    # E ln of an exponential variable is −γ: a periodogram of white noise has flatness e^−γ = .56.
    assert own.flatness(noise, 16000).mean() == pytest.approx(np.exp(-np.euler_gamma), abs=0.02)
    assert own.flatness(signal, 16000).max() < 0.01
    assert own.flux(signal, 16000).max() < 0.05
    assert own.noise(noise, 16000).std() == pytest.approx(1, abs=0.25)
