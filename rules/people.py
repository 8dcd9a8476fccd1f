"""Alerts for people: automation cannot act, did not help, or is not there. Pure.

None of them has a label ``signal``: that label is what sends an alert to the receiver for treatment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.signals import ADVICE, SIGNALS, SignalName
from rules.alerts import alert_rule
from rules.recording import Rule

UNTREATED_SECONDS: Final = 600
"""How long a treatable critical alert may fire before people are called, whatever the receiver says."""


@dataclass(frozen=True, slots=True)
class PeopleAlert:
    """One alert that pages; ``expression`` must keep the labels that the texts name."""

    alert: str
    severity: str
    expression: str
    summary: str
    description: str
    hold_seconds: int = 0
    keep_firing_seconds: int = 0

    def rule(self) -> Rule:
        """The rule as it stands in the file."""
        return alert_rule(
            self.alert,
            self.expression,
            {"severity": self.severity},
            (self.summary, self.description),
            hold_seconds=self.hold_seconds,
            keep_firing_seconds=self.keep_firing_seconds,
        )


def people_rules() -> list[Rule]:
    """Every alert for people."""
    return [alert.rule() for alert in _PEOPLE]


def _vanished(job: str) -> str:
    # Not absent(): a Prometheus that never had this job judges servers that report by themselves, and their alerts
    # must not be muted for the want of a program that nobody installed.
    return f'max by (job) (0 * last_over_time(up{{job="{job}"}}[1d])) unless on (job) up{{job="{job}"}}'


def _failing(metric: str, source: str) -> str:
    return f'label_replace(min by (instance) ({metric}) == 0, "source", "{source}", "", "")'


# A hit ratio is left out: nobody is called at night for one. What automation does not treat is escalated at once.
_TREATED: Final = "|".join(
    signal.name
    for signal in SIGNALS
    if signal.treated and signal.fixed_severity != ADVICE and signal.name is not SignalName.CACHE_HIT_RATIO
)

_PEOPLE: Final = (
    PeopleAlert(
        alert="McpUntreated",
        severity="critical",
        # The signal moves to a label of another name, or this alert itself would be sent for treatment.
        expression=(
            "max by (server, untreated_signal) (\n"
            f'  label_replace(ALERTS{{alertstate="firing",severity="critical",signal=~"{_TREATED}",'
            'server!=""}, "untreated_signal", "$1", "signal", "(.+)")\n'
            ") > 0"
        ),
        hold_seconds=UNTREATED_SECONDS,
        summary="MCP server {{ $labels.server }} stays ill: {{ $labels.untreated_signal }}",
        description=(
            "A critical {{ $labels.untreated_signal }} alert of {{ $labels.server }} has been firing for more than "
            "10 minutes. Automation did not heal it, whatever it reports of itself."
        ),
    ),
    PeopleAlert(
        alert="McpRemediationExhausted",
        severity="critical",
        expression='max by (server) (mcp_remediation_incidents{state="escalated",server!=""}) > 0',
        # A restart of the receiver must not resolve the page and send it again.
        keep_firing_seconds=300,
        summary="Automation gave up on MCP server {{ $labels.server }}",
        description=(
            "The receiver escalated the incident of {{ $labels.server }}: its ladder is used up, or a guard refuses "
            "to go on. Nothing more will be tried until a person acts."
        ),
    ),
    PeopleAlert(
        alert="McpReceiverDown",
        severity="critical",
        expression=f'up{{job="mcp-receiver"}} == 0\nor\n{_vanished("mcp-receiver")}',
        hold_seconds=120,
        summary="The mcp-medic receiver is down",
        description=(
            "Prometheus cannot scrape the receiver {{ $labels.instance }} (job {{ $labels.job }}). "
            "Alerts fire, but nothing treats them."
        ),
    ),
    PeopleAlert(
        alert="McpExporterDown",
        severity="critical",
        expression=f'max by (job) (up{{job="mcp-exporter"}}) == 0\nor\n{_vanished("mcp-exporter")}',
        hold_seconds=60,
        summary="No mcp-medic exporter can be scraped",
        description="Prometheus reaches no target of job {{ $labels.job }}: all MCP servers are unobserved.",
    ),
    PeopleAlert(
        # Two levels under one name: only the critical one mutes the servers' alerts (deploy/alertmanager.yml),
        # because one dead exporter of several says nothing about the servers that the others see.
        alert="McpExporterDown",
        severity="warning",
        expression='up{job="mcp-exporter"} == 0\nand on (job) (max by (job) (up{job="mcp-exporter"}) == 1)',
        hold_seconds=60,
        summary="The mcp-medic exporter {{ $labels.instance }} is down",
        description="Prometheus cannot scrape {{ $labels.instance }}: MCP servers that only it sees are unobserved.",
    ),
    PeopleAlert(
        alert="McpExporterSourceFailing",
        severity="warning",
        # What cannot be read of a server that is down is no news; that it is down has an alert. The state file, which
        # keeps totals over a restart, and the configuration are read by the exporter too: they have no server.
        expression=(
            "(\n"
            '  min by (server, source) (mcp_exporter_source_success{server!=""}) == 0\n'
            "  unless on (server) (mcp:signal_down <= 0)\n"
            ")\n"
            f"or\n{_failing('mcp_exporter_state_success', 'state file')}\n"
            f"or\n{_failing('mcp_exporter_config_last_reload_successful', 'configuration')}"
        ),
        hold_seconds=900,
        summary="Source {{ $labels.source }}{{ with $labels.server }} of MCP server {{ . }}{{ end }} fails",
        description=(
            "The source {{ $labels.source }}{{ with $labels.server }} of {{ . }}{{ end }}"
            "{{ with $labels.instance }} of the exporter {{ . }}{{ end }} has failed for 15 minutes: what it tells is "
            "missing or old, and what is judged by it is not judged."
        ),
    ),
    PeopleAlert(
        alert="McpNotificationsFailing",
        severity="critical",
        expression=(
            'sum by (instance) (increase(alertmanager_notifications_failed_total{integration="webhook"}[5m])) > 0'
        ),
        # As long as the window: one failed delivery that the retry mended ends inside it and pages nobody.
        hold_seconds=300,
        summary="Alertmanager {{ $labels.instance }} cannot deliver to webhooks",
        description=(
            "Alertmanager {{ $labels.instance }} failed to deliver webhooks {{ $value | humanize }} times in 5 "
            "minutes, and has been failing for longer: the receiver does not learn what to treat."
        ),
    ),
    PeopleAlert(
        alert="McpWatchdog",
        severity="info",
        expression="vector(1)",
        summary="Alerting works",
        description="This alert always fires. When it stops arriving, Prometheus or Alertmanager is down.",
    ),
)
