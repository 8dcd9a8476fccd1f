"""Bounded copies of bodies for measuring, decoded where they are compressed. Pure; the originals are relayed."""

from __future__ import annotations

import re
import zlib
from typing import Final, Protocol

HEAD_BYTES: Final = 64 * 1024
"""A body up to this size is kept whole."""

LIST_BYTES: Final = 2 * 1024 * 1024
"""The bound for an answer to tools/list, whose names stand all over it."""

TAIL_BYTES: Final = 4 * 1024
"""Of a larger one its first HEAD_BYTES and its last TAIL_BYTES are kept."""

_MARK: Final = re.compile(rb'[{,]\s*"isError"\s*:\s*(true|false)')
_MARK_BYTES: Final = 64
"""Overlap of two chunks, so that a mark cut in two is still found."""

_INFLATE_STEP: Final = 64 * 1024
MAX_INFLATED_BYTES: Final = 256 * 1024 * 1024
"""Decoding stops there: a compressed bomb costs the measuring, never the traffic."""


class Clip:
    """The beginning and the end of a byte stream, in bounded memory.

    ``marks`` are the values (``true``, ``false``) of every ``isError`` member beyond the head, at whatever depth: the
    official SDK writes it between two copies of a large result. Inside a JSON string its quotes would be escaped.
    """

    __slots__ = ("_bound", "_edge", "_head", "_tail", "marks", "total")

    def __init__(self, bound: int = HEAD_BYTES) -> None:
        self._bound = bound
        self._head = bytearray()
        self._tail = bytearray()
        self._edge = b""
        self.marks: set[bytes] = set()
        self.total = 0

    def add(self, chunk: bytes | memoryview) -> None:
        """Append a chunk."""
        self.total += len(chunk)
        room = self._bound - len(self._head)
        if room > 0:
            self._head += chunk[:room]
        if len(chunk) > room:
            self._look_for_marks(bytes(chunk[room:]))
            self._tail += chunk[max(room, len(chunk) - TAIL_BYTES, 0) :]
            if len(self._tail) > 4 * TAIL_BYTES:
                del self._tail[:-TAIL_BYTES]

    def add_gap(self, missing: int) -> None:
        """Append ``missing`` bytes that nobody kept; zeros stand for those that still belong to the head."""
        if missing > 0:
            self._head += bytes(min(missing, self._bound - len(self._head)))
            self._tail.clear()
            self.total += missing

    def add_clip(self, other: Clip) -> None:
        """Append another stream that may itself be clipped."""
        self.add(other.head)
        self.marks |= other.marks
        if not other.whole:
            self.add_gap(other.total - len(other.head) - len(other.tail))
            self.add(other.tail)

    def _look_for_marks(self, beyond: bytes) -> None:
        seen = (self._edge or bytes(self._head[-_MARK_BYTES:])) + beyond
        if b'"isError"' in seen:
            self.marks.update(mark.group(1) for mark in _MARK.finditer(seen))
        self._edge = seen[-_MARK_BYTES:]

    @property
    def whole(self) -> bool:
        """Whether ``head`` is everything."""
        return self.total == len(self._head)

    @property
    def head(self) -> bytes:
        """The first bytes, at most the bound."""
        return bytes(self._head)

    @property
    def tail(self) -> bytes:
        """The last bytes beyond ``head``, at most TAIL_BYTES; empty when ``head`` is everything."""
        return bytes(self._tail[-TAIL_BYTES:])


class Decoder(Protocol):
    """Turns body bytes into content bytes."""

    legible: bool

    def decode(self, chunk: bytes) -> list[bytes]:
        """The content of a chunk, in bounded pieces; empty once ``legible`` is False."""


class Identity:
    """No content encoding."""

    legible = True

    def decode(self, chunk: bytes) -> list[bytes]:
        """The chunk itself."""
        return [chunk]


_IDENTITY: Final = Identity()


class Unreadable:
    """A content encoding that is not decoded here (br, zstd)."""

    legible = False

    def decode(self, chunk: bytes) -> list[bytes]:  # noqa: ARG002 - the shape of a Decoder
        """Nothing."""
        return []


class Inflate:
    """gzip and deflate (with zlib's wrapper, or raw as some servers send it)."""

    def __init__(self, raw_allowed: bool) -> None:
        self.legible = True
        self._raw_allowed = raw_allowed
        self._inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self._total = 0

    def decode(self, chunk: bytes) -> list[bytes]:
        """Inflate a chunk; data that is damaged or too large turns ``legible`` off for good."""
        if not self.legible:
            return []
        try:
            return self._inflated(chunk)
        except zlib.error:
            if self._raw_allowed and self._total == 0:
                self._raw_allowed = False
                self._inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
                return self.decode(chunk)
            self.legible = False
            return []

    def _inflated(self, chunk: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        pending = chunk
        while pending:
            piece = self._inflater.decompress(pending, _INFLATE_STEP)
            pending = self._inflater.unconsumed_tail
            if self._inflater.eof and self._inflater.unused_data:
                pending = self._inflater.unused_data  # a further gzip member
                self._inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            self._total += len(piece)
            if self._total > MAX_INFLATED_BYTES:
                self.legible = False
                return []
            pieces.append(piece)
        return pieces


def decoder(content_encoding: str) -> Decoder:
    """The decoder for a ``Content-Encoding`` header; several encodings at once are not read."""
    if not content_encoding:
        return _IDENTITY
    name = content_encoding.strip().lower()
    if name in {"", "identity"}:
        return _IDENTITY
    if name in {"gzip", "x-gzip"}:
        return Inflate(raw_allowed=False)
    if name == "deflate":
        return Inflate(raw_allowed=True)
    return Unreadable()
