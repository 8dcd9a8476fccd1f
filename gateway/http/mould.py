"""A head with a hole where the digits of its length stand: the next message is mostly cast in the same form. Pure."""

from __future__ import annotations

import re
from typing import Final

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n", re.IGNORECASE)
_MAX_DIGITS: Final = 15


class Mould:
    """The form of one head as it comes, and as it goes on once ``goes_on_as`` was called."""

    __slots__ = ("_after", "_before", "_first", "_reach", "_sent_after", "_sent_before", "_unread", "ready")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        self._first = len(before)
        self._unread = len(after)
        self._reach = len(before) + _MAX_DIGITS + len(after)
        self._sent_before = self._sent_after = b""
        self.ready = False

    def goes_on_as(self, sent: bytes) -> None:
        """``sent`` is the head that goes on for the one that this form was taken of."""
        hole = _LENGTH.search(sent)
        if hole is not None and self._first:
            self._sent_before, self._sent_after = sent[: hole.start(1)], sent[hole.end(1) :]
            self.ready = True

    def body_at(self, data: bytes) -> int:
        """Where the body begins when ``data`` is one whole message of this form, with a body; else 0."""
        if not data.startswith(self._before):
            return 0
        end = data.find(self._after, self._first, self._reach)
        digits = data[self._first : end] if end > 0 else b""
        at = end + self._unread
        return at if digits.isdigit() and 0 < int(digits) == len(data) - at else 0

    def passed_on(self, data: bytes, at: int, body: bytes) -> bytes:
        """The message as it goes on; ``at`` is where its body begins."""
        digits = data[self._first : at - self._unread]
        return b"".join((self._sent_before, digits, self._sent_after, body))


def mould(head: bytes) -> Mould | None:
    """The form of a head that was parsed and names one length; None where no hole is found in it."""
    hole = _LENGTH.search(head)
    return None if hole is None else Mould(head[: hole.start(1)], head[hole.end(1) :])


NO_MOULD: Final = Mould(b"", b"")
"""For a head that has no form; never ready."""
