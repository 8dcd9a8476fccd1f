"""A minimal MCP server: tools/call is answered with a result of 1 KB. Prints its port.

As fast as Python is without a framework, so that what stands before it is what is measured. ``GET /figures`` tells how
many connections were opened and how many calls came. ``tools/call`` of ``slow`` is answered after a moment, of
``large`` with 100 MB. A legacy ``initialize`` opens a session, and a GET in it is a stream that stays open.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from itertools import count
from typing import ClassVar

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb'"id": ?("[^"]*"|\d+)')
_TEXT = b"x" * 1000
_RESULT = b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":"%b"}],"isError":false}}'
_LIST = (
    b'{"jsonrpc":"2.0","id":%b,"result":{"tools":['
    + b",".join(
        b'{"name":"%b","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}' % name
        for name in (b"echo", b"slow", b"large")
    )
    + b"]}}"
)
_HELLO = (
    b'{"jsonrpc":"2.0","id":%b,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},'
    b'"serverInfo":{"name":"bench","version":"1"}}}'
)
_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n: a\n\r\n"
LARGE_BYTES = 100_000_000
SLOW_SECONDS = 2.0
_BLOCK = b"x" * 262_144


class Upstream(asyncio.Protocol):
    """Keep-alive HTTP/1.1 with Content-Length, as far as the bench needs it."""

    opened: ClassVar[int] = 0
    calls: ClassVar[int] = 0
    sessions: ClassVar[count[int]] = count(1)

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        Upstream.opened += 1

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer[:end])
            total = end + 4 + (int(length.group(1)) if length else 0)
            if len(self._buffer) < total:
                return
            head, body = self._buffer[:end], self._buffer[end + 4 : total]
            self._buffer = self._buffer[total:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if not head.startswith(b"POST"):
            self._other(head)
        elif b'"tools/call"' in body:
            Upstream.calls += 1
            self._call(body)
        elif b'"id"' not in body:
            self._transport.write(_ACCEPTED)
        elif b'"initialize"' in body:
            hello = _HELLO % _identity(body)
            named = b"\r\nMcp-Session-Id: session-%d\r\n" % next(self.sessions)
            self._transport.write((_JSON % (len(hello), hello)).replace(b"\r\n", named, 1))
        else:
            listed = _LIST % _identity(body)
            self._transport.write(_JSON % (len(listed), listed))

    def _other(self, head: bytes) -> None:
        if head.startswith(b"GET /figures"):
            figures = json.dumps({"opened": Upstream.opened, "calls": Upstream.calls}).encode()
            self._transport.write(_JSON % (len(figures), figures))
        elif head.startswith(b"GET") and b"mcp-session-id" in head.lower():
            self._transport.write(_STREAM)
        else:
            self._transport.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")

    def _call(self, body: bytes) -> None:
        if b'"name":"slow"' in body:
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self._say, body)
        elif b'"name":"large"' in body:
            whole = _RESULT % (_identity(body), b"")
            at = whole.index(b'""') + 1
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % (len(whole) + LARGE_BYTES) + whole[:at])
            self._left, self._end = LARGE_BYTES, whole[at:]
            self._transport.set_write_buffer_limits(0)  # told to go on when all is gone, and only then
            self.resume_writing()
        else:
            self._say(body)

    def resume_writing(self) -> None:
        """More of a large answer, until the other side takes no more."""
        while self._left and not self._transport.get_write_buffer_size():
            block = _BLOCK[: self._left]
            self._left -= len(block)
            self._transport.write(block + (b"" if self._left else self._end))

    def _say(self, body: bytes) -> None:
        said = _RESULT % (_identity(body), _TEXT)
        self._transport.write(_JSON % (len(said), said))


def _identity(body: bytes) -> bytes:
    found = _ID.search(body)
    return found.group(1) if found else b"0"


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
