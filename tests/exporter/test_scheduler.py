from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.facts import ServerFacts
from exporter.readings import Reading, SourceName, TelemetryReading
from exporter.scheduler import READERS, Scheduler
from exporter.snapshot import Snapshot
from exporter.sources.source import Read, Source, SourceError
from exporter.sources.table import SOURCES
from fleet.inventory import Server, ServerName
from fleet.tasks import Tasks
from tests.exporter.fleets import CODEX, make_fleet


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging reads wait for; opened at the end, so that no thread stays."""
    gate = threading.Event()
    yield gate
    gate.set()


def always(_server: Server, _known: ServerFacts, _now: float) -> bool:
    return True


def fine(_server: Server, _known: ServerFacts, now: float) -> Reading:
    return TelemetryReading(now)


def source(name: SourceName, read: Read, deadline: float = 5.0) -> Source:
    return Source(name, 0.01, deadline, always, read)


@asynccontextmanager
async def scheduled(folder: Path, *sources: Source, servers: tuple[str, ...] = ("codex",)) -> AsyncIterator[Snapshot]:
    inventory = make_fleet(folder, servers=servers).servers
    snapshot = Snapshot(inventory, [each.name for each in sources])
    scheduler, tasks = Scheduler(inventory, sources, snapshot), Tasks("test")
    scheduler.start(tasks)
    try:
        yield snapshot
    finally:
        await tasks.stop()
        scheduler.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_a_source_that_raises_does_not_hurt_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def defect(_server: Server, _known: ServerFacts, _now: float) -> Reading:
        raise ZeroDivisionError("a defect")

    rows = source(SourceName.PROCESS, defect), source(SourceName.CONFIG, fine)
    async with scheduled(tmp_path, *rows) as snapshot:
        await until(lambda: snapshot.ready)
        first = snapshot.server(CODEX).readings[SourceName.CONFIG]
        await until(lambda: snapshot.server(CODEX).readings[SourceName.CONFIG] != first)
        states = snapshot.server(CODEX).states
    assert states[SourceName.CONFIG].success
    assert states[SourceName.PROCESS].problem == "unexpected: ZeroDivisionError('a defect')"
    assert [record.message for record in caplog.records] == ["source failed"], "said once, not each time"


async def test_a_source_that_hangs_fails_at_its_deadline_and_is_not_started_twice(
    tmp_path: Path, gate: threading.Event
) -> None:
    started: list[float] = []

    def hang(_server: Server, _known: ServerFacts, now: float) -> Reading:
        started.append(now)
        gate.wait(60)
        return TelemetryReading(now)

    rows = source(SourceName.PROCESS, hang, deadline=0.05), source(SourceName.CONFIG, fine)
    async with scheduled(tmp_path, *rows) as snapshot:
        await until(lambda: snapshot.ready)
        first = snapshot.server(CODEX).readings[SourceName.CONFIG]
        await until(lambda: snapshot.server(CODEX).readings[SourceName.CONFIG] != first)
        assert snapshot.server(CODEX).states[SourceName.PROCESS].problem == "no answer within 0.05 s"
        assert len(started) == 1
        gate.set()
        await until(lambda: snapshot.server(CODEX).states[SourceName.PROCESS].success)


async def test_stopping_does_not_wait_for_a_read_that_hangs(tmp_path: Path, gate: threading.Event) -> None:
    entered = threading.Event()

    def hang(_server: Server, _known: ServerFacts, now: float) -> Reading:
        entered.set()
        gate.wait(60)
        raise SourceError("too late to matter")

    async with asyncio.timeout(20):
        async with scheduled(tmp_path, source(SourceName.PROCESS, hang)):
            await until(entered.is_set)
    assert not gate.is_set()


async def test_reads_run_off_the_event_loop(tmp_path: Path) -> None:
    threads: set[int] = set()

    def note(_server: Server, _known: ServerFacts, now: float) -> Reading:
        threads.add(threading.get_ident())
        time.sleep(0)
        return TelemetryReading(now)

    async with scheduled(tmp_path, source(SourceName.CONFIG, note), servers=("codex", "other")) as snapshot:
        await until(lambda: snapshot.ready)
    assert threads
    assert threading.get_ident() not in threads


async def test_an_unwanted_source_counts_as_run(tmp_path: Path) -> None:
    def never(_server: Server, _known: ServerFacts, _now: float) -> bool:
        return False

    async with scheduled(tmp_path, Source(SourceName.PROCESS, 0.01, 1.0, never, fine)) as snapshot:
        await until(lambda: snapshot.ready)
        assert snapshot.server(CODEX).states == {}


def test_the_table_has_each_source_once() -> None:
    # Redis is counted for all servers at once (exporter.sources.redis_census): it has no row.
    assert sorted(row.name for row in SOURCES) == sorted(set(SourceName) - {SourceName.REDIS})


async def test_a_source_that_hangs_for_every_server_takes_no_thread_from_the_others(
    tmp_path: Path, gate: threading.Event
) -> None:
    def hang(_server: Server, _known: ServerFacts, now: float) -> Reading:
        gate.wait(60)
        return TelemetryReading(now)

    servers = tuple(f"server-{number}" for number in range(4 * READERS))
    rows = source(SourceName.LOG, hang, deadline=0.05), source(SourceName.CONFIG, fine)
    async with scheduled(tmp_path, *rows, servers=servers) as snapshot:
        await until(lambda: snapshot.ready)
        for name in servers:
            states = snapshot.server(ServerName(name)).states
            assert states[SourceName.CONFIG].success
            assert states[SourceName.LOG].problem == "no answer within 0.05 s"
        gate.set()


async def test_a_read_from_memory_needs_no_thread_and_harms_nobody(tmp_path: Path) -> None:
    threads: set[int] = set()

    def defect(_server: Server, _known: ServerFacts, _now: float) -> Reading:
        threads.add(threading.get_ident())
        raise ZeroDivisionError("a defect")

    row = replace(source(SourceName.TELEMETRY, defect), from_memory=True)
    async with scheduled(tmp_path, row, source(SourceName.CONFIG, fine)) as snapshot:
        await until(lambda: snapshot.ready)
        states = snapshot.server(CODEX).states
    assert states[SourceName.TELEMETRY].problem == "unexpected: ZeroDivisionError('a defect')"
    assert states[SourceName.CONFIG].success
    assert threads == {threading.get_ident()}
