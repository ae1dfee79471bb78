"""The figures of an evaluation's report: scores, training, DET curves, confusions."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from augury.downstream import comparison
from augury.downstream.comparison import Contest
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
from augury.report.text import is_known, plain

if TYPE_CHECKING:  # an evaluation is written with its report: the import goes the other way
    from augury.downstream.result import Model

SEED: Mark = ("o", SURFACE, MUTED)
INTERVAL: Mark = ("_", INK, INK)
SHAPES = {"frozen": "o", "finetune": "s"}
DOTTED = (0, (1, 2))
#: What lines of encoders and of baselines look like, best first; the rest are thin.
ENCODERS = ((FIRST, "solid"), (SECOND, "solid"), (THIRD, "solid"))
BASELINES = ((INK, DASHED), (INK, DOTTED), (MUTED, "solid"))
REST = (RULE, 1.2, "solid")
#: Values by epoch that are drawn, and what they are called.
COURSES = (("loss", "loss"), ("error", "error, %"))
#: Rates that DET curves are drawn between, and those that are named.
LOW, HIGH = 0.001, 0.6
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
NAMED = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
#: Of a confusion matrix: without the ends that vanish on a light or a dark page.
SHADES = ListedColormap(colormaps["viridis_r"](np.linspace(0.05, 0.75, 256)))

Points = NDArray[np.float64]


def scores(contest: Contest, width: int) -> Canvas | None:
    """Each contender's mean on its interval, its seeds below, and chance."""
    shown = contest.ranked
    if not shown:
        return None
    labels = distinguish([comparison.label_of(one) for one in shown], 42 if width < WIDE else 36)
    rows = Rows(labels, width, 60, muted=[one.baseline for one in shown])
    chance, metric = contest.near_chance, contest.evaluation.metric.name
    ends = [one.interval or (np.nan, np.nan) for one in shown]
    ends = 100 * np.maximum(np.array(ends, float), 0)
    seeds = [[100 * o.score for o in one.outcomes if is_known(o.score)] for one in shown]
    means = 100 * np.array([one.mean for one in shown])
    chances = [100 * chance] if is_known(chance) else []
    values = np.concatenate([ends.ravel(), means, chances, *seeds])
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    # Differences are what matters: 0 is on the axis only where it is near.
    rows.axis(
        0.0 if least < most / 2 else least, most, f"{short(metric, 20)}, %", "← lower is better"
    )
    at, y, canvas = rows.at, rows.y, rows.canvas
    for chance in chances:
        canvas.lines([[(at(chance), rows.top - 2), (at(chance), rows.bottom)]], INK, 1.2, DASHED)
    marks = [_mark(one) for one in shown]
    for one, v, (low, high), mark, some in zip(shown, y, ends, marks, seeds, strict=True):
        if one.interval:
            canvas.lines([[(at(low), v), (at(high), v)]], mark[2], 2.2)
        if len(some) > 1:
            canvas.marks(at(some), np.full(len(some), v + 8), SEED, 4)
    for x, v, mark in zip(at(means), y, marks, strict=True):
        canvas.marks([x], [v], mark, 9)
    after = np.fmax(at(means) + 9, at(ends[:, 1]) + 6)
    for one, v, x in zip(shown, y, after, strict=True):
        canvas.text(x, v, contest.text(one.mean), SMALL, INK, va="center_baseline")
    rows.legend(_meanings(contest, marks, bool(chances)))
    return canvas


def courses(contest: Contest, width: int) -> Canvas | None:
    """Loss and error on held-out speech by epoch, of each typical outcome."""
    shown = [(one, look) for one, look in _looks(contest) if one.typical.history]
    kinds = [kind for kind in COURSES if any(_course(one, kind[0]) for one, _ in shown)]
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
        canvas.text(left + 2, top + 14, f"held-out {words}", SMALL, INK)
        lines = [_line(one, look, name) for one, look in _drawn(shown)]
        panel(canvas, lines, (left, top + 24, right, top + step - 38), zero=False, large=True)
        canvas.text(right, top + step - 6, "epoch", SMALL, MUTED, ha="right")
    return canvas


def det(contest: Contest, width: int) -> Canvas | None:
    """Misses against false alarms on normal-deviate axes, of each typical outcome."""
    shown = [(one, look) for one, look in _looks(contest) if one in contest.with_det]
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
    for one, (colour, thickness, style) in _drawn(shown):
        alarms, misses = one.typical.det or ((), ())
        inside = [[(across(a), down(m)) for a, m in piece] for piece in _pieces(alarms, misses)]
        canvas.lines(inside, colour, thickness, style)
        rate = _equal(alarms, misses)
        if LOW <= rate <= HIGH:
            canvas.marks(
                [across(rate)], [down(rate)], (SHAPES.get(one.mode, "o"), colour, colour), 6
            )
    return canvas


def confusion(contest: Contest, width: int) -> Canvas | None:
    """What each class came out as, as shares of the truth's row."""
    found = contest.shown.confusion if contest.shown else None
    if found is None or not comparison.drawable(found):
        return None
    counts = np.array(found.counts, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Insertions have a row only, deletions a column only, where there are any.
    rows = [k for k, name in enumerate(found.labels) if name or counts[k].any()]
    columns = [k for k, name in enumerate(found.labels) if name or counts[:, k].any()]
    shares, n = shares[np.ix_(rows, columns)], len(columns)
    down = distinguish([found.labels[k] or "inserted" for k in rows], 14)
    along = distinguish([found.labels[k] or "deleted" for k in columns], 14)
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
    canvas.text(left, 14, "came out as →", SMALL, MUTED)
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


# ------------------------------------------------------------------------------------ contenders

Look = tuple[str, float, Any]  # colour, thickness, style


def _looks(contest: Contest) -> list[tuple[Model, Look]]:
    """Each contender's line in every figure: the best ones stand out."""
    looks = {}
    for some, styles in ((contest.encoders, ENCODERS), (contest.baselines, BASELINES)):
        for one, (colour, style) in zip(some, styles, strict=False):
            looks[one.name, one.mode] = (colour, 2.0, style)
    return [(one, looks.get((one.name, one.mode), REST)) for one in contest.ranked]


def _drawn(shown: list[tuple[Model, Look]]) -> list[tuple[Model, Look]]:
    """In the order of drawing: what stands out comes last, and so on top."""
    rest, best = ([p for p in shown if (p[1] is REST) == there] for there in (True, False))
    return rest + best[::-1]


def _keys(shown: list[tuple[Model, Look]], width: int) -> list[Key]:
    """What the lines are; those that do not stand out share an entry."""
    seen = [(one, look) for one, look in shown if look is not REST]
    names = distinguish([comparison.label_of(one) for one, _ in seen], 34 if width < WIDE else 40)
    keys: list[Key] = [
        (name, colour, thickness, style, None)
        for name, (_, (colour, thickness, style)) in zip(names, seen, strict=True)
    ]
    rest = len(shown) - len(seen)
    return keys + ([(f"{rest} more", *REST, None)] if rest else [])


def _mark(one: Model) -> Mark:
    colour = INK if one.baseline else FIRST
    return (SHAPES.get(one.mode, "o"), colour, colour)


def _meanings(contest: Contest, marks: list[Mark], chance: bool) -> list[tuple[Mark, str]]:
    """The legend of the scores: what is there to be told apart."""
    said = {"o": "", "s": f", {comparison.MODES['finetune']}"}
    found = [
        (mark, {FIRST: "encoder", INK: "baseline"}[mark[1]] + said[mark[0]])
        for mark in sorted(set(marks), key=lambda mark: (mark[1] != FIRST, mark[0]))
    ]
    if contest.several:
        found += [(INTERVAL, "95 % interval"), (SEED, "a seed")]
    return found + ([(("|", INK, INK), "chance")] if chance else [])


# ---------------------------------------------------------------------------------------- courses


def _course(one: Model, name: str) -> list[float | None]:
    """A held-out value by epoch, nothing if no epoch has it; errors in percent."""
    factor = 100 if name == "error" else 1
    history = [(epoch.get("validation") or {}).get(name) for epoch in one.typical.history]
    found = [factor * v if is_known(v) else None for v in history]
    return found if any(map(is_known, found)) else []


def _line(one: Model, look: Look, name: str) -> Line:
    colour, thickness, style = look
    marker = "" if look is REST else SHAPES.get(one.mode, "o")
    kept = 0 if look is REST else one.typical.about.get("best_epoch") or 0
    mark, kept_mark = (marker, colour, colour), ("D", colour, colour)
    return Line(_course(one, name), mark, thickness, style, kept, kept_mark)


# -------------------------------------------------------------------------------------------- DET


def outside(contest: Contest) -> list[Model]:
    """Those with a DET curve no part of which is in the frame."""
    return [one for one in contest.with_det if not _pieces(*one.typical.det or ((), ()))]


def _pieces(alarms: ArrayLike, misses: ArrayLike) -> list[list[tuple[float, float]]]:
    """The parts of a DET curve that are in the frame, close enough to be straight there.

    The curve is straight between its corners in rates, not on the axes: where it crosses any of
    many rates, a point is put in.
    """
    alarms, misses, along = _walk(alarms, misses)
    grid = ndtr(np.linspace(ndtri(LOW), ndtri(HIGH), 160))
    grid[0], grid[-1] = LOW, HIGH
    crossed = [np.interp(grid, alarms[::-1], along[::-1]), np.interp(grid, misses, along)]
    places = np.unique(np.concatenate([along, *crossed]))
    a, m = np.interp(places, along, alarms), np.interp(places, along, misses)
    near = 1e-9  # what interpolating to and fro rounds off
    inside = (np.minimum(a, m) >= LOW - near) & (np.maximum(a, m) <= HIGH + near)
    points = zip(np.clip(a, LOW, HIGH), np.clip(m, LOW, HIGH), inside, strict=True)
    pieces = [
        [(float(x), float(y)) for x, y, _ in some]
        for there, some in groupby(points, lambda p: bool(p[2]))
        if there
    ]
    return [piece for piece in pieces if len(piece) > 1]


def _equal(alarms: ArrayLike, misses: ArrayLike) -> float:
    """Where the curve crosses the diagonal."""
    alarms, misses, along = _walk(alarms, misses)
    return float(np.interp(np.interp(0.0, misses - alarms, along), along, misses))


def _walk(alarms: ArrayLike, misses: ArrayLike) -> tuple[Points, Points, Points]:
    """False alarm and miss rates, and the way along the curve to each point."""
    alarms, misses = np.asarray(alarms, float), np.asarray(misses, float)
    steps = np.abs(np.diff(alarms)) + np.abs(np.diff(misses))
    return alarms, misses, np.concatenate([[0.0], np.cumsum(steps)])
