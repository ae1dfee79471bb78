"""Reports in HTML: one file each, that needs no network and no script."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

    from augury.ranking.result import Ranking


def render(ranking: Ranking) -> str:
    """The report as a page of HTML; the same ranking always gives the same page.

    Names come from users' files and are shown as they are, never read as markup.
    """
    from augury.ranking import figures, wording
    from augury.report import canvas

    def figure(name: str, message: str) -> Markup:
        return canvas.both(getattr(figures, name), ranking, name, message)

    return render_template("report.html.j2", ranking=ranking, words=wording, figure=figure)


def render_template(template: str, **shown: Any) -> str:
    """One of this folder's templates with its gaps filled; markup in what is shown is escaped.

    In a template of Markdown, which HTML's escapes would spoil, nothing is: see `pretraining.code`.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = resources.files("augury.report")
    environment = Environment(
        autoescape=not template.endswith(".md.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
    )
    return environment.get_template(template).render(**shown)
