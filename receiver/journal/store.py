"""What every journal can do, and how it fails. One test suite runs over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from fleet.errors import PermanentError, TemporaryError
from receiver.events import Entry, Event

Clock = Callable[[], float]
"""UNIX seconds; what stamps ``Entry.at``."""


class JournalUnavailable(TemporaryError):  # noqa: N818 - a state of the journal
    """Nothing was written: disk full, locked, no permission. The message names the file and the remedy."""


class JournalCorrupt(PermanentError):  # noqa: N818 - a state of the journal
    """It cannot be read as a journal: damaged, another file, or written by a newer version."""


_DECODER: Final = msgspec.json.Decoder(Event)


def encoded(event: Event) -> bytes:
    """What is kept of an event: JSON."""
    return msgspec.json.encode(event)


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


class Journal(Protocol):
    """Append-only, numbered from 1. When ``append`` returns an entry, the entry survives a kill and a power cut.

    All methods block; call them from one thread at a time (the engine keeps a one-thread executor for it).
    Several hosts need ``append`` with an expected version, and leases: they join here as further methods.
    """

    def append(self, event: Event, unique: str | None = None) -> Entry | None:
        """Write ``event`` durably and return its entry; None, and nothing written, when ``unique`` was seen before.

        The entry's event is what a later ``read`` yields, so that nobody learns more now than after a restart.

        Raises:
            PermanentError: the event could not be read again (a NaN where a number must be); nothing was written.
            JournalUnavailable: nothing was written; trying again later may succeed.
            JournalCorrupt: the store is damaged.
        """
        ...

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Every entry whose number is above ``after``, in order; raises as ``append`` does."""
        ...

    def pick(self, numbers: Sequence[int]) -> list[Entry]:
        """The entries of these numbers that exist, in order of number; raises as ``append`` does."""
        ...

    def close(self) -> None:
        """Release it; idempotent. No other method may be called afterwards."""
        ...
