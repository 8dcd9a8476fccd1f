"""The client's lines on their way to the server: passed, or waiting while there is none that takes them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from functools import partial
from typing import Final

from gateway.breaker import EXEMPT
from gateway.copies import LIST_BYTES, Clip
from gateway.jsonrpc import Kind
from gateway.stdio.conversation import Conversation
from gateway.stdio.lines import HOLD_BYTES, Lines, Piece
from gateway.stdio.outlet import Outlet
from gateway.stdio.replies import Replies
from gateway.stdio.waiting import Waiter, WaitingRoom
from gateway.vitals import Vitals

WAITING_LINE_BYTES: Final = 2 * 1024 * 1024
"""A longer line cannot wait for a server, nor one longer than max_buffer_size."""


class Door(enum.Enum):
    """OPEN: all pass. DRAINING: what calls under way may need to end passes, requests wait. CLOSED: all wait."""

    OPEN = enum.auto()
    DRAINING = enum.auto()
    CLOSED = enum.auto()


class Outgoing:
    """What one client says. ``reason`` is told to those who wait in vain; ``no_seat`` that nobody ever passes.

    ``restarting``: a server will take lines soon; pings are answered meanwhile.
    """

    def __init__(self, talk: Conversation, vitals: Vitals, replies: Replies) -> None:
        self._talk = talk
        self._vitals = vitals
        self._replies = replies
        self._lines = Lines(partial(vitals.kept, LIST_BYTES))
        self._line_passes = False
        self._door = Door.CLOSED
        self._to_server: Outlet | None = None
        self.waiting = WaitingRoom()
        self.reason = "starting"
        self.no_seat = False
        self.restarting = False

    def open(self, to_server: Outlet) -> None:
        """A server takes lines: those that waited first."""
        self._to_server, self._door = to_server, Door.OPEN
        for waiter in self.waiting.take():
            self._pass(waiter, to_server)

    def drain(self) -> None:
        """The server is about to be ended."""
        self._door = Door.DRAINING

    def close(self) -> None:
        """No server takes lines; one that was begun is lost."""
        self._to_server, self._door, self._line_passes = None, Door.CLOSED, False

    def said(self, chunk: bytes) -> None:
        """Bytes from the client."""
        self._vitals.ledger.bytes_in += len(chunk)
        if self._to_server is not None and self._all_pass:
            whole = self._lines.whole(chunk)
            if whole is not None:
                self._whole_lines(whole, self._to_server)
                return
        waits = self._door is not Door.OPEN
        hold = max(HOLD_BYTES, self._vitals.kept(WAITING_LINE_BYTES)) if waits else HOLD_BYTES
        self._pieces(self._lines.feed(chunk, hold))

    def ended(self) -> None:
        """The client will say no more: a last line without its end passes as it is."""
        self._pieces(self._lines.rest())

    def expire(self, now: float, *, at_once: bool) -> None:
        """Tell those who waited for too long, or everybody ``at_once``."""
        within = self._vitals.limits.initial_response
        for waiter in self.waiting.take() if at_once else self.waiting.expired(now - within):
            self._refuse(waiter.requests)

    @property
    def _all_pass(self) -> bool:
        """Whether no line must be looked at before it goes to the server."""
        return self._door is Door.OPEN and not self._talk.expects_stale and not self._vitals.breaker.enabled

    def _whole_lines(self, lines: bytes, to_server: Outlet) -> None:
        """By far the commonest: the relay first, the figures after."""
        to_server.relay(lines, ends=True)
        for line in lines[:-1].split(b"\n"):
            self._talk.asked(self._talk.look(line), line)

    def _pieces(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if piece.starts:
                self._line_passes = self._door is Door.OPEN
            if piece.copy is not None:
                self._line(piece, piece.copy)
            elif self._line_passes and self._to_server is not None:
                self._to_server.relay(piece.data, ends=False)

    def _line(self, piece: Piece, copy: Clip) -> None:
        messages = self._talk.look(copy)
        if piece.starts and self._talk.is_stale(messages):
            return
        waiter = Waiter(piece.data, copy, messages, self._vitals.clock(), whole=piece.starts)
        passes = self._line_passes or (piece.starts and self._door is Door.DRAINING and not waiter.requests)
        if passes and self._to_server is not None:
            self._pass(waiter, self._to_server)
        elif piece.starts and self.restarting and all(each.method == "ping" for each in messages) and waiter.requests:
            self._replies.alive(waiter.requests)
        elif piece.starts:
            self.waiting.add(waiter)
        else:  # too long to wait, or begun to a server that is gone
            self._refuse(waiter.requests)

    def _pass(self, waiter: Waiter, to_server: Outlet) -> None:
        ticket = None
        if any(message.kind is Kind.REQUEST and message.method not in EXEMPT for message in waiter.messages):
            ticket = self._vitals.breaker.admit(self._vitals.clock())
            if ticket is None and waiter.whole:
                self._replies.held_off(waiter.requests)
                return
        to_server.relay(waiter.data, ends=True)
        self._talk.asked(waiter.messages, waiter.copy, ticket)

    def _refuse(self, identities: Sequence[bytes]) -> None:
        if self.no_seat:
            self._replies.no_seat(identities, self.reason)
        else:
            self._replies.not_ready(identities, self.reason)
