"""Numbers, counts and names as text, the same in all reports and on the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard, cast

from markupsafe import Markup

NONE = "–"  # text of an undefined value
#: P-values below ten to this power are not printed exactly.
TINY = -16


def has_value(value: float | None) -> TypeGuard[float]:
    """Whether a value is defined: not None, NaN or infinite."""
    return value is not None and math.isfinite(value)


@dataclass(frozen=True)
class Unit:
    """A power of ten as the unit of a column or an axis, so that its numbers are short.

    >>> unit = Unit.of([0.00021, 0.0014])
    >>> unit.suffix, unit.text(0.00021)
    (' (×10⁻³)', '0.21')
    """

    exponent: int  # 0 or negative
    decimals: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Unit:
        """The unit that suits these values."""
        sizes = sorted(abs(v) for v in values if has_value(v) and v)
        if not sizes or sizes[-1] >= 0.01:
            largest = sizes[-1] if sizes else 0.0
            return cls(0, 3 if largest < 10 else 1)
        return cls(math.floor(math.log10(sizes[len(sizes) // 2])), 2)

    @property
    def suffix(self) -> str:
        """The suffix of a heading: "" or " (×10⁻⁴)"."""
        return f" (×10{_superscript(self.exponent)})" if self.exponent else ""

    def convert(self, value: float) -> float:
        """The value in this unit."""
        return value * 10.0**-self.exponent

    def text(self, value: float | None) -> str:
        """The value in this unit, with a real minus sign."""
        return decimal(self.convert(value), self.decimals) if has_value(value) else NONE


def decimal(value: float | None, places: int) -> str:
    """The value with a fixed number of decimals, a real minus sign, and no "−0".

    >>> decimal(-0.256, 2), decimal(-0.001, 2), decimal(None, 2)
    ('−0.26', '0.00', '–')
    """
    if not has_value(value):
        return NONE
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def plain(value: float, digits: int = 3) -> str:
    """The value with so many significant digits, as short as possible.

    >>> plain(12345.6), plain(0.5), plain(2.5e-9)
    ('12,300', '0.5', '2.5×10⁻⁹')
    """
    if not math.isfinite(value):
        return NONE
    if 1e3 <= abs(value) < 1e6:
        return f"{float(f'{value:.{digits}g}'):,.0f}".replace("-", "−")
    number, _, power = f"{value:.{digits}g}".partition("e")
    return number.replace("-", "−") + (f"×10{_superscript(int(power))}" if power else "")


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def format_p(p: float | None) -> str:
    """A p-value with two digits; very small ones as an upper bound.

    >>> format_p(0.0123), format_p(1e-30)
    ('0.012', '< 10⁻¹⁶')
    """
    if not has_value(p):
        return NONE
    return f"< 10{_superscript(TINY)}" if p < 10.0**TINY else plain(p, 2)


def percent(part: float) -> str:
    """A share of 1 as a percentage.

    >>> percent(0.256), percent(0.001)
    ('26 %', '< 1 %')
    """
    return "< 1 %" if 0 < part < 0.01 else f"{100 * part:.0f} %"


def count(n: int, thing: str, things: str = "") -> str:
    """A number with its noun.

    >>> count(1, "segment"), count(12403, "class", "classes")
    ('1 segment', '12,403 classes')
    """
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"


def join_names(names: Sequence[str], most: int = 8) -> str:
    """Names joined in a sentence; at most `most` of them.

    >>> join_names(["a", "b", "c"]), join_names(["a", "b", "c"], most=1)
    ('a, b and c', 'a and 2 more')
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def duration(seconds: float) -> str:
    """A duration in its natural unit.

    >>> duration(4.2), duration(720), duration(12600)
    ('4.2 s', '12 min', '3.5 h')
    """
    if seconds < 60:
        return f"{plain(seconds, 2)} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, or hours.

    >>> clock(242), clock(3842)
    ('4:02', '1:04:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def setting_text(value: object) -> str:
    """A setting as text."""
    if isinstance(value, dict):
        table = cast(dict[str, object], value)
        return ", ".join(f"{k} = {setting_text(v)}" for k, v in table.items()) or NONE
    if isinstance(value, (list, tuple)):
        return ", ".join(map(setting_text, cast(Sequence[object], value))) or NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return plain(value, 6)
    return NONE if value is None or value == "" else str(value)


def file_name(path: str) -> str:
    """The name without its folders, which a published model card should not reveal."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def breakable(name: str) -> Markup:
    """The name as HTML with possible line breaks after its punctuation."""
    return Markup("").join(
        Markup("{}<wbr>").format(part) if part[-1] in ":_./" else part
        for part in re.findall(r"[^:_./]*[:_./]|[^:_./]+", name)
    )


def capitalise(text: str) -> str:
    """The text with its first letter in upper case, as at the start of a sentence.

    >>> capitalise("error of each model"), capitalise("EER by group")
    ('Error of each model', 'EER by group')
    """
    return text[:1].upper() + text[1:]
