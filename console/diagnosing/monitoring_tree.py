"""The third tree of the operators' guide: the monitoring is silent. Its chain, link by link. Data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from console.diagnosing.walking import Ending, Question

FIRST: Final = "exporter"

_HEALTH: Final = "mcp-medic health-check{config}"

QUESTIONS: Final[Mapping[str, Question]] = {
    "exporter": Question(
        "Does the exporter answer?",
        yes="exporter_ready",
        no=Ending("nobody publishes figures: {saw}", "mcp-exporter{config}"),
        unknown="prometheus",
    ),
    "exporter_ready": Question(
        "Has the exporter read every source once?",
        yes="prometheus",
        no=Ending("the exporter waits for a source: {saw}", _HEALTH),
        unknown="prometheus",
    ),
    "prometheus": Question(
        "Does Prometheus answer?",
        yes="clock",
        no=Ending("nobody keeps figures: {saw}", "systemctl restart prometheus"),
        unknown="alertmanager",
    ),
    "clock": Question(
        "Do its clock and this host's agree?",
        yes="targets",
        no=Ending("figures are stored under the wrong time: {saw}", "timedatectl status"),
        unknown="targets",
    ),
    "targets": Question(
        "Does Prometheus scrape everything it should?",
        yes="sources",
        no=Ending("Prometheus does not get every figure: {saw}", _HEALTH),
        unknown="sources",
    ),
    "sources": Question(
        "Can the exporter read every source of it?",
        yes="gateways",
        no=Ending("some figures of {server} are missing: {saw}", "mcp-medic test {server}{config} --dry-run"),
        unknown="gateways",
    ),
    "gateways": Question(
        "Do its gateways answer on their control sockets?",
        yes="fresh",
        no=Ending("a gateway of {server} does not report: {saw}", "mcp-medic test {server}{config}"),
        unknown="fresh",
    ),
    "fresh": Question(
        "Is its newest sample new?",
        yes="logs",
        no=Ending("every link to Prometheus works, and yet it has no new sample of {server}: {saw}", _HEALTH),
        unknown="logs",
    ),
    "logs": Question(
        "Are its log files written to?",
        yes="rules",
        no=Ending("a log of {server} is silent: {saw}", "mcp-medic debug-mode {server}{config}"),
        unknown="rules",
    ),
    "rules": Question(
        "Are the rules loaded?",
        yes="discovered",
        no=Ending("nobody judges the figures: {saw}", "promtool check config /etc/prometheus/prometheus.yml"),
        unknown="discovered",
    ),
    "discovered": Question(
        "Does Prometheus know an Alertmanager?",
        yes="alertmanager",
        no=Ending("alerts are raised and sent nowhere: {saw}", "promtool check config /etc/prometheus/prometheus.yml"),
        unknown="alertmanager",
    ),
    "alertmanager": Question(
        "Does Alertmanager answer?",
        yes="route",
        no=Ending("nobody delivers alerts: {saw}", "systemctl restart alertmanager"),
        unknown="receiver",
    ),
    "route": Question(
        "Does Alertmanager post to the receiver?",
        yes="receiver",
        no=Ending("alerts do not reach the receiver: {saw}", "amtool check-config /etc/alertmanager/alertmanager.yml"),
        unknown="receiver",
    ),
    "receiver": Question(
        "Does the receiver answer?",
        yes="receiver_ready",
        no=Ending("nobody treats: {saw}", "mcp-receiver{config}"),
        unknown="delivery",
    ),
    "receiver_ready": Question(
        "Can the receiver keep what it is told?",
        yes="delivery",
        no=Ending("the receiver turns alerts away: {saw}", _HEALTH),
        unknown="delivery",
    ),
    "delivery": Question(
        "Do Alertmanager's posts arrive?",
        yes="monitoring_redis",
        no=Ending("alerts get lost on their way to the receiver: {saw}", _HEALTH),
        unknown="monitoring_redis",
    ),
    "monitoring_redis": Question(
        "Does Redis answer?",
        yes=Ending(
            "every link of the monitoring of {server} works", "mcp-medic performance {server}{config}", ill=False
        ),
        no=Ending("what Redis holds cannot be counted: {saw}", _HEALTH),
        unknown=Ending("no broken link of the monitoring of {server} was found", _HEALTH, ill=False),
    ),
}
