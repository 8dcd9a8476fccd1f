"""A made-up past of a fleet, and a real Prometheus that remembers it.

``codex`` has 62 days of history, one sample each half hour until ``NOW``; ``young`` has three days; ``silent`` none.
Every figure is a list of (UNIX seconds, value) that tests compute with by themselves.
"""

from __future__ import annotations

import contextlib
import math
import random
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rules.generate import RULES_FILE
from stack.ports import free_ports
from stack.tools import ToolMissingError, find

NOW: Final = 1_772_323_200
"""2026-03-01 00:00:00Z: the last sample."""
CLOCK: Final = NOW + 600
"""What the console's clock shows. No sample lies at either end of a window: whether those belong to it depends on the
version of Prometheus."""
STEP: Final = 1800
DAY: Final = 86_400
DAYS: Final = 62
READY_SECONDS: Final = 90.0

Points = list[tuple[int, float]]
Past = dict[str, Points]
"""A series, as OpenMetrics writes it, to its samples."""

TOOL: Final = "ツール検索"
NAN: Final = float("nan")
MEGABYTE: Final = 1e6


def moments(days: float = DAYS) -> list[int]:
    """Every half hour of the last ``days``, ``NOW`` included."""
    return [NOW - STEP * back for back in range(round(days * DAY / STEP), -1, -1)]


def _asleep(at: int) -> bool:
    """Nobody calls from 2 to 5 in the night."""
    return 2 <= at % DAY / 3600 < 5


def _codex() -> Past:
    chance = random.Random(8)
    past: Past = {}
    totals = {"calls": 0, "errors": 0, "cancelled": 0, "lookups": 0, "hits": 0, "cpu": 0.0, "usd": 0.0, "bytes": 0}

    def tell(name: str, at: int, value: float, labels: str = "") -> None:
        past.setdefault(f'{name}{{server="codex"{labels}}}', []).append((at, value))

    for number, at in enumerate(moments()):
        asleep = _asleep(at)
        days = (at - NOW) / DAY
        sessions = 1.0 if asleep else round(5 + 4 * math.sin(2 * math.pi * at / DAY) + chance.random(), 3)
        calls = 0 if asleep else chance.randrange(200, 400)
        errors = 0 if asleep else chance.randrange(0, 3)
        cancelled = 0 if asleep else chance.randrange(0, 2)
        lookups = 0 if asleep else chance.randrange(100, 200)
        hits = round(lookups * (0.62 if days > -30 else 0.5))
        slow = (1.2 if days > -30 else 2.0) * (1 + 0.2 * chance.random())
        memory = (300 + 0.7 * days + 6 * sessions + chance.gauss(0, 2)) * MEGABYTE
        cost = round(1.1 + 0.002 * days + 0.1 * chance.random(), 4)
        breaker = 1.0 if number % 500 == 17 else 0.0
        totals["calls"] += calls
        totals["errors"] += errors
        totals["cancelled"] += cancelled
        totals["lookups"] += lookups
        totals["hits"] += hits
        totals["cpu"] += (0.05 + 0.02 * sessions) * STEP
        totals["usd"] += cost / 2
        totals["bytes"] += calls * 900

        tell("mcp:signal_down", at, 0.0 if number % 700 == 33 else 1.0)
        tell("mcp:signal_response_time", at, NAN if asleep else slow)
        tell("mcp:response_time_p50_seconds", at, NAN if asleep else slow / 4)
        if not asleep:
            tell("mcp:sampled_response_time", at, slow)
        tell("mcp:evidence_response_time", at, calls)
        tell("mcp:signal_cache_hit_ratio", at, NAN if asleep else hits / lookups)
        tell("mcp:evidence_cache_hit_ratio", at, lookups)
        tell("mcp:sampled_lookups", at, lookups)
        tell("mcp:signal_error_ratio", at, NAN if asleep else errors / calls)
        tell("mcp:evidence_error_ratio", at, calls)
        tell("mcp:sampled_calls", at, calls)
        if not asleep:
            tell("mcp:sampled_hits", at, hits)
            tell("mcp:sampled_failures", at, errors)
        tell("mcp:calls_per_second", at, calls / 300)
        tell("mcp:signal_sessions", at, sessions)
        tell("mcp:signal_memory", at, memory)
        tell("mcp:signal_queue", at, float(number % 3))
        tell("mcp:signal_cost", at, cost)
        tell("mcp:signal_circuit_breaker", at, breaker)
        for state in ("closed", "half_open", "open"):
            tell("mcp_server_circuit_breaker_state", at, float(state == "closed"), f',breaker="a",state="{state}"')
        count = "mcp_server_operation_duration_seconds_count"
        for kind, key in (("", "calls"), ("tool_error", "errors"), ("cancelled", "cancelled")):
            labels = f',mcp_method_name="tools/call",gen_ai_tool_name="{TOOL}",error_type="{kind}"'
            tell(count, at, totals[key], labels)
        tell("mcp:tool_response_time_p50_seconds", at, NAN if asleep else slow / 5, f',gen_ai_tool_name="{TOOL}"')
        tell("mcp:tool_response_time_p95_seconds", at, NAN if asleep else slow / 2, f',gen_ai_tool_name="{TOOL}"')
        tell("mcp_server_cache_requests_total", at, totals["lookups"])
        tell("mcp_server_cache_hits_total", at, totals["hits"])
        tell("mcp_server_cpu_seconds_total", at, round(totals["cpu"], 6))
        tell("mcp_server_cost_usd_total", at, round(totals["usd"], 6), ',model="gpt-5-codex"')
        tell("mcp_server_bytes_total", at, totals["bytes"], ',direction="out"')
        tell("mcp_server_restarts_total", at, 3.0 + (at >= NOW - 10 * DAY))
    return past


def _objectives() -> Past:
    """What the rules say of the criteria: one met, one missed at its goal, one for the fleet; the others are silent."""
    past: Past = {}
    for at in moments(20):
        past.setdefault('mcp:objective_first_response_seconds{server="codex"}', []).append((at, 0.8))
        past.setdefault('mcp:objective_cache_hit_ratio{server="codex"}', []).append((at, 0.5))
        past.setdefault('mcp:objective_availability{server="codex"}', []).append((at, 0.9991))
        past.setdefault('mcp:availability{server="codex"}', []).append((at, 1.0))
        past.setdefault('mcp:objective_error_ratio{server="codex"}', []).append((at, 0.0123))
        past.setdefault("mcp:objective_manual_interventions{}", []).append((at, 0.0))
        past.setdefault('mcp:error_budget_remaining_ratio{server="codex"}', []).append((at, 0.82))
        past.setdefault('mcp:saved_seconds_per_second{server="codex"}', []).append((at, 0.25))
        past.setdefault('mcp:saved_usd_per_hour{server="codex"}', []).append((at, 0.4))
        for check, passes in (("auth_file", 1.0), ("audit_logging", 0.0), ("session_expiry", 1.0)):
            past.setdefault(f'mcp_server_security_check{{server="codex",check="{check}"}}', []).append((at, passes))
    past['mcp:availability{server="young"}'] = [(at, 1.0) for at in moments(1)]
    past['mcp:objective_availability{server="young"}'] = [(NOW, 1.0)]
    return past


EPISODES: Final = (
    ("McpErrorRatioHigh", "error_ratio", "critical", NOW - 5 * DAY, 3 * STEP),
    ("McpErrorRatioHigh", "error_ratio", "critical", NOW - 2 * DAY, 2 * STEP),
    ("McpMemoryHigh", "memory", "warning", NOW - 9 * DAY, 4 * STEP),
    ("McpServerDown", "down", "critical", NOW - 20 * DAY, 2 * STEP),
)
"""(alert, signal, severity, first sample, seconds from the first to the last) of codex."""


def _alerts() -> Past:
    past: Past = {}
    for alert, signal, severity, start, length in EPISODES:
        name = (
            f'ALERTS{{alertname="{alert}",alertstate="firing",server="codex",severity="{severity}",signal="{signal}"}}'
        )
        past.setdefault(name, []).extend((at, 1.0) for at in range(start, start + length + 1, 60))
    past['ALERTS{alertname="McpWatchdog",alertstate="firing",severity="info"}'] = [(at, 1.0) for at in moments()]
    return past


def _young() -> Past:
    past: Past = {}
    for at in moments(3):
        past.setdefault('mcp:signal_down{server="young"}', []).append((at, 1.0))
        past.setdefault('mcp:signal_memory{server="young"}', []).append((at, 399_999_999.0))
        past.setdefault('mcp:signal_sessions{server="young"}', []).append((at, 12.0))
        past.setdefault('mcp:signal_response_time{server="young"}', []).append((at, 5.0))
        past.setdefault('mcp:evidence_response_time{server="young"}', []).append((at, 9.0))
    return past


def made_up() -> Past:
    """The whole past."""
    return _codex() | _objectives() | _alerts() | _young()


def values(past: Past, series: str, since: int, until: int = NOW) -> list[float]:
    """What a series of codex held from ``since`` to ``until``, both included, without NaN."""
    return [value for at, value in points(past, series, since, until)]


def points(past: Past, series: str, since: int, until: int = NOW) -> Points:
    """As ``values``, with their times."""
    name = series if "{" in series else f'{series}{{server="codex"}}'
    return [(at, value) for at, value in past[name] if since <= at <= until and not math.isnan(value)]


def open_metrics(past: Past) -> str:
    """The past as promtool reads it."""
    lines = [f"{name} {value!r} {at}" for name, samples in past.items() for at, value in samples]
    return "\n".join([*lines, "# EOF"]).replace(" nan ", " NaN ") + "\n"


@contextlib.contextmanager
def remembered(past: Past, folder: Path) -> Iterator[str]:
    """The URL of a Prometheus that holds the past and nothing else. Without one the test is skipped."""
    try:
        promtool, prometheus = find("promtool"), find("prometheus")
    except ToolMissingError as error:
        pytest.skip(str(error))
    written, data = folder / "past.txt", folder / "data"
    written.write_text(open_metrics(past), encoding="utf-8")
    # One block for all of it: by default there is one for each two hours, and the file is read once for each.
    made = subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=4000h", "-q", written, data],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (folder / "prometheus.yml").write_text(f"rule_files: ['{RULES_FILE}']\n")
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=100y", "--query.lookback-delta=30m",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/-/ready", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(READY_SECONDS)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"prometheus did not start: {log.read_text()[-2000:]}")


def fleet_text(prometheus: str, alertmanager: str, receiver: str) -> str:
    """A fleet file of the three servers."""
    server = "transport: http, url: 'http://127.0.0.1:3001/mcp'"
    return (
        f"prometheus: {{url: '{prometheus}'}}\nalertmanager: {{url: '{alertmanager}'}}\n"
        f"receiver: {{url: '{receiver}'}}\nservers:\n"
        f"  - {{name: codex, {server}, config_file: codex.toml}}\n"
        f"  - {{name: young, {server}}}\n  - {{name: silent, {server}}}\n"
    )


CONFIG: Final = """\
[mcp]
max_concurrent_sessions = 15

[security]
audit_logging = true
sensitive_data_detection = true

[security.risk_levels]
"read-only" = "low"
"full-access" = "high"

[security.approval_workflows]
auto_approve_read_only = true
auto_approve_full_access = false
"""

Json = Any
