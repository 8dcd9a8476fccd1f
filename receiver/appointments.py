"""What is to be done at a time that a person named: log levels that were raised for a while are put back. Pure.

The deadline is in the journal, so a receiver that was away puts them back when it is there again.
"""

from __future__ import annotations

from typing import Final

from fleet.inventory import ReceiverSettings, Server
from fleet.maintenance import work_ends_at
from receiver.book import Book
from receiver.dossier import due_at
from receiver.events import ActionAsked
from receiver.vocabulary import ByHand

ITSELF: Final = "mcp-receiver"
"""Who asks for what a person ordered for later."""


def next_at(book: Book, server: Server) -> float | None:
    """When something is due, UNIX seconds; None when nothing will be."""
    levels = book.dossier(server.name).debugging
    return None if levels is None else due_at(levels)


def is_due(book: Book, server: Server, now: float) -> bool:
    """Whether something should have been done by ``now``."""
    at = next_at(book, server)
    return at is not None and now >= at


def due(book: Book, server: Server, settings: ReceiverSettings, now: float) -> ActionAsked | None:
    """What to ask for at ``now``, None when nothing is due or it is not the moment."""
    if not is_due(book, server, now) or _is_no_moment(book, server, settings, now):
        return None
    return ActionAsked(server=server.name, action=ByHand.END_DEBUG_MODE, by=ITSELF)


def _is_no_moment(book: Book, server: Server, settings: ReceiverSettings, now: float) -> bool:
    """Hands off, or a wish, an act or its verdict is under way."""
    ledger, incident = book.ledger(), book.open_incident(server.name)
    busy = incident is not None and (incident.asked is not None or incident.unfinished is not None)
    paused = server.name in ledger.paused or "" in ledger.paused
    works = work_ends_at(settings.maintenance_windows, server.name, now) is not None
    return busy or paused or works or server.name in ledger.under_treatment
