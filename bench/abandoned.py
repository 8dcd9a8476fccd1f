"""Sessions opened and abandoned by the thousand: the gateway must count back to 0 and keep nothing of them.

    python -m bench.abandoned [--count 10000]

Three kinds of clients that never say goodbye: legacy sessions without a DELETE, modern clients, and streams of HTTP+SSE
whose connection is cut. Each comes twice: what stays in memory must not grow with the second crowd. Exit status 1 when
a count does not return to 0, or memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import enum
import itertools
import json
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from fleet.control_client import request
from fleet.inventory import Address
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready

PROJECT: Final = Path(__file__).resolve().parents[1]
AT_ONCE: Final = 16
SESSION_SECONDS: Final = 10.0
WITHIN: Final = 60.0
GROWTH: Final = 5_000_000
"""Bytes that a second crowd may leave behind, for what the allocator does not give back."""

VERSION: Final = "2026-07-28"


class Kind(enum.StrEnum):
    """How a client is abandoned."""

    LEGACY = "legacy"
    MODERN = "modern"
    STREAM = "stream"


class Server(asyncio.Protocol):
    """The least that a server must say: a session for each initialize, a stream for each GET, else a result."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, rest = self._read.partition(b"\r\n\r\n")
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            body, self._read = rest[:length], rest[length:]
            assert self._transport is not None
            self._transport.write(self._answer(head, body))

    def _answer(self, head: bytes, body: bytes) -> bytes:
        number = next(self.numbers)
        if head.startswith(b"GET"):
            return (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                b"event: endpoint\ndata: /messages?session=%d\n\n" % number
            )
        answer = b'{"jsonrpc":"2.0","id":1,"result":{}}'
        session = b"Mcp-Session-Id: session-%d\r\n" % number if b'"initialize"' in body else b""
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s" % (
            session, len(answer), answer,
        )  # fmt: skip


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """The server in this process; its URL."""
    server = await asyncio.get_running_loop().create_server(Server, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()


async def abandon(gateway: Address, kind: Kind, count: int) -> None:
    """Let ``count`` clients come to a server's own listener and never be heard of again."""
    numbers = iter(range(count))
    workers = [
        _stream(gateway, numbers) if kind is Kind.STREAM else _ask(gateway, kind, numbers) for _ in range(AT_ONCE)
    ]
    await asyncio.gather(*workers)


async def _ask(gateway: Address, kind: Kind, numbers: Iterator[int]) -> None:
    """Many clients over one connection, as behind a proxy."""
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    try:
        for number in numbers:
            writer.write(_request(kind, number))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            at = head.lower().index(b"content-length:")
            await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
    finally:
        writer.close()


async def _stream(gateway: Address, numbers: Iterator[int]) -> None:
    """A connection for each client, cut without a goodbye once its session began."""
    for _ in numbers:
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        writer.write(b"GET /sse HTTP/1.1\r\nHost: demo\r\nAccept: text/event-stream\r\n\r\n")
        await reader.readuntil(b"/messages?session=")
        await reader.readuntil(b"\n\n")
        # Reset, as a client that crashed.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _request(kind: Kind, number: int) -> bytes:
    client = {"name": f"client-{number}", "version": "1"}
    if kind is Kind.LEGACY:
        method, header = "initialize", ""
        params: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    else:
        method, header = "tools/list", f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/list\r\n"
        prefix = "io.modelcontextprotocol/"
        params = {"_meta": {f"{prefix}protocolVersion": VERSION, f"{prefix}clientInfo": client}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return (
        f"POST /mcp HTTP/1.1\r\nHost: demo\r\nContent-Type: application/json\r\n{header}"
        f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@dataclass(frozen=True, slots=True)
class Seen:
    """One crowd: how many were counted at most and at the end, and the gateway's memory then, in bytes."""

    kind: Kind
    most: int
    left: int
    resident: int


@asynccontextmanager
async def running_gateway(folder: Path, url: str) -> AsyncIterator[tuple[Address, psutil.Process]]:
    """A gateway in a process of its own; the server's own listener."""
    shared, own = (Address(LOOPBACK, port) for port in free_ports(2))
    (folder / "server.toml").write_text(f"[mcp]\nsession_timeout_ms = {SESSION_SECONDS * 1000:.0f}\n")
    (folder / "fleet.yml").write_text(
        f"gateway: {{listen: '{shared}', control_dir: control}}\n"
        f"servers:\n  - {{name: demo, transport: http, url: '{url}', listen: '{own}', config_file: server.toml}}\n"
    )
    async with Processes(folder) as processes:
        argv = [sys.executable, "-m", "gateway", "http", "--config", str(folder / "fleet.yml")]
        program = await processes.start("gateway", argv, PROJECT)
        await wait_ready(program, shared, "/-/healthy", WITHIN)
        yield own, psutil.Process(program.pid)


async def crowd(folder: Path, own: Address, process: psutil.Process, kind: Kind, count: int) -> Seen:
    """One crowd, watched until nobody of it is counted any more."""
    most = left = 0

    async def sessions() -> int:
        control = next((folder / "control").glob("demo-*.sock"))
        return int(json.loads((await request(control, "GET", "/-/status")).body)["sessions"])

    await abandon(own, kind, count)
    most = await sessions()

    async def nobody() -> bool:
        nonlocal left
        left = await sessions()
        return left == 0

    await poll(nobody, WITHIN, every=0.5)
    return Seen(kind, most, left, process.memory_info().rss)


async def main(count: int) -> int:
    """Two crowds of each kind; 0 when every count returned to 0 and memory stayed."""
    held = True
    with tempfile.TemporaryDirectory(prefix="ab-") as name:
        folder = Path(name)
        async with upstream() as url, running_gateway(folder, url) as (own, process):
            print(
                f"gateway at rest: {process.memory_info().rss / 1e6:.1f} MB resident, {process.num_fds()} descriptors"
            )
            for kind in Kind:
                first, second = [await crowd(folder, own, process, kind, count) for _ in range(2)]
                held &= first.left == second.left == 0 and second.resident - first.resident < GROWTH
                print(
                    f"{kind:6}  {count} abandoned, counted at most {first.most} and {second.most}, in the end "
                    f"{first.left} and {second.left}; {first.resident / 1e6:.1f} and {second.resident / 1e6:.1f} MB"
                )
            print(f"in the end: {process.num_fds()} descriptors")
    print("held" if held else "NOT held")
    return 0 if held else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    sys.exit(asyncio.run(main(parser.parse_args().count)))
