import pytest

from augury.errors import InputError
from augury.extraction.plan import Plan
from augury.pseudolabels import opensmile, parse_candidates

pytest.importorskip("opensmile")


def test_the_plan_of_opensmile_is_kept_in_the_store(tmp_path, monkeypatch):
    candidates = parse_candidates(["F0", "loudness", "log_hnr"])
    first = Plan.of(candidates, tmp_path, unvoiced="published")
    planned = opensmile.extractor([(c.origin, c.item) for c in candidates])
    assert first.extractor == planned
    monkeypatch.setattr(opensmile, "_package", None)
    again = Plan.of(candidates, tmp_path, unvoiced="published")
    assert again == first
    assert again.extractor is not None
    assert again.extractor.centres == planned.centres
    with pytest.raises(TypeError, match="not callable"):  # other columns are planned anew
        Plan.of(candidates[:2], tmp_path, unvoiced="published")


def test_an_unknown_column_is_refused_and_nothing_kept(tmp_path):
    candidates = parse_candidates(["opensmile:ComParE_2016:F0_sma"])
    with pytest.raises(InputError, match="no such low-level descriptor"):
        Plan.of(candidates, tmp_path, unvoiced="published")
    assert list(tmp_path.iterdir()) == []
