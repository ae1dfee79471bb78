# Some of matplotlib's functions have parameters without a type:
# pyright: reportUnknownMemberType=false
"""The report of an experiment: a page of HTML, and its figures as PNG and SVG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG

from augury.report.canvas import (
    FIRST,
    INK,
    MUTED,
    RULE,
    SECOND,
    SIZE,
    SMALL,
    SURFACE,
    WIDE,
    Canvas,
    Mark,
    drawing,
    extent,
    scale,
    short,
)
from augury.report.text import NONE, decimal, plain
from augury.store import write_atomically
from augury.validation.analysis import WATTS, Analysis, Gate, GroupResult, TaskErrors, Verdict
from augury.validation.estimators import DEFAULT, ESTIMATORS, RECOMMENDED
from augury.validation.recipe import Recipe

if TYPE_CHECKING:
    from markupsafe import Markup

ESTIMATE: Mark = ("s", FIRST, FIRST)
ERROR: Mark = ("o", SECOND, SECOND)
SEED: Mark = ("o", SURFACE, SECOND)
#: Resolution of the PNG files, in dots an inch.
DPI = 144
#: Estimators in a table of the page; correlations.csv has all of them.
LISTED = 12
#: With more candidates than this, scatter plots have numbers and groups their size, not names.
NAMED = 10


def write_report(analysis: Analysis, recipe: Recipe, folder: Path) -> Path:
    """Write the figures and report.html into a folder; returns the path of the report.

    >>> from augury.validation.analysis import analyse
    >>> from augury.validation.recipe import PretrainingRecipe, RecipeTask, Regime
    >>> rest = PretrainingRecipe("m.csv"), (Regime("a"),), (RecipeTask("t", "asr", "m.csv", "y"),)
    >>> recipe = Recipe("r", Path("r.toml"), ("own:rms", "own:flux", "own:noise"), *rest)
    >>> write_report(analyse(recipe, {}, [], {}), recipe, Path("results")).name
    'report.html'
    """
    for name, content in draw_figures(analysis).items():
        write_atomically(folder / "figures" / name, content)
    write_atomically(folder / "report.html", render(analysis, recipe))
    return folder / "report.html"


def render(analysis: Analysis, recipe: Recipe) -> str:
    """The report as a page of HTML; the same experiment always gives the same page."""
    from augury.report import canvas
    from augury.report.page import render_template

    def figure(kind: str, task_errors: TaskErrors, message: str) -> Markup:
        name = f"{kind}-{analysis.task_errors.index(task_errors)}"
        draw = {"pair": draw_pair, "scatter": draw_scatter}[kind]
        return canvas.both(
            lambda shown, width: draw(analysis, shown, width), task_errors, name, message
        )

    page = render_template(
        "augury.validation", "report.html.j2", analysis=analysis, recipe=recipe, figure=figure,
        words=Wording(analysis, recipe),
    )  # fmt: skip
    # A name need not be UTF-8, but a page must be.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def draw_figures(analysis: Analysis) -> dict[str, bytes]:
    """File name → content of each figure, as PNG and as SVG."""
    files: dict[str, bytes] = {}
    for task_errors in analysis.task_errors:
        for name, draw in (("pair", draw_pair), ("scatter", draw_scatter)):
            stem = f"{name}-{task_errors.task}-{task_errors.regime}".replace(" ", "_").replace(
                "/", "_"
            )
            with drawing(f"augury-{stem}"):
                canvas = draw(analysis, task_errors, WIDE)
                if canvas is None:
                    continue
                canvas.figure.set_facecolor(SURFACE)
                canvas.figure.set_frameon(True)
                png, svg = io.BytesIO(), io.StringIO()
                # No date, no version: the same experiment gives the same bytes.
                FigureCanvasAgg(canvas.figure)
                canvas.figure.set_dpi(DPI)
                canvas.figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
                nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
                FigureCanvasSVG(canvas.figure).print_svg(svg, metadata=nothing)
            files[f"{stem}.png"], files[f"{stem}.svg"] = png.getvalue(), svg.getvalue().encode()
    return files


# ----------------------------------------------------------------------------------------- words


class Wording:
    """The sentences and table entries of the page."""

    def __init__(self, analysis: Analysis, recipe: Recipe) -> None:
        self.analysis, self.recipe = analysis, recipe

    def verdict(self) -> str:
        """The result of the experiment in a few sentences."""
        gates = self.analysis.gates
        if not gates:
            return "No encoder was evaluated yet."
        good = [gate for gate in gates if gate.open]
        text = (
            f"{len(good)} of {len(gates)} settings (a task in a regime) are worth judging by: all "
            "errors are measured, pretraining helps, and the order repeats between seeds"
            + (", and the useless candidate comes last." if self.recipe.useless else ".")
        )
        if (measured := self.measured_count()) < (planned := self.planned_count()):
            text = f"So far {measured} of {planned} errors of candidates are measured. {text}"
        best = self.best_estimator()
        if not good:
            text += " So the correlations below are no more than a hint."
        elif best:
            text += (
                f" There, {best[0]} predicts best, with a mean Spearman of {best[1]:.2f}; the "
                f"recommended estimator has {best[2]:.2f}."
            )
        return text

    def measured_count(self) -> int:
        """How many errors of candidates are measured, one a task, regime and seed."""
        return sum(int(np.isfinite(errors.errors).sum()) for errors in self.analysis.task_errors)

    def planned_count(self) -> int:
        """How many errors of candidates the experiment has when it is complete."""
        recipe = self.recipe
        counts = (
            len(recipe.candidates_of(regime)) * len(recipe.tasks_of(regime))
            for regime in recipe.regimes
        )
        return sum(counts) * recipe.pretrain.seeds

    def best_estimator(self) -> tuple[str, float, float] | None:
        """The estimator with the highest mean Spearman, that mean, and the recommended one's."""
        means = self.mean_spearman()
        if not means:
            return None
        name = max(sorted(means), key=means.__getitem__)
        return name, means[name], means.get(RECOMMENDED, float("nan"))

    def mean_spearman(self) -> dict[str, float]:
        """Estimator → mean Spearman over the settings that are worth judging by."""
        good = {(gate.task, gate.regime) for gate in self.analysis.gates if gate.open}
        by: dict[str, list[float]] = {}
        for verdict in self.analysis.verdicts:
            if verdict.spearman is not None and (verdict.task, verdict.regime) in good:
                by.setdefault(verdict.estimator, []).append(verdict.spearman)
        return {name: float(np.mean(values)) for name, values in by.items()}

    def gate(self, gate: Gate) -> str:
        """Why a setting is or is not worth judging by."""
        return "; ".join(gate.reasons) if gate.reasons else "worth judging by"

    def verdicts(self, task_errors: TaskErrors) -> list[Verdict]:
        """The verdicts that a table shows: the best, the baselines, and the recommended one."""
        verdicts = [
            v
            for v in self.analysis.verdicts
            if (v.task, v.regime) == (task_errors.task, task_errors.regime)
        ]
        verdicts.sort(key=lambda v: (-2.0 if v.spearman is None else -v.spearman, v.estimator))
        always = {DEFAULT, RECOMMENDED, "paper 0.05"}
        return [
            v
            for k, v in enumerate(verdicts)
            if k < LISTED or v.kind == "baseline" or v.estimator in always
        ]

    def members(self, group: GroupResult) -> str:
        """The pseudo-labels of a group."""
        if len(set(group.members)) > 1:
            return "drawn anew for each seed"
        names = group.members[0].split(", ")
        if len(names) > NAMED:
            return f"{len(names)} pseudo-labels"
        return ", ".join(short(name, 32) for name in names)

    def description(self, verdict: Verdict) -> str:
        """The description of a verdict's estimator."""
        return ESTIMATORS[verdict.estimator].description

    @property
    def watts(self) -> str:
        """Power of a busy core that the energy is computed with."""
        return plain(WATTS)

    def number(self, value: float | None, decimals: int = 2) -> str:
        """A number, or a dash."""
        return NONE if value is None else decimal(value, decimals)

    def percent(self, value: float | None) -> str:
        """An error rate."""
        return NONE if value is None else f"{100 * value:.1f} %"

    def p(self, value: float | None) -> str:
        """An exact p-value."""
        return NONE if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


# --------------------------------------------------------------------------------------- figures


def _estimates_and_errors(
    analysis: Analysis, task_errors: TaskErrors
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Candidates in the order of the default estimator, their estimates, and errors (n, seeds)."""
    table = analysis.estimates[task_errors.task][DEFAULT]
    ranked = [k for k, name in enumerate(task_errors.candidates) if table.get(name) is not None]
    ranked.sort(key=lambda k: (table[task_errors.candidates[k]] or 0.0, task_errors.candidates[k]))
    names = [task_errors.candidates[k] for k in ranked]
    values = np.array([table[name] for name in names], float)
    return names, values, task_errors.errors[ranked]


def draw_pair(analysis: Analysis, task_errors: TaskErrors, width: int) -> Canvas | None:
    """Each candidate's estimate and error on two axes, as in figure 2 of the paper."""
    names, values, errors = _estimates_and_errors(analysis, task_errors)
    if len(names) < 2:
        return None
    narrow = width < WIDE
    names = [f"{k} {short(name, 14 if narrow else 24)}" for k, name in enumerate(names, 1)]
    below = max(extent(name) for name in names) + 16
    canvas = Canvas(width, round(300 + below))
    left, right, top, bottom = 52, width - 52, 44, 300
    mean = 100 * np.nanmean(errors, axis=1)
    down, ticks = scale(float(values.min()), float(values.max()), bottom - 8, top + 8, 5)
    over, marks = scale(100 * np.nanmin(errors), 100 * np.nanmax(errors), bottom - 8, top + 8, 5)
    x = np.linspace(left + 20, right - 20, len(names))
    canvas.lines([[(left, down(t)), (right, down(t))] for t in ticks], RULE, 1)
    for t in ticks:
        canvas.text(left - 8, down(t), plain(t), SMALL, FIRST, ha="right", va="center_baseline")
    for t in marks:
        canvas.text(right + 8, over(t), plain(t), SMALL, SECOND, va="center_baseline")
    canvas.lines([list(zip(x, down(values), strict=True))], FIRST, 1.5)
    canvas.lines([list(zip(x, over(mean), strict=True))], SECOND, 1.5)
    canvas.marks(x, down(values), ESTIMATE, 7)
    for k in range(errors.shape[1]):
        canvas.marks(x, over(100 * errors[:, k]), SEED, 5)
    canvas.marks(x, over(mean), ERROR, 7)
    for place, name in zip(x, names, strict=True):
        canvas.upright(float(place), bottom + 10, name, up=False)
    canvas.text(4, 16, "CI estimate", SIZE, FIRST, weight="bold")
    canvas.text(width - 4, 16, f"{task_errors.metric}, %", SIZE, SECOND, ha="right", weight="bold")
    return canvas


def draw_scatter(analysis: Analysis, task_errors: TaskErrors, width: int) -> Canvas | None:
    """Scatter plot: estimates on the x axis, errors on the y axis, seeds as rings."""
    names, values, errors = _estimates_and_errors(analysis, task_errors)
    if len(names) < 2:
        return None
    narrow = width < WIDE
    canvas = Canvas(width, 340 if narrow else 400)
    left, right, top, bottom = 46, width - 12, 30, canvas.height - 46
    low, high = float(values.min()), float(values.max())
    across, x_ticks = scale(
        low, high, left + 10, right - (60 if narrow else 110), 4 if narrow else 7
    )
    up, y_ticks = scale(100 * np.nanmin(errors), 100 * np.nanmax(errors), bottom - 8, top + 8, 5)
    canvas.lines([[(left, up(t)), (right, up(t))] for t in y_ticks], RULE, 1)
    canvas.lines([[(across(t), top), (across(t), bottom)] for t in x_ticks], RULE, 1)
    for t in y_ticks:
        canvas.text(left - 8, up(t), plain(t), SMALL, MUTED, ha="right", va="center_baseline")
    for t in x_ticks:
        canvas.text(across(t), bottom + 16, plain(t), SMALL, MUTED, ha="center")
    x, mean = across(values), 100 * np.nanmean(errors, axis=1)
    ends = [(100 * np.nanmin(row), 100 * np.nanmax(row)) for row in errors]
    canvas.lines(
        [[(a, up(e[0])), (a, up(e[1]))] for a, e in zip(x, ends, strict=True)], SECOND, 1.5
    )
    for k in range(errors.shape[1]):
        canvas.marks(x, up(100 * errors[:, k]), SEED, 5)
    canvas.marks(x, up(mean), ERROR, 7)
    # Many names would overlap: numbers instead, as in the figure of `draw_pair`.
    labels = [short(name, 12 if narrow else 22) for name in names]
    labels = labels if len(names) <= NAMED else [str(k) for k in range(1, len(names) + 1)]
    for place, height, label in zip(x, up(mean), labels, strict=True):
        canvas.text(float(place) + 7, float(height), label, SMALL, INK, va="center_baseline")
    canvas.text(4, 16, f"{task_errors.metric}, %", SIZE, SECOND, weight="bold")
    canvas.text(right, canvas.height - 8, "CI estimate →", SMALL, FIRST, ha="right", weight="bold")
    return canvas
