"""The circuit breaker of one server: consecutive failures of its transport open it. Pure; ``now`` is monotonic.

Closed: every call passes. Open: calls are refused for ``seconds``. Half-open: one trial passes, the others are
refused; its end closes the breaker or opens it again. What a call's end means is told by the ticket that it got when
it was admitted: the late ends of calls from before prove nothing about the server now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NewType

from fleet.telemetry import BreakerState

Ticket = NewType("Ticket", int)
"""Given with admission, given back with the call's end."""

FAILURES: Final = frozenset({"connection", "timeout", "http_5xx", "-32603"})
"""Error types that speak of a server that does not serve; a tool's own error does not."""

_UNDECIDED: Final = frozenset({"cancelled"})
"""An end that says nothing about the server."""

EXEMPT: Final = frozenset({"initialize", "server/discover", "ping", "subscriptions/listen"})
"""Requests that always pass and never count: with them a client finds out that the server is back."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """``threshold`` consecutive failures open it for ``seconds``; disabled it lets all pass and counts nothing."""

    enabled: bool = False
    threshold: int = 5
    seconds: float = 30.0


class CircuitBreaker:
    """One server's breaker. ``opened`` is cumulative."""

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self._settings = settings or BreakerSettings()
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._opened_at = 0.0
        self._round = 0
        self._trial: Ticket | None = None
        self.opened = 0

    @property
    def state(self) -> BreakerState:
        """The state now. Open turns half-open with the first call after its time, not by time alone."""
        return self._state

    @property
    def enabled(self) -> bool:
        """Whether it may refuse anything."""
        return self._settings.enabled

    def apply(self, settings: BreakerSettings) -> None:
        """Follow a changed file; disabling closes the breaker."""
        if not settings.enabled:
            self.reset()
        self._settings = settings

    def reset(self) -> None:
        """Closed, with no failure counted: the server is another process now."""
        self._enter(BreakerState.CLOSED)

    def retry_after(self, now: float) -> float:
        """Seconds until the next trial may pass, 0 when one may pass now."""
        return max(0.0, self._opened_at + self._settings.seconds - now)

    def admit(self, now: float) -> Ticket | None:
        """The ticket of a call that may pass, None when it is refused."""
        if self._state is BreakerState.CLOSED:
            return Ticket(self._round)
        if self._trial is not None or (self._state is BreakerState.OPEN and self.retry_after(now) > 0):
            return None
        self._enter(BreakerState.HALF_OPEN)
        self._trial = Ticket(self._round)
        return self._trial

    def ended(self, ticket: Ticket, error_type: str, now: float) -> None:
        """An admitted call ended, ``error_type`` '' on success."""
        if not self._settings.enabled or ticket != self._round or error_type in _UNDECIDED:
            self._give_back(ticket)
        elif error_type in FAILURES:
            self._failed(now)
        elif self._state is BreakerState.HALF_OPEN:
            self._enter(BreakerState.CLOSED)
        else:
            self._failures = 0

    def overdue(self, ticket: Ticket, now: float) -> None:
        """An admitted call is silent beyond its limits: as a trial it has failed, or nobody would ever pass."""
        if ticket == self._trial:
            self._failed(now)

    def _failed(self, now: float) -> None:
        self._failures += 1
        if self._state is BreakerState.HALF_OPEN or self._failures >= self._settings.threshold:
            self._enter(BreakerState.OPEN)
            self._opened_at = now
            self.opened += 1

    def _give_back(self, ticket: Ticket) -> None:
        # A trial that was cancelled proved nothing: the next call is the trial.
        if ticket == self._trial:
            self._trial = None

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._failures = 0
        self._trial = None
        self._round += 1
