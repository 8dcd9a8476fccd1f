"""Bounded load of tools/call over raw connections: the client costs little, so that the way to the server is seen."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_META = (
    b',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
)
_MODERN = b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n"
Asking = Callable[[int], bytes]
"""The bytes of the call with this number."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of each sequential call, and calls per second with many in flight."""

    p50_seconds: float
    p99_seconds: float
    calls_per_second: float


def asking(path: str, *, tool: str = "echo", modern: bool = True) -> Asking:
    """A tools/call of 1 KB; its number is its id."""
    line = path.encode()

    def ask(number: int) -> bytes:
        body = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b","arguments":{"text":"%b"}%b}}' % (
            number, tool.encode(), b"x" * 1000, _META if modern else b"",
        )  # fmt: skip
        return (
            b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\n%bContent-Length: %d\r\n\r\n%b"
            % (line, _MODERN if modern else b"", len(body), body)
        )

    return ask


def whole(data: bytes) -> bool:
    """Whether these bytes are a complete answer with status 200.

    Raises:
        RuntimeError: it has another status.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    if not data.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"unexpected answer: {data[:300]!r}")
    length = _LENGTH.search(data, 0, end + 2)
    return len(data) >= end + 4 + int(length.group(1)) if length else data.endswith(b"\r\n0\r\n\r\n")


def sequential(port: int, ask: Asking, count: int) -> list[float]:
    """Seconds of each of so many calls over one connection, sorted."""
    times = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(1, count + 1):
            asked = ask(number)
            began = time.perf_counter()
            client.sendall(asked)
            data = client.recv(65536)
            while not whole(data):
                more = client.recv(65536)
                if not more:
                    raise RuntimeError("the connection was closed")
                data += more
            times.append(time.perf_counter() - began)
    return sorted(times)


class _Worker(asyncio.Protocol):
    """One connection: the next call when the last was answered."""

    def __init__(self, ask: Asking, count: int, done: asyncio.Future[None]) -> None:
        self._ask, self._left, self._done = ask, count, done
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._ask(self._left))

    def data_received(self, data: bytes) -> None:
        """A piece of an answer."""
        self._data += data
        try:
            if not whole(self._data):
                return
        except RuntimeError as error:
            self._end(error)
            return
        self._data = b""
        self._left -= 1
        if self._left:
            self._transport.write(self._ask(self._left))
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Too early, unless it was ended here."""
        self._end(exc or RuntimeError("the connection was closed"))

    def _end(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error) if error else self._done.set_result(None)
            self._transport.close()


async def _together(port: int, ask: Asking, each: int, workers: int) -> float:
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(workers)]
    began = time.perf_counter()
    connecting = [
        loop.create_connection(lambda end=end: _Worker(ask, each, end), "127.0.0.1", port)  # type: ignore[misc]
        for end in done
    ]
    async with asyncio.timeout(120):
        await asyncio.gather(*connecting)
        await asyncio.gather(*done)
    return each * workers / (time.perf_counter() - began)


def together(port: int, ask: Asking, calls: int, workers: int) -> float:
    """Calls per second, ``workers`` of them in flight."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_together(port, ask, max(1, calls // workers), workers))


def measure(port: int, ask: Asking, one_by_one: int, at_once: int, in_flight: int) -> Figures:
    """Both."""
    times = sequential(port, ask, one_by_one)
    return Figures(times[len(times) // 2], times[int(len(times) * 0.99)], together(port, ask, at_once, in_flight))
