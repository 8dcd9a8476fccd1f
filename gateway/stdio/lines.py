"""A byte stream as lines: whole ones as long as they are short, pieces of those that are not. Pure.

Not one byte is changed: the data of all pieces joined is the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.copies import LIST_BYTES, Clip

HOLD_BYTES: Final = 64 * 1024
"""A line is held until it ends or is longer than this; then it streams through in pieces."""

Bound = Callable[[], int]
"""Bytes of one line that are kept at most; of any line HOLD_BYTES may be, because that much comes at once."""


def list_bytes() -> int:
    """As long as nobody wants less."""
    return LIST_BYTES


@dataclass(frozen=True, slots=True)
class Piece:
    """A line (``starts`` and ``ends``) or a part of one.

    ``data`` is what is relayed, with the line's end as it came; ``copy`` the whole line's bounded copy where it ends.
    """

    data: bytes
    starts: bool
    ends: bool
    copy: Clip | None = None


class Lines:
    """Cuts one direction. ``mid_line`` says that a line was begun to be given out and has not ended."""

    def __init__(self, bound: Bound = list_bytes) -> None:
        self._bound = bound
        self._held = bytearray()
        self._long: Clip | None = None

    @property
    def mid_line(self) -> bool:
        """Whether the next piece continues a line."""
        return self._long is not None

    def whole(self, chunk: bytes) -> bytes | None:
        """The lines that ``chunk`` completes, in one; what follows them is held.

        None, and nothing taken, when it completes none, or the end of one that is being given out: then ``feed``.
        """
        end = chunk.rfind(b"\n") + 1
        if not end or self._long is not None:
            return None
        lines = chunk if end == len(chunk) else chunk[:end]
        if self._held:
            lines = bytes(self._held) + lines
            self._held.clear()
        self._held += chunk[end:]
        return lines

    def feed(self, chunk: bytes, hold: int = HOLD_BYTES) -> list[Piece]:
        """The pieces that ``chunk`` completes."""
        pieces: list[Piece] = []
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            pieces.append(self._ended(chunk[start : end + 1]))
            start = end + 1
        if start < len(chunk):
            self._held += chunk[start:]
            if len(self._held) > hold or self._long is not None:
                pieces.append(self._streamed())
        return pieces

    def rest(self) -> list[Piece]:
        """What is left at the end of the stream: a last line without its end."""
        return [self._ended(b"")] if self._held or self._long is not None else []

    def _ended(self, tail: bytes) -> Piece:
        data = bytes(self._held) + tail if self._held else tail
        self._held.clear()
        starts, copy = self._long is None, self._long or self._clip()
        self._long = None
        copy.add(data)
        return Piece(data, starts=starts, ends=True, copy=copy)

    def _streamed(self) -> Piece:
        data = bytes(self._held)
        self._held.clear()
        starts = self._long is None
        if self._long is None:
            self._long = self._clip()
        self._long.add(data)
        return Piece(data, starts=starts, ends=False)

    def _clip(self) -> Clip:
        return Clip(max(HOLD_BYTES, self._bound()))
