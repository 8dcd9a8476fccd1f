"""Templates into HTML. Everything that is put in is escaped, and a name that a template misspells is an error."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from receiver.page import charts, figures, words

_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Not the line break and the tabulator."""

PACKAGE: Final = "receiver.page"


def render(template: str, /, **facts: Any) -> str:
    """The document of ``template`` with these facts; texts from outside become text, never markup."""
    return _environment().get_template(f"{template}.html").render(**facts)


def visible(text: str) -> str:
    """``text`` with characters that nobody sees written out: controls, and marks that turn the direction of what
    stands beside them.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _finalized(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
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
        sentence=words.sentence,
    )
    environment.globals.update(chart_width=charts.WIDTH, chart_height=charts.HEIGHT, chart_bottom=charts.BOTTOM)
    environment.globals.update(chart_top=charts.TOP, chart_left=charts.LEFT, chart_right=charts.RIGHT)
    return environment
