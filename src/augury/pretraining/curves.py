"""The figures of a pretraining's report: how the losses went, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from augury.pretraining.losses import LossCurves, WorkerLoss
from augury.ranking.wording import decimal, is_known, plain
from augury.report.canvas import (
    FIRST,
    INK,
    MUTED,
    RULE,
    SECOND,
    SMALL,
    SURFACE,
    WIDE,
    Canvas,
    Key,
    Mark,
    distinguish,
    extent,
    laid_out,
    scale,
)

DASHED = (0, (4, 3))
HELD_OUT: Mark = ("o", FIRST, FIRST)
TRAINED: Mark = ("o", SURFACE, MUTED)
KEPT: Mark = ("D", SECOND, SECOND)
#: Up to this many epochs are marked one by one.
MARKED = 25
#: Up to this many are drawn; of more, as many evenly spread ones: there are no more pixels.
DRAWN = 400

Box = tuple[float, float, float, float]  # left, top, right, bottom


def total(run: LossCurves, width: int) -> Canvas | None:
    """The whole loss by epoch, on as much of the axis as it needs."""
    keys, head = laid_out(_keys(run), width)
    canvas = Canvas(width, int(head) + 230)
    canvas.legend(keys)
    _panel(canvas, run, run.total, (0, head + 6, width - 8, canvas.height - 38), large=True)
    canvas.text(width - 8, canvas.height - 6, "epoch", SMALL, MUTED, ha="right")
    return canvas


def workers(run: LossCurves, width: int) -> Canvas | None:
    """A small panel for each worker's loss, from 0."""
    columns = 2 if width < WIDE else 4
    pitch, step = width / columns, 122
    keys, head = laid_out(_keys(run), width)
    canvas = Canvas(width, int(head) + step * -(-len(run.workers) // columns))
    canvas.legend(keys)
    panel = pitch - (16 if width < WIDE else 28)
    names = _names(run, int((panel - 34) / 7.2))
    for k, part in enumerate(run.workers):
        x, y = (k % columns) * pitch, head + (k // columns) * step
        canvas.text(x + 2, y + 14, names[k], SMALL, INK)
        if is_known(part.ratio):
            canvas.text(x + panel, y + 14, decimal(part.ratio, 2), SMALL, MUTED, ha="right")
        _panel(canvas, run, part, (x, y + 24, x + panel, y + 94), large=False)
    return canvas


def _panel(canvas: Canvas, run: LossCurves, part: WorkerLoss, box: Box, *, large: bool) -> None:
    """One loss: training, validation, that of the constant guess, the kept epoch."""
    training, held_out = (
        Line(run.losses_by_epoch(part, of), mark, thickness)
        for of, mark, thickness in (("training", TRAINED, 1.2), ("validation", HELD_OUT, 2.0))
    )
    best = replace(held_out if run.held_out else training, kept=run.kept, kept_mark=KEPT)
    lines = [training, best] if run.held_out else [best, held_out]
    panel(canvas, lines, box, level=part.constant_guess, zero=not large, large=large)


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
    values = [v for v in [*(v for one in lines for v in one.course), level] if is_known(v)]
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
    if is_known(level):
        canvas.lines([[(left, down(level)), (right, down(level))]], INK, 1.2, DASHED)
    for one in lines:
        _curve(canvas, one, across, down, large)
    for one in lines:
        if 0 < one.kept <= len(one.course) and is_known(best := one.course[one.kept - 1]):
            canvas.marks([across(one.kept)], [down(best)], one.kept_mark, 8 if large else 6)


def _curve(canvas: Canvas, line: Line, across: Any, down: Any, large: bool) -> None:
    """One of the lines, broken where an epoch has no value."""
    course = line.course
    places = _spread(len(course))
    points = [(across(k + 1), down(v)) if is_known(v := course[k]) else None for k in places]
    pieces = [list(some) for there, some in groupby(points, bool) if there]
    pairs = [piece for piece in pieces if len(piece) > 1]
    canvas.lines(pairs, line.mark[2], line.thickness, line.style)
    dots = [point for piece in pieces for point in piece if point and len(course) <= MARKED]
    if dots:
        x, y = zip(*dots, strict=True)
        canvas.marks(x, y, line.mark, 5 if large else 3)


def _across(epochs: int, left: float, right: float) -> Any:
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


def _names(run: LossCurves, characters: int) -> list[str]:
    """The workers as the panels name them."""
    return distinguish([part.name for part in run.workers], characters)


def _keys(run: LossCurves) -> list[Key]:
    """What the lines are."""
    if run.held_out:
        return [_VALIDATION, _TRAINING, _CONSTANT_GUESS, _KEPT]
    return [_TRAINING, _KEPT]


_TRAINING: Key = ("training", MUTED, 1.2, "solid", TRAINED)
_VALIDATION: Key = ("held out", FIRST, 2.0, "solid", HELD_OUT)
_CONSTANT_GUESS: Key = ("constant guess", INK, 1.2, DASHED, None)
_KEPT: Key = ("epoch kept", SURFACE, 0.0, "solid", KEPT)
