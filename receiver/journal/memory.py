"""A journal in memory: for tests and dry runs. It forgets everything with the process, so nothing real uses it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from receiver.events import Entry, Event
from receiver.journal.store import Clock, JournalUnavailable, decoded, encoded


class MemoryJournal:
    """See ``receiver.journal.store.Journal``."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._entries: list[Entry] = []
        self._seen: set[str] = set()
        self._closed = False

    def append(self, event: Event, unique: str | None = None) -> Entry | None:
        """Keep ``event``; None when ``unique`` was seen before."""
        self._require_open()
        kept = decoded(encoded(event))
        if unique is not None and unique in self._seen:
            return None
        entry = Entry(seq=len(self._entries) + 1, at=self._clock(), event=kept)
        self._entries.append(entry)
        if unique is not None:
            self._seen.add(unique)
        return entry

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Every entry above ``after``, in order."""
        self._require_open()
        return iter(self._entries[max(after, 0) :])

    def pick(self, numbers: Sequence[int]) -> list[Entry]:
        """The entries of these numbers that exist, in order of number."""
        self._require_open()
        return [self._entries[number - 1] for number in sorted(set(numbers)) if 1 <= number <= len(self._entries)]

    def close(self) -> None:
        """Refuse further use."""
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise JournalUnavailable("the journal is closed")
