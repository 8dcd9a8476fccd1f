"""A person's word to automation: ``pause``, ``resume``, ``approve``, ``deny``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.acting.reports import Automation, Decision
from console.acting.wishes import Patience
from console.commands.patience import patient
from console.frame import SERVER, command
from console.root import Section
from console.views import acting as views
from fleet.errors import MedicError
from fleet.loading import load_fleet

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from console.desk import Desk
    from console.report import Report

_COMPLETION_SECONDS = 3.0


class IncidentType(click.ParamType[str]):
    """The id of an incident; completed with those in ``state``, or with the newest ones of any."""

    name = "incident"

    def __init__(self, state: str | None = None) -> None:
        self._state = state

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click calls by name
        """What the receiver knows; nothing where it does not answer at once: a completion never complains."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell that completes needs it

        chosen = ctx.params.get("config") or os.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml"
        try:
            found = asyncio.run(self._known(Path(chosen)))
        except (MedicError, TimeoutError, KeyError):
            return []
        return [
            CompletionItem(one["id"], help=f"{one['state']}, {', '.join(one['signals'])}")
            for one in found
            if one["id"].startswith(incomplete) and self._state in {None, one["state"]}
        ]

    async def _known(self, config: Path) -> list[dict[str, Any]]:
        from console.desk import opened  # noqa: PLC0415 - aiohttp

        filters = {"limit": "50"} | ({} if self._state is None else {"state": self._state})
        async with (
            asyncio.timeout(_COMPLETION_SECONDS),
            opened(load_fleet(config, os.environ, tolerated=[]), os.environ) as desk,
        ):
            return await desk.receiver.incidents(**filters)


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
