"""The third gate: monitoring sees the new one. A scrape arrived, its alerts are judged, none of them is critical."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from console.deploying.evidence import Seen, judged
from console.diagnosing.checks import ILL
from fleet.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Collection

    from console.deploying.showing import Say
    from console.desk import Desk
    from console.diagnosing.checks import Check
    from fleet.inventory import Server

WATCH_SECONDS: Final = 120.0
"""Four scrapes and evaluations at the shipped pace, with room."""

_POLL_SECONDS: Final = 1.0


async def critical(desk: Desk, server: Server) -> frozenset[str]:
    """The names of its critical alerts that fire now.

    Raises:
        MedicError: as Prometheus.
    """
    query = f'ALERTS{{alertstate="firing",severity="critical",server="{server.name}"}}'
    return frozenset(each.labels.get("alertname", "") for each in await desk.prometheus.vector(query))


async def watched(desk: Desk, server: Server, before: Collection[str], say: Say) -> tuple[Check, ...]:
    """Wait until monitoring sees the server as it has been since now; what it sees in the end.

    ``before`` are critical alerts that fired before anything was done.

    Raises:
        MedicError: as Prometheus.
    """
    since = await _clock(desk)
    end = time.monotonic() + WATCH_SECONDS
    arrived: float | None = None
    while True:
        seen = await _seen(desk, server)
        if arrived is None and seen.scraped_at is not None and seen.scraped_at > since:
            arrived = seen.scraped_at
        found = judged(replace(seen, arrived_at=arrived), since, before)
        missing = [check for check in found if check.outcome in ILL]
        if not missing or time.monotonic() > end:
            return found
        say(missing[0].saw)
        await asyncio.sleep(_POLL_SECONDS)


async def _clock(desk: Desk) -> float:
    """What time it is by Prometheus' clock, by which its samples are dated."""
    found = await desk.prometheus.vector("vector(time())")
    if len(found) != 1:
        raise PermanentError(f"Prometheus at {desk.prometheus.service.url} does not say what time it is")
    return found[0].value


async def _seen(desk: Desk, server: Server) -> Seen:
    series = f'mcp_server_up{{server="{server.name}"}}'
    at, up, rules, firing = await asyncio.gather(
        desk.prometheus.vector(f"max(timestamp({series}))"),
        desk.prometheus.vector(f"min({series})"),
        desk.prometheus.rules(),
        critical(desk, server),
    )
    return Seen(at[0].value if at else None, up[0].value if up else None, rules, firing)
