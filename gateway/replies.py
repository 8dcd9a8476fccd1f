"""The gateway's own answers to a request, as bytes."""

from __future__ import annotations

from typing import Final

from fleet.inventory import Server
from gateway import refusals
from gateway.answers import EVENTS, JSON, Answer
from gateway.http.answer_reader import Head
from gateway.http.heads import whole_answer
from gateway.http.reader import Request
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


def unreachable_answer(request: Request, request_id: bytes, server: Server, reason: str) -> bytes:
    """The server gave no answer, or none that is HTTP."""
    message = refusals.unreachable(server.name, server.url, reason)
    return _own(request, 502, (_JSON,), refusals.jsonrpc_error(request_id, refusals.Code.UNREACHABLE, message))


def silent_answer(request: Request, request_id: bytes, server: str) -> bytes:
    """The server was silent for longer than its limits."""
    return _own(request, 504, (_JSON,), _silent(request_id, server))


def silent_event(request_id: bytes, server: str) -> bytes:
    """The same as an event of a stream."""
    return b"event: message\ndata: " + _silent(request_id, server) + b"\n\n"


def between_events(head: Head, sent: bytes) -> bool:
    """Whether an event may be added to this answer, of which ``sent`` went last."""
    plain = head.fields.get("Content-Encoding", "identity").lower() == "identity"
    kind = head.fields.get("Content-Type", "").partition(";")[0].strip().lower()
    return plain and kind == EVENTS and sent.endswith(_ENDINGS)


def closes(request: Request) -> bool:
    """Whether the connection ends with the answer: the client asked for it, or did not wait until it was heard."""
    return not (request.keeps_alive and request.complete)


def _silent(request_id: bytes, server: str) -> bytes:
    return refusals.jsonrpc_error(request_id, refusals.Code.SILENT, refusals.silent(server))


def _own(request: Request, status: int, lines: Lines, body: bytes) -> bytes:
    joined = b"".join([b"%b: %b\r\n" % line for line in lines])
    return whole_answer(
        status, joined, body, method=request.method, closes=closes(request), old_client=request.old
    )  # fmt: skip
