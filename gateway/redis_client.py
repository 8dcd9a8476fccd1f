"""A client of the Redis that fleet.yml names, whichever way it is found. Connects with its first command."""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from fleet.redis_address import RedisAddress, RedisKind

SOCKET_SECONDS: Final = 2.0
"""Whoever must not wait that long sets a limit of his own."""

Client = Redis | RedisCluster


def redis_client(address: RedisAddress) -> Client:
    """The client; ``aclose`` it. Nothing is tried twice in here: whoever asks knows whether to ask again."""
    common: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if address.kind is RedisKind.UNIX:
        return Redis(unix_socket_path=address.path, db=address.database, **common)
    if address.tls:
        common |= {"ssl": True, **_files(address)}
    if address.kind is RedisKind.CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, **common)
    if address.kind is RedisKind.SENTINEL:
        own: dict[str, Any] = {"socket_timeout": SOCKET_SECONDS, "socket_connect_timeout": SOCKET_SECONDS}
        if address.tls:
            own |= {"ssl": True, **_files(address)}
        sentinel = Sentinel(address.hosts, sentinel_kwargs=own, db=address.database, **common)  # type: ignore[no-untyped-call]
        found: Redis = sentinel.master_for(address.service)
        return found
    ((host, port),) = address.hosts
    return Redis(host=host, port=port, db=address.database, **common)


def _files(address: RedisAddress) -> dict[str, str]:
    files = {name: getattr(address, name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
    return {name: path for name, path in files.items() if path}
