"""``performance`` for people: a word a server, a line a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from console.paper import moment, trend
from console.views.tables import table, word
from console.views.units import levels, shown, worded

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.reading.performance import Health, Performance, Reading


def performance(report: Performance) -> RenderableType:
    """Each server under its word."""
    if not report.servers:
        return Text("the fleet file names no server")
    return Group(Text(f"at {moment(report.at)}", style="dim"), *map(_server, report.servers))


def _server(health: Health) -> RenderableType:
    drawn = any(one.trend for one in health.readings)
    heads = ("figure", "now", "word", "warning / critical", "", *(("last hour",) if drawn else ()))
    rows = [_row(one, drawn) for one in health.readings]
    return Group(Text.assemble("\n", (health.server, "bold"), "  ", word(health.word)), table(heads, rows, right=(1,)))


def _row(reading: Reading, drawn: bool) -> tuple[str | Text, ...]:
    note = reading.note if reading.note != shown(reading.unit, reading.value) else ""
    return (
        reading.name,
        shown(reading.unit, reading.value),
        worded(reading.word),
        levels(reading.unit, reading.warning, reading.critical),
        note,
        *((trend([value for _, value in reading.trend]),) if drawn else ()),
    )
