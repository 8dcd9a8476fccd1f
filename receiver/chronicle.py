"""The journal and its fold in step: one thread writes, and the book learns each entry in the order of its number.

Everything above asks the book and writes through here, so what was decided upon is always what is on the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from receiver.events import Entry
from receiver.journal.store import JournalCorrupt, JournalUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.book import Book
    from receiver.events import Event
    from receiver.journal.store import Journal

log = logging.getLogger(__name__)

Listener = Callable[[Entry, tuple[str, ...]], None]
"""Told of an entry and the servers whose incident it opened or changed."""


class Chronicle:
    """Append to the journal, ask the book. ``trouble`` says why the journal cannot be written, "" while it can."""

    def __init__(self, journal: Journal, book: Book, thread: ThreadPoolExecutor) -> None:
        """``thread`` has one worker: the one in which ``journal`` was opened."""
        self._journal = journal
        self._thread = thread
        self._listeners: list[Listener] = []
        self.book = book
        self.trouble = ""

    @classmethod
    async def open(cls, open_journal: Callable[[], Journal], book: Book) -> Self:
        """Open the journal in a thread of its own and replay it into ``book``.

        Raises:
            JournalUnavailable, JournalCorrupt: as ``open_journal`` and reading do.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        loop = asyncio.get_running_loop()

        def opened() -> Journal:
            journal = open_journal()
            try:
                for entry in journal.read():
                    book.apply(entry)
            except BaseException:
                journal.close()
                raise
            return journal

        try:
            journal = await loop.run_in_executor(thread, opened)
        except BaseException:
            thread.shutdown()
            raise
        return cls(journal, book, thread)

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` on the loop for each new entry, after the book has learned it."""
        self._listeners.append(listener)

    async def append(self, event: Event, unique: str | None = None) -> Entry | None:
        """Write ``event`` durably; None when an entry with the key ``unique`` exists.

        Raises:
            JournalUnavailable: nothing was written; the same call may succeed later.
        """
        loop = asyncio.get_running_loop()

        def write() -> Entry | None:
            entry = self._journal.append(event, unique)
            if entry is not None:
                # From here and not after the await: an entry that is on the disk must reach the book even when
                # the one who asked for it was cancelled meanwhile, and in the order in which it was written.
                loop.call_soon_threadsafe(self._learn, entry)
            return entry

        try:
            entry = await loop.run_in_executor(self._thread, write)
        except (JournalUnavailable, JournalCorrupt) as error:
            self._note_trouble(str(error))
            # For whoever writes both mean the same: nothing was written, so nothing may be relied upon.
            raise JournalUnavailable(str(error)) from error
        if self.trouble:
            log.info("the journal can be written again")
            self.trouble = ""
        return entry

    async def entries(self, numbers: Sequence[int]) -> list[Entry]:
        """The entries of these numbers, in order.

        Raises:
            JournalUnavailable: the journal cannot be read now.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._journal.pick, numbers)
        except JournalCorrupt as error:
            raise JournalUnavailable(str(error)) from error

    async def close(self) -> None:
        """Wait for what is being written, then close the journal. Idempotent."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._journal.close)
        except RuntimeError:  # the thread was shut down by an earlier close
            return
        self._thread.shutdown(wait=False)

    def _learn(self, entry: Entry) -> None:
        servers = self.book.apply(entry)
        for listener in self._listeners:
            listener(entry, servers)

    def _note_trouble(self, reason: str) -> None:
        if not self.trouble:
            log.error("the journal cannot be written; nothing is treated until it can", extra={"reason": reason})
        self.trouble = reason
