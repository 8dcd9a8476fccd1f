"""One connection to a server: a request at a time, its answer told to whoever asked."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol, cast

from gateway.http.answer_reader import AnswerReader, Head
from gateway.http.haste import Hasty


class Asker(Protocol):
    """Who sent a request. Each method is called from the loop and must not block."""

    def answered(self, head: Head | None, pieces: list[bytes], *, ended: bool) -> None:
        """The head when it became complete, pieces of the body, and whether that was all."""

    def interim(self, head: Head) -> None:
        """A 1xx answer before the final one."""

    def broke(self, reason: str) -> None:
        """The connection was lost, or what came is no HTTP, before the answer's end."""

    def server_full(self, *, full: bool) -> None:
        """The server takes no more for now, or again."""


class Up(asyncio.Protocol):
    """A connection of a pool. ``attach``, ``send``; when the answer ended, give it back to the pool.

    Attributes:
        reused: it carried an answer before.
        idle_since: loop time at which it was given back.
        paused: the server takes no more for now.
    """

    def __init__(self, lost: Callable[[Up], None]) -> None:
        self._lost = lost
        self.reader = AnswerReader()
        self.reused = False
        self.paused = False
        self.idle_since = 0.0
        self._asker: Asker | None = None
        self._hasty: Hasty | None = None
        self._reading = True
        self._transport: asyncio.Transport
        self._connected = False
        self._descriptor = -1

    # ---- told by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._connected = True
        socket = transport.get_extra_info("socket")
        self._descriptor = -1 if socket is None else socket.fileno()

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        reader = self.reader
        if self._hasty is not None:
            at = reader.usual_body_at(data)
            if at and reader.usual is not None and self._hasty.whole(reader.usual, data, at):
                return
            self._unfold()
        asker = self._asker
        if asker is None:
            self.abort()  # bytes that nobody asked for: what follows cannot be trusted
            return
        had_head = reader.head is not None
        reader.feed(data)
        while reader.interim:
            asker.interim(reader.interim.pop(0))
        pieces, reader.body = reader.body, []
        head = None if had_head else reader.head
        if head is not None or pieces or reader.ended:
            asker.answered(head, pieces, ended=reader.ended)
        if reader.fault is not None and self._asker is asker and not reader.ended:
            self._break("its answer is not HTTP/1.1")

    def eof_received(self) -> bool:
        """The server sends no more: half a connection is of no use, and what is unsent would keep it open."""
        self._transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._unfold()
        asker = self._asker
        self._lost(self)
        if asker is None:
            return
        if exc is None and self.reader.at_end():
            asker.answered(None, [], ended=True)
        else:
            self._break(str(exc) if exc is not None else "the server closed the connection")

    def pause_writing(self) -> None:
        """The server takes no more for now."""
        self.paused = True
        self._unfold()
        if self._asker is not None:
            self._asker.server_full(full=True)

    def resume_writing(self) -> None:
        """The server takes more again."""
        self.paused = False
        if self._asker is not None:
            self._asker.server_full(full=False)

    # ---- told by who asks

    def attach(self, asker: Asker, method: str) -> None:
        """The connection is this asker's until ``detach``; what is sent next is a request of this method."""
        self._asker, self._hasty = asker, None
        self.reader.expect(method)

    def carry(self, hasty: Hasty, data: bytes) -> None:
        """Send a whole request; the connection is the sender's until ``release`` or ``attach``."""
        self._hasty = hasty
        self._transport.write(data)

    def release(self, now: float) -> None:
        """A hasty request was answered."""
        self._hasty = None
        self.reused = True
        self.idle_since = now

    def detach(self) -> None:
        """The asker wants to hear no more."""
        self._asker = self._hasty = None

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    def read(self, *, on: bool) -> None:
        """Go on reading, or let the server wait."""
        if on != self._reading and not self._transport.is_closing():
            self._reading = on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def abort(self) -> None:
        """Close at once: the server sees it."""
        self._asker = self._hasty = None
        if self._connected:
            self._transport.abort()

    @property
    def usable(self) -> bool:
        """Whether another request may go over it: its last answer ended, and nothing is left over of anything."""
        reader = self.reader
        return reader.ended and reader.keeps_alive and reader.fault is None and not self._transport.is_closing()

    def is_silent(self) -> bool:
        """Whether the server neither sent anything nor hung up: seen by the socket before it is seen by the loop."""
        if self._transport.is_closing() or self._descriptor < 0:
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    def _unfold(self) -> None:
        if self._hasty is not None:
            self._hasty.unfold()

    def _break(self, reason: str) -> None:
        asker, self._asker = self._asker, None
        self._transport.abort()
        if asker is not None:
            asker.broke(reason)
