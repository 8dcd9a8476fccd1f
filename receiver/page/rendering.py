"""Templates into HTML. Everything that is put in is escaped, and a name that a template misspells is an error."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from receiver.page import charts, figures, words

PACKAGE: Final = "receiver.page"


def render(template: str, /, **facts: Any) -> str:
    """The document of ``template`` with these facts; texts from outside become text, never markup."""
    return _environment().get_template(f"{template}.html").render(**facts)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        lasting=figures.lasting,
        stamp=figures.stamp,
        clock=figures.clock,
        moment=figures.moment,
        spaced=words.spaced,
        rung=words.rung,
    )
    environment.globals.update(chart_width=charts.WIDTH, chart_height=charts.HEIGHT, chart_bottom=charts.BOTTOM)
    environment.globals.update(chart_top=charts.TOP, chart_left=charts.LEFT, chart_right=charts.RIGHT)
    return environment
