"""fleet.yml read in full: where no note says what is needed, or the note no longer holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import ConfigError, Problem
from fleet.inventory import Fleet, Server, ServerName, Transport
from fleet.loading import load_fleet
from gateway.stdio.brief import Brief, brief_of
from gateway.stdio.recall import Launch
from gateway.stdio.remember import Noticed, Read, remember


@dataclass(frozen=True, slots=True)
class Reading:
    """How to start the server, what else is known of it, and ``remember`` to leave a note of both.

    ``problems``: what is wrong with the server's TOML; then the defaults hold, and no note is left.
    """

    launch: Launch
    brief: Brief
    remember: Callable[[], None] | None
    problems: tuple[Problem, ...] = ()


def read(file: str, name: str, environ: Mapping[str, str]) -> Reading:
    """Read the fleet for its stdio server ``name``; what is wrong with the TOML of another one is not its business.

    Raises:
        ConfigError: with every mistake of the file, or it has no such stdio server.
    """
    looked_for, since = Noticed(environ), time.time()
    links: dict[str, str] = {}
    fleet = load_fleet(Path(file), looked_for, links, tolerated=[])
    server = _server(fleet, name)
    brief = brief_of(fleet, server)
    launch = Launch(server.command, server.env, str(server.working_directory), needs_seat=brief.needs_seat)
    given = Read(fleet, links, looked_for, since)
    if server.config is not None and server.config.problems:
        return Reading(launch, brief, None, server.config.problems)
    return Reading(launch, brief, lambda: remember(given, launch, brief))


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
