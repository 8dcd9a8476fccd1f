"""What ``recommendations`` asks: Prometheus for figures, the control sockets, the server's file, the receiver."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from console.acting.way_back import moved_of
from console.advice.facts import Around, Facts, judged_period
from console.advice.figures import FIGURES, query
from console.advice.judging import advice
from console.advice.recommendation import Recommendations
from console.diagnosing.diagnosis import config_flag
from console.reading.capacity import History, capacity
from console.reading.figures import BY_SERIES, BY_VITAL, chained, selected
from console.reading.gathering import Gathering
from console.reading.period import resolution
from fleet.backups import folder_of, listed
from fleet.config_change import read_raw
from fleet.errors import MedicError
from fleet.lifecycle import control
from fleet.profiles import PROFILES
from fleet.server_settings import LOG_LEVELS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from pathlib import Path

    from console.desk import Desk
    from console.services.prometheus import Sample, Series
    from fleet.inventory import Server
    from fleet.server_settings import Setting

WITHIN_SECONDS: Final = 60.0
"""A month of raw counters takes Prometheus longer than a look at now."""

_TOLD: Final = "what the figures recommend"
_TRENDS: Final = ("memory", "sessions")
_SWITCHES: Final = frozenset(PROFILES["emergency"].changes)


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
    around = await _around(desk, server)
    judged = judged_period(around, at, period)
    figures, points = await asyncio.gather(
        _figures(desk, gathering, server, at, judged), _points(desk, gathering, server, at, period)
    )
    firsts = [some[0][0] for some in points.values() if some]
    return Facts(
        server=server,
        period=judged,
        measured=figures,
        room=capacity(server, History(points, period, at)) if points else None,
        around=around,
        history_seconds=max(0.0, min(at - min(firsts), judged)) if firsts else None,
    )


async def _figures(desk: Desk, gathering: Gathering, server: Server, at: float, period: int) -> dict[str, float] | None:
    names = [name for name in FIGURES if name != "cacheable_calls" or server.cache_tools]
    asked = chained({name: query(name, server.name, period, server.cache_tools) for name in names})
    question = desk.prometheus.vector(asked, at, within=WITHIN_SECONDS)
    samples = await gathering.ask(desk.prometheus.service, _TOLD, _or_none(question), None)
    if samples is None:
        return None
    return {one.labels["figure"]: one.value for one in samples if math.isfinite(one.value)}


async def _or_none(question: Awaitable[list[Sample]]) -> list[Sample] | None:
    """The same question, of which no answer is another thing than an empty one."""
    return await question


async def _points(
    desk: Desk, gathering: Gathering, server: Server, at: float, period: int
) -> dict[str, tuple[tuple[float, float], ...]]:
    asked = selected([BY_VITAL[name].series for name in _TRENDS], [server])
    question = desk.prometheus.range(asked, at - period, at, resolution(period), within=WITHIN_SECONDS)
    found: list[Series] = await gathering.ask(desk.prometheus.service, _TOLD, question, [])
    return {BY_SERIES[one.labels["__name__"]].name: one.points for one in found}


async def _around(desk: Desk, server: Server) -> Around:
    living = [one for one in await control.status(server, desk.fleet.gateway.control_dir) if "error" not in one]
    return replace(
        await asyncio.to_thread(_files, server),
        gateways=len(living),
        config_flag=config_flag(desk),
        priced=bool(desk.fleet.prices),
    )


def _files(server: Server) -> Around:
    """What the server's file says, and the copies of it."""
    if server.config is None:
        return Around()
    file = server.config.file
    try:
        changed, text = file.stat().st_mtime, file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):  # it was read a moment ago; whoever changes it is not done yet
        return Around(backups=len(listed(file)))
    return Around(backups=len(listed(file)), file_text=text, lowered=_lowered(file), changed_at=changed)


def _lowered(file: Path) -> frozenset[Setting]:
    """What an emergency switched off and still is off, by the copies that were kept."""
    try:
        now = read_raw(file, _SWITCHES)
        before = [read_raw(folder_of(file) / one.name, _SWITCHES) for one in listed(file)]
    except MedicError:  # a copy is broken: what it said before nobody knows
        return frozenset()
    return frozenset(moved_of(now, before).keys() & _SWITCHES)


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
