"""``performance`` for people: a word a server, a line a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.paper import moment, trend
from console.reading.figures import Unit
from console.views.tables import listing, word
from console.views.units import levels, shown, worded

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.reading.performance import Health, Performance, Reading

_BARS: Final = 16
_LEAST_BARS: Final = 5


def performance(report: Performance) -> RenderableType:
    """Each server under its word."""
    if not report.servers:
        return Text("the fleet file names no server")
    several = len(report.servers) > 1
    return Group(Text(f"at {moment(report.at)}", style="dim"), *(_server(one, several) for one in report.servers))


def _server(health: Health, several: bool) -> RenderableType:
    # Of several servers each line names its own: grep shows nothing but lines.
    of = health.server if several else ""
    bars = max(_LEAST_BARS, _BARS - len(of) - 2) if of else _BARS
    rows = [(*_row(one, bars), of) for one in health.readings]
    heads = ("figure", "now", "word", "warning / critical", "last hour", "server")
    notes = [
        Text(f"note: {one.name}: {one.note}", style="dim")
        for one in health.readings
        if one.note and one.unit is not Unit.OPEN
    ]
    head = Text.assemble("\n", (health.server, "bold"), "  ", word(health.word))
    return Group(head, listing(heads, rows, right=(1,)), *notes)


def _row(reading: Reading, bars: int) -> tuple[str | Text, ...]:
    state = reading.note if reading.unit is Unit.OPEN else ""
    return (
        reading.name,
        state or shown(reading.unit, reading.value),
        worded(reading.word),
        levels(reading.unit, reading.warning, reading.critical),
        trend([value for _, value in reading.trend], bars),
    )
