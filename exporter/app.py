"""The composition root: builds everything, runs it, takes it down within a bound."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from exporter.change import Change
from exporter.current import Current
from exporter.desk import Desk
from exporter.keeper import Keeper, opened
from exporter.listening import sites_of
from exporter.probing import Probing
from exporter.protecting import Guard
from exporter.reload import Load, Reloading
from exporter.scraping import Scrapes
from exporter.settings import Settings
from exporter.silence import silence
from exporter.snapshot import Snapshot
from exporter.sources.source import Source
from exporter.sources.table import SOURCES
from exporter.watch import Watch
from exporter.web import make_app
from fleet.inventory import Address, Fleet
from fleet.sockets import Listener
from fleet.tasks import Tasks
from fleet.web_protection import WebProtection

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A running exporter: where it really listens, its store, its tasks, and how it is told to read fleet.yml again."""

    address: Address
    snapshot: Snapshot
    tasks: Tasks
    reloading: Reloading


@asynccontextmanager
async def running(
    fleet: Fleet, settings: Settings, sources: Iterable[Source] = SOURCES, load: Load | None = None
) -> AsyncIterator[Running]:
    """An exporter that listens while the block runs. ``load`` reads the configuration again; None: it stays.

    Raises:
        PermanentError: the address cannot be listened on.
        ConfigError: the web configuration file is wrong.
    """
    sources = tuple(sources)
    stack = AsyncExitStack()
    try:
        protection = await asyncio.to_thread(WebProtection, settings.web_config_file)
        found = await asyncio.to_thread(opened, settings.state_file, time.monotonic(), time.time())
        snapshot = Snapshot(fleet.servers, [s.name for s in sources if s.own_pace is None], found.kept)
        keeper = Keeper(found, snapshot)
        stack.push_async_callback(keeper.close)
        tasks = Tasks("exporter")
        watch = Watch(fleet, sources, snapshot, tasks)
        stack.push_async_callback(watch.close)
        stack.push_async_callback(tasks.stop, settings.stop_seconds / 2)
        scrapes = Scrapes(keeper, tasks)
        stack.callback(scrapes.close)
        current = Current(fleet, settings)
        guard = Guard(protection, current.door)
        stack.callback(guard.close)
        app = make_app(snapshot, keeper, scrapes, current.door, settings.receive_seconds)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.stop_seconds / 4)
        listener = Listener(sites_of(runner), settings.listen)
        stack.callback(listener.close)
        change = Change(current, keeper, watch, guard, listener)
        reloading = Reloading(load or (lambda: (fleet, settings)), change.apply, snapshot.note_reload)
        Desk(
            current=current,
            snapshot=snapshot,
            keeper=keeper,
            scrapes=scrapes,
            reloading=reloading,
            tasks=tasks,
            dead=watch.dead,
            notices=guard.notices,
        ).serve(app)
        Probing(current, snapshot, tasks).serve(app)
        guard.stand(app)
        if not settings.metrics_enabled:
            silence(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await listener.serve(protection.current.context)
        watch.start()
        tasks.start("web-configuration", guard.follow(listener))
        log.info("exporter listens", extra={"address": str(listener.address), "servers": len(fleet.servers)})
        yield Running(listener.address, snapshot, tasks, reloading)
    finally:
        await _stop(stack, settings.stop_seconds)


async def run(
    fleet: Fleet,
    settings: Settings,
    stop: asyncio.Event,
    load: Load | None = None,
    reload_asked: asyncio.Event | None = None,
) -> None:
    """Run until ``stop`` is set; ``load`` the configuration again each time ``reload_asked`` is.

    Raises:
        MedicError: the address cannot be listened on, or a task ended unasked.
    """
    async with running(fleet, settings, load=load) as exporter:
        if reload_asked is not None:
            exporter.tasks.start("reload", exporter.reloading.whenever(reload_asked))
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


async def _stop(stack: AsyncExitStack, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await stack.aclose()
    except TimeoutError:
        log.warning("exporter did not stop in time", extra={"seconds": within})
