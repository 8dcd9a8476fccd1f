"""Keeps the journal from growing for ever: now and then, what is old and over is removed from it.

Before anything is removed, the journal is folded without it and compared with what is known: a removal that would
change that is a defect, is told, and does not take place.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from receiver.book import Book
from receiver.journal.store import JournalUnavailable
from receiver.retention import Survey, horizon, names_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from receiver.chronicle import Chronicle
    from receiver.events import Entry
    from receiver.retention import Removal
    from receiver.settings import Settings

log = logging.getLogger(__name__)


class Forgetting:
    """Removes from ``chronicle`` what ``receiver.retention`` says may go."""

    def __init__(self, settings: Settings, chronicle: Chronicle, now: Callable[[], float]) -> None:
        self._settings = settings
        self._chronicle = chronicle
        self._now = now

    async def run(self) -> None:
        """Do it at once and then every few hours, for ever."""
        while True:
            try:
                await self.once()
            except JournalUnavailable as error:
                log.warning("the journal was not thinned", extra={"reason": str(error)})
            await asyncio.sleep(self._settings.timing.retention_seconds)

    async def once(self) -> int:
        """Remove what may go now; how many entries that were.

        Raises:
            JournalUnavailable: nothing was removed.
        """
        receiver = self._settings.fleet.receiver
        if not receiver.journal_retention_days:
            return 0
        cutoff = horizon(receiver.journal_retention_days, receiver.limits, self._now())
        first = await self._chronicle.page(0)
        if not first or first[0].at >= cutoff:
            return 0
        names, newest = await self._names()
        survey = Survey(names, cutoff)
        async for page in self._pages(newest):
            await asyncio.to_thread(_see, survey, page)
        removal = await asyncio.to_thread(survey.removable)
        if not removal.numbers:
            return 0
        if not await self._is_harmless(removal, survey, names, newest, cutoff):
            log.error("the journal was not thinned: without its old entries other things would be known than now")
            return 0
        removed = await self._chronicle.remove(sorted(removal.numbers))
        self._chronicle.book.forget(removal.incidents, removal.numbers)
        log.info("the journal was thinned", extra={"entries": removed, "incidents": len(removal.incidents)})
        return removed

    async def _names(self) -> tuple[frozenset[str], int]:
        """Every server that has or had incidents, and the number up to which the journal is looked at."""
        names: set[str] = set(self._settings.fleet.servers)
        newest = 0
        async for page in self._pages(None):
            names.update(names_in(page))
            newest = page[-1].seq
        return frozenset(names), newest

    async def _is_harmless(
        self, removal: Removal, survey: Survey, names: frozenset[str], newest: int, cutoff: float
    ) -> bool:
        book = Book(names)
        async for page in self._pages(newest):
            await asyncio.to_thread(_apply, book, [entry for entry in page if entry.seq not in removal.numbers])
        return book.remembered(cutoff) == survey.book.remembered(cutoff)

    async def _pages(self, newest: int | None) -> AsyncIterator[Sequence[Entry]]:
        """The journal from its beginning to the entry ``newest``, or to its end as it is then."""
        after = 0
        while page := await self._chronicle.page(after):
            after = page[-1].seq
            yield [entry for entry in page if newest is None or entry.seq <= newest]
            if newest is not None and after >= newest:
                return


def _see(survey: Survey, page: Sequence[Entry]) -> None:
    for entry in page:
        survey.see(entry)


def _apply(book: Book, page: Sequence[Entry]) -> None:
    for entry in page:
        book.apply(entry)
