"""What a client asked for that outlives the answer: its log level, its subscriptions, its open streams. Pure.

A new child knows nothing of them, and the client does not know of the new child: so they are asked for again with the
handshake. Only what the old server granted is; what it never answered is told to the client as any call is that was
cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from gateway.copies import Clip
from gateway.jsonrpc import Kind, Message, canonical

MAX_SUBSCRIPTIONS: Final = 10_000
"""The oldest one beyond is not asked for again; no client is known to have a hundred."""

LISTEN: Final = "subscriptions/listen"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"

_SUBSCRIBE: Final = "resources/subscribe"
_UNSUBSCRIBE: Final = "resources/unsubscribe"
_SET_LEVEL: Final = "logging/setLevel"
_METHODS: Final = frozenset({_SUBSCRIBE, _UNSUBSCRIBE, _SET_LEVEL, LISTEN})
_MALFORMED: Final = (msgspec.DecodeError, RecursionError, ValueError)


class _Params(msgspec.Struct):
    uri: str = ""
    meta: dict[str, Raw] = msgspec.field(name="_meta", default_factory=dict)


class _Line(msgspec.Struct):
    params: _Params = msgspec.field(default_factory=_Params)


_lines: Final = msgspec.json.Decoder(_Line)
_members: Final = msgspec.json.Decoder(dict[str, Raw])


class Wishes:
    """One client's. Lines are as the client wrote them."""

    def __init__(self) -> None:
        self._asked: dict[bytes, tuple[str, bytes]] = {}
        self._level: bytes | None = None
        self._subscriptions: dict[str, bytes] = {}
        self._streams: dict[bytes, bytes] = {}
        self._reopened: set[bytes] = set()

    def client_said(self, message: Message, line: Clip | bytes) -> None:
        """A message of the client went to the server."""
        if message.method in _METHODS and message.kind is Kind.REQUEST:
            whole = line if isinstance(line, bytes) else line.head if line.whole else None
            if whole is None:  # a wish of 2 MB is not one that could be asked again
                return
            if message.method == LISTEN:
                self._streams[message.id] = whole
            else:
                self._asked[message.id] = message.method, whole
        elif message.cancels:
            self._streams.pop(message.cancels, None)
            self._asked.pop(message.cancels, None)

    def server_said(self, message: Message) -> None:
        """An answer of the server: the wish is granted, or the stream is over."""
        self._streams.pop(message.id, None)
        method, line = self._asked.pop(message.id, ("", b""))
        if message.error_code is not None or not method:
            return
        if method == _SET_LEVEL:
            self._level = line
            return
        uri = _read(line).params.uri
        self._subscriptions.pop(uri, None)
        if method == _SUBSCRIBE:
            self._subscriptions[uri] = line
            if len(self._subscriptions) > MAX_SUBSCRIPTIONS:
                del self._subscriptions[next(iter(self._subscriptions))]

    def cut(self) -> None:
        """The server is gone: what it did not grant, it will not."""
        self._asked.clear()

    def again(self, own_id: Callable[[], bytes]) -> list[bytes]:
        """The lines that tell a new server; ``own_id`` gives an id as JSON whose answer is for nobody.

        A stream keeps its id: the server names it in everything that it sends there, and its end is the client's.
        """
        once = [line for line in (self._level, *self._subscriptions.values()) if line is not None]
        self._reopened = set(self._streams)
        renamed = (_renamed(line, own_id()) for line in once)
        return [*(line for line in renamed if line), *(line.strip() + b"\n" for line in self._streams.values())]

    @property
    def awaits_acknowledgement(self) -> bool:
        """Whether a stream that was opened again may be acknowledged again."""
        return bool(self._reopened)

    def is_second_acknowledgement(self, message: Message, line: bytes) -> bool:
        """Whether the client had this one from the server before."""
        if message.method != ACKNOWLEDGED or not self._reopened:
            return False
        stream = _read(line).params.meta.get("io.modelcontextprotocol/subscriptionId")
        identity = b"" if stream is None else canonical(bytes(stream))
        known = identity in self._reopened
        self._reopened.discard(identity)
        return known


def _read(line: bytes) -> _Line:
    try:
        return _lines.decode(line)
    except _MALFORMED:
        return _Line()


def _renamed(line: bytes, identity: bytes) -> bytes:
    try:
        return msgspec.json.encode({**_members.decode(line), "id": Raw(identity)}) + b"\n"
    except _MALFORMED:
        return b""
