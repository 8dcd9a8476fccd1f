"""What the gateway's tests put before and behind it: fleets, an exporter, a scripted upstream, raw requests."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from fleet.inventory import (
    Address,
    ExporterSettings,
    Fleet,
    GatewaySettings,
    Limits,
    Mode,
    ReceiverSettings,
    Restart,
    RestartVia,
    Server,
    ServerName,
    Transport,
)
from fleet.server_config import ServerConfig, Tuning
from fleet.tasks import Tasks
from fleet.telemetry import Telemetry, decode
from gateway.app import Gateway

SDK_SERVER = Path(__file__).with_name("sdk_server.py")
WITHIN = 20.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_so(condition: Callable[[], Awaitable[object]], within: float = WITHIN) -> None:
    """Poll until the condition, asked of another program, holds."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in other programs
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], object], within: float = WITHIN) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other programs
            await asyncio.sleep(0.02)


@dataclass
class Exporter:
    """Takes telemetry as the exporter does."""

    url: str = ""
    latest: dict[str, Telemetry] = field(default_factory=dict)
    authorizations: set[str | None] = field(default_factory=set)
    connections: set[object] = field(default_factory=set)
    status: int = 204

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        """One push."""
        assert request.headers["Content-Type"] == "application/json"
        self.authorizations.add(request.headers.get("Authorization"))
        self.connections.add(request.transport)
        self.latest[request.path.removeprefix("/telemetry/v1/servers/")] = decode(await request.read())
        return web.Response(status=self.status)


@asynccontextmanager
async def listening(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], port: int = 0
) -> AsyncIterator[str]:
    """A real HTTP server on a loopback port, free by default; its URL."""
    runner = web.ServerRunner(web.Server(handle, auto_decompress=False), shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(conversation: Conversation) -> AsyncIterator[str]:
    """A server that is bytes only; its URL."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conversation(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.close()


async def raw(address: Address, request: bytes) -> bytes:
    """Send bytes, half-close nothing, read to the end of the connection."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request)
        async with asyncio.timeout(WITHIN):
            return await reader.read()
    finally:
        writer.close()


def server(url: str, name: str = "demo", **changes: Any) -> Server:
    """One server of a fleet."""
    given: dict[str, Any] = {
        "listen": Address("127.0.0.1", 0), "command": (), "env": {}, "working_directory": Path.cwd(), "config": None,
        "process": None, "restart": None, "mode": Mode.AUTOMATIC, "thresholds": {},
    }  # fmt: skip
    given.update(changes)
    return Server(name=ServerName(name), transport=Transport.HTTP, url=url, **given)


def child_server(*arguments: str, port: int | None = None, script: Path = SDK_SERVER, **changes: Any) -> Server:
    """A server that the gateway starts by itself."""
    port = port or free_port()
    command = (sys.executable, str(script), "--port", str(port), *arguments)
    return server(f"http://127.0.0.1:{port}/mcp", command=command, restart=Restart(RestartVia.GATEWAY), **changes)


def patience(initial: float, inactivity: float) -> ServerConfig:
    """A server's TOML with short limits, in seconds."""
    return tuned(initial_response_seconds=initial, inactivity_seconds=inactivity)


def tuned(**tuning: Any) -> ServerConfig:
    """A server's TOML that says this; its file does not exist, so nothing is read later."""
    return ServerConfig(file=Path("/no/such/server.toml"), values={}, monitoring={}, tuning=Tuning(**tuning))


def fleet(folder: Path, exporter_url: str, *servers: Server, token_file: Path | None = None) -> Fleet:
    """A fleet whose gateway listens on a free port and keeps its sockets in ``folder``."""
    nowhere = Address("127.0.0.1", 1)
    return Fleet(
        file=folder / "fleet.yml",
        prometheus_url="http://127.0.0.1:1",
        alertmanager_url="http://127.0.0.1:1",
        gateway=GatewaySettings(Address("127.0.0.1", 0), folder / "control"),
        exporter=ExporterSettings(nowhere, exporter_url, token_file, folder / "exporter.state"),
        receiver=ReceiverSettings(nowhere, "http://127.0.0.1:1", folder / "journal.db", (), Limits(), {}),
        servers={each.name: each for each in servers},
    )


@asynccontextmanager
async def running(given: Fleet, environ: Mapping[str, str] | None = None) -> AsyncIterator[Gateway]:
    """A started gateway, stopped at the end; a fault in one of its tasks fails the test."""
    gateway = Gateway(given, {} if environ is None else environ)
    await gateway.start()
    watched = Tasks("test").start_passing("gateway", gateway.wait())
    try:
        yield gateway
    finally:
        await gateway.stop()
        async with asyncio.timeout(WITHIN):
            await watched
