"""The fleet's Redis: how many session keys there are, and which of them live for ever.

Only keys and their times to live are looked at, never what is in them, and a bounded number of each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import redis.exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fleet.errors import PermanentError, UnreachableError
from fleet.redis_address import RedisAddress, RedisKind, parse_redis_url

MOST_KEYS: Final = 10_000
WITHIN_SECONDS: Final = 10.0
_BATCH: Final = 500
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Keys:
    """What a pattern found: how many keys, how many of them have no time to live; ``all`` False where it stopped."""

    count: int
    without_ttl: int
    all: bool


def where(url: str) -> str:
    """As ``shown``, of a URL that fleet.yml was read with."""
    return shown(parse_redis_url(url))


def shown(address: RedisAddress) -> str:
    """Where it is, without user and password."""
    if address.kind is RedisKind.UNIX:
        return address.path
    return ",".join(f"{host}:{port}" for host, port in address.hosts)


async def session_keys(url: str, pattern: str) -> Keys:
    """The keys that match ``pattern``, ``MOST_KEYS`` at most.

    Raises:
        UnreachableError: no answer; names the address and never the password.
        PermanentError: Redis refused, as without the right to SCAN.
    """
    address = parse_redis_url(url)
    try:
        async with asyncio.timeout(WITHIN_SECONDS), connected(address) as client:
            return await _counted(client, pattern)
    except (TimeoutError, redis.exceptions.TimeoutError) as error:
        raise UnreachableError(f"Redis at {shown(address)} did not answer within {WITHIN_SECONDS:g} s") from error
    except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError) as error:
        raise PermanentError(f"Redis at {shown(address)} refused: {_said(error, address)}") from error
    except (RedisError, OSError) as error:
        raise UnreachableError(f"Redis at {shown(address)} cannot be reached: {_said(error, address)}") from error


def _said(error: Exception, address: RedisAddress) -> str:
    text = " ".join((str(error) or type(error).__name__).split())[:_SHOWN]
    return text.replace(address.password, "<secret>") if address.password else text


async def _counted(client: Redis | RedisCluster, pattern: str) -> Keys:
    count = without = 0
    batch: list[bytes] = []
    async for key in client.scan_iter(match=pattern, count=_BATCH):
        if count + len(batch) >= MOST_KEYS:
            return Keys(count + len(batch), without + await _everlasting(client, batch), all=False)
        batch.append(key)
        if len(batch) >= _BATCH:
            without += await _everlasting(client, batch)
            count += len(batch)
            batch = []
    return Keys(count + len(batch), without + await _everlasting(client, batch), all=True)


async def _everlasting(client: Redis | RedisCluster, keys: list[bytes]) -> int:
    """How many of ``keys`` live for ever; one that is gone by now does not."""
    if isinstance(client, RedisCluster):
        return sum([await client.ttl(key) == -1 for key in keys])
    async with client.pipeline(transaction=False) as together:
        for key in keys:
            together.ttl(key)
        return sum(left == -1 for left in await together.execute()) if keys else 0


@asynccontextmanager
async def connected(address: RedisAddress, within: float = WITHIN_SECONDS) -> AsyncIterator[Redis | RedisCluster]:
    """A client of the Redis that serves there, however it is found; each step takes ``within`` seconds at most."""
    waiting = {"socket_timeout": within, "socket_connect_timeout": within}
    tls = _tls(address)
    options: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **waiting,
        **tls,
    }
    if address.kind is RedisKind.SENTINEL:
        sentinel = Sentinel(address.hosts, sentinel_kwargs={**waiting, **tls}, db=address.database, **options)  # type: ignore[no-untyped-call]  # redis' own
        try:
            async with sentinel.master_for(address.service) as client:
                yield client
        finally:
            for each in sentinel.sentinels:
                await each.aclose()
        return
    async with _client(address, options) as client:
        yield client


def _client(address: RedisAddress, options: dict[str, Any]) -> Redis | RedisCluster:
    if address.kind is RedisKind.CLUSTER:
        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in address.hosts], **options)
    if address.kind is RedisKind.UNIX:
        return Redis(unix_socket_path=address.path, db=address.database, **options)
    ((host, port),) = address.hosts
    return Redis(host=host, port=port, db=address.database, **options)


def _tls(address: RedisAddress) -> dict[str, Any]:
    if not address.tls:
        return {}
    files = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    return {"ssl": True} | {name: getattr(address, name) for name in files if getattr(address, name)}
