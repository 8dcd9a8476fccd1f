"""What a client sees of an answer, read by h11, which shares no code with the gateway's parser."""

from __future__ import annotations

import asyncio
import enum
import ssl
from dataclasses import dataclass, field

import h11

from tests.gateway.peers import WITHIN

_LARGEST_HEAD = 1_000_000
_OF_ONE_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"upgrade", b"x-hop"}

CALL = b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo"}}'

Headers = tuple[tuple[bytes, bytes], ...]


class End(enum.Enum):
    """How an answer ended, as its client can tell."""

    WHOLE = "whole"
    BROKEN = "broken"
    OPEN = "open"


@dataclass(frozen=True)
class Seen:
    """The answer to one request. ``status`` is 0 without one. ``end`` is told apart by every client."""

    status: int
    body: bytes = b""
    end: End = End.WHOLE


@dataclass
class Sight:
    """All of it: headers but those of one hop, interim answers, trailers."""

    seen: Seen = field(default_factory=lambda: Seen(0, b"", End.BROKEN))
    reason: bytes = b""
    headers: Headers = ()
    interim: tuple[tuple[int, Headers], ...] = ()
    trailers: Headers = ()


def request(body: bytes, *, closes: bool = True) -> bytes:
    """A call as a client sends it."""
    kept = b"Connection: close\r\n" if closes else b""
    return (
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Accept: application/json, text/event-stream\r\n%bContent-Length: %d\r\n\r\n%b" % (kept, len(body), body)
    )


async def look(
    port: int, body: bytes, awaited: Seen, told: asyncio.Event, *, before: int = 0, tls: ssl.SSLContext | None = None
) -> Sight:  # fmt: skip
    """Send a call over a connection of its own, read its answer until it ends, or is all that is ``awaited``.

    ``before`` it so many calls go over the same connection and are answered. ``told`` is set when all of the answer is
    there that is to come.
    """
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    try:
        async with asyncio.timeout(WITHIN):
            for _ in range(before):
                writer.write(request(CALL, closes=False))
                await _answered(reader)
            writer.write(request(body, closes=not before))
            return await _read(reader, awaited, told)
    finally:
        writer.transport.abort()


async def _answered(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))


async def _read(reader: asyncio.StreamReader, awaited: Seen, told: asyncio.Event) -> Sight:
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
    parser.send(h11.Request(method="POST", target="/mcp", headers=[("Host", "localhost"), ("Content-Length", "0")]))
    parser.send(h11.EndOfMessage())
    sight = Sight()
    received = bytearray()
    while True:
        try:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                if sight.seen.status == awaited.status and bytes(received) == awaited.body:
                    told.set()
                    if awaited.end is End.OPEN:
                        return _with(sight, received, End.OPEN)
                parser.receive_data(await reader.read(65536))
                continue
        except (OSError, h11.RemoteProtocolError):
            return _with(sight, received, End.BROKEN)
        if isinstance(event, h11.InformationalResponse):
            sight.interim += ((event.status_code, _passing(event)),)
        elif isinstance(event, h11.Response):
            sight.seen = Seen(event.status_code)
            sight.reason, sight.headers = bytes(event.reason), _passing(event)
        elif isinstance(event, h11.Data):
            received += event.data
        elif isinstance(event, h11.EndOfMessage):
            sight.trailers = _passing(event)
            told.set()
            return _with(sight, received, End.WHOLE)
        else:  # paused or closed: not an answer to this request
            return _with(sight, received, End.BROKEN)


def _with(sight: Sight, received: bytearray, end: End) -> Sight:
    sight.seen = Seen(sight.seen.status, bytes(received), end)
    return sight


def _passing(event: h11.InformationalResponse | h11.Response | h11.EndOfMessage) -> Headers:
    return tuple((name, value) for name, value in event.headers.raw_items() if name.lower() not in _OF_ONE_HOP)
