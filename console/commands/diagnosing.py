"""``test``, ``health-check``, ``diagnose``: whether it can work, whether it works, and why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from console.diagnosing.diagnosis import Diagnosis, diagnosed
from console.diagnosing.health import Health, checked
from console.diagnosing.requirements import Requirements, tested
from console.diagnosing.trees import Tree
from console.frame import SERVER, command
from console.root import Section
from console.views import diagnosing as views

if TYPE_CHECKING:
    from console.desk import Desk
    from console.report import Report


@command(Section.CHECKING, "test", Requirements, views.test, troubleshoots=True)
@click.argument("server", type=SERVER)
@click.option("--dry-run", is_flag=True, help="Ask the server itself nothing, and start nothing.")
async def test(desk: Desk, server: str, dry_run: bool) -> Report:
    """Check what a server needs, then speak its protocol with it.

    Runtime, Redis, auth file, port, config syntax and control directory; then handshake, tools/list and probe.tool,
    directly and by the gateway. A stdio server is started for this and taken down again.

    Example: mcp-medic test codex --dry-run
    """
    with desk.screen.status(f"testing {server}"):
        return await tested(desk, desk.server(server), dry_run=dry_run)


@command(Section.CHECKING, "health-check", Health, views.health, watched=True, troubleshoots=True)
@click.argument("server", type=SERVER, required=False)
async def health_check(desk: Desk, server: str | None) -> Report:
    """Ask every program of the chain and every server whether it works.

    Gateway, exporter, Prometheus with its targets, rules and clock, Alertmanager and its way to the receiver, the
    receiver, Redis; then of each server: up, a protocol exchange, and how old its newest sample is.

    Example: mcp-medic health-check codex
    """
    with desk.screen.status("asking every program and server"):
        return await checked(desk, desk.servers(server))


@command(Section.CHECKING, "diagnose", Diagnosis, views.diagnosis, troubleshoots=True)
@click.argument("server", type=SERVER)
@click.option("--tree", type=click.Choice([str(tree) for tree in Tree]), help="Walk this one; else the walk chooses.")
async def diagnose(desk: Desk, server: str, tree: str | None) -> Report:
    """Find out what is wrong with a server, in one sentence and one command to type.

    Walks the operators' three troubleshooting trees (it does not start, it gets worse, its monitoring is silent)
    through the real files, ports, processes, logs and figures. A stdio server that no client runs is started for
    this and taken down again.

    Example: mcp-medic diagnose codex --tree startup
    """
    return await diagnosed(desk, desk.server(server), None if tree is None else Tree(tree))
