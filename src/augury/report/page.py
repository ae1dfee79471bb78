"""Reports in HTML: one file each, without network access or scripts."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, cast

from jinja2 import Environment, FunctionLoader, StrictUndefined

from augury.report import text


def render_template(package: str, template: str, **values: Any) -> str:
    """Render a package's template with values; markup in the values is escaped.

    Templates may include those of `augury.report`, and call `augury.report.text` as `text`. In
    Markdown templates (.md.j2) nothing is escaped, as HTML's escapes are wrong there.
    """
    return _environment(package, template.endswith(".md.j2")).get_template(template).render(values)


@cache
def _environment(package: str, markdown: bool) -> Environment:
    """The Jinja environment of a package's templates; cached, with its compiled templates."""
    folders = (resources.files(package), resources.files("augury.report"))

    def source(name: str) -> str | None:
        files = (folder.joinpath(name) for folder in folders)
        return next((file.read_text("utf-8") for file in files if file.is_file()), None)

    environment = Environment(
        autoescape=not markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(source),
    )
    cast(dict[str, Any], environment.globals)["text"] = text
    return environment
