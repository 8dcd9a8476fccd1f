"""One client connection: its requests one after the other, the next one when the answer to the last has ended."""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
import struct
from collections.abc import Callable
from typing import Final, Protocol, cast

from gateway.http.framing import Malformed
from gateway.http.haste import Hasty
from gateway.http.heads import whole_answer
from gateway.http.reader import Request, RequestReader

log = logging.getLogger(__name__)

SLICE_BYTES: Final = 64 * 1024
"""Parsed at once: so many small requests may stand in line behind one, and the rest stays unread."""

LINGER_SECONDS: Final = 2.0
"""How long an upload that nobody wants any more is read on: a close with bytes unread would take the answer away."""

_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""In seconds, and how often: a client that vanished without a word (a lid closed, a cable pulled) is noticed after two
minutes, not after the system's two hours. Until then its open stream counts as a session."""

_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: what is unsent is dropped, and the other side is told by a reset."""

_FULL, _LINE = 1, 2
"""Why nothing is read: the server takes no more; a request stands in line."""


class Call(Protocol):
    """What becomes of one request. Each method is called from the loop and must not block."""

    def more(self) -> None:
        """More of the body is there, or its end."""

    def client_left(self) -> None:
        """The client is gone."""

    def client_full(self, *, full: bool) -> None:
        """The client takes no more for now, or again."""


class Regular(Protocol):
    """What all requests of a client connection with the same head have in common (``RequestHead.regular``)."""

    def hasten(self, down: Down, data: bytes, at: int) -> Hasty | None:
        """Take another one that is here as a whole, its body from ``at``; None: it has to be read."""


class Line(Protocol):
    """Where client connections lead to."""

    def begin(self, down: Down, request: Request) -> Call | None:
        """Take a request; None when it is answered already."""

    def came(self, down: Down) -> None:
        """A client connected."""

    def went(self, down: Down) -> None:
        """It is gone."""


class Down(asyncio.Protocol):
    """A client's connection. ``peer`` is its address without the port; ``idle_since`` loop time, None in a call."""

    def __init__(self, line: Line, clock: Callable[[], float]) -> None:
        self._line = line
        self._clock = clock
        self._reader = RequestReader()
        self._request: Request | None = None
        self._call: Call | None = None
        self._hasty: Hasty | None = None
        self._unread: memoryview | None = None
        self._held = 0
        self._going = False
        self._lingering = False
        self._ended = False
        self.full = False
        self.peer = ""
        self.idle_since: float | None = clock()
        self._transport: asyncio.Transport

    # ---- told by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        socket = transport.get_extra_info("socket")
        if socket is not None:
            _notice_when_gone(socket)
        self._line.came(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._hasty is not None:
            self._hasty.unfold()  # more than a whole request: what follows it has to wait
        elif self._call is None and self._unread is None and not self._ended and self._is_taken_in_haste(data):
            return
        if self._lingering:
            return
        if self._unread is not None:
            self._unread = memoryview(bytes(self._unread) + data)
        elif len(data) <= SLICE_BYTES:
            self._reader.feed(data)
            self._go_on()
        else:
            self._unread = memoryview(data)
            self._read_on()

    def _is_taken_in_haste(self, data: bytes) -> bool:
        reader = self._reader
        regular: Regular | None = None if reader.usual is None else reader.usual.regular
        at = 0 if regular is None else reader.usual_body_at(data)
        hasty = regular.hasten(self, data, at) if at and regular is not None else None
        if hasty is None:
            return False
        self._hasty = hasty
        self.idle_since = None
        hasty.go()
        return True

    def eof_received(self) -> bool:
        """The client sends no more; nobody can tell that from its leaving."""
        if self._call is not None or self._hasty is not None:
            self._transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it went
        """The client is gone."""
        if self._hasty is not None:
            self._hasty.unfold()
        self._ended = True
        self._unread = None
        self._line.went(self)
        call, self._call = self._call, None
        if call is not None:
            call.client_left()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self.full = True
        if self._hasty is not None:
            self._hasty.unfold()
        if self._call is not None:
            self._call.client_full(full=True)

    def resume_writing(self) -> None:
        """The client takes more again."""
        self.full = False
        if self._call is not None:
            self._call.client_full(full=False)

    # ---- told by the call

    def take_over(self, call: Call, request: Request) -> None:
        """This is the call in the place of the hasty one."""
        self._hasty, self._call, self._request = None, call, request

    def answer(self, data: bytes, now: float) -> None:
        """The whole answer to a hasty call: the next request may come. ``now`` is the loop's time."""
        self._hasty = None
        self._transport.write(data)
        self.idle_since = now

    def send(self, data: bytes) -> None:
        """Bytes of an answer."""
        self._transport.write(data)

    def hold(self, *, on: bool) -> None:
        """Stop reading the upload, or go on."""
        self._hold(_FULL, on=on)

    def done(self, *, keep: bool) -> None:
        """The answer is complete: next request, or the end of the connection."""
        request, self._request, self._call = self._request, None, None
        self._hold(_FULL, on=False)
        if request is not None and not request.complete:
            self._linger()
        elif not keep or self._ended:
            self._close()
        else:
            self.idle_since = self._clock()
            if self._reader.requests or self._reader.fault is not None or self._unread is not None:
                self._read_on()

    def abort(self, *, reset: bool = False) -> None:
        """Close at once: never a clean end for an answer that is not complete.

        ``reset`` where a close would be the answer's end.
        """
        socket = self._transport.get_extra_info("socket") if reset else None
        if socket is not None and not self._transport.is_closing():
            socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _AT_ONCE)
        self._call = self._hasty = None
        self._ended = True
        self._transport.abort()

    def close_if_idle(self, since: float) -> bool:
        """Close when no call is under way since before that moment; whether it was so."""
        if self._call is None and self.idle_since is not None and self.idle_since <= since:
            self._close()
            return True
        return False

    # ---- requests

    def _read_on(self) -> None:
        """Read what was left unread, for as long as no request stands in line."""
        self._go_on()
        while (rest := self._unread) is not None and not self._reader.requests and not self._ended:
            if not rest or self._reader.fault is not None:
                self._unread = None
                break
            self._unread = rest[SLICE_BYTES:]
            self._reader.feed(rest[:SLICE_BYTES])
            self._go_on()
        self._hold(_LINE, on=self._unread is not None or bool(self._reader.requests))

    def _go_on(self) -> None:
        """Something was read, or a call ended."""
        if self._going:
            return  # a call that is answered at once ends within its own beginning; the loop below goes on
        self._going = True
        try:
            self._serve()
        finally:
            self._going = False

    def _serve(self) -> None:
        reader, call = self._reader, self._call
        if call is not None and self._told_of_more(reader):
            call.more()
        while self._call is None and not self._ended and reader.requests:
            self._begin(reader.requests.popleft())
        if reader.requests or self._held:
            self._hold(_LINE, on=self._unread is not None or bool(reader.requests))
        if reader.fault is not None and not self._ended:
            self._refuse(reader.fault)

    def _told_of_more(self, reader: RequestReader) -> bool:
        request = self._request
        return request is not None and reader.fault is None and (request.complete or bool(request.body))

    def _begin(self, request: Request) -> None:
        self.idle_since = None
        self._request = request
        self._call = None
        call = self._line.begin(self, request)
        if call is not None and self._request is request:
            self._call = call

    def _refuse(self, fault: Malformed) -> None:
        """What came is no HTTP: told once all before it is answered."""
        request = self._request
        if self._call is not None and request is not None and request.complete:
            return
        call, self._call = self._call, None
        if call is not None:
            call.client_left()
            self.abort()
            return
        body = fault.reason.encode() + b"\n"
        lines = b"Content-Type: text/plain; charset=utf-8\r\n"
        self.send(whole_answer(fault.status, lines, body, method="GET", closes=True, old_client=False))
        self._linger()

    # ---- reading and closing

    def _hold(self, why: int, *, on: bool) -> None:
        held = self._held | why if on else self._held & ~why
        if bool(held) != bool(self._held) and not self._transport.is_closing():
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        self._held = held

    def _linger(self) -> None:
        """Answered although more is coming: it is read and thrown away for a moment."""
        self._lingering = self._ended = True
        self._hold(_FULL | _LINE, on=False)
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close)

    def _close(self) -> None:
        self._ended = True
        self._transport.close()


def _notice_when_gone(socket: sockets.socket) -> None:
    socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        option = getattr(sockets, name, None)  # not every system has each
        if option is not None:
            socket.setsockopt(sockets.IPPROTO_TCP, option, value)
