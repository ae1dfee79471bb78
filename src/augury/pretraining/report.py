"""The report of a pretraining, and its model card, from config.toml and history.json alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a pretraining is written with its report: the import goes the other way
    from markupsafe import Markup

    from augury.pretraining.config import Config


def render(config: Config, history: list[dict[str, Any]]) -> str:
    """The report as a page of HTML; the same run always gives the same page.

    Names come from users' files: they are shown as they are, never interpreted as markup.

    Args:
        history: an entry an epoch: its "epoch", and "training" and "validation" losses by worker.
    """
    from augury.pretraining import curves, losses
    from augury.report import canvas
    from augury.report.page import render_template

    run = losses.LossCurves.of(config, history)

    def figure(name: str, message: str) -> Markup:
        return canvas.both(getattr(curves, name), run, name, message)

    return render_template(
        "augury.pretraining", "report.html.j2", config=config, run=run, figure=figure, words=losses
    )


def card(config: Config) -> str:
    """The model card, README.md beside the weights, in Markdown."""
    from augury.pretraining import losses
    from augury.pseudolabels.opensmile import LICENCE
    from augury.report.page import render_template

    run = losses.LossCurves.of(config, [])
    return render_template(
        "augury.pretraining", "card.md.j2", config=config, run=run, words=losses, licence=LICENCE
    )
