"""Everything measured of one server, and its reading as telemetry. Pure: clocks are given, nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from fleet.inventory import Enforced
from fleet.server_config import Tuning
from fleet.telemetry import Breaker, Bytes, Exemplar, Process, Queue, Refused, Telemetry
from fleet.telemetry import Sessions as SessionFigures
from gateway.admission import Admission
from gateway.breaker import BreakerSettings, CircuitBreaker
from gateway.caching import INVALIDATES, CacheSettings, ResponseCache
from gateway.coalescing import CoalescingSettings, Flights
from gateway.exchange import CANCELLED, TIMEOUT, Exchange, Limits, Operation
from gateway.generations import Change
from gateway.inspection import Inspection
from gateway.jsonrpc import Kind, Message
from gateway.labels import ToolNames, method_label
from gateway.ledger import TCP, Ledger
from gateway.pairs import Pairs
from gateway.sessions import Key, Sessions
from gateway.standing import Standing

if TYPE_CHECKING:
    from gateway.audit import Audit

BREAKER: Final = "upstream"
MAX_ADRIFT: Final = 1000
"""Calls whose stream was closed for resumption and that nobody resumed yet."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who reports: ``name`` is HOST-PID-STARTED_AT."""

    name: str
    started_at: float


@dataclass(slots=True)
class _Adrift:
    key: Key
    exchange: Exchange
    ends_as: str


class Hasty(Protocol):
    """A call that is under way and not looked at yet."""

    def unfold(self) -> None:
        """Be looked at now, as any other."""


class Vitals:
    """The mutable figures of one server. Observations write them, the observer reads them.

    ``hasty`` are the calls under way that are looked at when they have ended, or by ``look_closer``.
    """

    def __init__(
        self,
        limits: Limits,
        session_seconds: float,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        transport: str = TCP,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self._wall_clock = wall_clock
        self.ledger = Ledger(transport)
        self.admission = Admission()
        self.breaker = CircuitBreaker()
        self.cache = ResponseCache()
        self.flights = Flights()
        self.inspection = Inspection()
        self.audit: Audit | None = None
        self.sessions = Sessions(session_seconds)
        self.tools = ToolNames()
        self.standing = Standing(wall_clock)
        self.on_transport_failure: Callable[[], None] = lambda: None
        self.pairs = Pairs(self.count, self.finish)
        self.hasty: set[Hasty] = set()
        self._exchanges: dict[int, tuple[Key | None, Exchange]] = {}
        self._adrift: dict[int, _Adrift] = {}
        self._timed_out = False
        self._leaves_alone = True  # as it begins, so does every part above; only ``apply`` changes one

    def apply(
        self, tuning: Tuning, enforce: frozenset[Enforced], cache_tools: frozenset[str] = frozenset()
    ) -> None:  # fmt: skip
        """Follow the server's TOML; calls under way keep the limits that they began with."""
        self.look_closer()
        self.limits = Limits(tuning.initial_response_seconds, tuning.inactivity_seconds)
        self.sessions.session_seconds = tuning.session_seconds
        self.admission = Admission(tuning, enforce)
        self.breaker.apply(
            BreakerSettings(
                tuning.enable_circuit_breaker, tuning.circuit_breaker_threshold, tuning.circuit_breaker_seconds
            )
        )
        self.cache.apply(CacheSettings(tuning.enable_response_caching, tuning.cache_ttl_seconds, cache_tools))
        self.flights.apply(
            CoalescingSettings(tuning.enable_request_batching, tuning.batch_size, tuning.batch_timeout_seconds)
        )
        switched_on = self.cache.settings.enabled or self.flights.settings.enabled or self.breaker.enabled
        self._leaves_alone = self.admission.only_measures and not switched_on

    def look_closer(self) -> None:
        """Whatever is under way counts from now on: call it before asking for what is, and before changing sessions."""
        for hasty in list(self.hasty):
            hasty.unfold()

    @property
    def only_counts(self) -> bool:
        """Whether nothing is switched on that could answer, hold or end a call, or wants to look at it."""
        return self._leaves_alone and self.audit is None and not self.inspection.looks

    def kept(self, most: int) -> int:
        """How much of one message is kept for measuring: ``most``, or less where max_buffer_size says so."""
        return min(most, self.admission.tuning.max_buffer_bytes)

    def begin(self, key: Key | None, exchange: Exchange) -> None:
        """The exchange's requests are known and on their way."""
        self._exchanges[id(exchange)] = (key, exchange)
        self.ledger.in_flight += exchange.outstanding

    def finish(self, exchange: Exchange) -> None:
        """Nothing more will be told of this exchange."""
        if exchange.ticket is not None:
            # Should it have been a trial without any end, it proved nothing.
            self.breaker.ended(exchange.ticket, CANCELLED, self.clock())
        self._exchanges.pop(id(exchange), None)

    def count(self, operations: Sequence[Operation]) -> None:
        """These requests ended."""
        for operation in operations:
            self.ledger.in_flight -= 1
            self._timed_out = self._timed_out or operation.error_type == TIMEOUT
            if operation.ticket is not None:
                self.breaker.ended(operation.ticket, operation.judged_as, self.clock())
            self.ledger.operation(
                method_label(operation.method),
                self.tools.label(operation.tool),
                operation.error_type,
                operation.seconds,
                self._exemplar(operation) if operation.trace_id else None,
            )
            self.report(operation, operation.error_type)

    def _exemplar(self, operation: Operation) -> Exemplar:
        return Exemplar(value=operation.seconds, trace_id=operation.trace_id, at=max(0.0, self._wall_clock()))

    def report(self, operation: Operation, outcome: str) -> None:
        """Into the audit log, where there is one."""
        if self.audit is not None and operation.caller is not None:
            self.audit.ended(operation.caller, operation, outcome)

    def set_adrift(self, key: Key, exchange: Exchange, unless_resumed: str) -> None:
        """The answer will come on another stream of the same session, if the client resumes it.

        ``unless_resumed`` is the error type of a call that nobody came back for.
        """
        while len(self._adrift) >= MAX_ADRIFT:
            self._give_up(next(iter(self._adrift)))
        self._adrift[id(exchange)] = _Adrift(key, exchange, unless_resumed)

    def resumed(self, key: Key) -> None:
        """The client of this session came back: from now on it is the server that keeps it waiting."""
        for adrift in self._adrift.values():
            if adrift.key == key:
                adrift.ends_as = TIMEOUT

    def answer_adrift(self, key: Key, message: Message) -> None:
        """An answer on a resumed stream."""
        for identity, adrift in list(self._adrift.items()):
            if adrift.key == key and adrift.exchange.asked(message.id) is not None:
                operation = adrift.exchange.answer(message, self.clock())
                if operation is not None:
                    self.count([operation])
                if not adrift.exchange.outstanding:
                    del self._adrift[identity]
                return

    def cancel(self, key: Key | None, request: bytes) -> None:
        """A client of this session took a request back."""
        self.look_closer()
        adrift = ((each.key, each.exchange) for each in self._adrift.values())
        for owner, exchange in (*self._exchanges.values(), *adrift):
            if owner == key and exchange.cancel(request):
                return

    def notified(self, messages: Sequence[Message]) -> None:
        """The server said these: what they make stale is stored no longer."""
        for message in messages:
            if message.kind is Kind.NOTIFICATION:
                self.cache.notified(message.method, message.uri)
                self.flights.close(INVALIDATES.get(message.method, ()))

    def forget_answers(self) -> int:
        """Nothing that was answered before is given again; how many stored answers there were."""
        self.flights.close()
        return self.cache.clear()

    def changed_elsewhere(self, change: Change) -> None:
        """Another gateway before this server found this stale."""
        self.flights.close(None if change.everything else change.methods)
        self.cache.changed_elsewhere(change)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        self.look_closer()
        return self.ledger.in_flight

    @property
    def doubtful(self) -> bool:
        """Whether a call is overdue, or ended so and nothing was answered since: the server may hang."""
        self.look_closer()
        now = self.clock()
        return self._timed_out or any(exchange.overdue(now) for _, exchange in self._exchanges.values())

    def answered(self) -> None:
        """The server answered something, whatever it said."""
        self._timed_out = False
        self.standing.answered()

    def opening(self, besides: Exchange) -> int:
        """Exchanges other than this one that ask for a legacy session and have no answer yet.

        Not those of an open HTTP+SSE stream: it is a session already.
        """
        self.look_closer()
        return sum(
            exchange.asks("initialize")
            for key, exchange in self._exchanges.values()
            if exchange is not besides and (key is None or not self.sessions.knows(key))
        )

    def transport_failed(self, reason: str) -> None:
        """An exchange failed in transport."""
        self.standing.transport_failed(reason)
        self.on_transport_failure()

    def tick(self) -> None:
        """What time alone changes; call about once a second."""
        self.look_closer()
        now = self.clock()
        self.sessions.expire(now)
        late = sum(exchange.newly_overdue(now) for _, exchange in self._exchanges.values())
        if not self.admission.cuts_silence:
            self.ledger.would_refuse(Refused.TIMEOUTS, late)
        for _, exchange in self._exchanges.values():
            if exchange.ticket is not None and exchange.overdue(now):
                self.breaker.overdue(exchange.ticket, now)
        for identity, adrift in list(self._adrift.items()):
            if now >= adrift.exchange.deadline():
                self._give_up(identity)

    def server_replaced(self) -> None:
        """The process that held the legacy sessions is gone, and they with it; another one deserves a fresh start."""
        self.look_closer()
        self.sessions.end_all("legacy", self.clock())
        self.forget_answers()
        self.breaker.reset()
        self._timed_out = False

    def telemetry(self, source: Source, processes: Sequence[Process], waiting: int, *, final: bool) -> Telemetry:
        """The figures now. ``waiting`` calls stand before the gate or in the line."""
        self.look_closer()
        ledger = self.ledger
        if final:
            self.inspection.work()
        return Telemetry(
            source=source.name,
            started_at=source.started_at,
            final=final,
            operations=ledger.operations,
            up=self.standing.up,
            sessions=SessionFigures(
                active=self.sessions.active, limit=self.admission.session_limit, ended=self.sessions.ended
            ),
            cache=self.cache.figures,
            breakers=[Breaker(name=BREAKER, state=self.breaker.state, opened=self.breaker.opened)],
            queue=Queue(length=waiting, limit=self.admission.in_flight_limit),
            in_flight=ledger.in_flight,
            bytes=Bytes(in_=ledger.bytes_in, out=ledger.bytes_out),
            refused=dict(ledger.refused),
            would_refuse=dict(ledger.would_be_refused),
            unreadable=ledger.unreadable,
            restarts=ledger.restarts,
            cost=self.inspection.cost,
            sensitive=self.inspection.found,
            processes=list(processes),
        )

    def _give_up(self, identity: int) -> None:
        adrift = self._adrift.pop(identity)
        self.count(adrift.exchange.end(adrift.ends_as, self.clock()))
