"""What every journal can do, and how it fails. One test suite runs over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from fleet.errors import PermanentError, TemporaryError
from receiver.events import Entry, Event

Clock = Callable[[], float]
"""UNIX seconds; what stamps ``Entry.at``."""

PAGE_ENTRIES: Final = 200
"""How many entries are read at once: a journal is written between two pages, and never held whole in memory."""


class JournalUnavailable(TemporaryError):  # noqa: N818 - a state of the journal
    """Nothing was written: disk full, locked, no permission. The message names the file and the remedy."""


class JournalCorrupt(PermanentError):  # noqa: N818 - a state of the journal
    """It cannot be read as a journal: damaged, another file, or written by a newer version."""


class JournalMovedOn(TemporaryError):  # noqa: N818 - a state of the journal
    """Nothing was written: somebody else wrote since, or holds the lease now. Read on and decide again."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of ``holder`` to act for ``name`` until then (UNIX seconds).

    ``token`` grows with each change of hands, so a write of who held it before is known and refused.
    """

    name: str
    holder: str
    token: int
    until: float


@dataclass(frozen=True, slots=True)
class Write:
    """One event to write.

    ``unique``: nothing is written where this key was seen before. ``expected``: nothing is written unless this is the
    number of the newest entry (0 for an empty journal). ``lease``: nothing is written once another holder took it.
    """

    event: Event
    unique: str | None = None
    expected: int | None = None
    lease: Lease | None = None


Written = Entry | None | PermanentError | JournalMovedOn
"""What became of one of several writes: its entry, None for a key that was seen before, or why it was refused."""

_DECODER: Final = msgspec.json.Decoder(Event)


def encoded(event: Event) -> bytes:
    """What is kept of an event: JSON.

    Raises:
        PermanentError: it holds what JSON cannot, such as half a surrogate.
    """
    try:
        return msgspec.json.encode(event)
    except (msgspec.MsgspecError, UnicodeEncodeError, TypeError, OverflowError, RecursionError) as error:
        raise PermanentError(f"cannot be kept as JSON: {error}") from error


def decoded(body: bytes) -> Event:
    """The event that ``body`` holds.

    Raises:
        PermanentError: it holds none that this version knows.
    """
    try:
        event: Event = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PermanentError(str(error)) from error
    return event


def only(written: Sequence[Written]) -> Entry | None:
    """What became of a write that was alone; raises why it was refused."""
    (found,) = written
    if isinstance(found, PermanentError | JournalMovedOn):
        raise found
    return found


class Journal(Protocol):
    """Append-only, numbered from 1. When ``append`` returns an entry, the entry survives a kill and a power cut.

    All methods block; call them from one thread at a time (the chronicle keeps a one-thread executor for it).
    """

    def append(self, event: Event, unique: str | None = None, expected: int | None = None) -> Entry | None:
        """Write ``event`` durably and return its entry; None, and nothing written, when ``unique`` was seen before.

        The entry's event is what a later ``read`` yields, so that nobody learns more now than after a restart.

        Raises:
            PermanentError: the event could not be read again (a NaN where a number must be); nothing was written.
            JournalMovedOn: the newest entry is not ``expected``; nothing was written.
            JournalUnavailable: nothing was written; trying again later may succeed.
            JournalCorrupt: the store is damaged.
        """
        ...

    def append_all(self, writes: Sequence[Write]) -> list[Written]:
        """Write several events in order, made durable at once; what became of each.

        One that is refused keeps none of the others out.

        Raises:
            JournalUnavailable, JournalCorrupt: none of them was written.
        """
        ...

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Every entry whose number is above ``after``, in order; raises as ``append`` does."""
        ...

    def pick(self, numbers: Sequence[int]) -> list[Entry]:
        """The entries of these numbers that exist, in order of number; raises as ``append`` does."""
        ...

    def newest(self) -> int:
        """The number of the newest entry, 0 without one; raises as ``append`` does."""
        ...

    def remove(self, numbers: Sequence[int]) -> int:
        """Forget these entries and their keys: all of them or, when it fails, none. How many there were.

        The newest entry always stays, so that no number is ever given twice.

        Raises:
            JournalUnavailable, JournalCorrupt: nothing was removed.
        """
        ...

    def lease(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take the lease ``name``, or hold it for longer; None while another holder has it.

        Raises:
            JournalUnavailable, JournalCorrupt: nothing changed.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give it back; nothing happens where another took it meanwhile. Raises as ``lease`` does."""
        ...

    def close(self) -> None:
        """Release it; idempotent. No other method may be called afterwards."""
        ...
