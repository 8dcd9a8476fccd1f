"""One kept connection to the exporter, for pushes. Light: asyncio streams and h11, no HTTP library."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import h11

from fleet.errors import UnreachableError

if TYPE_CHECKING:
    import ssl


class Link:
    """One kept HTTP/1.1 connection to the exporter, opened again when it breaks."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._tls = _trusted() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._headers = [("Host", parts.netloc), ("Content-Type", "application/json")]
        if token is not None:
            self._headers.append(("Authorization", f"Bearer {token}"))
        self._connection: h11.Connection | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> int:
        """POST a body; the status. A kept connection that turns out closed is replaced once: a push is idempotent."""
        kept = self._streams is not None
        try:
            return await self._post(path, body)
        except (OSError, UnreachableError, h11.ProtocolError):
            await self.close()
            if not kept:
                raise
        return await self._post(path, body)

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        streams, self._streams, self._connection = self._streams, None, None
        if streams is not None:
            streams[1].transport.abort()  # a push that got no answer is not worth a lingering close

    async def _post(self, path: str, body: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
            self._connection = h11.Connection(h11.CLIENT)
        connection, (reader, writer) = self._connection, self._streams
        if connection is None:
            raise UnreachableError(f"{self.url} has no connection")
        length = [("Content-Length", str(len(body)))]
        head = h11.Request(method="POST", target=self._prefix + path, headers=self._headers + length)
        parts = [connection.send(event) for event in (head, h11.Data(data=body), h11.EndOfMessage())]
        writer.write(b"".join(part for part in parts if part))
        await writer.drain()
        status = await self._answer(connection, reader)
        with contextlib.suppress(h11.LocalProtocolError):
            connection.start_next_cycle()
            return status
        await self.close()
        return status

    async def _answer(self, connection: h11.Connection, reader: asyncio.StreamReader) -> int:
        status = 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.EndOfMessage):
                return status
            elif isinstance(event, h11.ConnectionClosed):
                raise UnreachableError(f"{self.url} closed the connection")


def _trusted() -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - four megabytes that plain HTTP does not need

    return ssl.create_default_context()
