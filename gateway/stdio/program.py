"""``mcp-gateway stdio SERVER``: start the server, then import, then relay; ends with the server's exit status.

Before the server is started only what is needed to know its command is imported. asyncio and h11 are imported by the
side thread, while the server starts and the relay runs.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.errors import ConfigError, Problem
from fleet.inventory import Enforced, Fleet, Server, ServerName, Transport
from fleet.loading import load_fleet
from gateway.stdio.spawn import Guardian, Spawned, SpawnError, spawn

if TYPE_CHECKING:
    from gateway.stdio.instance import Instance
    from gateway.stdio.relay import Relay
    from gateway.stdio.side import Side
    from gateway.vitals import Vitals

_SIDE_SECONDS = 3.0
"""How long the last push may take."""


def main(arguments: Sequence[str]) -> int:
    """The command. 1 for a wrong configuration, 2 for wrong use, else as the server ended."""
    name, config = _understood(arguments)
    try:
        fleet = load_fleet(config, os.environ)
        server = _server(fleet, name)
        _enter(server.working_directory)
        return _serve(fleet, server)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
    except SpawnError as error:
        sys.stderr.write(f"mcp-gateway: {error}\n")
    return 1


def _understood(arguments: Sequence[str]) -> tuple[str, Path]:
    """The server's name and the fleet file. The plain form is read by hand, the rest is argparse's."""
    if len(arguments) in {1, 3} and not arguments[0].startswith("-") and list(arguments[1:2]) in ([], ["--config"]):
        config = arguments[2] if len(arguments) == 3 else os.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml"
        return arguments[0], Path(config).absolute()
    from gateway.settings import read_settings  # noqa: PLC0415 - aiohttp is not its need, but argparse costs 12 ms

    settings = read_settings(["stdio", *arguments])
    return settings.server, settings.config.absolute()


def _server(fleet: Fleet, name: str) -> Server:
    server = fleet.servers.get(ServerName(name))
    if server is None:
        known = ", ".join(each.name for each in fleet.servers.values() if each.transport is Transport.STDIO)
        problem = Problem(
            str(fleet.file), 0, "servers", "has no server of this name",
            f"Name one of the stdio servers: {known or 'there is none yet'}", name,
        )  # fmt: skip
        raise ConfigError((problem,))
    if server.transport is not Transport.STDIO:
        problem = Problem(
            str(fleet.file), 0, f"servers[{name}].transport", "is http: a client reaches this server by its URL",
            "Run `mcp-gateway http`, or write transport: stdio with a command",
        )  # fmt: skip
        raise ConfigError((problem,))
    return server


def _enter(folder: Path) -> None:
    # For good: posix_spawn knows no folder, and the server may have to be started again.
    if not folder.is_dir():
        raise SpawnError(f"working_directory {folder} is no folder; create it or correct the entry")
    os.chdir(folder)


def _serve(fleet: Fleet, server: Server) -> int:
    environ = {**os.environ, **server.env}
    guardian = Guardian()
    try:
        child = None
        if not _needs_seat(server):
            child = spawn(server.command, environ)
            guardian.watch(child.pid)
        return _relay(fleet, server, environ, guardian, child)
    finally:
        guardian.close()


def _needs_seat(server: Server) -> bool:
    """Whether the cap on sessions is enforced: then the server starts only when there is room."""
    tuning = server.tuning
    capped = tuning.max_concurrent_sessions is not None or tuning.max_processes is not None
    return capped and Enforced.SESSIONS in server.enforce


def _relay(fleet: Fleet, server: Server, environ: dict[str, str], guardian: Guardian, child: Spawned | None) -> int:
    import logging  # noqa: PLC0415
    from time import monotonic, time  # noqa: PLC0415 - from here on the server is starting

    from fleet import logs  # noqa: PLC0415
    from gateway.exchange import Limits  # noqa: PLC0415
    from gateway.stdio.instance import Instance  # noqa: PLC0415
    from gateway.stdio.outlet import Outlet  # noqa: PLC0415
    from gateway.stdio.relay import Relay  # noqa: PLC0415
    from gateway.vitals import Vitals  # noqa: PLC0415

    logs.configure(logging.WARNING)
    tuning = server.tuning
    limits = Limits(tuning.initial_response_seconds, tuning.inactivity_seconds)
    vitals = Vitals(limits, tuning.session_seconds, clock=monotonic, wall_clock=time, transport="pipe")
    vitals.apply(tuning, server.enforce)
    to_client = Outlet(1)
    instance = Instance(server, environ, guardian, vitals, to_client)
    relay = Relay(instance)
    relay.handle_signals()
    if child is not None:
        instance.adopt(child)
    beside = _Beside(fleet, server, instance, vitals, relay)
    try:
        status = relay.run()
    finally:
        instance.talk.close()
        beside.stop()
        to_client.restore()
    return status if status >= 0 else 128 - status


class _Beside:
    """The side thread, which does its own dear imports."""

    def __init__(self, fleet: Fleet, server: Server, instance: Instance, vitals: Vitals, relay: Relay) -> None:
        self._given = (fleet, server, instance, vitals, relay)
        self._side: Side | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="side", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        from gateway.stdio.side import Side  # noqa: PLC0415 - asyncio, h11

        self._side = Side(*self._given)
        if self._stopping:
            self._side.stop()
        self._side.run()

    def stop(self) -> None:
        """Let it push for the last time."""
        self._stopping = True
        if self._side is not None:
            self._side.stop()
        self._thread.join(_SIDE_SECONDS)
