"""The receiver's HTTP: Alertmanager's webhook, the incidents as JSON, metrics and health.

A webhook is answered after one durable insert and never acts. Alertmanager repeats every answer that is not 2xx
for ever, so a body that cannot be read is put aside and answered 2xx; only a failed insert is a 503.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from fleet.inventory import ServerName
from receiver import views
from receiver.alerts import UnreadableBody, read_webhook
from receiver.events import ByHand, Denied, Quarantined
from receiver.journal.store import JournalUnavailable
from receiver.metrics import CONTENT_TYPE, WebhookResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fleet.doors import Door, Refusal
    from fleet.inventory import Server
    from receiver import guards
    from receiver.chronicle import Chronicle
    from receiver.events import Delivered
    from receiver.incident import Incident
    from receiver.metrics import Metrics

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 1024 * 1024
"""A group of one server's alerts has a few kilobytes; a larger body is refused and Alertmanager is asked instead."""

EXCERPT_CHARACTERS: Final = 500
READ_SECONDS: Final = 10.0
"""How long a sender may take for its body: Alertmanager itself gives up after 10 s."""


class Web:
    """The routes and what they need.

    ``reconcile_soon`` asks for a reading of Alertmanager's active alerts, ``ask`` for an action by hand.
    """

    def __init__(
        self,
        door: Door,
        chronicle: Chronicle,
        metrics: Metrics,
        servers: Mapping[ServerName, Server],
        *,
        reconcile_soon: Callable[[], None],
        ask: Callable[[Server, ByHand], Awaitable[tuple[Incident | None, guards.Refusal | None]]],
    ) -> None:
        self._door = door
        self._chronicle = chronicle
        self._metrics = metrics
        self._servers = servers
        self._reconcile_soon = reconcile_soon
        self._ask = ask

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/api/v1/alerts", self.alerts),
                web.get("/api/v1/incidents", self.incidents),
                web.get("/api/v1/incidents/{incident}", self.incident),
                web.post("/api/v1/servers/{server}/actions/{action}", self.act),
                web.get("/metrics", self.metrics),
                web.get("/-/healthy", self.healthy),
                web.get("/-/ready", self.ready),
            ]
        )
        return app

    async def alerts(self, request: web.Request) -> web.Response:
        """POST /api/v1/alerts: take one delivery of Alertmanager in."""
        refusal = self._door.refuses_post(request.headers, request.can_read_body)
        if refusal is not None:
            unauthorized = refusal.status == 401
            self._count(WebhookResult.UNAUTHORIZED if unauthorized else WebhookResult.REFUSED)
            return _refused(refusal)
        try:
            body = await _body(request)
        except (TimeoutError, web.RequestPayloadError):
            self._count(WebhookResult.REFUSED)
            return _answer(400, {"error": f"the body did not arrive whole within {READ_SECONDS:g} s"})
        if body is None:
            self._count(WebhookResult.TOO_LARGE)
            log.warning("a webhook was too large, Alertmanager is asked instead", extra={"limit": MAX_BODY_BYTES})
            self._reconcile_soon()
            return _answer(413, {"error": f"at most {MAX_BODY_BYTES} bytes; Alertmanager is asked instead"})
        return await self._take_in(body)

    async def incidents(self, request: web.Request) -> web.Response:
        """GET /api/v1/incidents: the open and the last closed ones, newest first."""
        refusal = self._refuses_reading(request)
        if refusal is not None:
            return _refused(refusal)
        return _answer(200, {"incidents": [views.incident(one) for one in self._chronicle.book.incidents()]})

    async def incident(self, request: web.Request) -> web.Response:
        """GET /api/v1/incidents/ID: one incident and the journal's entries that made it."""
        refusal = self._refuses_reading(request)
        if refusal is not None:
            return _refused(refusal)
        incident = self._chronicle.book.find(request.match_info["incident"])
        if incident is None:
            return _answer(404, {"error": "no such incident, or closed too long ago; see /api/v1/incidents"})
        try:
            entries = await self._chronicle.entries(incident.entries)
        except JournalUnavailable as error:
            return _answer(503, {"error": str(error)})
        return _answer(200, {"incident": views.incident(incident), "events": [views.event(entry) for entry in entries]})

    async def act(self, request: web.Request) -> web.Response:
        """POST /api/v1/servers/NAME/actions/ACTION: 202 and the incident that takes it up, 409 and why not."""
        refusal = self._door.refuses_post(request.headers, request.can_read_body)
        if refusal is not None:
            return _refused(refusal)
        server = self._servers.get(ServerName(request.match_info["server"]))
        if server is None:
            return _answer(404, {"error": "fleet.yml names no such server"})
        name = request.match_info["action"]
        if name not in set(ByHand):
            return _answer(404, {"error": f"no such action by hand; there are {', '.join(ByHand)}"})
        try:
            body = await _body(request)
            if body is None or body.strip() not in {b"", b"{}"}:
                return _answer(400, {"error": "send no body, or {}"})
            incident, refused = await self._ask(server, ByHand(name))
        except (TimeoutError, web.RequestPayloadError):
            return _answer(400, {"error": f"the body did not arrive whole within {READ_SECONDS:g} s"})
        except JournalUnavailable as error:
            return _answer(503, {"error": str(error)})
        if refused is not None:
            return _answer(409, {"reason": refused.reason, "retry_at": refused.retry_at, "error": _why(refused)})
        return _answer(202, {"incident": None if incident is None else incident.id, "action": name})

    async def metrics(self, _request: web.Request) -> web.Response:
        """GET /metrics."""
        self._metrics.journal_available.set(0 if self._chronicle.trouble else 1)
        states = views.states(self._chronicle.book.incidents())
        text = await asyncio.to_thread(self._metrics.exposition, states)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def healthy(self, _request: web.Request) -> web.Response:
        """GET /-/healthy: the process answers."""
        return web.Response(text="healthy\n")

    async def ready(self, _request: web.Request) -> web.Response:
        """GET /-/ready: 200 when deliveries can be kept, else 503 and why."""
        if self._chronicle.trouble:
            return web.Response(status=503, text=f"{self._chronicle.trouble}\n")
        return web.Response(text="ready\n")

    async def _take_in(self, body: bytes) -> web.Response:
        try:
            delivered = read_webhook(body)
        except UnreadableBody as error:
            return await self._quarantine(body, str(error))
        try:
            entry = await self._chronicle.append(delivered, delivered.body_hash)
        except JournalUnavailable as error:
            self._count(WebhookResult.FAILED)
            return _answer(503, {"error": str(error)})
        # The same body again is a retry, or the same alert after an end that was none: Alertmanager knows which.
        if delivered.truncated or entry is None:
            self._reconcile_soon()
        result = WebhookResult.DUPLICATE if entry is None else self._result(delivered)
        log.info("webhook", extra={"result": result, "alerts": len(delivered.alerts), "unusable": delivered.unusable})
        self._count(result)
        return _answer(200, {"result": result})

    async def _quarantine(self, body: bytes, reason: str) -> web.Response:
        body_hash = hashlib.sha256(body).hexdigest()
        excerpt = body[: EXCERPT_CHARACTERS * 4].decode("utf-8", "replace")[:EXCERPT_CHARACTERS]
        event = Quarantined(reason=reason, body_hash=body_hash, size=len(body), excerpt=excerpt)
        try:
            entry = await self._chronicle.append(event, body_hash)
        except JournalUnavailable as error:
            self._count(WebhookResult.FAILED)
            return _answer(503, {"error": str(error)})
        result = WebhookResult.DUPLICATE if entry is None else WebhookResult.QUARANTINED
        if entry is not None:
            log.warning("a webhook could not be read and was put aside", extra={"reason": reason, "size": len(body)})
        self._count(result)
        return _answer(200, {"result": result})

    def _result(self, delivered: Delivered) -> WebhookResult:
        unknown = sorted({alert.server for alert in delivered.alerts if alert.server not in self._servers})
        if not unknown:
            return WebhookResult.ACCEPTED
        log.warning("alerts of servers that fleet.yml does not name", extra={"servers": ",".join(unknown[:5])})
        return WebhookResult.UNKNOWN_SERVER

    def _refuses_reading(self, request: web.Request) -> Refusal | None:
        return self._door.refuses_host(request.headers) or self._door.refuses_credentials(request.headers)

    def _count(self, result: WebhookResult) -> None:
        self._metrics.webhooks.labels(result).inc()


async def _body(request: web.Request) -> bytes | None:
    """The body, or None when it is too large: not read further than the limit."""
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        return None
    body = bytearray()
    async with asyncio.timeout(READ_SECONDS):
        async for chunk in request.content.iter_chunked(65536):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return None
    return bytes(body)


def _why(refused: guards.Refusal) -> str:
    words = {
        Denied.NO_EFFECT: "it would change nothing here",
        Denied.UNDER_WAY: "an act is under way, or another one was asked for; see /api/v1/incidents",
        Denied.NO_RESTART_METHOD: "fleet.yml names no way to restart this server",
        Denied.SERVER_BUDGET: "limits.actions are spent",
        Denied.RECOVERY_BUDGET: "limits.recovery_actions are spent",
        Denied.FLEET_BUDGET: "limits.fleet_actions are spent",
        Denied.PRECONDITION: refused.detail,
        Denied.COOLDOWN: "the last treatment ended too short a time ago",
        Denied.CONCURRENT_TREATMENTS: "too many other servers are under treatment",
    }
    return words.get(refused.reason, str(refused.reason))


def _refused(refusal: Refusal) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
    return _answer(refusal.status, {"error": refusal.reason}, headers)


def _answer(status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers or {}
    )
