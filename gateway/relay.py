"""How bytes move: an aiohttp server in front, an aiohttp client behind. Nothing of measuring is decided here.

A later relay on raw protocols replaces this file; it tells an ``Observation`` the same and asks a ``Gate`` the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, TypeVar

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from fleet.tasks import Tasks
from fleet.telemetry import Refused
from gateway import refusals, routes
from gateway.admission import RETRY_AFTER_SECONDS
from gateway.answers import Answer
from gateway.copies import HEAD_BYTES
from gateway.headers import end_to_end
from gateway.observation import Observation
from gateway.replies import FaithfulResponse, between_events, own_answer, refusal_answer, stored_answer
from gateway.service import Service
from gateway.steering import Pending, Refusal

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 4.0
"""Kept connections are dropped before uvicorn and Node close them at 5 s: a POST that meets the close is lost."""

MAX_HEADER_BYTES: Final = 64 * 1024
_NO_AUTOMATIC_HEADERS: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_UPSTREAM_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError)
_Body = bytes | AsyncIterator[bytes] | None
_T = TypeVar("_T")


def upstream_session() -> aiohttp.ClientSession:
    """The client side: no cookies, no decompression, no total timeout, no environment."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        skip_auto_headers=_NO_AUTOMATIC_HEADERS,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


class Relay:
    """The handlers of the shared listener and of a server's own."""

    def __init__(self, services: Mapping[str, Service], session: aiohttp.ClientSession, tasks: Tasks) -> None:
        self._services = services
        self._session = session
        self._tasks = tasks

    def shared(self) -> web.Server:
        """The listener of all servers: ``/servers/NAME/P`` and ``/-/healthy``."""
        return _listener(self._shared)

    def own(self, service: Service) -> web.Server:
        """The listener of one server: paths pass untouched."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._pass(service, request, routes.origin_form(request.raw_path))

        return _listener(handle)

    async def _shared(self, request: web.BaseRequest) -> web.StreamResponse:
        path = routes.origin_form(request.raw_path)
        if path == routes.HEALTHY:
            return web.Response(text="ok\n")
        route = routes.shared(path)
        if route is None:
            return web.Response(status=404, text="no such path; a server's path is /servers/NAME/...\n")
        service = self._services.get(route.server)
        if service is None:
            return web.Response(status=404, text="no such server in fleet.yml\n")
        return await self._pass(service, request, route.target)

    async def _pass(self, service: Service, request: web.BaseRequest, target: str) -> web.StreamResponse:
        if not await service.gate.passed(service.vitals.limits.initial_response):
            return await _refuse(service, request)
        passage = Passage(service, request, target, self._session)
        task = self._tasks.start_passing("exchange", passage.run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            passage.client_gone = True
            if passage.outlives_client:
                self._tasks.start_passing("orphan", passage.bounded(task))
            else:
                task.cancel()
            raise


class Passage:
    """One request on its way, in a task of its own: it may have to outlive its client."""

    def __init__(
        self, service: Service, request: web.BaseRequest, target: str, session: aiohttp.ClientSession
    ) -> None:  # fmt: skip
        self._service = service
        self._server = service.server
        self._target = target
        self._request = request
        self._url = URL(self._server.origin + target, encoded=True)
        self._session = session
        self._seen = Observation(service.vitals, request.method, request.headers, request.remote or "")
        self._asked = False
        self.client_gone = False

    async def run(self) -> web.StreamResponse:
        """Relay; the answer that went to the client, or the gateway's own where the server gave none."""
        try:
            return await self._relayed()
        except asyncio.CancelledError:
            self._seen.client_left()
            raise
        except _ClientGoneError:
            self._seen.client_left()
        except Exception:
            # The boundary of one exchange: a fault in relaying it must not stop the others.
            log.exception("an exchange failed in the gateway", extra={"server": self._server.name})
            self._seen.client_left()
        self._abort_client()
        return web.Response(status=502)  # nobody reads it: the connection is aborted

    @property
    def outlives_client(self) -> bool:
        """Whether the upstream is to be read on without a client."""
        return self._asked and self._seen.outlives_client

    async def bounded(self, task: asyncio.Task[web.StreamResponse]) -> None:
        """End a passage without a client when its calls are answered, or the server was silent for too long."""
        while not task.done():
            if not self._seen.outlives_client or self._seen.patience <= 0:
                task.cancel()
            await asyncio.wait({task}, timeout=min(1.0, self._seen.patience + 0.01))

    async def _relayed(self) -> web.StreamResponse:
        try:
            body = await self._body()
        except (aiohttp.ClientError, web.RequestPayloadError, ConnectionError) as error:
            raise _ClientGoneError from error
        own = await self._own(body)
        if own is not None:
            return own
        if not self._service.steering.needs_place(self._seen):
            return await self._asked_upstream(body)
        if not await self._in_line():
            self._seen.refused(Refused.QUEUE)
            return refusal_answer(self._seen.request_id, self._service.steering.too_long_in_line())
        try:
            return await self._asked_upstream(body)
        finally:
            self._service.places.give_back()

    async def _in_line(self) -> bool:
        """Whether there was a place for this call in time, and the server was there to take it."""
        within, places = self._service.vitals.limits.initial_response, self._service.places
        if not await places.take(within):
            return False
        if not await self._service.gate.passed(within):
            places.give_back()
            return False
        self._seen.starts_now()
        return True

    async def _asked_upstream(self, body: _Body) -> web.StreamResponse:
        try:
            upstream = await self._upstream(body)
        except _SilentError:
            return self._given_up()
        except _UPSTREAM_ERRORS as error:
            return self._unanswered(error)
        try:
            self._ask()
            return await self._answer(upstream)
        finally:
            # After a complete answer this changes nothing; before one it closes the connection, seen at once upstream.
            upstream.close()

    async def _own(self, body: _Body) -> web.Response | None:
        """The gateway's own answer, where it has one."""
        steering = self._service.steering
        if isinstance(body, bytes):
            found = steering.before_relay(self._seen, self._target, self._request.raw_headers, body)
            if isinstance(found, Pending):
                found = await found.settled()
            if isinstance(found, Answer):
                return stored_answer(found)
        else:
            found = None if body is None else steering.before_stream(self._seen)
            if found is not None:
                await _read_head(self._seen, self._request)
                self._seen.refused(Refused.BREAKER)
        return None if found is None else refusal_answer(self._seen.request_id, found)

    async def _upstream(self, body: _Body) -> aiohttp.ClientResponse:
        """The server's answer, its head complete; asked again only where nothing came and asking twice is harmless."""
        headers = _one_spelling(end_to_end(self._request.raw_headers, also=frozenset({b"expect"})))
        tried = 0
        while True:
            try:
                return await self._patiently(
                    self._session.request(
                        self._request.method, self._url, headers=headers, data=body, allow_redirects=False
                    )
                )
            except _UPSTREAM_ERRORS:
                if (
                    not isinstance(body, bytes)
                    or not self._seen.may_repeat(tried)
                    or self.client_gone
                    or not self._service.gate.is_open
                ):
                    raise
            tried += 1
            await asyncio.sleep(self._service.vitals.admission.tuning.retry_delay_seconds)

    def _may_ask_again(self, body: _Body, tried: int) -> bool:
        still_sent = isinstance(body, bytes) and not self.client_gone and self._service.gate.is_open
        return still_sent and self._seen.may_repeat(tried)

    async def _patiently(self, waiting: Awaitable[_T]) -> _T:
        """Wait for the server, where timeouts are enforced only for as long as it may be silent."""
        if not (self._service.vitals.admission.cuts_silence and self._seen.outstanding):
            return await waiting
        limit = asyncio.timeout(self._seen.patience)
        try:
            async with limit:
                return await waiting
        except TimeoutError as error:
            if limit.expired():
                raise _SilentError from error
            raise

    async def _body(self) -> _Body:
        request = self._request
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not request.body_exists:
            self._ask()
            return None
        length = request.content_length
        if length is None or length > HEAD_BYTES:
            return self._streamed()
        return b"".join([chunk async for chunk in self._streamed()])

    async def _streamed(self) -> AsyncIterator[bytes]:
        async for chunk in self._request.content.iter_any():
            self._seen.request_chunk(chunk)
            yield chunk
        self._ask()

    def _ask(self) -> None:
        """The request is complete, or its answer began before it was."""
        if not self._asked:
            self._asked = True
            self._seen.request_end()

    def _unanswered(self, error: BaseException) -> web.Response:
        self._ask()
        reason = str(error) or type(error).__name__
        self._seen.failed(f"no answer from {self._server.url}: {reason}")
        message = refusals.unreachable(self._server.name, self._server.url, reason)
        return own_answer(502, self._seen.request_id, refusals.Code.UNREACHABLE, message)

    def _given_up(self) -> web.Response:
        self._seen.silenced()
        message = refusals.silent(self._server.name)
        return own_answer(504, self._seen.request_id, refusals.Code.SILENT, message)

    async def _give_up(self, response: web.StreamResponse, sent: bytes) -> None:
        """End an answer that began: between two events of a plain stream by an error, else by breaking it off."""
        told = self._seen.outstanding == 1 and between_events(response, sent)
        self._seen.silenced()
        if not told:
            self._abort_client()
            return
        error = refusals.jsonrpc_error(
            self._seen.request_id, refusals.Code.SILENT, refusals.silent(self._server.name)
        )  # fmt: skip
        await self._to_client(response.write, b"event: message\ndata: " + error + b"\n\n")
        await self._to_client(response.write_eof)

    async def _answer(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        self._seen.response_head(upstream.status, upstream.headers)
        response = FaithfulResponse(upstream)
        await self._to_client(response.prepare, self._request)
        sent = b"\n\n"
        try:
            while chunk := await self._patiently(upstream.content.readany()):
                sent = chunk[-4:] if len(chunk) >= 4 else (sent + chunk)[-4:]
                try:
                    await self._to_client(response.write, chunk)
                finally:
                    self._seen.response_chunk(chunk)
        except _SilentError:
            await self._give_up(response, sent)
            return response
        except _UPSTREAM_ERRORS as error:
            self._seen.failed(f"{self._server.url} broke off its answer: {str(error) or type(error).__name__}")
            self._abort_client()
            return response
        self._seen.response_end()
        await self._to_client(response.write_eof)
        return response

    async def _to_client(self, send: Callable[..., Awaitable[object]], *what: object) -> None:
        """Send, with the client's back-pressure; without a client the upstream is read on or given up."""
        if not self.client_gone:
            try:
                await send(*what)
            except ConnectionError:
                self.client_gone = True
        if self.client_gone and not self.outlives_client:
            raise _ClientGoneError

    def _abort_client(self) -> None:
        """Never a clean end for an answer that is not complete."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()


class _ClientGoneError(Exception):
    """The client left and nothing is to be read for it any more."""


class _SilentError(Exception):
    """The server was silent for longer than its limits, and the gateway enforces them."""


def _listener(handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
    """A server without routing or decompression, which notices at once that a client left."""
    return web.Server(
        handle,
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


def _one_spelling(headers: list[tuple[str, str]]) -> CIMultiDict[str]:
    """A header that comes twice in two spellings gets the first: aiohttp would take the second for a replacement."""
    spelling: dict[str, str] = {}
    return CIMultiDict((spelling.setdefault(name.lower(), name), value) for name, value in headers)


async def _refuse(service: Service, request: web.BaseRequest) -> web.Response:
    """Answer a call that waited in vain; its body is read only to find its id."""
    seen = Observation(service.vitals, request.method, request.headers, request.remote or "")
    await _read_head(seen, request)
    seen.refused(Refused.RESTARTING)
    message = refusals.restarting(service.server.name, service.gate.reason)
    return refusal_answer(seen.request_id, Refusal(refusals.Code.RESTARTING, message, RETRY_AFTER_SECONDS))


async def _read_head(seen: Observation, request: web.BaseRequest) -> None:
    """As much of a body as tells the id of its request."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(CONNECT_SECONDS):
            read = 0
            # One byte more than is kept whole: what is longer is then known to be cut.
            while read <= HEAD_BYTES and (chunk := await request.content.readany()):
                read += len(chunk)
                seen.request_chunk(chunk)
    seen.request_end()
