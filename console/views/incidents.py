"""Incidents for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from console.paper import moment, printable, seconds
from console.views.tables import facts, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from console.reading.incidents import Incident, Incidents

_STYLES = {"closed": "green", "escalated": "bold red", "awaiting_approval": "bold yellow"}


def incidents(report: Incidents) -> RenderableType:
    """A row an incident."""
    if not report.incidents:
        return Text("no incident: nothing was ill, or its retention is over", style="green")
    rows = [
        (
            line.id,
            line.server,
            Text(line.state, style=_STYLES.get(line.state, "yellow")),
            ", ".join(line.signals),
            moment(line.opened_at),
            "; ".join(line.acts) or "nothing yet",
        )
        for line in report.incidents
    ]
    return table(("incident", "server", "state", "signals", "opened", "acts"), rows)


def incident(report: Incident) -> RenderableType:
    """What it is, then its timeline."""
    one = report.incident
    closed = one["closed_at"]
    head = facts(
        ("incident", one["id"]),
        ("server", one["server"]),
        ("state", one["state"]),
        ("signals", ", ".join(one["signals"])),
        ("opened", moment(one["opened_at"])),
        ("closed", "-" if closed is None else f"{moment(closed)}, {seconds(closed - one['opened_at'])} later"),
    )
    rows = [(f"+{seconds(event['at'] - one['opened_at'])}", event["kind"], _told(event)) for event in report.events]
    return Group(head, table(("after", "event", "what"), rows))


def _told(event: Mapping[str, Any]) -> str:
    known = ("told", "action", "outcome", "verdict", "reason", "detail", "by")
    return printable(", ".join(str(event[key]) for key in known if event.get(key)))
