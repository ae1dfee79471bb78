"""The figures of a ranking's report."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.collections import PolyCollection
from numpy.typing import NDArray

from augury.ranking import summary
from augury.ranking.result import Ranking, Result
from augury.report.canvas import (
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
    Mark,
    Rows,
    extent,
    scale,
    short,
)
from augury.report.placement import place_labels
from augury.report.text import Unit, has_value, plain

BEST: Mark = ("o", FIRST, FIRST)
OTHER: Mark = ("o", INK, INK)
IRRELEVANT: Mark = ("D", SURFACE, MUTED)
CHANCE: Mark = ("o", SURFACE, MUTED)
DEPENDENCE: Mark = ("s", SURFACE, THIRD)
INTERVAL: Mark = ("_", INK, INK)


# ------------------------------------------------------------------------------------ figures


def order(ranking: Ranking, width: int) -> Canvas | None:
    """Each candidate's score as a dot on its interval, and its shuffled score as a ring."""
    shown = ranking.ranked_results
    if not shown:
        return None
    unit = Unit.of(r.score for r in shown)
    score = [unit.convert(r.score or 0.0) for r in shown]
    chance = [unit.convert(r.shuffled) if has_value(r.shuffled) else np.nan for r in shown]
    sd = [2 * unit.convert(r.shuffled_sd) if has_value(r.shuffled_sd) else np.nan for r in shown]
    irrelevant = np.array([r.relevant is False for r in shown])
    tiered = summary.has_tiers(ranking)
    ends = np.array([[unit.convert(v) for v in r.interval or (np.nan, np.nan)] for r in shown])
    rows = _rows(ranking, shown, width, 130 if irrelevant.any() else 60, tiers=tiered)
    low = np.nanmin([0.0, *score, *chance, *np.subtract(chance, sd), *ends[:, 0]])
    high = np.nanmax([0.0, *score, *chance, *np.add(chance, sd), *ends[:, 1]])
    rows.axis(low, high, f"CI estimate{unit.suffix}", "← lower is better")
    x_of, y, canvas = rows.at, rows.y, rows.canvas
    canvas.lines(
        [
            [(x_of(c), v), (x_of(s), v)] for c, s, v in zip(chance, score, y, strict=True)
            if has_value(c)
        ],
        RULE, 2,
    )  # fmt: skip
    canvas.lines(
        [
            [(x_of(c - d), v), (x_of(c + d), v)]
            for c, d, v in zip(chance, sd, y, strict=True)
            if has_value(c) and has_value(d)
        ],
        MUTED, 1.5,
    )  # fmt: skip
    canvas.marks(x_of(chance), y, CHANCE, 7)
    best = np.isin([r.name for r in shown], [r.name for r in summary.leaders(ranking)])
    for mask, mark in ((best, BEST), (~best & ~irrelevant, OTHER), (irrelevant, IRRELEVANT)):
        known = mask & np.isfinite(ends).all(axis=1)
        bars = [
            [(x_of(a), v), (x_of(b), v)] for (a, b), v in zip(ends[known], y[known], strict=True)
        ]
        canvas.lines(bars, mark[2], 2.2)
        canvas.marks(x_of(np.array(score)[mask]), y[mask], mark, 9)
    after = np.fmax(x_of(score) + 9, x_of(ends[:, 1]) + 6)
    for result, v, x in zip(shown, y, after, strict=True):
        text = unit.text(result.score) + (" no relevance" if result.relevant is False else "")
        colour = MUTED if result.relevant is False else INK
        canvas.text(x, v, text, SMALL, colour, va="center_baseline")
    rows.legend(
        [
            (BEST, "score, best tier" if tiered else "score, named above"),
            *([(OTHER, "score")] if (~best & ~irrelevant).any() else []),
            *([(INTERVAL, "95 % interval")] if np.isfinite(ends).any() else []),
            (CHANCE, "shuffled inside classes" + (" ± 2 sd" if np.isfinite(sd).any() else "")),
            *([(IRRELEVANT, "no relevance")] if irrelevant.any() else []),
        ]
    )
    return canvas


def trade(ranking: Ranking, width: int) -> Canvas | None:
    """Scatter plot of score against relevance, each point labelled."""
    shown = [r for r in ranking.ranked_results if has_value(r.relevance)]
    if len(shown) < 2:
        return None
    narrow = width < WIDE
    unit = Unit.of(r.score for r in shown)
    x = np.array([r.relevance or 0.0 for r in shown])
    y = np.array([unit.convert(r.score or 0.0) for r in shown])
    height = 330 if narrow else 400
    canvas = Canvas(width, height)
    left, right, top, bottom = 46, width - 12, 34, height - 46
    across, x_ticks = scale(min(0.0, x.min()), x.max(), left + 10, right - 14, 4 if narrow else 8)
    down, y_ticks = scale(min(0.0, y.min()), y.max(), bottom - 10, top + 10, 5)
    canvas.lines([[(left, down(t)), (right, down(t))] for t in y_ticks], RULE, 1)
    canvas.lines([[(across(t), top), (across(t), bottom)] for t in x_ticks], RULE, 1)
    for t in x_ticks:
        canvas.text(across(t), bottom + 15, plain(t), SMALL, MUTED, ha="center")
    for t in y_ticks:
        canvas.text(left - 6, down(t), plain(t), SMALL, MUTED, ha="right", va="center_baseline")
    canvas.text(right, height - 8, "relevance: more is better →", SMALL, MUTED, ha="right")
    canvas.text(4, 16, f"CI estimate{unit.suffix}: ↓ lower is better", SMALL, MUTED)
    px, py = across(x), down(y)
    irrelevant = np.array([r.relevant is False for r in shown])
    best = np.isin([r.name for r in shown], [r.name for r in summary.leaders(ranking)])
    names = candidate_labels(ranking, 20 if narrow else 30)
    labels = [names[r.name] for r in shown]
    if narrow and len(shown) > 10:
        labels = [label.split(" ")[0] for label in labels]
    places = place_labels(px, py, labels, (left, top, right, bottom))
    canvas.lines(
        [[(a, b), (c, d)] for a, b, (c, d, far, _) in zip(px, py, places, strict=True) if far],
        MUTED, 0.8,
    )  # fmt: skip
    for mask, mark in ((best, BEST), (~best & ~irrelevant, OTHER), (irrelevant, IRRELEVANT)):
        canvas.marks(px[mask], py[mask], mark, 9)
    for (tx, ty, _, ha), label, muted in zip(places, labels, irrelevant, strict=True):
        canvas.text(tx, ty, label, SMALL, MUTED if muted else INK, ha=ha, va="center_baseline")
    return canvas


def ingredients(ranking: Ranking, width: int) -> Canvas | None:
    """Relevance and dependence of each candidate on one axis."""
    shown = [r for r in ranking.ranked_results if has_value(r.relevance) or has_value(r.dependence)]
    if not shown:
        return None
    relevance = np.array([r.relevance if has_value(r.relevance) else np.nan for r in shown])
    dependence = np.array([r.dependence if has_value(r.dependence) else np.nan for r in shown])
    irrelevant = np.array([r.relevant is False for r in shown])
    rows = _rows(ranking, shown, width, 16)
    values = [0.0, *relevance, *dependence]
    rows.axis(np.nanmin(values), np.nanmax(values), "dependence: 0 none, 1 full", "")
    x_of, y, canvas = rows.at, rows.y, rows.canvas
    pairs = zip(relevance, dependence, y, strict=True)
    canvas.lines(
        [[(x_of(r), v), (x_of(t), v)] for r, t, v in pairs if has_value(r) and has_value(t)],
        RULE,
        2,
    )
    canvas.marks(x_of(dependence), y, DEPENDENCE, 8)
    for mask, mark in ((~irrelevant, BEST), (irrelevant, IRRELEVANT)):
        canvas.marks(x_of(relevance[mask]), y[mask], mark, 9)
    rows.legend(
        [
            (BEST, f"relevance: to {short(ranking.label, 16)}"),
            (DEPENDENCE, "dependence: on the speech"),
            *(
                [(IRRELEVANT, "relevance, not beyond noise’s (p ≥ .01)")]
                if irrelevant.any()
                else []
            ),
        ]
    )
    return canvas


def histograms(ranking: Ranking, width: int) -> Canvas | None:
    """A histogram of each candidate's values over the segments, one small panel each."""
    shown = ranking.results
    if not shown:
        return None
    columns = min(len(shown), 2 if width < WIDE else 4)
    pitch = width / (2 if width < WIDE else 4)
    panel, tall = pitch - 20, 64
    step = tall + 62
    canvas = Canvas(width, int(step * -(-len(shown) // columns)) - 14)
    names = candidate_labels(ranking, int(panel / 7.8))
    shapes: list[NDArray[np.float64]] = []
    bases: list[list[tuple[float, float]]] = []
    for k, result in enumerate(shown):
        x, y = (k % columns) * pitch + 8, (k // columns) * step + 20
        base = y + 8 + tall
        canvas.text(x, y - 4, names[result.name], SMALL, INK)
        bases.append([(x, base), (x + panel, base)])
        counts, low, high = result.histogram
        if not counts or max(counts) <= 0:
            reason = {"missing": "no value", "constant": "constant"}.get(result.status, "")
            text = "no histogram" + (f" ({reason})" if reason else "")
            canvas.text(x + panel / 2, base - tall / 2, text, SMALL, MUTED, ha="center")
            continue
        edges = x + panel * np.repeat(np.arange(len(counts) + 1), 2) / len(counts)
        heights = base - tall * np.repeat(counts, 2) / max(counts)
        shapes.append(np.column_stack([edges, np.concatenate([[base], heights, [base]])]))
        canvas.text(x, base + 14, plain(low), SMALL, MUTED)
        canvas.text(x + panel, base + 14, plain(high), SMALL, MUTED, ha="right")
        if result.dims > 1:
            text = f"dimension 1 of {result.dims}"
            canvas.text(x + panel, y + 12, text, SMALL, MUTED, ha="right")
    canvas.add(PolyCollection(shapes, facecolor=FIRST, edgecolor="none"))
    canvas.lines(bases, MUTED, 1)
    return canvas


def sensitivity(ranking: Ranking, width: int) -> Canvas | None:
    """Each candidate's rank under each setting; settings run down on a narrow screen."""
    names = summary.sensitivity_names(ranking)
    computed = ranking.sensitivity
    if computed is None or len(names) < 2 or len(computed.settings) < 2:
        return None
    table = summary.ranks(computed, names)
    narrow, n, settings = width < WIDE, len(names), len(computed.settings)
    labels = candidate_labels(ranking, 20 if narrow else 26)
    room = max(extent(labels[name]) for name in names) + 18
    across = min((width - 2 * room) / (settings - 1), 130)
    characters = 12 if narrow else max(int(across / 7.5), 6)
    lines = [
        textwrap.wrap(s.replace("× ", "×\u00a0"), characters, break_long_words=False) or [""]
        for s in computed.settings
    ]
    head = 12 + 13 * max(map(len, lines))
    if narrow:
        left = max(extent(t) for wrapped in lines for t in wrapped) + 22
        step, along = min(max((width - left - 14) / max(n - 1, 1), 13.5), 44), 44
        size = (max(width, int(left + step * (n - 1) + 14)), int(2 * room + along * (settings - 1)))
    else:
        left, step, along = room, 24, across
        size = (width, int(head + step * (n - 1) + 30))
    canvas = Canvas(*size)

    def place(setting: float, rank: float) -> tuple[float, float]:
        if narrow:
            return left + step * (rank - 1), room + along * setting
        return left + along * setting, head + 14 + step * (rank - 1)

    ends = [(place(s, 1), place(s, n)) for s in range(settings)]
    canvas.lines([[a, b] for a, b in ends], RULE, 1)
    for s, wrapped in enumerate(lines):
        x, y = place(s, 1)
        for k, line in enumerate(wrapped):
            if narrow:
                down = y + 4 + 13 * (k - (len(wrapped) - 1) / 2)
                canvas.text(left - 14, down, line, SMALL, MUTED, ha="right")
            else:
                canvas.text(x, 14 + 13 * k, line, SMALL, MUTED, ha="center")
    top = [r.name for r in ranking.relevant_results][:3]
    styles = dict(zip(top, ((FIRST, "o"), (SECOND, "s"), (THIRD, "D")), strict=False))
    for k in sorted(range(n), key=lambda k: names[k] in styles):
        colour, marker = styles.get(names[k], (MUTED, "o"))
        known = np.flatnonzero(np.isfinite(table[:, k]))
        if not known.size:
            continue
        points = np.array([place(s, table[s, k]) for s in known.tolist()])
        canvas.lines([points], colour, 2.4 if names[k] in styles else 1)
        size = 8 if names[k] in styles else 5
        canvas.marks(points[:, 0], points[:, 1], (marker, colour, colour), size)
        ink = colour if names[k] in styles else INK
        for (x, y), first in ((points[0], True), (points[-1], False)):
            if narrow:
                canvas.upright(x, y - 12 if first else y + 12, labels[names[k]], ink, up=first)
            else:
                shift, ha = (-12, "right") if first else (12, "left")
                canvas.text(x + shift, y, labels[names[k]], SMALL, ink, ha=ha, va="center_baseline")
    return canvas


# ------------------------------------------------------------------------------------- pieces


def _rows(
    ranking: Ranking, shown: Sequence[Result], width: int, margin: int, *, tiers: bool = False
) -> Rows:
    """A row for each candidate, in tiers if `tiers`."""
    names = candidate_labels(ranking, 42 if width < WIDE else 32)
    labels = [names[r.name] for r in shown]
    muted = [r.relevant is False for r in shown]
    rows = Rows(labels, width, margin, muted=muted, gutter=48 if tiers else 0)
    if tiers:
        _tiers(rows, shown)
    return rows


def _tiers(rows: Rows, shown: Sequence[Result]) -> None:
    """Draw each tier's name at its first row, and lines between tiers."""
    canvas = rows.canvas
    for k, (result, y) in enumerate(zip(shown, rows.y, strict=True)):
        last = shown[k - 1]
        if k and (result.tier, result.relevant is False) == (last.tier, last.relevant is False):
            continue
        if k:
            between = y - rows.step / 2 - (7 if rows.narrow else 0)
            canvas.lines([[(0, between), (canvas.width, between)]], MUTED, 0.8)
        text = f"tier {result.tier}" if has_value(result.tier) else "no rank"
        text = "no tier" if text == "no rank" and result.relevant is not False else text
        if rows.narrow:
            canvas.text(canvas.width - 2, y - 13, text, SMALL, MUTED, ha="right")
        else:
            canvas.text(2, y, text, SMALL, MUTED, va="center_baseline")


def candidate_labels(ranking: Ranking, characters: int) -> dict[str, str]:
    """Candidates' labels in figures: the rank in their kind, and the name, shortened."""
    names = {r.name: short(r.name, characters) for r in ranking.results}
    uses = Counter(names.values())
    labels: dict[str, str] = {}
    ranks = ranking.ranks
    for k, r in enumerate(ranking.results, 1):
        rank = ranks.get(r.name, "–")
        suffix = f" #{k}" if uses[names[r.name]] > 1 else ""
        labels[r.name] = f"{rank} {names[r.name]}{suffix}"
    return labels
