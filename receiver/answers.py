"""How the receiver reads bodies and answers over HTTP: bounded, in JSON."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from fleet.doors import Refusal

MAX_BODY_BYTES: Final = 1024 * 1024
"""A group of one server's alerts has a few kilobytes; a larger one is not read, and Alertmanager is asked instead."""

READ_SECONDS: Final = 10.0
"""How long a sender may take for its body: Alertmanager itself gives up after 10 s."""


async def body_of(request: web.Request) -> bytes | None:
    """The body, or None when it is too large: not read further than the limit."""
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        return None
    if request.content.is_eof():  # it came with its head, as a webhook's does: there is nothing to wait for
        whole = request.content.read_nowait()
        return whole if len(whole) <= MAX_BODY_BYTES else None
    body = bytearray()
    async with asyncio.timeout(READ_SECONDS):
        async for chunk in request.content.iter_chunked(65536):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return None
    return bytes(body)


def refused(refusal: Refusal) -> web.Response:
    """What a door says to whom it refuses."""
    headers = {"WWW-Authenticate": refusal.challenge} if refusal.status == 401 else {}
    if refusal.status == 503:
        headers["Retry-After"] = "1"
    return answer(refusal.status, {"error": refusal.reason}, headers)


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    """``body`` as JSON, which no browser takes for a page whatever stands in it."""
    given = {"X-Content-Type-Options": "nosniff", **(headers or {})}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=given)
