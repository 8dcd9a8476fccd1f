"""The configuration read again while the program runs. What cannot be read changes nothing, and is said."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from exporter.facts import ReloadFacts
from exporter.settings import Settings
from fleet.errors import ConfigError
from fleet.inventory import Fleet

log = logging.getLogger(__name__)

Load = Callable[[], tuple[Fleet, Settings]]
"""Reads everything anew, blocking; raises ConfigError with every mistake."""

Apply = Callable[[Fleet, Settings], Awaitable[tuple[str, ...]]]
"""Lets it hold from now on; returns a sentence for each setting that only a restart takes.

Raises ConfigError before it changed anything."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How it went: the servers that are configured now, or the ``problems`` for which nothing changed."""

    servers: int = 0
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Reloading:
    """One reload after the other."""

    def __init__(
        self,
        load: Load,
        apply: Apply,
        note: Callable[[ReloadFacts], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._load, self._apply, self._note, self._wall_clock = load, apply, note, wall_clock
        self._turn = asyncio.Lock()
        self._facts = ReloadFacts(succeeded_at=wall_clock())
        note(self._facts)

    async def reload(self) -> Reloaded:
        """Read it again and let it hold, or say why not."""
        async with self._turn:
            try:
                fleet, settings = await asyncio.to_thread(self._load)
                notes = await self._apply(fleet, settings)
            except ConfigError as error:
                return self._failed(tuple(str(problem) for problem in error.problems))
            except Exception as error:
                # The isolation boundary: whoever edits a file must not be able to end the monitoring.
                log.exception("reload failed")
                return self._failed((f"unexpected: {error!r:.300}",))
            self._facts = ReloadFacts(succeeded_at=self._wall_clock())
            self._note(self._facts)
            log.info("configuration reloaded", extra={"servers": len(fleet.servers)})
            for sentence in notes:
                log.warning("a setting needs a restart", extra={"setting": sentence})
            return Reloaded(len(fleet.servers), notes)

    async def whenever(self, asked: asyncio.Event) -> None:
        """Reload each time ``asked`` is set, for ever."""
        while True:
            await asked.wait()
            asked.clear()
            await self.reload()

    def _failed(self, problems: tuple[str, ...]) -> Reloaded:
        self._facts = ReloadFacts(success=False, succeeded_at=self._facts.succeeded_at)
        self._note(self._facts)
        for problem in problems:
            log.error("configuration not reloaded; the one before holds", extra={"problem": problem})
        return Reloaded(problems=problems)
