"""Recording rules that people look at: per server, and per tool. No alert reads them. Pure.

No name holds a window, because ``rules.scale`` changes windows and must not change names.
"""

from __future__ import annotations

from typing import Final

from fleet.signals import SERVERS_OWN_ERRORS
from rules.recording import Rule, record

QUANTILES: Final = (50, 95, 99)
PREDICTION_HORIZON: Final = "14400"
"""Seconds from now to which memory is predicted."""

_HISTOGRAM: Final = "mcp_server_operation_duration_seconds"
_CALLS: Final = 'mcp_method_name="tools/call",server!=""'
_ANSWERED: Final = f'{_CALLS},error_type=~"|timeout"'
_BUCKETS: Final = "mcp:response_time_buckets_per_second"
_SERVER: Final = 'server!=""'


def server_rules() -> list[Rule]:
    """Figures per server."""
    return [
        # The rates of the buckets are dear: they are taken once for all quantiles.
        record(_BUCKETS, _bucket_rates("server")),
        *(
            record(f"mcp:response_time_p{percent}_seconds", f"histogram_quantile({percent / 100:g}, {_BUCKETS})")
            for percent in QUANTILES
        ),
        record("mcp:calls_per_second", _rate(f"{_HISTOGRAM}_count{{{_CALLS}}}")),
        record(
            "mcp:errors_per_second",
            "mcp:signal_error_ratio * on (server) mcp:calls_per_second",
        ),
        record("mcp:refused_per_second", _rate(f"mcp_server_refused_total{{{_SERVER}}}")),
        record("mcp:cache_lookups_per_second", _rate(f"mcp_server_cache_requests_total{{{_SERVER}}}")),
        record("mcp:cache_hits_per_second", _rate(f"mcp_server_cache_hits_total{{{_SERVER}}}")),
        # Against the cap where one is enforced, else against the level that is critical.
        record(
            "mcp:session_use_ratio",
            f"max by (server) (mcp_server_sessions{{{_SERVER}}}) / on (server) "
            f"(max by (server) (mcp_server_sessions_limit{{{_SERVER}}}) "
            'or on (server) max by (server) (mcp:threshold_sessions{severity="critical"}))',
        ),
        record(
            "mcp:memory_per_session_bytes",
            f"sum by (server) (mcp_server_resident_memory_bytes{{{_SERVER}}}) / on (server) "
            f"(sum by (server) (mcp_server_sessions{{{_SERVER}}}) > 0)",
        ),
        # What a hit saves is what a miss takes: the median call, and the mean cost of one.
        record("mcp:saved_seconds_per_second", "mcp:cache_hits_per_second * on (server) mcp:response_time_p50_seconds"),
        record(
            "mcp:saved_usd_per_hour",
            "mcp:cache_hits_per_second * on (server) mcp:signal_cost / on (server) (mcp:calls_per_second > 0)",
        ),
    ]


def hourly_rules() -> list[Rule]:
    """Figures per server that rest on an hour."""
    memory = f"mcp_server_resident_memory_max_bytes{{{_SERVER}}}[1h]"
    return [
        record("mcp:memory_predicted_bytes", f"max by (server) (predict_linear({memory}, {PREDICTION_HORIZON}))"),
        record(
            "mcp:cost_usd_per_hour",
            f"3600 * sum by (server, model) (rate(mcp_server_cost_usd_total{{{_SERVER}}}[1h]))",
        ),
        record(
            "mcp:cost_budget_ratio",
            'mcp:signal_cost / on (server) max by (server) (mcp:threshold_cost_usd_per_hour{severity="critical"})',
        ),
    ]


def tool_rules() -> list[Rule]:
    """Figures per server and tool: ten tools of a server are ten times the series, so they are taken less often."""
    by_tool = "server, gen_ai_tool_name"
    failed = f'{_HISTOGRAM}_count{{{_CALLS},error_type!="",{SERVERS_OWN_ERRORS}}}'
    return [
        *(record(f"mcp:tool_response_time_p{percent}_seconds", _quantile(percent, by_tool)) for percent in QUANTILES),
        record("mcp:tool_calls_per_second", _rate(f"{_HISTOGRAM}_count{{{_CALLS}}}", by_tool)),
        record(
            "mcp:tool_error_ratio",
            f"({_rate(failed, by_tool)} or 0 * mcp:tool_calls_per_second) / (mcp:tool_calls_per_second > 0)",
        ),
    ]


def _rate(selector: str, by: str = "server") -> str:
    return f"sum by ({by}) (rate({selector}[5m]))"


def _quantile(percent: int, by: str) -> str:
    return f"histogram_quantile({percent / 100:g}, {_bucket_rates(by)})"


def _bucket_rates(by: str) -> str:
    return f"sum by ({by}, le) (rate({_HISTOGRAM}_bucket{{{_ANSWERED}}}[5m]))"
