"""What ``alerts`` asks Alertmanager, Prometheus and the receiver."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from console.reading.alerts import (
    Active,
    AlertHistory,
    Alerts,
    Breaker,
    Episode,
    Ward,
    active,
    episode,
    ordered,
    watched,
)
from console.reading.asked_performance import measure
from console.reading.episodes import stretches
from console.reading.figures import BY_SERIES
from console.reading.gathering import Gathering
from console.reading.incidents import MOST
from console.reading.period import resolution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.desk import Desk
    from console.reading.performance import Measured

_LOOKS: Final = 5040
"""At a period of alerts at most: a week every two minutes."""
_FIRING: Final = 'ALERTS{alertstate="firing",alertname=~"Mcp.+"}'


async def alerts(desk: Desk, server: str | None) -> Alerts:
    """What is active, of all servers or of the one. Without Alertmanager what Prometheus lets fire.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    gathering = Gathering()
    at = desk.now()
    found, measured = await asyncio.gather(
        gathering.ask(desk.alertmanager.service, "which alerts are silenced or inhibited", _alerts(desk), None),
        measure(desk, gathering, desk.servers(server), at),
    )
    ward = _ward(desk, server, measured)
    return Alerts(
        at=at,
        alerting=None if found is None else watched(found),
        active=await _firing(desk, gathering, ward, at) if found is None else active(found, ward),
        breakers=tuple(Breaker(server=name, state=one.breaker or "unknown") for name, one in measured.items()),
        unreachable=gathering.gaps(),
    )


async def _alerts(desk: Desk) -> list[dict[str, Any]] | None:
    return await desk.alertmanager.alerts()


def _ward(desk: Desk, server: str | None, measured: Mapping[str, Measured] | None = None) -> Ward:
    values = {
        (name, BY_SERIES[series].signal or ""): value
        for name, one in (measured or {}).items()
        for series, value in one.values.items()
        if series in BY_SERIES
    }
    return Ward({str(one.name): one for one in desk.servers(server)}, whole=server is None, values=values)


async def _firing(desk: Desk, gathering: Gathering, ward: Ward, at: float) -> tuple[Active, ...]:
    question = desk.prometheus.vector(_FIRING, at)
    samples = await gathering.ask(desk.prometheus.service, "the active alerts", question, [])
    return ordered(ward.active(one.labels, None, "unknown") for one in samples if ward.holds(one.labels))


async def history(desk: Desk, server: str | None, period: int) -> AlertHistory:
    """What fired in the last ``period`` seconds, with what was done about it.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    gathering = Gathering()
    at = desk.now()
    found, _ = await past(desk, gathering, server, at - period, at)
    return AlertHistory(
        at=at,
        period_seconds=period,
        resolution_seconds=resolution(period, _LOOKS),
        episodes=found,
        unreachable=gathering.gaps(),
    )


async def past(
    desk: Desk, gathering: Gathering, server: str | None, start: float, end: float
) -> tuple[tuple[Episode, ...], tuple[Mapping[str, Any], ...]]:
    """What fired between two moments, newest first, and the receiver's incidents of that time."""
    ward = _ward(desk, server)
    step = resolution(round(end - start), _LOOKS)
    # What fired between two looks is seen by the next one.
    looked = desk.prometheus.range(f"max_over_time({_FIRING}[{step}s])", start, end, step)
    series, incidents = await asyncio.gather(
        gathering.ask(desk.prometheus.service, "which alerts fired", looked, []),
        gathering.ask(desk.receiver.service, "what was done about them", _incidents(desk, server, start, end), ()),
    )
    episodes = [
        episode(one.labels, stretch, incidents, step)
        for one in series
        if ward.holds(one.labels)
        for stretch in stretches(one.points, step, end)
    ]
    return tuple(sorted(episodes, key=lambda one: (-one.start, one.alert, one.server, one.severity))), incidents


async def _incidents(desk: Desk, server: str | None, start: float, end: float) -> tuple[Mapping[str, Any], ...]:
    """The incidents that were open between two moments."""
    filters = {"limit": str(MOST), "from": f"{start:.0f}", "until": f"{end:.0f}"}
    found = await desk.receiver.incidents(**filters, **({} if server is None else {"server": server}))
    # A receiver that knows no filters answers with more.
    return tuple(
        one
        for one in found
        if (server is None or one["server"] == server)
        and one["opened_at"] <= end
        and (one["closed_at"] is None or one["closed_at"] >= start)
    )
