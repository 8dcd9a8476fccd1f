"""Configurations kept and put back, and what a server was like: ``backup``, ``restore``, ``baseline``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.acting.baseline import Baseline
from console.acting.keeping import Backups, Copies
from console.acting.reports import Acted
from console.acting.wishes import Action, Wish
from console.commands.patience import DIRECT, patient
from console.frame import PERIOD, SERVER, command
from console.root import Section
from console.views import keeping as views
from console.views.acting import acted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.shell_completion import CompletionItem
    from rich.console import RenderableType

    from console.acting.wishes import Patience
    from console.desk import Desk
    from console.report import Report
    from fleet.inventory import Fleet


class BackupType(click.ParamType[str]):
    """The name of a backup of the server that was typed before it."""

    name = "backup"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click calls by name
        """The names that begin so, newest first; none where the fleet file cannot be read."""
        import os  # noqa: PLC0415 - only a shell that completes needs these

        from click.shell_completion import CompletionItem  # noqa: PLC0415

        from fleet.backups import listed  # noqa: PLC0415
        from fleet.errors import MedicError  # noqa: PLC0415
        from fleet.inventory import ServerName  # noqa: PLC0415
        from fleet.loading import load_fleet  # noqa: PLC0415

        chosen = ctx.params.get("config") or os.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml"
        try:
            fleet = load_fleet(Path(chosen), os.environ, tolerated=[])
        except MedicError:
            return []
        server = fleet.servers.get(ctx.params.get("server", ServerName("")))
        names = [] if server is None or server.config is None else [each.name for each in listed(server.config.file)]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@command(Section.ACTING, "backup", Copies, views.copies, troubleshoots=True)
@click.argument("server", type=SERVER, required=False)
async def backup(desk: Desk, server: str | None) -> Report:
    """Keep a copy of a server's TOML, or of every server's, beside the copies that every change keeps.

    Example: mcp-medic backup codex
    """
    from console.acting.direct import stamp_of  # noqa: PLC0415 - what acts is not needed for --help
    from console.acting.keeping import kept  # noqa: PLC0415

    return await asyncio.to_thread(kept, desk.servers(server), stamp_of("backup"))


def _restoring(fleet: Fleet, arguments: Mapping[str, Any]) -> str | None:
    name = arguments["server"]
    unnamed = arguments["direct"] and not arguments["backup"]  # refused anyway
    if arguments["listed"] or unnamed or name not in fleet.servers:
        return None
    what = arguments["backup"] or "the last configuration that was measured healthy"
    return f"Replace the TOML of {name} by {what} and restart it?"


def _view(report: Any) -> RenderableType:
    return views.backups(report) if isinstance(report, Backups) else acted(report)


@command(Section.ACTING, "restore", Acted | Backups, _view, troubleshoots=True, asks=_restoring)
@click.argument("server", type=SERVER)
@click.option("--backup", type=BackupType(), help="Which one; without it the last one that was measured healthy.")
@click.option("--list", "listed", is_flag=True, help="List the backups and what each would change.")
@DIRECT
@patient()
async def restore(  # noqa: PLR0917 - click calls by name
    desk: Desk, server: str, backup: str | None, listed: bool, direct: bool, patience: Patience
) -> Report:
    """Put a configuration of a server back, byte for byte, and restart it; what it replaces is kept too.

    Example: mcp-medic restore codex --list
    """
    from console.acting.doing import do  # noqa: PLC0415 - what acts is not needed for --help
    from console.acting.keeping import backups_of  # noqa: PLC0415

    found = desk.server(server)
    if listed:
        return await backups_of(desk, found, directly=direct)
    wish = Wish(found, Action.RESTORE, {} if backup is None else {"backup": backup})
    return await do(desk, [wish], patience, directly=direct)


@command(Section.ACTING, "baseline", Baseline, views.baseline)
@click.argument("server", type=SERVER)
@click.option("--period", type=PERIOD, default="7d", show_default=True, help="Over how long, until now.")
async def baseline(desk: Desk, server: str, period: int) -> Report:
    """Measure what a server is like now, and keep it: reports say later how much better it became.

    Example: mcp-medic baseline codex --period 14d
    """
    from console.acting.baseline import measured  # noqa: PLC0415

    return await measured(desk, desk.server(server), period)
