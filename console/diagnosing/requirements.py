"""``test``: what a server needs before it is started, and a real exchange with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from console.diagnosing import checks, exchange, files, gateways, ports, redis_ping, runtime
from console.diagnosing.checks import Check, Outcome, any_failed
from console.report import Report
from fleet.inventory import Transport

if TYPE_CHECKING:
    from console.desk import Desk
    from fleet.inventory import Server


class Requirements(Report, frozen=True, kw_only=True):
    """What ``server`` needs and how it answered. ``dry_run``: nothing was asked of the server itself."""

    server: str
    dry_run: bool
    checks: tuple[Check, ...]

    def failed(self) -> bool:
        """One failed, or what was to be asked did not answer."""
        return any_failed(self.checks) or any(check.outcome is Outcome.UNREACHABLE for check in self.checks)


async def tested(desk: Desk, server: Server, *, dry_run: bool) -> Requirements:
    """Every check of the operators' guide; then the exchange, unless it is a dry run."""
    needed = await requirements(desk, server)
    exchanged = () if dry_run else await _exchanged(desk, server, needed)
    return Requirements(server=server.name, dry_run=dry_run, checks=(*needed, *exchanged))


async def requirements(desk: Desk, server: Server) -> tuple[Check, ...]:
    """What can be said without asking the server anything."""
    control_dir = desk.fleet.gateway.control_dir
    living = await gateways.instances(server, control_dir)
    found, pong, port = await asyncio.gather(
        runtime.runtime(server, desk.environ),
        redis_ping.ping(desk.fleet.redis_url),
        ports.look(server, [one.pid for one in living if one.pid is not None]),
    )
    return (
        found,
        pong,
        files.auth_file(server),
        ports.check(server, port),
        files.config(server, desk.mistakes),
        files.control_directory(control_dir),
    )


async def _exchanged(desk: Desk, server: Server, needed: tuple[Check, ...]) -> tuple[Check, ...]:
    within = exchange.patience(server)
    stdio = server.transport is Transport.STDIO
    lacking = next((check for check in needed if check.name == runtime.NAME and check.outcome is Outcome.FAILED), None)
    if stdio and lacking is not None:
        return (checks.skipped("directly", "its command cannot be run"),)
    direct = await exchange.directly(server, desk.session, desk.environ, within)
    why = await _no_gateway(desk, server, direct)
    if why:
        return (*direct, checks.skipped("by the gateway", why))
    return (*direct, *await exchange.through_gateway(server, desk.fleet, desk.session, desk.environ, within))


async def _no_gateway(desk: Desk, server: Server, direct: tuple[Check, ...]) -> str:
    """Why the gateway is not asked too; empty where it is."""
    if any_failed(direct):
        return "the server does not work by itself"
    if server.transport is Transport.STDIO:
        return "it does not start while a TOML file is broken" if desk.mistakes else ""
    living = await gateways.instances(server, desk.fleet.gateway.control_dir)
    return "" if living else "no gateway serves it now"
