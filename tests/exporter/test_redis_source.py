"""Sessions and cache entries counted in real Redis servers: one, behind sentinels, in a cluster, under TLS."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

import pytest
import redis
import trustme
from aiohttp import ClientSession

from exporter import metrics
from exporter.app import Running, running
from exporter.facts import ServerFacts
from exporter.merging import received
from exporter.quantities import Admitted
from exporter.readings import RedisFacts, RedisReading, SourceName
from exporter.series import redis as series
from exporter.settings import Settings
from exporter.snapshot import Snapshot
from exporter.sources import redis_census
from exporter.sources.redis_census import INTERVAL_SECONDS, RETRY_SECONDS, RedisCensus
from exporter.sources.redis_nodes import Nodes
from exporter.sources.telemetry import understood
from exporter.vitals import vitals
from fleet.inventory import Fleet, Server, ServerName
from fleet.loading import load_fleet
from fleet.redis_address import parse_redis_url
from fleet.telemetry import Sessions
from tests.exporter.fleets import Scrape, body, codex, make_fleet, parsed, value
from tests.redis_servers import PASSWORD, READY_SECONDS, RedisServer, start_redis

SESSIONS, CACHE = "mcp:session:*", "mcp:cache:*"
Patterns = Mapping[str, tuple[str | None, str | None]]
DEFAULT: Final[Patterns] = {"codex": (SESSIONS, CACHE)}


class Counting:
    """A census of one Redis for servers with these patterns, and what it told the snapshot."""

    def __init__(self, folder: Path, url: str, patterns: Patterns = DEFAULT, answer_seconds: float = 5.0) -> None:
        given = dict(patterns)
        configured = make_fleet(folder, servers=tuple(given)).servers
        servers: dict[ServerName, Server] = {
            name: replace(configured[name], sessions_pattern=given[name][0], cache_pattern=given[name][1])
            for name in configured
        }
        self.snapshot = Snapshot(servers, [])
        address = parse_redis_url(url)
        nodes = Nodes(address, answer_seconds)
        self.census = RedisCensus(address, servers.values(), self.snapshot, nodes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.census.close()

    def reading(self, server: str = "codex") -> RedisReading:
        found = self.snapshot.server(ServerName(server)).readings[SourceName.REDIS]
        assert isinstance(found, RedisReading)
        return found

    def problem(self, server: str = "codex") -> str:
        return self.snapshot.server(ServerName(server)).states[SourceName.REDIS].problem

    @property
    def facts(self) -> RedisFacts:
        facts = self.snapshot.facts(time.monotonic()).redis
        assert facts is not None
        return facts

    async def counted(self, server: str = "codex") -> tuple[int | None, int | None]:
        await self.census.count_once()
        assert self.problem(server) == ""
        return self.reading(server).sessions, self.reading(server).cache_entries


def fill(client: redis.Redis, sessions: int, cache: int = 0, others: int = 0, ttl: int | None = 600) -> None:
    with client:
        pipeline = client.pipeline(transaction=False)
        for kind, count in (("mcp:session", sessions), ("mcp:cache", cache), ("something:else", others)):
            for number in range(count):
                pipeline.set(f"{kind}:{number}", b"x", ex=ttl)
        pipeline.execute()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


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


@contextmanager
def tls_redis(folder: Path) -> Iterator[tuple[RedisServer, Path]]:
    """A Redis that speaks TLS and wants a client's certificate, and the folder with the certificates."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, certificate in (("server", authority.issue_cert("127.0.0.1")), ("client", authority.issue_cert("medic"))):
        certificate.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        certificate.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
    server = start_redis(
        folder, "--tls-cert-file", str(folder / "server.pem"), "--tls-key-file", str(folder / "server.key"),
        "--tls-ca-cert-file", str(folder / "ca.pem"),
    )  # fmt: skip
    try:
        yield server, folder
    finally:
        server.stop()


async def test_under_tls_with_a_client_certificate(tmp_path: Path, short_folder: Path) -> None:
    with tls_redis(short_folder) as (server, files):
        fill(server.client(), sessions=9)
        place = f"rediss://127.0.0.1:{server.port}/0?ssl_ca_certs={files}/ca.pem"
        url = f"{place}&ssl_certfile={files}/client.pem&ssl_keyfile={files}/client.key"
        async with Counting(tmp_path, url) as counting:
            assert await counting.counted() == (9, 0)
        for refused in (place, f"rediss://127.0.0.1:{server.port}/0", f"redis://127.0.0.1:{server.port}/0"):
            async with Counting(tmp_path, refused) as counting:
                await counting.census.count_once()
                assert f"127.0.0.1:{server.port}: " in counting.problem()
                assert not counting.facts.up


def sentinel_of(folder: Path, watched: RedisServer, password: str | None = None) -> RedisServer:
    """A sentinel that fails over within a second; its quorum is itself."""
    folder.mkdir()
    (folder / "sentinel.conf").write_text(
        f"sentinel monitor mymaster 127.0.0.1 {watched.port} 1\n"
        "sentinel down-after-milliseconds mymaster 300\n"
        "sentinel failover-timeout mymaster 3000\n"
    )
    return start_redis(folder, sentinel=True, password=password)


async def test_behind_sentinels_the_one_that_takes_over_is_counted(tmp_path: Path, short_folder: Path) -> None:
    with ExitStack() as stack:
        first = start_redis(short_folder / "1")
        stack.callback(first.stop)
        second = start_redis(short_folder / "2", "--replicaof", "127.0.0.1", str(first.port))
        stack.callback(second.stop)
        sentinel = sentinel_of(short_folder / "s", first)
        stack.callback(sentinel.stop)
        fill(first.client(), sessions=11)
        replica = stack.enter_context(second.client())
        until(lambda: replica.dbsize() == 11, "the replica has the keys")
        asked = stack.enter_context(sentinel.client())
        until(lambda: asked.sentinel_slaves("mymaster") != [], "the sentinel knows the replica")
        # The first of the two sentinels does not exist.
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/mymaster/0"
        async with Counting(tmp_path, url) as counting:
            assert await counting.counted() == (11, 0)
            assert list(counting.facts.nodes) == [f"127.0.0.1:{first.port}"]
            first.stop()
            await counting.census.count_once()
            deadline = time.monotonic() + READY_SECONDS
            while counting.problem():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
                await counting.census.count_once()
            assert list(counting.facts.nodes) == [f"127.0.0.1:{second.port}"]
            assert counting.reading().sessions == 11


async def test_sentinels_that_know_no_such_service(
    tmp_path: Path, redis_server: RedisServer, short_folder: Path
) -> None:
    sentinel = sentinel_of(short_folder / "s", redis_server)
    try:
        async with Counting(tmp_path, f"redis+sentinel://127.0.0.1:{sentinel.port}/another") as counting:
            await counting.census.count_once()
            assert counting.problem() == (
                f"no sentinel says where another is: 127.0.0.1:{sentinel.port} knows no service another"
            )
    finally:
        sentinel.stop()


async def test_a_sentinel_that_asks_for_the_password(tmp_path: Path, short_folder: Path) -> None:
    with ExitStack() as stack:
        server = start_redis(short_folder / "1", password=PASSWORD)
        stack.callback(server.stop)
        fill(server.client(), sessions=6)
        sentinel = sentinel_of(short_folder / "s", server, PASSWORD)
        stack.callback(sentinel.stop)
        place = f"127.0.0.1:{sentinel.port}/mymaster"
        async with Counting(tmp_path, f"redis+sentinel://:{PASSWORD}@{place}") as counting:
            assert await counting.counted() == (6, 0)
        async with Counting(tmp_path, f"redis+sentinel://:wrong@{place}") as counting:
            await counting.census.count_once()
            assert "it refuses the user or the password" in counting.problem()
            assert "wrong" not in counting.problem()


@contextmanager
def cluster(folder: Path) -> Iterator[list[RedisServer]]:
    """Three nodes that serve all slots between them."""
    options = "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"
    with ExitStack() as stack:
        nodes: list[RedisServer] = []
        for number in range(3):
            # The bus of a node listens 10000 ports above it.
            nodes.append(start_redis(folder / str(number), *options))
            stack.callback(nodes[-1].stop)
        clients = [stack.enter_context(node.client()) for node in nodes]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER ADDSLOTSRANGE", 16384 * number // 3, 16384 * (number + 1) // 3 - 1)
            client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        until(lambda: all(c.cluster("info")["cluster_state"] == "ok" for c in clients), "the cluster serves all slots")
        until(lambda: all(len(c.cluster("slots")) == 3 for c in clients), "each node knows all three")
        yield nodes


async def test_every_node_of_a_cluster_is_counted(tmp_path: Path, short_folder: Path) -> None:
    with cluster(short_folder) as nodes:
        with redis.RedisCluster("127.0.0.1", nodes[0].port) as client:
            for number in range(600):
                client.set(f"mcp:session:{number}", b"", ex=600)
            for number in range(50):
                client.set(f"mcp:cache:{number}", b"")
        places = {f"127.0.0.1:{node.port}" for node in nodes}
        async with Counting(tmp_path, f"redis+cluster://127.0.0.1:1,127.0.0.1:{nodes[1].port}") as counting:
            assert await counting.counted() == (600, 50)
            assert set(counting.facts.nodes) == places
            assert counting.reading().sessions_checked > 100
            assert counting.reading().sessions_without_ttl == 0
        # One node's own address leads to its neighbours: it would only have redirected to them.
        async with Counting(tmp_path, nodes[2].url) as counting:
            assert await counting.counted() == (600, 50)
            assert set(counting.facts.nodes) == places
            nodes[0].stop()
            await counting.census.count_once()
            assert counting.problem()
            assert not counting.facts.up
            assert counting.reading().sessions == 600  # with its age


async def test_a_cluster_that_misses_slots_is_no_whole(tmp_path: Path, short_folder: Path) -> None:
    node = start_redis(short_folder, "--cluster-enabled", "yes")
    try:
        with node.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 99)
        async with Counting(tmp_path, f"redis+cluster://127.0.0.1:{node.port}") as counting:
            await counting.census.count_once()
            assert "the cluster serves 100 of 16384 slots: keys are missing" in counting.problem()
    finally:
        node.stop()


async def test_a_redis_that_is_no_cluster(tmp_path: Path, redis_server: RedisServer) -> None:
    async with Counting(tmp_path, f"redis+cluster://127.0.0.1:{redis_server.port}") as counting:
        await counting.census.count_once()
        assert "cluster support disabled" in counting.problem()


async def test_down_is_said_once_and_up_again_too(
    tmp_path: Path, short_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = start_redis(short_folder)
    fill(server.client(), sessions=4)
    async with Counting(tmp_path, server.url, {"a": (SESSIONS, None), "b": (SESSIONS, None)}) as counting:
        assert await counting.counted("a") == (4, None)
        server.stop()
        for _ in range(3):
            assert await counting.census.count_once() == RETRY_SECONDS
        for name in ("a", "b"):
            assert counting.problem(name).startswith(f"127.0.0.1:{server.port}: it cannot be reached: ")
            assert counting.reading(name).sessions == 4
        assert [record.message for record in caplog.records if "redis" in record.message] == ["redis failed"]
        again = start_redis(short_folder, port=server.port)
        try:
            assert await counting.counted("b") == (0, None)
        finally:
            again.stop()
        said = [record.message for record in caplog.records if record.levelno >= logging.INFO]
        assert [text for text in said if "works again" in text] == ["redis works again"]


async def test_a_redis_that_stalls_is_given_up(tmp_path: Path) -> None:
    """A listener that takes the connection and the command, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with Counting(tmp_path, f"redis://127.0.0.1:{port}", answer_seconds=0.2) as counting:
            await counting.census.count_once()
            assert counting.problem() == f"127.0.0.1:{port}: no answer within 0.2 s"


async def test_a_redis_that_stops_in_the_middle_of_a_scan(tmp_path: Path, redis_server: RedisServer) -> None:
    fill(redis_server.client(), sessions=3000)
    async with Counting(tmp_path, redis_server.url, answer_seconds=0.3) as counting:
        assert await counting.counted() == (3000, 0)
        with redis_server.client() as client:
            client.execute_command("CLIENT PAUSE", 60_000, "ALL")
            await counting.census.count_once()
            assert counting.problem().endswith("no answer within 0.3 s")
            assert counting.reading().sessions == 3000


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_a_wrong_password_is_named_and_never_shown(
    tmp_path: Path, short_folder: Path, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    server = start_redis(short_folder, password=PASSWORD)
    try:
        fill(server.client(), sessions=2)
        user = f":{password}@" if password else ""
        async with Counting(tmp_path, f"redis://{user}127.0.0.1:{server.port}") as counting:
            await counting.census.count_once()
            assert counting.problem() == (
                f"127.0.0.1:{server.port}: it refuses the user or the password. Mend them in redis.url"
            )
        async with Counting(tmp_path, server.url) as counting:
            assert await counting.counted() == (2, 0)
        assert PASSWORD not in caplog.text
        assert "wrong" not in caplog.text
    finally:
        server.stop()


async def test_a_user_who_may_not_scan_is_told_what_to_allow(tmp_path: Path, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL SETUSER medic on >secret ~* +ping +info")
        async with Counting(tmp_path, f"redis://medic:secret@127.0.0.1:{redis_server.port}") as counting:
            await counting.census.count_once()
            assert "Allow the user +scan, +info, +ttl and +ping" in counting.problem()
            assert "secret" not in counting.problem()
            client.execute_command("ACL SETUSER medic +scan +ttl")
            assert await counting.counted() == (0, 0)


async def test_something_else_listens_there(tmp_path: Path) -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        async with Counting(tmp_path, f"redis://127.0.0.1:{listening.getsockname()[1]}") as counting:
            await counting.census.count_once()
            assert counting.problem()
        thread.join()


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
