"""A call that comes in one piece and is answered in one needs no reading: what both its connections ask of it."""

from __future__ import annotations

from typing import Protocol

from gateway.http.answer_reader import Head


class Hasty(Protocol):
    """Such a call, until ``unfold``. Each method is called from the loop and must not block."""

    def go(self) -> None:
        """Send it to the server."""

    def whole(self, head: Head, data: bytes, at: int) -> bool:
        """A whole answer, its body from ``at``, with this head but for its length; False: it has to be read."""

    def unfold(self) -> None:
        """Something is to be told that only an ordinary call understands: put one in its place on both sides."""
