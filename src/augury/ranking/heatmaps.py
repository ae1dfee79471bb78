# SciPy has no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""The heat maps of a ranking's report: classes, correlations, and how certain the order is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import cast

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from augury.ranking import summary
from augury.ranking.figures import candidate_labels
from augury.ranking.result import Ranking
from augury.ranking.wording import COMPARED
from augury.report.canvas import BAND, INK, MUTED, SMALL, WIDE, Canvas, extent, short
from augury.report.text import Unit, decimal, has_value


def classes(ranking: Ranking, width: int) -> Canvas | None:
    """Each candidate's value in each class; classes run down on a narrow screen."""
    shown, drawn = ranking.ranked_results, summary.drawn_classes(ranking)
    values = np.array(
        [
            [v if has_value(v := summary.class_value(r, c)) else np.nan for c in drawn]
            for r in shown
        ],
        dtype=float,
    ).reshape(len(shown), len(drawn))
    if not np.isfinite(values).any():
        return None
    unit = Unit.of(values.ravel().tolist())
    names = candidate_labels(ranking, 26)
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
            if has_value(value):
                canvas.on_cell(
                    left + cell * (j + 0.5), head + tall * (i + 0.5), unit.text(value), image[i, j]
                )
    start, title = (10 if narrow else left, box[3] + 16), f"dependence{unit.suffix}"
    canvas.colour_bar(start, colormaps["viridis_r"], _bar_texts((low, high), unit), title)
    return canvas


def redundancy(ranking: Ranking, width: int) -> Canvas | None:
    """Spearman correlations between candidates, similar candidates side by side."""
    correlated = summary.correlated_places(ranking)
    if len(correlated) < 2:
        return None
    table = np.array(
        [
            [v if has_value(v := ranking.redundancy[i][j]) else np.nan for j in correlated]
            for i in correlated
        ]
    )
    table = np.clip(table, -1, 1)
    leaves = _leaves(table)
    table = table[np.ix_(leaves, leaves)]
    n, narrow = len(correlated), width < WIDE
    names = candidate_labels(ranking, (15 if n < 12 else 9) if narrow else 30)
    labels = [names[ranking.results[correlated[k]].name] for k in leaves]
    image = colormaps["RdBu_r"]((table + 1) / 2)
    image[~np.isfinite(table)] = 0
    square = _Square(width, labels, image, least=12.5, hatch="/////")
    if n <= 12 and square.cell >= 26:
        for (i, j), value in np.ndenumerate(table):
            if has_value(value):
                square.number(i, j, "1" if i == j else decimal(value, 2).replace("0.", "."))
    square.colour_bar("RdBu_r", (-1, 1), "Spearman’s ρ")
    return square.canvas


def better(ranking: Ranking, width: int) -> Canvas | None:
    """The probability that a row's candidate is better than a column's."""
    shown = ranking.relevant_results
    n, narrow = len(shown), width < WIDE
    if not 2 <= n <= COMPARED or not summary.has_tiers(ranking):
        return None
    table = np.full((n, n), np.nan)
    for i, j in permutations(range(n), 2):
        p = summary.chance_better(ranking, shown[i], shown[j])
        table[i, j] = np.nan if p is None else p
    names = candidate_labels(ranking, (15 if n < 12 else 9) if narrow else 30)
    image = colormaps["RdBu"](table)
    image[~np.isfinite(table)] = 0
    square = _Square(width, [names[r.name] for r in shown], image, least=20)
    for (i, j), p in np.ndenumerate(table):
        if has_value(p):
            square.number(i, j, summary.probability_text(p))
    square.between([k for k in range(1, n) if shown[k].tier != shown[k - 1].tier])
    square.colour_bar("RdBu", (0, 100), "row lower, %")
    return square.canvas


class _Square:
    """A heat map of candidates by candidates: names down the side, their numbers along the top."""

    def __init__(
        self, width: int, labels: list[str], image: np.ndarray, *, least: float, hatch: str = ""
    ) -> None:
        n = len(labels)
        self.image, self.narrow = image, width < WIDE
        self.left = max(extent(t) for t in labels) + 12
        self.cell = min(max((width - self.left - 4) / n, least), 44)
        crowded = self.cell < 17 and n > 9  # two-digit numbers: every second one a line higher
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
        """Draw text on the cell of row i and column j."""
        x, y = self.left + self.cell * (j + 0.5), self.head + self.tall * (i + 0.5)
        self.canvas.on_cell(x, y, text, self.image[i, j])

    def between(self, places: Sequence[int]) -> None:
        """Draw lines before these rows and columns."""
        left, top, right, bottom = self.box
        for k in places:
            x, y = left + self.cell * k, top + self.tall * k
            self.canvas.lines([[(x, top), (x, bottom)], [(left, y), (right, y)]], INK, 1.4)

    def colour_bar(self, colours: str, limits: tuple[float, float], title: str) -> None:
        """Draw the colour scale below the box."""
        start = (10 if self.narrow else self.left, self.box[3] + 16)
        self.canvas.colour_bar(start, colormaps[colours], _bar_texts(limits, Unit(0, 0)), title)


def _bar_texts(limits: tuple[float, float], unit: Unit) -> list[str]:
    """The labels of a colour bar at its ends and middle."""
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
    best = len(table) <= 100
    tree = cast(NDArray[np.float64], hierarchy.linkage(close, "average", optimal_ordering=best))
    leaves = cast(NDArray[np.int32], hierarchy.leaves_list(tree))
    return leaves.tolist()
