"""Fixtures of the stdio gateway's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fleet.telemetry import Telemetry, decode
from tests.gateway.peers import listening


@pytest.fixture
async def reports() -> AsyncIterator[tuple[str, dict[str, Telemetry]]]:
    """An exporter's URL, and the latest report of each source."""
    latest: dict[str, Telemetry] = {}

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        told = decode(await request.read())
        latest[told.source] = told
        return web.Response(status=204)

    async with listening(take) as url:
        yield url, latest
