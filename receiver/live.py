"""GET /api/v1/events: what changes, as server-sent events, for a page that is looked at.

It is a hint and no journal: ``seq`` says which entry it was, and who missed some reads the incident again. Clients are
bounded; one that does not read what it asked for is let go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from receiver.answers import answer
from receiver.views import changes

if TYPE_CHECKING:
    from receiver.chronicle import Chronicle
    from receiver.events import Entry

MAX_CLIENTS: Final = 50
MAX_BEHIND: Final = 256
"""Changes that wait for one client; a whole treatment has some thirty."""

HEARTBEAT_SECONDS: Final = 15.0
"""Between two signs of life: below what proxies wait, and how soon a client that is gone is noticed."""

WRITE_SECONDS: Final = 10.0
STREAM_SECONDS: Final = 600.0
"""How long one stream lasts. Who goes on listening is asked again who they are; browsers do that by themselves."""

_RETRY_MS: Final = 2000


class Live:
    """Tells each change to whoever listens."""

    def __init__(self, chronicle: Chronicle, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._chronicle = chronicle
        self._heartbeat_seconds = heartbeat_seconds
        self._clients: set[asyncio.Queue[bytes | None]] = set()
        self._closed = False
        chronicle.subscribe(self._tell)

    @property
    def clients(self) -> int:
        """How many listen now."""
        return len(self._clients)

    async def close(self, _app: web.Application | None = None) -> None:
        """End every stream: a stop must not wait for readers."""
        self._closed = True
        self.let_go()

    def let_go(self) -> None:
        """End every stream there is; who goes on listening connects again, and is asked who they are."""
        for waiting in list(self._clients):
            self._end(waiting)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The stream for one client, until it leaves, falls behind, or the receiver stops."""
        if self._closed or len(self._clients) >= MAX_CLIENTS:
            return answer(503, {"error": f"at most {MAX_CLIENTS} listen at once"}, {"Retry-After": "5"})
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_BEHIND)
        self._clients.add(waiting)
        reads = False
        try:
            await response.prepare(request)
            await _write(response, f"retry: {_RETRY_MS}\n\n".encode())
            reads = await self._pass_on(response, waiting)
        except (ConnectionError, TimeoutError):
            pass  # gone, or not reading: either way nobody is there to be told
        finally:
            self._clients.discard(waiting)
        if not reads and request.transport is not None:
            request.transport.abort()
        return response

    async def _pass_on(self, response: web.StreamResponse, waiting: asyncio.Queue[bytes | None]) -> bool:
        """Until the stream ends; False when its client fell behind."""
        clock = asyncio.get_running_loop().time
        ends_at = clock() + STREAM_SECONDS
        while waiting in self._clients and clock() < ends_at:
            try:
                async with asyncio.timeout(self._heartbeat_seconds):
                    told = await waiting.get()
            except TimeoutError:
                told = b": still here\n\n"
            if told is None:
                return True
            await _write(response, told)
        return waiting in self._clients

    def _tell(self, entry: Entry, servers: tuple[str, ...]) -> None:
        if not self._clients:
            return
        touched = {name: self._chronicle.book.open_incident(name) for name in servers}
        told = b"".join(map(_event, changes(entry, touched)))
        if not told:
            return
        for waiting in list(self._clients):
            try:
                waiting.put_nowait(told)
            except asyncio.QueueFull:
                self._clients.discard(waiting)

    def _end(self, waiting: asyncio.Queue[bytes | None]) -> None:
        self._clients.discard(waiting)
        while not waiting.empty():
            waiting.get_nowait()
        waiting.put_nowait(None)


def _event(change: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (change["seq"], msgspec.json.encode(change))


async def _write(response: web.StreamResponse, told: bytes) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(told)
