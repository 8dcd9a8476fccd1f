"""The composition root: builds everything, runs it, takes it down within a bound."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web
from prometheus_client import disable_created_metrics

from fleet.doors import Door, is_loopback
from fleet.inventory import Address, Fleet
from fleet.sockets import Listener
from fleet.tasks import Tasks
from fleet.web_protection import WebProtection
from receiver.actions.table import ACTIONS
from receiver.annotations import Annotations
from receiver.archive import Archive
from receiver.authentication import Authentication
from receiver.bedside import Bedside
from receiver.book import Book
from receiver.chronicle import Chronicle
from receiver.credentials import CredentialFiles
from receiver.engine import Engine
from receiver.forgetting import Forgetting
from receiver.front import open_front
from receiver.incident import IncidentState
from receiver.journal.sqlite import SqliteJournal
from receiver.listening import sites_of
from receiver.metrics import Metrics
from receiver.persons import Persons
from receiver.prometheus import Prometheus
from receiver.protecting import Protecting
from receiver.proving import Proving
from receiver.recall import Recall
from receiver.reception import Reception
from receiver.reconcile import Reconciler
from receiver.settings import Settings
from receiver.web import Web

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 8.0
_TASKS_SECONDS: Final = 1.0
_REQUESTS_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Running:
    """A running receiver: where it really listens, its journal with the book, its tasks."""

    address: Address
    chronicle: Chronicle
    tasks: Tasks


@asynccontextmanager
async def running(settings: Settings, now: Callable[[], float] = time.time) -> AsyncIterator[Running]:
    """A receiver that listens and treats while the block runs.

    Raises:
        ConfigError: a file that says who may come in is wrong.
        PermanentError: the address cannot be listened on, or the journal is damaged.
        TemporaryError: the journal cannot be opened now.
    """
    stack = AsyncExitStack()
    try:
        yield await _build(stack, settings, now)
    finally:
        await _stop(stack)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run until ``stop`` is set or a task fails; raises what failed."""
    async with running(settings) as receiver:
        gc.freeze()  # what is built by now stays: looking through it again and again would hold up deliveries
        ends = Tasks("receiver-end")
        fault = ends.start_passing("fault", receiver.tasks.wait())
        asked = ends.start_passing("stop", stop.wait())
        try:
            await asyncio.wait({fault, asked}, return_when=asyncio.FIRST_COMPLETED)
            if fault.done():
                fault.result()
        finally:
            await ends.stop()


async def _build(stack: AsyncExitStack, settings: Settings, now: Callable[[], float]) -> Running:
    fleet, timing = settings.fleet, settings.timing
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nothing here reads
    credentials = await asyncio.to_thread(CredentialFiles, fleet.receiver)
    protection = await asyncio.to_thread(WebProtection, settings.web_config_file)
    chronicle = await Chronicle.open(lambda: SqliteJournal(fleet.receiver.journal, now), Book(fleet.servers))
    stack.push_async_callback(chronicle.close)
    metrics = Metrics(fleet.servers, ACTIONS, [state for state in IncidentState if state is not IncidentState.CLOSED])
    session = await stack.enter_async_context(aiohttp.ClientSession())
    tasks = Tasks("receiver")
    stack.push_async_callback(tasks.stop, _TASKS_SECONDS)
    choosing = asyncio.Lock()
    prometheus = Prometheus(session, fleet.prometheus_url, now)
    engine = Engine(settings, chronicle, prometheus, metrics, now, choosing=choosing)
    persons = Persons(settings, chronicle, metrics, choosing, now)
    stack.push_async_callback(engine.acting.finish, timing.stop_seconds)
    reconciler = Reconciler(
        session,
        fleet.alertmanager_url,
        chronicle,
        metrics,
        servers=fleet.servers,
        every_seconds=timing.reconcile_seconds,
    )
    authentication = Authentication(
        Door.of(settings.listen.host, fleet.receiver.url),
        credentials.current,
        protection.current,
        only_loopback=is_loopback(settings.listen.host),
    )
    stack.callback(authentication.close)
    app = _application(
        fleet,
        authentication,
        chronicle,
        prometheus=prometheus,
        metrics=metrics,
        persons=persons,
        reconcile_soon=reconciler.soon,
        now=now,
    )
    protecting = Protecting(authentication, credentials, protection, metrics)
    protecting.stand(app)
    if fleet.grafana is not None:
        annotations = Annotations(fleet.grafana, session, chronicle, fleet.receiver.url)
        tasks.start("annotations", annotations.run())
    listener = await _listen(stack, app, settings.listen, protection)
    # Nobody is treated by a program that cannot listen, and so is about to end.
    engine.start(tasks, after=reconciler.first_reading)
    tasks.start("reconcile", reconciler.run())
    tasks.start("forget", Forgetting(settings, chronicle, now).run())
    tasks.start("prove-configurations", Proving(settings, chronicle, prometheus, now).run())
    tasks.start("credentials", protecting.follow(listener))
    log.info("listening", extra={"address": str(listener.address), "servers": len(fleet.servers)})
    return Running(listener.address, chronicle, tasks)


def _application(
    fleet: Fleet,
    authentication: Authentication,
    chronicle: Chronicle,
    *,
    prometheus: Prometheus,
    metrics: Metrics,
    persons: Persons,
    reconcile_soon: Callable[[], None],
    now: Callable[[], float],
) -> web.Application:
    """Every route, for programs and for people."""
    bedside = Bedside(authentication, persons, chronicle, fleet, now)
    archive = Archive(authentication, chronicle)
    recall = Recall(chronicle)
    app = Web(
        authentication,
        chronicle,
        metrics,
        fleet.servers,
        reconcile_soon=reconcile_soon,
        reception=Reception(authentication, persons, fleet.servers),
        bedside=bedside,
        archive=archive,
        recall=recall,
    ).application()
    open_front(
        app,
        fleet,
        authentication=authentication,
        chronicle=chronicle,
        prometheus=prometheus,
        persons=persons,
        bedside=bedside,
        recall=recall,
        quarantined=archive.put_aside,
        now=now,
    )
    return app


async def _listen(stack: AsyncExitStack, app: web.Application, listen: Address, by: WebProtection) -> Listener:
    # Alertmanager compresses nothing, so nothing is unpacked: a small body cannot become a large one.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_REQUESTS_SECONDS, auto_decompress=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    listener = Listener(sites_of(runner), listen)
    stack.callback(listener.close)
    await listener.serve(by.current.context)
    return listener


async def _stop(stack: AsyncExitStack) -> None:
    """First no request comes in, then acts may end, then tasks, connections and the journal close."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await stack.aclose()
    except TimeoutError:
        log.warning("the stop was cut short; an act under way is verified at the next start")
