"""What is judged beside the guide's table: queue, cost, load, error budget, posture, a forecast, an absence."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import pytest

from rules.beyond_levels import leak_alert, vanished_alert
from tests.rules.judging import Case, Series, gauge, judge, thresholds, told
from tests.rules.test_signal_alerts import BESIDE

BOTH = ("critical", "warning")
WARNING = ("warning",)
CRITICAL = ("critical",)
INFO = ("info",)
NONE: tuple[str, ...] = ()
A = '{server="a"}'
HOURS = ("mcp-signals", "mcp-hours")


class Pace(TypedDict):
    """How far apart samples and evaluations are, and what is evaluated."""

    step: str
    evaluation: str
    groups: tuple[str, ...]


MINUTE: Pace = {"step": "1m", "evaluation": "1m", "groups": HOURS}
FIVE: Pace = {"step": "5m", "evaluation": "5m", "groups": HOURS}
QUARTER: Pace = {"step": "15m", "evaluation": "15m", "groups": (*HOURS, "mcp-days")}

QUEUE = [
    Case(name, "McpQueueLong", {**more, **gauge("mcp_server_queue_length", *phases)}, firing)
    for name, firing, more, phases in (
        ("at the critical number", {"9m45s": NONE, "11m": CRITICAL}, {}, [(15, 10)]),
        ("just below it", {"14m": NONE}, {}, [(15, 9.9)]),
        ("nothing waits", {"14m": NONE}, {}, [(15, 0)]),
        ("a level of the server's own", {"14m": WARNING}, thresholds("queue_length", 4, 20), [(15, 4)]),
        ("below a level of the server's own", {"14m": NONE}, thresholds("queue_length", 4, 20), [(15, 3.9)]),
        ("a gap in scraping", {"12m": CRITICAL, "14m": CRITICAL}, {}, [(5, 12), (0.5, None), (10, 12)]),
        ("resolves", {"14m": CRITICAL, "18m": NONE}, {}, [(15, 12), (5, 0)]),
    )
]


def spent(samples: str, model: str = "m") -> Series:
    return {f'mcp_server_cost_usd_total{{server="a",model="{model}"}}': samples}


COST = [
    # A sample is a minute: 0.05 USD a sample are 3 USD an hour.
    Case(name, "McpCostBudgetExceeded", {**spent(samples), **more}, firing, **MINUTE)
    for name, samples, firing, more in (
        ("beyond the budget", "0+0.05x80", {"72m": BOTH}, {}),
        ("just below the budget", "0+0.0482x80", {"72m": WARNING}, {}),
        ("just beyond the warning number", "0+0.0388x80", {"72m": WARNING}, {}),
        ("just below the warning number", "0+0.0386x80", {"72m": NONE}, {}),
        ("nothing is spent", "1000x80", {"72m": NONE}, {}),
        ("a dear minute", "0x40 2 2x40", {"60m": NONE, "72m": NONE}, {}),
        ("a restart in between", "0+0.05x35 0+0.05x45", {"72m": BOTH}, {}),
        ("a restart while little is spent", "50+0.004x35 0+0.004x45", {"72m": NONE}, {}),
        ("a gap in scraping", "0+0.05x35 _x3 2+0.05x45", {"72m": BOTH}, {}),
        ("resolves", "0+0.05x75 4x60", {"74m": BOTH, "130m": NONE}, {}),
        ("two models together", "0+0.025x80", {"72m": BOTH}, spent("0+0.025x80", "n")),
        ("a budget of its own", "0+0.05x80", {"72m": NONE}, thresholds("cost_usd_per_hour", 4, 5, minutes=80)),
    )
]


def load(sessions: str, allowed: int, more: Series | None = None) -> Series:
    file = 'mcp_server_config_value{server="a",section="mcp",key="max_concurrent_sessions"}'
    return {f"mcp_server_sessions{A}": sessions, file: f"{allowed}x200", **(more or {})}


LOW_LOAD = [
    Case("a quarter of what is allowed", "McpLowLoad", load("3x200", 12), {"59m": NONE, "62m": INFO}, **MINUTE),
    Case("more than a quarter", "McpLowLoad", load("4x200", 12), {"100m": NONE}, **MINUTE),
    Case("as much is allowed already", "McpLowLoad", load("1x200", 20), {"100m": NONE}, **MINUTE),
    Case("nobody uses it", "McpLowLoad", load("0x200", 12), {"100m": NONE}, **MINUTE),
    Case(
        "calls wait",
        "McpLowLoad",
        load("1x200", 12, {f"mcp_server_queue_length{A}": "1x200"}),
        {"100m": NONE},
        **MINUTE,
    ),
    Case("an hour with a peak", "McpLowLoad", load("1x40 9 1x160", 12), {"62m": NONE, "100m": NONE}, **MINUTE),
    Case("resolves", "McpLowLoad", load("1x70 9x130", 12), {"65m": INFO, "75m": NONE}, **MINUTE),
    Case("a gap in scraping", "McpLowLoad", load("1x30 _x3 1x160", 12), {"62m": INFO}, **MINUTE),
    Case("without the server's file", "McpLowLoad", {f"mcp_server_sessions{A}": "1x200"}, {"100m": NONE}, **MINUTE),
]


def checks(**values: str) -> Series:
    return {f'mcp_server_security_check{{server="a",check="{name}"}}': samples for name, samples in values.items()}


SECURITY = [
    Case(
        "one of two fails", "McpSecurityPostureDegraded", checks(audit="0x60", mode="1x60"), {"4m": NONE, "7m": WARNING}
    ),
    Case("all pass", "McpSecurityPostureDegraded", checks(audit="1x60", mode="1x60"), {"7m": NONE}),
    Case("fails for a moment", "McpSecurityPostureDegraded", checks(audit="1x8 0x4 1x60"), {"7m": NONE, "10m": NONE}),
    Case("a gap in scraping", "McpSecurityPostureDegraded", checks(audit="0x10 _x2 0x60"), {"7m": WARNING}),
    Case("resolves", "McpSecurityPostureDegraded", checks(audit="0x40 1x60"), {"9m": WARNING, "13m": NONE}),
]


def up(samples: str) -> Series:
    """Parts of a minute in which a server was up, one sample a minute (or five)."""
    return {f"mcp_server_up{A}": samples}


BURN = "McpAvailabilityBudgetBurn"
AVAILABILITY = [
    Case("fast, beyond the number", BURN, up("0.9325x90"), {"59m": NONE, "65m": CRITICAL}, **MINUTE),
    Case("fast, just below the number", BURN, up("0.9329x90"), {"80m": NONE}, **MINUTE),
    Case("fast, over again", BURN, up("1x70 0.5x12 1x30"), {"81m": CRITICAL, "90m": NONE}, **MINUTE),
    Case("a new server begins badly", BURN, up("0.1x20 1x30"), {"19m": NONE, "30m": NONE}, **MINUTE),
    Case("fast, a gap in scraping", BURN, up("0.93x40 _x5 0.93x60"), {"80m": CRITICAL}, **MINUTE),
    Case("medium, beyond the number", BURN, up("0.9824x100"), {"5h55m": NONE, "6h30m": CRITICAL}, **FIVE),
    Case("medium, just below the number", BURN, up("0.9826x100"), {"7h": NONE}, **FIVE),
    Case("slow, beyond the number", BURN, up("0.9929x110"), {"23h45m": NONE, "25h": WARNING}, **QUARTER),
    Case("slow, just below the number", BURN, up("0.9931x110"), {"26h": NONE}, **QUARTER),
    Case("slow, over again", BURN, up("0.9929x100 1x20"), {"25h": WARNING, "29h": NONE}, **QUARTER),
    Case("slowest, beyond the number", BURN, up("0.995x300"), {"71h": NONE, "73h": WARNING}, **QUARTER),
    Case("slowest, just below the number", BURN, up("0.9952x300"), {"74h": NONE}, **QUARTER),
]

LEAK = "McpMemoryLeakSuspected"
LEVELS = thresholds("resident_memory_bytes", 800e6, 1000e6, minutes=150)


def memory(rss: str, started: str = "100x150") -> Series:
    # 150 samples of a level, whatever their distance, last as long as the memory's.
    levels = {name: f"{samples.split()[0]}x150" for name, samples in LEVELS.items()}
    series = {f"mcp_server_resident_memory_max_bytes{A}": rss, f"mcp_server_start_time_seconds{A}": started}
    return {**levels, **series}


MEMORY = [
    Case(name, LEAK, memory(*series), firing, "memory", **MINUTE)
    for name, series, firing in (
        ("critical in four hours", ["550000000+2000000x120"], {"85m": NONE, "95m": WARNING}),
        ("just beyond the number", ["600000000+1350000x120"], {"95m": WARNING}),
        ("just below the number", ["600000000+1180000x120"], {"95m": NONE}),
        ("below half of the level there is time", ["100000000+4100000x120"], {"95m": NONE}),
        ("steady", ["700000000x120"], {"95m": NONE}),
        (
            "restarted within the hour",
            ["550000000+2000000x49 550000000+2000000x70", "100x49 3000x100"],
            {"95m": NONE, "105m": NONE},
        ),
        ("a gap in scraping", ["550000000+2000000x40 _x5 642000000+2000000x70"], {"95m": WARNING}),
        (
            "resolves after a restart",
            ["550000000+2000000x100 80000000x40", "100x100 6060x40"],
            {"95m": WARNING, "113m": NONE},
        ),
    )
]

EXPORTER = 'up{job="mcp-exporter",instance="e:1"}'
VANISHED = "McpServerVanished"
GONE = [
    Case(
        "while the exporter runs", VANISHED, {**up("1x30 stale"), EXPORTER: "1x120"},
        {"34m": NONE, "37m": WARNING, "95m": NONE}, "down", **MINUTE,
    ),
    Case("with the exporter", VANISHED, {**up("1x30 stale"), EXPORTER: "1x30 0x90"}, {"40m": NONE}, "down", **MINUTE),
    Case(
        "with one of two exporters", VANISHED,
        {**up("1x30 stale"), EXPORTER: "1x30 0x90", 'up{job="mcp-exporter",instance="e:2"}': "1x120"},
        {"40m": NONE}, "down", **MINUTE,
    ),
    Case("without an exporter of ours", VANISHED, up("1x30 stale"), {"40m": NONE}, "down", **MINUTE),
    Case("for a moment", VANISHED, {**up("1x30 stale _x3 1x60"), EXPORTER: "1x120"}, {"37m": NONE}, "down", **MINUTE),
    Case(
        "and comes back", VANISHED, {**up("1x30 stale _x9 1x60"), EXPORTER: "1x120"},
        {"38m": WARNING, "45m": NONE}, "down", **MINUTE,
    ),
]  # fmt: skip

CASES = [*QUEUE, *COST, *LOW_LOAD, *SECURITY, *AVAILABILITY, *MEMORY, *GONE]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.name}")
def test_alert_fires_exactly_when_it_should(case: Case, tmp_path: Path) -> None:
    case.hold(tmp_path)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert {case.alert for case in CASES} == {*BESIDE, str(leak_alert()["alert"]), str(vanished_alert()["alert"])}
    for alert in {case.alert for case in CASES}:
        seen = {severities for case in CASES if case.alert == alert for severities in case.firing.values()}
        assert NONE in seen, alert
        assert seen - {NONE}, alert


TEXTS = {
    "McpQueueLong": (
        gauge("mcp_server_queue_length", (30, 12)), "14m", {"severity": "critical", "signal": "queue"},
        "MCP server a: queue too high", "Queue of a: 12; critical at 10 or more.",
    ),
    "McpSecurityPostureDegraded": (
        checks(audit="0x60", mode="1x60"), "10m", {"severity": "warning", "signal": "security"},
        "MCP server a fails a security check", "Security checks of a that fail: audit.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("alert", TEXTS)
def test_what_is_told(alert: str, tmp_path: Path) -> None:
    series, at, labels, summary, description = TEXTS[alert]
    judge(tmp_path, series, {"alert_rule_test": [told(alert, at, {"server": "a", **labels}, summary, description)]})


MINUTE_TEXTS = {
    "McpCostBudgetExceeded": (
        spent("0+0.04x80"), "72m", {"severity": "warning", "signal": "cost"},
        "MCP server a: cost too high", "Cost of a: 2.40 USD/h; warning at 2.32 USD/h or more.",
    ),
    "McpLowLoad": (
        load("3x200", 12), "62m", {"severity": "info", "signal": "low_load"},
        "MCP server a has little to do",
        (
            "For 1h a had at most 25% of the sessions that its file allows; at 25% or less the profile low_load, with "
            "room for more, is suggested."
        ),
    ),
    BURN: (
        up("0.9x90"), "65m", {"severity": "critical", "signal": "availability"},
        "MCP server a is down too often",
        "The error budget of a burns 20 times as fast as 99.5% of a week allows, and still does.",
    ),
    LEAK: (
        memory("550000000+2000000x120"), "95m", {"severity": "warning", "signal": "memory"},
        "MCP server a seems to leak memory",
        "If the memory of a grows as in the last hour, it will be 1.22GB in four hours; critical at 1GB or more.",
    ),
    VANISHED: (
        {**up("1x30 stale"), EXPORTER: "1x120"}, "40m", {"severity": "warning", "signal": "down"},
        "MCP server a vanished",
        "No exporter reports a any more, though all exporters run. It is neither judged nor treated.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("alert", MINUTE_TEXTS)
def test_what_is_told_of_hours(alert: str, tmp_path: Path) -> None:
    series, at, labels, summary, description = MINUTE_TEXTS[alert]
    tests = {"alert_rule_test": [told(alert, at, {"server": "a", **labels}, summary, description)]}
    judge(tmp_path, series, tests, **MINUTE)
