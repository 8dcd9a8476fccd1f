"""The composition root: builds everything, runs it, takes it down within a bound."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from exporter.keeper import Keeper, opened
from exporter.scheduler import Scheduler
from exporter.scraping import Scrapes
from exporter.settings import Settings
from exporter.silence import silence
from exporter.snapshot import Snapshot
from exporter.sources.source import Source
from exporter.sources.table import SOURCES
from exporter.web import make_app
from fleet.errors import PermanentError
from fleet.inventory import Address, Fleet
from fleet.redis_address import parse_redis_url
from fleet.tasks import Tasks

if TYPE_CHECKING:
    from exporter.sources.redis_census import RedisCensus

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A running exporter: where it really listens, its store and its tasks."""

    address: Address
    snapshot: Snapshot
    tasks: Tasks


@asynccontextmanager
async def running(fleet: Fleet, settings: Settings, sources: Iterable[Source] = SOURCES) -> AsyncIterator[Running]:
    """An exporter that listens while the block runs.

    Raises:
        PermanentError: the address cannot be listened on.
    """
    sources = tuple(sources)
    stack = AsyncExitStack()
    try:
        found = await asyncio.to_thread(opened, settings.state_file, time.monotonic(), time.time())
        snapshot = Snapshot(fleet.servers, [s.name for s in sources if s.own_pace is None], found.kept)
        keeper = Keeper(found, snapshot)
        stack.push_async_callback(keeper.close)
        scheduler = Scheduler(fleet.servers, sources, snapshot)
        stack.callback(scheduler.close)
        census = _census(fleet, snapshot)
        if census is not None:
            stack.push_async_callback(census.close)
        tasks = Tasks("exporter")
        stack.push_async_callback(tasks.stop, settings.stop_seconds / 2)
        scrapes = Scrapes(keeper, tasks)
        stack.callback(scrapes.close)
        app = make_app(snapshot, keeper, scrapes, settings.door, settings.receive_seconds)
        if not settings.metrics_enabled:
            silence(app)
        address = await _listen(stack, app, settings)
        scheduler.start(tasks)
        if census is not None:
            census.start(tasks)
        log.info("exporter listens", extra={"address": str(address), "servers": len(fleet.servers)})
        yield Running(address, snapshot, tasks)
    finally:
        await _stop(stack, settings.stop_seconds)


async def run(fleet: Fleet, settings: Settings, stop: asyncio.Event) -> None:
    """Run until ``stop`` is set.

    Raises:
        MedicError: the address cannot be listened on, or a task ended unasked.
    """
    async with running(fleet, settings) as exporter:
        ends = Tasks("exporter-end")
        asked = ends.start_passing("asked", stop.wait())
        failed = ends.start_passing("failed", exporter.tasks.wait())
        try:
            await asyncio.wait({asked, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
            log.info("exporter stops")
        finally:
            await ends.stop()


def _census(fleet: Fleet, snapshot: Snapshot) -> RedisCensus | None:
    if not fleet.redis_url:
        return None
    # Imported here, because most fleets have no Redis and its client takes a tenth of a second and ten megabytes.
    from exporter.sources.redis_census import RedisCensus  # noqa: PLC0415

    return RedisCensus(parse_redis_url(fleet.redis_url), fleet.servers.values(), snapshot)


async def _listen(stack: AsyncExitStack, app: web.Application, settings: Settings) -> Address:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.stop_seconds / 4)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, settings.listen.host, settings.listen.port)
    try:
        await site.start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise PermanentError(f"cannot listen on {settings.listen}: {reason}. Choose another --listen") from error
    host, port = runner.addresses[0][:2]
    return Address(str(host), int(port))


async def _stop(stack: AsyncExitStack, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await stack.aclose()
    except TimeoutError:
        log.warning("exporter did not stop in time", extra={"seconds": within})
