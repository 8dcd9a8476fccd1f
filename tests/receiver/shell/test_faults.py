"""What goes wrong in one place stays there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Sequence

import aiohttp
import msgspec
import pytest

from fleet.errors import MedicError, PermanentError
from fleet.signals import SignalName
from fleet.tasks import Tasks
from receiver.actions.table import ACTIONS
from receiver.book import Book
from receiver.chronicle import Chronicle
from receiver.engine import Engine
from receiver.events import ActDenied, Alert, Delivered, Entry, Event
from receiver.journal.memory import MemoryJournal
from receiver.journal.store import JournalCorrupt, JournalUnavailable, Write, Written
from receiver.metrics import Metrics
from receiver.prometheus import Prometheus
from receiver.reconcile import Reconciler
from receiver.records import Deployed, DeploymentOutcome
from receiver.vocabulary import Via
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
    """Writing waits inside until it is released; ``together`` is how many were written at once, each time."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.let_go = threading.Event(), threading.Event()
        self.together: list[int] = []
        self.fault: Exception | None = None

    def append_all(self, writes: Sequence[Write]) -> list[Written]:
        self.together.append(len(writes))
        self.inside.set()
        assert self.let_go.wait(DEADLINE)
        if self.fault is not None:
            raise self.fault
        return super().append_all(writes)


DEPLOYED = Deployed(server="alpha", started_at=1.0, outcome=DeploymentOutcome.DONE, by="loopback")


async def test_the_book_learns_an_entry_whose_writer_was_cancelled() -> None:
    journal = SlowJournal()
    chronicle = await Chronicle.open(lambda: journal, Book(["alpha"]))
    writer = Tasks("test")
    writer.start_passing("append", chronicle.append(firing("alpha")))
    await until_true(journal.inside.is_set)
    await writer.stop()
    assert chronicle.book.open_incident("alpha") is None
    journal.let_go.set()
    await until_true(lambda: chronicle.book.open_incident("alpha") is not None)
    await chronicle.close()


async def test_what_comes_while_the_disk_is_busy_is_written_together_and_each_has_its_own_result() -> None:
    journal = SlowJournal()
    chronicle = await Chronicle.open(lambda: journal, Book(["alpha", "beta"]))
    learned: list[int] = []
    chronicle.subscribe(lambda entry, _: learned.append(entry.seq))
    tasks = Tasks("test")
    first = tasks.start_passing("first", chronicle.append(firing("alpha"), "one"))
    await until_true(journal.inside.is_set)
    broken = msgspec.structs.replace(DEPLOYED, started_at=float("nan"))
    later: list[tuple[Event, str | None]] = [
        (firing("beta"), "two"), (firing("alpha"), "one"), (broken, None), (firing("beta"), "two"), (DEPLOYED, None)
    ]  # fmt: skip
    asked = [
        tasks.start_passing(f"{number}", _result(chronicle.append(event, unique)))
        for number, (event, unique) in enumerate(later)
    ]
    await until_true(lambda: len(chronicle._waiting) == len(later))
    closing = tasks.start_passing("close", chronicle.close())
    journal.let_go.set()
    entry = await first
    assert entry is not None
    results = await asyncio.gather(*asked)
    await closing
    assert journal.together == [1, 5]
    assert [each.seq if isinstance(each, Entry) else each for each in results[:2]] == [2, None]
    assert isinstance(results[2], PermanentError)
    assert results[3] is None
    assert isinstance(results[4], Entry)
    assert (results[4].seq, learned) == (3, [1, 2, 3])
    with pytest.raises(JournalUnavailable, match="the journal is closed"):
        await chronicle.append(DEPLOYED)


@pytest.mark.parametrize("fault", [JournalUnavailable("full"), JournalCorrupt("damaged"), ZeroDivisionError("a bug")])
async def test_a_failure_reaches_all_who_wait_and_the_next_write_may_succeed(fault: Exception) -> None:
    journal = SlowJournal()
    journal.fault = fault
    journal.let_go.set()
    chronicle = await Chronicle.open(lambda: journal, Book(["alpha"]))
    failed = await asyncio.gather(*(_result(chronicle.append(firing("alpha"))) for _ in range(3)))
    assert [type(each) for each in failed] == [JournalUnavailable] * 3
    assert str(fault) in chronicle.trouble
    journal.fault = None
    assert await chronicle.append(firing("alpha")) is not None
    assert chronicle.trouble == ""
    await chronicle.close()


async def _result(answer: Awaitable[Entry | None]) -> Entry | MedicError | None:
    try:
        return await answer
    except MedicError as error:
        return error


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
