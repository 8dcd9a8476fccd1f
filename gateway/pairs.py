"""The deprecated HTTP+SSE transport: one stream for all that the server says, and POSTs whose answers come on it. Pure.

The stream's first event, ``endpoint``, names where its client is to POST; each POST is answered by a bare 202. So a
call begins in one HTTP exchange and ends in another: here they are brought together. A session is the life of its
stream. The gateway opens no such stream by itself, not even to learn the tools' names: many an old server knows one
stream at a time, and would answer its client on ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count as counting
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from gateway.exchange import Exchange, Operation
from gateway.jsonrpc import Message
from gateway.sessions import Key

ENDPOINT: Final = b"endpoint"
"""The name of a stream's first event."""

MAX_WAITING: Final = 1000
"""Calls of one stream without an answer; beyond this the oldest counts as given up."""

_NOWHERE: Final = "\n"
"""No request target."""


class Pair:
    """One open stream and the calls whose answers it owes. Their silence is measured and never cut.

    ``posts_to`` is the target of its POSTs in one spelling. ``count`` takes operations that ended, ``finish`` an
    exchange of which nothing more will be told.
    """

    def __init__(
        self, key: Key, posts_to: str, count: Callable[[Sequence[Operation]], None], finish: Callable[[Exchange], None]
    ) -> None:
        self.key = key
        self.posts_to = posts_to
        self._count = count
        self._finish = finish
        self._waiting: dict[int, Exchange] = {}

    def expect(self, exchange: Exchange, now: float) -> None:
        """A POST brought these requests; their answers are to come on the stream."""
        if exchange.outstanding:
            while len(self._waiting) >= MAX_WAITING:
                oldest = next(iter(self._waiting.values()))
                self._end(oldest, oldest.left(now), now)
            self._waiting[id(exchange)] = exchange

    def exchange_of(self, message: Message) -> Exchange | None:
        """The exchange that asked what this message answers; the only one where the id is not legible."""
        if not message.id and len(self._waiting) == 1:
            return next(iter(self._waiting.values()))
        return next((each for each in self._waiting.values() if each.asked(message.id) is not None), None)

    def settle(self, exchange: Exchange) -> None:
        """Forget an exchange if everything in it was answered."""
        if not exchange.outstanding and self._waiting.pop(id(exchange), None) is not None:
            self._finish(exchange)

    def notified(self, now: float) -> None:
        """The server said something of a call; of which one, nobody tells here."""
        for exchange in self._waiting.values():
            exchange.active(now)

    def take_back(self, request: bytes, now: float) -> None:
        """The client cancelled a request: no answer is owed any more, and usually none comes."""
        for exchange in list(self._waiting.values()):
            operation = exchange.withdraw(request, now)
            if operation is not None:
                self._count([operation])
                self.settle(exchange)

    def end(self, error_of: Callable[[Exchange], str], now: float) -> None:
        """The stream is closed: what it still owed ends with the error type that ``error_of`` names."""
        for exchange in list(self._waiting.values()):
            self._end(exchange, error_of(exchange), now)

    def _end(self, exchange: Exchange, error_type: str, now: float) -> None:
        self._count(exchange.end(error_type, now))
        self.settle(exchange)


class Pairs:
    """The open streams of one server by the endpoint that each of them named."""

    def __init__(self, count: Callable[[Sequence[Operation]], None], finish: Callable[[Exchange], None]) -> None:
        self._count = count
        self._finish = finish
        self._open: dict[str, Pair] = {}
        self._serial = counting()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, target: str, endpoint: bytes) -> Pair:
        """The stream that answers GET ``target`` (path and query) told its endpoint."""
        posts_to = _resolved(target, endpoint)
        pair = Pair(("pair", str(next(self._serial)).encode()), posts_to, self._count, self._finish)
        self._open[posts_to] = pair
        return pair

    def of(self, target: str) -> Pair | None:
        """The stream on which a POST to ``target`` is answered."""
        return self._open.get(_plain(target)) if self._open else None

    def close(self, pair: Pair, error_of: Callable[[Exchange], str], now: float) -> None:
        """The stream ended, whoever closed it."""
        pair.end(error_of, now)
        if self._open.get(pair.posts_to) is pair:  # else a newer stream named the same endpoint
            del self._open[pair.posts_to]


def _resolved(target: str, endpoint: bytes) -> str:
    """Where a client POSTs to. An origin in the endpoint does not matter: clients must not follow one to elsewhere."""
    try:
        return _plain(urljoin(f"http://server{target}", endpoint.decode().strip()))
    except ValueError:
        return _NOWHERE


def _plain(url: str) -> str:
    """Path and query in one spelling: a client may escape what the server did not."""
    parts = urlsplit(url)
    return unquote(f"{parts.path}?{parts.query}", errors="surrogateescape")
