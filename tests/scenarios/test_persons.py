"""What persons say, over the real engine in fake time: two clicks act once, and every word has a name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleet.inventory import ServerName
from receiver.events import ActIntended, Decided, Paused, Resumed
from receiver.incident import IncidentState
from tests.scenarios import clock
from tests.scenarios.world import World, play

ASKING = {
    "toml": "[security.approval_workflows]\nauto_approve_read_only = false\n",
    "events": [{"at": 0, "health": {"codex": "ill"}, "fires": ["down critical"]}],
    "until": 60,
}


async def _two_clicks(folder: Path, patch: pytest.MonkeyPatch) -> World:
    world = await play(folder, ASKING, patch)
    incident = world.chronicle.book.open_incident("codex")
    assert incident is not None
    assert incident.state is IncidentState.AWAITING_APPROVAL
    world.start()
    words = await asyncio.gather(
        *(world.persons.decide(incident.id, approved=approved, by="anna") for approved in (True, True, False))
    )
    assert words == ["restart", None, None]
    await asyncio.sleep(30)
    await world.tasks.stop()
    return world


def test_two_clicks_act_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = clock.run(_two_clicks(tmp_path, monkeypatch))
    events = [entry.event for entry in world.journal.read()]
    assert [event.by for event in events if isinstance(event, Decided)] == ["anna"]
    assert [event.action for event in events if isinstance(event, ActIntended)] == ["evidence", "restart"]


async def _pauses(folder: Path, patch: pytest.MonkeyPatch) -> World:
    world = await play(folder, {"events": [], "until": 1}, patch)
    persons, codex = world.persons, ServerName("codex")
    assert [await persons.pause(codex, "anna"), await persons.pause(codex, "bert")] == [True, False]
    assert [await persons.pause(None, "bert"), await persons.resume(None, "bert")] == [True, True]
    assert not await persons.resume(None, "bert")
    assert world.chronicle.book.ledger().paused.keys() == {"codex"}
    assert world.chronicle.book.ledger().paused["codex"].by == "anna"
    return world


def test_a_pause_is_said_once_and_ends_where_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = clock.run(_pauses(tmp_path, monkeypatch))
    events = [entry.event for entry in world.journal.read()]
    assert [type(event) for event in events] == [Paused, Paused, Resumed]


def test_nobody_decides_where_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def decide() -> tuple[str | None, str | None]:
        world = await play(tmp_path, {"events": [{"at": 0, "fires": ["queue critical"]}], "until": 5}, monkeypatch)
        incident = world.chronicle.book.open_incident("codex")
        assert incident is not None
        persons = world.persons
        return await persons.decide(incident.id, approved=True), await persons.decide("codex-7", approved=True)

    assert clock.run(decide()) == (None, None)
