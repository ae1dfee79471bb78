"""The figures of a pretraining's report: how the losses went, epoch by epoch."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

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
    Mark,
    extent,
    scale,
    short,
)
from augury.report.losses import Part, Run
from augury.report.wording import decimal, known, plain

DASHED = (0, (4, 3))
HELD_OUT: Mark = ("o", FIRST, FIRST)
TRAINED: Mark = ("o", SURFACE, MUTED)
KEPT: Mark = ("D", SECOND, SECOND)
#: Up to this many epochs are marked one by one.
MARKED = 25
#: Up to this many are drawn; of more, as many evenly spread ones: there are no more pixels.
DRAWN = 400

Box = tuple[float, float, float, float]  # left, top, right, bottom


def whole(run: Run, width: int) -> Canvas | None:
    """The whole loss by epoch, on as much of the axis as it needs."""
    entries, head = _entries(run, width)
    canvas = Canvas(width, int(head) + 230)
    _legend(canvas, entries)
    _panel(canvas, run, run.whole, (0, head + 6, width - 8, canvas.height - 38), large=True)
    canvas.text(width - 8, canvas.height - 6, "epoch", SMALL, MUTED, ha="right")
    return canvas


def workers(run: Run, width: int) -> Canvas | None:
    """A small panel for each worker's loss, from 0."""
    columns = 2 if width < WIDE else 4
    pitch, step = width / columns, 122
    entries, head = _entries(run, width)
    canvas = Canvas(width, int(head) + step * -(-len(run.parts) // columns))
    _legend(canvas, entries)
    panel = pitch - (16 if width < WIDE else 28)
    names = _names(run, int((panel - 34) / 7.2))
    for k, part in enumerate(run.parts):
        x, y = (k % columns) * pitch, head + (k // columns) * step
        canvas.text(x + 2, y + 14, names[k], SMALL, INK)
        if known(part.ratio):
            canvas.text(x + panel, y + 14, decimal(part.ratio, 2), SMALL, MUTED, ha="right")
        _panel(canvas, run, part, (x, y + 24, x + panel, y + 94), large=False)
    return canvas


def _panel(canvas: Canvas, run: Run, part: Part, box: Box, *, large: bool) -> None:
    """One loss: training, validation, the line without looking, the kept epoch."""
    left, top, right, bottom = box
    training, validation = run.course(part, "training"), run.course(part, "validation")
    values = [v for v in [*training, *validation, part.without_looking] if known(v)]
    if not values:
        canvas.text((left + right) / 2, bottom - 20, "no value", SMALL, MUTED, ha="center")
        return
    low = min(values) if large else min(0.0, *values)
    down, ticks = scale(low, max(values), bottom, top, 5 if large else 2)
    left += max(26, *(extent(plain(t)) for t in ticks)) + 8
    canvas.lines([[(left, down(t)), (right, down(t))] for t in ticks], RULE, 1)
    for t in ticks:
        canvas.text(left - 5, down(t), plain(t), SMALL, MUTED, ha="right", va="center_baseline")
    across = _across(len(run.history), left + 8, right - 8)
    for epoch in _ticks(len(run.history), 8 if large else 1):
        canvas.text(across(epoch), bottom + 15, f"{epoch:,}", SMALL, MUTED, ha="center")
    if known(part.without_looking):
        y = down(part.without_looking)
        canvas.lines([[(left, y), (right, y)]], INK, 1.2, DASHED)
    for course, mark, thickness in ((training, TRAINED, 1.2), (validation, HELD_OUT, 2.0)):
        _curve(canvas, course, across, down, mark, thickness, large)
    best = (validation if run.held_out else training)[run.kept - 1]
    if known(best):
        canvas.marks([across(run.kept)], [down(best)], KEPT, 8 if large else 6)


def _curve(
    canvas: Canvas, course: list[float | None], across: Any, down: Any, mark: Mark,
    thickness: float, large: bool,
) -> None:  # fmt: skip
    """A loss by epoch, broken where an epoch has none."""
    places = _spread(len(course))
    points = [(across(k + 1), down(v)) if known(v := course[k]) else None for k in places]
    pieces = [list(some) for there, some in groupby(points, bool) if there]
    canvas.lines([piece for piece in pieces if len(piece) > 1], mark[2], thickness)
    dots = [point for piece in pieces for point in piece if point and len(course) <= MARKED]
    if dots:
        x, y = zip(*dots, strict=True)
        canvas.marks(x, y, mark, 5 if large else 3)


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


def _names(run: Run, characters: int) -> list[str]:
    """The workers as the panels name them, told apart by number where they look alike."""
    names = [short(part.name, characters) for part in run.parts]
    twice = Counter(names)
    return [f"{n} #{k}" if twice[n] > 1 else n for k, n in enumerate(names, 1)]


# ------------------------------------------------------------------------------------- legend

#: What the lines are: words, colour, thickness, style, mark.
_TRAINING = ("training", MUTED, 1.2, "solid", TRAINED)
_VALIDATION = ("held out", FIRST, 2.0, "solid", HELD_OUT)
_WITHOUT = ("without looking", INK, 1.2, DASHED, None)
_KEPT = ("epoch kept", SURFACE, 0.0, "solid", KEPT)

Entry = tuple[float, float, tuple[Any, ...]]  # x, y, and one of the above


def _entries(run: Run, width: int) -> tuple[list[Entry], float]:
    """Where the legend's entries go, in as many lines as are needed, and where it ends."""
    kinds = [_TRAINING, _KEPT]
    if run.held_out:
        kinds = [_VALIDATION, _TRAINING, _WITHOUT, _KEPT]
    found: list[Entry] = []
    x, y = 4.0, 14.0
    for kind in kinds:
        wide = 34 + extent(kind[0])
        if x > 4 and x + wide > width:
            x, y = 4.0, y + 18
        found.append((x, y, kind))
        x += wide + 16
    return found, y + 10


def _legend(canvas: Canvas, entries: list[Entry]) -> None:
    for x, y, (words, colour, thickness, style, mark) in entries:
        if thickness:
            canvas.lines([[(x, y - 4), (x + 24, y - 4)]], colour, thickness, style)
        if mark:
            canvas.marks([x + 12], [y - 4], mark, 7 if mark is KEPT else 5)
        canvas.text(x + 30, y, words, SMALL, MUTED)
