"""What the relay tells of one HTTP exchange, turned into figures. Pure, and never in the way of the traffic.

The relay calls these in order: ``request_chunk``*, ``request_end``, then ``response_head``, ``response_chunk``*,
``response_end``; or ``failed``, ``client_left``, ``refused`` instead of what did not come. It passes heads and chunks
and takes no decision about measuring.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from fleet.telemetry import OTHER, Refused
from gateway.audit import HIT
from gateway.breaker import FAILURES, Ticket
from gateway.coalescing import Seat
from gateway.copies import HEAD_BYTES, LIST_BYTES, Clip, Decoder, Identity, decoder
from gateway.enquiry import Enquiry
from gateway.exchange import CANCELLED, CONNECTION, SUCCESS, TIMEOUT, Exchange, of_status
from gateway.jsonrpc import Era, Kind, Message
from gateway.keeping import Keeping
from gateway.pairs import ENDPOINT, Pair
from gateway.presence import SESSION_HEADER, Presence
from gateway.reading import Reading
from gateway.sse import Splitter
from gateway.vitals import Vitals

log = logging.getLogger(__name__)

MODERN_VERSIONS_FROM: Final = "2026-07-28"


class Observation:
    """One exchange. ``headers`` are the request's, ``peer`` the client's address without its port.

    ``target`` is the request's path and query; without it the two halves of HTTP+SSE do not find each other.
    """

    def __init__(self, vitals: Vitals, method: str, headers: Mapping[str, str], peer: str, target: str = "") -> None:
        self._vitals = vitals
        self._headers = headers
        self._exchange = Exchange(vitals.clock(), vitals.limits)
        self._presence = Presence(vitals, method, headers, peer, target)
        self._messages: tuple[Message, ...] = ()
        self._reading = Reading(vitals)
        self._enquiry = Enquiry(vitals, headers, self._reading) if method == "POST" else None
        self._request_id = b""
        self._treatments = vitals.standing.treatments
        self._keeping: Keeping | None = None
        self._seat: Seat | None = None
        self._aside = False  # it waits for an answer that is not the server's to give
        self._answer_headers: Mapping[str, str] = {}
        self._status = 0
        self._decoder: Decoder = Identity()
        self._answer: Clip | None = None
        self._events: Splitter | None = None
        self._done = False

    # ---- told by the relay

    def began(self, started: float, treatments: int) -> None:
        """It began before it was looked at: then, and after so many treatments of the server."""
        self._exchange.started, self._treatments = started, treatments

    def request_chunk(self, chunk: bytes) -> None:
        """Body bytes from the client."""
        self._safely(self._on_request_chunk, chunk)

    def request_end(self) -> None:
        """The request's body is complete."""
        self._safely(self._on_request_end)

    def response_head(self, status: int, headers: Mapping[str, str]) -> None:
        """The server's final head (not a 1xx)."""
        self._safely(self._on_response_head, status, headers)

    def response_chunk(self, chunk: bytes) -> None:
        """Body bytes from the server."""
        self._safely(self._on_response_chunk, chunk)

    def response_end(self) -> None:
        """The server's answer is complete."""
        self._safely(self._on_response_end)

    def failed(self, reason: str) -> None:
        """The transport failed: no connection, no answer, or an answer that broke off."""
        self._safely(self._on_failed, reason)

    def client_left(self) -> None:
        """The client is gone and the upstream is closed: what is outstanding ends here."""
        self._safely(self._on_client_left)

    def refused(self, reason: Refused) -> None:
        """The gateway answered by itself: nothing of this exchange is an operation."""
        self._safely(self._on_refused, reason)

    def silenced(self) -> None:
        """The gateway ended the exchange, because the server was silent for longer than its limits."""
        self._safely(self._on_silenced)

    def served(self, count: int) -> None:
        """The cache answered with ``count`` bytes: nothing of this exchange is an operation."""
        self._safely(self._on_served, count)

    def admitted(self, ticket: Ticket) -> None:
        """The breaker let this exchange pass, and is to be told how it ends."""
        self._exchange.ticket = ticket

    def starts_now(self) -> None:
        """The call stood in a line until now: its time at the server begins here."""
        self._exchange.started = self._vitals.clock()

    def to_be_kept(self, keeping: Keeping) -> None:
        """The answer may be given again."""
        self._keeping = keeping

    def stands_aside(self, seat: Seat | None = None) -> None:
        """The call is not the server's for now: it waits for the shared cache, or has a seat in another call."""
        self._aside, self._seat = True, seat

    def goes_itself(self) -> None:
        """There was no answer for it: its time at the server begins now."""
        self._aside, self._seat = False, None
        self.starts_now()

    # ---- asked by the relay

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the client sent, after ``request_end``; empty where it could not be read."""
        return self._messages

    @property
    def exchange(self) -> Exchange:
        """The state of its requests, to be read only."""
        return self._exchange

    @property
    def request_id(self) -> bytes:
        """The id of the first request as canonical JSON, for an error that answers it; empty without one."""
        return self._request_id

    @property
    def is_paired(self) -> bool:
        """Whether the answers come on another exchange, the stream of an HTTP+SSE session."""
        return self._presence.answers_on is not None

    @property
    def outstanding(self) -> int:
        """Requests without an answer yet."""
        return self._exchange.outstanding

    def may_repeat(self, tried: int) -> bool:
        """Whether a request without any answer may be sent again after ``tried`` attempts more than the first."""
        admission = self._vitals.admission
        if tried >= admission.retries(self._messages):
            return False
        if not admission.repeats:
            self._vitals.ledger.would_refuse(Refused.RETRIES, 1)
        return admission.repeats

    @property
    def outlives_client(self) -> bool:
        """Whether the upstream is to be read on although the client left.

        A legacy disconnect is no cancel, so the answer is still awaited and measured. Not so when the client may
        resume the stream: the server must see it closed, or it would send the answer to nobody. And a call that others
        joined is theirs as well. A client that has its answer may leave before the stream's end: what may be given
        again is read to that end.
        """
        if self._keeping is not None and (self._keeping.has_company or self._is_answered):
            return True
        if self._aside:
            return False
        return self._exchange.era is Era.LEGACY and self._exchange.outstanding > 0 and not self._exchange.resumable

    @property
    def _is_answered(self) -> bool:
        return self._status > 0 and not self._exchange.outstanding and not self._done

    @property
    def patience(self) -> float:
        """Seconds until the server has been silent for longer than its limits."""
        return max(0.0, self._exchange.deadline() - self._vitals.clock())

    # ---- the request

    def _on_request_chunk(self, chunk: bytes) -> None:
        self._vitals.ledger.bytes_in += len(chunk)
        if self._enquiry is not None:
            self._enquiry.add(chunk)

    def _on_request_end(self) -> None:
        enquiry, self._enquiry = self._enquiry, None
        if enquiry is not None:
            self._exchange.trace_id = enquiry.trace_id
            self._messages = enquiry.messages()
        messages = self._messages
        self._exchange.ask(messages)
        if self._headers.get("MCP-Protocol-Version", "") >= MODERN_VERSIONS_FROM:
            # A body too large to keep may hide its `_meta`; the header says the same of a correct client.
            self._exchange.era = Era.MODERN
        self._request_id = next((message.id for message in messages if message.kind is Kind.REQUEST), b"")
        self._presence.identify(self._exchange, messages)
        if self._vitals.audit is not None:
            said = b"" if enquiry is None else enquiry.said
            self._exchange.caller = self._presence.caller(self._vitals.audit, messages, said)
        self._vitals.begin(self._presence.key, self._exchange)
        self._presence.begin(self._exchange, messages)

    # ---- the answer

    def _on_response_head(self, status: int, headers: Mapping[str, str]) -> None:
        self._status = status
        self._answer_headers = headers
        self._vitals.answered()
        self._presence.follow(self._exchange, status, headers)
        self._decoder = decoder(headers.get("Content-Encoding", ""))
        content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        bound = self._vitals.kept(LIST_BYTES if self._exchange.asks("tools/list") else HEAD_BYTES)
        if content_type == "text/event-stream":
            self._events = Splitter(bound)
        elif self._exchange.outstanding and not self._is_owed_elsewhere:
            self._answer = Clip(bound)

    def _on_response_chunk(self, chunk: bytes) -> None:
        self._vitals.ledger.bytes_out += len(chunk)
        if self._keeping is not None:
            self._keeping.chunk(chunk)
        if self._events is None and self._answer is None:
            return
        for piece in self._decoder.decode(chunk):
            if self._events is not None:
                self._read_events(self._events, piece)
            elif self._answer is not None:
                self._exchange.active(self._vitals.clock())
                self._answer.add(piece)

    def _read_events(self, events: Splitter, piece: bytes) -> None:
        for event in events.feed(piece):
            if event.has_id:
                self._exchange.resumable = True
            if event.name == ENDPOINT:
                if self._presence.open_stream(event.data.head):
                    events.widen(self._vitals.kept(LIST_BYTES))  # any of its messages may answer tools/list
            elif event.data.total and event.is_message:
                self._exchange.active(self._vitals.clock())
                self._answers(self._reading.counted(self._reading.look(event.data)))

    @property
    def _is_owed_elsewhere(self) -> bool:
        """Whether the server took the requests (202) and will answer on the stream."""
        return self.is_paired and 200 <= self._status < 300

    def _on_response_end(self) -> None:
        if self._done:
            return
        if self._keeping is not None:
            self._keeping.end(self._status, self._answer_headers, self._vitals.clock())
        legible = self._decoder.legible
        if self._answer is not None and legible and self._answer.total:
            looked = self._reading.look(self._answer)
            # An error page of a proxy is no JSON-RPC; its status says enough.
            self._answers(self._reading.counted(looked) if self._status < 400 else looked.messages)
        if not legible and self._exchange.outstanding:
            self._vitals.ledger.unreadable += 1
        if self._may_be_resumed() and self._presence.key is not None:
            self._vitals.set_adrift(self._presence.key, self._exchange, TIMEOUT)
        elif not self._is_owed_elsewhere:
            self._end_with(self._blamed(self._error_of_no_answer(legible)))
        self._presence.close_stream(lambda _: self._blamed(CONNECTION))
        self._finish()

    def _may_be_resumed(self) -> bool:
        return (
            self._exchange.era is Era.LEGACY
            and self._events is not None
            and self._exchange.resumable
            and self._exchange.outstanding > 0
        )

    def _error_of_no_answer(self, legible: bool) -> str:
        if self._status >= 300:
            return of_status(self._status)
        if not legible or self._reading.blind:
            return SUCCESS
        return CONNECTION if self._events is not None else OTHER

    def _answers(self, messages: tuple[Message, ...]) -> None:
        self._vitals.notified(messages)
        for message in messages:
            if self._presence.stream is not None:
                self._said_on_stream(self._presence.stream, message)
            elif message.kind is Kind.RESPONSE:
                self._answer_one(message, self._exchange)

    def _said_on_stream(self, stream: Pair, message: Message) -> None:
        if message.kind is Kind.NOTIFICATION:
            stream.notified(self._vitals.clock())
        asked_by = stream.exchange_of(message) if message.kind is Kind.RESPONSE else None
        if asked_by is not None:
            self._vitals.answered()
            self._answer_one(message, asked_by)
            stream.settle(asked_by)

    def _answer_one(self, message: Message, exchange: Exchange) -> None:
        if message.tools and exchange.asked(message.id) == "tools/list":
            self._vitals.tools.learn(message.tools, message.read_only)
        # A session that is gone is the caller's affair, whatever code the server puts into its 404.
        lost = self._status == 404 and SESSION_HEADER in self._headers
        if lost or (message.id in {b"", b"null"} and self._status >= 400):
            return
        now = self._vitals.clock()
        if message.id or message.legible:
            operation = exchange.answer(message, now, self._status)
        else:
            operation = exchange.answer_only(message, now, self._status)
        if operation is not None:
            blamed = self._blamed(operation.error_type)
            same = blamed == operation.error_type
            self._vitals.count([operation if same else replace(operation, error_type=blamed)])
        elif self._presence.listens_in is not None:
            self._vitals.answer_adrift(self._presence.listens_in, message)

    # ---- other ends

    def _on_failed(self, reason: str) -> None:
        self._vitals.transport_failed(reason)
        self._end_with(self._blamed(CONNECTION))
        self._presence.close_stream(lambda _: self._blamed(CONNECTION))
        self._finish()

    def _blamed(self, error_type: str) -> str:
        """What our own restart or stop of the server cut off is not the server's error."""
        treated = self._vitals.standing.treatments != self._treatments
        return CANCELLED if treated and error_type in FAILURES else error_type

    def _on_silenced(self) -> None:
        self._end_with(TIMEOUT)
        self._finish()

    def _on_served(self, count: int) -> None:
        self._vitals.ledger.bytes_out += count
        self._presence.show(self._exchange)
        self._on_unasked(HIT)

    def _on_client_left(self) -> None:
        if self._aside:
            self._on_unasked(CANCELLED)
            return
        if self._may_be_resumed() and self._presence.key is not None:
            self._vitals.set_adrift(self._presence.key, self._exchange, self._exchange.left(self._vitals.clock()))
        elif not self.is_paired:  # else it left a POST only: the stream stands
            self._end_with(self._exchange.left(self._vitals.clock()))
        self._presence.close_stream(lambda owed: owed.left(self._vitals.clock()))
        self._finish()

    def _on_refused(self, reason: Refused) -> None:
        self._vitals.ledger.refuse(reason, self._exchange.outstanding)
        self._on_unasked(f"refused:{reason}")

    def _on_unasked(self, outcome: str) -> None:
        self._vitals.ledger.in_flight -= self._exchange.outstanding
        # Counted by nobody: what the server never saw is no operation.
        for unasked in self._exchange.end(CANCELLED, self._vitals.clock()):
            self._vitals.report(unasked, outcome)
        self._finish()

    def _end_with(self, error_type: str) -> None:
        self._vitals.count(self._exchange.end(error_type, self._vitals.clock()))

    def _finish(self) -> None:
        self._done = True
        self._share_nothing()
        if self._seat is not None:
            self._seat.leave()
        paired = self._presence.answers_on
        if paired is None or not self._exchange.outstanding:
            self._vitals.finish(self._exchange)
        if paired is not None:
            paired.settle(self._exchange)
        self._presence.leave()

    # ---- small things

    def _share_nothing(self) -> None:
        if self._keeping is not None:
            self._keeping.give_up()

    def _safely(self, told: Callable[..., None], *facts: Any) -> None:
        try:
            told(*facts)
        except Exception:  # the boundary between measuring and traffic: a fault here may cost figures only
            self._vitals.ledger.unreadable += 1
            log.exception("an exchange could not be measured; the traffic goes on")
            self._share_nothing()  # or those who joined would wait for ever
