"""Whether a server takes connections again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from fleet.inventory import Server

READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


async def becomes_ready(server: Server, within: float, is_lost: Callable[[], bool] = lambda: False) -> bool:
    """Whether the address of ``url`` accepts a connection within so many seconds; False once ``is_lost`` says so."""
    parts = urlsplit(server.url)
    host, port = parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)
    end = asyncio.get_running_loop().time() + within
    while asyncio.get_running_loop().time() < end:
        if await _accepts(host, port):
            return True
        if is_lost():
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return False


async def _accepts(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True
