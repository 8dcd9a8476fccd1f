"""A server that plays a script on raw sockets: exactly these bytes, then exactly this end.

Each request that comes is answered by the next part of the script, whichever connection it comes on. Requests of the
gateway's own get a 404 and play nothing.
"""

from __future__ import annotations

import asyncio
import enum
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.liveness import USER_AGENT

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NOT_FOR_YOU = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Act(enum.Enum):
    """What a server does beside sending bytes."""

    CLOSE = "close"
    RESET = "reset"
    SEEN = "wait until the client has seen all it is to see of this answer"
    HOLD = "say no more, and keep the connection open"


CLOSE, RESET, SEEN, HOLD = Act.CLOSE, Act.RESET, Act.SEEN, Act.HOLD
Step = bytes | Act
Part = tuple[Step, ...]


@dataclass
class Stage:
    """What a script and its client know of each other. ``open`` counts connections."""

    seen: list[asyncio.Event]
    played: int = 0
    open: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)


class Script:
    """Plays ``parts``, one for each request."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = parts
        self.stage = Stage([asyncio.Event() for _ in parts])

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.stage.open += 1
        self.stage.writers.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.stage.open -= 1
            self.stage.writers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length.group(1)) if length else 0)
            if USER_AGENT.encode() in head:
                writer.write(_NOT_FOR_YOU)
                continue
            number = self.stage.played
            self.stage.played += 1
            for step in self._parts[number]:
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                elif step is SEEN:
                    await self.stage.seen[number].wait()
                elif step is HOLD:
                    await reader.read()  # until the other side goes
                    return
                else:
                    _end(writer, reset=step is RESET)
                    return


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        # What is in flight is lost and the other side gets ECONNRESET: a process that was killed, a firewall.
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


@asynccontextmanager
async def playing(parts: tuple[Part, ...], tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Script, int]]:
    """A script on a free loopback port; the script and the port."""
    script = Script(parts)
    server = await asyncio.start_server(script.converse, "127.0.0.1", 0, ssl=tls)
    try:
        yield script, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(script.stage.writers):
            writer.transport.abort()
