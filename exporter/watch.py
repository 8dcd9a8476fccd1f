"""Everything that watches the servers of one fleet: reads at intervals, and the count of the fleet's Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from exporter.scheduler import Scheduler
from exporter.snapshot import Snapshot
from exporter.sources.source import Source
from fleet.inventory import Fleet
from fleet.redis_address import parse_redis_url
from fleet.tasks import Tasks

if TYPE_CHECKING:
    from exporter.sources.redis_census import RedisCensus


class Watch:
    """Watches the servers of ``fleet``, then those of whichever fleet it is told to ``follow``. ``close`` once."""

    def __init__(self, fleet: Fleet, sources: Iterable[Source], snapshot: Snapshot, tasks: Tasks) -> None:
        self._fleet = fleet
        self._snapshot = snapshot
        self._tasks = tasks
        self._scheduler = Scheduler(fleet.servers, sources, snapshot)
        self._census: RedisCensus | None = None
        self._counting: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Begin."""
        self._scheduler.start(self._tasks)
        self._start_census(self._fleet)

    async def follow(self, fleet: Fleet) -> None:
        """Watch this fleet from now on; what is known of servers that stay is kept."""
        counts_on = _counted(self._fleet) == _counted(fleet)
        self._fleet = fleet
        # Nothing is awaited among these: a read of a server that left must not find it gone.
        if self._counting is not None and not counts_on:
            self._counting.cancel()
        self._scheduler.follow(fleet.servers)
        self._snapshot.follow(fleet.servers)
        if not counts_on:
            await self._stop_census()
            self._snapshot.note_redis(None)
            self._start_census(fleet)

    def dead(self) -> list[str]:
        """What came to an end although nobody ended it."""
        counting = self._counting
        return self._scheduler.dead() + ([counting.get_name()] if counting is not None and counting.done() else [])

    async def close(self) -> None:
        """Read nothing more."""
        self._scheduler.close()
        await self._stop_census()

    def _start_census(self, fleet: Fleet) -> None:
        if not fleet.redis_url:
            return
        # Imported here, because most fleets have no Redis and its client takes a tenth of a second and ten megabytes.
        from exporter.sources.redis_census import RedisCensus  # noqa: PLC0415

        self._census = RedisCensus(parse_redis_url(fleet.redis_url), fleet.servers.values(), self._snapshot)
        self._counting = self._census.start(self._tasks)

    async def _stop_census(self) -> None:
        census, counting = self._census, self._counting
        self._census = self._counting = None
        if counting is not None:
            counting.cancel()
            await asyncio.wait({counting})
        if census is not None:
            await census.close()


def _counted(fleet: Fleet) -> object:
    """What the count in Redis rests on."""
    return fleet.redis_url, [(s.name, s.sessions_pattern, s.cache_pattern) for s in fleet.servers.values()]
