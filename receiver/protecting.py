"""What holds for every request, whatever its route: the listener's TLS, logins that are asked for everywhere, headers.

It also follows the files of all this: what is written there holds within a second or two, without a restart.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiohttp import web

from fleet.doors import Refusal
from fleet.web_protection import REFRESH_SECONDS, Protection, WebProtection
from fleet.web_tls import names_of
from receiver.answers import refused
from receiver.authentication import NOBODY_IS_KNOWN, tls_of
from receiver.metrics import WebhookResult

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from fleet.sockets import Listener
    from receiver.authentication import Authentication
    from receiver.credentials import CredentialFiles
    from receiver.metrics import Metrics

log = logging.getLogger(__name__)

ALERTS: Final = "/api/v1/alerts"
UNASKED: Final = frozenset({"/metrics", "/-/healthy", "/-/ready"})
"""What everybody may read who can connect, unless the web configuration names users."""


class Protecting:
    """Stands before every handler, and keeps ``authentication`` in step with its files."""

    def __init__(
        self,
        authentication: Authentication,
        credentials: CredentialFiles,
        protection: WebProtection,
        metrics: Metrics,
    ) -> None:
        self._authentication = authentication
        self._metrics = metrics
        self._credentials = credentials
        self._protection = protection

    def stand(self, app: web.Application) -> None:
        """Stand before everything else of ``app``."""
        app.middlewares.insert(0, self._guarded)
        app.on_response_prepare.append(self._finish_headers)

    @property
    def problems(self) -> list[str]:
        """Why what stands in files now does not hold, or lets nobody in."""
        asks_in_vain = self._authentication.asks and not self._authentication.knows_anybody
        nobody = NOBODY_IS_KNOWN if asks_in_vain else ""
        return [each for each in (self._credentials.problem, self._protection.problem, nobody) if each]

    async def follow(self, listener: Listener) -> None:
        """Look for changes of the files, for ever."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.renew(listener)

    async def renew(self, listener: Listener) -> None:
        """Let what the files say now hold, where it is right."""
        others = await asyncio.to_thread(self._credentials.refresh)
        web_config = await asyncio.to_thread(self._protection.refresh)
        if others or web_config:
            self._authentication.hold(self._credentials.current, self._protection.current)
            if NOBODY_IS_KNOWN in self.problems:
                log.error("nobody is let in", extra={"reason": NOBODY_IS_KNOWN})
        self._metrics.credentials_current.set(0 if self.problems else 1)
        if web_config:
            await listener.serve(self._protection.current.context)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = _refused_connection(request, self._protection.current)
        if refusal is not None:
            if request.path == ALERTS:
                self._metrics.webhooks.labels(WebhookResult.REFUSED).inc()
            response = refused(refusal)
            response.force_close()
            return response
        if self._authentication.asks_everywhere and request.path in UNASKED:
            caller = await self._authentication.known(request)
            if isinstance(caller, Refusal):
                return refused(caller)
        return await handler(request)

    async def _finish_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._protection.current.config.headers)
        tls = tls_of(request)
        if tls is not None and tls.context is not self._protection.current.context:
            # Its client was let in by what no longer holds. This answer it gets: a lost webhook comes late.
            response.headers["Connection"] = "close"
            response.force_close()


def _refused_connection(request: web.Request, protection: Protection) -> Refusal | None:
    """Why nothing may be said over this connection, which may be older than the TLS that holds now."""
    if protection.context is None or protection.config.tls is None:
        return None
    tls = tls_of(request)
    if tls is None:
        return Refusal(426, "speak TLS here")
    allowed = protection.config.tls.allowed_sans
    if allowed and not allowed & names_of(tls.getpeercert() or {}):
        return Refusal(403, "no name in this client's certificate is allowed here")
    return None
