from __future__ import annotations

import io
import pickle
import signal
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from augury.audio import BadAudio, decode, header, log_mel
from augury.errors import MissingFile, UnusableFile

from conftest import tone

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav-float": ("WAV", "FLOAT"),
    "rf64": ("RF64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "sphere": ("NIST", "PCM_16"),
}


LOSSLESS = ("wav", "wav-float", "rf64", "flac", "sphere")


SOME = [
    kind
    for kind, (name, subtype) in FORMATS.items()
    if subtype in soundfile.available_subtypes(name)
]


@cache
def encoded(kind: str, seconds: float = 2.0) -> bytes:
    noise = np.random.default_rng(0).standard_normal(round(seconds * 16_000))
    signal = tone(440, seconds) + 0.01 * noise.astype(np.float32)
    return written(signal, kind)


def written(signal: np.ndarray, kind: str = "wav", rate: int = 16_000) -> bytes:
    name, subtype = FORMATS[kind]
    file = io.BytesIO()
    soundfile.write(file, signal, rate, format=name, subtype=subtype)
    return file.getvalue()


def reason(data: bytes, **choices) -> str:
    with pytest.raises(BadAudio, match="x: ") as caught:
        decode(data, "x", **choices)
    assert str(caught.value) == caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("kind", SOME)
def test_decode_gives_float32_mono_and_rate(kind):
    signal, rate = decode(encoded(kind), kind)
    assert rate == 16_000
    assert signal.dtype == np.float32
    assert signal.shape == (32_000,)
    expected, _ = decode(encoded("wav-float"), "float")
    if kind in LOSSLESS:  # to a step of 16 bits
        np.testing.assert_allclose(signal, expected, atol=1 / 32768)
    else:  # codecs may turn the tone's phase a little
        assert np.corrcoef(signal, expected)[0, 1] > 0.95


def test_mono_is_the_mean_of_the_channels():
    left, right = tone(200), tone(300)
    signal, _ = decode(written(np.stack([left, right], axis=1), "wav-float"), "x")
    np.testing.assert_array_equal(signal, (left + right) / 2)


def test_long_files_are_decoded_in_blocks(monkeypatch):
    whole, _ = decode(encoded("flac"), "x")
    monkeypatch.setattr("augury.audio.decoding._BLOCK", 1000)
    np.testing.assert_array_equal(decode(encoded("flac"), "x")[0], whole)


@pytest.mark.parametrize(("peak", "accepted"), [(31.9, True), (32.1, False), (12_600.0, False)])
def test_integers_written_as_floats_are_refused(peak, accepted):
    loud = tone().astype(np.float32)
    data = written(loud * np.float32(peak / np.abs(loud).max()), "wav-float")
    if accepted:
        assert np.abs(decode(data, "x")[0]).max() == pytest.approx(peak, rel=1e-3)
    else:
        with pytest.raises(BadAudio, match=f"x: a peak of {peak:.6g}.* divide them by 32768"):
            decode(data, "x")


def test_float_files_are_not_clipped():
    assert decode(written(5 * tone(), "wav-float"), "x")[0].max() == pytest.approx(1.5, rel=1e-3)


def test_empty_file():
    assert reason(b"") == "empty-file"


@pytest.mark.parametrize("data", [b"hello, world" * 100, b"\0" * 4096, b"\xff\xd8\xff\xe0" * 50])
def test_what_is_no_audio(data):
    assert reason(data) in ("unsupported-format", "unreadable")


def test_unreadable():
    assert reason(b"fLaC" + b"\x55" * 500) == "unreadable"


def test_shorten_is_named():
    data = encoded("sphere").replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00")
    with pytest.raises(BadAudio, match="sph2pipe"):
        decode(data, "x")


@pytest.mark.parametrize("rate", [1, 3_999, 192_001, 2_000_000_000])
def test_bad_rate(rate):
    data = bytearray(encoded("wav"))
    data[24:28] = struct.pack("<I", rate)
    assert reason(bytes(data)) == "bad-rate"


@pytest.mark.parametrize("kind", ["wav", "sphere"])
def test_no_samples(kind):
    assert reason(written(np.zeros(0, np.float32), kind)) == "no-samples"


def test_too_long_is_refused_by_its_header():
    assert reason(encoded("wav"), max_hours=1.9 / 3600) == "too-long"
    data = bytearray(encoded("flac"))  # claims 2^36 - 1 samples, whose room is never allocated
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    assert reason(bytes(data)) == "too-long"


def test_flac_of_unknown_length():
    data = bytearray(encoded("flac"))
    data[21] &= 0xF0
    data[22:26] = b"\0" * 4
    with pytest.raises(BadAudio, match="how long"):
        decode(bytes(data), "x")


def test_too_many_channels():
    data = written(np.tile(tone(200, 0.01)[:, None], (1, 33)))
    assert reason(data) == "too-many-channels"


def test_not_finite():
    for bad in (np.nan, np.inf, -np.inf):
        signal = tone()
        signal[100] = bad
        assert reason(written(signal, "wav-float")) == "not-finite"


def test_silent():
    for level in (0.0, 0.25):
        assert reason(written(np.full(8000, level, np.float32))) == "silent"


@pytest.mark.parametrize("declared", [0x7FFFF000, 0xFFFFFFFF])
def test_a_streamed_wav_is_not_truncated(declared):
    data = encoded("wav")
    at = data.index(b"data") + 4
    data = data[:at] + struct.pack("<I", declared) + data[at + 4 :]
    assert len(decode(data, "x")[0]) == 32_000


def test_bytes_after_the_end_are_no_harm():
    for kind in ("wav", "vorbis", "mp3"):
        if kind in SOME:
            assert len(decode(encoded(kind) + b"TAG" + b"\0" * 125, kind)[0]) == 32_000


def test_an_mp3_behind_an_id3_tag():
    tag = b"ID3\x04\0\0\0\0\x02\0" + b"\0" * 256
    assert len(decode(tag + encoded("mp3"), "x")[0]) == 32_000
    assert reason((tag + encoded("mp3"))[:-1]) == "truncated"


@pytest.mark.parametrize("kind", ["wav", "wav-float", "rf64", "vorbis", "opus", "mp3", "sphere"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.999])
def test_truncated(kind, share):
    data = encoded(kind)
    assert reason(data[: int(len(data) * share)]) == "truncated"


@pytest.mark.parametrize("kind", SOME)
@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_no_cut_goes_unnoticed(kind, share):
    data = encoded(kind)
    with pytest.raises(BadAudio):
        decode(data[: int(len(data) * share)], kind)


@pytest.mark.parametrize("kind", SOME)
@settings(max_examples=40, deadline=None)
@given(damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damage_raises_nothing_but_bad_audio(kind, damage):
    data = bytearray(encoded(kind, 0.5))
    for place, value in damage:
        data[int(place**3 * (len(data) - 1))] = value  # mostly in the header
    try:
        signal, rate = decode(bytes(data), kind, max_hours=0.1)
    except BadAudio:
        return
    assert 4_000 <= rate <= 192_000
    assert np.isfinite(signal).all()


def test_bad_audio_crosses_processes():
    error = pickle.loads(pickle.dumps(BadAudio("silent", "x: is silent")))
    assert (error.reason, error.detail, str(error)) == ("silent", "x: is silent", "x: is silent")


def test_header_decodes_nothing(tones: Path):
    flac = header(tones / "deep" / "c.flac")
    assert (flac.rate, flac.channels, flac.frames) == (16_000, 1, 16_000)
    assert (flac.seconds, flac.format) == (1.0, "FLAC PCM_16")
    (tones / "cut.wav").write_bytes(encoded("wav")[:-1])
    with pytest.raises(BadAudio, match=r"cut\.wav: cut off"):
        header(tones / "cut.wav")


def test_header_names_a_file_that_cannot_be_opened(tones: Path):
    with pytest.raises(MissingFile, match=r"none\.wav: there is no such file"):
        header(tones / "none.wav")
    with pytest.raises(UnusableFile, match="deep: can't be used: Is a directory"):
        header(tones / "deep")


def test_real_speech_is_read(shared_data):
    opus = sorted((shared_data / "speechocean762" / "audio").glob("*.opus"))[:20]
    sphere = sorted((shared_data / "timit_sample").glob("*/*.wav"))[:20]
    for file in (*opus, *sphere):
        signal, rate = decode(file.read_bytes(), file.name)
        assert rate == 16_000
        assert len(signal) == header(file).frames
        assert log_mel(signal).max() > -20


def test_an_interrupt_while_decoding_is_raised_afterwards_and_not_swallowed(monkeypatch):
    """In a callback of libsndfile it would be lost, and the file called truncated."""
    from augury.audio import decoding

    mono = decoding._decode_mono

    def interrupted(sound, name):
        signal.raise_signal(signal.SIGINT)
        return mono(sound, name)

    monkeypatch.setattr(decoding, "_decode_mono", interrupted)
    data = written(tone(440, 0.5))
    # Who starts tests in the background has them ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            decode(data, "x")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
