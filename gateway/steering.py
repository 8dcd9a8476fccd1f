"""Asked before a call is relayed: is there a stored answer, is it refused. Pure.

Everything here is off unless the server's TOML (cache, breaker) or ``enforce`` (sessions) switches it on.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fleet.telemetry import Refused
from gateway import refusals
from gateway.admission import RETRY_AFTER_SECONDS, opens_session
from gateway.answers import Answer
from gateway.breaker import EXEMPT
from gateway.caching import MAX_ANSWER_BYTES, Ticket
from gateway.coalescing import Flight, Landed, Tell
from gateway.headers import RawHeaders
from gateway.jsonrpc import Kind, Message
from gateway.keeping import Keeping
from gateway.observation import Observation
from gateway.questions import Question, question
from gateway.vitals import Vitals


@dataclass(frozen=True, slots=True)
class Refusal:
    """The gateway's own answer: HTTP 503 with a JSON-RPC error."""

    code: refusals.Code
    message: str
    retry_after: int


class Pending:
    """An answer may come without asking the server: from a call under way, or from the cache of all gateways."""

    def __init__(self, settle: Callable[[], Awaitable[Answer | Refusal | None]]) -> None:
        self._settle = settle

    async def settled(self) -> Answer | Refusal | None:
        """Await it once. The gateway's own answer, as of ``Steering.before_relay``; None: relay the request now."""
        return await self._settle()


class Waiting(Protocol):
    """Where a joined call waits; told by the one that it joined."""

    @property
    def tell(self) -> Tell:
        """To be called with the answer."""

    async def wait(self) -> Landed | None:
        """What was told."""


class Shelf(Protocol):
    """The cache that all gateways of a server share."""

    def has_time_for(self, question: Question) -> bool:
        """Whether to look: it is there, and this question's answers are kept there."""

    async def find(self, question: Question) -> Landed | None:
        """A stored answer, in bounded time."""

    @property
    def figures(self) -> dict[str, Any]:
        """For the control socket's status."""


class Steering:
    """What the operator switched on for one server.

    ``waiting`` makes the place where one joined call waits; ``shelf`` is None where gateways share nothing.
    """

    def __init__(self, name: str, vitals: Vitals, waiting: Callable[[], Waiting]) -> None:
        self._name = name
        self._vitals = vitals
        self._waiting = waiting
        self.shelf: Shelf | None = None

    @property
    def only_watches(self) -> bool:
        """Whether nothing is switched on that could answer, refuse or hold a call: its bytes need not wait for us."""
        vitals = self._vitals
        answers = vitals.cache.settings.enabled or vitals.flights.settings.enabled
        return not (answers or vitals.breaker.enabled or vitals.admission.refuses_sessions)

    def before_relay(
        self, seen: Observation, target: str, headers: RawHeaders, body: bytes
    ) -> Answer | Refusal | Pending | None:
        """The gateway's own answer to a request whose body is known; None when it is to be relayed."""
        return self._stored(seen, target, headers, body) or self._over_cap(seen) or self._broken(seen, seen.messages)

    def before_stream(self, seen: Observation) -> Refusal | None:
        """The same for a body too large to wait for: only a call is that large."""
        return self._broken(seen, None)

    def needs_place(self, seen: Observation) -> bool:
        """Whether this exchange counts against the limit of calls at once: calls do, streams and greetings do not."""
        limited = self._vitals.admission.in_flight_limit is not None
        return limited and any(_is_judged(message) for message in seen.messages)

    def too_long_in_line(self) -> Refusal:
        """For a call that waited for a place in vain."""
        message = refusals.too_long_in_line(self._name, self._vitals.admission.in_flight_limit or 0)
        return Refusal(refusals.Code.TOO_LONG_IN_LINE, message, RETRY_AFTER_SECONDS)

    def _stored(self, seen: Observation, target: str, headers: RawHeaders, body: bytes) -> Answer | Pending | None:
        cache, flights, now = self._vitals.cache, self._vitals.flights, self._vitals.clock()
        if not (cache.settings.enabled or flights.settings.enabled) or len(seen.messages) != 1 or seen.is_paired:
            return None  # the answer to a paired call belongs on its stream, where nothing is put in
        asked = question(target, headers, body, seen.messages[0], self._may_store)
        if asked is None:
            return None
        found = cache.look_up(asked, now)
        if found is not None:
            seen.served(len(found.body))
            return found
        flight = flights.joinable(asked, now)
        if flight is not None:
            return self._joined(seen, flight, asked)
        ticket = cache.ask(asked)
        most = self._vitals.kept(MAX_ANSWER_BYTES)
        keeping = Keeping(cache, flights, ticket, flights.lead(asked, now), most=most)
        seen.to_be_kept(keeping)
        if self.shelf is None or not cache.settings.enabled or not self.shelf.has_time_for(asked):
            return None
        return self._looked_up(seen, self.shelf, ticket, keeping)

    def _looked_up(self, seen: Observation, shelf: Shelf, ticket: Ticket, keeping: Keeping) -> Pending:
        seen.stands_aside()

        async def settle() -> Answer | Refusal | None:
            landed = await shelf.find(ticket.question)
            now = self._vitals.clock()
            answer = None if landed is None else self._vitals.cache.take(ticket, landed.stored, landed.since, now)
            if landed is None or answer is None:
                seen.goes_itself()
                return self._broken(seen, seen.messages)
            keeping.found(landed)
            seen.served(len(answer.body))
            return answer

        return Pending(settle)

    def _joined(self, seen: Observation, flight: Flight, asked: Question) -> Pending:
        waiting = self._waiting()
        seen.stands_aside(flight.join(asked, waiting.tell))

        async def settle() -> Answer | Refusal | None:
            landed = await waiting.wait()
            if landed is None:
                seen.goes_itself()
                return self._broken(seen, seen.messages)
            answer = landed.stored.for_request(asked.id, self._vitals.clock() - landed.since)
            self._vitals.cache.joined()
            seen.served(len(answer.body))
            return answer

        return Pending(settle)

    def _may_store(self, tool: str) -> bool:
        return tool in self._vitals.cache.settings.tools and self._vitals.tools.is_read_only(tool)

    def _over_cap(self, seen: Observation) -> Refusal | None:
        vitals = self._vitals
        admission = vitals.admission
        if not any(map(opens_session, seen.messages)):
            return None  # nearly every call: the others under way need not be looked through
        opening = vitals.opening(besides=seen.exchange)
        others = vitals.sessions.active - seen.is_paired  # an HTTP+SSE session begins before its initialize
        if not admission.exceeds_sessions(seen.messages, others, opening):
            return None
        if not admission.refuses_sessions:
            vitals.ledger.would_refuse(Refused.SESSIONS, 1)
            return None
        seen.refused(Refused.SESSIONS)
        message = refusals.too_many_sessions(self._name, admission.session_limit or 0)
        return Refusal(refusals.Code.TOO_MANY_SESSIONS, message, RETRY_AFTER_SECONDS)

    def _broken(self, seen: Observation, messages: Sequence[Message] | None) -> Refusal | None:
        """``messages`` None: not known yet, and not to be waited for."""
        if messages is not None and not any(map(_is_judged, messages)):
            return None
        breaker, now = self._vitals.breaker, self._vitals.clock()
        ticket = breaker.admit(now)
        if ticket is not None:
            seen.admitted(ticket)
            return None
        if messages is not None:
            seen.refused(Refused.BREAKER)
        wait = max(1, math.ceil(breaker.retry_after(now)))
        return Refusal(refusals.Code.BREAKER_OPEN, refusals.breaker_open(self._name, wait), wait)


def _is_judged(message: Message) -> bool:
    return message.kind is Kind.REQUEST and message.method not in EXEMPT
