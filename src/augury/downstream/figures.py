"""The figures of an evaluation's report: scores, training, DET curves, confusions."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from augury.downstream.comparison import Comparison, is_drawable
from augury.downstream.result import Model
from augury.downstream.wording import MODES, model_label
from augury.report.canvas import (
    BAND,
    FIRST,
    INK,
    MUTED,
    RULE,
    SECOND,
    SMALL,
    SURFACE,
    THIRD,
    WIDE,
    Canvas,
    Key,
    Mark,
    Rows,
    distinguish,
    extent,
    laid_out,
    short,
)
from augury.report.panel import DASHED, Line, panel
from augury.report.text import has_value, plain

SEED: Mark = ("o", SURFACE, MUTED)
INTERVAL: Mark = ("_", INK, INK)
SHAPES = {"frozen": "o", "finetune": "s"}
DOTTED = (0, (1, 2))
#: Styles of the lines of encoders and of baselines, best first; the rest are thin.
ENCODERS = ((FIRST, "solid"), (SECOND, "solid"), (THIRD, "solid"))
BASELINES = ((INK, DASHED), (INK, DOTTED), (MUTED, "solid"))
REST = (RULE, 1.2, "solid")
#: Values by epoch that are drawn, and their labels.
CURVES = (("loss", "loss"), ("error", "error, %"))
#: Rates between which DET curves are drawn, and those that are labelled.
LOW, HIGH = 0.001, 0.6
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
NAMED = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
#: Colours of a confusion matrix: without the ends, which are invisible on a light or dark page.
SHADES = ListedColormap(colormaps["viridis_r"](np.linspace(0.05, 0.75, 256)))

Points = NDArray[np.float64]


def scores(comparison: Comparison, width: int) -> Canvas | None:
    """Each model's mean and interval, its seeds below, and chance."""
    shown = comparison.models
    if not shown:
        return None
    labels = distinguish([model_label(model) for model in shown], 42 if width < WIDE else 36)
    rows = Rows(labels, width, 60, muted=[model.baseline for model in shown])
    chance, metric = comparison.near_chance, comparison.evaluation.metric.name
    ends = [model.interval or (np.nan, np.nan) for model in shown]
    ends = 100 * np.maximum(np.array(ends, float), 0)
    seeds = [[100 * o.score for o in model.outcomes if has_value(o.score)] for model in shown]
    means = 100 * np.array([model.mean for model in shown])
    chances = [100 * chance] if has_value(chance) else []
    everything = np.concatenate([ends.ravel(), means, chances, *seeds])
    least, most = float(np.nanmin(everything)), float(np.nanmax(everything))
    # To show differences, the axis starts at 0 only if that is near.
    rows.axis(
        0.0 if least < most / 2 else least, most, f"{short(metric, 20)}, %", "← lower is better"
    )
    at, y, canvas = rows.at, rows.y, rows.canvas
    for chance in chances:
        canvas.lines([[(at(chance), rows.top - 2), (at(chance), rows.bottom)]], INK, 1.2, DASHED)
    marks = [_mark(model) for model in shown]
    for model, v, (low, high), mark, values in zip(shown, y, ends, marks, seeds, strict=True):
        if model.interval:
            canvas.lines([[(at(low), v), (at(high), v)]], mark[2], 2.2)
        if len(values) > 1:
            canvas.marks(at(values), np.full(len(values), v + 8), SEED, 4)
    for x, v, mark in zip(at(means), y, marks, strict=True):
        canvas.marks([x], [v], mark, 9)
    after = np.fmax(at(means) + 9, at(ends[:, 1]) + 6)
    for model, v, x in zip(shown, y, after, strict=True):
        canvas.text(x, v, comparison.text(model.mean), SMALL, INK, va="center_baseline")
    rows.legend(_legend(comparison, marks, bool(chances)))
    return canvas


def curves(comparison: Comparison, width: int) -> Canvas | None:
    """Loss and error on the validation split by epoch, for each model's median outcome."""
    shown = [(model, look) for model, look in _looks(comparison) if model.median_outcome.history]
    kinds = [kind for kind in CURVES if any(_values(model, kind[0]) for model, _ in shown)]
    if not kinds:
        return None
    keys, head = laid_out(_keys(shown, width), width)
    columns = 1 if width < WIDE else len(kinds)
    pitch, step = width / columns, 236
    canvas = Canvas(width, int(head) + step * -(-len(kinds) // columns))
    canvas.legend(keys)
    for k, (name, words) in enumerate(kinds):
        left, top = (k % columns) * pitch, head + (k // columns) * step
        right = left + pitch - (8 if k % columns == columns - 1 else 28)
        canvas.text(left + 2, top + 14, f"validation {words}", SMALL, INK)
        lines = [_line(model, look, name) for model, look in _drawing_order(shown)]
        panel(canvas, lines, (left, top + 24, right, top + step - 38), zero=False, large=True)
        canvas.text(right, top + step - 6, "epoch", SMALL, MUTED, ha="right")
    return canvas


def det(comparison: Comparison, width: int) -> Canvas | None:
    """DET curves: misses against false alarms on normal-quantile axes, of each median outcome."""
    shown = [(model, look) for model, look in _looks(comparison) if model in comparison.with_det]
    if not shown:
        return None
    side = min(width - 16, 470)
    keys, head = laid_out(_keys(shown, width), width)
    canvas = Canvas(width, int(head) + side)
    canvas.legend(keys)
    left, top, right, bottom = 52.0, head + 26, side - 4.0, head + side - 42
    low, high = ndtri(LOW), ndtri(HIGH)

    def across(rate: ArrayLike) -> Any:
        return left + (ndtri(rate) - low) / (high - low) * (right - left)

    def down(rate: ArrayLike) -> Any:
        return bottom + (ndtri(rate) - low) / (high - low) * (top - bottom)

    canvas.lines([[(across(r), top), (across(r), bottom)] for r in RATES], RULE, 1)
    canvas.lines([[(left, down(r)), (right, down(r))] for r in RATES], RULE, 1)
    for r in NAMED:
        canvas.text(across(r), bottom + 15, plain(100 * r), SMALL, MUTED, ha="center")
        canvas.text(
            left - 6, down(r), plain(100 * r), SMALL, MUTED, ha="right", va="center_baseline"
        )
    canvas.text(left - 44, top - 12, "misses, %", SMALL, MUTED)
    canvas.text(right, bottom + 34, "false alarms, %", SMALL, MUTED, ha="right")
    canvas.lines([[(left, bottom), (right, top)]], MUTED, 1)
    for model, (colour, thickness, style) in _drawing_order(shown):
        alarms, misses = model.median_outcome.det or ((), ())
        inside = [[(across(a), down(m)) for a, m in piece] for piece in _pieces(alarms, misses)]
        canvas.lines(inside, colour, thickness, style)
        rate = _equal_error(alarms, misses)
        if LOW <= rate <= HIGH:
            canvas.marks(
                [across(rate)], [down(rate)], (SHAPES.get(model.mode, "o"), colour, colour), 6
            )
    return canvas


def confusion(comparison: Comparison, width: int) -> Canvas | None:
    """The class predicted for each true class, as shares of the row."""
    table = comparison.outcome.confusion if comparison.outcome else None
    if table is None or not is_drawable(table):
        return None
    counts = np.array(table.counts, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # "" has a row if there are insertions, a column if there are deletions.
    rows = [k for k, name in enumerate(table.labels) if name or counts[k].any()]
    columns = [k for k, name in enumerate(table.labels) if name or counts[:, k].any()]
    shares, n = shares[np.ix_(rows, columns)], len(columns)
    down = distinguish([table.labels[k] or "inserted" for k in rows], 14)
    along = distinguish([table.labels[k] or "deleted" for k in columns], 14)
    left = max(extent(t) for t in down) + 26
    cell = min(max((width - left - 4) / n, 13.0), 40)
    flat = max(extent(t) for t in along) < cell - 4
    head = 40 if flat else max(extent(t) for t in along) + 30
    tall = min(max(cell, 14.0), 28.0)
    box = (left, head, left + cell * n, head + tall * len(rows))
    canvas = Canvas(max(width, int(box[2] + 4)), int(box[3] + 50))
    image = SHADES(np.sqrt(shares))
    image[shares == 0] = 0
    canvas.rectangle(box, BAND, BAND)
    canvas.image(image, box)
    canvas.grid(box, n, len(rows))
    canvas.text(left, 14, "predicted →", SMALL, MUTED)
    canvas.text(2, head - 7, "truth ↓", SMALL, MUTED)
    for k, text in enumerate(down):
        y = head + tall * (k + 0.5)
        canvas.text(left - 8, y, text, SMALL, INK, ha="right", va="center_baseline")
    for k, text in enumerate(along):
        x = left + cell * (k + 0.5)
        if flat:
            canvas.text(x, head - 7, text, SMALL, INK, ha="center")
        else:
            canvas.upright(x, head - 6, text)
    if cell >= 26:
        for (i, j), share in np.ndenumerate(shares):
            if share > 0:
                x, y = left + cell * (j + 0.5), head + tall * (i + 0.5)
                canvas.on_cell(x, y, f"{max(100 * share, 1):.0f}", image[i, j])
    start = (10 if width < WIDE else left, box[3] + 16)
    canvas.colour_bar(start, SHADES, ("0", "25", "100"), "% of the row")
    return canvas


# ---------------------------------------------------------------------------------------- models

Look = tuple[str, float, Any]  # colour, thickness, style


def _looks(comparison: Comparison) -> list[tuple[Model, Look]]:
    """Each model's line style, the same in every figure; the best models stand out."""
    looks = {}
    for models, styles in ((comparison.encoders, ENCODERS), (comparison.baselines, BASELINES)):
        for model, (colour, style) in zip(models, styles, strict=False):
            looks[model.name, model.mode] = (colour, 2.0, style)
    return [(model, looks.get((model.name, model.mode), REST)) for model in comparison.models]


def _drawing_order(shown: list[tuple[Model, Look]]) -> list[tuple[Model, Look]]:
    """The lines in the order of drawing: those that stand out are last, on top."""
    rest, best = (
        [pair for pair in shown if (pair[1] is REST) == is_rest] for is_rest in (True, False)
    )
    return rest + best[::-1]


def _keys(shown: list[tuple[Model, Look]], width: int) -> list[Key]:
    """The legend of the lines; those that do not stand out share one entry."""
    seen = [(model, look) for model, look in shown if look is not REST]
    names = distinguish([model_label(model) for model, _ in seen], 34 if width < WIDE else 40)
    keys: list[Key] = [
        (name, colour, thickness, style, None)
        for name, (_, (colour, thickness, style)) in zip(names, seen, strict=True)
    ]
    rest = len(shown) - len(seen)
    return keys + ([(f"{rest} more", *REST, None)] if rest else [])


def _mark(model: Model) -> Mark:
    colour = INK if model.baseline else FIRST
    return (SHAPES.get(model.mode, "o"), colour, colour)


def _legend(comparison: Comparison, marks: list[Mark], chance: bool) -> list[tuple[Mark, str]]:
    """The legend of the scores: the marks that occur."""
    mode = {"o": "", "s": f", {MODES['finetune']}"}
    entries = [
        (mark, {FIRST: "encoder", INK: "baseline"}[mark[1]] + mode[mark[0]])
        for mark in sorted(set(marks), key=lambda mark: (mark[1] != FIRST, mark[0]))
    ]
    if comparison.several_seeds:
        entries += [(INTERVAL, "95 % interval"), (SEED, "a seed")]
    return entries + ([(("|", INK, INK), "chance")] if chance else [])


# ----------------------------------------------------------------------------------------- curves


def _values(model: Model, name: str) -> list[float | None]:
    """A value on the validation split by epoch, errors in percent; [] if no epoch has it."""
    factor = 100 if name == "error" else 1
    history = [(epoch.get("validation") or {}).get(name) for epoch in model.median_outcome.history]
    values = [factor * v if has_value(v) else None for v in history]
    return values if any(map(has_value, values)) else []


def _line(model: Model, look: Look, name: str) -> Line:
    colour, thickness, style = look
    marker = "" if look is REST else SHAPES.get(model.mode, "o")
    best = 0 if look is REST else model.median_outcome.about.get("best_epoch") or 0
    mark, best_mark = (marker, colour, colour), ("D", colour, colour)
    return Line(_values(model, name), mark, thickness, style, best, best_mark)


# -------------------------------------------------------------------------------------------- DET


def outside(comparison: Comparison) -> list[Model]:
    """Models with a DET curve that lies completely outside the frame."""
    return [
        model for model in comparison.with_det if not _pieces(*model.median_outcome.det or ((), ()))
    ]


def _pieces(alarms: ArrayLike, misses: ArrayLike) -> list[list[tuple[float, float]]]:
    """The pieces of a DET curve inside the frame, with enough points to draw straight lines.

    Between its corners the curve is straight in rates, but not on axes of normal quantiles: a point
    is added wherever it crosses one of 160 rates.
    """
    alarms, misses, along = _walk(alarms, misses)
    grid = ndtr(np.linspace(ndtri(LOW), ndtri(HIGH), 160))
    grid[0], grid[-1] = LOW, HIGH
    crossed = [np.interp(grid, alarms[::-1], along[::-1]), np.interp(grid, misses, along)]
    places = np.unique(np.concatenate([along, *crossed]))
    a, m = np.interp(places, along, alarms), np.interp(places, along, misses)
    near = 1e-9  # the rounding error of interpolating there and back
    inside = (np.minimum(a, m) >= LOW - near) & (np.maximum(a, m) <= HIGH + near)
    points = zip(np.clip(a, LOW, HIGH), np.clip(m, LOW, HIGH), inside, strict=True)
    pieces = [
        [(float(x), float(y)) for x, y, _ in run]
        for is_inside, run in groupby(points, lambda point: bool(point[2]))
        if is_inside
    ]
    return [piece for piece in pieces if len(piece) > 1]


def _equal_error(alarms: ArrayLike, misses: ArrayLike) -> float:
    """The rate at which the curve crosses the diagonal."""
    alarms, misses, along = _walk(alarms, misses)
    return float(np.interp(np.interp(0.0, misses - alarms, along), along, misses))


def _walk(alarms: ArrayLike, misses: ArrayLike) -> tuple[Points, Points, Points]:
    """False alarm and miss rates, and the length of the curve up to each point."""
    alarms, misses = np.asarray(alarms, float), np.asarray(misses, float)
    steps = np.abs(np.diff(alarms)) + np.abs(np.diff(misses))
    return alarms, misses, np.concatenate([[0.0], np.cumsum(steps)])
