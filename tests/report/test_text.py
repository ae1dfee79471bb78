import pytest

from augury.report.text import Unit, clock, duration, format_p, plain


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0, "< 10⁻¹⁶"), (1e-30, "< 10⁻¹⁶"), (3.4e-5, "3.4×10⁻⁵"), (0.0342, "0.034"), (1.0, "1"),
     (None, "–"), (float("nan"), "–")],
)  # fmt: skip
def test_p_values_are_never_nothing(p: float | None, text: str) -> None:
    assert format_p(p) == text


@pytest.mark.parametrize(
    ("values", "value", "text"),
    [
        ([0.1, 0.7], 0.25, "0.250"),
        ([2.2e-4, 1.36e-3, 4e-4], 2.21e-4, "2.21"),
        ([0.5], -0.25, "−0.250"),
        ([0.5], -1e-9, "0.000"),
        ([], None, "–"),
        ([0.5], float("nan"), "–"),
    ],
)
def test_numbers_are_short_in_their_unit(
    values: list[float], value: float | None, text: str
) -> None:
    assert Unit.of(values).text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.07, "0.07"), (-2.0, "−2"), (1234.5, "1,230"), (3.66e-6, "3.66×10⁻⁶"), (0.0, "0")],
)
def test_plain_numbers(value: float, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.25, "4.2 s"), (60.0, "1 min"), (3599.0, "60 min"), (7200.0, "2.0 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (62.0, "1:02"), (3723.6, "1:02:04")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
