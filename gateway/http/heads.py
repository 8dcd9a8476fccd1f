"""The heads that go out, as bytes. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.http.fields import Sorted
from gateway.http.framing import Framing

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_KEEP: Final = b"Connection: keep-alive\r\n"


def request_head(
    method: str, target: str, sorted_fields: Sorted, *, chunked: bool, authority: bytes, closes: bool
) -> bytes:  # fmt: skip
    """The head of a request to the server; ``authority`` serves where the client named no Host."""
    parts = [f"{method} {target} HTTP/1.1\r\n".encode("latin-1")]
    if not sorted_fields.hosts:
        parts.append(b"Host: %b\r\n" % authority)
    parts.append(sorted_fields.lines)
    if chunked:
        parts.append(_CHUNKED)
    if closes:
        parts.append(_CLOSE)
    parts.append(b"\r\n")
    return b"".join(parts)


def answer_head(
    status: int, reason: bytes, lines: bytes, framing: Framing, *, closes: bool, old_client: bool
) -> bytes:  # fmt: skip
    """The head of an answer to the client, ``framing`` as it goes out; ``old_client`` speaks HTTP/1.0."""
    chunked = _CHUNKED if framing is Framing.CHUNKED else b""
    kept = _KEEP if old_client else b""
    connection = _CLOSE if closes else kept
    return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (status, reason, lines, chunked, connection)


def to_client(framing: Framing, *, old_client: bool) -> Framing:
    """How an answer framed so by the server goes to the client: a clean end must be told from a broken one."""
    if framing is Framing.CLOSE or framing is Framing.CHUNKED:
        return Framing.CLOSE if old_client else Framing.CHUNKED
    return framing


def whole_answer(
    status: int, lines: bytes, body: bytes, *, method: str, closes: bool, old_client: bool
) -> bytes:  # fmt: skip
    """An answer of the gateway's own; a HEAD gets the head alone."""
    framed = b"%bContent-Length: %d\r\n" % (lines, len(body))
    reason = HTTPStatus(status).phrase.encode()
    head = answer_head(status, reason, framed, Framing.LENGTH, closes=closes, old_client=old_client)
    return head if method == "HEAD" else head + body
