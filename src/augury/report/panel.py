"""Curves by epoch in a small frame, for all reports of training."""

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
#: Up to this many epochs, each has a mark.
MARKED = 25
#: At most so many epochs are drawn, evenly spaced, as there are no more pixels.
DRAWN = 400


@dataclass(frozen=True)
class Line:
    """A value by epoch, and its style."""

    course: list[float | None]  # one value per epoch
    mark: Mark
    thickness: float
    style: Any = "solid"
    kept: int = 0  # the epoch with a special mark, 1-based; 0: none
    kept_mark: Mark = KEPT


def panel(
    canvas: Canvas, lines: list[Line], box: Box, *, level: float | None = None, zero: bool,
    large: bool,
) -> None:  # fmt: skip
    """Draw values by epoch in a frame.

    Args:
        level: a constant, drawn as a dashed line.
        zero: whether the axis begins at 0, or at the lowest value.
        large: whether there is space for several ticks and large marks.
    """
    left, top, right, bottom = box
    values = [v for v in [*(v for line in lines for v in line.course), level] if has_value(v)]
    if not values:
        canvas.text((left + right) / 2, bottom - 20, "no value", SMALL, MUTED, ha="center")
        return
    low = min(0.0, *values) if zero else min(values)
    down, ticks = scale(low, max(values), bottom, top, 5 if large else 2)
    left += max(26, *(extent(plain(t)) for t in ticks)) + 8
    canvas.lines([[(left, down(t)), (right, down(t))] for t in ticks], RULE, 1)
    for t in ticks:
        canvas.text(left - 5, down(t), plain(t), SMALL, MUTED, ha="right", va="center_baseline")
    epochs = max(len(line.course) for line in lines)
    across = _across(epochs, left + 8, right - 8)
    for epoch in _ticks(epochs, 8 if large else 1):
        canvas.text(across(epoch), bottom + 15, f"{epoch:,}", SMALL, MUTED, ha="center")
    if has_value(level):
        canvas.lines([[(left, down(level)), (right, down(level))]], INK, 1.2, DASHED)
    for line in lines:
        _curve(canvas, line, across, down, large)
    for line in lines:
        if 0 < line.kept <= len(line.course) and has_value(best := line.course[line.kept - 1]):
            canvas.marks([across(line.kept)], [down(best)], line.kept_mark, 8 if large else 6)


def _curve(
    canvas: Canvas, line: Line, across: Callable[[int], float], down: ToPixels, large: bool
) -> None:
    """Draw one line, broken where an epoch has no value."""
    course = line.course
    places = _spread(len(course))
    points = [(across(k + 1), down(v)) if has_value(v := course[k]) else () for k in places]
    runs = [list(run_points) for known, run_points in groupby(points, bool) if known]
    pairs = [run for run in runs if len(run) > 1]
    canvas.lines(pairs, line.mark[2], line.thickness, line.style)
    dots = [point for run in runs for point in run if point and len(course) <= MARKED]
    if dots:
        x, y = zip(*dots, strict=True)
        canvas.marks(x, y, line.mark, 5 if large else 3)


def _across(epochs: int, left: float, right: float) -> Callable[[int], float]:
    """A function from epochs to pixels; a single epoch is in the middle."""
    if epochs == 1:
        return lambda epoch: (left + right) / 2
    return lambda epoch: left + (epoch - 1) / (epochs - 1) * (right - left)


def _ticks(epochs: int, most: int) -> list[int]:
    """Epochs to label: the first, the last, and round ones between them if there is space."""
    if most == 1 or epochs < 3:
        return sorted({1, epochs})
    round_ones = MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]).tick_values(1, epochs)
    step = round_ones[1] - round_ones[0]
    inner = [int(t) for t in round_ones if 1 < t <= epochs - 0.6 * step]
    return sorted({1, *inner, epochs})


def _spread(epochs: int) -> list[int]:
    """Indices of the epochs that are drawn."""
    if epochs <= DRAWN:
        return list(range(epochs))
    return np.unique(np.linspace(0, epochs - 1, DRAWN).round().astype(int)).tolist()
