"""The figures that people look at: each computed once from made-up series of one server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.judging import Phase, Series, judge, lookups, samples, traffic

A = '{server="a"}'
NOTHING: dict[str, float] = {}
LIFE: Series = {
    # 400 calls a minute, 95 of 100 within 3 s; 20 of 420 fail.
    **traffic(Phase(20, {3: 95, 5: 5}, {"tool_error": 5}), more=',gen_ai_tool_name="look"'),
    **lookups((20, 40, 10)),
    f"mcp_server_sessions{A}": "4x80",
    f"mcp_server_sessions_limit{A}": "16x80",
    'mcp_server_sessions{server="b"}': "3x80",
    'mcp_server_sessions{server="c"}': "0x80",
    f"mcp_server_resident_memory_bytes{A}": "800000000x80",
    'mcp_server_resident_memory_bytes{server="c"}': "800000000x80",
    'mcp_server_refused_total{server="a",reason="sessions"}': "0+3x80",
    'mcp_server_refused_total{server="a",reason="queue"}': "0+3x80",
}
FIGURES: dict[str, dict[str, float]] = {
    "mcp:response_time_p50_seconds": {A: 2.526316},
    "mcp:response_time_p95_seconds": {A: 3},
    "mcp:response_time_p99_seconds": {A: 4.6},
    "mcp:calls_per_second": {A: 7},
    "mcp:errors_per_second": {A: 0.333333},
    "mcp:refused_per_second": {A: 0.4},
    "mcp:cache_lookups_per_second": {A: 2.666667},
    "mcp:cache_hits_per_second": {A: 0.666667},
    "mcp:session_use_ratio": {A: 0.25, '{server="b"}': 0.2, '{server="c"}': 0},
    "mcp:memory_per_session_bytes": {A: 200e6},
    "mcp:saved_seconds_per_second": {A: 1.684211},
    "mcp:tool_response_time_p50_seconds": {'{server="a",gen_ai_tool_name="look"}': 2.526316},
    "mcp:tool_response_time_p95_seconds": {'{server="a",gen_ai_tool_name="look"}': 3},
    "mcp:tool_response_time_p99_seconds": {'{server="a",gen_ai_tool_name="look"}': 4.6},
    "mcp:tool_calls_per_second": {'{server="a",gen_ai_tool_name="look"}': 7},
    "mcp:tool_error_ratio": {'{server="a",gen_ai_tool_name="look"}': 0.047619},
}


def test_figures_of_a_server_and_of_a_tool(tmp_path: Path) -> None:
    expected = [samples(f"round({name}, 0.000001)", "18m", values) for name, values in FIGURES.items()]
    judge(tmp_path, LIFE, {"promql_expr_test": expected})


HOURS: Series = {
    'mcp_server_cost_usd_total{server="a",model="m"}': "0+0.01x120",
    'mcp_server_cost_usd_total{server="a",model="n"}': "0+0.02x120",
    f"mcp_server_resident_memory_max_bytes{A}": "100000000+1000000x120",
}
HOURLY: dict[str, dict[str, float]] = {
    # In thousandths, because a whole number compares exactly.
    "mcp:cost_usd_per_hour": {'{server="a",model="m"}': 600, '{server="a",model="n"}': 1200},
    "mcp:cost_budget_ratio": {A: 621},
    "mcp:memory_predicted_bytes": {A: 440e9},
    "mcp:saved_usd_per_hour": NOTHING,
}


def test_figures_that_rest_on_an_hour(tmp_path: Path) -> None:
    expected = [samples(f"round(1000 * {name})", "100m", values) for name, values in HOURLY.items()]
    judge(tmp_path, HOURS, {"promql_expr_test": expected}, step="1m", evaluation="1m")


@pytest.mark.parametrize("name", ["mcp:tool_error_ratio", "mcp:calls_per_second", "mcp:session_use_ratio"])
def test_without_any_series_there_is_no_figure(name: str, tmp_path: Path) -> None:
    judge(tmp_path, {f"mcp_server_up{A}": "1x80"}, {"promql_expr_test": [samples(name, "18m", NOTHING)]})
