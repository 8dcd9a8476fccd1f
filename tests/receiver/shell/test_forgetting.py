"""The journal is thinned while the receiver runs, and a receiver that starts on what is left knows the same."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest

from receiver import forgetting
from receiver.book import Book
from receiver.chronicle import Chronicle
from receiver.events import Closed, Delivered, Event, IncidentId, Paused, Quarantined
from receiver.forgetting import Forgetting
from receiver.journal.sqlite import SqliteJournal
from receiver.journal.store import PAGE_ENTRIES
from receiver.retention import DAY, Removal, Survey
from receiver.vocabulary import Closing
from tests.receiver.core.simulated import START, a_delivery, an_alert
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.test_archive import lines
from tests.receiver.shell.world import World, until

OLD = 500 * DAY
ROUNDS = PAGE_ENTRIES  # three entries each: more than one page


def firing(server: str) -> Delivered:
    return a_delivery(an_alert(server=server))


def write_old(file: Path, now: float) -> None:
    """Incidents long over, one that is open since then, a pause, poison; then a fresh incident that is over."""
    events: list[Event] = []
    for _ in range(ROUNDS):
        events += [firing("alpha"), Quarantined(reason="", body_hash="", size=1, excerpt="")]
        incident = IncidentId(f"alpha-{len(events) - 1}")
        events.append(Closed(incident=incident, server="alpha", reason=Closing.HEALED))
    events += [firing("beta"), Paused(server="beta"), firing("alpha")]
    fresh = IncidentId(f"alpha-{len(events)}")
    clock = itertools.chain([now - OLD] * (len(events) - 1), itertools.repeat(now))
    journal = SqliteJournal(file, lambda: next(clock))
    for event in events:
        journal.append(event)
    journal.append(Closed(incident=fresh, server="alpha", reason=Closing.HEALED))
    journal.close()


async def test_old_incidents_go_and_everything_else_is_known_as_before(world: World, tmp_path: Path) -> None:
    settings, file = world.settings(), tmp_path / "j.db"
    write_old(file, START)
    chronicle = await Chronicle.open(lambda: SqliteJournal(file), Book(settings.fleet.servers))
    forget = Forgetting(settings, chronicle, lambda: START)
    before = chronicle.book.remembered(0)
    assert len(chronicle.book.incidents()) > 100
    assert await forget.once() == 3 * ROUNDS
    assert await forget.once() == 0
    known = chronicle.book.incidents(), chronicle.book.remembered(START - DAY), chronicle.book.quarantined()
    assert chronicle.book.remembered(0) == before
    assert [one.server for one in known[0]] == ["alpha", "beta"]
    entry = await chronicle.append(Paused(server="alpha"))
    assert entry is not None
    assert entry.seq == 3 * ROUNDS + 5
    await chronicle.close()
    again = await Chronicle.open(lambda: SqliteJournal(file), Book(settings.fleet.servers))
    assert again.book.incidents() == known[0]
    assert again.book.quarantined() == []
    assert set(again.book.ledger().paused) == {"alpha", "beta"}
    await again.close()


async def test_0_days_keep_everything(world: World, tmp_path: Path) -> None:
    settings, file = world.settings(), tmp_path / "j.db"
    write_old(file, START)
    receiver = replace(settings.fleet.receiver, journal_retention_days=0.0)
    settings = replace(settings, fleet=replace(settings.fleet, receiver=receiver))
    chronicle = await Chronicle.open(lambda: SqliteJournal(file), Book(settings.fleet.servers))
    assert await Forgetting(settings, chronicle, lambda: START).once() == 0
    await chronicle.close()


async def test_what_would_change_what_is_known_is_not_removed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Careless(Survey):
        def removable(self) -> Removal:
            found = super().removable()
            return Removal(found.numbers | {3 * ROUNDS + 1}, found.incidents)

    monkeypatch.setattr(forgetting, "Survey", Careless)
    settings, file = world.settings(), tmp_path / "j.db"
    write_old(file, START)
    chronicle = await Chronicle.open(lambda: SqliteJournal(file), Book(settings.fleet.servers))
    assert await Forgetting(settings, chronicle, lambda: START).once() == 0
    assert "the journal was not thinned" in caplog.text
    assert len(await chronicle.entries([1, 2, 3])) == 3
    await chronicle.close()


async def test_a_receiver_thins_its_journal_by_itself(world: World, start: Start) -> None:
    settings = world.settings()
    write_old(settings.fleet.receiver.journal, time.time())
    async with start() as client:

        async def thinned() -> bool:
            return bool((await lines(client))[0]["seq"] == 3 * ROUNDS + 1)

        await until(thinned)
        assert (await client.get(f"/api/v1/incidents/alpha-{3 * ROUNDS - 2}"))[0] == 404
