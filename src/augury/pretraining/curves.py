"""The figures of a pretraining's report: losses by epoch."""

from __future__ import annotations

from dataclasses import replace

from augury.pretraining.losses import LossCurves, WorkerLoss
from augury.report.canvas import (
    FIRST,
    INK,
    MUTED,
    SMALL,
    SURFACE,
    WIDE,
    Canvas,
    Key,
    Mark,
    distinguish,
    laid_out,
)
from augury.report.panel import DASHED, KEPT, Box, Line, panel
from augury.report.text import decimal, has_value

HELD_OUT: Mark = ("o", FIRST, FIRST)
TRAINED: Mark = ("o", SURFACE, MUTED)


def total(run: LossCurves, width: int) -> Canvas | None:
    """The total loss by epoch, on an axis that need not begin at 0."""
    keys, head = laid_out(_keys(run), width)
    canvas = Canvas(width, int(head) + 230)
    canvas.legend(keys)
    _panel(canvas, run, run.total, (0, head + 6, width - 8, canvas.height - 38), large=True)
    canvas.text(width - 8, canvas.height - 6, "epoch", SMALL, MUTED, ha="right")
    return canvas


def workers(run: LossCurves, width: int) -> Canvas | None:
    """A small panel for each worker's loss, on an axis from 0."""
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
        if has_value(part.ratio):
            canvas.text(x + panel, y + 14, decimal(part.ratio, 2), SMALL, MUTED, ha="right")
        _panel(canvas, run, part, (x, y + 24, x + panel, y + 94), large=False)
    return canvas


def _panel(canvas: Canvas, run: LossCurves, part: WorkerLoss, box: Box, *, large: bool) -> None:
    """One loss: training, validation, that of a constant guess, and the epoch kept."""
    training, held_out = (
        Line(run.losses_by_epoch(part, split), mark, thickness)
        for split, mark, thickness in (("training", TRAINED, 1.2), ("validation", HELD_OUT, 2.0))
    )
    best = replace(held_out if run.held_out else training, kept=run.kept, kept_mark=KEPT)
    lines = [training, best] if run.held_out else [best, held_out]
    panel(canvas, lines, box, level=part.constant_guess, zero=not large, large=large)


def _names(run: LossCurves, characters: int) -> list[str]:
    """The names of the workers, shortened to so many characters, all different."""
    return distinguish([part.name for part in run.workers], characters)


def _keys(run: LossCurves) -> list[Key]:
    """The entries of the legend."""
    if run.held_out:
        return [_VALIDATION, _TRAINING, _CONSTANT_GUESS, _KEPT]
    return [_TRAINING, _KEPT]


_TRAINING: Key = ("training", MUTED, 1.2, "solid", TRAINED)
_VALIDATION: Key = ("held out", FIRST, 2.0, "solid", HELD_OUT)
_CONSTANT_GUESS: Key = ("constant guess", INK, 1.2, DASHED, None)
_KEPT: Key = ("epoch kept", SURFACE, 0.0, "solid", KEPT)
