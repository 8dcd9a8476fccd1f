"""*Server*: all that is known of one server, so that a person sees why it is ill. Pure."""

from __future__ import annotations

from typing import Final

from fleet.signals import BY_NAME, SignalName
from grafana.boards import Board, Row
from grafana.judged import (
    BREAKER,
    HEALTH,
    SERVER_BOARD,
    TREATMENT,
    UP,
    breaker,
    health,
    judged,
    levels,
    to_incidents,
    to_runbook,
    treatment,
)
from grafana.panels import Column, Query, State, Step, figure, graph, rows, timeline
from grafana.sdk import dashboard
from grafana.series import ANSWERED, TOOL, calls, cell, firing, increase, of_server, quantile, rate, recorded

_BY_TOOL: Final = "gen_ai_tool_name"
_NO_CALLS: Final = "no calls"
_NOT_CACHED: Final = "nothing cacheable was asked"
_HELD: Final = (State(0, "no", "text"), State(1, "in force", "blue"))
_PASSES: Final = (State(0, "fails", "red"), State(1, "passes", "green"))


def server_board() -> Board:
    """One server."""
    return Board(
        uid=SERVER_BOARD,
        title="MCP / Server",
        description="All that is known of one MCP server: its signals with its own levels, its tools, its settings.",
        one_server=True,
        rows=(
            Row("Now", (*_now(), *_ills())),
            Row("Rate, errors, duration", _red()),
            Row("Sessions and memory", _load()),
            Row("Cache and cost", _saving()),
            Row("Protection", _protection()),
            Row("Tools", _tools()),
            Row("Settings", _settings()),
            Row("Processes", _processes()),
        ),
    )


def _now() -> tuple[dashboard.Panel, ...]:
    started = f"max by (server) ({of_server('mcp_server_start_time_seconds')})"
    return (
        figure(
            "Health",
            "Its worst alert, by its own levels.",
            "none",
            f"max({health()})",
            states=HEALTH,
            empty="not reported",
            links=(to_incidents("${server}"),),
        ),
        figure(
            "Up",
            "Down when a probe, an exchange or supervision proved it broken. Idle is up.",
            "none",
            f"min({of_server('mcp_server_up')})",
            states=UP,
            empty="not reported",
        ),
        figure(
            "Incident",
            "What is done about it.",
            "none",
            f"max({treatment()})",
            states=TREATMENT,
            empty="no receiver",
            links=(to_incidents("${server}"),),
        ),
        figure(
            "Breaker",
            "Open refuses calls before they reach the server.",
            "none",
            f"max({breaker()})",
            states=BREAKER,
            empty="no breaker",
        ),
        figure("p95", "Response time that 95 % of the calls keep, over 5 min.", "s",
               f"max({recorded('signal_response_time')})", empty=_NO_CALLS),
        figure("Errors", "Failed calls of all calls, over 5 min.", "percentunit",
               f"max({recorded('signal_error_ratio')})", decimals=1, empty=_NO_CALLS),
        figure("Runs since", "How long its newest instance has been running.", "s",
               f"time() - max({started})", decimals=0, empty="not seen"),
        figure(
            "Availability",
            "Of the last week, or of the time since it is known.",
            "percentunit",
            f"min({recorded('objective_availability')})",
            steps=(Step(0, "red"), Step(0.995, "green")),
            decimals=2,
            empty="not known",
        ),
    )  # fmt: skip


def _ills() -> tuple[dashboard.Panel, ...]:
    return (
        rows(
            "Firing alerts",
            "What fires now; a click leads to what to do.",
            (f"group by (alertname, severity) ({firing(server='!=')})",),
            (
                Column("severity", "Severity", width=100),
                Column("alertname", "Alert", links=(to_runbook("${__data.fields.Alert}"), to_incidents("${server}"))),
            ),
            width=8,
            height=5,
            empty="nothing fires",
        ),
        timeline(
            "Health over time",
            "Its worst alert over time, by its own levels.",
            (Query(f"max by (server) ({health()})", "health"),),
            HEALTH,
            width=8,
            height=5,
            empty="not reported",
        ),
        timeline(
            "Treatment",
            "The state of its incident: waiting, acting, observing what the act did, recovering, escalated to people.",
            (Query(f"max by (server) ({treatment()})", "incident"),),
            TREATMENT,
            width=8,
            height=5,
            empty="no receiver",
        ),
    )  # fmt: skip


def _red() -> tuple[dashboard.Panel, ...]:
    response = BY_NAME[SignalName.RESPONSE_TIME]
    buckets = calls("bucket", **ANSWERED, **TOOL)
    return (
        graph(
            "Calls",
            "Calls of the chosen tools, each second, by how they ended. Refused ones never reach the server.",
            "reqps",
            (
                Query(f"sum({recorded('refused_per_second')})", "refused", "orange"),
                Query(f"sum(rate({calls('count', **TOOL, error_type='!=')}[$__rate_interval]))", "failed", "red"),
                Query(f"sum(rate({calls('count', **TOOL, error_type='')}[$__rate_interval]))", "answered", "green"),
            ),
            stacked=True,
            empty=_NO_CALLS,
        ),
        judged(SignalName.ERROR_RATIO, empty=_NO_CALLS),
        graph(
            "Errors by type",
            "Failed calls, each second. cancelled, -32602 and http_4xx are the callers' doing and are not judged.",
            "reqps",
            (Query(f"{rate(of_server('mcp_server_errors_total', mcp_method_name='tools/call'), 'error_type')} > 0",
                   "{{error_type}}"),),
            empty="no errors",
        ),
        graph(
            "Response time",
            "p50, p95 and p99 of the chosen tools' calls that were answered or timed out. Points are traced calls. "
            "Dashed: the levels of the p95.",
            "s",
            (
                Query(quantile(0.5, buckets), "p50", "green"),
                Query(quantile(0.95, buckets), "p95", "blue", exemplars=True),
                Query(quantile(0.99, buckets), "p99", "purple"),
                *levels(response),
            ),
            width=12,
            empty=_NO_CALLS,
            links=(to_runbook(response.alert),),
        ),
        judged(SignalName.RESPONSE_TIME, width=12, empty=_NO_CALLS),
    )  # fmt: skip


def _load() -> tuple[dashboard.Panel, ...]:
    return (
        judged(
            SignalName.SESSIONS,
            Query(f"max({of_server('mcp_server_sessions_limit')})", "cap", "purple", dashed=True),
            description="The cap is drawn where the gateway enforces one.",
            empty="no sessions are reported",
        ),
        graph(
            "Session use",
            "Sessions of the cap where one is enforced, else of the critical level.",
            "percentunit",
            (Query(recorded("session_use_ratio"), "used"),),
            empty="no sessions are reported",
        ),
        judged(
            SignalName.QUEUE,
            Query(f"sum({of_server('mcp_server_in_flight')})", "in flight", "blue"),
            title="Queue and calls in flight",
            empty="no gateway reports",
        ),
        judged(
            SignalName.MEMORY,
            Query(recorded("memory_predicted_bytes"), "in four hours", "purple", dashed=True),
            description="In four hours: if it goes on as in the last hour.",
            width=12,
            empty="its processes are not seen",
        ),
        graph(
            "Memory per session",
            "Memory of all its processes by its sessions.",
            "decbytes",
            (Query(recorded("memory_per_session_bytes"), "per session"),),
            width=12,
            empty="no sessions",
        ),
    )


def _saving() -> tuple[dashboard.Panel, ...]:
    return (
        judged(SignalName.CACHE_HIT_RATIO, title="Cache hit ratio", empty=_NOT_CACHED),
        graph(
            "Cache",
            "Lookups of something cacheable and how many were answered without asking the server; entries thrown out.",
            "reqps",
            (
                Query(recorded("cache_lookups_per_second"), "lookups"),
                Query(recorded("cache_hits_per_second"), "hits", "green"),
                Query(rate(of_server("mcp_server_cache_evictions_total"), "server"), "thrown out", "orange"),
            ),
            empty="no cache is reported",
        ),
        graph(
            "Saved by the cache",
            "Seconds of waiting saved in each second: hits times the median call.",
            "s",
            (Query(recorded("saved_seconds_per_second"), "saved each second", "green"),),
            empty="no hits",
        ),
        judged(
            SignalName.COST,
            Query(recorded("saved_usd_per_hour"), "saved", "green"),
            description="The critical level is the budget. Saved: hits times what a call costs.",
            width=12,
            empty="it reports no cost",
        ),
        graph(
            "Cost by model",
            "What the tokens of each model cost an hour.",
            "currencyUSD",
            (Query(recorded("cost_usd_per_hour"), "{{model}}"),),
            width=12,
            stacked=True,
            empty="it reports no cost",
        ),
    )


def _protection() -> tuple[dashboard.Panel, ...]:
    return (
        timeline(
            "Circuit breaker",
            "Closed lets calls pass, half open lets one try, open refuses them.",
            (Query(breaker("server, breaker"), "{{breaker}}"),),
            BREAKER,
            width=8,
            empty="no breaker",
        ),
        graph(
            "Refused by the gateway",
            "Calls that the gateway refused and, not enforced, those it would have refused, each second.",
            "reqps",
            (
                Query(f"{rate(of_server('mcp_server_refused_total'), 'reason')} > 0", "{{reason}}"),
                Query(f"{rate(of_server('mcp_server_would_refuse_total'), 'reason')} > 0", "{{reason}}, not enforced"),
            ),
            empty="nothing was refused",
        ),
        graph(
            "Restarts and breaker",
            "How often it was restarted and how often its breaker opened.",
            "short",
            (
                Query(_times("mcp_server_restarts_total"), "restarts", "blue"),
                Query(_times("mcp_server_circuit_breaker_opened_total"), "breaker opened", "red"),
            ),
            bars=True,
            empty="no gateway reports",
        ),
    )


def _times(counter: str) -> str:
    return f"round({increase(of_server(counter), 'server')})"


def _tools() -> tuple[dashboard.Panel, ...]:
    return (
        rows(
            "Tools",
            "Every tool that was called within the last minutes, the busiest first.",
            (
                cell("tool_calls_per_second", _BY_TOOL, **TOOL),
                cell("tool_error_ratio", _BY_TOOL, **TOOL),
                *(cell(f"tool_response_time_p{percent}_seconds", _BY_TOOL, **TOOL) for percent in (50, 95, 99)),
            ),
            (
                Column("gen_ai_tool_name", "Tool"),
                Column("A", "Calls", "reqps", decimals=2, width=110),
                Column("B", "Errors", "percentunit", decimals=1, width=90,
                       steps=(Step(0, "text"), Step(0.02, "orange"), Step(0.05, "red"))),
                Column("C", "p50", "s", width=90),
                Column("D", "p95", "s", width=90),
                Column("E", "p99", "s", width=90),
            ),
            width=12,
            sorted_by="Calls",
            empty=_NO_CALLS,
        ),
        graph(
            "Response time by tool",
            "The p95 of each chosen tool.",
            "s",
            (Query(recorded("tool_response_time_p95_seconds", **TOOL), "{{gen_ai_tool_name}}"),),
            width=12,
            empty=_NO_CALLS,
        ),
    )  # fmt: skip


def _settings() -> tuple[dashboard.Panel, ...]:
    return (
        rows(
            "Settings",
            "Numbers and switches (1 is on) of its TOML file; purple marks on the graphs are changes of the file.",
            (f"max by (section, key) ({of_server('mcp_server_config_value')})",),
            (Column("section", "Section", width=175), Column("key", "Setting"), Column("A", "Value", "none", width=95)),
            width=9,
            height=9,
            empty="no config_file is known",
        ),
        graph(
            "Settings that treatment changes",
            "Switches of cache, batching and breaker over time: what automation lowered comes back in stages.",
            "short",
            (Query(f"max by (key) ({of_server('mcp_server_config_value', key='=~enable_.+')})", "{{key}}"),),
            width=6,
            height=9,
            maximum=1,
            empty="no config_file is known",
        ),
        timeline(
            "Profiles",
            "Which profile its file holds wholly.",
            (Query(f"max by (profile) ({of_server('mcp_server_config_profile')})", "{{profile}}"),),
            _HELD,
            width=4,
            height=9,
            empty="no config_file is known",
        ),
        timeline(
            "Security checks",
            "What its security posture was checked for.",
            (Query(f"min by (check) ({of_server('mcp_server_security_check')})", "{{check}}"),),
            _PASSES,
            width=5,
            height=9,
            links=(to_runbook("McpSecurityPostureDegraded"),),
            empty="no check could be made",
        ),
    )  # fmt: skip


def _processes() -> tuple[dashboard.Panel, ...]:
    return (
        graph("CPU", "Cores that its processes keep busy.", "short",
              (Query(rate(of_server("mcp_server_cpu_seconds_total"), "server"), "cores"),),
              width=6, empty="its processes are not seen"),
        graph("Processes and instances", "Processes with their children, threads, and the instances that report.",
              "short",
              (Query(f"sum({of_server('mcp_server_processes')})", "processes"),
               Query(f"sum({of_server('mcp_server_instances')})", "instances")),
              width=6, empty="its processes are not seen"),
        graph("Open files", "File descriptors of all its processes.", "short",
              (Query(f"sum({of_server('mcp_server_open_fds')})", "open"),),
              width=6, empty="its processes are not seen, or may not be read"),
        graph("Traffic", "Bytes of bodies, in from clients and out to clients.", "Bps",
              (Query(rate(of_server("mcp_server_bytes_total"), "direction"), "{{direction}}"),),
              width=6, empty="no gateway reports"),
    )  # fmt: skip
