"""What a source is: one function type and the few facts about when to call it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from exporter.facts import ServerFacts
from exporter.readings import Reading, SourceName
from fleet.errors import TemporaryError
from fleet.inventory import Server


class SourceError(TemporaryError):
    """The facts cannot be learned now; the message says what was looked for and what to do.

    ``partial`` is what could be learned all the same.
    """

    def __init__(self, message: str, partial: Reading | None = None) -> None:
        self.partial = partial
        super().__init__(message)


Read = Callable[[Server, ServerFacts, float], Reading]
"""Reads one server's facts, blocking, in a thread: the server, what is known of it, now on the monotonic clock."""

Ask = Callable[[Server, ServerFacts, float], Coroutine[Any, Any, Reading]]
"""The same for what is asked over the network, on the event loop: it never blocks, and may be cancelled."""

Wanted = Callable[[Server, ServerFacts, float], bool]
"""Whether the source has something to read of this server now. Fast: it runs on the event loop."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When to read: seconds between two reads, and after how many one that has not returned counts as failed."""

    interval_seconds: float
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Source:
    """One row of the table.

    Attributes:
        name: the label ``source``.
        interval_seconds: between two reads of one server.
        deadline_seconds: after this long a read that has not returned counts as failed.
        wanted: whether to read at all; where False nothing is said of the source.
        read: the read itself; raises SourceError for what can be expected to happen.
        from_memory: the read looks at what is known already and never waits: it needs no thread.
        own_pace: where the interval and the deadline differ from server to server; nobody waits for its first read.
    """

    name: SourceName
    interval_seconds: float
    deadline_seconds: float
    wanted: Wanted
    read: Read | Ask
    own_pace: Callable[[Server, ServerFacts], Pace] | None = None
    from_memory: bool = False

    def pace(self, server: Server, known: ServerFacts) -> Pace:
        """When to read this server."""
        if self.own_pace is not None:
            return self.own_pace(server, known)
        return Pace(self.interval_seconds, self.deadline_seconds)
