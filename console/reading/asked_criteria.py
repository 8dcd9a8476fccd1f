"""What ``report`` asks Prometheus."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from console.reading.criteria import CRITERIA, LOOK, SAVED_SECONDS, SAVED_USD, Known, Success
from console.reading.figures import chained, named, selected
from console.reading.gathering import Gathering
from console.reading.period import WEEK, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from console.desk import Desk
    from console.services.prometheus import Sample
    from fleet.inventory import Server


async def report(desk: Desk, server: str | None) -> Success:
    """Which criteria each server, or the one, meets, and which the fleet.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    servers = desk.servers(server)
    gathering = Gathering()
    at = desk.now()
    known = await ask(desk, gathering, servers, at)
    return Success(
        at=at,
        servers=tuple(known.of_server(one.name) for one in servers),
        fleet=known.of_the_fleet(),
        unreachable=gathering.gaps(),
    )


async def ask(desk: Desk, gathering: Gathering, servers: Sequence[Server], at: float) -> Known:
    """The figures of all criteria, what the cache saved, and the rules behind them."""
    whole = [one.series for one in CRITERIA if one.of_the_fleet]
    own = [one.series for one in CRITERIA if not one.of_the_fleet]
    saved = chained(
        {name: f"avg_over_time({name}{{{named(servers)}}}[{written(WEEK)}])" for name in (SAVED_SECONDS, SAVED_USD)}
    )
    queries = (selected(own, servers), f'{{__name__=~"{"|".join(whole)}"}}', saved)
    prometheus = desk.prometheus
    known = prometheus.range(f"mcp:availability{{{named(servers)}}}", at - WEEK, at, LOOK)
    samples, rules, week = await asyncio.gather(
        asyncio.gather(
            *(gathering.ask(prometheus.service, "the criteria", prometheus.vector(query, at), []) for query in queries)
        ),
        gathering.ask(prometheus.service, "the rules behind them", _rules(desk), None),
        gathering.ask(prometheus.service, "the criteria", known, []),
    )
    since = {one.labels.get("server", ""): at - one.points[0][0] for one in week if one.points}
    return Known(_figures(one for some in samples for one in some), rules, since)


async def _rules(desk: Desk) -> dict[str, str] | None:
    """Recording to the expression that makes it; of several rules of one name the first."""
    found: dict[str, str] = {}
    for rule in await desk.prometheus.rules():
        found.setdefault(str(rule.get("name", "")), str(rule.get("query", "")))
    return found


def _figures(samples: Iterable[Sample]) -> dict[tuple[str, str], float]:
    return {
        (one.labels.get("figure") or one.labels.get("__name__", ""), one.labels.get("server", "")): one.value
        for one in samples
        if math.isfinite(one.value)
    }
