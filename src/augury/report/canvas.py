# Some of matplotlib's functions have parameters without a type:
# pyright: reportUnknownMemberType=false
"""Drawing tools of all figures: a canvas in pixels, and its conversion to SVG inside a page.

Matplotlib draws a figure for two widths. Text stays text, colours follow the page's light or dark
scheme, and the same figure always gives the same bytes. Names come from users' files, so none is
interpreted as mathematics or markup.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup, escape
from matplotlib import (
    rc_context,  # pyright: ignore[reportUnknownVariableType]
    rcdefaults,
    rcParams,
)
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from augury.report.text import plain

WIDE, NARROW = 860, 328  # px: for a desktop, for a phone
SIZE = 12  # px, text
SMALL = 11  # px, the smallest text

#: Colours of drawings, which `_inline` replaces by the page's variables, light or dark.
COLOURS = {
    "#1c2431": "var(--ink)",
    "#566173": "var(--muted)",
    "#d8dee6": "var(--rule)",
    "#eef2f7": "var(--band)",
    "#1f5fa9": "var(--first)",
    "#b4530b": "var(--second)",
    "#257a4a": "var(--third)",
    "#fffffe": "var(--surface)",
}
INK, MUTED, RULE, BAND, FIRST, SECOND, THIRD, SURFACE = COLOURS

Box = tuple[float, float, float, float]  # left, top, right, bottom
Mark = tuple[str, str, str]  # matplotlib's marker, its face colour, its edge colour
Key = tuple[str, str, float, Any, Mark | None]  # legend entry: text, colour, thickness, style, mark
Keys = list[tuple[float, float, Key]]  # x and y of each entry's left end, and the entry
ToPixels = Callable[[ArrayLike], Any]  # a number to a number, an array to an array

Shown = TypeVar("Shown")  # the data of a figure


def both(
    draw: Callable[[Shown, int], Canvas | None], shown: Shown, name: str, message: str
) -> Markup:
    """A figure for wide and narrow screens, "" if there is nothing to draw.

    Args:
        name: unique in the page; the prefix of all ids in the drawings.
        message: a description of the figure, for screen readers.
    """
    drawings: list[Markup] = []
    for kind, width in (("wide", WIDE), ("narrow", NARROW)):
        with drawing(f"augury-{name}-{kind}"):
            canvas = draw(shown, width)
            if canvas is None:
                return Markup("")
            drawings.append(_inline(canvas, kind, f"{name}-{kind}-", message))
    return Markup("").join(drawings)


class Canvas:
    """A drawing in pixels, with its origin at the top left."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72, frameon=False)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.axes.set_autoscale_on(False)

    def add(self, collection: LineCollection | PolyCollection) -> None:
        """Add a collection, unclipped."""
        collection.set_clip_on(False)
        self.axes.add_collection(collection, autolim=False)

    def lines(
        self, segments: Sequence[ArrayLike], colour: str, thickness: float, style: Any = "solid"
    ) -> None:
        """Draw polylines, each a sequence of points; the style is matplotlib's."""
        if len(segments):
            self.add(
                LineCollection(
                    list(segments), colors=colour, linewidths=thickness, linestyles=style
                )
            )

    def marks(self, x: ArrayLike, y: ArrayLike, mark: Mark, size: float) -> None:
        """Draw marks at points, except where x is NaN."""
        marker, face, edge = mark
        known = np.isfinite(np.asarray(x, float))
        if known.any():
            self.axes.plot(
                np.asarray(x)[known], np.asarray(y)[known],
                marker=marker, linestyle="none", markersize=size,
                markerfacecolor=face, markeredgecolor=edge, markeredgewidth=1.5, clip_on=False,
            )  # fmt: skip

    def text(
        self, x: float, y: float, text: str, size: float, colour: str, *,
        ha: str = "left", va: str = "baseline", weight: str = "normal", rotation: float = 0,
    ) -> None:  # fmt: skip
        """Draw one line of text, literally."""
        self.axes.text(
            x, y, text, fontsize=size, color=colour, ha=ha, va=va, fontweight=weight,
            rotation=rotation, rotation_mode="anchor", parse_math=False, clip_on=False,
        )  # fmt: skip

    def upright(self, x: float, y: float, text: str, colour: str = INK, *, up: bool = True) -> None:
        """Draw text upwards, ending at (x, y), or with `up` beginning there."""
        ha = "left" if up else "right"
        self.text(x + 4, y, text, SMALL, colour, ha=ha, rotation=90)

    def on_cell(self, x: float, y: float, text: str, rgba: np.ndarray) -> None:
        """Draw a number on a coloured cell, in black or white, whichever has more contrast."""
        linear = np.where(
            rgba[:3] <= 0.04045, rgba[:3] / 12.92, ((rgba[:3] + 0.055) / 1.055) ** 2.4
        )
        bright = float(linear @ (0.2126, 0.7152, 0.0722)) > 0.179  # equal contrast to both (WCAG)
        self.text(
            x, y, text, SMALL, "#000001" if bright else "#ffffff", ha="center", va="center_baseline"
        )

    def rectangle(self, box: Box, face: str, edge: str, hatch: str = "") -> None:
        """Draw a filled, optionally hatched box (left, top, right, bottom)."""
        left, top, right, bottom = box
        self.axes.add_patch(
            Rectangle(
                (left, top),
                right - left,
                bottom - top,
                facecolor=face,
                edgecolor=edge,
                linewidth=0,
                hatch=hatch,
                clip_on=False,
            )
        )

    def image(self, rgba: np.ndarray, box: Box) -> None:
        """Fill a box with coloured cells (rows, columns, 4)."""
        left, top, right, bottom = box
        self.axes.imshow(
            np.round(rgba * 255).astype(np.uint8),
            extent=(left, right, bottom, top), aspect="auto", interpolation="none",
            clip_on=False, zorder=1.5,
        )  # fmt: skip

    def grid(self, box: Box, columns: int, rows: int) -> None:
        """Draw gaps between the cells of a box."""
        left, top, right, bottom = box
        self.lines(
            [[(x, top), (x, bottom)] for x in np.linspace(left, right, columns + 1)], SURFACE, 1
        )
        self.lines(
            [[(left, y), (right, y)] for y in np.linspace(top, bottom, rows + 1)], SURFACE, 1
        )

    def colour_bar(
        self, start: tuple[float, float], colours: Colormap, texts: Sequence[str], title: str
    ) -> None:
        """Draw the scale of a heat map from its top left corner; texts at its ends and middle."""
        (x, y), length = start, 200 if self.width >= WIDE else 150
        self.image(colours(np.linspace(0, 1, 64))[None], (x, y, x + length, y + 10))
        for share, ha, text in zip(
            (0.0, 0.5, 1.0), ("left", "center", "right"), texts, strict=True
        ):
            self.text(x + share * length, y + 25, text, SMALL, MUTED, ha=ha)
        self.text(x + length + 12, y + 10, title, SMALL, MUTED)

    def legend(self, keys: Keys) -> None:
        """Draw a legend of lines, laid out by `laid_out`."""
        for x, y, (words, colour, thickness, style, mark) in keys:
            if thickness:
                self.lines([[(x, y - 4), (x + 24, y - 4)]], colour, thickness, style)
            if mark:
                self.marks([x + 12], [y - 4], mark, 7 if mark[0] == "D" else 5)
            self.text(x + 30, y, words, SMALL, MUTED)


class Rows:
    """The frame of a dot plot: one row per name; the name is beside it or, if narrow, above it."""

    def __init__(
        self,
        labels: Sequence[str],
        width: int,
        margin: int,
        *,
        muted: Sequence[bool] = (),
        gutter: int = 0,
    ) -> None:
        """`margin`: px right of the axis. `gutter`: px left of the names, unless narrow."""
        self.narrow = width < WIDE
        self.left = 10 if self.narrow else max(extent(t, SIZE) for t in labels) + 20 + gutter
        self.right = width - margin
        self.step, self.top = (40, 64) if self.narrow else (28, 34)
        middles = self.step * (np.arange(len(labels)) + 0.5)
        self.y = self.top + middles + (7 if self.narrow else 0)
        self.bottom = self.top + self.step * len(labels) + 4
        self.canvas = Canvas(width, self.bottom + 44)
        for label, y, low in zip(labels, self.y, muted or [False] * len(labels), strict=True):
            colour = MUTED if low else INK
            if self.narrow:
                self.canvas.text(2, y - 13, label, SMALL, colour)
            else:
                self.canvas.text(
                    self.left - 14, y, label, SIZE, colour, ha="right", va="center_baseline"
                )

    def axis(self, low: float, high: float, title: str, arrow: str) -> None:
        """Draw ticks, grid and title; set `at`, which converts values to x."""
        self.at, ticks = scale(low, high, self.left + 8, self.right, 4 if self.narrow else 7)
        canvas, left = self.canvas, self.left
        canvas.lines([[(self.at(t), self.top), (self.at(t), self.bottom)] for t in ticks], RULE, 1)
        canvas.lines([[(left, y), (self.right + 4, y)] for y in self.y], BAND, 1)
        for t in ticks:
            canvas.text(self.at(t), self.bottom + 15, plain(t), SMALL, MUTED, ha="center")
        canvas.text(self.right, self.bottom + 34, title, SMALL, MUTED, ha="right")
        if arrow:
            canvas.text(left, self.bottom + 34, arrow, SMALL, FIRST, weight="bold")

    def legend(self, entries: list[tuple[Mark, str]]) -> None:
        """Draw a legend of marks, in as many lines as needed."""
        x, y = 8.0, 14.0
        for mark, words in entries:
            if x > 8 and x + 12 + extent(words) > self.canvas.width:
                x, y = 8.0, y + 18
            self.canvas.marks([x], [y - 4], mark, 8)
            self.canvas.text(x + 10, y, words, SMALL, MUTED)
            x += 10 + extent(words) + 20


def laid_out(keys: Sequence[Key], width: int) -> tuple[Keys, float]:
    """A legend's entries with their positions, in as many lines as needed, and their bottom."""
    placed: Keys = []
    x, y = 4.0, 14.0
    for key in keys:
        wide = 34 + extent(key[0])
        if x > 4 and x + wide > width:
            x, y = 4.0, y + 18
        placed.append((x, y, key))
        x += wide + 16
    return placed, y + 10


def scale(
    low: float, high: float, start: float, end: float, ticks: int
) -> tuple[ToPixels, list[float]]:
    """A function from values to pixels, and round values in its range."""
    if high - low < 1e-12:
        high = low + 1.0
    low, high = low - 0.02 * (high - low), high + 0.02 * (high - low)

    def at(value: ArrayLike) -> Any:
        return start + (np.asarray(value, float) - low) / (high - low) * (end - start)

    round_values = MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return at, [float(t) for t in np.round(round_values, 10) if low <= t <= high]


def short(name: str, characters: int) -> str:
    """The name on one line, shortened to so many characters; the part after the last colon stays.

    >>> short("opensmile:ComParE_2016:F0final_sma", 12)
    '…F0final_sma'
    """
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split()) or "(no name)"
    if len(name) <= characters:
        return name
    tail = name.rpartition(":")[2]
    if 0 < len(tail) < characters:
        return f"…{tail}"
    head = characters // 2 - 1
    return f"{tail[:head]}…{tail[head + 1 - characters :]}"


def distinguish(names: Sequence[str], characters: int) -> list[str]:
    """Names shortened to so many characters, numbered where that makes them equal."""
    names = [short(name, characters) for name in names]
    uses = Counter(names)
    return [f"{n} #{k}" if uses[n] > 1 else n for k, n in enumerate(names, 1)]


def extent(text: str, size: float = SMALL) -> float:
    """The approximate width of a text in px; an upper estimate."""
    return size * sum(map(_advance, text))


def _advance(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in "iljtfrI.,:;|!'()[] ":
        return 0.4
    return 0.9 if character in "mwMW@%#<>=+~^&…" else 0.72 if character.isupper() else 0.61


# -------------------------------------------------------------------------------------- to the page


@contextmanager
def drawing(salt: str) -> Generator[None]:
    """Use matplotlib's default settings, whatever the user's; ids depend on the salt only."""
    with rc_context(), warnings.catch_warnings():
        rcdefaults()
        rcParams.update({"svg.fonttype": "none", "svg.hashsalt": salt, "hatch.linewidth": 0.6})
        # The browser's font draws the text, so glyphs missing here don't matter.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        yield


_TAG = re.compile(r"<[^>]+>")
_NO_ID = re.compile(r'^<g id="[^"]*"')
_COLOUR = re.compile('(: |fill=")(' + "|".join(COLOURS) + ")")


def _inline(canvas: Canvas, kind: str, prefix: str, message: str) -> Markup:
    """The drawing as an element of the page, with unique ids, the page's colours, no metadata."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(canvas.figure).print_svg(buffer, metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index(">", text.index("<svg")) + 1 :]  # after matplotlib's own <svg …>
    text = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.S
    )

    def tidy(tag: re.Match[str]) -> str:
        plain_tag = _NO_ID.sub("<g", tag[0])
        for reference in (' id="', 'href="#', "url(#"):
            plain_tag = plain_tag.replace(reference, reference + prefix)
        return _COLOUR.sub(lambda match: match[1] + COLOURS[match[2]], plain_tag)

    # Wide drawings shrink with the window; narrow ones grow, and scroll instead of shrinking.
    least = canvas.width if kind == "narrow" or canvas.width > WIDE else 0
    most = canvas.width if kind == "wide" else round(canvas.width * 1.3)
    opening = (
        f'<svg class="{kind}" role="img" aria-label="{escape(message)}" '
        f'viewBox="0 0 {canvas.width} {canvas.height}" '
        f'style="min-width:{least}px;max-width:{most}px">'
    )
    return Markup(opening + _TAG.sub(tidy, text))
