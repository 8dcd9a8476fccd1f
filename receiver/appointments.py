"""What is to be done at a time that a person named: log levels that were raised for a while are put back.

The deadline is in the journal, so a receiver that was away puts them back when it is there again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fleet.maintenance import work_ends_at
from receiver.dossier import due_at
from receiver.events import ActionAsked, ByHand

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet.inventory import ReceiverSettings, Server
    from receiver.chronicle import Chronicle

ITSELF: Final = "mcp-receiver"
"""Who asks for what a person ordered for later."""


class Appointments:
    """Asked by the engine, which holds its lock meanwhile. ``now`` gives UNIX seconds."""

    def __init__(self, settings: ReceiverSettings, chronicle: Chronicle, now: Callable[[], float]) -> None:
        self._settings = settings
        self._chronicle = chronicle
        self._now = now

    def next_at(self, server: Server) -> float | None:
        """When something is due, UNIX seconds; None when nothing will be."""
        levels = self._chronicle.book.dossier(server.name).debugging
        return None if levels is None else due_at(levels)

    def is_due(self, server: Server) -> bool:
        """Whether something should have been done by now."""
        at = self.next_at(server)
        return at is not None and self._now() >= at

    async def keep(self, server: Server) -> None:
        """Ask for what is due, unless it is not the moment: hands off, a wish or an act or its verdict under way.

        Raises:
            JournalUnavailable: nothing was written.
        """
        if not self.is_due(server) or self._is_no_moment(server):
            return
        await self._chronicle.append(ActionAsked(server=server.name, action=ByHand.END_DEBUG_MODE, by=ITSELF))

    def _is_no_moment(self, server: Server) -> bool:
        book = self._chronicle.book
        ledger, incident = book.ledger(), book.open_incident(server.name)
        busy = incident is not None and (incident.asked is not None or incident.unfinished is not None)
        paused = server.name in ledger.paused or "" in ledger.paused
        works = work_ends_at(self._settings.maintenance_windows, server.name, self._now()) is not None
        return busy or paused or works or server.name in ledger.under_treatment
