from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientResponse, ClientSession, TCPConnector
from hypothesis import given
from hypothesis import strategies as st

from exporter.app import Running
from exporter.exposition import Exposition, Wanted
from exporter.facts import ScrapeResult
from exporter.scraping import MAX_TIMEOUT_SECONDS, patience, time_to_render
from exporter.snapshot import Facts
from fleet.telemetry import Cache, encode
from tests.exporter.fleets import body, parsed, value

TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"
SHORT = {TIMEOUT: "0.1"}
LONG = {TIMEOUT: "60"}
PUSH = "/telemetry/v1/servers/codex"
JSON = {"Content-Type": "application/json"}


@dataclass
class Gate:
    """Stands in front of the renderer: counts what comes, lets it through while ``opened``."""

    opened: threading.Event = field(default_factory=threading.Event)
    came: list[Wanted] = field(default_factory=list)
    instead: Callable[[], tuple[bytes, ...]] | None = None


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The gate of every renderer of this test, open at first and at the end."""
    gate, render = Gate(), Exposition.body

    def body_(self: Exposition, facts: Facts, wanted: Wanted) -> tuple[bytes, ...]:
        gate.came.append(wanted)
        assert gate.opened.wait(60)
        return gate.instead() if gate.instead else render(self, facts, wanted)

    monkeypatch.setattr(Exposition, "body", body_)
    gate.opened.set()
    yield gate
    gate.opened.set()


@pytest.fixture
async def client(exporter: Running) -> AsyncIterator[ClientSession]:
    """A client with as many connections as it likes, that asks for no compression."""
    async with ClientSession(
        exporter.address.url, connector=TCPConnector(limit=0), headers={"Accept-Encoding": "identity"}
    ) as session:
        yield session


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def came(gate: Gate, count: int) -> None:
    async def enough() -> bool:
        return len(gate.came) >= count

    await until(enough)


async def status(client: ClientSession, path: str = "/metrics", **headers: str) -> int:
    async with client.get(path, headers=headers) as answer:
        await answer.read()
        return answer.status


async def counted(client: ClientSession, result: ScrapeResult) -> float:
    async with client.get("/metrics") as answer:
        return parsed(await answer.text())["mcp_exporter_scrapes_total", frozenset({("result", result.value)})]


async def test_the_loop_answers_others_while_scrapes_are_rendered(client: ClientSession, gate: Gate) -> None:
    gate.opened.clear()
    scrapes = [asyncio.create_task(status(client, **LONG)) for _ in range(20)]  # noqa: TID251 - ends with the test
    await came(gate, 1)
    async with asyncio.timeout(20):
        assert await status(client, "/-/healthy") == 200
        async with client.post(PUSH, data=encode(body()), headers=JSON) as answer:
            assert answer.status == 204
    assert not any(scrape.done() for scrape in scrapes)
    gate.opened.set()
    async with asyncio.timeout(20):
        assert await asyncio.gather(*scrapes) == [200] * 20
    assert 1 <= len(gate.came) <= 3, "those that waited at the same time shared one body"


async def test_a_scrape_shows_what_came_before_it_while_an_older_one_is_rendered(
    client: ClientSession, gate: Gate
) -> None:
    gate.opened.clear()
    older = asyncio.create_task(status(client, **LONG))  # noqa: TID251
    await came(gate, 1)
    async with client.post(PUSH, data=encode(body(cache=Cache(requests=7))), headers=JSON) as answer:
        assert answer.status == 204
    async with asyncio.timeout(20):
        asking = asyncio.create_task(client.get("/metrics", headers=LONG).__aenter__())  # noqa: TID251
        gate.opened.set()
        newer: ClientResponse = await asking
        assert value(parsed(await newer.text()), "mcp_server_cache_requests_total") == 7
        assert await older == 200


async def test_a_hundred_scrapes_at_once_are_answered_or_turned_away(client: ClientSession) -> None:
    async with asyncio.timeout(60):
        found = await asyncio.gather(*(status(client) for _ in range(100)), status(client, "/-/healthy"))
    assert set(found[:100]) <= {200, 503}
    assert found.count(200) > 40
    assert found[100] == 200


async def test_beyond_the_most_at_once_it_says_so(
    client: ClientSession, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.scraping.MAX_SCRAPES", 2)
    gate.opened.clear()
    taken = [asyncio.create_task(status(client, path, **LONG)) for path in ("/metrics", "/metrics?name[]=up")]  # noqa: TID251
    await came(gate, 1)

    async def turned_away() -> bool:
        return await status(client, **SHORT) == 503 and await refused() > 0

    async def refused() -> int:
        async with client.get("/metrics") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            return int(await answer.text() == "too many scrapes at once\n")

    await until(turned_away)
    gate.opened.set()
    assert await asyncio.gather(*taken) == [200, 200]
    assert await counted(client, ScrapeResult.REFUSED) >= 2, "and the places were given back"


async def test_a_short_deadline_is_kept_with_what_is_known(
    client: ClientSession, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await status(client) == 200
    gate.opened.clear()
    async with asyncio.timeout(20):
        async with client.get("/metrics", headers=SHORT) as late:
            assert late.status == 200
            assert int(late.headers["Age"]) >= 0
            assert value(parsed(await late.text()), "mcp_server_up") == 1
        assert await status(client, "/metrics?name[]=mcp_server_up", **SHORT) == 503, "of these nothing is known"
        monkeypatch.setattr("exporter.scraping.LATE_SECONDS", -1.0)
        assert await status(client, **SHORT) == 503, "too old"
    gate.opened.set()
    assert await counted(client, ScrapeResult.LATE) == 1
    assert await counted(client, ScrapeResult.FAILED) == 2


async def test_renderings_that_nobody_waits_for_do_not_pile_up(client: ClientSession, gate: Gate) -> None:
    gate.opened.clear()
    first = asyncio.create_task(status(client, **LONG))  # noqa: TID251
    await came(gate, 1)
    names = ("mcp_server_up", "mcp_server_sessions", "mcp_server_in_flight")
    found = await asyncio.gather(*(status(client, f"/metrics?name[]={name}", **SHORT) for name in names))
    assert found == [503] * 3
    gate.opened.set()
    assert await first == 200
    assert await status(client) == 200
    assert len(gate.came) == 2


async def test_a_scraper_that_never_reads_gives_its_place_back(
    exporter: Running, client: ClientSession, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.scraping.MAX_SCRAPES", 1)
    gate.instead = lambda: (b"#" * 1024 * 1024,) * 64
    reader, writer = await asyncio.open_connection(exporter.address.host, exporter.address.port, limit=1024)
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: {exporter.address}\r\n{TIMEOUT}: 1\r\n\r\n".encode())
    await came(gate, 1)
    gate.instead = None

    async def free_again() -> bool:
        return await status(client) == 200

    await until(free_again)
    assert await counted(client, ScrapeResult.NOT_READ) == 1
    async with asyncio.timeout(20):
        received = 0
        try:
            while chunk := await reader.read(1024 * 1024):
                received += len(chunk)
        except ConnectionError:
            pass
    assert received < 64 * 1024 * 1024, "the line was cut"
    writer.close()


async def test_a_rendering_that_fails_is_said_once_and_ends_nothing(
    client: ClientSession, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    def defect() -> tuple[bytes, ...]:
        raise ZeroDivisionError("a defect")

    gate.instead = defect
    assert [await status(client) for _ in range(3)] == [503] * 3
    said = [record for record in caplog.records if record.message == "a scrape could not be rendered"]
    assert len(said) == 1
    gate.instead = None
    assert await status(client) == 200
    assert await counted(client, ScrapeResult.FAILED) == 3


async def test_compression_names_and_head(client: ClientSession) -> None:
    async with client.get("/metrics?name[]=mcp_server_up&name[]=nothing", headers={"Accept-Encoding": "gzip"}) as found:
        assert found.headers["Content-Encoding"] == "gzip"
        assert found.headers["Vary"] == "Accept, Accept-Encoding"
        assert {name for name, _ in parsed(await found.text())} == {"mcp_server_up"}
    async with client.get("/metrics") as plain:
        assert "Content-Encoding" not in plain.headers
        assert int(plain.headers["Content-Length"]) == len(await plain.read())
    async with client.head("/metrics") as head:
        assert (head.status, await head.read()) == (200, b"")
    assert await status(client) == 200


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("10", 10.0),
        ("0.05", 0.05),
        ("", 10.0),
        ("nan", 10.0),
        ("-3", 10.0),
        ("0", 10.0),
        ("inf", 10.0),
        ("1e9", 60.0),
        ("3e-324", 0.001),
    ],
)
def test_how_long_a_scraper_waits(header: str, seconds: float) -> None:
    assert patience(header) == seconds


@given(st.text() | st.floats().map(str))
def test_there_is_always_time_to_render_and_to_travel(header: str) -> None:
    waits = patience(header)
    assert 0 < waits <= MAX_TIMEOUT_SECONDS
    assert 0 < time_to_render(waits) < waits
    assert time_to_render(10.0) == 9.5
