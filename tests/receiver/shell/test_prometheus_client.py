"""The client against a real HTTP peer: what it learns, and that every failure has a sentence."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from fleet.errors import MedicError, PermanentError, UnreachableError
from fleet.signals import SignalName
from receiver.prometheus import USUAL_SCRAPE_SECONDS, Prometheus
from tests.receiver.shell.peers import serve
from tests.receiver.shell.world import World


@pytest.fixture
def client(world: World, session: aiohttp.ClientSession) -> Prometheus:
    return Prometheus(session, world.prometheus.url, time.time)


async def answering(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=headers)

    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_post("/api/v1/query", answer)
        yield await serve(app, stack)


async def test_the_scrape_interval_is_learned_from_the_servers_own_samples(world: World, client: Prometheus) -> None:
    world.prometheus.scrape_seconds = 7.0
    assert await client.scrape_seconds("alpha") == 7.0
    world.prometheus.broken = True
    assert await client.scrape_seconds("alpha") == 7.0


async def test_without_samples_the_usual_scrape_interval_holds(client: Prometheus) -> None:
    assert await client.scrape_seconds("never-seen") == USUAL_SCRAPE_SECONDS


async def test_firing_alerts_are_those_of_the_server_and_the_signals(world: World, client: Prometheus) -> None:
    world.prometheus.vitals["beta"].firing["McpServerDown"] = "down"
    assert await client.firing_alerts("alpha", [SignalName.DOWN]) == []
    assert await client.firing_alerts("beta", [SignalName.DOWN, SignalName.MEMORY]) == ["McpServerDown"]
    assert await client.firing_alerts("beta", [SignalName.MEMORY]) == []


async def test_nobody_listening_is_unreachable_and_names_the_address(session: aiohttp.ClientSession) -> None:
    client = Prometheus(session, "http://127.0.0.1:1", time.time)
    with pytest.raises(UnreachableError, match=r"Prometheus at http://127\.0\.0\.1:1 cannot be reached"):
        await client.one_value("up")


async def test_a_refused_query_carries_prometheus_reason(world: World, client: Prometheus) -> None:
    world.prometheus.broken = True
    with pytest.raises(PermanentError, match="refused a query: stopping"):
        await client.one_value("up")


@pytest.mark.parametrize(("value", "read"), [("1.5", 1.5), ("NaN", None), ("+Inf", float("inf"))])
async def test_a_value_is_a_number_or_nothing(session: aiohttp.ClientSession, value: str, read: float | None) -> None:
    result = [{"metric": {}, "value": [1, value]}]
    body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
    async for url in answering(body):
        assert await Prometheus(session, url, time.time).one_value("up") == read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"status": "\xff"}',
        b"[" * 100_000,
        b'{"status":"success","data":{"result":[{"metric":{},"value":[1,%d]}]}}' % 10**400,
        b'{"status":"success"}',
        b'{"status":"success","data":{"result":7}}',
        b'{"status":"success","data":{"result":[7]}}',
        b'{"status":"success","data":{"result":[{"metric":{},"value":[1,"much"]}]}}',
        b'{"status":"success","data":{"result":[{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}]}}',
    ],
)
async def test_an_answer_of_another_shape_is_an_error_never_a_value(
    session: aiohttp.ClientSession, body: bytes
) -> None:
    async for url in answering(body):
        client = Prometheus(session, url, time.time)
        with pytest.raises(MedicError):
            await client.one_value("up")
        assert await client.scrape_seconds("alpha") == USUAL_SCRAPE_SECONDS


async def test_an_answer_without_end_is_cut_off(session: aiohttp.ClientSession) -> None:
    async for url in answering(b"x" * (5 * 1024 * 1024)):
        with pytest.raises(PermanentError, match="more than"):
            await Prometheus(session, url, time.time).one_value("up")


async def test_a_redirect_is_not_followed(session: aiohttp.ClientSession) -> None:
    async for url in answering(b"", 302, {"Location": "http://127.0.0.1:1/"}):
        with pytest.raises(PermanentError, match="answered 302 without JSON"):
            await Prometheus(session, url, time.time).one_value("up")


async def test_facts_are_fresh_only_where_prometheus_says_so(world: World, client: Prometheus) -> None:
    assert await client.is_fresh("alpha", 30.0)
    world.prometheus.vitals["alpha"].fresh = False
    assert not await client.is_fresh("alpha", 30.0)
    assert await client.is_fresh("beta", 30.0)
    world.prometheus.broken = True
    assert not await client.is_fresh("beta", 30.0)
