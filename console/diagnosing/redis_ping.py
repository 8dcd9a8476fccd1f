"""Whether the fleet's Redis answers PING, whichever way it is found."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from console.diagnosing import checks
from console.services.redis import connected, said, shown
from fleet.redis_address import RedisAddress, RedisKind, parse_redis_url

if TYPE_CHECKING:
    from console.diagnosing.checks import Check

NAME: Final = "Redis"
PING_SECONDS: Final = 5.0


async def ping(url: str) -> Check:
    """PING once. What is said names the address and never the password."""
    if not url:
        return checks.skipped(NAME, "fleet.yml names none")
    address = parse_redis_url(url)
    where = shown(address)
    started = time.monotonic()
    try:
        async with asyncio.timeout(PING_SECONDS), connected(address, PING_SECONDS) as client:
            await client.ping()
    except (AuthenticationError, NoPermissionError):
        return checks.failed(NAME, f"{where} refuses the user or the password", "Correct redis.url")
    except TimeoutError:
        return _away(where, f"no answer within {PING_SECONDS:g} s", address)
    except (RedisError, OSError) as error:
        return _away(where, said(error, address), address)
    return checks.passed(NAME, f"{where} answers PONG", time.monotonic() - started)


def typed(address: RedisAddress) -> str:
    """What a person types to ask it too."""
    if address.kind is RedisKind.UNIX:
        return f"redis-cli -s {address.path} ping"
    host, port = address.hosts[0]
    return f"redis-cli -h {host} -p {port}{' --tls' if address.tls else ''} ping"


def _away(where: str, why: str, address: RedisAddress) -> Check:
    return checks.unreachable(NAME, f"{where}: {why}", f"Start it, or correct redis.url; ask it: {typed(address)}")
