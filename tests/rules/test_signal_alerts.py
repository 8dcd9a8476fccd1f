"""Each row of the threshold table, judged by promtool: at the numbers, just below, without traffic, over a restart."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path

import pytest

from fleet.signals import BY_ALERT
from tests.rules.judging import Case, Phase, Series, counter, gauge, judge, lookups, thresholds, told, traffic

BOTH = ("critical", "warning")
WARNING = ("warning",)
CRITICAL = ("critical",)
NONE: tuple[str, ...] = ()
BESIDE = {
    "McpQueueLong",
    "McpCostBudgetExceeded",
    "McpLowLoad",
    "McpAvailabilityBudgetBurn",
    "McpSecurityPostureDegraded",
}
"""Not of the guide's table; test_alerts_beside_the_table.py has them."""


RATIO = thresholds("error_ratio", 0.02, 0.05)
SLOW = thresholds("response_time_seconds", 3, 5)
HITS = thresholds("cache_hit_ratio", 0.6, 0.4)
CAP = thresholds("sessions", 12, 15)
RSS = thresholds("resident_memory_bytes", 400e6, 512e6)


def failing(failed: int, of: int, *, minutes: float = 15, kind: str = "tool_error") -> Phase:
    return Phase(minutes, {0.1: of - failed}, {kind: failed})


def errors(name: str, firing: Mapping[str, tuple[str, ...]], *phases: Phase, levels: Series = RATIO) -> Case:
    return Case(name, "McpErrorRatioHigh", {**levels, **traffic(*phases)}, firing)


CALM = failing(0, 100)

ERROR_RATIO = [
    errors("at the critical number", {"10m": BOTH}, failing(5, 100)),
    errors("just below the critical number", {"10m": WARNING}, failing(49, 1000)),
    errors("at the warning number", {"10m": WARNING}, failing(2, 100)),
    errors("just below the warning number", {"10m": NONE}, failing(19, 1000)),
    errors("every call fails", {"10m": BOTH}, failing(10, 10)),
    errors("without traffic after failures", {"4m": BOTH, "15m": NONE}, failing(9, 10, minutes=5), failing(0, 0)),
    errors(
        "fewer calls than the guard asks for",
        {"8m": NONE, "9m": NONE},
        failing(0, 0, minutes=5),
        failing(4, 4, minutes=0.5),
        failing(0, 0),
    ),
    errors("not before it lasted", {"1m45s": NONE, "3m": BOTH}, failing(10, 10)),
    errors("resolves when calls succeed again", {"9m": BOTH, "18m": NONE}, failing(5, 10, minutes=10), CALM),
    errors(
        "a restart sets the counters back while it is calm",
        {"10m": NONE, "11m": NONE, "14m": NONE},
        failing(0, 100, minutes=10),
        Phase(10, {0.1: 100}, {"tool_error": 0}, restarted=True),
    ),
    errors(
        "a restart sets the counters back while it fails",
        {"10m": BOTH, "11m": BOTH, "14m": BOTH},
        failing(10, 100, minutes=10),
        Phase(10, {0.1: 90}, {"tool_error": 10}, restarted=True),
    ),
    errors(
        "a gap in scraping does not make it wait anew",
        {"3m": WARNING},
        failing(10, 100, minutes=1.5),
        Phase(0.5, {0.1: 90}, {"tool_error": 10}, scraped=False),
        failing(10, 100),
        levels={
            **gauge(
                "mcp_threshold_error_ratio", (1.5, 0.5), (0.5, None), (20, 0.5), labels='server="a",severity="critical"'
            ),
            **gauge(
                "mcp_threshold_error_ratio",
                (1.5, 0.05),
                (0.5, None),
                (20, 0.05),
                labels='server="a",severity="warning"',
            ),
        },
    ),
    errors(
        "a gap of a minute in scraping",
        {"9m": WARNING, "10m45s": WARNING, "11m": WARNING, "14m": WARNING},
        failing(10, 100, minutes=10),
        Phase(1, {0.1: 90}, {"tool_error": 10}, scraped=False),
        failing(10, 100),
        levels={
            **gauge(
                "mcp_threshold_error_ratio", (10, 0.5), (1, None), (20, 0.5), labels='server="a",severity="critical"'
            ),
            **gauge(
                "mcp_threshold_error_ratio", (10, 0.05), (1, None), (20, 0.05), labels='server="a",severity="warning"'
            ),
        },
    ),
    errors(
        "the callers' own mistakes",
        {"10m": NONE},
        Phase(15, {0.1: 50}, {"cancelled": 20, "-32602": 20, "http_4xx": 10}),
    ),
    errors(
        "the server's level of its own wins",
        {"10m": WARNING},
        failing(10, 100),
        levels=thresholds("error_ratio", 0.1, 0.5),
    ),
    errors(
        "two exporters with the same thresholds",
        {"10m": BOTH},
        failing(10, 100),
        levels={
            **thresholds("error_ratio", 0.02, 0.05, labels='server="a",instance="one"'),
            **thresholds("error_ratio", 0.02, 0.05, labels='server="a",instance="two"'),
        },
    ),
    Case(
        "OpenTelemetry's names alone are judged by the table",
        "McpErrorRatioHigh",
        traffic(failing(0, 100, minutes=1), failing(5, 100), errors_total=False),
        {"10m": BOTH},
    ),
    Case(
        "OpenTelemetry's names alone, warning",
        "McpErrorRatioHigh",
        traffic(failing(3, 100), errors_total=False),
        {"10m": WARNING},
    ),
    Case(
        "series of no server",
        "McpErrorRatioHigh",
        traffic(failing(50, 100), errors_total=False, server=""),
        {"10m": NONE},
    ),
]


def slow(name: str, firing: Mapping[str, tuple[str, ...]], *phases: Phase, levels: Series = SLOW) -> Case:
    return Case(name, "McpResponseTimeHigh", {**levels, **traffic(*phases)}, firing)


RESPONSE_TIME = [
    # 95 of 100 calls end within the bound: p95 is the bound itself.
    slow("at the critical number", {"10m": BOTH}, Phase(15, {5: 95, 10: 5})),
    slow("just below the critical number", {"10m": WARNING}, Phase(15, {5: 96, 10: 4})),
    slow("at the warning number", {"10m": WARNING}, Phase(15, {3: 95, 5: 5})),
    slow("just below the warning number", {"10m": NONE}, Phase(15, {3: 96, 5: 4})),
    slow("longer than every bucket", {"10m": BOTH}, Phase(15, {inf: 10})),
    slow("without traffic", {"4m": BOTH, "15m": NONE}, Phase(5, {10: 10}), Phase(15)),
    slow("fewer calls than the guard asks for", {"8m": NONE, "9m": NONE}, Phase(5), Phase(0.5, {10: 4}), Phase(10)),
    slow(
        "timeouts count",
        {"10m": BOTH},
        Phase(15, {0.1: 10}, {"timeout": 1}),
        levels={**SLOW, **thresholds("error_ratio", 1, 1)},
    ),
    slow(
        "fast failures do not look like health",
        {"10m": BOTH},
        Phase(15, {10: 10}, {"tool_error": 500}),
        levels={**SLOW, **thresholds("error_ratio", 1, 1)},
    ),
    slow("resolves", {"9m": BOTH, "18m": NONE}, Phase(10, {10: 10}), Phase(15, {0.1: 10})),
    slow(
        "a restart while it is slow",
        {"10m": BOTH, "11m": BOTH, "14m": BOTH},
        Phase(10, {10: 10}),
        Phase(10, {10: 10}, restarted=True),
    ),
    slow(
        "a restart while it is fast",
        {"11m": NONE, "14m": NONE},
        Phase(10, {0.1: 10}),
        Phase(10, {0.1: 10}, restarted=True),
    ),
    slow(
        "the server's level of its own wins",
        {"10m": NONE},
        Phase(15, {10: 10}),
        levels=thresholds("response_time_seconds", 20, 30),
    ),
    Case(
        "OpenTelemetry's names alone",
        "McpResponseTimeHigh",
        traffic(Phase(15, {10: 10}), errors_total=False),
        {"10m": BOTH},
    ),
    slow("not before it lasted", {"1m45s": NONE, "3m": BOTH}, Phase(15, {10: 10})),
]


def hit(name: str, firing: Mapping[str, tuple[str, ...]], *phases: tuple[float, int, int]) -> Case:
    return Case(name, "McpCacheHitRatioLow", {**HITS, **lookups(*phases)}, firing)


CACHE_HIT_RATIO = [
    hit("at the critical number", {"20m": BOTH}, (30, 100, 40)),
    hit("just above the critical number", {"20m": WARNING}, (30, 1000, 401)),
    hit("at the warning number", {"20m": WARNING}, (30, 100, 60)),
    hit("just above the warning number", {"20m": NONE}, (30, 1000, 601)),
    hit("without lookups", {"20m": NONE}, (30, 0, 0)),
    hit("fewer lookups than the guard asks for", {"26m": NONE}, *[(0.25, 1, 0), (0.75, 0, 0)] * 30),
    hit("a cold cache warms up", {"9m": NONE, "20m": NONE}, (5, 100, 0), (30, 100, 90)),
    hit("resolves", {"20m": BOTH, "32m": NONE}, (20.25, 100, 10), (20, 100, 90)),
    Case("without thresholds the table judges", "McpCacheHitRatioLow", lookups((30, 100, 10)), {"20m": BOTH}),
]


def sessions(
    name: str, firing: Mapping[str, tuple[str, ...]], *phases: tuple[float, float | None], more: Series | None = None
) -> Case:
    return Case(name, "McpSessionsHigh", {**CAP, **gauge("mcp_server_sessions", *phases), **(more or {})}, firing)


LIMIT = gauge("mcp_server_sessions_limit", (30, 16))
BELOW = gauge("mcp_server_sessions_limit", (30, 8))
REFUSED = 'server="a",reason="sessions"'

SESSIONS = [
    sessions("at the critical number", {"5m": BOTH}, (10, 15)),
    sessions("just below the critical number", {"5m": WARNING}, (10, 14)),
    sessions("at the warning number", {"5m": WARNING}, (10, 12)),
    sessions("just below the warning number", {"5m": NONE}, (10, 11)),
    sessions("resolves", {"9m": BOTH, "13m": NONE}, (10, 20), (10, 3)),
    sessions("a gap in scraping", {"4m45s": BOTH, "5m15s": BOTH, "6m": BOTH}, (5, 20), (0.5, None), (10, 20)),
    sessions(
        "at an enforced cap that refuses nobody",
        {"10m": NONE},
        (20, 16),
        more={**LIMIT, **counter("mcp_server_refused_total", (20, 0), labels=REFUSED)},
    ),
    sessions(
        "at an enforced cap that refuses",
        {"10m": BOTH},
        (20, 16),
        more={**LIMIT, **counter("mcp_server_refused_total", (20, 1), labels=REFUSED)},
    ),
    sessions("below an enforced cap", {"10m": BOTH}, (20, 15), more=LIMIT),
    sessions(
        "at an enforced cap below every level that refuses nobody",
        {"10m": NONE},
        (20, 8),
        more={**BELOW, **counter("mcp_server_refused_total", (20, 0), labels=REFUSED)},
    ),
    sessions(
        "at an enforced cap below every level that refuses",
        {"10m": CRITICAL, "16m": NONE},
        (20, 8),
        more={**BELOW, **counter("mcp_server_refused_total", (12, 1), (8, 0), labels=REFUSED)},
    ),
    sessions(
        "a count that swings around the level is one alert",
        {"4m": BOTH, "9m": BOTH, "14m": WARNING, "19m": WARNING, "24m": NONE},
        (5, 15),
        (5, 13),
        (5, 12),
        (5, 11),
        (5, 10),
    ),
    sessions("below the level from the start it does not fire where it would end", {"9m": WARNING}, (10, 13)),
    sessions("more than a cap that was lowered meanwhile", {"10m": BOTH}, (20, 30), more=LIMIT),
    Case(
        "without thresholds the table judges", "McpSessionsHigh", gauge("mcp_server_sessions", (10, 15)), {"5m": BOTH}
    ),
]


def memory(
    name: str, firing: Mapping[str, tuple[str, ...]], *phases: tuple[float, float | None], levels: Series = RSS
) -> Case:
    return Case(name, "McpMemoryHigh", {**levels, **gauge("mcp_server_resident_memory_max_bytes", *phases)}, firing)


MEMORY = [
    memory("at the critical number", {"5m": BOTH}, (10, 512e6)),
    memory("just below the critical number", {"5m": WARNING}, (10, 511.9e6)),
    memory("at the warning number", {"5m": WARNING}, (10, 400e6)),
    memory("just below the warning number", {"5m": NONE}, (10, 399.9e6)),
    memory("resolves after a restart", {"9m": BOTH, "13m": NONE}, (10, 600e6), (10, 80e6)),
    memory("a gap in scraping", {"4m45s": BOTH, "5m15s": BOTH, "6m": BOTH}, (5, 600e6), (0.5, None), (10, 600e6)),
    memory("one odd scrape", {"6m": NONE, "7m": NONE, "8m": NONE}, (5, 80e6), (0.25, 900e6), (10, 80e6)),
    memory("without thresholds the table judges", {"5m": BOTH}, (10, 512e6), levels={}),
    memory(
        "the server's level of its own wins",
        {"5m": NONE},
        (10, 600e6),
        levels=thresholds("resident_memory_bytes", 700e6, 800e6),
    ),
]


def up(name: str, firing: Mapping[str, tuple[str, ...]], *phases: tuple[float, float | None]) -> Case:
    return Case(name, "McpServerDown", gauge("mcp_server_up", *phases), firing)


DOWN = [
    up("broken", {"45s": NONE, "5m": CRITICAL}, (10, 0)),
    up("idle", {"5m": NONE}, (10, 1)),
    up("one failed scrape", {"5m30s": NONE, "6m": NONE, "6m30s": NONE, "7m": NONE}, (5, 1), (0.25, 0), (10, 1)),
    up("two failed scrapes", {"6m": NONE, "6m15s": NONE, "6m30s": NONE, "7m": NONE}, (5, 1), (0.5, 0), (10, 1)),
    up("down for a minute", {"6m15s": NONE, "6m45s": CRITICAL, "8m": NONE}, (5, 1), (1, 0), (10, 1)),
    up("resolves", {"9m": CRITICAL, "12m": NONE}, (10, 0), (10, 1)),
    up("nothing known", {"5m": NONE}, (10, None)),
]


def breaker(name: str, firing: Mapping[str, tuple[str, ...]], *phases: tuple[float, float | None]) -> Case:
    series = gauge("mcp_server_circuit_breaker_state", *phases, labels='server="a",breaker="gateway",state="open"')
    return Case(name, "McpCircuitBreakerOpen", series, firing)


CIRCUIT_BREAKER = [
    breaker("open", {"45s": NONE, "5m": CRITICAL}, (10, 1)),
    breaker("closed", {"5m": NONE}, (10, 0)),
    breaker("one trial that succeeds", {"6m": NONE, "7m": NONE, "8m": NONE}, (5, 0), (0.5, 1), (10, 0)),
    breaker("trials that fail", {"5m": NONE, "8m": CRITICAL}, (5, 0), *[(0.5, 1), (0.25, 0)] * 12),
    breaker("resolves", {"9m": CRITICAL, "13m": NONE}, (10, 1), (10, 0)),
]

CASES = [*ERROR_RATIO, *RESPONSE_TIME, *CACHE_HIT_RATIO, *SESSIONS, *MEMORY, *DOWN, *CIRCUIT_BREAKER]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.name}")
def test_alert_fires_exactly_when_it_should(case: Case, tmp_path: Path) -> None:
    case.hold(tmp_path)


def test_every_signal_has_a_case_that_fires_at_each_level_and_one_that_does_not() -> None:
    for alert, signal in BY_ALERT.items():
        if alert in BESIDE:
            continue
        seen = {severities for case in CASES if case.alert == alert for severities in case.firing.values()}
        assert seen >= ({CRITICAL, NONE} if signal.threshold is None else {BOTH, WARNING, NONE}), alert


TEXTS = {
    "McpErrorRatioHigh": (
        {**RATIO, **traffic(failing(3, 100))},
        "error ratio too high",
        "Error ratio of a: 3%; warning at 2% or more.",
    ),
    "McpResponseTimeHigh": (
        {**SLOW, **traffic(Phase(15, {3: 92, 5: 8}))},
        "response time (p95) too high",
        "Response time (p95) of a: 3.75s; warning at 3s or more.",
    ),
    "McpCacheHitRatioLow": (
        {**HITS, **lookups((30, 100, 45))},
        "cache hit ratio too low",
        "Cache hit ratio of a: 45%; warning at 60% or less.",
    ),
    "McpSessionsHigh": (
        {**CAP, **gauge("mcp_server_sessions", (30, 13))},
        "sessions too high",
        "Sessions of a: 13; warning at 12 or more.",
    ),
    "McpMemoryHigh": (
        {**RSS, **gauge("mcp_server_resident_memory_max_bytes", (30, 450e6))},
        "memory (largest instance) too high",
        "Memory (largest instance) of a: 450MB; warning at 400MB or more.",
    ),
}


@pytest.mark.parametrize("alert", TEXTS)
def test_the_alerts_value_is_the_signals_and_its_texts_say_both_numbers(alert: str, tmp_path: Path) -> None:
    series, summary, description = TEXTS[alert]
    labels = {"server": "a", "severity": "warning", "signal": str(BY_ALERT[alert].name)}
    expected = told(alert, "14m", labels, f"MCP server a: {summary}", description)
    judge(tmp_path, series, {"alert_rule_test": [expected]})


def test_what_a_down_server_is_told_as(tmp_path: Path) -> None:
    expected = told(
        "McpServerDown",
        "5m",
        {"server": "a", "severity": "critical", "signal": "down"},
        "MCP server a is down",
        "A probe, an exchange or supervision proved a broken, and it has not been seen well for 1m since.",
    )
    judge(tmp_path, gauge("mcp_server_up", (10, 0)), {"alert_rule_test": [expected]})


def test_what_an_open_breaker_is_told_as(tmp_path: Path) -> None:
    expected = told(
        "McpCircuitBreakerOpen",
        "5m",
        {"server": "a", "severity": "critical", "signal": "circuit_breaker"},
        "MCP server a has its circuit breaker open",
        "The circuit breaker in front of a was open at some time during the last 1m, again and again: the server "
        "fails its trials, and calls are refused before they reach it.",
    )
    series = gauge("mcp_server_circuit_breaker_state", (10, 1), labels='server="a",breaker="gateway",state="open"')
    judge(tmp_path, series, {"alert_rule_test": [expected]})


def test_a_label_of_a_server_cannot_become_a_part_of_the_query_in_its_text(tmp_path: Path) -> None:
    name = 'x"} or vector(1) #'
    labels = {"server": name, "severity": "warning", "signal": "sessions"}
    expected = told(
        "McpSessionsHigh",
        "5m",
        labels,
        f"MCP server {name}: sessions too high",
        f"Sessions of {name}: 13; warning at 12 or more.",
    )
    series = gauge("mcp_server_sessions", (10, 13), labels='server="x\\"} or vector(1) #"')
    judge(tmp_path, series, {"alert_rule_test": [expected]})
