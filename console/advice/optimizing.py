"""What ``optimize`` asks: how the servers are now, what is recommended, which benchmarks were kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from console.advice import asked, runs
from console.advice.judging import advice
from console.advice.overview import Optimized, Suggestions, overview, suggestions
from console.reading.asked_performance import measure
from console.reading.gathering import Gathering
from console.reading.performance import health
from fleet.errors import MedicError

if TYPE_CHECKING:
    from console.advice.benchmark import Run
    from console.desk import Desk
    from fleet.inventory import Server


async def optimized(desk: Desk, server: str | None, period: int) -> Optimized:
    """The overall check of each server, or of the one.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    servers = desk.servers(server)
    gathering = Gathering()
    at = desk.now()
    measured, facts, kept = await asyncio.gather(
        measure(desk, gathering, servers, at),
        asked.gather(desk, gathering, servers, at, period),
        asyncio.to_thread(lambda: [_runs(desk, one) for one in servers]),
    )
    return Optimized(
        at=at,
        period_seconds=period,
        servers=tuple(
            overview(health(one, measured[one.name]), advice(each), some, each.around.config_flag)
            for one, each, some in zip(servers, facts, kept, strict=True)
        ),
        unreachable=gathering.gaps(),
    )


async def suggested(desk: Desk, server: str | None, period: int) -> Suggestions:
    """The recommendations in short.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    found = await asked.recommendations(desk, server, period)
    return Suggestions(
        at=found.at, period_seconds=period, suggestions=suggestions(found.servers), unreachable=found.unreachable
    )


def _runs(desk: Desk, server: Server) -> tuple[Run, ...]:
    try:
        return runs.read(runs.file_of(desk.fleet, server.name))
    except MedicError:  # --benchmark says what is wrong with the file
        return ()
