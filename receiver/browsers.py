"""People who come by browser: the cookie for which a token or a password is swapped, and the seal of our forms.

The cookie is one more way to be known to ``receiver.authentication``. Nothing that it lets do can be asked for by
another site's page: ``SameSite=Strict``, the Origin's check at the door, and a sealed form or header.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fleet.doors import Refusal, host_of
from fleet.passwords import Login
from receiver.authentication import Caller, Way, tls_of
from receiver.logins import SESSION_SECONDS, Attempts, Seal, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from receiver.authentication import Authentication

log = logging.getLogger(__name__)

COOKIE: Final = "mcp_medic_session"
SEAL_HEADER: Final = "X-CSRF-Token"
NOBODY: Final = "nobody yet"
"""Who holds the form that signs in."""

_READING: Final = frozenset({"GET", "HEAD"})
_FORMS_ELSEWHERE: Final = "/api/"


class Browsers:
    """Signs people in and out. ``url`` is how others reach the receiver; ``now`` gives UNIX seconds."""

    def __init__(self, authentication: Authentication, url: str, now: Callable[[], float]) -> None:
        self._authentication = authentication
        self._url = urlsplit(url)
        self._now = now
        self._sessions = Sessions()
        self._attempts = Attempts()
        self._seal = Seal()
        authentication.also(self._by_cookie)

    def seal(self, request: web.Request, caller: Caller | None) -> str:
        """What the forms of a page for ``caller`` carry; None is somebody who is not known yet."""
        return self._seal.token(_holder(request, caller))

    def is_ours(self, request: web.Request, caller: Caller | None, given: str) -> bool:
        """Whether a form came from a page that was made for ``caller``."""
        return self._seal.is_ours(_holder(request, caller), given)

    async def sign_in(self, sender: str, name: str, secret: str) -> Caller | Refusal:
        """Who this is, by a user's password, or by a token where no name is given."""
        retry_at = self._attempts.retry_at(sender, self._now())
        if retry_at is not None:
            seconds = max(1, math.ceil(retry_at - self._now()))
            return Refusal(429, f"Too many wrong attempts. Try again in {seconds} s.")
        found: Caller | Refusal | None
        if name:
            found = await self._authentication.by_password(Login(name, secret))
        else:
            found = self._authentication.by_token(secret.strip())
        if isinstance(found, Caller):
            return found
        if found is not None and found.status != 401:
            return found
        self._attempts.fail(sender, self._now())
        log.warning("a wrong sign-in at the page", extra={"sender": sender})
        return Refusal(401, "That is not right.")

    def begin(self, request: web.Request, response: web.Response, caller: Caller) -> None:
        """Give the browser its cookie. A session that it had before ends."""
        self.end(request, response)
        value = self._sessions.begin(caller.name, self._authentication.version, self._now())
        response.set_cookie(
            COOKIE,
            value,
            max_age=int(SESSION_SECONDS),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self._is_secure(request),
        )

    def end(self, request: web.Request, response: web.Response) -> None:
        """Forget the browser's session."""
        self._sessions.end(request.cookies.get(COOKIE, ""))
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=self._is_secure(request))

    def _by_cookie(self, request: web.Request) -> Caller | None:
        presented = request.cookies.get(COOKIE, "")
        if not presented:
            return None
        session = self._sessions.find(presented, self._authentication.version, self._now())
        if session is None:
            return None
        caller = Caller(session.name, Way.COOKIE)
        by_script = request.method not in _READING and request.path.startswith(_FORMS_ELSEWHERE)
        if by_script and not self.is_ours(request, caller, request.headers.get(SEAL_HEADER, "")):
            return None
        return caller

    def _is_secure(self, request: web.Request) -> bool:
        behind_tls = self._url.scheme == "https" and host_of(request.headers.get("Host", "")) == self._url.hostname
        return tls_of(request) is not None or behind_tls


def _holder(request: web.Request, caller: Caller | None) -> str:
    if caller is None:
        return NOBODY
    if caller.way is Way.COOKIE:
        return f"cookie {request.cookies.get(COOKIE, '')}"
    return f"{caller.way} {caller.name}"
