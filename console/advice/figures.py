"""The figures that advice rests on: each is one PromQL over a period and one server. Pure.

Means and quantiles are taken of what the rules record; only counts are taken of raw counters.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, Final

from console.reading.figures import BY_VITAL, Unit
from console.reading.period import resolution, written

if TYPE_CHECKING:
    from collections.abc import Collection

_COUNT: Final = "mcp_server_operation_duration_seconds_count"
_CALL: Final = 'mcp_method_name="tools/call"'
BREAKER_ERRORS: Final = "connection|timeout|http_5xx|-32603"
"""The errors that a breaker counts: those of the server as a whole, never of a tool."""

_LEAST_STEP: Final = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """One figure: how people call it, its unit, and its PromQL with ``$select``, ``$range``, ``$step``, ``$tools``."""

    title: str
    unit: Unit
    template: str


def _increase(metric: str, *matchers: str) -> str:
    return f"sum by (server) (increase({metric}{{{','.join([*matchers, '$select'])}}}[$range]))"


def _refused(reason: str) -> str:
    return _increase("mcp_server_refused_total", f'reason="{reason}"')


def _would(reason: str) -> str:
    return _increase("mcp_server_would_refuse_total", f'reason="{reason}"')


def _most(series: str) -> str:
    return f"max by (server) (max_over_time({series}{{$select}}[$range]))"


def _usually(series: str) -> str:
    """What it does not exceed in 95 % of the time; a quantile over NaN is none, a comparison drops it."""
    return f"quantile_over_time(0.95, ({series}{{$select}} >= 0)[$range:$step])"


def _mean(vital: str) -> str:
    found = BY_VITAL[vital]
    return found.mean or f"avg_over_time({found.series}{{$select}}[$range])"


_FAILED: Final = f'{_COUNT}{{{_CALL},error_type=~"{BREAKER_ERRORS}",$select}}'

FIGURES: Final = {
    "calls": Asked("calls of tools", Unit.COUNT, _increase(_COUNT, _CALL)),
    "timeouts": Asked("calls that timed out", Unit.COUNT, _increase(_COUNT, _CALL, 'error_type="timeout"')),
    "breaker_errors": Asked(
        "failures that a breaker counts", Unit.COUNT, _increase(_COUNT, _CALL, f'error_type=~"{BREAKER_ERRORS}"')
    ),
    "worst_burst": Asked(
        "most of them in 5 minutes", Unit.COUNT,
        f"max_over_time(sum by (server) (increase({_FAILED}[5m]))[$range:$step])",
    ),
    "cacheable_calls": Asked(
        "calls of the tools under cache.tools", Unit.COUNT, _increase(_COUNT, _CALL, 'gen_ai_tool_name=~"$tools"')
    ),
    "p50": Asked("median response time, mean", Unit.SECONDS, _mean("response_time_p50")),
    "p95": Asked("response time p95, usually below", Unit.SECONDS, _usually("mcp:signal_response_time")),
    "p99": Asked("response time p99, usually below", Unit.SECONDS, _usually("mcp:response_time_p99_seconds")),
    "lookups": Asked("cache look-ups", Unit.COUNT, _increase("mcp_server_cache_requests_total")),
    "hits": Asked("cache hits", Unit.COUNT, _increase("mcp_server_cache_hits_total")),
    "evictions": Asked("answers pushed out of the cache", Unit.COUNT, _increase("mcp_server_cache_evictions_total")),
    "entries": Asked("most answers in the cache", Unit.COUNT, _most("mcp_server_cache_entries")),
    "sessions": Asked("sessions, usually at most", Unit.COUNT, _usually("mcp:signal_sessions")),
    "sessions_most": Asked("most sessions", Unit.COUNT, _most("mcp:signal_sessions")),
    "memory": Asked("memory, usually at most", Unit.BYTES, _usually("mcp:signal_memory")),
    "memory_least": Asked(
        "least memory", Unit.BYTES, "min by (server) (min_over_time(mcp:signal_memory{$select}[$range]))"
    ),
    "memory_most": Asked("most memory", Unit.BYTES, _most("mcp:signal_memory")),
    "queue_most": Asked("most calls waiting", Unit.COUNT, _most("mcp:signal_queue")),
    "in_flight_most": Asked("most calls at the server at once", Unit.COUNT, _most("mcp_server_in_flight")),
    "refused_sessions": Asked("sessions refused", Unit.COUNT, _refused("sessions")),
    "refused_queue": Asked("calls refused after waiting", Unit.COUNT, _refused("queue")),
    "refused_breaker": Asked("calls refused by the breaker", Unit.COUNT, _refused("breaker")),
    "would_sessions": Asked("sessions beyond the cap, let through", Unit.COUNT, _would("sessions")),
    "would_timeouts": Asked("calls beyond their timeout, let through", Unit.COUNT, _would("timeouts")),
    "would_retries": Asked("reads that a retry could have saved", Unit.COUNT, _would("retries")),
    "breaker_opened": Asked(
        "times the breaker opened", Unit.COUNT, _increase("mcp_server_circuit_breaker_opened_total")
    ),
    "cost": Asked("cost, mean", Unit.USD_PER_HOUR, _mean("cost")),
    "cost_most": Asked("dearest hour", Unit.USD_PER_HOUR, _most("mcp:signal_cost")),
    "saved_usd": Asked(
        "saved by the cache, mean", Unit.USD_PER_HOUR, "avg_over_time(mcp:saved_usd_per_hour{$select}[$range])"
    ),
    "telemetry": Asked(
        "a gateway or the server reports itself", Unit.COUNT,
        'max by (server) (max_over_time(mcp_exporter_source_success{source="telemetry",$select}[$range]))',
    ),
}  # fmt: skip
"""Every figure by its name in the rules."""


def query(name: str, server: str, period: int, tools: Collection[str] = ()) -> str:
    """What is asked for one figure of one server. ``tools`` are those that the operator allows to be cached."""
    return Template(FIGURES[name].template).substitute(
        select=f'server="{server}"',
        range=written(period),
        step=written(max(_LEAST_STEP, resolution(period))),
        tools="|".join(_quoted(tool) for tool in sorted(tools)),
    )


def _quoted(text: str) -> str:
    """A name as part of a regular expression within PromQL's double quotes."""
    special = "".join(f"\\{each}" if each in r"\.+*?()|[]{}^$" else each for each in text)
    return special.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
