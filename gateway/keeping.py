"""What one answer is good for beyond its own client: it may be stored, and others may have joined its call. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.caching import MAX_ANSWER_BYTES, ResponseCache, Ticket
from gateway.coalescing import Flight, Flights, Landed


class Keeping:
    """A bounded copy of the answer to ``ticket`` on its way; ``flight`` is None where nobody may join the call."""

    def __init__(
        self,
        cache: ResponseCache,
        flights: Flights,
        ticket: Ticket,
        flight: Flight | None,
        *,
        most: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._cache = cache
        self._flights = flights
        self._ticket: Ticket | None = ticket
        self._flight = flight
        self._copy: list[bytes] = []
        self._copied = 0
        self._most = most

    @property
    def has_company(self) -> bool:
        """Whether others wait for the answer."""
        return self._flight is not None and self._flight.has_company

    def chunk(self, chunk: bytes) -> None:
        """Body bytes of the answer."""
        if self._ticket is None:
            return
        self._copied += len(chunk)
        if self._copied <= self._most:
            self._copy.append(chunk)
        else:
            self.give_up()

    def end(self, status: int, headers: Mapping[str, str], now: float) -> None:
        """The answer is complete: store it, and give it to those who joined."""
        ticket, self._ticket = self._ticket, None
        stored = None
        if ticket is not None and status == 200:
            stored = self._cache.read(ticket.question, headers, b"".join(self._copy))
        if ticket is not None and stored is not None:
            self._cache.keep(ticket, stored, now)
        self._land(None if stored is None else Landed(stored, now))

    def found(self, landed: Landed) -> None:
        """The answer was there already: nobody needs to ask the server."""
        self._ticket, self._copy = None, []
        self._land(landed)

    def give_up(self) -> None:
        """There is no answer that may be given again: who joined goes to the server. Idempotent."""
        self._ticket, self._copy = None, []
        self._land(None)

    def _land(self, landed: Landed | None) -> None:
        flight, self._flight = self._flight, None
        if flight is not None:
            self._flights.land(flight, landed)
