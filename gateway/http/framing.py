"""How a message's body is delimited, coming in and going out. Pure.

One rule on both sides: exactly one framing field goes out, and what could be read in two ways is refused, because two
readers of it would disagree about where the next message begins.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from gateway.http.fields import Sorted

MAX_HEAD_BYTES: Final = 64 * 1024


class Framing(enum.Enum):
    """How the end of a body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Malformed:
    """Why a message is refused: the status a client is told, and a sentence."""

    status: int
    reason: str


TOO_LARGE: Final = Malformed(431, f"the header is larger than {MAX_HEAD_BYTES} bytes")
NOT_HTTP: Final = Malformed(400, "this is not HTTP/1.1")

_AMBIGUOUS: Final = Malformed(400, "the length of the body is given in two ways")
_TWO_HOSTS: Final = Malformed(400, "there is more than one Host")
_CODED: Final = Malformed(501, "the only transfer coding that is served here is chunked")
_TUNNEL: Final = Malformed(400, "CONNECT asks for a tunnel; there is none here")
_CHUNKED: Final = (b"chunked",)


def of_request(method: str, sorted_fields: Sorted) -> Framing | Malformed:
    """The framing of a request, or why it is refused."""
    if method == "CONNECT":
        return _TUNNEL
    if sorted_fields.hosts > 1:
        return _TWO_HOSTS
    if sorted_fields.codings:
        return _coded(sorted_fields)
    if sorted_fields.doubled:
        return _AMBIGUOUS
    return Framing.LENGTH if sorted_fields.length else Framing.NONE


def of_answer(method: str, status: int, sorted_fields: Sorted) -> Framing | Malformed:
    """The framing of an answer to ``method``, or why it cannot be read."""
    if method == "HEAD" or status < 200 or status in {204, 304}:
        return Framing.NONE
    if sorted_fields.codings:
        return _coded(sorted_fields)
    if sorted_fields.doubled:
        return _AMBIGUOUS
    if sorted_fields.length is None:
        return Framing.CLOSE
    return Framing.LENGTH if sorted_fields.length else Framing.NONE


def _coded(sorted_fields: Sorted) -> Framing | Malformed:
    if sorted_fields.length is not None:
        return _AMBIGUOUS
    return Framing.CHUNKED if sorted_fields.codings == _CHUNKED else _CODED


def chunk(pieces: list[bytes]) -> list[bytes]:
    """Pieces of a body as one chunk; none when they hold no byte, because an empty chunk would be the end."""
    size = sum(map(len, pieces))
    return [b"%x\r\n" % size, *pieces, b"\r\n"] if size else []


def last_chunk(trailers: bytes) -> bytes:
    """The end of a chunked body."""
    return b"0\r\n%b\r\n" % trailers
