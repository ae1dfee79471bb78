from __future__ import annotations

import numpy as np
import pytest


def test_columns(three, tones):
    assert len(three) == 3
    assert three.recordings == (tones / "b.wav", tones / "a.wav")
    assert three.names == ("b.wav", "a.wav")
    np.testing.assert_array_equal(three.recording, [0, 1, 0])
    np.testing.assert_array_equal(three.start, [0, np.nan, 0.5])
    np.testing.assert_array_equal(three.end, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(three.rows, [1, 2, 3])
    assert list(three.columns) == ["phone", "speaker"]
    assert three.label("speaker").tolist() == ["s1", "s2", ""]
    assert three.rejected == ()


def test_iterating_gives_segments(three, tones):
    first, second, _ = three
    assert (first.path, first.start, first.end) == (tones / "b.wav", 0.0, 0.5)
    assert first.labels == {"phone": "aa", "speaker": "s1"}
    assert (second.start, second.end) == (None, None)


def test_select_drops_unused_recordings(three):
    second = three.select([False, True, False])
    assert second.names == ("a.wav",)
    np.testing.assert_array_equal(second.recording, [0])
    np.testing.assert_array_equal(second.rows, [2])


def test_select_by_index_keeps_the_order_asked_for(three):
    turned = three.select(np.array([1, 0]))
    assert turned.names == ("a.wav", "b.wav")
    assert turned.label("phone").tolist() == ["iy", "aa"]
    assert len(three.select([])) == 0


@pytest.mark.parametrize("keep", [[True], [True] * 4])
def test_select_wants_one_for_each(three, keep):
    with pytest.raises(ValueError, match="there are 3 segments"):
        three.select(keep)


def test_label_names_the_nearest(three):
    with pytest.raises(ValueError, match=r"'phone', 'speaker'; did you mean phone\?"):
        three.label("phones")
