"""Which requests ask for something that may be stored, and what tells two of them apart. Pure; never raises.

By the protocol only lists and reads of the modern era may be stored, as their answers say (``ttlMs``); results of
tools only where the operator names the tool and the tool calls itself read-only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from fleet.doors import LOOPBACK_NAMES, host_of
from fleet.telemetry import TOOLS_CALL
from gateway.headers import HOP_BY_HOP, RawHeaders
from gateway.jsonrpc import Era, Kind, Message
from gateway.sessions import legacy_key

STORABLE: Final = frozenset(
    {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
)
"""Methods whose modern results carry ``ttlMs`` and ``cacheScope``."""

_ONE_TIME: Final = frozenset({"inputResponses", "requestState", "task"})
"""Parameters of a request whose answer is meant for this request alone."""

_NO_MATTER_IN_META: Final = frozenset(
    {"progressToken", "io.modelcontextprotocol/clientInfo", "traceparent", "tracestate", "baggage"}
)
_NO_MATTER: Final = HOP_BY_HOP | {
    b"content-length", b"accept-encoding", b"user-agent", b"expect",
    b"traceparent", b"tracestate", b"baggage", b"x-request-id",
}  # fmt: skip
"""Headers that change no answer. Every other one tells answers apart: any of them may be a credential."""

_MATTER_TO_ALL: Final = frozenset({b"host", b"origin", b"accept", b"accept-language", b"content-type"})
"""Of an answer for everybody only these and ``Mcp-*`` count. Host and Origin, or a page that the server would turn
away could read what others asked for."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request whose answer may be stored.

    Attributes:
        id: the request's id as it was sent.
        modern: whether its client knows ``ttlMs``.
        of_tool: whether the operator's allow-list made it storable: the TOML bounds its age.
        shared: digest of what an answer for everybody (``cacheScope: public``) depends on.
        private: digest of everything, credentials included.
        session: digest of its legacy session, empty without one.
    """

    method: str
    uri: str
    id: bytes
    modern: bool
    of_tool: bool
    shared: bytes
    private: bytes
    session: bytes


def question(
    target: str, headers: RawHeaders, body: bytes, message: Message, may_store: Callable[[str], bool]
) -> Question | None:
    """The question that ``message``, the only one in ``body``, asks; None when its answer must not be stored.

    ``may_store`` tells whether results of a tool may be.
    """
    of_tool = message.method == TOOLS_CALL and may_store(message.tool)
    listed = message.method in STORABLE and message.era is Era.MODERN
    if message.kind is not Kind.REQUEST or not (of_tool or listed):
        return None
    pairs = sorted((name.lower(), _place(value) if name.lower() == b"host" else value) for name, value in headers)
    if any(name == b"content-encoding" for name, _ in pairs):
        return None
    try:
        request = json.loads(body, object_pairs_hook=_without_doubles, parse_constant=_refused)
        identity = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["id"]
        return _question(target, pairs, request, bytes(identity).strip(), message)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, msgspec.DecodeError):
        return None


def _question(
    target: str, pairs: list[tuple[bytes, bytes]], request: dict[str, Any], identity: bytes, message: Message
) -> Question | None:  # fmt: skip
    params = dict(request.get("params") or {})
    if not _ONE_TIME.isdisjoint(params):
        return None
    meta = params.pop("_meta", None) or {}
    params["_meta"] = {key: value for key, value in meta.items() if key not in _NO_MATTER_IN_META}
    asked = json.dumps([target, message.method, params], sort_keys=True, allow_nan=False).encode()
    session = next((value for name, value in pairs if name == b"mcp-session-id"), b"")
    return Question(
        method=message.method,
        uri=str(params.get("uri", "")) if message.method == "resources/read" else "",
        id=identity,
        modern=message.era is Era.MODERN,
        of_tool=message.method == TOOLS_CALL,
        shared=_digest(b"shared", asked, (pair for pair in pairs if _matters_to_all(pair[0]))),
        private=_digest(b"private", asked, (pair for pair in pairs if pair[0] not in _NO_MATTER)),
        session=legacy_key(session.decode("utf-8", "surrogateescape"))[1] if session else b"",
    )


_LOOPBACK: Final = re.compile(r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}")
"""An address: a name may begin as one does, and be anybody's."""


def _place(host: bytes) -> bytes:
    """This machine is one place, whatever port a gateway has there: gateways that share a cache differ in it."""
    name = host_of(host.decode("latin-1"))
    return b"loopback" if name in LOOPBACK_NAMES or _LOOPBACK.fullmatch(name) else host


def _matters_to_all(name: bytes) -> bool:
    return name in _MATTER_TO_ALL or name.startswith(b"mcp-")


def _digest(scope: bytes, asked: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    import hashlib  # noqa: PLC0415 - brings OpenSSL with it, which not every gateway needs

    pieces = [scope, len(asked).to_bytes(8), asked]
    for name, value in pairs:
        pieces += (len(name).to_bytes(8), name, len(value).to_bytes(8), value)
    return hashlib.blake2b(b"".join(pieces), digest_size=24).digest()


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers of a key that comes twice may take different values: no answer to that is safe to give again.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
