"""Asked before a call is relayed: is there a stored answer, is it refused. Pure.

Everything here is off unless the server's TOML (cache, breaker) or ``enforce`` (sessions) switches it on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.telemetry import Refused
from gateway import refusals
from gateway.admission import RETRY_AFTER_SECONDS
from gateway.answers import Answer
from gateway.breaker import EXEMPT
from gateway.headers import RawHeaders
from gateway.jsonrpc import Kind, Message
from gateway.observation import Observation
from gateway.questions import question
from gateway.vitals import Vitals


@dataclass(frozen=True, slots=True)
class Refusal:
    """The gateway's own answer: HTTP 503 with a JSON-RPC error."""

    code: refusals.Code
    message: str
    retry_after: int


class Steering:
    """What the operator switched on for one server."""

    def __init__(self, name: str, vitals: Vitals) -> None:
        self._name = name
        self._vitals = vitals

    def before_relay(
        self, seen: Observation, target: str, headers: RawHeaders, body: bytes
    ) -> Answer | Refusal | None:  # fmt: skip
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

    def _stored(self, seen: Observation, target: str, headers: RawHeaders, body: bytes) -> Answer | None:
        cache = self._vitals.cache
        if not cache.settings.enabled or len(seen.messages) != 1:
            return None
        asked = question(target, headers, body, seen.messages[0], self._may_store)
        if asked is None:
            return None
        found = cache.look_up(asked, self._vitals.clock())
        if found is None:
            seen.to_be_stored(cache.ask(asked))
        else:
            seen.served(len(found.body))
        return found

    def _may_store(self, tool: str) -> bool:
        return tool in self._vitals.cache.settings.tools and self._vitals.tools.is_read_only(tool)

    def _over_cap(self, seen: Observation) -> Refusal | None:
        vitals = self._vitals
        admission = vitals.admission
        opening = vitals.opening(besides=seen.exchange)
        if not admission.exceeds_sessions(seen.messages, vitals.sessions.active, opening):
            return None
        if not admission.refuses_sessions:
            vitals.ledger.would_refuse(Refused.SESSIONS, 1)
            return None
        seen.refused(Refused.SESSIONS)
        message = refusals.too_many_sessions(self._name, admission.session_limit or 0)
        return Refusal(refusals.Code.TOO_MANY_SESSIONS, message, RETRY_AFTER_SECONDS)

    def _broken(self, seen: Observation, messages: Sequence[Message] | None) -> Refusal | None:
        """``messages`` None: not known yet, and not to be waited for."""
        if messages is not None and not any(_is_judged(message) for message in messages):
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
