"""What ``metrics`` asks Prometheus.

Long windows are taken of what the rules record, whose series are few; only counts are taken of the raw counters.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from string import Template
from typing import TYPE_CHECKING, Any, Final

from console.reading.asked_performance import by_server
from console.reading.figures import BY_SERIES, VITALS, Vital, chained, named, selected
from console.reading.gathering import Gathering
from console.reading.metrics import SUMS, Asked, Metrics, Seen, server_metrics
from console.reading.period import resolution, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from console.desk import Desk
    from console.services.prometheus import Sample, Series
    from fleet.inventory import Server

WITHIN_SECONDS: Final = 60.0
"""A month of a large fleet takes Prometheus longer than a look at now."""

_CPU: Final = "sum by (server) (rate(mcp_server_cpu_seconds_total{%s}[%s]))"
_LEAST_RATE_SECONDS: Final = 300
_TOOLS: Final = {
    "p50": "quantile_over_time(0.5, (mcp:tool_response_time_p50_seconds{$select} >= 0)[$range:$step])",
    "p95": "quantile_over_time(0.5, (mcp:tool_response_time_p95_seconds{$select} >= 0)[$range:$step])",
    "worst": "max_over_time(mcp:tool_response_time_p95_seconds{$select}[$range])",
}
_CALLS: Final = (
    "sum by (server, gen_ai_tool_name, error_type) (increase("
    'mcp_server_operation_duration_seconds_count{mcp_method_name="tools/call",$select}[$range]))'
)
_COUNTED: Final = {
    "bytes": ("mcp_server_bytes_total", "direction"),
    "cache_requests": ("mcp_server_cache_requests_total", ""),
    "cache_hits": ("mcp_server_cache_hits_total", ""),
    "cache_evictions": ("mcp_server_cache_evictions_total", ""),
    "circuit_breaker_opened": ("mcp_server_circuit_breaker_opened_total", ""),
    "cost": ("mcp_server_cost_usd_total", "model"),
    "refused": ("mcp_server_refused_total", "reason"),
    "restarts": ("mcp_server_restarts_total", ""),
    "would_refuse": ("mcp_server_would_refuse_total", "reason"),
}
"""Counters by the name of what they count, and the label that says of what; of those with one only what happened."""


async def metrics(
    desk: Desk, server: str | None, period: int, *, detailed: bool = False, planning: bool = False
) -> Metrics:
    """What the last ``period`` seconds have seen of each server, or of the one.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    servers = desk.servers(server)
    gathering = Gathering()
    asked = Asked(desk.now(), period, resolution(period), detailed, planning)
    seen = await look(desk, gathering, servers, asked)
    return Metrics(
        at=asked.at,
        period_seconds=period,
        step_seconds=asked.step,
        servers=tuple(server_metrics(one, seen[one.name], asked) for one in servers),
        unreachable=gathering.gaps(),
    )


async def look(desk: Desk, gathering: Gathering, servers: Sequence[Server], asked: Asked) -> dict[str, Seen]:
    """What Prometheus knows of each of ``servers`` over the period, by name."""
    of = _Questions(desk, gathering, servers, asked)
    now, sums, points, cpu, detail = await asyncio.gather(
        of.vector("the figures now", selected([vital.series for vital in VITALS], servers)),
        asyncio.gather(*(of.vector("the figures of the period", of.filled(_SUMMED[which])) for which in SUMS)),
        of.range("the trends", selected([vital.series for vital in VITALS], servers)),
        of.range("the CPU's part", _CPU % (named(servers), written(max(_LEAST_RATE_SECONDS, 2 * asked.step))))
        if asked.planning
        else _nothing(),
        _detail(of) if asked.detailed else _no_detail(),
    )
    calls, tools, counts = detail
    current = {
        name: {BY_SERIES[series].name: value for series, value in some.items()} for name, some in by_server(now).items()
    }
    summed = {which: _figures(samples) for which, samples in zip(SUMS, sums, strict=True)}
    lines = _lines([*points, *cpu])
    return {
        one.name: Seen(
            now=current.get(one.name, {}),
            sums={which: found.get(one.name, {}) for which, found in summed.items()},
            points=lines.get(one.name, {}),
            calls=calls.get(one.name, {}),
            tools=tools.get(one.name, {}),
            counts=counts.get(one.name, {}),
        )
        for one in servers
    }


class _Questions:
    """Questions about some servers and one period."""

    def __init__(self, desk: Desk, gathering: Gathering, servers: Sequence[Server], asked: Asked) -> None:
        self._prometheus = desk.prometheus
        self._gathering = gathering
        self._asked = asked
        self._places = {"select": named(servers), "range": written(asked.period), "step": written(asked.step)}

    def filled(self, parts: Mapping[str, str]) -> str:
        """One query of several templates."""
        return chained({name: Template(text).substitute(self._places) for name, text in parts.items()})

    async def vector(self, missing: str, query: str) -> list[Sample]:
        question = self._prometheus.vector(query, self._asked.at, within=WITHIN_SECONDS)
        return await self._gathering.ask(self._prometheus.service, missing, question, [])

    async def range(self, missing: str, query: str) -> list[Series]:
        start = self._asked.at - self._asked.period
        question = self._prometheus.range(query, start, self._asked.at, self._asked.step, within=WITHIN_SECONDS)
        return await self._gathering.ask(self._prometheus.service, missing, question, [])


def _p95(vital: Vital) -> str:
    # A quantile over NaN is none; a comparison drops it.
    inner = (
        f"({vital.series}{{$select}} >= 0)[$range:$step]" if vital.may_be_nan else f"{vital.series}{{$select}}[$range]"
    )
    return f"quantile_over_time(0.95, {inner})"


_SUMMED: Final = {
    "min": {vital.name: f"min_over_time({vital.series}{{$select}}[$range])" for vital in VITALS},
    "mean": {vital.name: vital.mean or f"avg_over_time({vital.series}{{$select}}[$range])" for vital in VITALS},
    "p95": {vital.name: _p95(vital) for vital in VITALS},
    "max": {vital.name: f"max_over_time({vital.series}{{$select}}[$range])" for vital in VITALS},
}

Calls = dict[tuple[str, str], float]
_Detail = tuple[dict[str, Calls], dict[str, dict[str, dict[str, float]]], dict[str, Calls]]


async def _detail(of: _Questions) -> _Detail:
    calls, tools, counts = await asyncio.gather(
        of.vector("the calls of each tool", of.filled({"calls": _CALLS})),
        of.vector("the response times of each tool", of.filled(_TOOLS)),
        of.vector("what was counted", of.filled({name: _increase(name) for name in _COUNTED})),
    )
    return (
        _nested(calls, lambda labels: (labels.get("gen_ai_tool_name", ""), labels.get("error_type", ""))),
        {name: _by_which(some) for name, some in _grouped(tools).items()},
        _nested(
            [one for one in counts if one.value > 0 or not _COUNTED[one.labels["figure"]][1]],
            lambda labels: (labels["figure"], labels.get(_COUNTED[labels["figure"]][1], "")),
        ),
    )


def _increase(name: str) -> str:
    metric, label = _COUNTED[name]
    by = f"server, {label}" if label else "server"
    return f"sum by ({by}) (increase({metric}{{$select}}[$range]))"


def _grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    for one in samples:
        if math.isfinite(one.value):
            found[one.labels.get("server", "")].append(one)
    return found


def _nested(samples: Iterable[Sample], key: Callable[[Mapping[str, str]], Any]) -> dict[str, Calls]:
    return {name: {key(one.labels): one.value for one in some} for name, some in _grouped(samples).items()}


def _figures(samples: Iterable[Sample]) -> dict[str, dict[str, float]]:
    return {name: {one.labels["figure"]: one.value for one in some} for name, some in _grouped(samples).items()}


def _by_which(samples: Iterable[Sample]) -> dict[str, dict[str, float]]:
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for one in samples:
        found[one.labels["figure"]][one.labels.get("gen_ai_tool_name", "")] = one.value
    return found


def _lines(series: Iterable[Series]) -> dict[str, dict[str, tuple[tuple[float, float], ...]]]:
    found: defaultdict[str, dict[str, tuple[tuple[float, float], ...]]] = defaultdict(dict)
    for one in series:
        recorded = one.labels.get("__name__", "")
        found[one.labels.get("server", "")][BY_SERIES[recorded].name if recorded else "cpu"] = one.points
    return found


async def _nothing() -> list[Series]:
    return []


async def _no_detail() -> _Detail:
    return {}, {}, {}
