"""Who asks: the one place that every route of the receiver asks before it answers.

Somebody is known by a bearer token, a user's name and password, a certificate that the TLS of the listener verified,
or another way that was added (the page's cookie). Where nothing of the kind is configured everybody who can connect
is ``loopback``: the settings see to it that nobody else can.
"""

from __future__ import annotations

import enum
import hmac
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fleet.doors import JSON, Refusal
from fleet.password_checks import PasswordChecks, TooManyPasswordsError
from fleet.password_files import RESERVED
from fleet.passwords import Login, login_of
from fleet.web_config import ClientAuth
from receiver.credentials import Credentials
from receiver.events import LOOPBACK

if TYPE_CHECKING:
    from aiohttp import web

    from fleet.doors import Door
    from fleet.web_protection import Protection

BEARER: Final = "bearer"
"""The name of whoever came with a token."""

NOBODY_IS_KNOWN: Final = "the files say no more who may come in, and others than this machine can connect"

MAX_NAME: Final = 200
_BASIC: Final = 'Basic realm="mcp-receiver", charset="UTF-8"'
_READING: Final = frozenset({"GET", "HEAD"})


class Way(enum.StrEnum):
    """How somebody is known."""

    UNASKED = "unasked"
    BEARER = "bearer"
    BASIC = "basic"
    CERTIFICATE = "certificate"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``name`` is what the journal keeps as ``by``."""

    name: str
    way: Way


OtherWay = Callable[["web.Request"], Caller | None]
"""A further way to be known; None when the request does not show it."""


class Authentication:
    """``who(request)`` says who asks, or why nobody is answered.

    ``version`` grows with each change of what holds: what was granted before is not worth anything afterwards.
    """

    def __init__(
        self, door: Door, credentials: Credentials, protection: Protection, *, only_loopback: bool = False
    ) -> None:
        """``only_loopback``: only this machine can connect, so where nobody is known everybody may come in."""
        self._door = door
        self._only_loopback = only_loopback
        self._credentials = credentials
        self._protection = protection
        self._checks = PasswordChecks()
        self._others: list[OtherWay] = []
        self._told: list[Callable[[], None]] = []
        self.version = 0

    def hold(self, credentials: Credentials, protection: Protection) -> None:
        """Let these hold from now on."""
        self._credentials, self._protection = credentials, protection
        self.version += 1
        for told in self._told:
            told()

    def on_change(self, told: Callable[[], None]) -> None:
        """Call ``told`` whenever others hold: who was let in before, and is still there, must be asked again."""
        self._told.append(told)

    def also(self, way: OtherWay) -> None:
        """Ask ``way`` where a request shows no ``Authorization``."""
        self._others.append(way)

    def close(self) -> None:
        """Check no more passwords."""
        self._checks.close()

    @property
    def asks(self) -> bool:
        """True where somebody must be known to be answered."""
        return self.knows_anybody or not self._only_loopback

    @property
    def knows_anybody(self) -> bool:
        """True where there is a way to be known. Files may change while the receiver runs, until there is none."""
        return self.asks_for_login or _verifies(self._protection)

    @property
    def asks_for_login(self) -> bool:
        """True where a token or a password is asked for, whatever certificate there may be."""
        return bool(self._credentials) or bool(self._protection.passwords)

    @property
    def has_users(self) -> bool:
        """True where somebody may come in by a name and a password."""
        return bool(self._credentials.users) or bool(self._protection.passwords)

    @property
    def asks_everywhere(self) -> bool:
        """True where even figures and health need a login, as with every program that reads a web configuration."""
        return bool(self._protection.passwords)

    async def who(self, request: web.Request, takes: str = JSON) -> Caller | Refusal:
        """Who sends ``request``, or why it is refused. What is not only read must not come from another site's page,
        and its body must be of the type ``takes``.
        """
        headers = request.headers
        refusal = self._door.refuses_host(headers)
        if refusal is None and request.method not in _READING:
            refusal = self._door.refuses_other_origin(headers)
            refusal = refusal or self._door.refuses_type(headers, request.can_read_body, takes)
        return refusal or await self.known(request)

    async def known(self, request: web.Request) -> Caller | Refusal:
        """Who sends ``request`` by what it shows of its sender alone."""
        certified = certificate_of(request) if _verifies(self._protection) else None
        if not self.asks_for_login:
            if certified is not None:
                return certified
            if not self.asks:
                return Caller(LOOPBACK, Way.UNASKED)
            needed = "a client's certificate is needed" if self.knows_anybody else NOBODY_IS_KNOWN
            return Refusal(401, needed)
        if certified is not None and self._certificate_is_enough:
            return certified
        authorization = request.headers.get("Authorization", "")
        if not authorization:
            found = next((caller for way in self._others if (caller := way(request)) is not None), None)
            return found or self._unknown()
        login = login_of(authorization)
        if login is not None:
            return await self.by_password(login)
        scheme, _, given = authorization.partition(" ")
        return (self.by_token(given.strip()) if scheme.lower() == "bearer" else None) or self._unknown()

    def by_token(self, given: str) -> Caller | None:
        """The bearer of a token, None for a wrong one. Every token is compared, in constant time."""
        presented = given.encode("utf-8", "surrogateescape")
        matches = [hmac.compare_digest(presented, token.encode()) for token in self._credentials.tokens]
        return Caller(BEARER, Way.BEARER) if any(matches) else None

    async def by_password(self, login: Login) -> Caller | Refusal:
        """The user of this login, or why not."""
        version = self.version
        try:
            # Both are asked in any case where the first does not know it, so the time tells no names.
            right = await self._checks.knows(self._credentials.users, login)
            right = right or await self._checks.knows(self._protection.passwords, login)
        except TooManyPasswordsError as error:
            return Refusal(503, str(error))
        if version != self.version:
            return await self.by_password(login)  # who was right a moment ago may be nobody now
        return Caller(_own_name(login.user, Way.BASIC), Way.BASIC) if right else self._unknown()

    @property
    def _certificate_is_enough(self) -> bool:
        """Where one is demanded of everybody, or users stand beside it in the file, a login is asked for as well."""
        tls = self._protection.config.tls
        return tls is not None and tls.client_auth is ClientAuth.IF_GIVEN and not self._protection.passwords

    def _unknown(self) -> Refusal:
        with_users = bool(self._credentials.users) or bool(self._protection.passwords)
        with_tokens = bool(self._credentials.tokens)
        if with_tokens and with_users:
            return Refusal(401, "a valid bearer token, or a user with a password, is needed", f"Bearer, {_BASIC}")
        if with_users:
            return Refusal(401, "a user with a password is needed", _BASIC)
        return Refusal(401, "a valid bearer token is needed")


def certificate_of(request: web.Request) -> Caller | None:
    """The subject of the certificate that the listener's TLS verified, None where the client showed none."""
    found = tls_of(request)
    certificate = None if found is None else found.getpeercert()
    return Caller(_own_name(_subject(certificate), Way.CERTIFICATE), Way.CERTIFICATE) if certificate else None


def tls_of(request: web.Request) -> ssl.SSLObject | None:
    """The TLS of the connection by which a request came."""
    found = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    return found if isinstance(found, ssl.SSLObject) else None


def _verifies(protection: Protection) -> bool:
    tls = protection.config.tls
    return tls is not None and tls.client_auth is not ClientAuth.NONE


def _own_name(name: str, way: Way) -> str:
    """``name``, told from what the journal calls those who have none: a web configuration may have any user."""
    return f"{name} ({way})" if name in RESERVED else name


def _subject(certificate: Mapping[str, Any]) -> str:
    """The common name, else the first alternative name."""
    common = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    others = [value for _kind, value in certificate.get("subjectAltName", ())]
    name = next((str(each) for each in (*common, *others) if each), "")
    printable = "".join(each if each.isprintable() else "?" for each in name)
    return printable[:MAX_NAME] or str(Way.CERTIFICATE)
