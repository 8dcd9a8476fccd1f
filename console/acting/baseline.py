"""What a server was like over a period: measured by Prometheus, kept by the receiver, compared with ever after."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from msgspec.structs import replace

from console.reading.period import resolution, written
from console.report import ServiceReport, gap
from fleet.errors import UnreachableError

if TYPE_CHECKING:
    from console.desk import Desk
    from fleet.inventory import Server

_RESPONSE: Final = "mcp:sampled_response_time"
_COST: Final = "mcp:sampled_cost"
_LOOKS: Final = 500
"""Looks back for the first sample of a period: its begin is known to a five-hundredth of it."""


class Baseline(ServiceReport, frozen=True, kw_only=True):
    """What was measured from ``begin`` to ``until`` (UNIX seconds), null where nothing was.

    ``response_time_seconds`` is the mean of the ``samples`` p95s that the rules recorded, and ``cost_usd_per_hour`` the
    mean of the costs: just what the criteria compare with them later. ``asked_seconds`` is the period that was asked
    for; the history may be shorter. ``queries`` are the questions behind the figures. ``kept``: the receiver has it.
    """

    server: str
    begin: float | None
    until: float
    asked_seconds: float
    response_time_seconds: float | None
    cost_usd_per_hour: float | None
    samples: float | None
    queries: dict[str, str]
    kept: bool
    detail: str

    def failed(self) -> bool:
        """True when there was nothing to keep, or it was not kept."""
        return not self.kept


async def measured(desk: Desk, server: Server, seconds: int) -> Baseline:
    """Measure and keep.

    Raises:
        UnreachableError: Prometheus does not answer: there is nothing to say without it.
    """
    now = desk.now()
    nothing = Baseline(
        server=server.name, begin=None, until=now, asked_seconds=seconds, response_time_seconds=None,
        cost_usd_per_hour=None, samples=None, queries={}, kept=False,
        detail=f"Prometheus at {desk.fleet.prometheus_url} has no history of {server.name}",
    )  # fmt: skip
    begin = await _begin(desk, server, seconds, now)
    if begin is None:
        return nothing
    queries = _queries(server, seconds)
    values = await asyncio.gather(*(_one(desk, server, query, now) for query in queries.values()))
    found = replace(nothing, begin=begin, queries=queries, **dict(zip(queries, values, strict=True)))
    if found.response_time_seconds is None and found.cost_usd_per_hour is None:
        return replace(found, detail=f"{server.name} had no tool call and no cost: there is nothing to keep")
    return await _kept(desk, found)


async def _begin(desk: Desk, server: Server, seconds: int, now: float) -> float | None:
    """The first moment of the period of which there is a sample: it says how much of the period is known."""
    looks = f"{written(seconds)}:{written(resolution(seconds, _LOOKS))}"
    first = [f'min_over_time(timestamp({series}{{server="{server.name}"}})[{looks}])' for series in (_RESPONSE, _COST)]
    samples = await desk.prometheus.vector(f"min(({first[0]}) or ({first[1]}))", now)
    return min(max(samples[0].value, now - seconds), now) if samples else None


def _queries(server: Server, seconds: int) -> dict[str, str]:
    """By the field that each fills."""
    over = f'{{server="{server.name}"}}[{written(seconds)}]'
    return {
        "response_time_seconds": f"avg_over_time({_RESPONSE}{over})",
        "cost_usd_per_hour": f"avg_over_time({_COST}{over})",
        "samples": f"count_over_time({_RESPONSE}{over})",
    }


async def _one(desk: Desk, server: Server, query: str, at: float) -> float | None:
    found = (await desk.prometheus.by_server(query, at)).get(server.name)
    return found if found is not None and math.isfinite(found) else None


async def _kept(desk: Desk, found: Baseline) -> Baseline:
    body = {
        "from": found.begin,
        "until": found.until,
        "response_time_seconds": found.response_time_seconds,
        "cost_usd_per_hour": found.cost_usd_per_hour,
    }
    service = desk.receiver.service
    try:
        answer = await desk.receiver.post(f"/servers/{quote(found.server)}/baseline", body)
    except UnreachableError as error:
        lost = gap(service.name, service.url, error, "later what is better than this: the baseline is not kept")
        return replace(found, detail="measured, but not kept: the receiver keeps baselines", unreachable=(lost,))
    if answer.status == 409:
        return replace(found, detail=f"the receiver refused it: {service.said(answer)}")
    return replace(found, kept=True, detail="the receiver keeps it: report compares with it from now on")
