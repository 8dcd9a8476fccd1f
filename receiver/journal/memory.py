"""A journal in memory: for tests and dry runs. It forgets everything with the process, so nothing real uses it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fleet.errors import PermanentError
from receiver.events import Entry, Event
from receiver.journal.store import (
    Clock,
    JournalMovedOn,
    JournalUnavailable,
    Lease,
    Write,
    Written,
    decoded,
    encoded,
    only,
)


class MemoryJournal:
    """See ``receiver.journal.store.Journal``."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._entries: dict[int, Entry] = {}
        self._keys: dict[str, int] = {}
        self._leases: dict[str, Lease] = {}
        self._closed = False

    def append(self, event: Event, unique: str | None = None, expected: int | None = None) -> Entry | None:
        """Keep ``event``; None when ``unique`` was seen before."""
        return only(self.append_all([Write(event, unique, expected)]))

    def append_all(self, writes: Sequence[Write]) -> list[Written]:
        """Keep them in order."""
        self._require_open()
        return [self._write(each) for each in writes]

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Every entry above ``after``, in order."""
        self._require_open()
        return iter([entry for number, entry in self._entries.items() if number > after])

    def pick(self, numbers: Sequence[int]) -> list[Entry]:
        """The entries of these numbers that exist, in order of number."""
        self._require_open()
        return [self._entries[number] for number in sorted(set(numbers)) if number in self._entries]

    def newest(self) -> int:
        """The number of the newest entry."""
        self._require_open()
        return next(reversed(self._entries), 0)

    def remove(self, numbers: Sequence[int]) -> int:
        """Forget these entries, never the newest one."""
        gone = (set(numbers) & set(self._entries)) - {self.newest()}
        for number in gone:
            del self._entries[number]
        self._keys = {key: number for key, number in self._keys.items() if number not in gone}
        return len(gone)

    def lease(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take or prolong a lease."""
        self._require_open()
        now, known = self._clock(), self._leases.get(name)
        if known is not None and known.holder != holder and known.until > now:
            return None
        is_held = known is not None and known.until > now
        token = 0 if known is None else known.token
        self._leases[name] = Lease(name, holder, token if is_held else token + 1, now + seconds)
        return self._leases[name]

    def release(self, lease: Lease) -> None:
        """End a lease."""
        self._require_open()
        known = self._leases.get(lease.name)
        if known is not None and known.token == lease.token:
            self._leases[lease.name] = replace(known, until=0.0)

    def close(self) -> None:
        """Refuse further use."""
        self._closed = True

    def _write(self, write: Write) -> Written:
        try:
            kept = decoded(encoded(write.event))
        except PermanentError as error:
            return error
        newest = self.newest()
        if write.expected is not None and write.expected != newest:
            return JournalMovedOn(f"the newest entry is {newest}, not {write.expected}")
        held = None if write.lease is None else self._leases.get(write.lease.name)
        if write.lease is not None and (held is None or held.token != write.lease.token):
            return JournalMovedOn(f"another holder has the lease {write.lease.name}")
        if write.unique is not None and write.unique in self._keys:
            return None
        entry = Entry(seq=newest + 1, at=self._clock(), event=kept)
        self._entries[entry.seq] = entry
        if write.unique is not None:
            self._keys[write.unique] = entry.seq
        return entry

    def _require_open(self) -> None:
        if self._closed:
            raise JournalUnavailable("the journal is closed")
