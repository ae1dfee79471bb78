"""The report of a ranking: one page of HTML with its figures."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from augury.ranking import figures, wording
from augury.ranking.result import Ranking
from augury.report import canvas
from augury.report.page import render_template
from augury.store import write_atomically


def render(ranking: Ranking) -> str:
    """The report as a page of HTML; the same ranking always gives the same page.

    Names come from users' files and are shown as they are, never read as markup.
    """

    def figure(name: str, message: str) -> Markup:
        return canvas.both(getattr(figures, name), ranking, name, message)

    return render_template(
        "augury.ranking", "report.html.j2", ranking=ranking, wording=wording, figure=figure
    )


def write_report(ranking: Ranking, folder: Path | str) -> Path:
    """Write report.html into a folder; its path."""
    path = Path(folder) / "report.html"
    write_atomically(path, render(ranking))
    return path
