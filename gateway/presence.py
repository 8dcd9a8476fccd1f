"""Whose exchange it is: the session it belongs to, as soon as that is known, and what it does to that session. Pure.

A legacy session is named by a header, a modern client by what it says of itself, and HTTP+SSE by the stream on which
the answers come: there one exchange is the session, and others are its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.audit import Audit, Caller
from gateway.exchange import Exchange
from gateway.jsonrpc import Era, Message
from gateway.pairs import Pair
from gateway.sessions import Handle, Key, legacy_key, modern_key
from gateway.vitals import Vitals

SESSION_HEADER: Final = "Mcp-Session-Id"
_NAMING_HEADERS: Final = ("MCP-Protocol-Version", "Authorization")
"""What a DELETE of a session needs beside its id."""


class Presence:
    """One exchange's part in a session.

    Attributes:
        key: the session, None while it is not known or where there is none.
        stream: set when this exchange is the stream of an HTTP+SSE session.
        answers_on: set when this exchange is a POST that is answered on such a stream.
    """

    __slots__ = (
        "_entered", "_headers", "_is_call", "_method", "_named", "_peer", "_target", "_vitals",
        "answers_on", "key", "stream",
    )  # fmt: skip

    def __init__(self, vitals: Vitals, method: str, headers: Mapping[str, str], peer: str, target: str) -> None:
        self._vitals = vitals
        self._method = method
        self._is_call = method == "POST"
        self._headers = headers
        self._peer = peer
        self._target = target
        self._named = headers.get(SESSION_HEADER) or ""
        self._entered: Key | None = None
        self.key: Key | None = legacy_key(self._named) if self._named else None
        self.stream: Pair | None = None
        self.answers_on: Pair | None = None

    @property
    def listens_in(self) -> Key | None:
        """The session in which it is a GET: answers to other exchanges may come on it."""
        return self.key if self._method == "GET" else None

    def identify(self, exchange: Exchange, messages: tuple[Message, ...]) -> None:
        """The request is known: whose is it?"""
        if exchange.era is Era.MODERN:
            client = next((message.client for message in messages if message.client), b"")
            self.key = modern_key(self._headers.get("Authorization"), self._peer, client)
        elif self.key is None and self._is_call:
            self.answers_on = self._vitals.pairs.of(self._target)
            if self.answers_on is not None:
                self.key = self.answers_on.key
                self.answers_on.expect(exchange, self._vitals.clock())

    def caller(self, audit: Audit, messages: tuple[Message, ...], said: bytes) -> Caller:
        """Who asks, as the audit log names it; ``said`` is the request's body."""
        return audit.caller(self._headers.get("Authorization"), audit.digest(self._named), self._peer, messages, said)

    def begin(self, exchange: Exchange, messages: tuple[Message, ...]) -> None:
        """The exchange is on its way; what does that tell its session?"""
        for message in messages:
            if message.cancels:
                self._take_back(message.cancels)
        if self.key is not None:
            if self._vitals.sessions.knows(self.key):
                self._enter(self.key, self._handle(exchange))
            if self._method == "GET" and "Last-Event-ID" in self._headers:
                self._vitals.resumed(self.key)

    def follow(self, exchange: Exchange, status: int, headers: Mapping[str, str]) -> None:
        """The answer's head may begin a session, or end one."""
        ok = 200 <= status < 300
        named = headers.get(SESSION_HEADER)
        if self.key is None and named and ok:
            self.key, self._named = legacy_key(named), named
            audit = self._vitals.audit
            if exchange.caller is not None and audit is not None:
                exchange.caller.session = audit.digest(named)
        if self.key is None or self.answers_on is not None:
            return
        if exchange.era is Era.LEGACY and (status == 404 or (self._method == "DELETE" and ok)):
            self._vitals.look_closer()
            self._vitals.sessions.end(self.key, self._vitals.clock())
            self._vitals.cache.session_ended(self.key[1])
            self._entered = None
        elif self._entered is None and (ok or (exchange.era is Era.MODERN and status not in {401, 403})):
            self._enter(self.key, self._handle(exchange))

    def open_stream(self, endpoint: bytes) -> bool:
        """The answer named an endpoint; whether that makes it an HTTP+SSE session."""
        if self._method != "GET" or self.key is not None:
            return False
        self.stream = self._vitals.pairs.open(self._target, endpoint)
        self.key = self.stream.key
        self._enter(self.key, None)
        return True

    def close_stream(self, error_of: Callable[[Exchange], str]) -> None:
        """If this is such a stream, its session ends, and all that it owed ends as ``error_of`` says."""
        if self.stream is not None:
            now = self._vitals.clock()
            self._vitals.pairs.close(self.stream, error_of, now)
            self._vitals.sessions.end(self.stream.key, now)
            self.stream = self._entered = None

    def show(self, exchange: Exchange) -> None:
        """The session is alive, although the server was not asked."""
        if self.key is not None and self._entered is None:
            self._enter(self.key, self._handle(exchange))

    def leave(self) -> None:
        """The exchange has ended."""
        if self._entered is not None:
            self._vitals.sessions.leave(self._entered, self._vitals.clock(), calls=self._is_call)
            self._entered = None

    def _take_back(self, request: bytes) -> None:
        if self.answers_on is not None:
            self.answers_on.take_back(request, self._vitals.clock())
        else:
            self._vitals.cancel(self.key, request)

    def _enter(self, key: Key, handle: Handle | None) -> None:
        self._entered = key
        self._vitals.sessions.enter(key, self._vitals.clock(), handle, calls=self._is_call)

    def _handle(self, exchange: Exchange) -> Handle | None:
        """How to end this session at its server; None for a modern client."""
        if exchange.era is Era.MODERN or not self._named:
            return None
        return session_handle(self._named, self._headers)


def session_handle(named: str, headers: Mapping[str, str]) -> Handle:
    """How to end the legacy session of that name at its server, as a call with these headers could."""
    also = ((name, headers.get(name)) for name in _NAMING_HEADERS)
    return Handle(((SESSION_HEADER, named), *((name, value) for name, value in also if value)))
