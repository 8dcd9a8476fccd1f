"""Incidents that the book has forgotten are read from the journal again, and are what they were."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from receiver.app import running
from receiver.book import RECENT_CLOSED, Book
from receiver.chronicle import Chronicle
from receiver.events import Alert, Closed, Delivered, Entry, IncidentId
from receiver.incident import Incident
from receiver.journal.memory import MemoryJournal
from receiver.journal.sqlite import SqliteJournal
from receiver.journal.store import JournalUnavailable
from receiver.recall import MAX_KEPT, Recall
from receiver.vocabulary import Closing, Via
from tests.receiver.core.test_stored_journal import JOURNALS, NAMES, entries
from tests.receiver.shell.world import World, client_of


def delivered(server: str) -> Delivered:
    one = Alert(
        server=server, signal="down", severity="critical", alertname="McpServerDown", firing=True, fingerprint="f"
    )
    return Delivered(via=Via.WEBHOOK, alerts=[one])


class Watched(MemoryJournal):
    """A stored journal; ``pages`` is how often it was read from somewhere."""

    def __init__(self, stored: Path) -> None:
        lines = entries(stored)
        times = iter([each.at for each in lines])
        super().__init__(lambda: next(times))
        for each in lines:
            kept = self.append(each.event)
            assert kept is not None
            assert (kept.seq, kept.at) == (each.seq, each.at)
        self.pages = 0

    def read(self, after: int = 0) -> Iterator[Entry]:
        self.pages += 1
        return super().read(after)


@asynccontextmanager
async def remembered(stored: Path) -> AsyncIterator[tuple[Watched, Chronicle, dict[str, Incident]]]:
    """The chronicle of a stored journal, and its closed incidents, which the book knows no more."""
    journal = Watched(stored)
    chronicle = await Chronicle.open(lambda: journal, Book(NAMES))
    incidents = [each for each in chronicle.book.incidents() if each.closed_at is not None]
    closed: dict[str, Incident] = {each.id: each for each in incidents}
    chronicle.book.forget([each.id for each in incidents], ())
    assert not [each for each in chronicle.book.incidents() if each.closed_at is not None]
    journal.pages = 0
    yield journal, chronicle, closed
    await chronicle.close()


@pytest.mark.parametrize("stored", JOURNALS, ids=lambda journal: journal.stem)
async def test_it_is_what_it_was(stored: Path) -> None:
    async with remembered(stored) as (journal, chronicle, closed):
        recall = Recall(chronicle)
        for name, incident in closed.items():
            assert await recall.find(name) == incident
        pages = journal.pages
        for name, incident in list(closed.items())[-MAX_KEPT:]:
            assert await recall.find(name) == incident
        assert journal.pages == pages, "it is not read once more"
        for incident in chronicle.book.incidents():
            assert await recall.find(incident.id) is incident


async def test_for_what_is_made_up_nothing_is_read() -> None:
    async with remembered(JOURNALS[-1]) as (journal, chronicle, closed):
        recall = Recall(chronicle)
        server, _, number = next(iter(closed)).rpartition("-")
        for name in ("", "-", server, f"{server}-", f"{server}-99999", f"{server}-٣", f"{server}-{'9' * 40}",
                     f"nobody-{number}", "<script>", f"{server}--1"):  # fmt: skip
            assert await recall.find(name) is None
        assert journal.pages == 0
        journal.close()
        with pytest.raises(JournalUnavailable):
            await recall.find(next(iter(closed)))


async def test_it_has_its_page_and_its_json(world: World, session: aiohttp.ClientSession) -> None:
    journal = SqliteJournal(world.folder / "journal.db")
    first = journal.append(delivered("alpha"))
    assert first is not None
    for number in range(RECENT_CLOSED + 1):
        opened = first if not number else journal.append(delivered("alpha"))
        assert opened is not None
        journal.append(Closed(incident=IncidentId(f"alpha-{opened.seq}"), server="alpha", reason=Closing.RESOLVED))
    journal.close()
    async with running(world.settings()) as receiver:
        client = client_of(session, receiver)
        oldest = f"alpha-{first.seq}"
        assert receiver.chronicle.book.find(oldest) is None
        status, said = await client.get(f"/api/v1/incidents/{oldest}")
        assert (status, said["incident"]["state"]) == (200, "closed")
        assert [event["kind"] for event in said["events"]] == ["delivered", "closed"]
        status, page = await client.get(f"/incidents/{oldest}")
        assert status == 200
        assert oldest in page
        assert (await client.get("/incidents/alpha-2"))[0] == 404
