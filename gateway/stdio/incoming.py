"""The server's lines on their way to the client: relayed untouched, except answers to the gateway itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.copies import LIST_BYTES, Clip
from gateway.stdio.conversation import Conversation, Whose
from gateway.stdio.lines import HOLD_BYTES, Lines, Piece
from gateway.stdio.outlet import Outlet
from gateway.vitals import Vitals

OWN_ANSWER_BYTES: Final = 1024 * 1024
"""A line is held so long while it may be an answer to the gateway."""


class Incoming:
    """What one server says."""

    def __init__(self, talk: Conversation, vitals: Vitals, to_client: Outlet) -> None:
        self._talk = talk
        self._vitals = vitals
        self._to_client = to_client
        self._lines = Lines(partial(vitals.kept, LIST_BYTES))

    def said(self, chunk: bytes) -> bool:
        """Bytes from the server; whether an answer, to whomever, was among them."""
        whole = None if self._talk.awaits_own else self._lines.whole(chunk)
        if whole is not None:
            return self._whole_lines(whole)
        hold = OWN_ANSWER_BYTES if self._talk.awaits_own else HOLD_BYTES
        return self._pieces(self._lines.feed(chunk, hold))

    def ended(self, *, cut: bool, client_stays: bool) -> None:
        """The server is gone. ``cut``: while it may have been writing, so that a last piece of a line is worth nothing.

        To a client that stays no line is left without its end.
        """
        for piece in () if cut else self._lines.rest():
            copy = _complete(piece)
            self._talk.stray += copy is None
            self._pieces([replace(piece, ends=not client_stays, copy=copy)])
        if client_stays:
            self._to_client.break_line()

    def _whole_lines(self, lines: bytes) -> bool:
        """By far the commonest: the relay first, the figures after."""
        self._relay(lines, ends=True)
        before = self._talk.responses
        for line in lines[:-1].split(b"\n"):
            self._talk.heard(line)
        return self._talk.responses != before

    def _pieces(self, pieces: Sequence[Piece]) -> bool:
        if not pieces:
            return False
        before = self._talk.responses
        if self._talk.awaits_own:
            for piece in pieces:
                own = piece.copy is not None and self._talk.heard(piece.copy) is Whose.GATEWAY
                if not own or not piece.starts:
                    self._relay(piece.data, ends=piece.ends)
        else:  # the relay first, the figures after
            self._relay(b"".join(piece.data for piece in pieces), ends=pieces[-1].ends)
            for piece in pieces:
                if piece.copy is not None:
                    self._talk.heard(piece.copy)
        return self._talk.responses != before

    def _relay(self, data: bytes, *, ends: bool) -> None:
        self._vitals.ledger.bytes_out += len(data)
        self._to_client.relay(data, ends=ends)


def _complete(piece: Piece) -> Clip | None:
    """The copy of a last line unless it breaks off: a large one is told by its ends, and half of it has no second."""
    copy = piece.copy
    if copy is None or copy.whole or copy.tail.rstrip().endswith((b"}", b"]")):
        return copy
    return None
