"""Reads every source of every server in the background: serial per server and source, parallel across them.

A source that raises, or hangs, harms no other: each read runs in a thread of its source's own under a deadline, and its
failure is a fact of its own (``mcp_exporter_source_success``).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

from exporter.facts import ServerFacts
from exporter.readings import Reading
from exporter.snapshot import Snapshot
from exporter.sources.source import Read, Source, SourceError
from fleet.inventory import Server, ServerName
from fleet.tasks import Tasks

log = logging.getLogger(__name__)

READERS: Final = 4
"""Threads that read one source, at most: apart from those that render, and from those of other sources, so that log
files on a dead network mount delay neither a scrape nor what is known of the processes."""


SLOTS: Final = 20
"""Into how many moments of its interval the reads of a source are spread: a thousand at once hold the loop up, and a
thousand moments cost more than the reads."""

READER_THREADS: Final = "source-reader"
"""How their names begin."""


class Scheduler:
    """Fills the snapshot. ``start`` once; ``close`` gives the threads up."""

    def __init__(
        self,
        inventory: Mapping[ServerName, Server],
        sources: Iterable[Source],
        snapshot: Snapshot,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inventory = inventory
        self._sources = tuple(sources)
        self._snapshot = snapshot
        self._clock = clock
        self._readers = {
            source.name: ThreadPoolExecutor(READERS, thread_name_prefix=f"{READER_THREADS}-{source.name}")
            for source in self._sources
        }

    def start(self, tasks: Tasks) -> None:
        """Read each source of each server now and then at its interval."""
        for place, server in enumerate(self._inventory.values()):
            for source in self._sources:
                reading = self._keep_reading(source, server, place % SLOTS / SLOTS)
                tasks.start(f"{source.name}:{server.name}", reading)

    def close(self) -> None:
        """Start no further read; one that hangs is not waited for."""
        for readers in self._readers.values():
            readers.shutdown(wait=False, cancel_futures=True)

    async def _keep_reading(self, source: Source, server: Server, share: float) -> None:
        """``share`` of the first interval is waited after the first read: the servers' reads spread over it."""
        await self.read_once(source, server)
        await asyncio.sleep(share * self._interval(source, server))
        while True:
            await self.read_once(source, server)
            await asyncio.sleep(self._interval(source, server))

    def _interval(self, source: Source, server: Server) -> float:
        return source.pace(server, self._snapshot.server(server.name)).interval_seconds

    async def read_once(self, source: Source, server: Server) -> None:
        """One read, its result or its failure kept; returns when its thread is free again."""
        known = self._snapshot.server(server.name)
        started = self._clock()
        if not source.wanted(server, known, started):
            self._snapshot.skip(server.name, source.name)
            return
        deadline = source.pace(server, known).deadline_seconds
        if inspect.iscoroutinefunction(source.read):
            read = await _asked(source.read(server, known, started), deadline)
        elif source.from_memory:
            read = _remembered(cast("Read", source.read), server, known, started)
        else:
            read = await self._read_in_thread(source, server, known, started, deadline)
        self._settle(source, server, read, self._clock() - started)

    async def _read_in_thread(
        self, source: Source, server: Server, known: ServerFacts, started: float, deadline: float
    ) -> asyncio.Future[Reading]:
        function = cast("Read", source.read)
        read = asyncio.get_running_loop().run_in_executor(self._readers[source.name], function, server, known, started)
        try:
            done, _ = await asyncio.wait({read}, timeout=deadline)
            if not done:
                self._snapshot.fail(server.name, source.name, _late(deadline), self._clock() - started)
                # A thread cannot be cancelled. Its next read waits for it, or hanging reads would pile up.
                await asyncio.wait({read})
        finally:
            read.cancel()
        return read

    def _settle(self, source: Source, server: Server, read: asyncio.Future[Reading], seconds: float) -> None:
        error = read.exception()
        if error is None:
            self._snapshot.keep(server.name, source.name, read.result(), seconds)
        elif isinstance(error, SourceError):
            self._snapshot.fail(server.name, source.name, str(error), seconds, error.partial)
        elif isinstance(error, Exception):
            # The isolation boundary: a defect in one source must not take the others' facts away.
            log.debug("source raised", exc_info=error, extra={"server": server.name, "source": source.name.value})
            self._snapshot.fail(server.name, source.name, f"unexpected: {error!r:.300}", seconds)
        else:
            raise error


def _remembered(read: Read, server: Server, known: ServerFacts, now: float) -> asyncio.Future[Reading]:
    """The end of a read that waits for nothing."""
    end: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
    try:
        end.set_result(read(server, known, now))
    except Exception as error:  # noqa: BLE001 - a defect in one source must not take the others' facts away
        end.set_exception(error)
    return end


async def _asked(asked: Coroutine[Any, Any, Reading], deadline: float) -> asyncio.Future[Reading]:
    """The end of a read on the event loop."""
    read: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(deadline):
            read.set_result(await asked)
    except TimeoutError:
        read.set_exception(SourceError(_late(deadline)))
    except Exception as error:  # noqa: BLE001 - a defect in one source must not take the others' facts away
        read.set_exception(error)
    return read


def _late(deadline: float) -> str:
    return f"no answer within {deadline:g} s"
