"""Capacity for people: what a session needs, what fits, what grows until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from console.paper import moment, size
from console.reading.capacity import Outlook
from console.reading.figures import Unit
from console.views.tables import facts, listing
from console.views.units import bare, heading, pace, shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.reading.capacity import Capacity, Demand, Growth, Size

_GRAVE = {Outlook.MET: "bold red", Outlook.WITHIN_A_YEAR: "yellow"}


def capacity(found: Capacity) -> RenderableType:
    """The facts, then a line a figure that may grow."""
    pairs = (
        ("memory per session", _demand(found.memory, Unit.BYTES)),
        ("memory limit", size(found.memory_limit)),
        ("sessions that fit", _fit(found)),
        ("CPU per session", _demand(found.cpu, Unit.CORES)),
        ("busy now (p95)", _size(found.now)),
        ("next size up", _size(found.next_size, _most(found.memory), _most(found.cpu))),
    )
    notes = [Text(f"note: {note}", style="dim") for note in found.notes]
    return Group(Text("\ncapacity", style="bold"), facts(*pairs), growth(found.growth), *notes)


def growth(found: tuple[Growth, ...]) -> RenderableType:
    """A line a figure: how it grows; then when each meets its limit."""
    rows = [
        (
            heading(one.name, one.unit),
            pace(one.unit, one.per_day),
            "" if one.low is None else f"{pace(one.unit, one.low)} to {pace(one.unit, one.high)}",
            bare(one.unit, one.limit),
            Text(one.outlook, style=_GRAVE.get(one.outlook, "")),
        )
        for one in found
    ]
    met = [_met(one) for one in found if one.met_at is not None]
    return Group(listing(("growth", "a day", "between (95 %)", "limit", "outlook"), rows, right=(1,)), *met)


def _fit(found: Capacity) -> str:
    if found.sessions_fit is None or found.memory is None:
        return "-"
    least = "" if found.memory.basis == "least squares" else "at least "
    return f"{least}{found.sessions_fit} below the memory limit"


def _demand(demand: Demand | None, unit: Unit) -> str:
    if demand is None:
        return "-"
    if demand.basis == "mean":
        return f"{shown(unit, demand.each)} (the server's own share included)"
    between = f"{shown(unit, demand.low)} to {shown(unit, demand.high)}"
    return f"{shown(unit, demand.each)} ({between}), and {shown(unit, demand.base)} without any"


def _most(demand: Demand | None) -> str:
    """A mean a session holds the server's own share as often as there are sessions."""
    return "at most " if demand is not None and demand.basis == "mean" else ""


def _size(of: Size | None, memory: str = "", cpu: str = "") -> str:
    if of is None:
        return "-"
    return f"{of.sessions} sessions: {memory}{size(of.memory_bytes)}, {cpu}{shown(Unit.CORES, of.cpu_cores)}"


def _met(one: Growth) -> Text:
    later = "more than a year from now" if one.latest is None else moment(one.latest)[:10]
    between = f"between {moment(one.earliest)[:10]} and {later}"
    return Text(f"{one.name} meets its limit on {moment(one.met_at)[:10]}, {between}", style=_GRAVE[one.outlook])
