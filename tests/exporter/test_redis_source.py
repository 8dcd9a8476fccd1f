"""Sessions and cache entries counted in a real Redis, and what a scrape shows of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from exporter import metrics
from exporter.app import Running, running
from exporter.facts import ServerFacts
from exporter.merging import received
from exporter.quantities import Admitted
from exporter.readings import RedisReading, SourceName
from exporter.series import redis as series
from exporter.settings import Settings
from exporter.sources import redis_census
from exporter.sources.redis_census import INTERVAL_SECONDS
from exporter.sources.telemetry import understood
from exporter.vitals import vitals
from fleet.inventory import Fleet
from fleet.loading import load_fleet
from fleet.telemetry import Sessions
from tests.exporter.fleets import Scrape, body, codex, parsed, value
from tests.exporter.redis_counting import CACHE, SESSIONS, Counting, Patterns, fill
from tests.redis_servers import READY_SECONDS, RedisServer


async def test_keys_are_counted_by_pattern(tmp_path: Path, redis_server: RedisServer) -> None:
    fill(redis_server.client(), sessions=12, cache=3000, others=4000)
    async with Counting(tmp_path, redis_server.url) as counting:
        assert await counting.counted() == (12, 3000)
        assert counting.facts.up
        [name] = counting.facts.nodes
        assert name == f"127.0.0.1:{redis_server.port}"
        assert counting.facts.nodes[name].memory_used_bytes > 100_000
        assert counting.facts.nodes[name].memory_max_bytes == 0
        assert counting.facts.nodes[name].ping_seconds > 0


async def test_several_servers_share_one_scan(tmp_path: Path, redis_server: RedisServer) -> None:
    fill(redis_server.client(), sessions=20, cache=5, others=2000)
    patterns: Patterns = {"a": (SESSIONS, None), "b": ("mcp:session:1*", CACHE), "c": (SESSIONS, "none:*")}
    async with Counting(tmp_path, redis_server.url, patterns) as counting:
        assert await counting.counted("a") == (20, None)
        assert await counting.counted("b") == (11, 5)
        with redis_server.client() as client:
            client.config_resetstat()
            assert await counting.counted("c") == (20, 0)
            commands = client.info("commandstats")
            scans, clients = commands["cmdstat_scan"]["calls"], len(client.client_list())
    assert scans <= 5  # 2025 keys in pages of about a thousand, once and not once for each pattern
    assert clients == 2  # the census' one, and this one
    assert "cmdstat_keys" not in commands


async def test_session_keys_that_never_expire_are_seen(tmp_path: Path, redis_server: RedisServer) -> None:
    async with Counting(tmp_path, redis_server.url) as counting:
        await counting.counted()
        assert counting.reading().sessions_checked == 0
        fill(redis_server.client(), sessions=30)
        await counting.counted()
        checked = counting.reading().sessions_checked
        assert checked > 10
        assert counting.reading().sessions_without_ttl == 0
        fill(redis_server.client(), sessions=30, ttl=None)
        await counting.counted()
        assert counting.reading().sessions_without_ttl == checked


async def test_evictions_and_the_limit_are_shown(tmp_path: Path, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", 3_000_000)
        for number in range(60):
            client.set(f"mcp:cache:{number}", b"x" * 100_000)
    async with Counting(tmp_path, redis_server.url) as counting:
        await counting.counted()
        [node] = counting.facts.nodes.values()
        assert node.memory_max_bytes == 3_000_000
        assert node.evicted_keys > 20


async def test_the_rest_grows_with_what_a_scan_takes(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(redis_server.client(), sessions=5000)
    async with Counting(tmp_path, redis_server.url) as counting:
        assert await counting.census.count_once() >= INTERVAL_SECONDS
        monkeypatch.setattr(redis_census, "SHARE", 1e-6)
        rest = await counting.census.count_once()
        assert rest == counting.facts.scan_seconds / 1e-6
        assert counting.reading().refresh_seconds == rest


async def test_what_lives_throughout_is_counted_exactly_under_churn(tmp_path: Path, redis_server: RedisServer) -> None:
    """Sessions that come and go while Redis resizes its table: never more than lived, never fewer than stayed."""
    steady, waves = 20_000, 8_000
    fill(redis_server.client(), sessions=steady)
    stop = threading.Event()

    def churn() -> None:
        with redis_server.client() as client:
            while not stop.is_set():
                names = [f"mcp:session:wave:{number}" for number in range(waves)]
                for start in range(0, waves, 1000):
                    client.mset(dict.fromkeys(names[start : start + 1000], b""))
                for start in range(0, waves, 1000):
                    client.delete(*names[start : start + 1000])

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        async with Counting(tmp_path, redis_server.url) as counting:
            for _ in range(8):
                sessions, _ = await counting.counted()
                assert sessions is not None
                assert steady <= sessions <= steady + waves
    finally:
        stop.set()
        thread.join()


async def test_through_a_unix_socket_and_from_another_database(tmp_path: Path, redis_server: RedisServer) -> None:
    fill(redis_server.client(db=3), sessions=7)
    async with Counting(tmp_path, f"unix://{redis_server.unix_socket}?db=3") as counting:
        assert await counting.counted() == (7, 0)
        assert list(counting.facts.nodes) == [f"unix:{redis_server.unix_socket}"]
    async with Counting(tmp_path, f"redis://127.0.0.1:{redis_server.port}/2") as counting:
        assert await counting.counted() == (0, 0)


def fleet_with_redis(folder: Path, url: str) -> Fleet:
    file = folder / "fleet.yml"
    file.write_text(
        f"redis: {{url: '{url}'}}\n"
        "servers:\n"
        "  - {name: codex, transport: http, url: http://127.0.0.1:1/mcp, "
        "sessions: {redis_pattern: 'mcp:session:*'}, cache: {redis_pattern: 'mcp:cache:*'}}\n"
        "  - {name: other, transport: http, url: http://127.0.0.1:1/mcp}\n"
    )
    return load_fleet(file, {})


async def scraped(exporter: Running, ready: Callable[[Scrape], bool]) -> Scrape:
    deadline = time.monotonic() + READY_SECONDS
    async with ClientSession(exporter.address.url) as client:
        while True:
            async with client.get("/metrics") as answer:
                scrape = parsed(await answer.text())
            if ready(scrape):
                return scrape
            assert time.monotonic() < deadline, "never seen in a scrape"
            await asyncio.sleep(0.05)


def source_works(scrape: Scrape) -> float | None:
    return value(scrape, "mcp_exporter_source_success", {"source": "redis"})


async def test_an_exporter_shows_what_redis_holds(
    tmp_path: Path, redis_server: RedisServer, settings: Settings
) -> None:
    fill(redis_server.client(), sessions=14, cache=3, ttl=None)
    async with running(fleet_with_redis(tmp_path, redis_server.url), settings) as exporter:
        scrape = await scraped(exporter, lambda seen: source_works(seen) == 1.0)
    assert value(scrape, "mcp_server_sessions") == 14
    assert value(scrape, "mcp_server_cache_entries") == 3
    assert value(scrape, "mcp_server_security_check", {"check": "session_expiry"}) == 0
    assert value(scrape, "mcp_server_sessions", server="other") is None
    assert value(scrape, "mcp_exporter_source_success", {"source": "redis"}, server="other") is None
    age = value(scrape, "mcp_exporter_source_age_seconds", {"source": "redis"})
    assert age is not None
    assert 0 <= age < READY_SECONDS
    assert scrape["mcp_exporter_redis_up", frozenset()] == 1
    node = frozenset({("node", f"127.0.0.1:{redis_server.port}")})
    assert scrape["mcp_exporter_redis_memory_used_bytes", node] > 100_000


async def test_an_exporter_without_its_redis_shows_everything_else(tmp_path: Path, settings: Settings) -> None:
    async with running(fleet_with_redis(tmp_path, "redis://127.0.0.1:1"), settings) as exporter:
        scrape = await scraped(exporter, lambda seen: source_works(seen) is not None)
    assert source_works(scrape) == 0
    assert value(scrape, "mcp_server_up") == 1
    assert value(scrape, "mcp_server_sessions") is None
    assert scrape["mcp_exporter_redis_up", frozenset()] == 0


def test_counts_are_shown_until_they_are_too_old() -> None:
    reading = RedisReading(measured_at=100.0, refresh_seconds=20.0, sessions=5)
    sessions, entries = metrics.SESSIONS.series(), metrics.CACHE_ENTRIES.series()
    assert series.samples(reading, 110.0) == {sessions: 5.0}
    assert series.samples(replace(reading, cache_entries=0), 199.0) == {sessions: 5.0, entries: 0.0}
    assert series.samples(reading, 201.0) == {}
    assert series.samples(None, 0.0) == {}
    assert series.sessions_without_expiry(None) is None
    assert series.sessions_without_expiry(reading) is None
    assert series.sessions_without_expiry(replace(reading, sessions_checked=9, sessions_without_ttl=2)) == 2


def test_what_redis_counts_goes_before_what_a_gateway_says(tmp_path: Path) -> None:
    server = replace(codex(tmp_path), sessions_pattern=SESSIONS)
    held, _ = received(ServerFacts().held, understood(body(sessions=Sessions(active=3)), Admitted()), 100.0)
    counted = RedisReading(measured_at=99.0, refresh_seconds=5.0, sessions=8)
    assert vitals(server, ServerFacts(held=held), 100.0).samples[metrics.SESSIONS.series()] == 3
    known = ServerFacts(held=held, readings={SourceName.REDIS: counted})
    assert vitals(server, known, 100.0).samples[metrics.SESSIONS.series()] == 8
