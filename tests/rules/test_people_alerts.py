"""The alerts that call people: each fires, each stays quiet, none asks for treatment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from rules.people import people_rules
from tests.rules.judging import Series, counter, gauge, judge, lookups, samples, told


@dataclass(frozen=True)
class Case:
    """At each time the labels that ``alert`` fires with, beside its name and state."""

    name: str
    alert: str
    series: Series
    firing: Mapping[str, tuple[str, ...]]


EXPORTER, RECEIVER = 'job="mcp-exporter",instance="e:1"', 'job="mcp-receiver",instance="r:1"'
NONE: tuple[str, ...] = ()
UNTREATED = ('server="a", severity="critical", untreated_signal="down"',)
EXHAUSTED = ('server="a", severity="critical"',)
RECEIVER_DOWN = ('instance="r:1", job="mcp-receiver", severity="critical"',)
RECEIVER_GONE = ('job="mcp-receiver", severity="critical"',)
EXPORTER_DOWN = ('job="mcp-exporter", severity="critical"',)
ONE_EXPORTER_DOWN = ('instance="e:1", job="mcp-exporter", severity="warning"',)
LOG = 'server="a",source="log"'
SOURCE_FAILS = ('server="a", severity="warning", source="log"',)
STATE_FAILS = ('instance="e:1", severity="warning", source="state file"',)
CONFIGURATION_FAILS = ('instance="e:1", severity="warning", source="configuration"',)
FAILING = ('instance="am:1", severity="critical"',)


def escalated(*phases: tuple[float, float | None]) -> Series:
    return gauge("mcp_remediation_incidents", *phases, labels='server="a",state="escalated"')


def failures(*phases: tuple[float, int], integration: str = "webhook") -> Series:
    labels = f'instance="am:1",integration="{integration}"'
    return counter("alertmanager_notifications_failed_total", *phases, labels=labels)


CASES = [
    Case("a server stays down", "McpUntreated", gauge("mcp_server_up", (20, 0)), {"11m": NONE, "12m": UNTREATED}),
    Case("treated in time", "McpUntreated", gauge("mcp_server_up", (8, 0), (20, 1)), {"12m": NONE, "20m": NONE}),
    Case(
        "a warning alone calls nobody",
        "McpUntreated",
        gauge("mcp_server_resident_memory_max_bytes", (30, 450e6)),
        {"12m": NONE, "28m": NONE},
    ),
    Case(
        "nobody is called for a hit ratio",
        "McpUntreated",
        lookups((40, 100, 10)),
        {"15m": NONE, "35m": NONE},
    ),
    Case("escalated", "McpRemediationExhausted", escalated((5, 0), (10, 1)), {"4m": NONE, "6m": EXHAUSTED}),
    Case(
        "the receiver restarts",
        "McpRemediationExhausted",
        escalated((5, 1), (2, None), (10, 1)),
        {"4m": EXHAUSTED, "6m": EXHAUSTED, "9m": EXHAUSTED},
    ),
    Case("a person dealt with it", "McpRemediationExhausted", escalated((5, 1), (20, 0)), {"12m": NONE}),
    Case(
        "cannot be scraped", "McpReceiverDown", gauge("up", (10, 0), labels=RECEIVER), {"1m": NONE, "3m": RECEIVER_DOWN}
    ),
    Case("runs", "McpReceiverDown", gauge("up", (10, 1), labels=RECEIVER), {"5m": NONE}),
    Case(
        "restarts in a minute",
        "McpReceiverDown",
        gauge("up", (5, 1), (1, 0), (10, 1), labels=RECEIVER),
        {"5m45s": NONE, "8m": NONE},
    ),
    Case("its target is gone", "McpReceiverDown", gauge("up", (5, 1), labels=RECEIVER), {"15m": RECEIVER_GONE}),
    Case("there never was one", "McpReceiverDown", {}, {"15m": NONE}),
    Case(
        "the only one down",
        "McpExporterDown",
        gauge("up", (10, 0), labels=EXPORTER),
        {"30s": NONE, "2m": EXPORTER_DOWN},
    ),
    Case("runs", "McpExporterDown", gauge("up", (10, 1), labels=EXPORTER), {"5m": NONE}),
    Case("its target is gone", "McpExporterDown", gauge("up", (5, 1), labels=EXPORTER), {"15m": EXPORTER_DOWN}),
    Case("there never was one", "McpExporterDown", {}, {"15m": NONE}),
    Case(
        "one of two is down",
        "McpExporterDown",
        {**gauge("up", (10, 0), labels=EXPORTER), **gauge("up", (10, 1), labels='job="mcp-exporter",instance="e:2"')},
        {"5m": ONE_EXPORTER_DOWN},
    ),
    Case(
        "deliveries keep failing",
        "McpNotificationsFailing",
        failures((5, 0), (15, 1)),
        {"9m": NONE, "11m": FAILING},
    ),
    Case(
        "one delivery failed",
        "McpNotificationsFailing",
        failures((5, 0), (0.25, 1), (15, 0)),
        {"9m": NONE, "11m": NONE},
    ),
    Case(
        "deliveries succeed again", "McpNotificationsFailing", failures((15, 1), (15, 0)), {"14m": FAILING, "25m": NONE}
    ),
    Case("another integration", "McpNotificationsFailing", failures((20, 1), integration="email"), {"15m": NONE}),
    Case(
        "a source fails",
        "McpExporterSourceFailing",
        gauge("mcp_exporter_source_success", (10, 1), (30, 0), labels=LOG),
        {"24m": NONE, "26m": SOURCE_FAILS},
    ),
    Case(
        "a source fails for a while",
        "McpExporterSourceFailing",
        gauge("mcp_exporter_source_success", (10, 1), (10, 0), (30, 1), labels=LOG),
        {"19m": NONE, "26m": NONE},
    ),
    Case(
        "a source of a server that is down",
        "McpExporterSourceFailing",
        {**gauge("mcp_exporter_source_success", (40, 0), labels=LOG), **gauge("mcp_server_up", (40, 0))},
        {"30m": NONE},
    ),
    Case(
        "the state file fails",
        "McpExporterSourceFailing",
        gauge("mcp_exporter_state_success", (30, 0), labels=EXPORTER),
        {"14m": NONE, "16m": STATE_FAILS},
    ),
    Case(
        "the state file works",
        "McpExporterSourceFailing",
        gauge("mcp_exporter_state_success", (30, 1), labels=EXPORTER),
        {"20m": NONE},
    ),
    Case(
        "the configuration is refused",
        "McpExporterSourceFailing",
        gauge("mcp_exporter_config_last_reload_successful", (30, 0), labels=EXPORTER),
        {"16m": CONFIGURATION_FAILS},
    ),
    Case(
        "what nothing treats is escalated by the receiver",
        "McpUntreated",
        gauge("mcp_server_queue_length", (40, 50)),
        {"35m": NONE},
    ),
    Case("always", "McpWatchdog", {}, {"0s": ('severity="info"',), "30m": ('severity="info"',)}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.name}")
def test_people_are_called_exactly_when_they_should_be(case: Case, tmp_path: Path) -> None:
    expression = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
    expected = [
        samples(
            expression,
            at,
            {f'ALERTS{{alertname="{case.alert}", alertstate="firing", {labels}}}': 1 for labels in firing},
        )
        for at, firing in case.firing.items()
    ]
    judge(tmp_path, case.series, {"promql_expr_test": expected}, ("mcp-signals", "mcp-people"))


TEXTS = {
    "McpUntreated": (
        gauge("mcp_server_up", (20, 0)),
        {"server": "a", "severity": "critical", "untreated_signal": "down"},
        "MCP server a stays ill: down",
        (
            "A critical down alert of a has been firing for more than 10 minutes. Automation did not heal it, whatever "
            "it reports of itself."
        ),
    ),
    "McpRemediationExhausted": (
        escalated((20, 1)),
        {"server": "a", "severity": "critical"},
        "Automation gave up on MCP server a",
        (
            "The receiver escalated the incident of a: its ladder is used up, or a guard refuses to go on. Nothing "
            "more will be tried until a person acts."
        ),
    ),
    "McpReceiverDown": (
        gauge("up", (20, 0), labels=RECEIVER),
        {"instance": "r:1", "job": "mcp-receiver", "severity": "critical"},
        "The mcp-medic receiver is down",
        "Prometheus cannot scrape the receiver r:1 (job mcp-receiver). Alerts fire, but nothing treats them.",
    ),
    "McpExporterDown": (
        gauge("up", (20, 0), labels=EXPORTER),
        {"job": "mcp-exporter", "severity": "critical"},
        "No mcp-medic exporter can be scraped",
        "Prometheus reaches no target of job mcp-exporter: all MCP servers are unobserved.",
    ),
    "McpNotificationsFailing": (
        failures((20, 1)),
        {"instance": "am:1", "severity": "critical"},
        "Alertmanager am:1 cannot deliver to webhooks",
        (
            "Alertmanager am:1 failed to deliver webhooks 20 times in 5 minutes, and has been failing for longer: "
            "the receiver does not learn what to treat."
        ),
    ),
    "McpExporterSourceFailing": (
        gauge("mcp_exporter_source_success", (30, 0), labels=LOG),
        {"server": "a", "source": "log", "severity": "warning"},
        "Source log of MCP server a fails",
        (
            "The source log of a has failed for 15 minutes: what it tells is missing or old, and what is judged by it "
            "is not judged."
        ),
    ),
    "McpWatchdog": (
        {},
        {"severity": "info"},
        "Alerting works",
        "This alert always fires. When it stops arriving, Prometheus or Alertmanager is down.",
    ),
}


@pytest.mark.parametrize("alert", TEXTS)
def test_what_people_are_told(alert: str, tmp_path: Path) -> None:
    series, labels, summary, description = TEXTS[alert]
    judge(tmp_path, series, {"alert_rule_test": [told(alert, "15m", labels, summary, description)]})


def test_a_healthy_stack_fires_the_watchdog_and_nothing_else(tmp_path: Path) -> None:
    series = {
        **gauge("up", (60, 1), labels=EXPORTER),
        **gauge("up", (60, 1), labels=RECEIVER),
        **gauge("mcp_server_up", (60, 1)),
        **gauge("mcp_server_sessions", (60, 3)),
        **gauge("mcp_server_resident_memory_max_bytes", (60, 80e6)),
        **escalated((60, 0)),
        **failures((60, 0)),
    }
    watchdog = '{__name__="ALERTS", alertname="McpWatchdog", alertstate="firing", severity="info"}'
    judge(tmp_path, series, {"promql_expr_test": [samples("ALERTS", at, {watchdog: 1}) for at in ("5m", "30m", "55m")]})


def test_no_alert_for_people_carries_a_signal_and_each_has_a_case() -> None:
    rules = people_rules()
    assert all("signal" not in rule["labels"] and "severity" in rule["labels"] for rule in rules)  # type: ignore[operator]
    assert {str(rule["alert"]) for rule in rules} == {case.alert for case in CASES}
    for rule in rules:
        fired = [labels for case in CASES if case.alert == rule["alert"] for labels in case.firing.values() if labels]
        assert fired, rule["alert"]
