"""The journal as JSON lines, streamed while it is written; the bodies that were put aside."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from fleet.doors import Door
from fleet.web_protection import Protection
from receiver import archive
from receiver.archive import Archive
from receiver.authentication import Authentication
from receiver.book import Book
from receiver.chronicle import Chronicle
from receiver.credentials import Credentials
from receiver.events import Entry, Paused, Quarantined
from receiver.journal.memory import MemoryJournal
from receiver.journal.store import PAGE_ENTRIES, JournalUnavailable
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.world import TOKEN, Client, alert, until, webhook


async def lines(client: Client, query: str = "") -> list[dict[str, Any]]:
    url, headers = f"{client.address.url}/api/v1/journal{query}", {"Authorization": f"Bearer {TOKEN}"}
    async with client.session.get(url, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
        return [json.loads(line) for line in (await answer.read()).splitlines()]


async def test_every_entry_is_a_line_and_keys_choose_among_them(start: Start) -> None:
    async with start() as client:
        for server in ("alpha", "beta", "alpha"):
            await client.say("pause", json.dumps({"server": server}).encode())
            await client.say("resume", json.dumps({"server": server}).encode())
        await client.post(webhook(alert("nobodys", "error_ratio")))
        found = await lines(client)
        assert [(each["seq"], each["kind"]) for each in found[:7]] == [
            (1, "paused"), (2, "resumed"), (3, "paused"), (4, "resumed"), (5, "paused"), (6, "resumed"),
            (7, "delivered"),
        ]  # fmt: skip
        assert found[0]["by"] == "bearer"
        assert [each["seq"] for each in await lines(client, "?server=alpha")] == [1, 2, 5, 6]
        assert [each["seq"] for each in await lines(client, "?server=alpha&after=1&limit=2")] == [2, 5]
        assert [each["seq"] for each in await lines(client, "?server=nobodys")] == [7]
        assert await lines(client, "?server=none") == []
        at = found[2]["at"]
        assert {3} <= {each["seq"] for each in await lines(client, f"?from={at!r}&until={at!r}")} <= {2, 3, 4}
        assert await client.get("/api/v1/journal?limit=none") == (
            400,
            {"error": "limit: write a whole number from 1"},
        )
        assert (await client.get("/api/v1/journal", token=None))[0] == 401


async def test_what_was_put_aside_is_shown_and_nothing_in_it_is_obeyed(start: Start) -> None:
    async with start() as client:
        assert await client.get("/api/v1/quarantine") == (200, {"quarantine": []})
        for body in (b"\x1b[2Jnot json <script>", b'{"version": "3", "alerts": []}'):
            await client.post(body)
        status, answer = await client.get("/api/v1/quarantine")
        assert status == 200
        newest, oldest = answer["quarantine"]
        assert newest["reason"].startswith("version '3' of Alertmanager's message")
        assert (oldest["seq"], oldest["size"]) == (1, 21)
        assert oldest["excerpt"] == "\\x1b[2Jnot json <script>"
        assert (await client.get("/api/v1/quarantine", token=None))[0] == 401
        await client.post(b'{"grant_type": "password", "password": "hunter2", "x": 1}')
        newest = (await client.get("/api/v1/quarantine"))[1]["quarantine"][0]
        assert newest["excerpt"] == '{"grant_type": "password", "password": <secret>, "x": 1}'


@asynccontextmanager
async def an_archive(journal: MemoryJournal) -> AsyncIterator[tuple[Chronicle, TestClient[Any, Any]]]:
    """The routes over this journal, for requests that need no credentials."""
    chronicle = await Chronicle.open(lambda: journal, Book(["alpha"]))
    authentication = Authentication(Door.of("127.0.0.1", None), Credentials(), Protection(), only_loopback=True)
    app = web.Application()
    app.add_routes(Archive(authentication, chronicle).routes())
    async with TestClient(TestServer(app)) as client:
        yield chronicle, client
    authentication.close()
    await chronicle.close()


HERE = {"Host": "127.0.0.1"}


class LargeJournal(MemoryJournal):
    """So many pages, far more than the sockets hold; ``asked`` is from where each was read."""

    def __init__(self, pages: int) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.fails_after = math.inf
        for number in range(pages * PAGE_ENTRIES):
            self.append(Quarantined(reason=str(number), body_hash="", size=1, excerpt="x" * 20_000))

    def read(self, after: int = 0) -> Iterator[Entry]:
        if after > self.fails_after:
            raise JournalUnavailable("gone")
        self.asked.append(after)
        return super().read(after)


async def test_a_slow_reader_keeps_nobody_waiting_and_fills_no_memory() -> None:
    """It is read from the journal only as fast as the reader takes it."""
    journal = LargeJournal(6)
    async with an_archive(journal) as (chronicle, client), client.get("/api/v1/journal", headers=HERE) as answer:
        await answer.content.readline()
        assert await chronicle.append(Paused()) is not None
        assert len([each for each in journal.asked if each]) < 4
        text = await answer.text()
        seen = [json.loads(line)["seq"] for line in text.splitlines()]
        assert seen == list(range(2, 6 * PAGE_ENTRIES + 2))


async def test_only_so_many_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "EXPORTS", 1)
    async with an_archive(LargeJournal(6)) as (_, client), client.get("/api/v1/journal", headers=HERE) as slow:
        async with client.get("/api/v1/journal", headers=HERE) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        await slow.read()
        await until(partial(_is_answered, client))


async def _is_answered(client: TestClient[Any, Any]) -> bool:
    async with client.get("/api/v1/journal?limit=1", headers=HERE) as answer:
        return answer.status == 200


async def test_a_reader_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "READER_SECONDS", 0.3)
    monkeypatch.setattr(archive, "EXPORTS", 1)
    async with an_archive(LargeJournal(6)) as (_, client), client.get("/api/v1/journal", headers=HERE) as slow:
        await until(partial(_is_answered, client))
        with pytest.raises(aiohttp.ClientError):
            await slow.read()


async def test_a_journal_that_fails_in_the_middle_is_no_whole_answer() -> None:
    journal = LargeJournal(2)
    journal.fails_after = 1
    async with an_archive(journal) as (_, client):
        with pytest.raises(aiohttp.ClientError):
            async with client.get("/api/v1/journal", headers=HERE) as answer:
                await answer.read()
        async with client.get("/api/v1/journal?after=2", headers=HERE) as answer:
            assert (answer.status, await answer.json()) == (503, {"error": "gone"})
