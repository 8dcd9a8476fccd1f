"""The gateway's own answers to a request, as bytes."""

from __future__ import annotations

from typing import Final

from gateway import refusals
from gateway.answers import EVENTS, JSON, Answer
from gateway.http.heads import whole_answer
from gateway.http.reader import Head, Request
from gateway.steering import Refusal

_TEXT: Final = ((b"Content-Type", b"text/plain; charset=utf-8"),)
_JSON: Final = (b"Content-Type", JSON.encode())
_ENDINGS: Final = (b"\n\n", b"\n\r\n", b"\r\r")

Lines = tuple[tuple[bytes, bytes], ...]


def text(request: Request, status: int, sentence: str) -> bytes:
    """A line of text: what the shared listener itself has to say."""
    return _own(request, status, _TEXT, sentence.encode())


def stored_answer(request: Request, answer: Answer) -> bytes:
    """An answer from the cache."""
    lines = tuple(
        (name.encode("latin-1"), value.encode("utf-8", "surrogateescape")) for name, value in answer.headers
    )  # fmt: skip
    return _own(request, 200, lines, answer.body)


def refusal_answer(request: Request, request_id: bytes, refusal: Refusal) -> bytes:
    """A refusal: 503, and when to come again."""
    body = refusals.jsonrpc_error(request_id, refusal.code, refusal.message)
    return _own(request, 503, (_JSON, (b"Retry-After", b"%d" % refusal.retry_after)), body)


def error_answer(request: Request, status: int, request_id: bytes, code: refusals.Code, message: str) -> bytes:
    """A JSON-RPC error of the gateway's own."""
    return _own(request, status, (_JSON,), refusals.jsonrpc_error(request_id, code, message))


def error_event(request_id: bytes, code: refusals.Code, message: str) -> bytes:
    """The same as an event of a stream."""
    return b"event: message\ndata: " + refusals.jsonrpc_error(request_id, code, message) + b"\n\n"


def between_events(head: Head, sent: bytes) -> bool:
    """Whether an event may be added to this answer, of which ``sent`` went last."""
    plain = head.fields.get("Content-Encoding", "identity").lower() == "identity"
    kind = head.fields.get("Content-Type", "").partition(";")[0].strip().lower()
    return plain and kind == EVENTS and sent.endswith(_ENDINGS)


def closes(request: Request) -> bool:
    """Whether the connection ends with the answer: the client asked for it, or did not wait until it was heard."""
    return not (request.keeps_alive and request.complete)


def _own(request: Request, status: int, lines: Lines, body: bytes) -> bytes:
    joined = b"".join([b"%b: %b\r\n" % line for line in lines])
    return whole_answer(
        status, joined, body, method=request.method, closes=closes(request), old_client=request.old
    )  # fmt: skip
