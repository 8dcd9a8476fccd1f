"""What ``recommendations`` asks: Prometheus for figures, the control sockets, the server's file, the receiver."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from console.advice.facts import Around, Facts
from console.advice.figures import FIGURES, query
from console.advice.judging import advice
from console.advice.recommendation import Recommendations
from console.reading.capacity import History, capacity
from console.reading.figures import BY_SERIES, BY_VITAL, chained, selected
from console.reading.gathering import Gathering
from console.reading.period import resolution
from fleet.backups import listed
from fleet.errors import MedicError
from fleet.lifecycle import control
from fleet.server_settings import LOG_LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.desk import Desk
    from console.services.prometheus import Series
    from fleet.inventory import Server

WITHIN_SECONDS: Final = 60.0
"""A month of raw counters takes Prometheus longer than a look at now."""

_TOLD: Final = "what the figures recommend"
_TRENDS: Final = ("memory", "sessions")


async def recommendations(desk: Desk, server: str | None, period: int) -> Recommendations:
    """What the last ``period`` seconds recommend for each server, or for the one.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    servers = desk.servers(server)
    gathering = Gathering()
    at = desk.now()
    found = await gather(desk, gathering, servers, at, period)
    return Recommendations(
        at=at, period_seconds=period, servers=tuple(advice(each) for each in found), unreachable=gathering.gaps()
    )


async def gather(
    desk: Desk, gathering: Gathering, servers: Sequence[Server], at: float, period: int
) -> tuple[Facts, ...]:
    """The facts of each of ``servers``."""
    raised = await _raised_logs(desk, gathering, servers)
    found = await asyncio.gather(*(_facts(desk, gathering, one, at, period) for one in servers))
    return tuple(replace(one, around=replace(one.around, debugging=raised.get(one.server.name))) for one in found)


async def _facts(desk: Desk, gathering: Gathering, server: Server, at: float, period: int) -> Facts:
    figures, points, around = await asyncio.gather(
        _figures(desk, gathering, server, at, period),
        _points(desk, gathering, server, at, period),
        _around(desk, server),
    )
    firsts = [some[0][0] for some in points.values() if some]
    return Facts(
        server=server,
        period=period,
        figures=figures,
        room=capacity(server, History(points, period, at)) if points else None,
        around=around,
        history_seconds=at - min(firsts) if firsts else None,
    )


async def _figures(desk: Desk, gathering: Gathering, server: Server, at: float, period: int) -> dict[str, float]:
    names = [name for name in FIGURES if name != "cacheable_calls" or server.cache_tools]
    asked = chained({name: query(name, server.name, period, server.cache_tools) for name in names})
    question = desk.prometheus.vector(asked, at, within=WITHIN_SECONDS)
    samples = await gathering.ask(desk.prometheus.service, _TOLD, question, [])
    return {one.labels["figure"]: one.value for one in samples if math.isfinite(one.value)}


async def _points(
    desk: Desk, gathering: Gathering, server: Server, at: float, period: int
) -> dict[str, tuple[tuple[float, float], ...]]:
    asked = selected([BY_VITAL[name].series for name in _TRENDS], [server])
    question = desk.prometheus.range(asked, at - period, at, resolution(period), within=WITHIN_SECONDS)
    found: list[Series] = await gathering.ask(desk.prometheus.service, _TOLD, question, [])
    return {BY_SERIES[one.labels["__name__"]].name: one.points for one in found}


async def _around(desk: Desk, server: Server) -> Around:
    living = [one for one in await control.status(server, desk.fleet.gateway.control_dir) if "error" not in one]
    text, backups = await asyncio.to_thread(_read, server)
    return Around(gateways=len(living), backups=backups, file_text=text)


def _read(server: Server) -> tuple[str, int]:
    if server.config is None:
        return "", 0
    try:
        text = server.config.file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):  # it was read a moment ago; whoever changes it is not done yet
        text = ""
    return text, len(listed(server.config.file))


async def _raised_logs(desk: Desk, gathering: Gathering, servers: Sequence[Server]) -> dict[str, bool]:
    """Whether ``debug-mode`` is on, of servers whose logs tell much: only the receiver knows."""
    if not any(_logs_much(one) for one in servers):
        return {}
    found: dict[str, Any] = await gathering.ask(
        desk.receiver.service, "whether debug-mode is on", desk.receiver.servers(), {}
    )
    try:
        with desk.receiver.service.taken_apart("/api/v1/servers"):
            return {one["name"]: one["debug_until"] is not None for one in found.get("servers", ())}
    except MedicError:
        return {}


def _logs_much(server: Server) -> bool:
    values = {} if server.config is None else server.config.values
    section = values.get("logging", {})
    return isinstance(section, dict) and any(section.get(each.key) in {"debug", "trace"} for each in LOG_LEVELS)
