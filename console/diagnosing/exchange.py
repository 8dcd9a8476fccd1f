"""A whole exchange with a server, step by step and timed: handshake, ``tools/list``, and ``probe.tool`` where one is
configured. Each step is a check.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from console.diagnosing import checks
from console.diagnosing.conversation import Conversation, GuardedError, failure
from console.diagnosing.http_peer import HttpPeer
from console.diagnosing.stdio_peer import spawned
from fleet.errors import MedicError, PermanentError
from fleet.inventory import Transport

if TYPE_CHECKING:
    import aiohttp

    from console.diagnosing.checks import Check
    from console.diagnosing.conversation import Peer
    from fleet.inventory import Fleet, ProbeSettings, Server

LONGEST_SECONDS: Final = 30.0
"""Nobody who waits before a terminal waits longer for one answer, whatever the server's file allows."""

HANDSHAKE: Final = "handshake"


def patience(server: Server) -> float:
    """How long one answer may take: as the server's file says, within reason."""
    return min(server.tuning.initial_response_seconds, LONGEST_SECONDS)


async def directly(
    server: Server, session: aiohttp.ClientSession, environ: Mapping[str, str], within: float
) -> tuple[Check, ...]:
    """With the server itself: at its URL, or started over stdio for this alone."""
    way = "directly: "
    if server.transport is Transport.HTTP:
        return await _exchange(way, HttpPeer(session, server.url), server.probe, within)
    env = {**environ, **server.env}
    return await _with_child(way, spawned(server.command, server.working_directory, env), server, within)


async def through_gateway(
    server: Server, fleet: Fleet, session: aiohttp.ClientSession, environ: Mapping[str, str], within: float
) -> tuple[Check, ...]:
    """As a client of the gateway: at its listener, or as ``mcp-gateway stdio``."""
    way = "by the gateway: "
    if server.transport is Transport.HTTP:
        return await _exchange(way, HttpPeer(session, gateway_url(server, fleet)), server.probe, within)
    argv = (*gateway_command(), "stdio", server.name, "--config", os.fspath(fleet.file.absolute()))
    return await _with_child(way, spawned(argv, Path.cwd(), environ), server, within)


def gateway_url(server: Server, fleet: Fleet) -> str:
    """Where clients of the gateway reach an HTTP server."""
    parts = urlsplit(server.url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    if server.listen is not None:
        return f"{server.listen.url}{path}"
    return f"{fleet.gateway.listen.url}/servers/{server.name}{path}"


def gateway_command() -> tuple[str, ...]:
    """How ``mcp-gateway`` is started: as it was installed beside this program, else as a module."""
    beside = Path(sys.executable).with_name("mcp-gateway")
    return (os.fspath(beside),) if os.access(beside, os.X_OK) else (sys.executable, "-m", "gateway")


async def _with_child(
    way: str, child: AbstractAsyncContextManager[Peer], server: Server, within: float
) -> tuple[Check, ...]:
    try:
        async with child as peer:
            return await _exchange(way, peer, server.probe, within)
    except PermanentError as error:
        return (checks.failed(f"{way}{HANDSHAKE}", str(error), _REMEDY),)


_REMEDY: Final = "Ask mcp-medic diagnose for the cause"


async def _exchange(way: str, peer: Peer, probe: ProbeSettings | None, within: float) -> tuple[Check, ...]:
    talk = Conversation(peer, within)
    found: list[Check] = []
    try:
        for name, step in _steps(talk, probe):
            check, goes_on = await _timed(f"{way}{name}", step)
            found.append(check)
            if not goes_on:
                break
    finally:
        await talk.end()
    return tuple(found)


def _steps(talk: Conversation, probe: ProbeSettings | None) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
    async def listed() -> str:
        names = await talk.tools()
        return f"{len(names)} tool{'' if len(names) == 1 else 's'}"

    steps: list[tuple[str, Callable[[], Awaitable[str]]]] = [(HANDSHAKE, talk.greet), ("tools/list", listed)]
    if probe is not None and probe.tool is not None:
        steps.append((f"tool {probe.tool}", lambda: _called(talk, probe)))
    return steps


async def _called(talk: Conversation, probe: ProbeSettings) -> str:
    told = failure(await talk.call(probe.tool or "", probe.arguments))
    if told:
        raise PermanentError(f"it answered with an error: {told}")
    return "it answered without an error"


async def _timed(name: str, step: Callable[[], Awaitable[str]]) -> tuple[Check, bool]:
    """The check of a step, and whether the next one makes sense."""
    started = time.monotonic()
    try:
        said = await step()
    except GuardedError as error:
        return checks.passed(name, str(error), time.monotonic() - started), False
    except MedicError as error:
        return checks.failed(name, str(error), _REMEDY, time.monotonic() - started), False
    return checks.passed(name, said, time.monotonic() - started), True
