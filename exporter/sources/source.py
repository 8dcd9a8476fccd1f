"""What a source is: one function type and the few facts about when to call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exporter.facts import Reading, ServerFacts, SourceName
from fleet.errors import TemporaryError
from fleet.inventory import Server


class SourceError(TemporaryError):
    """The facts cannot be learned now; the message says what was looked for and what to do."""


Read = Callable[[Server, ServerFacts, float], Reading]
"""Reads one server's facts, blocking, in a thread: the server, what is known of it, now on the monotonic clock."""

Wanted = Callable[[Server, ServerFacts, float], bool]
"""Whether the source has something to read of this server now. Fast: it runs on the event loop."""


@dataclass(frozen=True, slots=True)
class Source:
    """One row of the table.

    Attributes:
        name: the label ``source``.
        interval_seconds: between two reads of one server.
        deadline_seconds: after this long a read that has not returned counts as failed.
        wanted: whether to read at all; where False nothing is said of the source.
        read: the read itself; raises SourceError for what can be expected to happen.
    """

    name: SourceName
    interval_seconds: float
    deadline_seconds: float
    wanted: Wanted
    read: Read
