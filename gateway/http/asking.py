"""A request of the gateway's own over a pool's connections, its answer awaited piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from gateway.http.answer_reader import Head
from gateway.http.fields import Fields
from gateway.http.pool import Pool
from gateway.http.reuse import IDEMPOTENT
from gateway.http.up import Up


class BrokenError(OSError):
    """The connection was lost before the answer's end."""


class Answering:
    """An answer on its way. ``status`` and ``fields`` are those of its head."""

    def __init__(self, head: Head, reply: _Reply) -> None:
        self.status = head.status
        self.fields: Fields = head.fields
        self._reply = reply

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body.

        Raises:
            BrokenError: it broke off.
        """
        while piece := await self._reply.piece():
            yield piece


class _Reply:
    """Hears the connection."""

    def __init__(self) -> None:
        self.head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self.ended = False
        self._pieces: list[bytes] = []
        self._broken = ""
        self._news = asyncio.Event()

    def answered(self, head: Head | None, pieces: list[bytes], *, ended: bool) -> None:
        if head is not None and not self.head.done():
            self.head.set_result(head)
        self._pieces += pieces
        self.ended = ended
        self._news.set()

    def interim(self, head: Head) -> None:
        """Of no use here."""

    def broke(self, reason: str) -> None:
        self._broken = reason
        if not self.head.done():
            self.head.set_exception(BrokenError(reason))
        self._news.set()

    def server_full(self, *, full: bool) -> None:
        """The requests of the gateway's own are small."""

    async def piece(self) -> bytes:
        """What arrived; empty at the end."""
        while not self._pieces:
            if self._broken:
                raise BrokenError(self._broken)
            if self.ended:
                return b""
            self._news.clear()
            await self._news.wait()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


@asynccontextmanager
async def asked(
    pool: Pool, method: str, target: str, fields: Mapping[str, str], body: bytes = b""
) -> AsyncIterator[Answering]:
    """Send a request, yield its answer when the head is there. Bound the time yourself.

    Raises:
        OSError: no connection, no answer, or none that is HTTP/1.1 (a BrokenError is one).
    """
    given = {"Host": pool.authority.decode(), **fields}
    if body or method not in IDEMPOTENT:
        given["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    message = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + body
    up, reply = await _sent(pool, method, message)
    try:
        yield Answering(reply.head.result(), reply)
    finally:
        # What was not read to its end closes the connection.
        pool.give_back(up, keep=reply.ended)


async def _sent(pool: Pool, method: str, message: bytes) -> tuple[Up, _Reply]:
    """The request sent and its head there; what the gateway asks by itself may be asked twice."""
    kept = pool.take()
    if kept is not None:
        try:
            return await _sent_over(pool, kept, method, message)
        except BrokenError:
            pass
    return await _sent_over(pool, await pool.connect(), method, message)


async def _sent_over(pool: Pool, up: Up, method: str, message: bytes) -> tuple[Up, _Reply]:
    reply = _Reply()
    up.attach(reply, method)
    up.send(message)
    try:
        await reply.head
    except BaseException:
        pool.give_back(up, keep=False)
        raise
    return up, reply
