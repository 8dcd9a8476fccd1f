"""The criteria of a successful deployment and of good operation, as series: the figure, and whether it is met. Pure.

A figure is absent while it cannot be known: without traffic, before the time after which it counts, without a baseline
(``mcp_baseline_*``, what the server was like before). Long windows are taken of samples of what the rules record anyway
(``mcp:sampled_*``), never of the raw series: a week of one raw series is 40,320 samples, of a sampled one 3,360.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.signals import AVAILABILITY_OBJECTIVE
from rules.availability import AVAILABILITY, BUDGET
from rules.recording import Rule, record

MET: Final = "mcp:objective_met"
"""1 where the objective named by the label ``objective`` is met, 0 where it is not."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One criterion.

    Attributes:
        name: the figure is ``mcp:objective_<name>``, the label ``objective`` is ``name``.
        title: for people.
        unit: ``seconds``, ``ratio`` or ``count``.
        better: how the figure must compare with ``target``: ``<``, ``>`` or ``>=``.
        target: the criterion's number.
        expression: PromQL; one sample per server, or one for the fleet.
    """

    name: str
    title: str
    unit: str
    better: str
    target: float
    expression: str

    @property
    def series(self) -> str:
        """The series that holds the figure."""
        return f"mcp:objective_{self.name}"

    def rules(self) -> list[Rule]:
        """The figure, then whether it is met."""
        met = f"{self.series} {self.better} bool {self.target:g}"
        return [record(self.series, self.expression), record(MET, met, objective=self.name)]


_SERVER: Final = 'server!=""'
_OPEN: Final = f'mcp_server_circuit_breaker_state{{state="open",{_SERVER}}}'
_STUCK: Final = 'ALERTS{alertname="McpCircuitBreakerOpen",alertstate="firing"}'

SAMPLED: Final = {
    "mcp:sampled_calls": "mcp:evidence_error_ratio",
    # A comparison drops what is not a number: one 0/0 would make every sum of a day one.
    "mcp:sampled_failures": "(mcp:signal_error_ratio >= 0) * on (server) mcp:evidence_error_ratio",
    "mcp:sampled_lookups": "mcp:evidence_cache_hit_ratio",
    "mcp:sampled_hits": "(mcp:signal_cache_hit_ratio >= 0) * on (server) mcp:evidence_cache_hit_ratio",
    "mcp:sampled_response_time": "mcp:signal_response_time >= 0",
    "mcp:sampled_cost": "mcp:signal_cost",
    "mcp:sampled_breaker_open": f"max by (server) (max_over_time({_OPEN}[5m]))",
    "mcp:sampled_breaker_stuck": (
        f"max by (server) (max_over_time({_STUCK}[5m]))\nor on (server) 0 * mcp:sampled_breaker_open"
    ),
}
"""What is sampled for the long windows, by the name it is recorded under."""

_RESTARTED: Final = f"(max by (server) (changes(mcp_server_start_time_seconds{{{_SERVER}}}[1h])) > 0)"
_GREETINGS: Final = (
    f'mcp_server_operation_duration_seconds_bucket{{mcp_method_name=~"initialize|server/discover",{_SERVER}}}'
)
_PROBED: Final = f'mcp_probe_duration_seconds{{phase=~"initialize|discover",{_SERVER}}}'

OBJECTIVES: Final = (
    Objective(
        "deploy_seconds",
        "Deployment",
        "seconds",
        "<",
        600,
        f"sum by (server) (mcp_remediation_deploy_seconds{{{_SERVER}}})",
    ),
    Objective(
        "first_response_seconds",
        "First response (p95)",
        "seconds",
        "<",
        5,
        # What a client hears first is the answer to its greeting; where nobody came, the exporter's own probe.
        f"(histogram_quantile(0.95, sum by (server, le) (rate({_GREETINGS}[1h]))) >= 0)\n"
        f"or on (server) max by (server) ({_PROBED})",
    ),
    Objective(
        "cache_hit_ratio",
        "Cache hit ratio, an hour after the start",
        "ratio",
        ">",
        0.5,
        "sum_over_time(mcp:sampled_hits[1h]) / on (server) sum_over_time(mcp:sampled_lookups[1h])\n"
        f"and on (server) last_over_time(mcp:sampled_lookups[10m] offset 1h)\nunless on (server) {_RESTARTED}",
    ),
    Objective(
        "error_ratio",
        "Error ratio, a day after the start",
        "ratio",
        "<",
        0.01,
        "sum_over_time(mcp:sampled_failures[1d]) / on (server) sum_over_time(mcp:sampled_calls[1d])\n"
        "and on (server) last_over_time(mcp:sampled_calls[10m] offset 1d)",
    ),
    Objective(
        "availability",
        "Availability over a week",
        "ratio",
        ">",
        AVAILABILITY_OBJECTIVE,
        f"avg_over_time({AVAILABILITY}[7d])",
    ),
    Objective(
        "response_time_saving_ratio",
        "Response time saved, against the baseline",
        "ratio",
        ">=",
        0.4,
        "1 - avg_over_time(mcp:sampled_response_time[1d])"
        f" / on (server) max by (server) (mcp_baseline_response_time_seconds{{{_SERVER}}})",
    ),
    Objective(
        "breaker_recovery_ratio",
        "Circuit breaker recovers by itself",
        "ratio",
        ">=",
        1,
        # Of the time in which it was open, the part in which it did not stay so long that its alert fired.
        "1 - sum_over_time(mcp:sampled_breaker_stuck[7d])"
        " / on (server) (sum_over_time(mcp:sampled_breaker_open[7d]) > 0)",
    ),
    Objective(
        "cost_saving_ratio",
        "Cost saved, against the baseline",
        "ratio",
        ">=",
        0.3,
        "1 - avg_over_time(mcp:sampled_cost[7d])"
        f" / on (server) max by (server) (mcp_baseline_cost_usd_per_hour{{{_SERVER}}})",
    ),
    Objective(
        "alert_response_seconds",
        "Response to an alert (p95)",
        "seconds",
        "<",
        300,
        "histogram_quantile(0.95, sum by (le) (increase(mcp_remediation_time_to_act_seconds_bucket[7d]))) >= 0",
    ),
    Objective(
        "manual_interventions",
        "Interventions by hand in a week",
        "count",
        "<",
        1,
        "sum(increase(mcp_remediation_manual_actions_total[7d]))",
    ),
)
"""The guide's criteria, of deployment first."""


def objective_rules() -> list[Rule]:
    """The samples, then each objective's figure and whether it is met, and what is left of the error budget."""
    return [
        *(record(name, expression) for name, expression in SAMPLED.items()),
        *(rule for objective in OBJECTIVES for rule in objective.rules()),
        record("mcp:error_budget_remaining_ratio", f"1 - (1 - mcp:objective_availability) / {BUDGET:.12g}"),
    ]
