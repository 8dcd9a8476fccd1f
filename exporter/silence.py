"""``/metrics`` switched off, as ``ENABLE_PROMETHEUS_METRICS=false`` asks. Everything else goes on.

Telemetry is still taken and kept: once it is switched on again, no counter starts anew.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from fleet.environment import METRICS

SENTENCE: Final = f"metrics are switched off: {METRICS} is false in this program's environment\n"


def silence(app: web.Application) -> None:
    """Answer 404 with one sentence where metrics would be."""
    app.middlewares.append(_without_metrics)


@web.middleware
async def _without_metrics(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path == "/metrics":
        return web.Response(status=404, text=SENTENCE)
    return await handler(request)
