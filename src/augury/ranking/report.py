"""The report of a ranking: one page of HTML with its figures."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from augury.ranking import figures, heatmaps, next_steps, summary, wording
from augury.ranking.result import Ranking
from augury.report import canvas
from augury.report.page import render_template
from augury.store import write_atomically

#: Figures of the page, by the section they stand in.
FIGURES = {
    "order": figures.order,
    "trade": figures.trade,
    "ingredients": figures.ingredients,
    "classes": heatmaps.classes,
    "histograms": figures.histograms,
    "redundancy": heatmaps.redundancy,
    "better": heatmaps.better,
    "sensitivity": figures.sensitivity,
}


def render(ranking: Ranking) -> str:
    """The report as a page of HTML; the same ranking always gives the same page.

    Names come from users' files and are shown as they are, never read as markup.
    """

    def figure(name: str, message: str) -> Markup:
        """A figure, "order", or that of one kind of candidates, "order:vector"."""
        name, _, kind = name.partition(":")
        about, place = (ranking.of_kind(kind), f"{name}-{kind}") if kind else (ranking, name)
        return canvas.both(FIGURES[name], about, place, message)

    return render_template(
        "augury.ranking", "report.html.j2", ranking=ranking, wording=wording, summary=summary,
        next=next_steps,
        figure=figure,
    )  # fmt: skip


def write_report(ranking: Ranking, folder: Path | str) -> Path:
    """Write report.html into a folder; its path.

    >>> import augury
    >>> manifest = Path(augury.__file__).parent / "demo_data" / "manifest.csv"
    >>> corpus = augury.read_corpus(manifest).select(range(0, 480, 8))
    >>> ranking = augury.rank(corpus, ["own:rms"], label="speaker", jobs=1, sensitivity=False)
    >>> write_report(ranking, "results").as_posix()
    'results/report.html'
    """
    path = Path(folder) / "report.html"
    write_atomically(path, render(ranking))
    return path
