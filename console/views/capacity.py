"""Capacity for people: what a session needs, what fits, what grows until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from console.paper import moment, size
from console.reading.capacity import Outlook
from console.reading.figures import Unit
from console.views.tables import facts, table
from console.views.units import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.reading.capacity import Capacity, Demand, Growth, Size

_GRAVE = {Outlook.MET: "bold red", Outlook.WITHIN_A_YEAR: "yellow"}


def capacity(found: Capacity) -> RenderableType:
    """The facts, then a line a figure that may grow."""
    pairs = (
        ("memory per session", _demand(found.memory, Unit.BYTES)),
        ("memory limit", size(found.memory_limit)),
        ("sessions that fit", "-" if found.sessions_fit is None else f"{found.sessions_fit} below the memory limit"),
        ("CPU per session", _demand(found.cpu, Unit.CORES)),
        ("busy now (p95)", _size(found.now)),
        ("next size up", _size(found.next_size)),
    )
    notes = [Text(f"note: {note}", style="dim") for note in found.notes]
    return Group(Text("\ncapacity", style="bold"), facts(*pairs), growth(found.growth), *notes)


def growth(found: tuple[Growth, ...]) -> RenderableType:
    """A line a figure: how it grows, and when it meets its limit."""
    rows = [(one.name, _pace(one), shown(one.unit, one.limit), _outlook(one)) for one in found]
    return table(("growth", "a day (95 %)", "limit", "outlook"), rows)


def _demand(demand: Demand | None, unit: Unit) -> str:
    if demand is None:
        return "-"
    if demand.basis == "mean":
        return f"{shown(unit, demand.each)} (the server's own share included)"
    between = f"{shown(unit, demand.low)} to {shown(unit, demand.high)}"
    return f"{shown(unit, demand.each)} ({between}), and {shown(unit, demand.base)} without any"


def _size(of: Size | None) -> str:
    if of is None:
        return "-"
    return f"{of.sessions} sessions: {size(of.memory_bytes)}, {shown(Unit.CORES, of.cpu_cores)}"


def _pace(one: Growth) -> str:
    if one.per_day is None:
        return "-"
    return f"{shown(one.unit, one.per_day)} ({shown(one.unit, one.low)} to {shown(one.unit, one.high)})"


def _outlook(one: Growth) -> Text:
    if one.outlook is not Outlook.WITHIN_A_YEAR:
        return Text(one.outlook, style=_GRAVE.get(one.outlook, ""))
    later = "later than a year" if one.latest is None else moment(one.latest)[:10]
    text = f"met on {moment(one.met_at)[:10]} ({moment(one.earliest)[:10]} to {later})"
    return Text(text, style=_GRAVE[one.outlook])
