"""What goes wrong in one place stays there."""

from __future__ import annotations

import asyncio
import threading
import time

import aiohttp
import pytest

from fleet.signals import SignalName
from fleet.tasks import Tasks
from receiver.actions.table import ACTIONS
from receiver.book import Book
from receiver.chronicle import Chronicle
from receiver.engine import Engine
from receiver.events import ActDenied, Alert, Delivered, Entry, Event, Via
from receiver.journal.memory import MemoryJournal
from receiver.metrics import Metrics
from receiver.prometheus import Prometheus
from receiver.reconcile import Reconciler
from tests.receiver.shell.world import DEADLINE, World, until_true

ERRORS = SignalName.ERROR_RATIO


def firing(server: str) -> Delivered:
    one = Alert(server=server, signal=ERRORS, severity="critical", alertname="A", firing=True, fingerprint=server)
    return Delivered(via=Via.WEBHOOK, alerts=[one], body_hash=server)


class FaultyForAlpha(Prometheus):
    """A client with a defect that only one server meets."""

    async def scrape_seconds(self, server: str) -> float:
        if server == "alpha":
            raise RuntimeError("a defect")
        return await super().scrape_seconds(server)


async def test_a_defect_met_by_one_server_leaves_the_others_their_responder(
    world: World, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    settings = world.settings()
    metrics = Metrics(settings.fleet.servers, ACTIONS, ["waiting"])
    chronicle = await Chronicle.open(MemoryJournal, Book(settings.fleet.servers))
    prometheus = FaultyForAlpha(session, world.prometheus.url, time.time)
    tasks, begin = Tasks("test"), asyncio.Event()
    begin.set()
    Engine(settings, chronicle, prometheus, metrics).start(tasks, after=begin)
    try:
        for server in ("alpha", "beta"):
            world.fall_ill(server, ERRORS)
            await chronicle.append(firing(server))
        await until_true(lambda: len(world.gateways["beta"].restarts) == 1)
        await until_true(lambda: b"mcp_remediation_worker_errors_total 0.0" not in metrics.exposition({}))
        assert world.gateways["alpha"].asked == []
        assert "a step failed and is tried again" in caplog.text
    finally:
        await tasks.stop()
        await chronicle.close()


class DeafBook(Book):
    """A fold with a defect: it never learns that a rung was refused."""

    def apply(self, entry: Entry) -> tuple[str, ...]:
        return () if isinstance(entry.event, ActDenied) else super().apply(entry)


async def test_a_step_that_changes_nothing_is_a_fault_and_no_busy_loop(
    world: World, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    world.mode = "suggest"
    settings = world.settings()
    metrics = Metrics(settings.fleet.servers, ACTIONS, ["waiting"])
    chronicle = await Chronicle.open(MemoryJournal, DeafBook(settings.fleet.servers))
    prometheus = Prometheus(session, world.prometheus.url, time.time)
    tasks, begin = Tasks("test"), asyncio.Event()
    begin.set()
    Engine(settings, chronicle, prometheus, metrics).start(tasks, after=begin)
    try:
        await chronicle.append(firing("alpha"))
        await until_true(lambda: b"mcp_remediation_worker_errors_total 0.0" not in metrics.exposition({}))
        assert "Deny left incident alpha-1 as it was" in caplog.text
    finally:
        await tasks.stop()
        await chronicle.close()


class SlowJournal(MemoryJournal):
    """Its first append waits inside until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.release = threading.Event(), threading.Event()

    def append(self, event: Event, unique: str | None = None) -> Entry | None:
        self.inside.set()
        assert self.release.wait(DEADLINE)
        return super().append(event, unique)


async def test_the_book_learns_an_entry_whose_writer_was_cancelled() -> None:
    journal = SlowJournal()
    chronicle = await Chronicle.open(lambda: journal, Book(["alpha"]))
    writer = Tasks("test")
    writer.start_passing("append", chronicle.append(firing("alpha")))
    await until_true(journal.inside.is_set)
    await writer.stop()
    assert chronicle.book.open_incident("alpha") is None
    journal.release.set()
    await until_true(lambda: chronicle.book.open_incident("alpha") is not None)
    await chronicle.close()


async def test_closing_a_chronicle_twice_is_harmless() -> None:
    chronicle = await Chronicle.open(MemoryJournal, Book(["alpha"]))
    await chronicle.close()
    await chronicle.close()


async def test_a_webhook_newer_than_alertmanagers_answer_is_not_taken_back(
    world: World, session: aiohttp.ClientSession
) -> None:
    settings = world.settings()
    metrics = Metrics(settings.fleet.servers, ACTIONS, ["waiting"])
    chronicle = await Chronicle.open(MemoryJournal, Book(settings.fleet.servers))
    reconciler = Reconciler(
        session, world.alertmanager.url, chronicle, metrics, servers=settings.fleet.servers, every_seconds=60
    )
    world.alertmanager.hold = asyncio.Event()

    async def webhook_meanwhile() -> None:
        await until_true(lambda: world.alertmanager.asked == 1)
        await chronicle.append(firing("alpha"))
        assert world.alertmanager.hold is not None
        world.alertmanager.hold.set()

    result, _ = await asyncio.gather(reconciler.once(), webhook_meanwhile())
    assert result == "unchanged"
    assert [alert.server for alert in chronicle.book.firing_alerts()] == ["alpha"]
    assert await reconciler.once() == "changed"  # a minute later it still is not there: now it has ended
    assert chronicle.book.firing_alerts() == []
    await chronicle.close()
