"""A person's word to automation: ``pause``, ``resume``, ``approve``, ``deny``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from console.acting.reports import Automation, Decision
from console.acting.wishes import Patience
from console.commands.completing import IncidentType
from console.commands.patience import patient
from console.frame import SERVER, command
from console.root import Section
from console.views import acting as views

if TYPE_CHECKING:
    from console.desk import Desk
    from console.report import Report


@command(Section.INCIDENTS, "pause", Automation, views.automation, troubleshoots=True)
@click.argument("server", type=SERVER, required=False)
async def pause(desk: Desk, server: str | None) -> Report:
    """Stop automation on a server, or on the whole fleet; what a person asks for is still done.

    Example: mcp-medic pause codex
    """
    from console.acting.automation import halted  # noqa: PLC0415 - what asks services is not needed for --help

    return await halted(desk, None if server is None else desk.server(server), paused=True)


@command(Section.INCIDENTS, "resume", Automation, views.automation, troubleshoots=True)
@click.argument("server", type=SERVER, required=False)
async def resume(desk: Desk, server: str | None) -> Report:
    """Let automation go on, on a server or on the fleet; what was paused apart stays so.

    Example: mcp-medic resume codex
    """
    from console.acting.automation import halted  # noqa: PLC0415

    return await halted(desk, None if server is None else desk.server(server), paused=False)


@command(Section.INCIDENTS, "approve", Decision, views.decision, troubleshoots=True)
@click.argument("incident", type=IncidentType("awaiting_approval"))
@patient()
async def approve(desk: Desk, incident: str, patience: Patience) -> Report:
    """Let the act go that an incident waits with, and say what became of it.

    Example: mcp-medic approve codex-17
    """
    from console.acting.automation import decided  # noqa: PLC0415

    return await decided(desk, incident, patience, approved=True)


@command(Section.INCIDENTS, "deny", Decision, views.decision, troubleshoots=True)
@click.argument("incident", type=IncidentType("awaiting_approval"))
async def deny(desk: Desk, incident: str) -> Report:
    """Forbid the act that an incident waits with: it is left out, and the ladder goes on.

    Example: mcp-medic deny codex-17
    """
    from console.acting.automation import decided  # noqa: PLC0415

    return await decided(desk, incident, Patience(wanted=False), approved=False)
