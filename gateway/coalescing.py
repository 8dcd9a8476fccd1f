"""Identical calls under way share one: who goes to the server, who joins, what they get. Pure; ``now`` is monotonic.

Nobody waits for company: the first call goes at once, and a later one may join it while it is young and has room.
A joined call gets the answer only where it would get it from the cache as well; else it goes to the server itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from gateway.answers import Stored
from gateway.questions import Question

MAX_PUBLIC: Final = 1_000
"""Questions remembered as having answers for everybody."""


@dataclass(frozen=True, slots=True)
class CoalescingSettings:
    """``callers`` share one call at most, the first of them included; one older than ``seconds`` is joined no more."""

    enabled: bool = False
    callers: int = 5
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Landed:
    """An answer that may be given again, and since when it holds."""

    stored: Stored
    since: float


Tell = Callable[[Landed | None], None]
"""Called once: with the answer, or with None when the joined call has to go by itself."""


class Flight:
    """One call on its way to the server, and those who wait for its answer."""

    def __init__(self, question: Question, since: float) -> None:
        self.question = question
        self.since = since
        self.callers = 1
        self._waiting: dict[int, tuple[Question, Tell]] = {}

    @property
    def has_company(self) -> bool:
        """Whether others wait: then the call goes on without the client that began it."""
        return bool(self._waiting)

    def join(self, question: Question, tell: Tell) -> Seat:
        """Wait for the answer of this flight."""
        number = self.callers
        self.callers += 1
        self._waiting[number] = (question, tell)
        return Seat(self, number)

    def leave(self, number: int) -> None:
        """One waits no longer; its place stays taken."""
        self._waiting.pop(number, None)

    def land(self, landed: Landed | None) -> None:
        """Tell everybody, once; None: there is no answer that may be given again."""
        waiting, self._waiting = self._waiting, {}
        for question, tell in waiting.values():
            mine = landed is not None and (landed.stored.public or question.private == self.question.private)
            tell(landed if mine else None)


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of a joined call."""

    flight: Flight
    number: int

    def leave(self) -> None:
        """It waits no longer. Idempotent."""
        self.flight.leave(self.number)


class Flights:
    """The calls of one server that may be joined."""

    def __init__(self) -> None:
        self.settings = CoalescingSettings()
        self._open: dict[bytes, Flight] = {}
        self._public: OrderedDict[bytes, None] = OrderedDict()

    def apply(self, settings: CoalescingSettings) -> None:
        """Follow a changed file. Turned off, nobody joins any more; who waits already still gets the answer."""
        if not settings.enabled:
            self.close()
        self.settings = settings

    def joinable(self, question: Question, now: float) -> Flight | None:
        """The flight that this question may join: the caller's own, or one whose answer was for everybody so far."""
        if not self.settings.enabled:
            return None
        for key in (question.private, question.shared):
            flight = self._open.get(key)
            if flight is None or flight.callers >= self.settings.callers:
                continue
            if now - flight.since < self.settings.seconds:
                return flight
        return None

    def lead(self, question: Question, now: float) -> Flight | None:
        """The question goes to the server and may be joined; None where this is not switched on. ``land`` it."""
        if not self.settings.enabled or self.settings.callers < 2:
            return None
        flight = Flight(question, now)
        self._open[question.private] = flight
        if question.shared in self._public:
            self._open[question.shared] = flight
        return flight

    def land(self, flight: Flight, landed: Landed | None) -> None:
        """The answer is there, or there is none that may be given again. Idempotent."""
        self._withdraw(flight)
        if landed is not None:
            self._remember(flight.question.shared, public=landed.stored.public)
        flight.land(landed)

    def close(self, methods: Collection[str] | None = None) -> None:
        """What these methods ask for (None: everything) may have changed: nobody joins what was asked before."""
        for flight in list(self._open.values()):
            if methods is None or flight.question.method in methods:
                self._withdraw(flight)

    def _withdraw(self, flight: Flight) -> None:
        for key in (flight.question.private, flight.question.shared):
            if self._open.get(key) is flight:
                del self._open[key]

    def _remember(self, shared: bytes, *, public: bool) -> None:
        # Without this others would wait for an answer that is most likely not for them.
        self._public.pop(shared, None)
        if public:
            self._public[shared] = None
            if len(self._public) > MAX_PUBLIC:
                self._public.popitem(last=False)
