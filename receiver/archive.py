"""Where the journal is read over HTTP: as JSON lines, and the bodies that were put aside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from fleet.doors import Refusal
from receiver import views
from receiver.answers import answer, refused
from receiver.extract import WrongExtractError, read_extract
from receiver.journal.store import JournalUnavailable

if TYPE_CHECKING:
    from receiver.authentication import Authentication
    from receiver.chronicle import Chronicle
    from receiver.events import Entry
    from receiver.extract import Extract

EXPORTS: Final = 4
"""Readers of the journal at once: each page that one of them reads keeps a webhook's insert waiting."""

READER_SECONDS: Final = 60.0
"""How long a reader may leave a page unread before its connection is cut."""


class Archive:
    """The routes for what was."""

    def __init__(self, authentication: Authentication, chronicle: Chronicle) -> None:
        self._authentication = authentication
        self._chronicle = chronicle
        self._readers = 0

    def routes(self) -> list[web.RouteDef]:
        """Every route, behind the door."""
        return [web.get("/api/v1/journal", self.journal), web.get("/api/v1/quarantine", self.quarantine)]

    async def journal(self, request: web.Request) -> web.StreamResponse:
        """GET /api/v1/journal?server=NAME&from=UNIX&until=UNIX&after=SEQ&limit=N: an entry a line, in order."""
        caller = await self._authentication.who(request)
        if isinstance(caller, Refusal):
            return refused(caller)
        try:
            extract = read_extract(request.query)
        except WrongExtractError as error:
            return answer(400, {"error": str(error)})
        if self._readers >= EXPORTS:
            return refused(Refusal(503, "too many read the journal at once"))
        self._readers += 1
        try:
            return await self._sent(request, extract)
        except JournalUnavailable as error:
            return answer(503, {"error": str(error)})
        finally:
            self._readers -= 1

    async def quarantine(self, request: web.Request) -> web.Response:
        """GET /api/v1/quarantine: the last bodies that could not be read, newest first."""
        caller = await self._authentication.who(request)
        if isinstance(caller, Refusal):
            return refused(caller)
        return answer(200, {"quarantine": [views.put_aside(entry) for entry in await self.put_aside()]})

    async def put_aside(self) -> list[Entry]:
        """The last bodies that could not be read, newest first."""
        return self._chronicle.book.quarantined()

    async def _sent(self, request: web.Request, extract: Extract) -> web.StreamResponse:
        """Page by page, no faster than it is read: neither the memory nor the journal is held.

        Raises:
            JournalUnavailable: before anything was sent.
        """
        page = await self._chronicle.page(extract.after)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        await response.prepare(request)
        left = extract.limit
        try:
            while page and request.method != "HEAD" and left != 0:
                found = [entry for entry in page if extract.lets(entry)][:left]
                left = None if left is None else left - len(found)
                async with asyncio.timeout(READER_SECONDS):
                    await response.write(_lines(found))
                page = await self._chronicle.page(page[-1].seq)
            await response.write_eof()
        except (TimeoutError, JournalUnavailable):
            # Without its end the reader knows that this was not all.
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the reader has seen enough
        return response


def _lines(entries: list[Entry]) -> bytes:
    return b"".join(msgspec.json.encode(views.event(entry)) + b"\n" for entry in entries)
