"""The overview: is any server ill, what was done, did it help. Pure."""

from __future__ import annotations

from typing import Final

from fleet.signals import SIGNALS, Direction, Severity, Signal
from fleet.telemetry import BreakerState
from grafana.panels import Annotation, Dashboard, Panel, Query, Row, Step

_SERVER: Final = 'server=~"$server"'
_FIRING: Final = f'ALERTS{{alertstate="firing",alertname=~"Mcp.+",alertname!="McpWatchdog",{_SERVER}}}'
_CALLS: Final = f'mcp_method_name="tools/call",{_SERVER}'
_TREATMENTS: Final = f'mcp_remediation_actions_total{{action!="evidence",{_SERVER}}}'

_UNITS: Final = {
    "seconds": "s",
    "ratio": "percentunit",
    "bytes": "decbytes",
    "sessions": "short",
    "calls": "short",
    "usd_per_hour": "short",
}
_THRESHOLD_COLOURS: Final = {Severity.WARNING: "orange", Severity.CRITICAL: "red"}
_BAD_FROM_ONE: Final = (Step(1, "red"),)
_UP_OR_DOWN: Final = {"0": ("down", "red"), "1": ("up", "green")}


def overview() -> Dashboard:
    """The one dashboard that answers the three questions at a look."""
    return Dashboard(
        uid="mcp-medic-overview",
        title="MCP servers: overview",
        description="Which MCP server is ill, what automation did, and whether it helped.",
        # Servers that report by OpenTelemetry's names have no mcp_server_up.
        servers='label_values({__name__=~"mcp_server_up|mcp_server_operation_duration_seconds_count"}, server)',
        rows=(
            Row("Now", _now()),
            Row("Signals", _signals()),
            Row("Traffic", _traffic()),
            Row("Treatment", _treatment()),
            Row("The monitoring itself", _monitoring()),
        ),
        annotations=(
            Annotation("Alerts", _FIRING, "{{alertname}}", "{{server}} {{severity}}", "red"),
            Annotation(
                "Treatments",
                f"sum by (server, action, outcome) (increase({_TREATMENTS}[1m])) > 0",
                "{{action}}: {{outcome}}",
                "{{server}}",
                "blue",
            ),
        ),
    )


def _now() -> tuple[Panel, ...]:
    return (
        _figure("Servers down", "Servers whose up is 0.", f"count(mcp_server_up{{{_SERVER}}} == 0)", _BAD_FROM_ONE),
        _figure(
            "Alerts firing", "Alerts of mcp-medic that fire, without the watchdog.", f"count({_FIRING})", _BAD_FROM_ONE
        ),
        _figure(
            "Open incidents",
            "Servers under treatment or waiting for it.",
            f'sum(mcp_remediation_incidents{{state!="closed",{_SERVER}}})',
            (Step(1, "orange"),),
        ),
        _figure(
            "Waiting for people",
            "Incidents that automation gave up on.",
            f'sum(mcp_remediation_incidents{{state="escalated",{_SERVER}}})',
            _BAD_FROM_ONE,
        ),
        _figure(
            "Treatments in 24 hours",
            "Acts on servers during the last 24 hours, collecting evidence left out.",
            f"round(sum(increase({_TREATMENTS}[24h])))",
        ),
        _figure(
            "Calls per second",
            "Calls of tools, all selected servers together.",
            f"sum(mcp:calls_per_second{{{_SERVER}}})",
            unit="reqps",
        ),
        Panel(
            "Up",
            "Up as it was over time. Idle is up; failing tools are up and show as errors.",
            "none",
            (Query(f"min by (server) (mcp_server_up{{{_SERVER}}})"),),
            kind="state-timeline",
            values=_UP_OR_DOWN,
            steps=(Step(0, "red"), Step(1, "green")),
        ),
        Panel(
            "Incidents",
            "The open incident of each server and its state.",
            "none",
            (Query(f'sum by (server, state) (mcp_remediation_incidents{{state!="closed",{_SERVER}}}) == 1'),),
            kind="table",
        ),
        Panel(
            "Firing alerts",
            "What fires now.",
            "none",
            (Query(f"sum by (alertname, server, severity) ({_FIRING})"),),
            kind="table",
        ),
    )


def _figure(title: str, description: str, expression: str, steps: tuple[Step, ...] = (), unit: str = "short") -> Panel:
    query = Query(f"{expression} or vector(0)", legend=title)
    return Panel(title, description, unit, (query,), kind="stat", width=4, height=4, steps=steps)


def _signals() -> tuple[Panel, ...]:
    judged = tuple(_signal(signal) for signal in SIGNALS if signal.threshold is not None)
    worst = " or ".join(
        f'{code} * max by (server, breaker) (mcp_server_circuit_breaker_state{{state="{state}",{_SERVER}}} == 1)'
        for code, state in reversed(list(enumerate(BreakerState)))
    )
    return (
        *judged,
        Panel(
            "Circuit breaker",
            "State of each circuit breaker; closed lets calls pass.",
            "none",
            (Query(worst, "{{server}} {{breaker}}"),),
            kind="state-timeline",
            values={"0": ("closed", "green"), "1": ("half open", "orange"), "2": ("open", "red")},
            steps=(Step(0, "green"), Step(1, "orange"), Step(2, "red")),
        ),
    )


def _signal(signal: Signal) -> Panel:
    side = "or above" if signal.direction is Direction.HIGH else "or below"
    thresholds = tuple(
        Query(
            f'mcp:threshold_{signal.threshold}{{severity="{severity}",{_SERVER}}}',
            f"{{{{server}}}} {severity}",
            colour,
            True,
        )
        for severity, colour in _THRESHOLD_COLOURS.items()
    )
    return Panel(
        signal.title,
        f"What the alert {signal.alert} judges, over {signal.window_seconds // 60} min. Dashed: each server's warning "
        f"and critical level; at it {side} is ill.",
        _UNITS[signal.unit],
        (Query(f"mcp:signal_{signal.name}{{{_SERVER}}}"), *thresholds),
        maximum=1 if signal.unit == "ratio" else None,
    )


def _traffic() -> tuple[Panel, ...]:
    histogram = "mcp_server_operation_duration_seconds"
    return (
        Panel(
            "Calls",
            "Calls of tools each second.",
            "reqps",
            (Query(f"sum by (server) (rate({histogram}_count{{{_CALLS}}}[$__rate_interval]))"),),
        ),
        Panel(
            "Response time, p50 and p99",
            "Of calls that were answered or timed out, over 5 min. The p95 stands above, with its levels.",
            "s",
            (
                Query(f"mcp:response_time_p50_seconds{{{_SERVER}}}", "{{server}} p50"),
                Query(f"mcp:response_time_p99_seconds{{{_SERVER}}}", "{{server}} p99"),
            ),
        ),
        Panel(
            "Errors by type",
            "Failed calls each second; cancelled, -32602 and http_4xx are the callers' doing and are not judged.",
            "reqps",
            (
                Query(
                    f"sum by (server, error_type) (rate(mcp_server_errors_total{{{_CALLS}}}[$__rate_interval])) > 0",
                    "{{server}} {{error_type}}",
                ),
            ),
        ),
        Panel(
            "Slowest tools (p95)",
            "The p95 of each tool, of calls that were answered or timed out.",
            "s",
            (
                Query(
                    "histogram_quantile(0.95, sum by (server, gen_ai_tool_name, le) "
                    f'(rate({histogram}_bucket{{{_CALLS},error_type=~"|timeout"}}[$__rate_interval])))',
                    "{{server}} {{gen_ai_tool_name}}",
                ),
            ),
        ),
        Panel(
            "In flight and queued",
            "Calls that wait for the server's answer, and calls that wait for their turn.",
            "short",
            (
                Query(f"mcp_server_in_flight{{{_SERVER}}}", "{{server}} in flight"),
                Query(f"mcp_server_queue_length{{{_SERVER}}}", "{{server}} queued"),
            ),
        ),
        Panel(
            "Refused by the gateway",
            "Calls that the gateway refused, and those it would have refused if the limit were enforced, each second.",
            "reqps",
            (
                Query(
                    f"sum by (server, reason) (rate(mcp_server_refused_total{{{_SERVER}}}[$__rate_interval])) > 0",
                    "{{server}} {{reason}}",
                ),
                Query(
                    f"sum by (server, reason) (rate(mcp_server_would_refuse_total{{{_SERVER}}}[$__rate_interval])) > 0",
                    "{{server}} {{reason}} (not enforced)",
                ),
            ),
        ),
    )


def _treatment() -> tuple[Panel, ...]:
    return (
        Panel(
            "Acts by outcome",
            "Acts of automation in each interval.",
            "short",
            (
                Query(
                    "sum by (server, action, outcome) "
                    f"(increase(mcp_remediation_actions_total{{{_SERVER}}}[$__rate_interval])) > 0",
                    "{{server}} {{action}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Verdicts",
            "Judgements of treatments by measurement; inconclusive is never counted as healed.",
            "short",
            (
                Query(
                    "sum by (signal, verdict) (increase(mcp_remediation_verdicts_total[$__rate_interval])) > 0",
                    "{{signal}} {{verdict}}",
                ),
            ),
        ),
        Panel(
            "Refused by a guard",
            "Treatments that a guard refused, by its reason.",
            "short",
            (Query("sum by (reason) (increase(mcp_remediation_denied_total[$__rate_interval])) > 0", "{{reason}}"),),
        ),
        Panel(
            "Time to act, time to heal",
            "Median over six hours, from the opening of an incident.",
            "s",
            (
                Query(_median("mcp_remediation_time_to_act_seconds"), "to act"),
                Query(_median("mcp_remediation_time_to_heal_seconds"), "to heal"),
            ),
        ),
        Panel(
            "Restarts",
            "Restarts of each server by its gateway in each interval.",
            "short",
            (Query(f"increase(mcp_server_restarts_total{{{_SERVER}}}[$__rate_interval])"),),
        ),
        Panel(
            "Deliveries to the receiver",
            "Webhook bodies by what became of them, each second.",
            "reqps",
            (Query("sum by (result) (rate(mcp_remediation_webhooks_total[$__rate_interval])) > 0", "{{result}}"),),
        ),
    )


def _median(histogram: str) -> str:
    return f"histogram_quantile(0.5, sum by (le) (increase({histogram}_bucket[6h])))"


def _monitoring() -> tuple[Panel, ...]:
    return (
        Panel(
            "Programs scraped",
            "Whether Prometheus reaches each program.",
            "none",
            (Query('up{job=~"mcp-exporter|mcp-receiver|alertmanager|prometheus"}', "{{job}} {{instance}}"),),
            kind="state-timeline",
            values=_UP_OR_DOWN,
            steps=(Step(0, "red"), Step(1, "green")),
        ),
        Panel(
            "Sources of the exporter",
            "Whether the exporter's last reading of each source worked.",
            "none",
            (Query(f"min by (server, source) (mcp_exporter_source_success{{{_SERVER}}})", "{{server}} {{source}}"),),
            kind="state-timeline",
            values={"0": ("failed", "red"), "1": ("worked", "green")},
            steps=(Step(0, "red"), Step(1, "green")),
        ),
        Panel(
            "Age of facts",
            "How old the last good facts of each source are.",
            "s",
            (
                Query(
                    f"max by (server, source) (mcp_exporter_source_age_seconds{{{_SERVER}}})", "{{server}} {{source}}"
                ),
            ),
        ),
    )
