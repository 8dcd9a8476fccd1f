"""The guide's criteria as series: the figure, whether it is met, and nothing while it cannot be known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from rules.generate import rule_file
from rules.objectives import OBJECTIVES
from tests.rules.judging import Series, judge, samples

A = '{server="a"}'
CALLS = 'mcp_method_name="tools/call"'
ALL = ("mcp-signals", "mcp-hours", "mcp-days")
Figure = tuple[float, int] | None
"""A figure, rounded to a thousandth, and whether it is met; None where neither can be known."""


@dataclass(frozen=True)
class Pace:
    """How far apart samples and evaluations are, and what is evaluated."""

    step: str
    evaluation: str
    groups: tuple[str, ...] = ALL


MINUTES = Pace("1m", "1m")
DAY = Pace("1m", "5m")
WEEK = Pace("5m", "5m", ("mcp-hours", "mcp-days"))
FLEET = Pace("5m", "5m", ("mcp-days",))


@dataclass(frozen=True)
class Case:
    """One life of a server, or of the fleet where the pace is ``FLEET``: at each time what is known of an objective."""

    name: str
    objective: str
    series: Series
    figures: Mapping[str, Figure]
    pace: Pace = MINUTES

    def of(self, server: str) -> tuple[Series, list[dict[str, object]]]:
        """Its series and the expressions that promtool compares, both for a server of that name ("" for the fleet)."""
        series = {name.replace('server="a"', f'server="{server}"'): values for name, values in self.series.items()}
        matcher = f'server="{server}"'
        labels = f'{{objective="{self.objective}"}}' if not server else f'{{objective="{self.objective}",{matcher}}}'
        found: list[dict[str, object]] = []
        for at, figure in self.figures.items():
            value = {f"{{{matcher if server else ''}}}": figure[0]} if figure else {}
            met = {f"mcp:objective_met{labels}": float(figure[1])} if figure else {}
            found.append(samples(f"round(mcp:objective_{self.objective}{{{matcher}}}, 0.001)", at, value))
            found.append(samples(f'mcp:objective_met{{objective="{self.objective}",{matcher}}}', at, met))
        return series, found


def calls(count: str, errors: str) -> Series:
    return {
        f'mcp_server_operation_duration_seconds_count{{server="a",{CALLS},error_type=""}}': count,
        f'mcp_server_errors_total{{server="a",{CALLS},error_type="tool_error"}}': errors,
    }


def lookups(asked: str, hits: str, started: str = "100x400") -> Series:
    return {
        f"mcp_server_cache_requests_total{A}": asked,
        f"mcp_server_cache_hits_total{A}": hits,
        f"mcp_server_start_time_seconds{A}": started,
    }


def slow(seconds: str, samples_of_it: str, method: str = "tools/call") -> Series:
    """Calls of which 95 of 100 lie within a bucket's bound, so that the p95 is that bound."""
    labels = f'server="a",mcp_method_name="{method}",error_type=""'
    name = "mcp_server_operation_duration_seconds"
    return {
        f'{name}_bucket{{{labels},le="0.5"}}': "0x2200",
        f'{name}_bucket{{{labels},le="{seconds}"}}': samples_of_it,
        f'{name}_bucket{{{labels},le="+Inf"}}': samples_of_it,
        f"{name}_count{{{labels}}}": samples_of_it,
    }


def spent(dollars: str) -> Series:
    return {'mcp_server_cost_usd_total{server="a",model="m"}': dollars}


def baseline_cost(per_hour: str) -> Series:
    return {f"mcp_baseline_cost_usd_per_hour{A}": per_hour}


BREAKER = 'mcp_server_circuit_breaker_state{server="a",breaker="gateway",state="open"}'
ACT = "mcp_remediation_time_to_act_seconds_bucket"

CASES = [
    Case("five minutes", "deploy_seconds", {'mcp_remediation_deploy_seconds{server="a",phase="build"}': "200x20",
         'mcp_remediation_deploy_seconds{server="a",phase="start"}': "100x20"}, {"10m": (300, 1)}),
    Case("ten minutes", "deploy_seconds", {'mcp_remediation_deploy_seconds{server="a",phase="build"}': "600x20"},
         {"10m": (600, 0)}),
    Case("never deployed", "deploy_seconds", {f"mcp_server_up{A}": "1x20"}, {"10m": None}),
    Case("a greeting within its bucket", "first_response_seconds", slow("3.0", "0+10x90", "initialize"),
         {"70m": (2.875, 1)}),
    Case("slow greetings of modern clients", "first_response_seconds", slow("30.0", "0+10x90", "server/discover"),
         {"70m": (28.525, 0)}),
    Case("nobody came, the probe asked", "first_response_seconds",
         {'mcp_probe_duration_seconds{server="a",phase="discover"}': "0.25x90"}, {"70m": (0.25, 1)}),
    Case("other calls are no greeting", "first_response_seconds", slow("30.0", "0+10x90"), {"70m": None}),
    Case("warm after an hour", "cache_hit_ratio", lookups("0+10x400", "0+6x400"), {"55m": None, "80m": (0.6, 1)}),
    Case("exactly half is not more than half", "cache_hit_ratio", lookups("0+10x400", "0+5x400"), {"80m": (0.5, 0)}),
    Case("restarted within the hour", "cache_hit_ratio", lookups("0+10x400", "0+5x400", "100x69 200x300"),
         {"80m": None, "135m": (0.5, 0)}),
    Case("no lookups", "cache_hit_ratio", lookups("10x400", "5x400"), {"80m": None}),
    Case("closed by itself", "breaker_recovery_ratio", {BREAKER: "0x50 1 0x400"}, {"135m": (1, 1)}),
    Case("stayed open", "breaker_recovery_ratio", {BREAKER: "0x50 1x30 0x400"}, {"135m": (0, 0)}),
    Case("never opened", "breaker_recovery_ratio", {BREAKER: "0x400"}, {"135m": None}),
    Case("half a percent", "error_ratio", calls("0+1000x1600", "0+5x1600"), {"23h": None, "25h": (0.005, 1)}, DAY),
    Case("exactly one percent", "error_ratio", calls("0+1000x1600", "0+10x1600"), {"25h": (0.01, 0)}, DAY),
    Case("a restart sets the counters back", "error_ratio", calls("0+1000x700 0+1000x900", "0+5x700 0+5x900"),
         {"25h": (0.005, 1)}, DAY),
    Case("a gap of an hour", "error_ratio", calls("0+1000x700 _x60 760000+1000x900", "0+5x700 _x60 3800+5x900"),
         {"25h": (0.005, 1)}, DAY),
    Case("half of what it was", "response_time_saving_ratio",
         {**slow("3.0", "0+10x1600"), f"mcp_baseline_response_time_seconds{A}": "5.75x1600"}, {"25h": (0.5, 1)}, DAY),
    Case("as it was", "response_time_saving_ratio",
         {**slow("3.0", "0+10x1600"), f"mcp_baseline_response_time_seconds{A}": "2.875x1600"}, {"25h": (0, 0)}, DAY),
    Case("no baseline", "response_time_saving_ratio", slow("3.0", "0+10x1600"), {"25h": None}, DAY),
    Case("nothing is spent any more", "cost_saving_ratio", {**spent("10x1600"), **baseline_cost("3x1600")},
         {"25h": (1, 1)}, DAY),
    # The first hour of a counter is not a whole one yet, so its rate over an hour is too low: 2 % of 25 hours.
    Case("as dear as before", "cost_saving_ratio", {**spent("0+0.05x1600"), **baseline_cost("3x1600")},
         {"25h": (0.018, 0)}, DAY),
    Case("no baseline of the cost", "cost_saving_ratio", spent("10x1600"), {"25h": None}, DAY),
    Case("a week without a gap", "availability", {f"mcp_server_up{A}": "1x2100"}, {"7d": (1, 1)}, WEEK),
    # 2,017 samples lie in a week; 10 of them are 0.496 %, 11 are 0.545 %.
    Case("just within", "availability", {f"mcp_server_up{A}": "1x500 0x9 1x1700"}, {"7d": (0.995, 1)}, WEEK),
    Case("just beyond", "availability", {f"mcp_server_up{A}": "1x500 0x10 1x1700"}, {"7d": (0.995, 0)}, WEEK),
    Case("an outage is forgotten after a week", "availability", {f"mcp_server_up{A}": "0x20 1x2300"},
         {"7d": (0.99, 0), "171h": (1, 1)}, WEEK),
    Case("an exporter's outage is none of the server's", "availability", {f"mcp_server_up{A}": "1x500 _x500 1x1100"},
         {"7d": (1, 1)}, WEEK),
    Case("within five minutes", "alert_response_seconds",
         {f'{ACT}{{le="60.0"}}': "0+1x60", f'{ACT}{{le="120.0"}}': "0+1x60", f'{ACT}{{le="+Inf"}}': "0+1x60"},
         {"4h": (57, 1)}, FLEET),
    Case("too late", "alert_response_seconds",
         {f'{ACT}{{le="300.0"}}': "0x60", f'{ACT}{{le="600.0"}}': "0+1x60", f'{ACT}{{le="+Inf"}}': "0+1x60"},
         {"4h": (585, 0)}, FLEET),
    Case("nothing to respond to", "alert_response_seconds",
         {f'{ACT}{{le="300.0"}}': "0x60", f'{ACT}{{le="+Inf"}}': "0x60"}, {"4h": None}, FLEET),
    Case("nobody had to", "manual_interventions", {"mcp_remediation_manual_actions_total": "3x60"},
         {"4h": (0, 1)}, FLEET),
    Case("once", "manual_interventions", {"mcp_remediation_manual_actions_total": "0x30 2x30"},
         {"4h": (2, 0)}, FLEET),
]  # fmt: skip
SERVERS = {"minutes": MINUTES, "a day": DAY, "a week": WEEK}


@pytest.mark.parametrize("pace", SERVERS)
def test_the_figures_of_servers_and_whether_they_are_met(pace: str, tmp_path: Path) -> None:
    # One run of promtool for all lives of a pace, each a server of its own: a week of evaluations takes its time.
    series: Series = {}
    tests: list[dict[str, object]] = []
    for number, case in enumerate(case for case in CASES if case.pace is SERVERS[pace]):
        its_series, its_tests = case.of(f"s{number}")
        series |= its_series
        tests += its_tests
    chosen = SERVERS[pace]
    judge(tmp_path, series, {"promql_expr_test": tests}, chosen.groups, step=chosen.step, evaluation=chosen.evaluation)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.pace is FLEET], ids=lambda case: f"{case.objective}: {case.name}"
)
def test_the_figures_of_the_fleet_and_whether_they_are_met(case: Case, tmp_path: Path) -> None:
    series, tests = case.of("")
    judge(tmp_path, series, {"promql_expr_test": tests}, FLEET.groups, step=FLEET.step, evaluation=FLEET.evaluation)


def test_every_objective_has_a_case_that_is_met_one_that_is_not_and_one_that_cannot_be_known() -> None:
    known_from_the_start = {"availability", "manual_interventions"}
    for objective in OBJECTIVES:
        figures = [figure for case in CASES if case.objective == objective.name for figure in case.figures.values()]
        assert {figure[1] for figure in figures if figure} == {0, 1}, objective.name
        assert None in figures or objective.name in known_from_the_start, objective.name


def test_every_objective_is_recorded_and_compared_with_its_number() -> None:
    groups: list[dict[str, list[dict[str, str]]]] = rule_file()["groups"]  # type: ignore[assignment]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert {objective.series for objective in OBJECTIVES} <= recorded
    assert {(objective.name, objective.better, objective.target) for objective in OBJECTIVES} == {
        ("deploy_seconds", "<", 600),
        ("first_response_seconds", "<", 5),
        ("cache_hit_ratio", ">", 0.5),
        ("error_ratio", "<", 0.01),
        ("availability", ">", 0.995),
        ("response_time_saving_ratio", ">=", 0.4),
        ("breaker_recovery_ratio", ">=", 1),
        ("cost_saving_ratio", ">=", 0.3),
        ("alert_response_seconds", "<", 300),
        ("manual_interventions", "<", 1),
    }
