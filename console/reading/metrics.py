"""``metrics``: what a period has seen, figure by figure. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from console.reading.capacity import Capacity, History, capacity, levels_of
from console.reading.figures import BY_VITAL, VITALS, Unit, Vital
from console.reading.fitting import means
from console.report import ServiceReport
from fleet.signals import Severity
from fleet.telemetry import NOT_THE_SERVERS_ERRORS

if TYPE_CHECKING:
    from fleet.inventory import Server

Points = tuple[tuple[float, float], ...]

SUMS: Final = ("min", "mean", "p95", "max")
TREND_POINTS: Final = 96


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over the period, in ``unit``; null where nothing was measured.

    ``min``, ``p95`` and ``max`` are of what the rules recorded (response times, ratios and rates over 5 minutes each);
    ``mean`` weighs ratios with their traffic. Of ``up`` and ``open`` it is the part of the time. ``trend``: [UNIX
    seconds, mean of its stretch].
    """

    name: str
    unit: Unit
    now: float | None
    min: float | None
    mean: float | None
    p95: float | None
    max: float | None
    warning: float | None
    critical: float | None
    trend: Points


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """One tool: ``calls`` and ``errors`` in the period; ``error_rate`` leaves out what is not the server's fault.

    ``p50_seconds`` and ``p95_seconds`` are the medians of those recorded over 5 minutes each, ``worst_p95_seconds`` the
    largest.
    """

    tool: str
    calls: float
    errors: float
    error_rate: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    worst_p95_seconds: float | None


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted in the period, in ``unit``; ``of`` says of what (a reason, a model, ...), or nothing."""

    name: str
    of: str
    unit: Unit
    value: float


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """``--detailed``: tools by calls, then everything that was counted."""

    tools: tuple[Tool, ...]
    counts: tuple[Count, ...]


class ServerMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One server. ``history_seconds`` is how far back its figures reach within the period; null without any."""

    server: str
    history_seconds: float | None
    history_is_short: bool
    figures: tuple[Figure, ...]
    detail: Detail | None
    capacity: Capacity | None


class Metrics(ServiceReport, frozen=True, kw_only=True):
    """The ``period_seconds`` that ended ``at`` (UNIX seconds), looked at every ``step_seconds`` for trends."""

    at: float
    period_seconds: int
    step_seconds: int
    servers: tuple[ServerMetrics, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured of one server.

    Attributes:
        now: figures by name.
        sums: ``min``, ``mean``, ``p95``, ``max``, each by the figure's name.
        points: the figures' points by name, and ``cpu``.
        calls: (tool, error type) to calls of the period; "" for those that ended well.
        tools: ``p50``, ``p95``, ``worst`` to tool to seconds.
        counts: (name, of what) to what was counted.
    """

    now: Mapping[str, float] = field(default_factory=dict)
    sums: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    points: Mapping[str, Points] = field(default_factory=dict)
    calls: Mapping[tuple[str, str], float] = field(default_factory=dict)
    tools: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    counts: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants to know of which time; ``step`` seconds lie between two points."""

    at: float
    period: int
    step: int
    detailed: bool = False
    planning: bool = False


COUNT_UNITS: Final = {"bytes": Unit.BYTES, "cost": Unit.USD}
"""The counts that are no plain numbers."""


def server_metrics(server: Server, seen: Seen, asked: Asked) -> ServerMetrics:
    """One server's figures."""
    firsts = [points[0][0] for points in seen.points.values() if points]
    history = None if not firsts else asked.at - min(firsts)
    return ServerMetrics(
        server=server.name,
        history_seconds=history,
        history_is_short=history is None or history < asked.period - 2 * asked.step,
        figures=tuple(_figure(vital, server, seen, asked) for vital in VITALS),
        detail=_detail(seen) if asked.detailed else None,
        capacity=capacity(server, History(seen.points, asked.period, asked.at)) if asked.planning else None,
    )


def _figure(vital: Vital, server: Server, seen: Seen, asked: Asked) -> Figure:
    least, mean, p95, most = (seen.sums.get(which, {}).get(vital.name) for which in SUMS)
    at = levels_of(server, BY_VITAL[vital.name])
    return Figure(
        name=vital.name, unit=vital.unit, now=seen.now.get(vital.name), min=least, mean=mean, p95=p95, max=most,
        warning=at.get(Severity.WARNING), critical=at.get(Severity.CRITICAL),
        trend=means(seen.points.get(vital.name, ()), asked.period / TREND_POINTS),
    )  # fmt: skip


def _detail(seen: Seen) -> Detail:
    names = {tool for tool, _ in seen.calls}
    tools = sorted((_tool(name, seen) for name in names), key=lambda tool: (-tool.calls, tool.tool))
    kinds = sorted({kind for _, kind in seen.calls} - {""})
    errors = [
        Count(name="errors", of=kind, unit=Unit.COUNT, value=count)
        for kind in kinds
        if (count := sum(value for (_, each), value in seen.calls.items() if each == kind)) > 0
    ]
    counted = [
        Count(name=name, of=of, unit=COUNT_UNITS.get(name, Unit.COUNT), value=value)
        for (name, of), value in sorted(seen.counts.items())
    ]
    return Detail(tools=tuple(tool for tool in tools if tool.calls > 0), counts=(*errors, *counted))


def _tool(name: str, seen: Seen) -> Tool:
    by_kind = {kind: count for (tool, kind), count in seen.calls.items() if tool == name}
    calls = sum(by_kind.values())
    errors = sum(count for kind, count in by_kind.items() if kind and kind not in NOT_THE_SERVERS_ERRORS)
    p50, p95, worst = (seen.tools.get(which, {}).get(name) for which in ("p50", "p95", "worst"))
    return Tool(
        tool=name, calls=calls, errors=errors, error_rate=errors / calls if calls > 0 else None,
        p50_seconds=p50, p95_seconds=p95, worst_p95_seconds=worst,
    )  # fmt: skip
