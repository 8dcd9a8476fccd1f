"""What the audit log says of one call: who, what, how it ended. Pure. Never arguments unless allowed, never results.

Credentials and session ids are named by a short keyed digest: enough to tell two callers apart, useless to call with
and, without the key, to try out guesses at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from gateway.jsonrpc import Kind, Message

OK: Final = "ok"
HIT: Final = "hit"
"""Answered without the server: from the cache, or with the answer to an identical call under way."""

DIGEST_BYTES: Final = 8
MAX_TEXT: Final = 200
MAX_ARGUMENTS_BYTES: Final = 16 * 1024
MAX_CLIENTS: Final = 5_000
_MALFORMED = (msgspec.DecodeError, RecursionError, ValueError)


@dataclass(slots=True)
class Caller:
    """Who asks. ``authorization`` and ``session`` are digests, empty without; ``arguments`` raw JSON by request id."""

    authorization: str = ""
    client: str = ""
    session: str = ""
    peer: str = ""
    arguments: Mapping[bytes, bytes] = field(default_factory=dict)


class Call(Protocol):
    """One call that ended: names as they were sent, ``id`` as JSON."""

    @property
    def method(self) -> str:
        """Its method."""

    @property
    def tool(self) -> str:
        """Its tool, empty where it names none."""

    @property
    def id(self) -> bytes:
        """Its request id."""

    @property
    def seconds(self) -> float:
        """How long it took."""


class _Client(msgspec.Struct):
    name: str = ""
    version: str = ""


class _Params(msgspec.Struct, rename={"client": "clientInfo"}):
    client: _Client | None = None
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Request(msgspec.Struct):
    params: _Params | None = None


class _Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    time: str
    server: str
    authorization: str = ""
    client: str = ""
    peer: str = ""
    session: str = ""
    id: msgspec.Raw
    method: str
    tool: str = ""
    outcome: str
    duration_ms: float
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_requests = msgspec.json.Decoder(_Request)
_clients = msgspec.json.Decoder(_Client)
_encoder = msgspec.json.Encoder()


class Audit:
    """The lines of one server. ``write`` takes each of them; ``wall_clock`` gives UNIX seconds; ``key`` is secret."""

    def __init__(
        self,
        server: str,
        write: Callable[[bytes], None],
        wall_clock: Callable[[], float],
        *,
        key: bytes,
        arguments: bool = False,
    ) -> None:
        self._server = server
        self._write = write
        self._wall_clock = wall_clock
        self._key = key
        self._arguments = arguments
        self._clients: OrderedDict[str, str] = OrderedDict()

    def caller(
        self, authorization: str | None, session: str, peer: str, messages: tuple[Message, ...], body: bytes
    ) -> Caller:  # fmt: skip
        """Who sends these messages; ``body`` is what they stand in, empty where it was too long to keep."""
        modern = next((message.client for message in messages if message.client), b"")
        asked = [message for message in messages if message.kind is Kind.REQUEST]
        greets = any(message.method == "initialize" for message in asked)
        params = _params(body) if body and len(asked) == 1 and (greets or self._arguments) else None
        client = _named(modern)
        if params is not None and params.client is not None and greets:
            client = _text(params.client)
        arguments: dict[bytes, bytes] = {}
        if self._arguments and params is not None and params.arguments is not msgspec.UNSET and not greets:
            arguments[asked[0].id] = bytes(params.arguments)
        return Caller(self.digest(authorization or ""), client, session, peer, arguments)

    def digest(self, secret: str) -> str:
        """A short name for a credential or a session id; empty for none."""
        if not secret:
            return ""
        import hashlib  # noqa: PLC0415 - brings OpenSSL with it, which not every gateway needs

        said = secret.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(said, digest_size=DIGEST_BYTES, key=self._key).hexdigest()

    def ended(self, caller: Caller, call: Call, outcome: str) -> None:
        """Write a line. ``outcome`` is an error type, '' for success, HIT, or ``refused:`` and the reason."""
        if caller.session and caller.client and call.method == "initialize":
            self._introduce(caller.session, caller.client)
        arguments = caller.arguments.get(call.id, b"")
        line = _Line(
            time=datetime.fromtimestamp(self._wall_clock(), UTC).isoformat(timespec="milliseconds"),
            server=self._server,
            authorization=caller.authorization,
            client=caller.client or self._clients.get(caller.session, ""),
            peer=caller.peer,
            session=caller.session,
            id=msgspec.Raw(call.id if 0 < len(call.id) <= MAX_TEXT else b"null"),
            method=call.method[:MAX_TEXT],
            tool=call.tool[:MAX_TEXT],
            outcome=outcome or OK,
            duration_ms=round(call.seconds * 1000, 3),
            arguments=_kept(arguments) if arguments else msgspec.UNSET,
        )
        self._write(_encoder.encode(line) + b"\n")

    def _introduce(self, session: str, client: str) -> None:
        self._clients[session] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)


def _kept(arguments: bytes) -> msgspec.Raw:
    # Line breaks may stand between the members of valid JSON; in the log one line is one call.
    if len(arguments) > MAX_ARGUMENTS_BYTES:
        return msgspec.Raw(b'"(%d bytes)"' % len(arguments))
    return msgspec.Raw(arguments.replace(b"\n", b" ").replace(b"\r", b" "))


def _params(body: bytes) -> _Params | None:
    try:
        return _requests.decode(body).params
    except _MALFORMED:
        return None


def _named(client: bytes) -> str:
    try:
        return _text(_clients.decode(client)) if client else ""
    except _MALFORMED:
        return ""


def _text(client: Any) -> str:
    return f"{client.name}/{client.version}"[:MAX_TEXT] if client.version else client.name[:MAX_TEXT]
