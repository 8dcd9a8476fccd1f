"""Which answers may be given again, and how one is given again with another request's id. Pure; never raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.headers import HOP_BY_HOP
from gateway.jsonrpc import canonical
from gateway.questions import Question
from gateway.spans import Span, members, spliced, whole

EVENTS: Final = "text/event-stream"
JSON: Final = "application/json"

FORMAT: Final = 1
"""Of a packed answer; another one is not read."""

_OF_ONE_ANSWER: Final = frozenset({"content-length", "date", "server"}) | {name.decode() for name in HOP_BY_HOP}
_LINE: Final = re.compile(rb"([^\r\n]*)(?:\r\n|\n|\r)")
_MALFORMED = (msgspec.DecodeError, RecursionError, ValueError)
_OVERHEAD: Final = 1024
"""What an entry takes beside its bytes, roughly."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 200 with these headers and this body."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


class _Packed(msgspec.Struct, array_like=True):
    format: int
    headers: list[tuple[str, str]]
    body: bytes
    id_span: tuple[int, int]
    ttl_span: tuple[int, int] | None
    ttl_seconds: float | None
    public: bool
    lifetime: float


class _Result(
    msgspec.Struct,
    rename={"type": "resultType", "is_error": "isError", "ttl_ms": "ttlMs", "scope": "cacheScope"}
    | {"input_requests": "inputRequests"},
):
    type: str = "complete"
    is_error: bool = False
    ttl_ms: int | float | None = None
    scope: str = "private"
    task: Raw | UnsetType = UNSET
    input_requests: Raw | UnsetType = UNSET


class _Response(msgspec.Struct):
    id: Raw
    result: _Result
    error: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET


_responses = msgspec.json.Decoder(_Response)
_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(_Packed)
_BREAKS: Final = re.compile(r"[\r\n\0]")
"""Inside a header these would begin another one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer with the spans that change. ``ttl_seconds`` is the server's own word, None where it gave none."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    id_span: Span
    ttl_span: Span | None
    ttl_seconds: float | None
    public: bool

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.body) + _OVERHEAD

    def for_request(self, identity: bytes, age: float) -> Answer:
        """The answer to a request with this id (raw JSON), ``age`` seconds after it was stored."""
        replaced = [(self.id_span, identity)]
        if self.ttl_span is not None and self.ttl_seconds is not None:
            replaced.append((self.ttl_span, b"%d" % max(0, int((self.ttl_seconds - age) * 1000))))
        return Answer(self.headers, spliced(self.body, replaced))


def read_answer(question: Question, headers: Mapping[str, str], body: bytes) -> Stored | None:
    """The complete answer of status 200 to ``question`` as it may be stored; None when it must not be.

    Not stored are errors, results that want input or name a task, a stream with more than the result in it, encoded
    bodies, and what sets a cookie. ``ttl_seconds`` may be 0 or None: how old it may become is the cache's affair.
    """
    named = {name.lower(): value for name, value in headers.items()}
    encoding = named.get("content-encoding", "identity").strip().lower()
    content = _content(named.get("content-type", ""), body)
    if "set-cookie" in named or encoding != "identity" or content is None:
        return None
    try:
        response = _responses.decode(content.of(body))
    except _MALFORMED:
        return None
    result = response.result
    if not _complete(response) or canonical(bytes(response.id)) != canonical(question.id):
        return None
    top = members(body, content)
    inner = None if top is None or "result" not in top else members(body, top["result"])
    if top is None or inner is None or "id" not in top:
        return None
    # A legacy client does not know ttlMs; should its answer have one, it is just a member.
    ttl_ms = result.ttl_ms if question.modern else None
    if ttl_ms is not None and not 0 <= ttl_ms <= 2**53:
        return None
    return Stored(
        headers=tuple((name, value) for name, value in headers.items() if name.lower() not in _OF_ONE_ANSWER),
        body=body,
        id_span=top["id"],
        ttl_span=inner.get("ttlMs") if ttl_ms is not None else None,
        ttl_seconds=None if ttl_ms is None else ttl_ms / 1000,
        public=question.modern and result.scope == "public",
    )


def pack(stored: Stored, lifetime: float) -> bytes:
    """An answer and how many seconds it may be given again, for a place outside this process."""
    ttl = stored.ttl_span
    return _packer.encode(
        _Packed(
            FORMAT, list(stored.headers), stored.body, (stored.id_span.start, stored.id_span.end),
            None if ttl is None else (ttl.start, ttl.end), stored.ttl_seconds, stored.public, lifetime,
        )
    )  # fmt: skip


def unpack(packed: bytes) -> tuple[Stored, float] | None:
    """What ``pack`` made; None for anything else: whoever writes there may write anything."""
    try:
        read = _unpacker.decode(packed)
    except _MALFORMED:
        return None
    spans = sorted(span for span in (read.id_span, read.ttl_span) if span is not None)
    edges = [0, *(edge for span in spans for edge in span), len(read.body)]
    well_formed = (
        read.format == FORMAT
        and edges == sorted(edges)
        and all(start < end for start, end in spans)
        and (read.ttl_span is None) == (read.ttl_seconds is None)
        and 0 <= (read.ttl_seconds or 0) < 2**53
        and 0 < read.lifetime < 2**53
        and not any(_BREAKS.search(text) for header in read.headers for text in header)
    )
    if not well_formed:
        return None
    ttl_span = None if read.ttl_span is None else Span(*read.ttl_span)
    headers = tuple(read.headers)
    return Stored(headers, read.body, Span(*read.id_span), ttl_span, read.ttl_seconds, read.public), read.lifetime


def _complete(response: _Response) -> bool:
    result = response.result
    unasked = (response.error, response.method, result.task, result.input_requests)
    return result.type == "complete" and not result.is_error and all(each is UNSET for each in unasked)


def _content(content_type: str, body: bytes) -> Span | None:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return whole(body)
    return _only_event(body) if kind == EVENTS else None


def _only_event(body: bytes) -> Span | None:
    """The data of a stream that holds one event with one line of data, and nothing that it could be resumed from."""
    found: Span | None = None
    for line in _LINE.finditer(body):
        text = line.group(1)
        if text.startswith((b"id", b"\xef\xbb\xbf")) or (text.startswith(b"event:") and text[6:].strip() != b"message"):
            return None
        if text.startswith(b"data"):
            if found is not None or not text.startswith(b"data:"):
                return None
            skip = 6 if text.startswith(b"data: ") else 5
            found = Span(line.start() + skip, line.end(1))
    ended = body.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
    return found if ended and found is not None and found.end > found.start else None
