"""The state of one HTTP exchange: which requests are outstanding, and how each of them ended. Pure.

Measured is the JSON-RPC message, not the HTTP request: one POST may hold a batch, one answer may hold progress
notifications before its result. Every request ends exactly once, as an ``Operation``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fleet.telemetry import JSONRPC_ERROR_CODES, NOT_THE_SERVERS_ERRORS, OTHER, error_type_of_code
from gateway.breaker import EXEMPT, Ticket
from gateway.jsonrpc import Era, Kind, Message
from gateway.labels import STREAMS

if TYPE_CHECKING:
    from gateway.audit import Caller

SUCCESS: Final = ""
TOOL_ERROR: Final = "tool_error"
TIMEOUT: Final = "timeout"
CANCELLED: Final = "cancelled"
CONNECTION: Final = "connection"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call may stay silent, in seconds: before its first message, and between messages."""

    initial_response: float
    inactivity: float


@dataclass(frozen=True, slots=True)
class Operation:
    """One finished request.

    ``tool`` is the name as sent, not yet a label; ``error_type`` is '' on success. ``ticket`` is the breaker's, None
    for what the breaker does not judge by. ``id`` is canonical JSON; ``caller`` is None where nothing is audited.
    ``in_5xx``: the answer came with such an HTTP status. ``trace_id`` is empty for a call of no trace.
    """

    method: str
    tool: str
    error_type: str
    seconds: float
    ticket: Ticket | None = None
    id: bytes = b""
    caller: Caller | None = None
    in_5xx: bool = False
    trace_id: str = ""

    @property
    def judged_as(self) -> str:
        """The error type that the breaker is told: HTTP 5xx counts, whatever code stands in it.

        Not where the call itself was wrong, or taken back.
        """
        return "http_5xx" if self.in_5xx and self.error_type not in NOT_THE_SERVERS_ERRORS else self.error_type


@dataclass(slots=True)
class _Pending:
    method: str
    tool: str
    id: bytes
    cancelled: bool = False


@dataclass(slots=True)
class Exchange:
    """One HTTP request and its answer, told by ``ask``, ``answer`` and ``end``.

    ``started`` and every ``now`` are seconds of one monotonic clock.
    """

    started: float
    limits: Limits
    era: Era = Era.LEGACY
    streams: bool = False
    resumable: bool = False
    ticket: Ticket | None = None
    caller: Caller | None = None
    trace_id: str = ""
    _pending: dict[bytes, _Pending] = field(default_factory=dict)
    _last_message: float | None = None
    _overdue: bool = False

    @property
    def outstanding(self) -> int:
        """Requests that have not ended."""
        return len(self._pending)

    def ask(self, messages: Iterable[Message]) -> None:
        """The client sent these. Notifications and answers of a client are no operations, nor are streams."""
        for message in messages:
            if message.era is Era.MODERN:
                self.era = Era.MODERN
            if message.kind is not Kind.REQUEST:
                continue
            if message.method in STREAMS:
                self.streams = True
                continue
            self._pending[self._unused(message.id)] = _Pending(message.method, message.tool, message.id)

    def asked(self, identity: bytes) -> str | None:
        """The method of an outstanding request, None when there is none."""
        pending = self._pending.get(identity)
        return None if pending is None else pending.method

    def asks(self, method: str) -> bool:
        """Whether a request of this method is outstanding."""
        return any(pending.method == method for pending in self._pending.values())

    def cancel(self, identity: bytes) -> bool:
        """The client took this request back; an error that answers it now is its own doing."""
        pending = self._pending.get(identity)
        if pending is None:
            return False
        pending.cancelled = True
        return True

    def withdraw(self, identity: bytes, now: float) -> Operation | None:
        """The client took this request back, and no end of an answer will tell: it ends here."""
        pending = self._pending.pop(identity, None)
        return None if pending is None else self._ended(pending, CANCELLED, now)

    def active(self, now: float) -> None:
        """The server said something of this exchange: a notification, or the first bytes of a plain answer."""
        self._last_message = now

    def answer(self, message: Message, now: float, status: int = 200) -> Operation | None:
        """The server's answer to one request; None when it answers nothing that is outstanding."""
        self._last_message = now
        pending = self._pending.pop(message.id, None)
        if pending is None:
            return None
        return self._ended(pending, _error_type(message, status, pending.cancelled), now, status)

    def answer_only(self, message: Message, now: float, status: int = 200) -> Operation | None:
        """An answer whose id was not legible: it belongs to the only outstanding request, if there is one."""
        if len(self._pending) != 1:
            return None
        _, pending = self._pending.popitem()
        return self._ended(pending, _error_type(message, status, pending.cancelled), now, status)

    def end(self, error_type: str, now: float) -> list[Operation]:
        """Nothing more will come: everything outstanding ends with ``error_type`` ('' when it cannot be told)."""
        pending, self._pending = list(self._pending.values()), {}
        return [
            self._ended(each, CANCELLED if each.cancelled and error_type != SUCCESS else error_type, now)
            for each in pending
        ]

    def left(self, now: float) -> str:
        """The error type of what is outstanding when the client leaves: its patience ended before or after ours."""
        return TIMEOUT if now >= self.deadline() else CANCELLED

    def deadline(self) -> float:
        """When the silence of the server becomes longer than the limits."""
        if self._last_message is None:
            return self.started + self.limits.initial_response
        return self._last_message + self.limits.inactivity

    def overdue(self, now: float) -> bool:
        """Whether a request is outstanding and the server silent for longer than its limits."""
        return bool(self._pending) and now >= self.deadline()

    def newly_overdue(self, now: float) -> int:
        """Requests that a gateway which enforces timeouts would have cut by now; each is told once."""
        if self._overdue or not self.overdue(now):
            return 0
        self._overdue = True
        return len(self._pending)

    def _ended(self, pending: _Pending, error_type: str, now: float, status: int = 200) -> Operation:
        ticket = None if pending.method in EXEMPT else self.ticket
        seconds = max(0.0, now - self.started)
        return Operation(
            pending.method, pending.tool, error_type, seconds, ticket, pending.id, self.caller, status >= 500,
            self.trace_id,
        )  # fmt: skip

    def _unused(self, identity: bytes) -> bytes:
        # A batch that uses an id twice is wrong, but each of its requests still ends once.
        while identity in self._pending:
            identity += b"+"
        return identity


def _error_type(message: Message, status: int, cancelled: bool) -> str:
    if message.error_code is None:
        return TOOL_ERROR if message.is_error else SUCCESS
    if cancelled:
        return CANCELLED
    code = error_type_of_code(message.error_code)
    return of_status(status) if code not in JSONRPC_ERROR_CODES and status >= 400 else code


def of_status(status: int) -> str:
    """The error type of an HTTP answer that holds no answer to the request."""
    if 400 <= status < 500:
        return "http_4xx"
    if 500 <= status < 600:
        return "http_5xx"
    return OTHER
