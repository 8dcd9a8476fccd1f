"""The cache that gateways share in a real Redis: what crosses, what does not, and what if Redis does not answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fleet.tasks import Tasks
from gateway import sharing
from gateway.answers import Stored, pack, unpack
from gateway.app import Gateway
from gateway.generations import BUCKETS, Change, Stale, bucket, change, fell, generation, raised
from gateway.liveness import USER_AGENT
from gateway.questions import Question
from gateway.spans import Span
from tests.gateway.peers import Exporter, fleet, listening, running, server, tuned, until, until_so
from tests.redis_servers import RedisServer, start_redis

MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not a Redis that is away."""
    monkeypatch.setattr(sharing, "FIND_SECONDS", 1.0)


# ---- counters instead of searches

METHODS = st.sampled_from(["tools/list", "tools/call", "resources/read", "resources/list"])
URIS = st.sampled_from(["", "file:///a", "file:///b", "file:///c"])
STALES = st.builds(Stale, st.none() | st.frozensets(METHODS, min_size=1, max_size=3), st.just("")) | st.builds(
    Stale, st.just(frozenset({"resources/read"})), URIS
)


def asked(method: str, uri: str) -> Question:
    uri = uri if method == "resources/read" else ""
    return Question(method, uri, b"1", modern=True, of_tool=False, shared=b"s", private=b"p", session=b"")


def concerns(stale: Stale, question: Question) -> bool:
    """By the words of ``Stale``, without counters."""
    if stale.methods is None:
        return True
    same_resource = not stale.uri or bucket(stale.uri) == bucket(question.uri)
    return question.method in stale.methods and same_resource


@given(st.lists(STALES, max_size=6), METHODS, URIS)
def test_what_became_stale_is_found_nowhere_and_the_rest_still_is(stales: list[Stale], method: str, uri: str) -> None:
    question, before = asked(method, uri), {"epoch": "e", "tools/list": "4"}
    after = dict(before)
    for stale in stales:
        after = dict(raised(after, stale.counters))
    touched = any(concerns(stale, question) for stale in stales)
    assert (generation(before, question) != generation(after, question)) is touched
    found = change(before, after)
    assert found.touches(question) is touched
    assert bool(found) is bool(stales)
    assert not fell(before, after)


COUNTERS = st.dictionaries(st.sampled_from(["epoch", "all", "tools/list", "resources/read#0a"]), st.text(max_size=4))


@given(COUNTERS, COUNTERS, METHODS, URIS)
def test_whatever_stands_in_the_store_is_read(
    before: dict[str, str], after: dict[str, str], method: str, uri: str
) -> None:
    found = change(before, after)
    generation(after, asked(method, uri))
    if before.get("epoch") != after.get("epoch") or fell(before, after):
        assert found.everything
    if before == after:
        assert found == Change(everything=False, counters=frozenset())


@given(st.text(max_size=20))
def test_the_counters_are_bounded(uri: str) -> None:
    assert int(bucket(uri).partition("#")[2], 16) < BUCKETS


# ---- what lies there

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12)


@given(
    st.lists(st.tuples(TEXTS, TEXTS), max_size=3), st.binary(min_size=1, max_size=30), st.binary(max_size=9),
    st.none() | st.tuples(st.binary(min_size=1, max_size=9), st.floats(0, 1e9)), st.booleans(), st.floats(0.001, 1e9),
)  # fmt: skip
def test_an_answer_comes_out_as_it_went_in(
    headers: list[tuple[str, str]], identity: bytes, between: bytes,
    ttl: tuple[bytes, float] | None, public: bool, lifetime: float,
) -> None:  # fmt: skip
    body = b"{" + identity + between + (b"" if ttl is None else ttl[0]) + b"}"
    start = 1 + len(identity) + len(between)
    ttl_span = None if ttl is None else Span(start, start + len(ttl[0]))
    seconds = None if ttl is None else ttl[1]
    stored = Stored(tuple(headers), body, Span(1, 1 + len(identity)), ttl_span, seconds, public)
    assert unpack(pack(stored, lifetime)) == (stored, lifetime)


GOOD = pack(Stored((("A", "b"),), b'{"id":1}', Span(6, 7), None, None, public=False), 5.0)


@given(st.binary(max_size=80) | st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
    lambda at: GOOD[: at[0]] + bytes([at[1]]) + GOOD[at[0] + 1 :]
))  # fmt: skip
def test_what_somebody_else_wrote_there_does_no_harm(packed: bytes) -> None:
    read = unpack(packed)
    if read is not None:
        stored, lifetime = read
        assert lifetime > 0
        assert not any("\n" in text or "\r" in text for header in stored.headers for text in header)
        stored.for_request(b"7", 1.0)


# ---- gateways


class Upstream:
    """Counts what reaches it; ``scope`` and ``ttl`` go into its results."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.scope = "private"
        self.ttl = 60_000
        self.changed: str | None = None

    async def entry(self, given: web.BaseRequest) -> web.StreamResponse:
        if given.headers.get("User-Agent") == USER_AGENT:
            return web.Response(status=404)
        message = json.loads(await given.content.read())
        self.asked.append(message["method"])
        result = {"content": [], "serial": len(self.asked), "ttlMs": self.ttl, "cacheScope": self.scope}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        if message["method"] != "ping" or self.changed is None:
            return web.json_response(answer)
        notice = {"jsonrpc": "2.0", "method": self.changed}
        events = "".join(f"data: {json.dumps(each)}\n\n" for each in (notice, answer))
        return web.Response(text=events, content_type="text/event-stream")


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@asynccontextmanager
async def gateways(
    count: int, upstream: Upstream, folder: Path, exporter: Exporter, redis_url: str, *,
    usable: bool = True, **more: Any,
) -> AsyncIterator[list[Gateway]]:  # fmt: skip
    config = tuned(**{"enable_response_caching": True, "cache_ttl_seconds": 60.0, **more})
    async with listening(upstream.entry) as url, AsyncExitStack() as stack:
        found = []
        for number in range(count):
            given = server(url, config=config, cache_tools=frozenset({"echo"}))
            whole = replace(fleet(folder / str(number), exporter.url, given), redis_url=redis_url)
            gateway = await stack.enter_async_context(running(whole))
            gateway.services["demo"].vitals.tools.learn(["echo"], ["echo"])
            found.append(gateway)
        if usable:
            await until(lambda: all(shelf(each).has_time_for(asked("tools/list", "")) for each in found))
        yield found


def shelf(gateway: Gateway) -> sharing.Shelf:
    found = gateway.services["demo"].steering.shelf
    assert isinstance(found, sharing.Shelf)
    return found


async def ask(
    gateway: Gateway, method: str = "tools/list", *, headers: dict[str, str] | None = None, **params: Any
) -> int:
    """The serial of the answer: which call of the server it is."""
    return int((await result_of(gateway, method, headers=headers, **params))["serial"])


async def result_of(
    gateway: Gateway, method: str = "tools/list", *, headers: dict[str, str] | None = None, **params: Any
) -> dict[str, Any]:
    """The result of one call through this gateway."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": MODERN}}
    async with aiohttp.ClientSession() as client:
        url = f"{gateway.addresses['demo'].url}/mcp"
        async with client.post(url, json=message, headers=headers) as answered:
            assert answered.status == 200
            text = (await answered.text()).removeprefix("data: ")
            return dict(json.loads(text.split("data: ")[-1])["result"])


def entries(redis_server: RedisServer) -> list[bytes]:
    """The keys that hold answers. The test may search; the gateway never does."""
    with redis_server.client() as client:
        return [key for key in client.keys("mcp-medic:cache:*") if key.count(b":") > 3]


async def stored(redis_server: RedisServer, count: int) -> None:
    await until(lambda: len(entries(redis_server)) == count)


async def test_what_one_gateway_asked_the_others_know(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer
) -> None:
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        assert await ask(one) == 1
        await stored(redis_server, 1)
        assert await ask(two) == 1
        assert await ask(two, cursor="x") == 2
        assert upstream.asked == ["tools/list"] * 2
        figures = two.services["demo"].vitals.cache.figures
        assert (figures.requests, figures.hits, figures.entries) == (2, 1, 2)
        assert two.services["demo"].vitals.ledger.in_flight == 0
        assert await ask(two) == 1, "from its own memory now"
        assert sum(each.count for each in two.services["demo"].vitals.ledger.operations) == 1
    with redis_server.client() as client:
        used = client.info("commandstats")
        assert "cmdstat_scan" not in used
        assert used["cmdstat_keys"]["calls"] >= 1, "the test's own"
        for key in entries(redis_server):
            assert 0 < client.pttl(key) <= 60_000


async def test_only_public_answers_cross_authorizations_and_none_is_written(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer
) -> None:
    mine, yours = {"Authorization": "Bearer my-own-secret"}, {"Authorization": "Bearer another"}
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        assert await ask(one, headers=mine) == 1
        await stored(redis_server, 1)
        assert await ask(two, headers=yours) == 2
        assert await ask(two, headers=mine) == 1
        upstream.scope = "public"
        assert await ask(one, headers=mine, cursor="2") == 3
        await stored(redis_server, 3)
        assert await ask(two, headers=yours, cursor="2") == 3
    with redis_server.client() as client:
        everything = b"".join(key + (client.dump(key) or b"") for key in client.keys("*"))
    assert b"my-own-secret" not in everything
    assert b"another" not in everything


async def test_a_change_that_one_gateway_sees_is_stale_for_all(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer
) -> None:
    upstream.changed = "notifications/tools/list_changed"
    async with gateways(3, upstream, folder, exporter, redis_server.url) as (one, two, three):
        assert await ask(one) == 1
        assert await ask(one, "resources/list") == 2
        await stored(redis_server, 2)
        assert await ask(two) == 1
        assert await ask(two, "resources/list") == 2
        await ask(one, "ping")
        cache = two.services["demo"].vitals.cache
        await until(lambda: cache.figures.entries == 1)
        assert await ask(two) == 4
        await stored(redis_server, 3)
        await until(lambda: not shelf(three).owes)
        assert await ask(three) == 4
        assert await ask(three, "resources/list") == 2, "nothing was said of these"


async def test_a_reset_cache_is_reset_for_all(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer
) -> None:
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        assert await ask(one) == 1
        await stored(redis_server, 1)
        assert await ask(two) == 1
        one.services["demo"].vitals.forget_answers()
        await until(lambda: two.services["demo"].vitals.cache.figures.entries == 0)
        await stored(redis_server, 0)
        assert await ask(two) == 2


async def test_an_emptied_redis_empties_the_memories(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer
) -> None:
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        await ask(one)
        await stored(redis_server, 1)
        await ask(two)
        with redis_server.client() as client:
            client.flushall()
        for gateway in (one, two):
            cache = gateway.services["demo"].vitals.cache
            await until(lambda cache=cache: cache.figures.entries == 0)  # type: ignore[misc]
        assert await ask(one) == 2
        await stored(redis_server, 1)
        assert await ask(two) == 2


async def test_it_stays_within_its_bounds(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "MAX_ENTRIES", 3)
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        for page in range(3):
            await ask(one, cursor=str(page))
        await stored(redis_server, 3)
        assert await ask(two, cursor="0") == 1, "used last, so it stays"
        await until(lambda: not shelf(two).figures["waiting"])
        await asyncio.sleep(0.01)  # its use has a millisecond of its own
        for page in (3, 4):
            await ask(one, cursor=str(page))
            await until(lambda: not shelf(one).figures["waiting"])
        await stored(redis_server, 3)
        assert await ask(two, cursor="1") == 6, "unused for longest"
        monkeypatch.setattr(sharing, "MAX_BYTES", 1)
        await ask(one, cursor="big")
        await stored(redis_server, 0)
        with redis_server.client() as client:
            assert [client.hget(key, "total") for key in client.keys("*:sizes")] == [b"0"]


async def test_an_answer_ages_while_it_lies_there(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer
) -> None:
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        assert await ask(one) == 1
        await stored(redis_server, 1)
        with redis_server.client() as client:
            (key,) = entries(redis_server)
            await until(lambda: client.pttl(key) < upstream.ttl - 300)
            left = client.pttl(key)
        result = await result_of(two)
        assert result["serial"] == 1
        # What is left is rounded where it lies and where it is told.
        assert 0 < result["ttlMs"] <= left + 2

        upstream.ttl = 500
        assert await ask(one, cursor="x") == 2

        async def asked_anew() -> bool:
            return await ask(two, cursor="x") == 3

        await until_so(asked_anew)


async def test_a_private_answer_under_everybodys_key_is_not_given(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer
) -> None:
    upstream.scope = "public"
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        assert await ask(one) == 1
        await stored(redis_server, 1)
        with redis_server.client() as client:
            (key,) = entries(redis_server)
            packed = client.get(key)
            assert isinstance(packed, bytes)
            read = unpack(packed)
            assert read is not None
            client.set(key, pack(replace(read[0], public=False), 60.0), px=60_000)
        assert await ask(two) == 2


@pytest.mark.parametrize("trouble", ["stopped", "hangs"])
async def test_without_redis_each_gateway_has_its_memory_and_says_so_once(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer, trouble: str,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sharing, "FIRST_PAUSE_SECONDS", 0.1)
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        assert await ask(one) == 1
        await stored(redis_server, 1)
        if trouble == "stopped":
            redis_server.stop()
        else:
            os.kill(redis_server.process.pid, signal.SIGSTOP)
        try:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            for page in range(20):
                assert await ask(two, cursor=str(page)) == page + 2
            assert loop.time() - begun < 15, "nobody waits for it again and again"
            await until(lambda: not shelf(two).figures["usable"])
            assert await ask(two, cursor="0") == 2
            assert await ask(one) == 1
        finally:
            if trouble == "hangs":
                os.kill(redis_server.process.pid, signal.SIGCONT)
        said = [each for each in caplog.records if each.getMessage().startswith("the shared cache is away")]
        assert len(said) <= 2, "each gateway once"
        assert "Bearer" not in caplog.text
        stopped = trouble == "stopped"
        again = start_redis(redis_server.folder, port=redis_server.port) if stopped else redis_server
        try:
            await until(lambda: shelf(one).figures["usable"] and shelf(two).figures["usable"])
            await until(lambda: shelf(two).has_time_for(asked("tools/list", "")))
            await ask(one, cursor="new")
            serial = len(upstream.asked)
            await until(lambda: not shelf(one).figures["waiting"])
            assert await ask(two, cursor="new") == serial
        finally:
            again.stop()


async def test_a_change_that_came_while_redis_was_away_is_told_when_it_is_back(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "FIRST_PAUSE_SECONDS", 0.1)
    async with gateways(2, upstream, folder, exporter, redis_server.url) as (one, two):
        await ask(one)
        await stored(redis_server, 1)
        await ask(two)
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        try:
            await ask(one, cursor="finds out")
            one.services["demo"].vitals.forget_answers()
            assert shelf(one).owes
            assert await ask(one) == 3, "its own memory forgot at once"
        finally:
            os.kill(redis_server.process.pid, signal.SIGCONT)
        await until(lambda: two.services["demo"].vitals.cache.figures.entries == 0)
        assert not shelf(one).owes


async def test_without_redis_at_the_start_it_starts(upstream: Upstream, folder: Path, exporter: Exporter) -> None:
    url = "redis://:a-password@127.0.0.1:1"
    async with gateways(1, upstream, folder, exporter, url, usable=False) as (one,):
        assert [await ask(one), await ask(one)] == [1, 1]
        assert shelf(one).figures == {"usable": False, "waiting": 0, "dropped": 0}


async def test_a_find_in_redis_is_shared_by_those_who_joined(
    upstream: Upstream, folder: Path, exporter: Exporter, redis_server: RedisServer
) -> None:
    given = gateways(2, upstream, folder, exporter, redis_server.url, enable_request_batching=True, batch_size=100)
    async with given as (one, two):
        assert await ask(one) == 1
        await stored(redis_server, 1)
        tasks = Tasks("test")
        sent = [tasks.start_passing("ask", ask(two)) for _ in range(20)]
        assert {await each for each in sent} == {1}
        figures = two.services["demo"].vitals.cache.figures
        assert (figures.requests, figures.hits) == (20, 20)
        assert len(upstream.asked) == 1
        assert not two.services["demo"].vitals.flights._open


async def test_a_cluster_does_as_well(upstream: Upstream, folder: Path, exporter: Exporter, short_folder: Path) -> None:
    node = start_redis(short_folder / "node", "--cluster-enabled", "yes")
    try:
        with node.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            await until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        url = f"redis+cluster://127.0.0.1:{node.port}"
        async with gateways(2, upstream, folder, exporter, url) as (one, two):
            assert await ask(one) == 1
            await stored(node, 1)
            assert await ask(two) == 1
            one.services["demo"].vitals.forget_answers()
            await until(lambda: two.services["demo"].vitals.cache.figures.entries == 0)
            await stored(node, 0)
    finally:
        node.stop()
