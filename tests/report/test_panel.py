import pytest

from augury.report import panel


def test_very_many_epochs_are_thinned_out_to_the_ends() -> None:
    places = panel._spread(100_000)
    assert len(places) == panel.DRAWN
    assert (places[0], places[-1]) == (0, 99_999)
    assert panel._spread(3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("epochs", "ticks"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (12, [2, 4, 6, 8, 10]), (40, [10, 20, 30])],
)  # fmt: skip
def test_epochs_are_named_by_round_numbers(epochs: int, ticks: list[int]) -> None:
    labels = panel._ticks(epochs, 8)
    assert set(ticks) <= set(labels)
    assert labels[0] == 1
    assert labels[-1] == epochs
    assert panel._ticks(epochs, 1) == sorted({1, epochs})
