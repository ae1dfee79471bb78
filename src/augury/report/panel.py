"""Curves by epoch in a small frame: what the reports of training share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from augury.report.canvas import (
    INK,
    MUTED,
    RULE,
    SECOND,
    SMALL,
    Box,
    Canvas,
    Mark,
    ToPixels,
    extent,
    scale,
)
from augury.report.text import has_value, plain

DASHED = (0, (4, 3))
KEPT: Mark = ("D", SECOND, SECOND)
#: Up to this many epochs are marked one by one.
MARKED = 25
#: Up to this many are drawn; of more, as many evenly spread ones: there are no more pixels.
DRAWN = 400


@dataclass(frozen=True)
class Line:
    """A value by epoch, and how it is drawn."""

    course: list[float | None]  # an entry an epoch
    mark: Mark
    thickness: float
    style: Any = "solid"
    kept: int = 0  # the epoch that is marked, 1-based; 0: none
    kept_mark: Mark = KEPT


def panel(
    canvas: Canvas, lines: list[Line], box: Box, *, level: float | None = None, zero: bool,
    large: bool,
) -> None:  # fmt: skip
    """Values by epoch in a frame of their own.

    Args:
        level: a value that is the same in all epochs, drawn dashed.
        zero: whether the axis begins there; or as low as the values need.
        large: whether there is room for several ticks and large marks.
    """
    left, top, right, bottom = box
    values = [v for v in [*(v for one in lines for v in one.course), level] if has_value(v)]
    if not values:
        canvas.text((left + right) / 2, bottom - 20, "no value", SMALL, MUTED, ha="center")
        return
    low = min(0.0, *values) if zero else min(values)
    down, ticks = scale(low, max(values), bottom, top, 5 if large else 2)
    left += max(26, *(extent(plain(t)) for t in ticks)) + 8
    canvas.lines([[(left, down(t)), (right, down(t))] for t in ticks], RULE, 1)
    for t in ticks:
        canvas.text(left - 5, down(t), plain(t), SMALL, MUTED, ha="right", va="center_baseline")
    epochs = max(len(one.course) for one in lines)
    across = _across(epochs, left + 8, right - 8)
    for epoch in _ticks(epochs, 8 if large else 1):
        canvas.text(across(epoch), bottom + 15, f"{epoch:,}", SMALL, MUTED, ha="center")
    if has_value(level):
        canvas.lines([[(left, down(level)), (right, down(level))]], INK, 1.2, DASHED)
    for one in lines:
        _curve(canvas, one, across, down, large)
    for one in lines:
        if 0 < one.kept <= len(one.course) and has_value(best := one.course[one.kept - 1]):
            canvas.marks([across(one.kept)], [down(best)], one.kept_mark, 8 if large else 6)


def _curve(
    canvas: Canvas, line: Line, across: Callable[[int], float], down: ToPixels, large: bool
) -> None:
    """One of the lines, broken where an epoch has no value."""
    course = line.course
    places = _spread(len(course))
    points = [(across(k + 1), down(v)) if has_value(v := course[k]) else () for k in places]
    pieces = [list(some) for there, some in groupby(points, bool) if there]
    pairs = [piece for piece in pieces if len(piece) > 1]
    canvas.lines(pairs, line.mark[2], line.thickness, line.style)
    dots = [point for piece in pieces for point in piece if point and len(course) <= MARKED]
    if dots:
        x, y = zip(*dots, strict=True)
        canvas.marks(x, y, line.mark, 5 if large else 3)


def _across(epochs: int, left: float, right: float) -> Callable[[int], float]:
    """A function from an epoch to pixels; a single one is in the middle."""
    if epochs == 1:
        return lambda epoch: (left + right) / 2
    return lambda epoch: left + (epoch - 1) / (epochs - 1) * (right - left)


def _ticks(epochs: int, most: int) -> list[int]:
    """Round epochs to be named: the first and the last, and some between if there is room."""
    if most == 1 or epochs < 3:
        return sorted({1, epochs})
    round_ones = MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]).tick_values(1, epochs)
    step = round_ones[1] - round_ones[0]
    inner = [int(t) for t in round_ones if 1 < t <= epochs - 0.6 * step]
    return sorted({1, *inner, epochs})


def _spread(epochs: int) -> list[int]:
    """Places of the epochs that are drawn."""
    if epochs <= DRAWN:
        return list(range(epochs))
    return np.unique(np.linspace(0, epochs - 1, DRAWN).round().astype(int)).tolist()
