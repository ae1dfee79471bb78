"""Numbers, counts and names as people read them: one way for all reports and for the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard, cast

from markupsafe import Markup

NONE = "–"  # how an undefined value is printed
#: P-values below ten to this power are not distinguished.
TINY = -16


def has_value(value: float | None) -> TypeGuard[float]:
    """Whether there is a value to show: neither None nor NaN nor infinite."""
    return value is not None and math.isfinite(value)


@dataclass(frozen=True)
class Unit:
    """A power of ten that a column or an axis is given in, so that its numbers stay short."""

    exponent: int  # 0 or negative
    decimals: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Unit:
        """The unit in which these values read best."""
        sizes = sorted(abs(v) for v in values if has_value(v) and v)
        if not sizes or sizes[-1] >= 0.01:
            largest = sizes[-1] if sizes else 0.0
            return cls(0, 3 if largest < 10 else 1)
        return cls(math.floor(math.log10(sizes[len(sizes) // 2])), 2)

    @property
    def suffix(self) -> str:
        """What follows a heading: "" or " (×10⁻⁴)"."""
        return f" (×10{_superscript(self.exponent)})" if self.exponent else ""

    def convert(self, value: float) -> float:
        """The value in this unit."""
        return value * 10.0**-self.exponent

    def text(self, value: float | None) -> str:
        """The value in this unit, with a real minus sign."""
        return decimal(self.convert(value), self.decimals) if has_value(value) else NONE


def decimal(value: float | None, places: int) -> str:
    """The value with a real minus sign, and none before a zero."""
    if not has_value(value):
        return NONE
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def plain(value: float, digits: int = 3) -> str:
    """The value with so many significant digits, as short as can be."""
    if not math.isfinite(value):
        return NONE
    if 1e3 <= abs(value) < 1e6:
        return f"{float(f'{value:.{digits}g}'):,.0f}".replace("-", "−")
    number, _, power = f"{value:.{digits}g}".partition("e")
    return number.replace("-", "−") + (f"×10{_superscript(int(power))}" if power else "")


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def format_p(p: float | None) -> str:
    """A p-value: two digits, and never so small that it says more than can be known."""
    if not has_value(p):
        return NONE
    return f"< 10{_superscript(TINY)}" if p < 10.0**TINY else plain(p, 2)


def percent(part: float) -> str:
    """A share of 1 as a percentage."""
    return "< 1 %" if 0 < part < 0.01 else f"{100 * part:.0f} %"


def count(n: int, thing: str, things: str = "") -> str:
    """E.g. "1 class", "12,403 segments"."""
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"


def join_names(names: Sequence[str], most: int = 8) -> str:
    """E.g. "a, b and c"; more than `most` are cut short."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def duration(seconds: float) -> str:
    """E.g. "4.2 s", "12 min", "3.5 h"."""
    if seconds < 60:
        return f"{plain(seconds, 2)} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def clock(seconds: float) -> str:
    """E.g. "4:02", "1:04:02"."""
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
    """The name alone: a card is made to be passed on, and folders are nobody's business."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def breakable(name: str) -> Markup:
    """The name with places where a line may break: after its punctuation."""
    return Markup("").join(
        Markup("{}<wbr>").format(part) if part[-1] in ":_./" else part
        for part in re.findall(r"[^:_./]*[:_./]|[^:_./]+", name)
    )
