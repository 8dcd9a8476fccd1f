"""What a copy of a body says: the JSON-RPC messages in it. Pure; never raises, whatever the bytes are.

Nothing here is ever sent on: the relay moves the original bytes. JSON is peeked with typed structs that leave
arguments and results unparsed.
"""

from __future__ import annotations

import enum
import re
from functools import lru_cache
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

MAX_TOOLS_IN_ANSWER: Final = 1000
"""Names read from one tools/list answer; more would only be folded into ``other`` later."""

_MALFORMED = (msgspec.DecodeError, RecursionError, ValueError)  # ValueError covers UnicodeDecodeError
Optional = Raw | UnsetType
_T = TypeVar("_T")


class Kind(enum.Enum):
    """What a JSON-RPC message is."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"


class Era(enum.Enum):
    """Which of the two protocol generations a message belongs to."""

    LEGACY = "legacy"
    MODERN = "modern"


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message. A struct, not a dataclass: it is made for every line, and a frozen dataclass takes 3 µs.

    Attributes:
        id: canonical JSON of the id, so that ``"1"`` is not ``1``; empty for a notification.
        method: empty for a response.
        tool: ``params.name`` of tools/call, else empty. As sent: not yet a label.
        era: ``_meta`` decides; a response has the era LEGACY for want of evidence.
        client: canonical JSON of the modern ``clientInfo``, else empty.
        error_code: of an error response, None for a result.
        is_error: the result says ``isError: true``.
        cancels: canonical id that a ``notifications/cancelled`` names, else empty.
        tools: names listed by a tools/list result.
        read_only: those of them that say ``readOnlyHint: true``.
        uri: ``params.uri`` of a notification, else empty.
        legible: False when part of what matters here could not be told (a clipped or malformed member).
    """

    kind: Kind
    id: bytes = b""
    method: str = ""
    tool: str = ""
    era: Era = Era.LEGACY
    client: bytes = b""
    error_code: int | None = None
    is_error: bool = False
    cancels: bytes = b""
    tools: tuple[str, ...] = ()
    read_only: frozenset[str] = frozenset()
    uri: str = ""
    legible: bool = True


class Peek(msgspec.Struct, frozen=True, gc=False):
    """The messages of one body, and how many items of it could not be read."""

    messages: tuple[Message, ...] = ()
    unreadable: int = 0


class _Envelope(msgspec.Struct):
    id: Optional = UNSET
    method: Optional = UNSET
    params: Optional = UNSET
    result: Optional = UNSET
    error: Optional = UNSET


# What nearly every message looks like, read in one step. Whatever does not fit is read member by member, to the same
# end: these types allow only what both ways understand alike.


class _UsualMeta(
    msgspec.Struct,
    rename={"version": "io.modelcontextprotocol/protocolVersion", "client": "io.modelcontextprotocol/clientInfo"},
):
    version: Optional = UNSET
    client: Optional = UNSET


class _UsualParams(msgspec.Struct, rename={"meta": "_meta", "request_id": "requestId"}):
    name: str | UnsetType = UNSET
    meta: _UsualMeta | UnsetType = UNSET
    request_id: Optional = UNSET
    uri: str | UnsetType = UNSET


class _UsualResult(msgspec.Struct, rename={"is_error": "isError"}):
    is_error: bool | UnsetType = UNSET
    tools: Optional = UNSET


class _Usual(msgspec.Struct):
    id: Optional = UNSET
    method: str | UnsetType = UNSET
    params: _UsualParams | UnsetType = UNSET
    result: _UsualResult | UnsetType = UNSET
    error: Optional = UNSET


class _Params(msgspec.Struct, rename={"meta": "_meta", "request_id": "requestId"}):
    name: Optional = UNSET
    meta: Optional = UNSET
    request_id: Optional = UNSET
    uri: Optional = UNSET


class _Meta(
    msgspec.Struct,
    rename={"version": "io.modelcontextprotocol/protocolVersion", "client": "io.modelcontextprotocol/clientInfo"},
):
    version: Optional = UNSET
    client: Optional = UNSET


class _Result(msgspec.Struct, rename={"is_error": "isError"}):
    is_error: Optional = UNSET
    tools: Optional = UNSET


class _Error(msgspec.Struct):
    code: Optional = UNSET


class _Tool(msgspec.Struct):
    name: str
    annotations: Optional = UNSET


class _Annotations(msgspec.Struct, rename={"read_only": "readOnlyHint"}):
    read_only: bool = False


_usual = msgspec.json.Decoder(_Usual)
_envelopes = msgspec.json.Decoder(_Envelope)
_items = msgspec.json.Decoder(list[Raw])
_params = msgspec.json.Decoder(_Params)
_metas = msgspec.json.Decoder(_Meta)
_results = msgspec.json.Decoder(_Result)
_errors = msgspec.json.Decoder(_Error)
_tools = msgspec.json.Decoder(_Tool)
_annotations = msgspec.json.Decoder(_Annotations)


def peek(body: bytes) -> Peek:
    """Read a whole body: one message or a batch array, counted item by item."""
    stripped = body.lstrip(b" \t\r\n")
    if not stripped.startswith(b"["):
        message = _message(stripped)
        return Peek(unreadable=1) if message is None else Peek((message,))
    try:
        items = _items.decode(stripped)
    except _MALFORMED:
        return Peek(unreadable=1)
    read = [_message(bytes(item)) for item in items]
    messages = tuple(message for message in read if message is not None)
    return Peek(messages, len(read) - len(messages))


class Call(msgspec.Struct, gc=False):
    """A request as ``glance_at_call`` sees it; as in ``Message``, but ``id`` and ``client`` are as they were sent."""

    id: Raw
    method: str
    tool: str
    modern: bool
    client: Raw | None


def glance_at_call(body: bytes) -> Call | None:
    """The one request that a body holds, as ``peek`` would tell it; None for what is not that plain."""
    try:
        usual = _usual.decode(body)
    except _MALFORMED:
        return None
    method, identity, params = usual.method, usual.id, usual.params
    if method is UNSET or identity is UNSET or params is UNSET:
        return None
    tool = params.name if method == "tools/call" and params.name is not UNSET else ""
    meta = params.meta
    if meta is UNSET:
        return Call(identity, method, tool, False, None)
    return Call(identity, method, tool, meta.version is not UNSET, None if meta.client is UNSET else meta.client)


def glance_at_result(body: bytes, identity: Raw) -> bool | None:
    """Whether the one result that a body holds says ``isError``; None for what is not that plain, or of another id."""
    try:
        usual = _usual.decode(body)
    except _MALFORMED:
        return None
    result = usual.result
    if result is UNSET or result.tools is not UNSET or usual.method is not UNSET or usual.error is not UNSET:
        return None
    return result.is_error is True if usual.id == identity else None


def canonical(raw: bytes) -> bytes:
    """An id's one spelling: ``"\\u0061"`` and ``"a"`` are equal, ``"1"`` and ``1`` are not."""
    try:
        return msgspec.json.encode(msgspec.json.decode(raw))
    except (*_MALFORMED, TypeError, OverflowError):
        return raw.strip()


_canonical_client = lru_cache(maxsize=64)(canonical)
"""Every call of a modern client brings the same clientInfo."""


def _message(item: bytes) -> Message | None:
    try:
        usual = _usual.decode(item)
    except _MALFORMED:
        return _unusual(item)
    if usual.method is not UNSET:
        return _usual_request(usual, usual.method)
    result = usual.result
    if usual.error is not UNSET or result is UNSET or result.tools is not UNSET:
        return _unusual(item)
    return Message(Kind.RESPONSE, _id(usual.id), is_error=result.is_error is True)


def _usual_request(usual: _Usual, method: str) -> Message:
    params = usual.params
    kind = Kind.NOTIFICATION if usual.id is UNSET else Kind.REQUEST
    if params is UNSET:
        return Message(kind, _id(usual.id), method)
    tool = params.name if method == "tools/call" and params.name is not UNSET else ""
    meta = params.meta
    modern = meta is not UNSET and meta.version is not UNSET
    client = meta.client if meta is not UNSET else UNSET
    return Message(
        kind=kind,
        id=_id(usual.id),
        method=method,
        tool=tool,
        era=Era.MODERN if modern else Era.LEGACY,
        client=b"" if client is UNSET else _canonical_client(bytes(client)),
        cancels=_id(params.request_id) if method == "notifications/cancelled" else b"",
        uri=params.uri if kind is Kind.NOTIFICATION and params.uri is not UNSET else "",
    )


def _unusual(item: bytes) -> Message | None:
    try:
        envelope = _envelopes.decode(item)
    except _MALFORMED:
        return None
    if envelope.method is not UNSET:
        return _request(envelope, envelope.method)
    if envelope.result is not UNSET or envelope.error is not UNSET:
        return _response(envelope)
    return None


def _request(envelope: _Envelope, raw_method: Raw) -> Message | None:
    method = text(raw_method)
    if method is None:
        return None
    params = _decoded(_params, envelope.params) or _Params()
    meta = _decoded(_metas, params.meta) or _Meta()
    era = Era.LEGACY if meta.version is UNSET else Era.MODERN
    kind = Kind.NOTIFICATION if envelope.id is UNSET else Kind.REQUEST
    return Message(
        kind=kind,
        id=_id(envelope.id),
        method=method,
        tool=(text(params.name) or "") if method == "tools/call" else "",
        era=era,
        client=b"" if meta.client is UNSET else canonical(bytes(meta.client)),
        cancels=_id(params.request_id) if method == "notifications/cancelled" else b"",
        uri=(text(params.uri) or "") if kind is Kind.NOTIFICATION else "",
    )


def _response(envelope: _Envelope) -> Message:
    if envelope.error is not UNSET:
        error = _decoded(_errors, envelope.error)
        code = None if error is None else integer(error.code)
        return Message(Kind.RESPONSE, id=_id(envelope.id), error_code=0 if code is None else code)
    result = _decoded(_results, envelope.result) or _Result()
    is_error = result.is_error is not UNSET and bytes(result.is_error) == b"true"
    tools = _listed(result.tools)
    return Message(
        Kind.RESPONSE,
        id=_id(envelope.id),
        is_error=is_error,
        tools=tuple(tool.name for tool in tools),
        read_only=frozenset(tool.name for tool in tools if _says_read_only(tool)),
    )


def _listed(raw: Optional) -> list[_Tool]:
    if raw is UNSET:
        return []
    try:
        items = _items.decode(bytes(raw))[:MAX_TOOLS_IN_ANSWER]
    except _MALFORMED:
        return []
    found = [_decoded(_tools, item) for item in items]
    return [tool for tool in found if tool is not None]


def _says_read_only(tool: _Tool) -> bool:
    annotations = _decoded(_annotations, tool.annotations)
    return annotations is not None and annotations.read_only


def _decoded(decoder: msgspec.json.Decoder[_T], raw: Optional) -> _T | None:
    if raw is UNSET:
        return None
    try:
        return decoder.decode(bytes(raw))
    except _MALFORMED:
        return None


_PLAIN_ID: Final = re.compile(rb'(?:0|[1-9][0-9]{0,17}|"[ !#-\[\]-~]*")')
"""Ids that are their own canonical form; nearly all are."""


def _id(raw: Optional) -> bytes:
    if raw is UNSET:
        return b""
    text = bytes(raw)
    return text if _PLAIN_ID.fullmatch(text) else canonical(text)


def text(raw: Optional) -> str | None:
    """A JSON string, None for anything else."""
    try:
        return None if raw is UNSET else msgspec.json.decode(bytes(raw), type=str)
    except _MALFORMED:
        return None


def integer(raw: Optional) -> int | None:
    """A JSON integer, None for anything else."""
    try:
        return None if raw is UNSET else msgspec.json.decode(bytes(raw), type=int)
    except _MALFORMED:
        return None
