"""Names of the series that the exporter, the receiver and a few foreign programs publish."""

from __future__ import annotations

from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics import FAMILIES, Kind
from receiver.metrics import Metrics

_FOREIGN: Final = frozenset({"up", "ALERTS", "alertmanager_notifications_failed_total"})

_PROMISED: Final = frozenset(
    {"mcp_baseline_response_time_seconds", "mcp_baseline_cost_usd_per_hour", "mcp_remediation_deploy_seconds"}
)
"""Figures of a deployment and of the time before: what rests on them is absent where nobody publishes them."""


def published() -> frozenset[str]:
    """A rule or a panel may name these, and the series that rules record."""
    exporter = {name for family in FAMILIES for name in _samples(family.name, family.kind)}
    exposition = Metrics(["a"], ["restart"], ["escalated"]).exposition({}).decode()
    receiver = {sample.name for family in text_string_to_metric_families(exposition) for sample in family.samples}
    return frozenset(exporter | receiver | _FOREIGN | _PROMISED)


def _samples(name: str, kind: Kind) -> list[str]:
    return [f"{name}_bucket", f"{name}_count", f"{name}_sum"] if kind is Kind.HISTOGRAM else [name]
