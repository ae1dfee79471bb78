"""The figures of a ranking's report."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import PolyCollection
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from augury.ranking import wording
from augury.ranking.result import Ranking, Result
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
    Mark,
    Rows,
    extent,
    scale,
    short,
)
from augury.report.text import Unit, decimal, is_known, plain

BEST: Mark = ("o", FIRST, FIRST)
OTHER: Mark = ("o", INK, INK)
IDLE: Mark = ("D", SURFACE, MUTED)
CHANCE: Mark = ("o", SURFACE, MUTED)
TOTAL: Mark = ("s", SURFACE, THIRD)
INTERVAL: Mark = ("_", INK, INK)


# ------------------------------------------------------------------------------------ figures


def order(ranking: Ranking, width: int) -> Canvas | None:
    """A dot on its interval for each candidate's score, a ring for what chance alone gives."""
    shown = wording.ranked(ranking)
    if not shown:
        return None
    unit = Unit.of(r.score for r in shown)
    score = [unit.scaled(r.score or 0.0) for r in shown]
    chance = [unit.scaled(r.shuffled) if is_known(r.shuffled) else np.nan for r in shown]
    sd = [2 * unit.scaled(r.shuffled_sd) if is_known(r.shuffled_sd) else np.nan for r in shown]
    idle = np.array([r.relevant is False for r in shown])
    sure = wording.has_tiers(ranking)
    ends = np.array([[unit.scaled(v) for v in r.interval or (np.nan, np.nan)] for r in shown])
    rows = _rows(ranking, shown, width, 130 if idle.any() else 60, tiers=sure)
    low = np.nanmin([0.0, *score, *chance, *np.subtract(chance, sd), *ends[:, 0]])
    high = np.nanmax([0.0, *score, *chance, *np.add(chance, sd), *ends[:, 1]])
    rows.axis(low, high, f"CI estimate{unit.suffix}", "← lower is better")
    at, y, canvas = rows.at, rows.y, rows.canvas
    canvas.lines(
        [[(at(c), v), (at(s), v)] for c, s, v in zip(chance, score, y, strict=True) if is_known(c)],
        RULE, 2,
    )  # fmt: skip
    canvas.lines(
        [
            [(at(c - d), v), (at(c + d), v)]
            for c, d, v in zip(chance, sd, y, strict=True)
            if is_known(c) and is_known(d)
        ],
        MUTED, 1.5,
    )  # fmt: skip
    canvas.marks(at(chance), y, CHANCE, 7)
    best = np.isin([r.name for r in shown], [r.name for r in wording.leaders(ranking)])
    for mask, mark in ((best, BEST), (~best & ~idle, OTHER), (idle, IDLE)):
        has = mask & np.isfinite(ends).all(axis=1)
        bars = [[(at(a), v), (at(b), v)] for (a, b), v in zip(ends[has], y[has], strict=True)]
        canvas.lines(bars, mark[2], 2.2)
        canvas.marks(at(np.array(score)[mask]), y[mask], mark, 9)
    after = np.fmax(at(score) + 9, at(ends[:, 1]) + 6)
    for one, v, x in zip(shown, y, after, strict=True):
        text = unit.text(one.score) + (" no relevance" if one.relevant is False else "")
        colour = MUTED if one.relevant is False else INK
        canvas.text(x, v, text, SMALL, colour, va="center_baseline")
    rows.legend(
        [
            (BEST, "score, best tier" if sure else "score, named above"),
            *([(OTHER, "score")] if (~best & ~idle).any() else []),
            *([(INTERVAL, "95 % interval")] if np.isfinite(ends).any() else []),
            (CHANCE, "shuffled inside classes" + (" ± 2 sd" if np.isfinite(sd).any() else "")),
            *([(IDLE, "no relevance")] if idle.any() else []),
        ]
    )
    return canvas


def trade(ranking: Ranking, width: int) -> Canvas | None:
    """Score against relevance, each point labelled."""
    shown = [r for r in wording.ranked(ranking) if is_known(r.relevance)]
    if len(shown) < 2:
        return None
    narrow = width < WIDE
    unit = Unit.of(r.score for r in shown)
    x = np.array([r.relevance or 0.0 for r in shown])
    y = np.array([unit.scaled(r.score or 0.0) for r in shown])
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
    idle = np.array([r.relevant is False for r in shown])
    best = np.isin([r.name for r in shown], [r.name for r in wording.leaders(ranking)])
    names = _labels(ranking, 20 if narrow else 30)
    labels = [names[r.name] for r in shown]
    if narrow and len(shown) > 10:
        labels = [label.split(" ")[0] for label in labels]
    places = _placed(px, py, labels, (left, top, right, bottom))
    canvas.lines(
        [[(a, b), (c, d)] for a, b, (c, d, far, _) in zip(px, py, places, strict=True) if far],
        MUTED, 0.8,
    )  # fmt: skip
    for mask, mark in ((best, BEST), (~best & ~idle, OTHER), (idle, IDLE)):
        canvas.marks(px[mask], py[mask], mark, 9)
    for (tx, ty, _, ha), label, none in zip(places, labels, idle, strict=True):
        canvas.text(tx, ty, label, SMALL, MUTED if none else INK, ha=ha, va="center_baseline")
    return canvas


def ingredients(ranking: Ranking, width: int) -> Canvas | None:
    """Relevance and total dependence of each candidate on one axis."""
    shown = [r for r in wording.ranked(ranking) if is_known(r.relevance) or is_known(r.dependence)]
    if not shown:
        return None
    relevance = np.array([r.relevance if is_known(r.relevance) else np.nan for r in shown])
    total = np.array([r.dependence if is_known(r.dependence) else np.nan for r in shown])
    idle = np.array([r.relevant is False for r in shown])
    rows = _rows(ranking, shown, width, 16)
    values = [0.0, *relevance, *total]
    rows.axis(np.nanmin(values), np.nanmax(values), "dependence: 0 none, 1 full", "")
    at, y, canvas = rows.at, rows.y, rows.canvas
    pairs = zip(relevance, total, y, strict=True)
    canvas.lines(
        [[(at(r), v), (at(t), v)] for r, t, v in pairs if is_known(r) and is_known(t)], RULE, 2
    )
    canvas.marks(at(total), y, TOTAL, 8)
    for mask, mark in ((~idle, BEST), (idle, IDLE)):
        canvas.marks(at(relevance[mask]), y[mask], mark, 9)
    rows.legend(
        [
            (BEST, f"relevance: about {short(ranking.label, 16)}"),
            (TOTAL, "total: about the speech"),
            *([(IDLE, "relevance, not beyond noise’s (p ≥ .01)")] if idle.any() else []),
        ]
    )
    return canvas


def classes(ranking: Ranking, width: int) -> Canvas | None:
    """Each candidate's value in each class; classes run across on a desk, down on a phone."""
    shown, drawn = wording.ranked(ranking), wording.drawn_classes(ranking)
    values = np.array(
        [[v if is_known(v := wording.class_value(r, c)) else np.nan for c in drawn] for r in shown],
        dtype=float,
    ).reshape(len(shown), len(drawn))
    if not np.isfinite(values).any():
        return None
    unit = Unit.of(values.ravel().tolist())
    names = _labels(ranking, 26)
    candidates = [names[r.name] for r in shown]
    labels = [short(ranking.class_names[c], 16) for c in drawn]
    narrow = width < WIDE
    rows, columns = (labels, candidates) if narrow else (candidates, labels)
    left = max(extent(t) for t in rows) + 14
    cell = min(max((width - left - 10) / len(columns), 13.5), 64)
    longest = max(extent(t) for t in columns)
    flat = longest < cell - 4
    head = 24 if flat else longest + 14
    tall = 16 if narrow else 24
    across = left + cell * len(columns)
    canvas = Canvas(max(width, int(across + 10)), int(head + tall * len(rows) + 50))
    box = (left, head, across, head + tall * len(rows))
    low, high = _limits(values)
    image = colormaps["viridis_r"](np.clip((values - low) / (high - low), 0, 1))
    image[~np.isfinite(values)] = 0
    canvas.rectangle(box, BAND, MUTED, hatch="/////")
    canvas.image(image.transpose(1, 0, 2) if narrow else image, box)
    canvas.grid(box, len(columns), len(rows))
    for k, text in enumerate(rows):
        canvas.text(
            left - 8, head + tall * (k + 0.5), text, SMALL, INK, ha="right", va="center_baseline"
        )
    for k, text in enumerate(columns):
        x = left + cell * (k + 0.5)
        if flat:
            canvas.text(x, head - 7, text, SMALL, INK, ha="center")
        else:
            canvas.upright(x, head - 6, text)
    if cell >= 36 and not narrow:
        for (i, j), value in np.ndenumerate(values):
            if is_known(value):
                canvas.on_cell(
                    left + cell * (j + 0.5), head + tall * (i + 0.5), unit.text(value), image[i, j]
                )
    start, title = (10 if narrow else left, box[3] + 16), f"dependence{unit.suffix}"
    canvas.colour_bar(start, colormaps["viridis_r"], _marked((low, high), unit), title)
    return canvas


def histograms(ranking: Ranking, width: int) -> Canvas | None:
    """The values of each candidate over the segments, one small panel each."""
    shown = ranking.results
    if not shown:
        return None
    columns = min(len(shown), 2 if width < WIDE else 4)
    pitch = width / (2 if width < WIDE else 4)
    panel, tall = pitch - 20, 64
    step = tall + 62
    canvas = Canvas(width, int(step * -(-len(shown) // columns)) - 14)
    names = _labels(ranking, int(panel / 7.8))
    shapes, bases = [], []
    for k, one in enumerate(shown):
        x, y = (k % columns) * pitch + 8, (k // columns) * step + 20
        base = y + 8 + tall
        canvas.text(x, y - 4, names[one.name], SMALL, INK)
        bases.append([(x, base), (x + panel, base)])
        counts, low, high = one.histogram
        if not counts or max(counts) <= 0:
            reason = {"missing": "no value", "constant": "constant"}.get(one.status, "")
            text = "no histogram" + (f" ({reason})" if reason else "")
            canvas.text(x + panel / 2, base - tall / 2, text, SMALL, MUTED, ha="center")
            continue
        edges = x + panel * np.repeat(np.arange(len(counts) + 1), 2) / len(counts)
        heights = base - tall * np.repeat(counts, 2) / max(counts)
        shapes.append(np.column_stack([edges, np.concatenate([[base], heights, [base]])]))
        canvas.text(x, base + 14, plain(low), SMALL, MUTED)
        canvas.text(x + panel, base + 14, plain(high), SMALL, MUTED, ha="right")
        if one.dims > 1:
            text = f"dimension 1 of {one.dims}"
            canvas.text(x + panel, y + 12, text, SMALL, MUTED, ha="right")
    canvas.add(PolyCollection(shapes, facecolor=FIRST, edgecolor="none"))
    canvas.lines(bases, MUTED, 1)
    return canvas


def redundancy(ranking: Ranking, width: int) -> Canvas | None:
    """Spearman correlations of the candidates, similar ones side by side."""
    among = wording.correlated(ranking)
    if len(among) < 2:
        return None
    table = np.array(
        [[v if is_known(v := ranking.redundancy[i][j]) else np.nan for j in among] for i in among]
    )
    table = np.clip(table, -1, 1)
    leaves = _leaves(table)
    table = table[np.ix_(leaves, leaves)]
    n, narrow = len(among), width < WIDE
    names = _labels(ranking, (15 if n < 12 else 9) if narrow else 30)
    labels = [names[ranking.results[among[k]].name] for k in leaves]
    image = colormaps["RdBu_r"]((table + 1) / 2)
    image[~np.isfinite(table)] = 0
    square = _Square(width, labels, image, least=12.5, hatch="/////")
    if n <= 12 and square.cell >= 26:
        for (i, j), value in np.ndenumerate(table):
            if is_known(value):
                square.number(i, j, "1" if i == j else decimal(value, 2).replace("0.", "."))
    square.colour_bar("RdBu_r", (-1, 1), "Spearman’s ρ")
    return square.canvas


def better(ranking: Ranking, width: int) -> Canvas | None:
    """How likely each candidate of a row is better than that of a column."""
    shown = wording.ranked(ranking)
    n, narrow = len(shown), width < WIDE
    if not 2 <= n <= wording.COMPARED or not wording.has_tiers(ranking):
        return None
    table = np.full((n, n), np.nan)
    for i, j in permutations(range(n), 2):
        p = wording.chance_better(ranking, i, j)
        table[i, j] = np.nan if p is None else p
    names = _labels(ranking, (15 if n < 12 else 9) if narrow else 30)
    image = colormaps["RdBu"](table)
    image[~np.isfinite(table)] = 0
    square = _Square(width, [names[r.name] for r in shown], image, least=20)
    for (i, j), p in np.ndenumerate(table):
        if is_known(p):
            square.number(i, j, wording.likely(p))
    square.between([k for k in range(1, n) if shown[k].tier != shown[k - 1].tier])
    square.colour_bar("RdBu", (0, 100), "row lower, %")
    return square.canvas


def sensitivity(ranking: Ranking, width: int) -> Canvas | None:
    """Each candidate's rank under each setting; settings run across on a desk, down on a phone."""
    names = wording.compared(ranking)
    given = ranking.sensitivity
    if given is None or len(names) < 2 or len(given.settings) < 2:
        return None
    table = wording.ranks(given, names)
    narrow, n, settings = width < WIDE, len(names), len(given.settings)
    labels = _labels(ranking, 20 if narrow else 26)
    room = max(extent(labels[name]) for name in names) + 18
    across = min((width - 2 * room) / (settings - 1), 130)
    characters = 12 if narrow else max(int(across / 7.5), 6)
    lines = [textwrap.wrap(s.replace("× ", "×\u00a0"), characters) or [""] for s in given.settings]
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
    top = [r.name for r in wording.useful(ranking)][:3]
    styles = dict(zip(top, ((FIRST, "o"), (SECOND, "s"), (THIRD, "D")), strict=False))
    for k in sorted(range(n), key=lambda k: names[k] in styles):
        colour, marker = styles.get(names[k], (MUTED, "o"))
        has = np.flatnonzero(np.isfinite(table[:, k]))
        if not has.size:
            continue
        points = np.array([place(s, table[s, k]) for s in has.tolist()])
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
    """A row for each candidate, in tiers if so wished."""
    names = _labels(ranking, 42 if width < WIDE else 32)
    labels = [names[r.name] for r in shown]
    muted = [r.relevant is False for r in shown]
    rows = Rows(labels, width, margin, muted=muted, gutter=48 if tiers else 0)
    if tiers:
        _tiers(rows, shown)
    return rows


def _tiers(rows: Rows, shown: Sequence[Result]) -> None:
    """Each tier's name at its first row, and a line between tiers."""
    canvas = rows.canvas
    for k, (one, y) in enumerate(zip(shown, rows.y, strict=True)):
        if k and one.tier == shown[k - 1].tier:
            continue
        if k:
            between = y - rows.step / 2 - (7 if rows.narrow else 0)
            canvas.lines([[(0, between), (canvas.width, between)]], MUTED, 0.8)
        text = f"tier {one.tier}" if is_known(one.tier) else "no tier"
        if rows.narrow:
            canvas.text(canvas.width - 2, y - 13, text, SMALL, MUTED, ha="right")
        else:
            canvas.text(2, y, text, SMALL, MUTED, va="center_baseline")


class _Square:
    """A heat map of candidates by candidates: names down the side, their numbers along the top."""

    def __init__(
        self, width: int, labels: list[str], image: np.ndarray, *, least: float, hatch: str = ""
    ) -> None:
        n = len(labels)
        self.image, self.narrow = image, width < WIDE
        self.left = max(extent(t) for t in labels) + 12
        self.cell = min(max((width - self.left - 4) / n, least), 44)
        crowded = self.cell < 17 and n > 9  # numbers of two digits: every other one a line higher
        self.head = 36 if crowded else 22
        self.tall = max(min(self.cell, 30), 16)
        across, end = self.left + self.cell * n, self.head + self.tall * n
        canvas = self.canvas = Canvas(max(width, int(across + 4)), int(end + 50))
        self.box = (self.left, self.head, across, end)
        canvas.rectangle(self.box, BAND, MUTED, hatch)
        canvas.image(image, self.box)
        canvas.grid(self.box, n, n)
        for k, text in enumerate(labels):
            y = self.head + self.tall * (k + 0.5)
            canvas.text(self.left - 8, y, text, SMALL, INK, ha="right", va="center_baseline")
            number = text.split(" ")[0]
            y = self.head - (19 if crowded and k % 2 else 6)
            canvas.text(self.left + self.cell * (k + 0.5), y, number, SMALL, INK, ha="center")

    def number(self, i: int, j: int, text: str) -> None:
        """Text on the cell of row i and column j."""
        x, y = self.left + self.cell * (j + 0.5), self.head + self.tall * (i + 0.5)
        self.canvas.on_cell(x, y, text, self.image[i, j])

    def between(self, places: Sequence[int]) -> None:
        """Lines before these rows and columns."""
        left, top, right, bottom = self.box
        for k in places:
            x, y = left + self.cell * k, top + self.tall * k
            self.canvas.lines([[(x, top), (x, bottom)], [(left, y), (right, y)]], INK, 1.4)

    def colour_bar(self, colours: str, limits: tuple[float, float], title: str) -> None:
        """The scale, below the box."""
        start = (10 if self.narrow else self.left, self.box[3] + 16)
        self.canvas.colour_bar(start, colormaps[colours], _marked(limits, Unit(0, 0)), title)


def _marked(limits: tuple[float, float], unit: Unit) -> list[str]:
    """What a colour bar says at its beginning, middle and end."""
    low, high = limits
    return [unit.text(low + share * (high - low)) for share in (0.0, 0.5, 1.0)]


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (low, high) if high > low else (low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1))


def _leaves(table: np.ndarray) -> list[int]:
    """The order that puts similar candidates side by side: average linkage on 1 − |ρ|."""
    if len(table) < 3:
        return list(range(len(table)))
    distance = 1 - np.abs(np.nan_to_num(table))
    np.fill_diagonal(distance, 0)
    close = squareform((distance + distance.T) / 2, checks=False)
    tree = hierarchy.linkage(close, "average", optimal_ordering=len(table) <= 100)
    return hierarchy.leaves_list(tree).tolist()


def _placed(
    px: np.ndarray, py: np.ndarray, labels: list[str], frame: tuple[float, float, float, float]
) -> list[tuple[float, float, bool, str]]:
    """Where each label goes, (x, y, whether a leader is needed, alignment), without overlaps.

    Greedy: near places are tried first. A label for which there is no room goes where it
    overlaps least.
    """
    left, top, right, bottom = frame
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in zip(px, py, strict=True)]
    offsets = [(9, 0, "left"), (-9, 0, "right"), (0, -13, "center"), (0, 14, "center")]
    for far in (18, 30, 44, 60):
        offsets += [
            (far * dx, far * dy, "left" if dx > 0 else "right")
            for dx, dy in ((0.6, -0.8), (0.6, 0.8), (-0.6, -0.8), (-0.6, 0.8))
        ]
    places: list[tuple[float, float, bool, str]] = []
    for x, y, label in zip(px, py, labels, strict=True):
        wide = extent(label)
        options = []
        for k, (dx, dy, ha) in enumerate(offsets):
            start = x + dx - {"left": 0, "center": wide / 2, "right": wide}[ha]
            box = (start, y + dy - 8, start + wide, y + dy + 8)
            outside = max(left - box[0], box[2] - right - 8, top - 14 - box[1], box[3] - bottom, 0)
            options.append((outside * 100 + sum(_overlap(box, t) for t in taken), k, box))
        _, k, box = min(options)
        dx, dy, ha = offsets[k]
        taken.append(box)
        places.append((x + dx, y + dy, k > 3, ha))
    return places


def _overlap(a: tuple, b: tuple) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def _labels(ranking: Ranking, characters: int) -> dict[str, str]:
    """Candidates as figures name them: the rank, then a name of at most so many characters."""
    names = {r.name: short(r.name, characters) for r in ranking.results}
    twice = Counter(names.values())
    found = {}
    for k, r in enumerate(ranking.results, 1):
        rank = str(k) if r.status == "ranked" and is_known(r.score) else "–"
        again = f" #{k}" if twice[names[r.name]] > 1 else ""
        found[r.name] = f"{rank} {names[r.name]}{again}"
    return found
