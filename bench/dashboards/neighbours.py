"""Servers next door: figures of what a loop on one machine does not have, as another exporter would publish them.

Three servers of which one uses too much memory and refuses sessions, a Redis, a log that is followed, a probe, a
deployment and a baseline of the server in the loop. Nobody treats these servers: the receiver does not know them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from fleet.telemetry import BOUNDS

_CALLS_PER_SECOND: Final = {"billing": 6.0, "codex": 14.0, "search": 9.0}
_TYPICAL_SECONDS: Final = {"billing": 0.8, "codex": 0.35, "search": 0.6}
_MEMORY: Final = {"billing": 431e6, "codex": 212e6, "search": 158e6}
_SESSIONS: Final = {"billing": 11, "codex": 6, "search": 3}


class Neighbours:
    """The page of another exporter. ``own`` is the server of the loop, whose past is told here."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._started = time.time()

    def application(self) -> web.Application:
        """GET /metrics."""
        application = web.Application()
        application.add_routes([web.get("/metrics", self._metrics)])
        return application

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text="\n".join(self._lines(time.time() - self._started)) + "\n")

    def _lines(self, seconds: float) -> Iterator[str]:
        for server in _CALLS_PER_SECOND:
            yield from _server(server, seconds)
        yield from _redis(seconds)
        own = f'server="{self._own}"'
        yield f"mcp_baseline_response_time_seconds{{{own}}} 8"
        yield f"mcp_baseline_cost_usd_per_hour{{{own}}} 2.4"
        for phase, took in (("checks", 21.0), ("start", 6.5), ("monitoring", 34.0), ("integration", 48.0)):
            yield f'mcp_remediation_deploy_seconds{{{own},phase="{phase}"}} {took}'
        yield f"mcp_exporter_log_lag_bytes{{{own}}} {2048 * (1 + math.sin(seconds / 9)):.0f}"
        for result, rate in (("call", 7.0), ("other", 1.5)):
            yield f'mcp_exporter_log_lines_total{{{own},result="{result}"}} {rate * seconds:.0f}'
        for phase, took in (("connect", 0.004), ("initialize", 0.03), ("tool", 0.11)):
            yield f'mcp_probe_duration_seconds{{{own},phase="{phase}"}} {took * (1 + 0.2 * math.sin(seconds / 7)):.4f}'


def _server(name: str, seconds: float) -> Iterator[str]:
    calls = _CALLS_PER_SECOND[name] * seconds
    labels = f'server="{name}",mcp_method_name="tools/call",gen_ai_tool_name="ask",network_transport="tcp"'
    histogram = "mcp_server_operation_duration_seconds"
    for error, part in (("", 0.994), ("tool_error", 0.006)):
        own, count = f'{labels},error_type="{error}"', calls * part
        for bound in BOUNDS:
            share = 1 - math.exp(-bound / _TYPICAL_SECONDS[name])
            yield f'{histogram}_bucket{{{own},le="{bound}"}} {count * share:.2f}'
        yield f'{histogram}_bucket{{{own},le="+Inf"}} {count:.2f}'
        yield f"{histogram}_count{{{own}}} {count:.2f}"
    yield f'mcp_server_up{{server="{name}"}} 1'
    yield f'mcp_server_resident_memory_max_bytes{{server="{name}"}} {_MEMORY[name] + 2e6 * math.sin(seconds / 11):.0f}'
    yield f'mcp_server_sessions{{server="{name}"}} {_SESSIONS[name] + round(math.sin(seconds / 13))}'
    yield f'mcp_server_cache_requests_total{{server="{name}"}} {calls * 0.5:.0f}'
    yield f'mcp_server_cache_hits_total{{server="{name}"}} {calls * 0.36:.0f}'
    yield f'mcp_server_circuit_breaker_state{{server="{name}",breaker="upstream",state="closed"}} 1'
    refused = max(0.0, seconds - 20) if name == "billing" else 0.0
    yield f'mcp_server_refused_total{{server="{name}",reason="sessions"}} {refused:.0f}'


def _redis(seconds: float) -> Iterator[str]:
    node = 'node="127.0.0.1:6379"'
    yield "mcp_exporter_redis_up 1"
    yield f"mcp_exporter_redis_scan_duration_seconds {0.012 + 0.004 * math.sin(seconds / 8):.4f}"
    yield "mcp_exporter_redis_refresh_interval_seconds 5"
    yield f"mcp_exporter_redis_ping_duration_seconds{{{node}}} {0.0004 + 0.0001 * math.sin(seconds / 5):.6f}"
    yield f"mcp_exporter_redis_memory_used_bytes{{{node}}} {38e6 + 40e3 * seconds:.0f}"
    yield f"mcp_exporter_redis_memory_max_bytes{{{node}}} 64000000"
    yield f"mcp_exporter_redis_evicted_keys_total{{{node}}} 0"
