"""One request on its way: to the server and back, past what the operator switched on, told to an ``Observation``.

Called from the loop by both connections; nothing here waits, except in a task for what has to be waited for: a closed
gate, a place in the line, a joined call, a new connection, the pause before a retry. What is measured is measured after
the bytes went on.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from fleet.tasks import Tasks
from fleet.telemetry import Refused
from gateway import refusals, replies
from gateway.admission import RETRY_AFTER_SECONDS
from gateway.answers import Answer
from gateway.copies import HEAD_BYTES
from gateway.http.down import Down
from gateway.http.framing import Framing, chunk, last_chunk
from gateway.http.heads import CONTINUE, answer_head, request_head, to_client
from gateway.http.pool import Pool
from gateway.http.reader import Head, Request
from gateway.http.reuse import may_resend
from gateway.http.up import Up
from gateway.observation import Observation
from gateway.patience import Patience
from gateway.service import Service
from gateway.steering import Pending, Refusal
from gateway.unread import Unread

log = logging.getLogger(__name__)

FAULT: Final = "an exchange failed in the gateway"


class Stage(enum.Enum):
    """Where a passage stands."""

    GATHERING = "gathering"
    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    ANSWERING = "answering"
    OVER = "over"


class Journal(Protocol):
    """Who knows all passages."""

    tasks: Tasks

    def over(self, passage: Passage) -> None:
        """This one ended."""


class Passage:
    """One request. ``begin`` once; then both connections tell what happens."""

    __slots__ = (
        "_asked", "_body", "_down", "_framing", "_head", "_journal", "_patience", "_placed", "_pool", "_request",
        "_seen", "_sent", "_service", "_stage", "_target", "_task", "_tried", "_unread", "_up",
    )  # fmt: skip

    def __init__(
        self, journal: Journal, service: Service, pool: Pool, down: Down, request: Request, *, target: str
    ) -> None:  # fmt: skip
        self._journal = journal
        self._service = service
        self._pool = pool
        self._request = request
        self._target = target
        self._down: Down | None = down
        self._seen = Observation(service.vitals, request.method, request.fields, down.peer, target)
        self._stage = Stage.GATHERING
        self._body: bytes | None = None  # the request's, when it is here as a whole and may be sent again
        self._asked = False
        self._up: Up | None = None
        self._head: Head | None = None
        self._framing = Framing.NONE
        self._sent = b"\n\n"
        self._tried = 0
        self._placed = False
        self._unread: Unread | None = None
        self._patience: Patience | None = None
        self._task: asyncio.Task[Any] | None = None

    # ---- the request

    def begin(self) -> None:
        """The head of the request is here, and perhaps all of it."""
        if self._request.sorted.expects and not self._request.complete and self._down is not None:
            self._down.send(CONTINUE)
        if self._service.gate.is_open:
            self._gather()
        else:
            self._wait("gate", self._at_gate())

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
            seen.request_chunk(body)
            self._ask()
            steering.before_relay(seen, self._target, self._request.fields.raw, body)
            self._expect()
            return
        seen.request_chunk(body)
        self._ask()
        found = steering.before_relay(seen, self._target, self._request.fields.raw, body)
        if isinstance(found, Pending):
            self._wait("joined", self._joined(found))
        else:
            self._own_or_relay(found)

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

    def _ask(self) -> None:
        """The request is complete, or its answer began before it was."""
        if not self._asked:
            self._asked = True
            self._seen.request_end()

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

    # ---- to the server

    def _send(self) -> None:
        up = self._pool.take() if self._keeps else None
        if up is not None:
            self._send_over(up)
        else:
            self._wait("connect", self._connect())

    @property
    def _keeps(self) -> bool:
        """Whether connections to the server are kept."""
        return self._service.vitals.admission.tuning.enable_keep_alive

    async def _connect(self) -> None:
        self._expect()
        try:
            up = await self._pool.connect()
        except OSError as error:
            self._unanswered(str(error) or type(error).__name__)
        else:
            self._send_over(up)

    def _send_over(self, up: Up) -> None:
        request = self._request
        chunked = request.framing is Framing.CHUNKED
        head = (request.head.sent if self._keeps else None) or self._head_to_send(request, chunked)
        self._up = up
        up.attach(self, request.method)
        if self._down is not None and self._down.full:
            up.read(on=False)
        if request.framing is Framing.NONE or self._body is not None:
            self._stage = Stage.SENT
            up.send(head + self._framed_body(chunked))
            self._expect()
        else:
            self._stage = Stage.SENDING
            up.send(head)
            self._send_more()

    def _head_to_send(self, request: Request, chunked: bool) -> bytes:
        keeps = self._keeps
        head = request_head(
            request.method, self._target, request.sorted,
            chunked=chunked, authority=self._pool.authority, closes=not keeps,
        )  # fmt: skip
        if keeps:
            request.head.sent = head  # a connection's requests to one path go to one server
        return head

    def _framed_body(self, chunked: bool) -> bytes:
        body = self._body or b""
        return b"".join([*chunk([body]), last_chunk(self._request.trailers)]) if chunked else body

    def _send_more(self) -> None:
        """What arrived of a streamed body goes on."""
        request, up = self._request, self._up
        if up is None:
            return
        pieces = request.take_body()
        if request.framing is Framing.CHUNKED:
            framed = chunk(pieces)
            if request.complete:
                framed.append(last_chunk(request.trailers))
        else:
            framed = pieces
        if framed:
            up.send(b"".join(framed))
        if self._down is not None:
            self._down.hold(on=up.paused)
        for piece in pieces:
            self._seen.request_chunk(piece)
        if request.complete:
            self._ask()
            if self._stage is Stage.SENDING:
                self._stage = Stage.SENT
            self._expect()

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

    def broke(self, reason: str) -> None:
        """The connection was lost before the answer's end."""
        up, self._up = self._up, None
        if up is None:
            return
        request = self._request
        if self._head is not None:
            self._seen.failed(f"{self._service.server.url} broke off its answer: {reason}")
            self._abort_client()
            self._end()
        elif may_resend(request.method, reused=up.reused, heard=up.reader.heard, whole=self._is_whole):
            self._wait("connect", self._connect())
        elif self._may_ask_again():
            self._tried += 1
            self._wait("retry", self._ask_again())
        else:
            self._unanswered(reason)

    def server_full(self, *, full: bool) -> None:
        """The server takes no more of an upload for now, or again."""
        if self._down is not None:
            self._down.hold(on=full)

    @property
    def _is_whole(self) -> bool:
        return self._request.framing is Framing.NONE or self._body is not None

    def _may_ask_again(self) -> bool:
        still_sent = self._body is not None and self._down is not None and self._service.gate.is_open
        return still_sent and self._seen.may_repeat(self._tried)

    async def _ask_again(self) -> None:
        await asyncio.sleep(self._service.vitals.admission.tuning.retry_delay_seconds)
        self._send()

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

    def _give_back(self) -> None:
        """The answer is complete: the connection is free, unless the server did not wait for the whole request."""
        up, self._up = self._up, None
        if up is not None:
            self._pool.give_back(up, keep=self._request.complete and self._keeps)

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

    def _expect(self) -> None:
        """Where timeouts are enforced, wait for the server only for as long as it may be silent."""
        if self._service.vitals.admission.cuts_silence and self._down is not None:
            self._waits().expect()

    def _waits(self) -> Patience:
        if self._patience is None:
            self._patience = Patience(self._service.vitals, self._seen, silent=self._cut, over=self.give_up)
        return self._patience

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
            down.abort()

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

    # ---- waiting

    def _wait(self, what: str, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait in a task for what has to be waited for."""
        self._stage = Stage.WAITING
        self._task = self._journal.tasks.start_passing(what, self._guarded(waiting))

    async def _guarded(self, waiting: Coroutine[Any, Any, None]) -> None:
        try:
            await waiting
        except Exception:
            # The boundary of one exchange, as in ``answered``.
            log.exception(FAULT, extra={"server": self._service.server.name})
            self.give_up()
