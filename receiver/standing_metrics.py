"""How the servers stand, as series: budgets, pauses, the last act, the last deployment, the baseline.

Made anew for each scrape from what the journal says, so a restart of the receiver shows no gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from receiver.standing import Budget, Standing

_Labels = tuple[str, ...]
_Samples = Iterable[tuple[_Labels, float]]


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    told: str
    labels: _Labels
    of: Callable[[Standing], _Samples]


def _last_action(of: Standing) -> _Samples:
    return [] if of.last_action_at is None else [((of.server,), of.last_action_at)]


def _paused(of: Standing) -> _Samples:
    return [((of.server,), float(of.paused))]


def _debugging(of: Standing) -> _Samples:
    raised = of.debug_until is not None
    return [((of.server, "raised"), float(raised)), ((of.server, "stuck"), float(of.debug_stuck))]


def _used(of: Standing) -> _Samples:
    return [((of.server, "server"), float(of.actions.used)), ((of.server, "recovery"), float(of.recovery.used))]


def _deployed(of: Standing) -> _Samples:
    deployed = of.dossier.deployed
    return [] if deployed is None else [((of.server, str(phase)), took) for phase, took in deployed.phases.items()]


def _usual_response_time(of: Standing) -> _Samples:
    kept = of.dossier.baseline
    return [] if kept is None or kept.response_time_seconds is None else [((of.server,), kept.response_time_seconds)]


def _usual_cost(of: Standing) -> _Samples:
    kept = of.dossier.baseline
    return [] if kept is None or kept.cost_usd_per_hour is None else [((of.server,), kept.cost_usd_per_hour)]


_USED: Final = "mcp_remediation_budget_used"
_FAMILIES: Final = (
    _Family("mcp_remediation_last_action_timestamp_seconds", "When the last treatment of the server began.",
            ("server",), _last_action),
    _Family("mcp_remediation_paused", "1 while a person has stopped automation on the server, or everywhere.",
            ("server",), _paused),
    _Family("mcp_remediation_debug_mode", "raised: 1 while log levels are raised for a while; stuck: 1 while they "
            "could not be put back, and a person must.", ("server", "state"), _debugging),
    _Family(_USED, "Treatments that count now; server is empty where the budget is that of the fleet.",
            ("server", "budget"), _used),
    _Family("mcp_remediation_deploy_seconds", "How long each phase of the last successful deployment took.",
            ("server", "phase"), _deployed),
    _Family("mcp_baseline_response_time_seconds", "The p95 of the time that is compared with.", ("server",),
            _usual_response_time),
    _Family("mcp_baseline_cost_usd_per_hour", "The cost of the time that is compared with.", ("server",), _usual_cost),
)  # fmt: skip


class Standings(Collector):
    """``standings`` and the ``fleet``'s budget are those of the scrape that is under way."""

    def __init__(self) -> None:
        self.standings: Sequence[Standing] = ()
        self.fleet: Budget | None = None

    def collect(self) -> Iterable[Metric]:
        """The families, in one order."""
        for each in _FAMILIES:
            family = GaugeMetricFamily(each.name, each.told, labels=each.labels)
            for standing in self.standings:
                for labels, value in each.of(standing):
                    family.add_metric(labels, value)
            if each.name == _USED and self.fleet is not None:
                family.add_metric(("", "fleet"), float(self.fleet.used))
            yield family
        yield self._limits()

    def _limits(self) -> Metric:
        family = GaugeMetricFamily(
            "mcp_remediation_budget_limit", "Treatments that a budget allows.", labels=["budget"]
        )
        if self.fleet is not None:
            family.add_metric(["fleet"], float(self.fleet.limit.count))
        for standing in self.standings[:1]:  # every server has the same
            family.add_metric(["server"], float(standing.actions.limit.count))
            family.add_metric(["recovery"], float(standing.recovery.limit.count))
        return family
