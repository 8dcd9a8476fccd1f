"""The web configuration at work: asks for names and passwords, checks clients' certificates, adds headers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.access import has_token, needs_login, refused_by_door
from fleet.doors import Door
from fleet.password_checks import PasswordChecks, TooManyPasswordsError
from fleet.passwords import login_of
from fleet.sockets import Listener
from fleet.web_protection import REFRESH_SECONDS, Protection, WebProtection
from fleet.web_tls import names_of

_CHALLENGE: Final = 'Basic realm="mcp-exporter", charset="UTF-8"'


class Guard:
    """Stands before every handler. ``protection`` may be replaced while it stands."""

    def __init__(self, protection: WebProtection, door: Callable[[], Door]) -> None:
        self.protection = protection
        self._door = door
        self._checks = PasswordChecks()
        self._turn = asyncio.Lock()

    def stand(self, app: web.Application) -> None:
        """Stand before everything else of ``app``."""
        app.middlewares.insert(0, self._guarded)
        app.on_response_prepare.append(self._finish_headers)

    def close(self) -> None:
        """Check no more passwords."""
        self._checks.close()

    def notices(self) -> list[str]:
        """What a person should know of it."""
        problem = self.protection.problem
        return [f"{self.protection.file} cannot be used, the one before holds: {problem}"] if problem else []

    async def follow(self, listener: Listener) -> None:
        """Look for changes of the files, for ever."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.renew(listener)

    async def renew(self, listener: Listener) -> None:
        """Let what the files say now hold, where it is right."""
        async with self._turn:
            if await asyncio.to_thread(self.protection.refresh):
                await listener.serve(self.protection.current.context)

    async def replace(self, protection: WebProtection, listener: Listener) -> None:
        """Let another file hold."""
        async with self._turn:
            self.protection = protection
            await listener.serve(protection.current.context)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        protection, door = self.protection.current, self._door()
        refusal = _refused_connection(request, protection)
        if refusal is not None:
            return refusal
        refused = refused_by_door(door, request.method, request.path, request.headers)
        if refused is not None:
            return _refused(refused.status, refused.reason)
        if needs_login(door, request.path, bool(protection.passwords)):
            refusal = await self._refused_login(request, protection, door)
            if refusal is not None:
                return refusal
        return await handler(request)

    async def _refused_login(self, request: web.Request, protection: Protection, door: Door) -> web.Response | None:
        login = login_of(request.headers.get("Authorization", ""))
        if has_token(door, request.headers, login):
            return None
        if login is None or not protection.passwords:
            return _unknown()
        try:
            right = await self._checks.knows(protection.passwords, login)
        except TooManyPasswordsError as error:
            return _refused(503, str(error), {"Retry-After": "1"})
        return None if right else _unknown()

    async def _finish_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self.protection.current.config.headers)
        ssl_object = _tls_of(request)
        if ssl_object is not None and ssl_object.context is not self.protection.current.context:
            # Its client was let in by what no longer holds. This answer it gets: a missed scrape resolves alerts.
            response.headers["Connection"] = "close"
            response.force_close()


def _refused_connection(request: web.Request, protection: Protection) -> web.Response | None:
    """Why nothing may be said over this connection, which may be older than the TLS that holds now."""
    if protection.context is None or protection.config.tls is None:
        return None
    ssl_object = _tls_of(request)
    if ssl_object is None:
        return _closing(426, "speak TLS here")
    allowed = protection.config.tls.allowed_sans
    if allowed and not allowed & names_of(ssl_object.getpeercert() or {}):
        return _closing(403, "no name in this client's certificate is allowed here")
    return None


def _tls_of(request: web.Request) -> ssl.SSLObject | None:
    found = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    return found if isinstance(found, ssl.SSLObject) else None


def _closing(status: int, reason: str) -> web.Response:
    response = _refused(status, reason)
    response.force_close()
    return response


def _unknown() -> web.Response:
    return _refused(401, "a user with a password is needed, or the token", {"WWW-Authenticate": _CHALLENGE})


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": reason}, status=status, headers=headers)
