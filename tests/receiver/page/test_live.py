"""Server-sent events: every change is told, clients are bounded, nobody who reads slowly holds anybody up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fleet.signals import SignalName
from receiver import live
from receiver.app import STOP_SECONDS
from receiver.book import Book
from receiver.chronicle import Chronicle
from receiver.events import Delivered, Entry, Paused, Quarantined
from receiver.incident import Incident
from receiver.journal.memory import MemoryJournal
from receiver.live import MAX_BEHIND, MAX_CLIENTS, Live
from receiver.views import changes
from receiver.vocabulary import Via
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.peers import serve
from tests.receiver.shell.world import DEADLINE, TOKEN, Client, World, alert, until_true, webhook, write

ERRORS = SignalName.ERROR_RATIO
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def changes_of(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The changes that a stream tells."""
    async for line in answer.content:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


async def test_a_treatment_is_told_as_it_happens(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    async with start() as client:
        url = f"{client.address.url}/api/v1/events"
        async with client.session.get(url, headers=BEARER) as answer:
            assert answer.content_type == "text/event-stream"
            assert answer.headers["Cache-Control"] == "no-store"
            await client.post(webhook(alert("alpha", ERRORS)))
            kinds: list[str] = []
            async with asyncio.timeout(DEADLINE):
                async for change in changes_of(answer):
                    kinds.append(change["kind"])
                    assert set(change) == {"seq", "incident", "server", "kind"}
                    assert change["server"] == "alpha"
                    if change["kind"] == "verdict_given":
                        break
            assert change["incident"] == (await client.incidents())[0]["id"]
            assert "act_ended" in kinds


async def test_who_is_not_known_hears_nothing(start: Start) -> None:
    async with start() as client:
        assert (await client.get("/api/v1/events", token=None))[0] == 401
        assert (await client.get("/api/v1/events", token="wrong"))[0] == 401


async def test_a_stop_does_not_wait_for_who_listens(start: Start) -> None:
    async with AsyncExitStack() as stack:
        async with start() as client:
            answer = await client.session.get(f"{client.address.url}/api/v1/events", headers=BEARER)
            stack.callback(answer.close)
            began = time.monotonic()
        # The block's end is the receiver's: it is over long before the bound that would cut it short.
        assert time.monotonic() - began < STOP_SECONDS
        async with asyncio.timeout(DEADLINE):
            rest = await answer.content.read()
        assert b"data:" not in rest


def test_what_an_entry_changed() -> None:
    delivered = Entry(seq=4, at=1.0, event=Delivered(via=Via.WEBHOOK, alerts=[]))
    quarantined = Entry(seq=5, at=1.0, event=Quarantined(reason="x", body_hash="", size=1, excerpt=""))
    opened = {name: Incident(id=f"{name}-4", number=4, server=name, opened_at=1.0) for name in ("a", "b")}  # type: ignore[arg-type]
    assert changes(delivered, opened) == [
        {"seq": 4, "incident": "a-4", "server": "a", "kind": "delivered"},
        {"seq": 4, "incident": "b-4", "server": "b", "kind": "delivered"},
    ]
    assert changes(delivered, {}) == []
    assert changes(quarantined, {}) == [{"seq": 5, "incident": None, "server": None, "kind": "quarantined"}]
    paused = Entry(seq=6, at=1.0, event=Paused(server=""))
    assert changes(paused, {}) == [{"seq": 6, "incident": None, "server": None, "kind": "paused"}]


# One stream by itself


@asynccontextmanager
async def streaming(heartbeat_seconds: float) -> AsyncIterator[tuple[Live, Chronicle, str, aiohttp.ClientSession]]:
    async with AsyncExitStack() as stack:
        chronicle = await Chronicle.open(MemoryJournal, Book(["alpha"]))
        stack.push_async_callback(chronicle.close)
        told = Live(chronicle, heartbeat_seconds)
        app = web.Application()
        app.router.add_get("/", told.stream)
        app.on_shutdown.append(told.close)
        url = await serve(app, stack)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield told, chronicle, url, session


async def test_a_silent_stream_shows_that_it_is_alive() -> None:
    async with streaming(0.01) as (_, _, url, session), session.get(url) as answer, asyncio.timeout(DEADLINE):
        assert (await answer.content.readline()).startswith(b"retry: ")
        await answer.content.readline()
        assert (await answer.content.readline()) == b": still here\n"


async def test_clients_are_bounded_and_leave() -> None:
    async with streaming(0.05) as (told, _, url, session):
        connector = aiohttp.TCPConnector(limit=0)
        async with AsyncExitStack() as stack:
            many = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            for _ in range(MAX_CLIENTS):
                await stack.enter_async_context(many.get(url))
            assert told.clients == MAX_CLIENTS
            async with session.get(url) as refused:
                assert refused.status == 503
                assert refused.headers["Retry-After"]
        await until_true(lambda: told.clients == 0)


async def test_who_falls_behind_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WRITE_SECONDS", 0.2)
    async with streaming(60.0) as (told, chronicle, url, session), session.get(url) as answer:
        async with asyncio.timeout(DEADLINE):
            await answer.content.readline()
        answer.connection.transport.pause_reading()  # type: ignore[union-attr]
        for _ in range(40):
            for _ in range(MAX_BEHIND):
                await chronicle.append(Paused(server="x" * 10_000))
            if told.clients == 0:
                break
        assert told.clients == 0


async def test_a_stream_ends_so_that_who_listens_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAM_SECONDS", 0.1)
    async with streaming(0.02) as (told, _, url, session), session.get(url) as answer, asyncio.timeout(DEADLINE):
        assert b"still here" in await answer.content.read(), "it ends as a stream should"
        await until_true(lambda: told.clients == 0)


async def test_everybody_is_told(start: Start) -> None:
    async with start() as client, AsyncExitStack() as stack:
        url = f"{client.address.url}/api/v1/events"
        answers = [await stack.enter_async_context(client.session.get(url, headers=BEARER)) for _ in range(3)]
        await _paused(client)
        async with asyncio.timeout(DEADLINE):
            for answer in answers:
                async for change in changes_of(answer):
                    assert change["kind"] == "paused"
                    break


async def _paused(client: Client) -> None:
    assert (await client.say("pause"))[1]["changed"] is True


async def test_other_credentials_end_every_stream(world: World, start: Start) -> None:
    """Who listens was let in by what held then."""
    async with start() as client:
        url = f"{client.address.url}/api/v1/events"
        async with client.session.get(url, headers=BEARER) as answer:
            assert (await answer.content.readline()).startswith(b"retry: ")
            await asyncio.to_thread(write, world.folder / "token", "another-token\n")
            async with asyncio.timeout(DEADLINE):
                await answer.content.read()
        async with client.session.get(url, headers=BEARER) as answer:
            assert answer.status == 401
