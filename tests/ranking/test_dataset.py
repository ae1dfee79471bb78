from functools import partial

import numpy as np
import pytest
import soundfile

from augury import hsic, read_corpus
from augury.errors import InputError
from augury.ranking.caveats import fault_caveat
from augury.ranking.dataset import adjust_level, open_dataset
from augury.ranking.sensitivity import variants_of
from augury.ranking.settings import RankSettings
from augury.ranking.values import value_mask


def test_removing_the_recordings_levels_undoes_their_gains():
    rng = np.random.default_rng(0)
    recording, y = np.repeat(np.arange(20), 6) + 5, np.arange(120) % 3
    x = rng.standard_normal((120, 4, 5)).astype(np.float32) * 9 - 40
    x -= x.mean(axis=(1, 2), keepdims=True)  # so that no level but the gains' is there to remove
    louder = x + rng.choice([-20.0, 20.0], 26)[recording][:, None, None].astype(np.float32)
    z = x[:, 0, 0] + rng.standard_normal(120)
    kept, removed = (RankSettings(label="y", recording_level=v) for v in ("kept", "removed"))
    score = hsic.robust(x, [z], y)[0].score
    assert adjust_level(louder, recording, kept) is louder
    assert hsic.robust(louder, [z], y)[0].score != pytest.approx(score, abs=0.02)
    adjusted = adjust_level(louder, recording, removed)
    assert hsic.robust(adjusted, [z], y)[0].score == pytest.approx(score, rel=1e-5)
    assert len(adjusted) == 120
    rows = np.array([3, 100])
    assert np.ptp(adjusted[rows] - x[rows]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("choices", [{"embedding": "svcca"}, {"estimator": "released"}])
def test_there_must_be_a_level_to_remove(choices):
    with pytest.raises(InputError, match="has a level to remove"):
        RankSettings(label="y", recording_level="removed", **choices)


def test_the_sensitivity_check_has_gains_where_there_is_a_level():
    names = [variant.name for variant in variants_of(RankSettings(label="y"))]
    assert names[-3:] == ["recordings ± 20 dB", "ranks of scalars", "unvoiced = voiced"]
    names = [v.name for v in variants_of(RankSettings(label="y", embedding="svcca"))]
    assert "recordings ± 20 dB" not in names


def test_values_from_files_are_gathered_beside_others(manifest, tmp_path):
    corpus = read_corpus(manifest)
    seconds = [soundfile.info(path).duration for path in corpus.recordings]
    units = [np.full(round(50 * s), k) for k, s in enumerate(seconds)]
    units[2] = units[2][:3]  # of another recording
    lines = [" ".join(map(str, line)) + "\n" for line in units]
    (tmp_path / "all.km").write_text("".join(lines))
    (tmp_path / "all.tsv").write_text("\n".join([str(tmp_path), *corpus.names]) + "\n")
    (tmp_path / "npy").mkdir()
    for name, line in zip(corpus.names, units, strict=True):
        frames = np.stack([line, line**2], axis=1).astype(np.float32)
        np.save(tmp_path / "npy" / f"{name.removesuffix('.wav')}.npy", frames)
    km, npy = names = f"units:{tmp_path}/all.km@50", f"frames:{tmp_path}/npy@50"
    settings = RankSettings(label="label", candidates=("own:rms", *names), sensitivity=False)
    opened = partial(
        open_dataset, corpus, settings, embeddings=(settings.base_embedding(),), jobs=1
    )
    with opened(store=tmp_path / "store") as data:
        counts, vectors = data.values[km], data.values[npy]
        inputs = data.inputs("label")
    assert counts.dtype == np.uint8
    assert [list(value_mask(z)).count(False) for z in data.values.values()] == [0, 1, 1]
    known = np.arange(len(corpus)) != 2
    assert np.array_equal(counts.argmax(axis=1)[known], np.arange(len(corpus))[known])
    assert np.array_equal(vectors[known, 1], np.arange(len(corpus))[known] ** 2)
    for name in names:
        count, reason = data.faults()[name]
        assert count == 1
        assert f"{corpus.names[2]}: 3 " in reason
    assert fault_caveat(km, *data.faults()[km]).startswith(f"{km}: no usable values of 1 rec")
    (tmp_path / "all.km").write_text("".join(lines).replace("1", "2"))
    with opened(store=tmp_path / "store") as data:
        again = data.inputs("label")
    assert {name for name in inputs if again[name] != inputs[name]} == {f"file:{tmp_path}/all.km"}
    assert len(inputs) == 5
