"""*Fleet*: which server is ill, with what, and is it being treated? Pure."""

from __future__ import annotations

from typing import Final

from fleet.signals import BY_NAME, SignalName
from grafana.boards import Board, Row
from grafana.judged import (
    BREAKER,
    HEALTH,
    TREATMENT,
    UNITS,
    UP,
    breaker,
    health,
    levels,
    to_incidents,
    to_runbook,
    to_server,
    treatment,
)
from grafana.panels import Column, Query, Step, figure, graph, rows, timeline
from grafana.sdk import dashboard
from grafana.series import cell, firing, happened, increase, level, of_server, recorded, treatments

MOST: Final = 10
"""How many servers a graph of the fleet draws: those that are worst off."""

TREATED_WITHIN: Final = "6h"
"""How far the last treatment is searched for. Further back would load too many samples of a thousand servers."""

_SERVER: Final = "${__data.fields.Server}"
_SERVER_LINK: Final = to_server(_SERVER)
_LABEL_LINK: Final = to_server("${__field.labels.server}")
_ILL_FROM_ONE: Final = (Step(0, "green"), Step(1, "red"))
_ODD_FROM_ONE: Final = (Step(0, "green"), Step(1, "orange"))


def fleet_board() -> Board:
    """Every server at one look."""
    return Board(
        uid="mcp-medic-fleet",
        title="MCP / Fleet",
        description="Which MCP server is ill, with what, and whether it is being treated.",
        rows=(
            Row("Now", _now()),
            Row("Servers", (_servers(),)),
            Row("What was ill, and when", (_health(), _alerts())),
            Row("Worst off", _worst()),
            Row("Traffic and treatment", _traffic()),
        ),
    )


def _now() -> tuple[dashboard.Panel, ...]:
    return (
        figure(
            "Servers",
            "Servers that report.",
            "short",
            f"count({health()})",
            empty="no server reports",
        ),
        figure(
            "Down",
            "Servers that a probe, an exchange or supervision proved broken.",
            "short",
            f"count({of_server('mcp_server_up')} == 0) or vector(0)",
            steps=_ILL_FROM_ONE,
        ),
        figure(
            "Critical",
            "Servers with a critical alert.",
            "short",
            f"count(group by (server) ({firing(severity='critical', server='!=')})) or vector(0)",
            steps=_ILL_FROM_ONE,
        ),
        figure(
            "Warning",
            "Servers with a warning.",
            "short",
            f"count(group by (server) ({firing(severity='warning', server='!=')})) or vector(0)",
            steps=_ODD_FROM_ONE,
        ),
        figure(
            "Under treatment",
            "Open incidents that automation takes care of.",
            "short",
            f"sum({of_server('mcp_remediation_incidents', state='!~closed|escalated')}) or vector(0)",
            steps=(Step(0, "green"), Step(1, "blue")),
        ),
        figure(
            "Waiting for people",
            "Incidents that automation gave up on: somebody must look.",
            "short",
            f"sum({of_server('mcp_remediation_incidents', state='escalated')}) or vector(0)",
            steps=_ILL_FROM_ONE,
            links=(to_incidents(),),
        ),
        figure(
            "Alerts for people",
            "Alerts about the monitoring itself, or that nothing treated.",
            "short",
            f"count({firing(signal='')}) or vector(0)",
            steps=_ILL_FROM_ONE,
        ),
        figure(
            "Calls per second",
            "Calls of tools, all chosen servers together.",
            "reqps",
            f"sum({recorded('calls_per_second')})",
            empty="no calls",
        ),
    )


def _servers() -> dashboard.Panel:
    treated = increase(treatments(outcome="succeeded"), "server", "1m")
    last = f"max by (server) (max_over_time(timestamp({treated} > 0)[{TREATED_WITHIN}:1m]))"
    return rows(
        "Servers",
        "A row for each server, the worst first. Health follows each server's own levels; a click on its name leads to "
        f"all that is known of it. The last treatment is looked for within {TREATED_WITHIN}.",
        (
            health(),
            f"min by (server) ({of_server('mcp_server_up')})",
            cell("signal_response_time"),
            cell("signal_error_ratio"),
            cell("calls_per_second"),
            cell("signal_cache_hit_ratio"),
            f"sum by (server) ({of_server('mcp_server_sessions')})",
            cell("session_use_ratio"),
            cell("signal_memory"),
            f"max by (server) ({breaker()})",
            treatment(),
            f"time() - {last}",
        ),
        (
            Column("server", "Server", links=(_SERVER_LINK, to_incidents(_SERVER))),
            Column("A", "Health", states=HEALTH, width=85),
            Column("B", "Up", states=UP, width=65),
            Column("C", "p95", "s", width=90),
            Column("D", "Errors", "percentunit", decimals=1, width=85),
            Column("E", "Calls", "reqps", decimals=1, width=95),
            Column("F", "Hit ratio", "percentunit", decimals=0, width=85),
            Column("G", "Sessions", decimals=0, width=85),
            Column("H", "of limit", "percentunit", decimals=0, width=80),
            Column("I", "Memory", "decbytes", decimals=0, width=90),
            Column("J", "Breaker", states=BREAKER, width=85),
            Column("K", "Incident", states=TREATMENT, width=100, links=(to_incidents(_SERVER),)),
            Column("L", "Treated before", "s", decimals=0, width=130),
        ),
        height=9,
        sorted_by="Health",
        empty="no server reports",
    )


def _health() -> dashboard.Panel:
    return timeline(
        "Health",
        "The worst alert of each server over time, by its own levels. Idle is well.",
        (Query(f"max by (server) ({health()})"),),
        HEALTH,
        links=(_LABEL_LINK,),
        empty="no server reports",
    )


def _alerts() -> dashboard.Panel:
    return rows(
        "Firing alerts",
        "What fires now. A click on an alert leads to what to do, on a server to all that is known of it.",
        (f"group by (alertname, server, severity, signal) ({firing()})",),
        (
            Column("severity", "Severity", width=90),
            Column("alertname", "Alert", links=(to_runbook("${__data.fields.Alert}"),)),
            Column("server", "Server", links=(_SERVER_LINK,)),
            Column("signal", "Signal", width=130),
        ),
        width=12,
        empty="nothing fires",
    )


def _worst() -> tuple[dashboard.Panel, ...]:
    return tuple(
        _ranked(name)
        for name in (SignalName.RESPONSE_TIME, SignalName.ERROR_RATIO, SignalName.MEMORY, SignalName.SESSIONS)
    )


def _ranked(name: SignalName) -> dashboard.Panel:
    signal = BY_NAME[name]
    return graph(
        f"{signal.title}: highest",
        f"The {MOST} servers with the highest values. Dashed: the lowest warning and critical level of the chosen "
        "servers; each server's own levels are on its dashboard.",
        UNITS[signal.unit],
        (Query(f"topk({MOST}, {recorded(f'signal_{signal.name}')})"), *levels(signal)),
        width=12,
        empty="no traffic" if signal.rests_on_traffic else "not measured",
        links=(_LABEL_LINK,),
    )


def _traffic() -> tuple[dashboard.Panel, ...]:
    succeeded = f"sum({recorded('calls_per_second')}) - sum({recorded('errors_per_second')})"
    return (
        graph(
            "Calls by result",
            "Calls of tools of all chosen servers: answered, failed by the server's fault, refused by the gateway, and "
            "answered by the cache without asking the server.",
            "reqps",
            (
                Query(f"sum({recorded('refused_per_second')})", "refused", "orange"),
                Query(f"sum({recorded('errors_per_second')})", "failed", "red"),
                Query(succeeded, "answered", "green"),
                Query(f"sum({recorded('cache_hits_per_second')})", "from the cache", "blue"),
            ),
            stacked=True,
            empty="no calls",
        ),
        graph(
            "Treatments",
            "Acts on servers by what was done; collecting evidence is left out.",
            "short",
            (Query(f"{happened(treatments(), 'action')}", "{{action}}"),),
            bars=True,
            empty="nothing was treated",
        ),
        graph(
            "Cost",
            "What the tokens cost each hour, by model. Dashed: the budgets of the chosen servers together.",
            "currencyUSD",
            (
                Query(f"sum by (model) ({recorded('cost_usd_per_hour')})", "{{model}}"),
                Query(
                    f"sum({level('cost_usd_per_hour', 'critical')})",
                    "budget",
                    "red",
                    dashed=True,
                ),
            ),
            stacked=True,
            empty="no server reports a cost",
        ),
    )
