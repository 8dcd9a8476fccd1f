"""Whether the fleet's Redis answers PING, whichever way it is found."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from console.diagnosing import checks
from fleet.redis_address import RedisAddress, RedisKind, parse_redis_url

if TYPE_CHECKING:
    from console.diagnosing.checks import Check

NAME: Final = "Redis"
PING_SECONDS: Final = 5.0

_SHOWN: Final = 200


async def ping(url: str) -> Check:
    """PING once. What is said names the address and never the password."""
    if not url:
        return checks.skipped(NAME, "fleet.yml names none")
    address = parse_redis_url(url)
    where = place(address)
    started = time.monotonic()
    try:
        async with asyncio.timeout(PING_SECONDS):
            await _ping(address)
    except (AuthenticationError, NoPermissionError):
        return checks.failed(NAME, f"{where} refuses the user or the password", "Correct redis.url")
    except TimeoutError:
        return _away(where, f"no answer within {PING_SECONDS:g} s", address)
    except (RedisError, OSError) as error:
        return _away(where, _said(error, address), address)
    return checks.passed(NAME, f"{where} answers PONG", time.monotonic() - started)


def place(address: RedisAddress) -> str:
    """Where it is, without user and password."""
    if address.kind is RedisKind.UNIX:
        return address.path
    hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in address.hosts)
    return f"{hosts}/{address.service}" if address.service else hosts


def typed(address: RedisAddress) -> str:
    """What a person types to ask it too."""
    if address.kind is RedisKind.UNIX:
        return f"redis-cli -s {address.path} ping"
    host, port = address.hosts[0]
    return f"redis-cli -h {host} -p {port}{' --tls' if address.tls else ''} ping"


def _away(where: str, why: str, address: RedisAddress) -> Check:
    return checks.unreachable(NAME, f"{where}: {why}", f"Start it, or correct redis.url; ask it: {typed(address)}")


def _said(error: Exception, address: RedisAddress) -> str:
    text = " ".join((str(error) or type(error).__name__).split())[:_SHOWN]
    return text.replace(address.password, "<secret>") if address.password else text


async def _ping(address: RedisAddress) -> None:
    common: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "socket_timeout": PING_SECONDS,
        "socket_connect_timeout": PING_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    tls = {"ssl": True, **_files(address)} if address.tls else {}
    if address.kind is RedisKind.SENTINEL:
        await _ping_watched(address, common, tls)
        return
    async with _client(address, {**common, **tls}) as client:
        await client.ping()


def _client(address: RedisAddress, options: dict[str, Any]) -> Redis | RedisCluster:
    if address.kind is RedisKind.UNIX:
        return Redis(unix_socket_path=address.path, db=address.database, **options)
    if address.kind is RedisKind.CLUSTER:
        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in address.hosts], **options)
    ((host, port),) = address.hosts
    return Redis(host=host, port=port, db=address.database, **options)


async def _ping_watched(address: RedisAddress, common: dict[str, Any], tls: dict[str, Any]) -> None:
    own = {"socket_timeout": PING_SECONDS, "socket_connect_timeout": PING_SECONDS, **tls}
    sentinel = Sentinel(address.hosts, sentinel_kwargs=own, db=address.database, **common, **tls)  # type: ignore[no-untyped-call]
    try:
        async with sentinel.master_for(address.service) as client:
            await client.ping()
    finally:
        for each in sentinel.sentinels:
            await each.aclose()


def _files(address: RedisAddress) -> dict[str, str]:
    files = {name: getattr(address, name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
    return {name: path for name, path in files.items() if path}
