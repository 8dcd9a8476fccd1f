"""``incidents``: the list, or one with its timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.commands.completing import IncidentType
from console.frame import SERVER, command
from console.reading.incidents import MOST, OPEN, STATES, Incident, Incidents, listed
from console.root import Section
from console.views import incidents as views

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.desk import Desk
    from console.report import Report


def _view(report: Any) -> RenderableType:
    return views.incident(report) if isinstance(report, Incident) else views.incidents(report)


@command(Section.INCIDENTS, "incidents", Incidents | Incident, _view, watched=True)
@click.argument("incident", metavar="[ID]", required=False, type=IncidentType())
@click.option("--server", type=SERVER, help="Only of this server.")
@click.option("--state", type=click.Choice([OPEN, *STATES]), help="Only those in this state; open is all but closed.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
async def incidents(desk: Desk, incident: str | None, server: str | None, state: str | None, limit: int) -> Report:
    """Say what was ill and what was done about it.

    Newest first; with an ID, its whole timeline. The timeline has the figures behind each verdict, and what was changed
    in the server's file.

    Example: mcp-medic incidents --server codex
    """
    if incident is not None:
        found = await desk.receiver.incident(incident)
        return Incident(incident=found["incident"], events=tuple(found["events"]))
    filters: dict[str, str] = {} if server is None else {"server": desk.server(server).name}
    if state == OPEN:
        # The receiver knows single states: of all that it remembers the open ones are chosen here.
        filters["limit"] = str(MOST)
    else:
        filters |= {"limit": str(limit)} | ({} if state is None else {"state": state})
    several = listed(await desk.receiver.incidents(**filters), server, state)
    return Incidents(incidents=several.incidents[:limit])
