"""What persons ask of the receiver: an act by hand, a word on an act that waits, a pause. Each is a journal event.

``by`` is the authenticated name, or ``receiver.events.LOOPBACK`` where nobody had to give one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from receiver import surroundings
from receiver.events import LOOPBACK, ActionAsked, Decided, Paused, Resumed
from receiver.incident import IncidentState
from receiver.policy import refuses_by_hand
from receiver.vocabulary import Denied

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fleet.inventory import Server, ServerName
    from receiver.by_hand import Wish
    from receiver.chronicle import Chronicle
    from receiver.guards import Refusal
    from receiver.incident import Incident
    from receiver.metrics import Metrics
    from receiver.settings import Settings
    from receiver.surroundings import Look


class Persons:
    """The doors for people. ``choosing`` is the engine's lock: nobody chooses a step while a person's word is kept."""

    def __init__(
        self,
        settings: Settings,
        chronicle: Chronicle,
        metrics: Metrics,
        choosing: asyncio.Lock,
        now: Callable[[], float] = time.time,
        *,
        look: Look = surroundings.look,
    ) -> None:
        self._settings = settings
        self._chronicle = chronicle
        self._metrics = metrics
        self._choosing = choosing
        self._now = now
        self._look = look

    async def ask(self, server: Server, wish: Wish, by: str = LOOPBACK) -> tuple[Incident | None, Refusal | None]:
        """A person's wish: journal it and what the guards say. The incident that takes it up, or why it was refused.

        Raises:
            JournalUnavailable: nothing was written.
        """
        book = self._chronicle.book
        last_good = book.dossier(server.name).last_good
        around = await self._look(server, self._settings.fleet.gateway.control_dir, last_good)
        async with self._choosing:
            refusal = refuses_by_hand(
                wish,
                book.open_incident(server.name) or book.imagined(server.name),
                server,
                settings=self._settings.fleet.receiver,
                ledger=book.ledger(),
                now=self._now(),
                around=around.with_dossier(book.dossier(server.name)),
            )
            reason = None if refusal is None else refusal.reason
            asked = ActionAsked(
                server=server.name, action=wish.action, refused=reason, by=by, seconds=wish.seconds, backup=wish.backup
            )
            await self._chronicle.append(asked)
        if reason is not None:
            self._metrics.denied.labels(reason).inc()
            return None, refusal
        self._metrics.manual_actions.inc()
        return book.open_incident(server.name), None

    async def decide(self, incident: str, *, approved: bool, by: str = LOOPBACK, told: str | None = None) -> str | None:
        """Say yes or no to the rung that ``incident`` waits with: the rung, None where none waits (any more).

        Two words at once count as one: the second finds nothing that waits. ``told`` is the rung that the person saw:
        where another one waits by now, nothing was said about that.

        Raises:
            JournalUnavailable: nothing was written.
        """
        async with self._choosing:
            found = self._chronicle.book.find(incident)
            if found is None or found.awaited is None or found.state is not IncidentState.AWAITING_APPROVAL:
                return None
            if told not in {None, found.awaited.told}:
                return None
            told = found.awaited.told
            await self._chronicle.append(
                Decided(incident=found.id, server=found.server, told=told, approved=approved, by=by)
            )
        if not approved:
            self._metrics.denied.labels(Denied.DENIED).inc()
        return told

    async def pause(self, server: ServerName | None = None, by: str = LOOPBACK) -> bool:
        """Stop automation on ``server``, or on the whole fleet; False when it is paused there already. A stop's own
        pause becomes one that the next start does not end.

        Raises:
            JournalUnavailable: nothing was written.
        """
        name = server or ""
        async with self._choosing:
            known = self._chronicle.book.ledger().paused.get(name)
            if known is not None and not known.stopped:
                return False
            await self._chronicle.append(Paused(server=name, by=by))
        return True

    async def resume(self, server: ServerName | None = None, by: str = LOOPBACK) -> bool:
        """Let automation go on; False when it was not stopped there. What was paused apart stays so.

        Raises:
            JournalUnavailable: nothing was written.
        """
        name = server or ""
        async with self._choosing:
            if name not in self._chronicle.book.ledger().paused:
                return False
            await self._chronicle.append(Resumed(server=name, by=by))
        return True
