"""Grafana is told what was done; that it cannot be told holds nobody up and is said once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fleet.inventory import GrafanaSettings
from fleet.signals import SignalName
from fleet.tasks import Tasks
from receiver.annotations import MAX_WAITING, Annotations, annotation
from receiver.book import Book
from receiver.chronicle import Chronicle
from receiver.events import ActEnded, ActId, Closed, Entry, IncidentId, VerdictGiven
from receiver.journal.memory import MemoryJournal
from receiver.vocabulary import Closing, Verdict
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.peers import serve
from tests.receiver.shell.world import World, alert, until_true, webhook

URL = "http://127.0.0.1:9848"
INCIDENT = IncidentId("alpha-1")


@dataclass
class GrafanaPeer:
    """Takes annotations as Grafana does: JSON, by a bearer's token."""

    token: str = "first"
    status: int = 200
    taken: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    url: str = ""

    async def annotate(self, request: web.Request) -> web.Response:
        if self.status != 200 or request.headers["Authorization"] != f"Bearer {self.token}":
            self.refused += 1
            return web.json_response({"message": "no"}, status=self.status if self.status != 200 else 401)
        self.taken.append(await request.json())
        return web.json_response({"message": "Annotation added", "id": len(self.taken)})


@pytest.fixture
async def grafana() -> AsyncIterator[GrafanaPeer]:
    async with contextlib.AsyncExitStack() as stack:
        peer = GrafanaPeer()
        app = web.Application()
        app.router.add_post("/grafana/api/annotations", peer.annotate)
        peer.url = f"{await serve(app, stack)}/grafana"
        yield peer


def closed(server: str = "alpha") -> Closed:
    return Closed(incident=INCIDENT, server=server, reason=Closing.HEALED)


@contextlib.asynccontextmanager
async def annotating(grafana: GrafanaPeer, token_file: Path) -> AsyncIterator[Chronicle]:
    async with contextlib.AsyncExitStack() as stack:
        chronicle = await Chronicle.open(MemoryJournal, Book(["alpha"]))
        stack.push_async_callback(chronicle.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        told = Annotations(GrafanaSettings(grafana.url, token_file), session, chronicle, URL)
        tasks = Tasks("test")
        stack.push_async_callback(tasks.stop)
        tasks.start("annotations", told.run())
        yield chronicle


async def test_a_treatment_is_annotated(world: World, start: Start, grafana: GrafanaPeer) -> None:
    (world.folder / "grafana-token").write_text(grafana.token)
    world.beside = {"grafana": {"url": grafana.url, "token_file": "grafana-token"}}
    world.fall_ill("alpha", SignalName.ERROR_RATIO)
    async with start() as client:
        await client.post(webhook(alert("alpha", "error_ratio")))
        await until_true(lambda: len(grafana.taken) == 2)
        await client.post(webhook(alert("alpha", "error_ratio", firing=False)))
        await until_true(lambda: len(grafana.taken) == 3)
        restart, verdict, end = grafana.taken
        incident = (await client.incidents())[0]["id"]
    assert restart["tags"] == ["mcp-medic", "alpha", "restart"]
    assert restart["timeEnd"] >= restart["time"] > 1.7e12
    assert restart["text"].startswith("alpha: Restart: done (<a href=")
    assert f"/incidents/{incident}" in restart["text"]
    assert verdict["text"].startswith("alpha: Restart: healed")
    assert end["tags"] == ["mcp-medic", "alpha", "closed"]


async def test_the_token_is_read_again(grafana: GrafanaPeer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    async with annotating(grafana, file) as chronicle:
        await chronicle.append(closed())
        await until_true(lambda: len(grafana.taken) == 1)
        grafana.token = "second"
        await asyncio.to_thread(file.write_text, "second")
        await chronicle.append(closed())
        await until_true(lambda: len(grafana.taken) == 2)
    assert grafana.refused == 0


async def test_a_trouble_is_said_once_and_so_is_its_end(
    grafana: GrafanaPeer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    with caplog.at_level(logging.INFO, "receiver.annotations"):
        async with annotating(grafana, file) as chronicle:
            grafana.status = 500
            for number in range(3):
                await chronicle.append(closed())
                await until_true(lambda known=number: grafana.refused > known)  # type: ignore[misc]
            grafana.status = 200
            await chronicle.append(closed())
            await until_true(lambda: any("again" in record.message for record in caplog.records))
    messages = [record.message for record in caplog.records if record.name == "receiver.annotations"]
    assert messages == ["Grafana takes no annotations; treatment goes on without", "Grafana takes annotations again"]
    assert "first" not in caplog.text


async def test_a_token_that_cannot_be_read_is_said_at_the_start(
    grafana: GrafanaPeer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with annotating(grafana, tmp_path / "none"):
        await until_true(lambda: "Grafana takes no annotations" in caplog.text)
    assert grafana.refused == 0


async def test_a_grafana_that_does_not_answer_holds_nobody_up(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    asked = asyncio.Event()
    never = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        asked.set()
        await never.wait()
        return web.Response()

    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_post("/api/annotations", hang)
        peer = GrafanaPeer(url=await serve(app, stack))
        stack.callback(never.set)
        async with annotating(peer, file) as chronicle:
            for _ in range(MAX_WAITING + 50):
                await chronicle.append(closed())
            async with asyncio.timeout(20):
                await asked.wait()


def entry(event: Any) -> Entry:
    return Entry(seq=1, at=100.0, event=event)


def test_what_is_annotated() -> None:
    act: dict[str, Any] = {"incident": INCIDENT, "server": "alpha", "act": ActId("a"), "action": "evidence"}
    ended: dict[str, Any] = {"outcome": "succeeded", "detail": "", "ended_at": 101.0}
    assert annotation(entry(ActEnded(**act, **ended)), (), URL) is None, "evidence changes nothing"
    found = annotation(entry(ActEnded(**act | {"action": "restart"}, **ended)), (), URL)
    assert found is not None
    assert (found["time"], found["timeEnd"]) == (100_000, 100_000)
    for verdict, final, told in (
        (Verdict.HEALED, True, True),
        (Verdict.INCONCLUSIVE, True, False),
        (Verdict.HEALED, False, False),
    ):
        given = VerdictGiven(**act, verdict=verdict, judgements=[], final=final)
        assert (annotation(entry(given), (), URL) is not None) is told


def test_a_text_for_grafana_is_escaped() -> None:
    found = annotation(entry(closed("<b>")), (), 'http://x/"><script>')
    assert found is not None
    assert "<b>" not in found["text"]
    assert "<script>" not in found["text"]
