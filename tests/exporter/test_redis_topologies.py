"""Sessions counted under TLS, behind sentinels and in a cluster: real servers each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
import trustme

from tests.exporter.redis_counting import Counting, fill, until
from tests.redis_servers import PASSWORD, READY_SECONDS, RedisServer, start_redis


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
