import numpy as np
import pytest

from augury import hsic
from augury.errors import InputError
from augury.ranking.dataset import adjust_level
from augury.ranking.sensitivity import variants_of
from augury.ranking.settings import RankSettings


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
    assert names[-2:] == ["recordings ± 20 dB", "ranks of scalars"]
    names = [v.name for v in variants_of(RankSettings(label="y", embedding="svcca"))]
    assert "recordings ± 20 dB" not in names
