"""Incidents that were closed too long ago to be remembered: read again from the journal when somebody asks for one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from receiver.book import Book
from receiver.extract import speaks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.chronicle import Chronicle
    from receiver.events import Entry
    from receiver.incident import Incident

MAX_KEPT: Final = 50
"""Incidents that were read again lately: whoever looks at one looks more than once, and it changes no more."""

_MAX_DIGITS: Final = 15


class Recall:
    """Finds incidents, whatever their age. One at a time: the journal is read from its beginning for each."""

    def __init__(self, chronicle: Chronicle) -> None:
        self._chronicle = chronicle
        self._kept: OrderedDict[str, Incident] = OrderedDict()
        self._reading = asyncio.Lock()

    async def find(self, incident: str) -> Incident | None:
        """The incident of that id; None where there never was one, or the journal has forgotten it.

        Raises:
            JournalUnavailable: the journal cannot be read now.
        """
        known = self._chronicle.book.find(incident)
        if known is not None:
            return known
        async with self._reading:
            if incident not in self._kept:
                found = await self._read(incident)
                if found is None:
                    return None
                self._kept[incident] = found
            self._kept.move_to_end(incident)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return self._kept[incident]

    async def _read(self, incident: str) -> Incident | None:
        server, _, number = incident.rpartition("-")
        if not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
            return None
        first = await self._chronicle.entries([int(number)])
        if not first or not speaks_of(first[0], server):  # so nothing is read for what is made up
            return None
        # From the beginning: what the server's earlier incidents left lowered belongs to it.
        book, after, found = Book([server]), 0, None
        while found is None and (page := await self._chronicle.page(after)):
            found = await asyncio.to_thread(_closed_in, book, page, incident)
            after = page[-1].seq
        return found


def _closed_in(book: Book, page: Sequence[Entry], incident: str) -> Incident | None:
    """The incident as it was closed in this page, which ``book`` learns until then."""
    for entry in page:
        if book.apply(entry):
            found = book.find(incident)
            if found is not None and found.closed_at is not None:
                return found
    return None
