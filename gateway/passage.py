"""One request on its way: to the server and back, past what the operator switched on, told to an ``Observation``.

Called from the loop by both connections; nothing here waits, except in a task for what has to be waited for: a closed
gate, a place in the line, a joined call, a new connection, the pause before a retry. What is measured is measured after
the bytes went on.
"""

from __future__ import annotations

import asyncio
import logging

from fleet.telemetry import Refused
from gateway import refusals, replies
from gateway.admission import RETRY_AFTER_SECONDS
from gateway.answers import Answer
from gateway.copies import HEAD_BYTES
from gateway.errand import FAULT, Errand, Journal, Stage
from gateway.http.answer_reader import Head
from gateway.http.down import Down
from gateway.http.framing import Framing, chunk, last_chunk
from gateway.http.heads import CONTINUE, answer_head, to_client
from gateway.http.pool import Pool
from gateway.http.reader import Request
from gateway.http.up import Up
from gateway.observation import Observation
from gateway.service import Service
from gateway.steering import Pending, Refusal
from gateway.unread import Unread

log = logging.getLogger(__name__)


class Passage(Errand):
    """One request and its answer. ``begin`` once; then both connections tell what happens."""

    __slots__ = ("_framing", "_placed", "_sent", "_unread")

    def __init__(
        self, journal: Journal, service: Service, pool: Pool, down: Down, request: Request, *,
        seen: Observation, target: str,
    ) -> None:  # fmt: skip
        super().__init__(journal, service, pool, down, request, seen=seen, target=target)
        self._framing = Framing.NONE
        self._sent = b"\n\n"
        self._placed = False
        self._unread: Unread | None = None

    # ---- the request

    def begin(self) -> None:
        """The head of the request is here, and perhaps all of it."""
        if self._request.sorted.expects and not self._request.complete and self._down is not None:
            self._down.send(CONTINUE)
        if self._service.gate.is_open:
            self._gather()
        else:
            self._wait("gate", self._at_gate())

    def go_on(self, up: Up) -> None:
        """The whole request was sent over this connection already, and nothing came back yet."""
        self._body = b"".join(self._request.take_body())
        self._stage = Stage.SENT
        self._up = up
        up.attach(self, self._request.method)
        self._look(self._body)

    def more(self) -> None:
        """More of the body is here, or its end."""
        if self._stage is Stage.GATHERING:
            self._gather()
        elif self._stage is Stage.SENDING:
            self._send_more()
        elif self._unread is not None:
            self._unread.more()
        elif self._down is not None and sum(map(len, self._request.body)) > HEAD_BYTES:
            self._down.hold(on=True)

    async def _at_gate(self) -> None:
        if await self._service.gate.passed(self._service.vitals.limits.initial_response):
            self._gather()
        else:
            message = refusals.restarting(self._service.server.name, self._service.gate.reason)
            self._refuse_unread(Refusal(refusals.Code.RESTARTING, message, RETRY_AFTER_SECONDS), Refused.RESTARTING)

    def _gather(self) -> None:
        """Send it, when as much of it is here as must be known before."""
        request = self._request
        self._stage = Stage.GATHERING
        if request.framing is Framing.NONE:
            self._ask()
            self._send()
        elif request.complete and (request.sorted.length or sum(map(len, request.body))) <= self._whole_bytes:
            self._body = b"".join(request.take_body())
            self._steer(self._body)
        elif request.framing is Framing.CHUNKED or (request.sorted.length or 0) > self._whole_bytes:
            self._stream()

    @property
    def _whole_bytes(self) -> int:
        """A longer body streams through."""
        return min(HEAD_BYTES, self._service.vitals.admission.tuning.max_buffer_bytes)

    def _steer(self, body: bytes) -> None:
        seen, steering = self._seen, self._service.steering
        if steering.only_watches:
            # Nothing can come of it but figures: the bytes go first.
            self._send()
            self._look(body)
            return
        seen.request_chunk(body)
        self._ask()
        found = steering.before_relay(seen, self._target, self._request.fields.raw, body)
        if isinstance(found, Pending):
            self._wait("joined", self._joined(found))
        else:
            self._own_or_relay(found)

    def _look(self, body: bytes) -> None:
        """The request is on its way already."""
        self._seen.request_chunk(body)
        self._ask()
        self._service.steering.before_relay(self._seen, self._target, self._request.fields.raw, body)
        self._expect()

    async def _joined(self, pending: Pending) -> None:
        self._own_or_relay(await pending.settled())

    def _own_or_relay(self, own: Answer | Refusal | None) -> None:
        if isinstance(own, Answer):
            self._reply(replies.stored_answer(self._request, own))
        elif own is not None:
            self._reply(replies.refusal_answer(self._request, self._seen.request_id, own))
        elif not self._service.steering.needs_place(self._seen):
            self._send()
        elif self._service.places.take_free():
            self._placed = True
            self._send()
        else:
            self._wait("line", self._in_line())

    async def _in_line(self) -> None:
        """Wait until there is a place for this call, and the server is there to take it."""
        within, places = self._service.vitals.limits.initial_response, self._service.places
        self._placed = await places.take(within)
        if self._placed and await self._service.gate.passed(within):
            self._seen.starts_now()
            self._send()
        else:
            self._seen.refused(Refused.QUEUE)
            refusal = self._service.steering.too_long_in_line()
            self._reply(replies.refusal_answer(self._request, self._seen.request_id, refusal))

    # ---- a body too large to wait for

    def _stream(self) -> None:
        refusal = self._service.steering.before_stream(self._seen)
        if refusal is None:
            self._send()
        else:
            self._refuse_unread(refusal, Refused.BREAKER)

    def _refuse_unread(self, refusal: Refusal, reason: Refused) -> None:
        """Refuse a request as soon as its id is known, or cannot be waited for any longer."""
        self._stage = Stage.WAITING
        self._unread = Unread(self._request, self._seen, refusal, reason, reply=self._reply)
        self._unread.more()

    # ---- told by the server's connection

    def answered(self, head: Head | None, pieces: list[bytes], *, ended: bool) -> None:
        """Bytes of the answer: to the client first, then to the figures."""
        try:
            self._pass_on(head, pieces, ended=ended)
        except Exception:
            # The boundary of one exchange: a fault in relaying it must not stop the others.
            log.exception(FAULT, extra={"server": self._service.server.name})
            self.give_up()

    def interim(self, head: Head) -> None:
        """A 1xx answer: 100 was given by the gateway, the others pass."""
        if self._down is not None and head.status != 100 and not self._request.old:
            lines = head.sorted.lines
            self._down.send(
                answer_head(head.status, head.reason, lines, Framing.NONE, closes=False, old_client=False)
            )  # fmt: skip

    def _pass_on(self, head: Head | None, pieces: list[bytes], *, ended: bool) -> None:
        down = self._down
        out: list[bytes] = []
        if head is not None:
            out.append(self._begin_answer(head))
        rechunked = self._framing is Framing.CHUNKED
        if pieces:
            out += chunk(pieces) if rechunked else pieces
        up = self._up
        if ended and rechunked and up is not None:
            out.append(last_chunk(up.reader.trailers))
        if down is not None and out:
            down.send(out[0] if len(out) == 1 else b"".join(out))
        if ended:
            self._give_back()
        self._measure(head, pieces, ended=ended)
        if ended:
            self._answer_ended()
        elif down is None:
            self._waits().outlive()

    def _begin_answer(self, head: Head) -> bytes:
        request = self._request
        self._head = head
        self._stage = Stage.ANSWERING if request.complete else Stage.SENDING
        self._framing = to_client(head.framing, old_client=request.old)
        closes = not request.keeps_alive or self._framing is Framing.CLOSE
        usual = not closes and not request.old
        if usual and head.sent is not None:
            return head.sent
        sent = answer_head(
            head.status, head.reason, head.sorted.lines, self._framing, closes=closes, old_client=request.old
        )  # fmt: skip
        if usual:
            head.sent = sent
        return sent

    def _measure(self, head: Head | None, pieces: list[bytes], *, ended: bool) -> None:
        seen = self._seen
        if head is not None:
            self._ask()
            seen.response_head(head.status, head.fields)
        for piece in pieces:
            seen.response_chunk(piece)
        if ended:
            seen.response_end()
        elif self._service.vitals.admission.cuts_silence:
            if pieces:
                self._sent = (self._sent + b"".join(pieces))[-4:]
            self._expect()

    def _answer_ended(self) -> None:
        down, self._down = self._down, None
        self._end()
        if down is not None:
            down.done(keep=self._request.keeps_alive and self._framing is not Framing.CLOSE)

    # ---- the client

    def client_full(self, *, full: bool) -> None:
        """The client takes no more for now, or again: the server waits."""
        if self._up is not None:
            self._up.read(on=not full)

    def client_left(self) -> None:
        """The client is gone. Its call ends with it, unless it is to be awaited and measured all the same."""
        self._down = None
        if self._asked and self._seen.outlives_client:
            if self._up is not None:
                self._up.read(on=True)
            self._waits().outlive()
        else:
            self.give_up()

    def give_up(self) -> None:
        """Nobody waits for the answer any more, or the gateway stops."""
        if self._stage is Stage.OVER:
            return
        self._seen.client_left()
        self._abort_client()
        self._end()

    # ---- silence

    def _cut(self) -> None:
        """The server was silent for too long: an error, or the end of an answer that began."""
        told = self._head is not None and self._may_add_event(self._head)
        self._seen.silenced()
        if self._head is None:
            self._reply(replies.silent_answer(self._request, self._seen.request_id, self._service.server.name))
        elif told and self._down is not None:
            event = replies.silent_event(self._seen.request_id, self._service.server.name)
            chunked = self._framing is Framing.CHUNKED
            self._down.send(b"".join([*chunk([event]), last_chunk(b"")]) if chunked else event)
            self._answer_ended()
        else:
            self._abort_client()
            self._end()

    def _may_add_event(self, head: Head) -> bool:
        open_end = self._framing is Framing.CHUNKED or self._framing is Framing.CLOSE
        return self._seen.outstanding == 1 and open_end and replies.between_events(head, self._sent)

    # ---- ends

    def _broke_off(self, reason: str) -> None:
        self._seen.failed(f"{self._service.server.url} broke off its answer: {reason}")
        self._abort_client()
        self._end()

    def _unanswered(self, reason: str) -> None:
        self._ask()
        server = self._service.server
        self._seen.failed(f"no answer from {server.url}: {reason}")
        self._reply(replies.unreachable_answer(self._request, self._seen.request_id, server, reason))

    def _reply(self, answer: bytes) -> None:
        """The gateway's own answer, and the end."""
        down, self._down = self._down, None
        self._end()
        if down is not None:
            down.send(answer)
            down.done(keep=self._request.keeps_alive)

    def _abort_client(self) -> None:
        """Never a clean end for an answer that is not complete."""
        down, self._down = self._down, None
        if down is not None:
            down.abort(reset=self._framing is Framing.CLOSE)

    def _end(self) -> None:
        """Leave nothing behind. Idempotent."""
        self._stage = Stage.OVER
        up, self._up = self._up, None
        if up is not None:
            up.abort()
        if self._patience is not None:
            self._patience.stop()
        if self._unread is not None:
            self._unread.stop()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        if self._placed:
            self._placed = False
            self._service.places.give_back()
        self._journal.over(self)
