"""What ``performance`` asks Prometheus."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from console.reading.figures import GUARDED, VITALS, named, selected
from console.reading.gathering import Gathering
from console.reading.performance import Measured, Performance, Points, health
from fleet.signals import BY_NAME, SIGNALS, SignalName

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from console.desk import Desk
    from console.services.prometheus import Sample, Series
    from fleet.inventory import Server

TREND_SECONDS: Final = 3600
_TREND_STEP: Final = 60
_NOW: Final = "how the servers are"
_BREAKER: Final = "max by (server, state) (mcp_server_circuit_breaker_state{%s}) == 1"
_GRAVEST: Final = ("closed", "half_open", "open")


async def performance(desk: Desk, server: str | None, trend: bool = False) -> Performance:
    """How each server (or the one) is now; with ``trend`` also over the last hour.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    servers = desk.servers(server)
    gathering = Gathering()
    at = desk.now()
    measured = await measure(desk, gathering, servers, at, trend)
    found = tuple(health(one, measured[one.name]) for one in servers)
    return Performance(at=at, servers=found, unreachable=gathering.gaps())


async def measure(
    desk: Desk, gathering: Gathering, servers: Sequence[Server], at: float, trend: bool = False
) -> dict[str, Measured]:
    """What Prometheus knows of each of ``servers`` at ``at``, by name; an empty ``Measured`` where it knows nothing."""
    series = [vital.series for vital in VITALS]
    values, breaker, excused, condemned, trends = await asyncio.gather(
        _vector(desk, gathering, selected([*series, *GUARDED.values()], servers), at),
        _vector(desk, gathering, _BREAKER % named(servers), at),
        _cases(desk, gathering, {one.name: one.suppression("1m", f",{named(servers)}") for one in SIGNALS}, at),
        _cases(desk, gathering, {one.name: one.critical_cases("1m", f",{named(servers)}") for one in SIGNALS}, at),
        _trends(desk, gathering, selected(series, servers), at) if trend else _none(),
    )
    by_name = by_server(values)
    states = _states(breaker)
    drawn = points(trends)
    return {
        server.name: Measured(
            values=by_name.get(server.name, {}),
            breaker=states.get(server.name, ""),
            excused=frozenset(signal for signal, where in excused.items() if server.name in where),
            condemned=frozenset(signal for signal, where in condemned.items() if server.name in where),
            trends=drawn.get(server.name, {}),
        )
        for server in servers
    }


def by_server(samples: Iterable[Sample]) -> dict[str, dict[str, float]]:
    """Server to recording to value; what is no finite number is left out."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for one in samples:
        if "server" in one.labels and math.isfinite(one.value):
            found[one.labels["server"]][one.labels.get("__name__", "")] = one.value
    return found


def points(series: Iterable[Series]) -> dict[str, dict[str, Points]]:
    """Server to recording to its points."""
    found: defaultdict[str, dict[str, Points]] = defaultdict(dict)
    for one in series:
        if "server" in one.labels:
            found[one.labels["server"]][one.labels.get("__name__", "")] = one.points
    return found


def _states(samples: Iterable[Sample]) -> dict[str, str]:
    """The gravest state that a breaker of a server is in."""
    found: dict[str, str] = {}
    for one in samples:
        name, state = one.labels.get("server", ""), one.labels.get("state", "")
        if state in _GRAVEST and _GRAVEST.index(state) >= _GRAVEST.index(found.get(name, "closed")):
            found[name] = state
    return found


async def _cases(
    desk: Desk, gathering: Gathering, queries: dict[SignalName, str], at: float
) -> dict[SignalName, frozenset[str]]:
    """Signal to the servers on which its exception holds; only judged signals that have one are asked for."""
    shown = {vital.signal for vital in VITALS}
    asked = [signal for signal, query in queries.items() if query and signal in shown]
    answers = await asyncio.gather(*(_vector(desk, gathering, queries[signal], at) for signal in asked))
    return {
        BY_NAME[signal].name: frozenset(one.labels.get("server", "") for one in answer)
        for signal, answer in zip(asked, answers, strict=True)
    }


async def _vector(desk: Desk, gathering: Gathering, query: str, at: float) -> list[Sample]:
    return await gathering.ask(desk.prometheus.service, _NOW, desk.prometheus.vector(query, at), [])


async def _trends(desk: Desk, gathering: Gathering, query: str, at: float) -> list[Series]:
    question = desk.prometheus.range(query, at - TREND_SECONDS, at, _TREND_STEP)
    return await gathering.ask(desk.prometheus.service, "the trends", question, [])


async def _none() -> list[Series]:
    return []
