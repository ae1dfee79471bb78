"""The report of an evaluation: a page that shows whether an encoder helps on a task."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from augury.downstream import comparison as tables
from augury.downstream import figures, wording
from augury.downstream.comparison import Comparison
from augury.downstream.result import Evaluation
from augury.report import canvas
from augury.report.page import render_template
from augury.store import write_atomically


def render(evaluation: Evaluation) -> str:
    """The report as a page of HTML; the same evaluation always gives the same page.

    Names come from users' files and are escaped.
    """
    comparison = Comparison.of(evaluation)

    def figure(name: str, message: str) -> Markup:
        return canvas.both(getattr(figures, name), comparison, name, message)

    page = render_template(
        "augury.downstream", "report.html.j2", comparison=comparison, evaluation=evaluation,
        figure=figure, tables=tables, words=wording, outside=figures.outside(comparison),
    )  # fmt: skip
    # The page must be UTF-8, which names of files need not be.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def write_report(evaluation: Evaluation, folder: Path | str) -> Path:
    """Write report.html to a folder; its path. `evaluate` does this itself.

    >>> from augury.downstream.result import Metric
    >>> write_report(Evaluation("asr", Metric("PER", "phone error rate"), {}, {}), "results").name
    'report.html'
    """
    path = Path(folder) / "report.html"
    write_atomically(path, render(evaluation))
    return path
