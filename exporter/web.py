"""What machines ask for all day: scrapes and telemetry pushes. People and their tools go to ``exporter.desk``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from exporter.exposition import Wanted, families_of
from exporter.facts import PushResult, ScrapeResult
from exporter.keeper import Keeper
from exporter.negotiation import accepts_gzip, format_of
from exporter.scraping import RETRY_AFTER_SECONDS, Body, NoBodyError, Scrapes, patience, time_to_render
from exporter.snapshot import Snapshot
from exporter.sources import telemetry
from fleet.doors import Door
from fleet.errors import PermanentError
from fleet.inventory import ServerName
from fleet.telemetry import MAX_TELEMETRY_BYTES, Telemetry

log = logging.getLogger(__name__)

LARGE_BODY_BYTES: Final = 64 * 1024
"""Bodies beyond this are decoded in a thread: decoding 4 MiB would hold up every scrape."""

_VARY: Final = "Accept, Accept-Encoding"


def make_app(
    snapshot: Snapshot, keeper: Keeper, scrapes: Scrapes, door: Callable[[], Door], receive_seconds: float
) -> web.Application:
    """The application with what machines ask for. Pushes pass ``door`` and must arrive within ``receive_seconds``."""
    handlers = _Handlers(snapshot, keeper, scrapes, door, receive_seconds)
    app = web.Application(client_max_size=MAX_TELEMETRY_BYTES)
    app.add_routes(
        [
            web.get("/metrics", handlers.metrics),
            web.post("/telemetry/v1/servers/{name}", handlers.telemetry),
        ]
    )
    return app


class _Handlers:
    def __init__(
        self,
        snapshot: Snapshot,
        keeper: Keeper,
        scrapes: Scrapes,
        door: Callable[[], Door],
        receive_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._snapshot = snapshot
        self._keeper = keeper
        self._scrapes = scrapes
        self._door = door
        self._receive_seconds = receive_seconds
        self._clock, self._wall_clock = clock, wall_clock
        self._last_complaint: dict[str, str] = {}

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        with self._scrapes.place() as taken:
            if not taken:
                return _not_now("too many scrapes at once")
            format_ = format_of(_joined(request, "Accept"))
            gzip = accepts_gzip(_joined(request, "Accept-Encoding"))
            names = request.query.getall("name[]", None)
            wanted = Wanted(format_.openmetrics, gzip, None if names is None else families_of(names))
            waits = patience(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds", ""))
            started = asyncio.get_running_loop().time()
            try:
                body, result = await self._scrapes.body(wanted, time_to_render(waits))
            except NoBodyError as error:
                return _not_now(str(error))
            response = web.StreamResponse(headers={"Content-Type": format_.content_type, "Vary": _VARY})
            if gzip:
                response.headers["Content-Encoding"] = "gzip"
            if result is ScrapeResult.LATE:
                response.headers["Age"] = f"{asyncio.get_running_loop().time() - body.made_at:.0f}"
            read = await _sent(request, response, body, started + waits)
            self._scrapes.count(result if read else ScrapeResult.NOT_READ)
            return response

    async def telemetry(self, request: web.Request) -> web.Response:
        refusal = self._door().refuses_post(request.headers, has_body=True)
        if refusal is not None:
            return self._turned_away(PushResult.REFUSED, refusal.status, refusal.reason, "")
        name = ServerName(request.match_info["name"])
        if not self._snapshot.knows(name):
            return self._turned_away(PushResult.UNKNOWN_SERVER, 404, "no server of this name is configured", "")
        try:
            pushed = await self._pushed(request)
        except web.HTTPRequestEntityTooLarge:
            reason = f"a telemetry body may have {MAX_TELEMETRY_BYTES} bytes"
            return self._turned_away(PushResult.TOO_LARGE, 413, reason, name)
        except web.RequestPayloadError:
            return self._turned_away(PushResult.INVALID, 400, "the body is cut off or wrongly encoded", name)
        except TimeoutError:
            reason = f"the body did not arrive within {self._receive_seconds:g} s"
            return self._turned_away(PushResult.INVALID, 408, reason, name)
        except PermanentError as error:
            return self._turned_away(PushResult.INVALID, 400, str(error), name)
        # From here on nothing is awaited: what may be a label is decided and kept in one step.
        if not self._snapshot.knows(name):
            return self._turned_away(
                PushResult.UNKNOWN_SERVER, 404, "this server was taken out of the configuration", ""
            )
        push = telemetry.understood(pushed, self._snapshot.server(name).admitted)
        result = self._snapshot.receive(name, push, self._clock(), self._wall_clock())
        if result is PushResult.TOO_MANY_SOURCES:
            return _answer(429, "too many sources report on this server at once")
        self._last_complaint.pop(name, None)
        if push.final and not await self._keeper.durable():
            # It is counted, but nobody else knows its figures any more: the sender must not believe them safe.
            return _answer(503, "the totals could not be kept over a restart of this program")
        return web.Response(status=204)

    async def _pushed(self, request: web.Request) -> Telemetry:
        async with asyncio.timeout(self._receive_seconds):
            body = await request.read()
        if len(body) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(telemetry.checked, body)
        return telemetry.checked(body)

    def _turned_away(self, result: PushResult, status: int, reason: str, server: str) -> web.Response:
        self._snapshot.count(result)
        # A sender that is wrong is wrong each second; the log says it once.
        if self._last_complaint.get(server) != reason:
            self._last_complaint[server] = reason
            log.warning("telemetry turned away", extra={"server": server, "result": result.value, "reason": reason})
        return _answer(status, reason)


async def _sent(request: web.Request, response: web.StreamResponse, body: Body, until: float) -> bool:
    """Send it all, no faster than it is read; False when it was not read ``until`` then (the loop's time)."""
    response.content_length = body.size
    try:
        async with asyncio.timeout_at(until):
            await response.prepare(request)
            for chunk in body.chunks if request.method != "HEAD" else ():
                await response.write(chunk)
            await response.write_eof()
    except TimeoutError:
        # Only cutting the line frees what the scraper did not read.
        if request.transport is not None:
            request.transport.abort()
        return False
    except ConnectionError:
        return False
    return True


def _joined(request: web.Request, header: str) -> str:
    return ",".join(request.headers.getall(header, []))


def _not_now(reason: str) -> web.Response:
    return web.Response(status=503, text=f"{reason}\n", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _answer(status: int, reason: str) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return web.json_response({"error": reason}, status=status, headers=headers)
