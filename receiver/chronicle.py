"""The journal and its fold in step: one thread writes, and the book learns each entry in the order of its number.

Everything above asks the book and writes through here, so what was decided upon is always what is on the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from fleet.errors import MedicError
from receiver.events import Entry
from receiver.journal.store import PAGE_ENTRIES, JournalCorrupt, JournalUnavailable, Write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.book import Book
    from receiver.events import Event
    from receiver.journal.store import Journal, Written

log = logging.getLogger(__name__)

MAX_TOGETHER: Final = 256
"""Writes that share one wait for the disk: more of them would make the first wait for the last."""

Listener = Callable[[Entry, tuple[str, ...]], None]
"""Told of an entry and the servers whose incident it opened or changed."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A write that somebody waits for."""

    write: Write
    answer: asyncio.Future[Entry | None]


class Chronicle:
    """Append to the journal, ask the book. ``trouble`` says why the journal cannot be written, "" while it can.

    Writes that come while the disk is busy are written together: one wait for the disk is shared by all of them.
    """

    def __init__(self, journal: Journal, book: Book, thread: ThreadPoolExecutor) -> None:
        """``thread`` has one worker: the one in which ``journal`` was opened."""
        self._journal = journal
        self._thread = thread
        self._listeners: list[Listener] = []
        self._waiting: deque[_Asked] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closed = False
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
            PermanentError: the event cannot be kept at all.
        """
        if self._is_closed:
            raise JournalUnavailable("the journal is closed")
        loop = asyncio.get_running_loop()
        asked = _Asked(Write(event, unique), loop.create_future())
        self._waiting.append(asked)
        if self._idle.is_set():
            self._idle.clear()
            loop.call_soon(self._write_on)  # with what else comes in this turn of the loop
        return await asked.answer

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

    async def page(self, after: int) -> list[Entry]:
        """The next few entries above ``after``, in order; empty at the end.

        Raises:
            JournalUnavailable: the journal cannot be read now.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._thread, lambda: list(itertools.islice(self._journal.read(after), PAGE_ENTRIES))
            )
        except JournalCorrupt as error:
            raise JournalUnavailable(str(error)) from error

    async def remove(self, numbers: Sequence[int]) -> int:
        """Forget these entries, all or none; how many there were. The book is not told.

        Raises:
            JournalUnavailable: nothing was removed.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._journal.remove, numbers)
        except JournalCorrupt as error:
            raise JournalUnavailable(str(error)) from error

    async def close(self) -> None:
        """Take no more, wait for what is being written, then close the journal. Idempotent."""
        self._is_closed = True
        while not self._idle.is_set():
            await self._idle.wait()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._journal.close)
        except RuntimeError:  # the thread was shut down by an earlier close
            return
        self._thread.shutdown(wait=False)

    def _write_on(self) -> None:
        """Write what waits, together; its end takes what came meanwhile."""
        if not self._waiting:
            self._idle.set()
            return
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_TOGETHER))]
        loop = asyncio.get_running_loop()

        def write() -> None:
            try:
                written: Sequence[Written] | str = self._journal.append_all([asked.write for asked in batch])
            except (JournalUnavailable, JournalCorrupt) as error:
                written = str(error)
            except Exception as error:  # whatever it is, those who wait must hear of it, or they would wait for ever
                log.exception("the journal failed in a way that it should not")
                written = f"{type(error).__name__}: {error}"
            loop.call_soon_threadsafe(self._tell, batch, written)

        self._thread.submit(write)

    def _tell(self, batch: Sequence[_Asked], written: Sequence[Written] | str) -> None:
        """Tell the book what was written, then those who asked; a text says why nothing was."""
        self._note_trouble(written if isinstance(written, str) else "")
        # For whoever writes every failure means the same: nothing was written, so nothing may be relied upon.
        results = [JournalUnavailable(written) for _ in batch] if isinstance(written, str) else written
        loop = asyncio.get_running_loop()
        for asked, result in zip(batch, results, strict=True):
            if isinstance(result, Entry):
                # Not by who waits: an entry that is on the disk must reach the book even when the one who asked for
                # it was cancelled meanwhile, and in the order in which it was written.
                loop.call_soon(self._learn, result)
            if asked.answer.done():
                continue
            if isinstance(result, MedicError):
                asked.answer.set_exception(result)
            else:
                asked.answer.set_result(result)
        self._write_on()

    def _learn(self, entry: Entry) -> None:
        servers = self.book.apply(entry)
        for listener in self._listeners:
            listener(entry, servers)

    def _note_trouble(self, reason: str) -> None:
        if reason and not self.trouble:
            log.error("the journal cannot be written; nothing is treated until it can", extra={"reason": reason})
        if self.trouble and not reason:
            log.info("the journal can be written again")
        self.trouble = reason
