"""The receiver's own series, in a registry of its own; label values come from closed sets and start at 0."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from fleet.lifecycle.outcome import Outcome
from fleet.signals import SIGNALS
from receiver.standing_metrics import Standings
from receiver.vocabulary import After, Denied, EscalationReason, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from receiver.standing import Budget, Standing

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


class WebhookResult(enum.StrEnum):
    """What became of one POST of Alertmanager's: the label ``result``."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    UNKNOWN_SERVER = "unknown_server"
    QUARANTINED = "quarantined"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    REFUSED = "refused"
    FAILED = "failed"


class ReconcileResult(enum.StrEnum):
    """What came of one reading of Alertmanager's active alerts: the label ``result``."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    UNREACHABLE = "unreachable"
    FAILED = "failed"


class Metrics:
    """Counters for the parts to count with; ``exposition`` renders them together with the open incidents."""

    def __init__(self, servers: Iterable[str], actions: Iterable[str], states: Iterable[str]) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.webhooks = Counter("mcp_remediation_webhooks", "Webhook bodies by what became of them.", ["result"],
                                registry=registry)  # fmt: skip
        self.reconciles = Counter("mcp_remediation_reconciles", "Readings of Alertmanager's active alerts.",
                                  ["result"], registry=registry)  # fmt: skip
        self.actions = Counter("mcp_remediation_actions", "Acts carried out, by how they ended.",
                               ["server", "action", "outcome"], registry=registry)  # fmt: skip
        self.denied = Counter("mcp_remediation_denied", "Rungs that a guard refused, once for each incident.",
                              ["reason"], registry=registry)  # fmt: skip
        self.verdicts = Counter("mcp_remediation_verdicts", "Judgements of acts by signal.", ["signal", "verdict"],
                                registry=registry)  # fmt: skip
        self.escalations = Counter("mcp_remediation_escalations", "Incidents for which people were called.",
                                   ["reason"], registry=registry)  # fmt: skip
        self.suggestions = Counter("mcp_remediation_suggestions", "Suggested acts that nobody took, by what the alerts "
                                   "did next.", ["after"], registry=registry)  # fmt: skip
        self.manual_actions = Counter("mcp_remediation_manual_actions", "Acts that a person asked for.",
                                      registry=registry)  # fmt: skip
        self.time_to_act = Histogram("mcp_remediation_time_to_act_seconds", "From an incident's opening to its "
                                     "first treatment.", buckets=_SECONDS, registry=registry)  # fmt: skip
        self.time_to_heal = Histogram("mcp_remediation_time_to_heal_seconds", "From an incident's opening to the "
                                      "verdict that it is healed.", buckets=_SECONDS, registry=registry)  # fmt: skip
        self.journal_available = Gauge("mcp_remediation_journal_available", "1 while the journal can be written; "
                                       "nothing is treated while it is 0.", registry=registry)  # fmt: skip
        self.credentials_current = Gauge("mcp_remediation_credentials_current", "1 while the files of tokens, users "
                                         "and TLS hold as they stand; 0: they are wrong, and those before hold.",
                                         registry=registry)  # fmt: skip
        self.worker_errors = Counter("mcp_remediation_worker_errors", "Steps of a server's worker that failed and "
                                     "are retried.", registry=registry)  # fmt: skip
        self._incidents = _Incidents(tuple(servers), tuple(states))
        registry.register(self._incidents)
        self._standings = Standings()
        registry.register(self._standings)
        self._start_at_zero(actions)

    def exposition(
        self, states: Mapping[str, str], standings: Sequence[Standing] = (), fleet: Budget | None = None
    ) -> bytes:
        """The text format. ``states`` is the state of each server's open incident, ``standings`` how each stands,
        ``fleet`` what all have used; all of it taken on the caller's thread.
        """
        self._incidents.states = dict(states)
        self._standings.standings, self._standings.fleet = standings, fleet
        return generate_latest(self._registry)

    def _start_at_zero(self, actions: Iterable[str]) -> None:
        for result in WebhookResult:
            self.webhooks.labels(result)
        for outcome in ReconcileResult:
            self.reconciles.labels(outcome)
        for denied in Denied:
            self.denied.labels(denied)
        for after in After:
            self.suggestions.labels(after)
        for reason in EscalationReason:
            self.escalations.labels(reason)
        for signal in SIGNALS:
            for verdict in Verdict:
                self.verdicts.labels(signal.name, verdict)
        for action in actions:
            for server in self._incidents.servers:
                for ended in Outcome:
                    self.actions.labels(server, action, ended)
        self.journal_available.set(1)
        self.credentials_current.set(1)


class _Incidents(Collector):
    """``mcp_remediation_incidents``: 1 for the state in which a server's open incident is, 0 for the others."""

    def __init__(self, servers: tuple[str, ...], states: tuple[str, ...]) -> None:
        self.servers = servers
        self._states = states
        self.states: Mapping[str, str] = {}

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("mcp_remediation_incidents", "Open incidents by state.", labels=["server", "state"])
        for server in self.servers:
            for state in self._states:
                family.add_metric([server, state], float(self.states.get(server) == state))
        yield family
