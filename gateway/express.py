"""A call that is relayed and measured in one go each way: whole when it came, and whole when it is answered.

Nearly every call is one, where nothing is switched on that could answer or hold it: its head and its answer's have the
form of the ones before, so neither is parsed, and it is measured once, when it is over. As soon as anything else
happens (a byte too many, a pause, a second gone by) it becomes the ``Passage`` that it would have been.
"""

from __future__ import annotations

import logging
from typing import Protocol

from gateway.copies import HEAD_BYTES
from gateway.errand import FAULT, Journal
from gateway.glance import Answering, Caller, Glance
from gateway.http.answer_reader import Head
from gateway.http.down import Down
from gateway.http.mould import NO_MOULD
from gateway.http.pool import Pool
from gateway.http.reader import RequestHead, RequestReader
from gateway.http.reuse import IDLE_SECONDS, idle_seconds
from gateway.http.up import Up
from gateway.passage import Passage
from gateway.service import Service

log = logging.getLogger(__name__)


class Desk(Journal, Protocol):
    """Who knows every passage."""

    def joins(self, passage: Passage) -> None:
        """There is one more."""


class Regular:
    """What all requests of a client connection with the same head have in common."""

    __slots__ = ("_head", "_plain", "caller", "desk", "mould", "pool", "service", "target", "vitals")

    def __init__(self, desk: Desk, service: Service, pool: Pool, head: RequestHead, *, target: str) -> None:
        self.desk = desk
        self.service = service
        self.vitals = service.vitals
        self.pool = pool
        self.target = target
        self.mould = head.mould or NO_MOULD
        self.caller: Caller | None = None  # known with the second call: most heads have none
        self._head = head
        self._plain = False

    def hasten(self, down: Down, data: bytes, at: int) -> Express | None:
        """Take another one that is here as a whole; None where something is switched on or in the way."""
        caller = self.caller or self._introduced(down)
        if (
            caller is None
            or not self._plain
            or down.full
            or not self.service.gate.is_open
            or not self.vitals.only_counts
        ):
            return None
        if len(data) - at > HEAD_BYTES:
            return None
        up = self.pool.take()
        return None if up is None else Express(self, caller, down, up, data=data, at=at)

    def _introduced(self, down: Down) -> Caller | None:
        head = self._head
        if head.sent is None:
            return None  # none of them went on yet
        caller = self.caller = Caller(head.fields, down.peer, self.target)
        self.mould.goes_on_as(head.sent)
        self._plain = head.method == "POST" and not head.old and caller.plain and self.mould.ready
        return caller


class Usual:
    """What all answers of a server connection with the same head have in common."""

    __slots__ = ("answering", "mould", "plain", "seconds")

    def __init__(self, head: Head, sent: bytes) -> None:
        self.answering = Answering(head.status, head.fields)
        kept = head.sorted.kept
        self.seconds = idle_seconds(kept) if kept else IDLE_SECONDS
        self.mould = head.mould or NO_MOULD
        self.mould.goes_on_as(sent)
        self.plain = self.mould.ready


class Express:
    """One such call; a ``Hasty`` to both connections. ``data`` is the request, its body from ``at``."""

    __slots__ = ("_at", "_body", "_data", "_down", "_glance", "_over", "_regular", "_up")

    def __init__(self, regular: Regular, caller: Caller, down: Down, up: Up, *, data: bytes, at: int) -> None:
        self._regular = regular
        self._down = down
        self._up = up
        self._data = data
        self._at = at
        self._over = False
        body = self._body = data[at:]
        self._glance = Glance(regular.vitals, caller, body)

    def go(self) -> None:
        """Send it to the server."""
        regular = self._regular
        regular.vitals.hasty.add(self)
        try:
            self._up.carry(self, regular.mould.passed_on(self._data, self._at, self._body))
            if not self._glance.look():
                self.unfold()
        except Exception:
            # The boundary of one exchange: a fault in relaying it must not stop the others.
            log.exception(FAULT, extra={"server": regular.service.server.name})
            self._fail()

    def whole(self, head: Head, data: bytes, at: int) -> bool:
        """The answer is here as a whole: on with it, then to the figures; False when it has to be read."""
        usual = head.usual
        if usual is None:
            if head.sent is None:
                return False  # none of them went on yet: the gateway itself had asked
            usual = head.usual = Usual(head, head.sent)
        if not usual.plain or usual.seconds <= 0:
            return False
        try:
            self._pass_on(usual, data, at)
        except Exception:
            # The boundary of one exchange, as in ``go``.
            log.exception(FAULT, extra={"server": self._regular.service.server.name})
            self._fail()
        return True

    def _pass_on(self, usual: Usual, data: bytes, at: int) -> None:
        self._over = True
        regular = self._regular
        regular.vitals.hasty.discard(self)
        answer = data[at:]
        now = regular.pool.release(self._up, usual.seconds)
        self._down.answer(usual.mould.passed_on(data, at, answer), now)
        self._glance.answered(usual.answering, answer)

    def _fail(self) -> None:
        self._over = True
        self._regular.vitals.hasty.discard(self)
        self._down.abort()
        self._up.abort()

    def unfold(self) -> None:
        """Become a passage on both sides. Idempotent."""
        if self._over:
            return
        self._over = True
        regular, down = self._regular, self._down
        regular.vitals.hasty.discard(self)
        reader = RequestReader()
        reader.feed(self._data)
        request = reader.requests.popleft()
        passage = Passage(
            regular.desk, regular.service, regular.pool, down, request,
            seen=self._glance.observe(), target=regular.target,
        )  # fmt: skip
        regular.desk.joins(passage)
        down.take_over(passage, request)
        try:
            passage.go_on(self._up)
        except Exception:
            # The boundary of one exchange: a fault in relaying it must not stop the others.
            log.exception(FAULT, extra={"server": regular.service.server.name})
            passage.give_up()
