"""The report of an evaluation: a page that shows whether an encoder helped on a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an evaluation is written with its report: the import goes the other way
    from markupsafe import Markup

    from augury.downstream.result import Evaluation


def render(evaluation: Evaluation) -> str:
    """The report as a page of HTML; the same evaluation always gives the same page.

    Names come from users' files and are shown as they are, never read as markup.
    """
    from augury.downstream import comparison
    from augury.downstream import figures as outcomes
    from augury.report import canvas
    from augury.report.page import render_template

    contest = comparison.Contest.of(evaluation)

    def figure(name: str, message: str) -> Markup:
        return canvas.both(getattr(outcomes, name), contest, name, message)

    page = render_template(
        "augury.downstream", "report.html.j2", contest=contest, evaluation=evaluation,
        figure=figure, said=comparison, outside=outcomes.outside(contest),
    )  # fmt: skip
    # A file's name need not be UTF-8, a page must be.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")
