"""The receiver's HTTP: Alertmanager's webhook, the incidents as JSON, metrics and health.

A webhook is answered after one durable insert and never acts. Alertmanager repeats every answer that is not 2xx
for ever, so a body that cannot be read is put aside and answered 2xx; only a failed insert is a 503.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Final

from aiohttp import web

from fleet.doors import Refusal
from fleet.redaction import redacted
from receiver import views
from receiver.alerts import UnreadableBody, read_webhook
from receiver.answers import MAX_BODY_BYTES, READ_SECONDS, answer, body_of, refused
from receiver.events import Quarantined
from receiver.journal.store import JournalUnavailable
from receiver.metrics import CONTENT_TYPE, WebhookResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fleet.inventory import Server, ServerName
    from receiver.archive import Archive
    from receiver.authentication import Authentication
    from receiver.bedside import Bedside
    from receiver.chronicle import Chronicle
    from receiver.events import Delivered
    from receiver.metrics import Metrics
    from receiver.recall import Recall
    from receiver.reception import Reception

log = logging.getLogger(__name__)

EXCERPT_CHARACTERS: Final = 500


class Web:
    """The routes and what they need.

    ``reconcile_soon`` asks for a reading of Alertmanager's active alerts, ``reception`` is where people ask.
    """

    def __init__(
        self,
        authentication: Authentication,
        chronicle: Chronicle,
        metrics: Metrics,
        servers: Mapping[ServerName, Server],
        *,
        reconcile_soon: Callable[[], None],
        reception: Reception,
        bedside: Bedside,
        archive: Archive,
        recall: Recall,
    ) -> None:
        self._authentication = authentication
        self._chronicle = chronicle
        self._metrics = metrics
        self._servers = servers
        self._reconcile_soon = reconcile_soon
        self._reception = reception
        self._bedside = bedside
        self._archive = archive
        self._recall = recall
        self._counts = {result: metrics.webhooks.labels(result) for result in WebhookResult}

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/api/v1/alerts", self.alerts),
                web.get("/api/v1/incidents", self.incidents),
                web.get("/api/v1/incidents/{incident}", self.incident),
                *self._reception.routes(),
                *self._bedside.routes(),
                *self._archive.routes(),
                web.get("/metrics", self.metrics),
                web.get("/-/healthy", self.healthy),
                web.get("/-/ready", self.ready),
            ]
        )
        return app

    async def alerts(self, request: web.Request) -> web.Response:
        """POST /api/v1/alerts: take one delivery of Alertmanager in."""
        caller = await self._authentication.who(request)
        if isinstance(caller, Refusal):
            unauthorized = caller.status == 401
            self._count(WebhookResult.UNAUTHORIZED if unauthorized else WebhookResult.REFUSED)
            return refused(caller)
        try:
            body = await body_of(request)
        except (TimeoutError, web.RequestPayloadError):
            self._count(WebhookResult.REFUSED)
            return answer(400, {"error": f"the body did not arrive whole within {READ_SECONDS:g} s"})
        if body is None:
            return await self._too_large(request.content_length)
        return await self._take_in(body)

    async def incidents(self, request: web.Request) -> web.Response:
        """GET /api/v1/incidents?server=&state=&from=&until=&limit=: the open and last closed ones, newest first."""
        caller = await self._authentication.who(request)
        if isinstance(caller, Refusal):
            return refused(caller)
        try:
            chosen = views.read_filter(request.query, self._servers)
        except views.WrongFilterError as error:
            return answer(400, {"error": str(error)})
        return answer(200, {"incidents": [views.incident(one) for one in chosen.of(self._chronicle.book.incidents())]})

    async def incident(self, request: web.Request) -> web.Response:
        """GET /api/v1/incidents/ID: one incident and the journal's entries that made it."""
        caller = await self._authentication.who(request)
        if isinstance(caller, Refusal):
            return refused(caller)
        try:
            incident = await self._recall.find(request.match_info["incident"])
            if incident is None:
                return answer(404, {"error": "no such incident; see /api/v1/incidents"})
            entries = await self._chronicle.entries(incident.entries)
        except JournalUnavailable as error:
            return answer(503, {"error": str(error)})
        return answer(200, {"incident": views.incident(incident), "events": [views.event(entry) for entry in entries]})

    async def metrics(self, _request: web.Request) -> web.Response:
        """GET /metrics."""
        self._metrics.journal_available.set(0 if self._chronicle.trouble else 1)
        states = views.states(self._chronicle.book.incidents())
        standings, fleet = self._bedside.standings(), self._bedside.fleet()
        text = await asyncio.to_thread(self._metrics.exposition, states, standings, fleet)
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
            return answer(503, {"error": str(error)})
        # The same body again is a retry, or the same alert after an end that was none: Alertmanager knows which.
        if delivered.truncated or entry is None:
            self._reconcile_soon()
        result = WebhookResult.DUPLICATE if entry is None else self._result(delivered)
        if log.isEnabledFor(logging.DEBUG):  # the journal tells it too, and the metrics count it
            about = {"result": result, "alerts": len(delivered.alerts), "unusable": delivered.unusable}
            log.debug("webhook", extra=about)
        self._count(result)
        return answer(200, {"result": result})

    async def _quarantine(self, body: bytes, reason: str) -> web.Response:
        body_hash = hashlib.sha256(body).hexdigest()
        # Whoever mistook us for somebody else may have sent what was meant for them alone.
        excerpt = redacted(body[: EXCERPT_CHARACTERS * 4]).decode("utf-8", "replace")[:EXCERPT_CHARACTERS]
        event = Quarantined(reason=reason, body_hash=body_hash, size=len(body), excerpt=excerpt)
        return await self._put_aside(event, WebhookResult.DUPLICATE, WebhookResult.QUARANTINED)

    async def _too_large(self, length: int | None) -> web.Response:
        """A 413 would come back for ever and page people; what it was about Alertmanager tells whoever asks."""
        self._reconcile_soon()
        reason = f"more than {MAX_BODY_BYTES} bytes; Alertmanager was asked instead"
        size = MAX_BODY_BYTES + 1 if length is None else length
        # The size stands for the body that nobody read: a group that stays too large is put aside once.
        event = Quarantined(reason=reason, body_hash=f"too-large-{size}", size=size, excerpt="")
        return await self._put_aside(event, WebhookResult.TOO_LARGE, WebhookResult.TOO_LARGE)

    async def _put_aside(self, event: Quarantined, again: WebhookResult, first: WebhookResult) -> web.Response:
        try:
            entry = await self._chronicle.append(event, event.body_hash)
        except JournalUnavailable as error:
            self._count(WebhookResult.FAILED)
            return answer(503, {"error": str(error)})
        if entry is not None:
            log.warning("a webhook was put aside", extra={"reason": event.reason, "size": event.size})
        result = again if entry is None else first
        self._count(result)
        return answer(200, {"result": result})

    def _result(self, delivered: Delivered) -> WebhookResult:
        unknown = sorted({alert.server for alert in delivered.alerts if alert.server not in self._servers})
        if not unknown:
            return WebhookResult.ACCEPTED
        log.warning("alerts of servers that fleet.yml does not name", extra={"servers": ",".join(unknown[:5])})
        return WebhookResult.UNKNOWN_SERVER

    def _count(self, result: WebhookResult) -> None:
        self._counts[result].inc()
