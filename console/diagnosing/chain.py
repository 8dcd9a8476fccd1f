"""The links between a server's figures and a treatment, judged from what each service says of itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from console.diagnosing import checks
from console.diagnosing.checks import Check
from console.paper import seconds
from fleet.signals import BY_ALERT

TARGETS: Final = "Prometheus targets"
RULES: Final = "rules"
DISCOVERED: Final = "Prometheus to Alertmanager"
ROUTE: Final = "Alertmanager to receiver"
CLOCK: Final = "clock"
DELIVERY: Final = "notifications"
SOURCES: Final = "sources"
FRESHNESS: Final = "freshness"

JOBS: Final = ("mcp-exporter", "mcp-receiver", "alertmanager", "prometheus")
"""The jobs by whose names the rules know what is scraped."""

SKEW_SECONDS: Final = 30.0
STALE_SECONDS: Final = 60.0
"""Four scrapes at production's pace."""

_HIDDEN: Final = "<secret>"
_WEBHOOK: Final = "/api/v1/alerts"


def targets(found: Sequence[Mapping[str, Any]]) -> Check:
    """Every job is scraped, and every target of ours answers."""
    by_job = {job: [each for each in found if each.get("labels", {}).get("job") == job] for job in JOBS}
    lacking = [job for job, its in by_job.items() if not its]
    if lacking:
        saw = f"no target of the job{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}"
        return checks.failed(TARGETS, saw, "Add the jobs of deploy/prometheus.yml to its configuration")
    down = [each for its in by_job.values() for each in its if each.get("health") != "up"]
    if down:
        first = down[0]
        said = first.get("lastError") or first.get("health") or "not scraped yet"
        saw = f"{first.get('labels', {}).get('job')} at {first.get('scrapeUrl')}: {said}"
        more = f", and {len(down) - 1} more" if len(down) > 1 else ""
        return checks.failed(TARGETS, f"{saw}{more}", "Start what does not answer, or correct its target")
    return checks.passed(TARGETS, f"{sum(map(len, by_job.values()))} targets are up")


def rules(found: Sequence[Mapping[str, Any]]) -> Check:
    """Every alert of the table is loaded, and no rule of ours fails."""
    lacking = sorted(set(BY_ALERT) - {str(rule.get("name")) for rule in found})
    if lacking:
        saw = f"{len(lacking)} of {len(BY_ALERT)} alerts are not loaded, such as {lacking[0]}"
        return checks.failed(RULES, saw, "Name rules/*.rules.yml under rule_files of its configuration")
    ours = [rule for rule in found if str(rule.get("name", "")).startswith(("Mcp", "mcp:"))]
    broken = [rule for rule in ours if rule.get("health") == "err"]
    if broken:
        saw = f"{broken[0].get('name')} cannot be evaluated: {broken[0].get('lastError')}"
        return checks.failed(RULES, saw, "Load the rule file of this version")
    return checks.passed(RULES, f"{len(ours)} rules are loaded")


def discovered(found: Mapping[str, Any]) -> Check:
    """Prometheus knows an Alertmanager to send alerts to."""
    active = [str(each.get("url")) for each in found.get("activeAlertmanagers") or ()]
    if active:
        return checks.passed(DISCOVERED, f"alerts go to {', '.join(active)}")
    return checks.failed(DISCOVERED, "Prometheus sends alerts nowhere", "Name Alertmanager under alerting, as deploy/")


def clock(theirs: float, ours: float) -> Check:
    """Prometheus' clock and this host's agree, or "the last minute" means two things."""
    skew = abs(theirs - ours)
    if skew <= SKEW_SECONDS:
        return checks.passed(CLOCK, f"Prometheus' clock is {seconds(skew)} from this host's")
    saw = f"Prometheus' clock is {seconds(skew)} {'before' if theirs > ours else 'behind'} this host's"
    return checks.failed(CLOCK, saw, "Set both by NTP: timedatectl status")


def route(configuration: str, receiver_url: str) -> Check:
    """Alertmanager posts to our receiver, and a route leads there."""
    try:
        document = yaml.safe_load(configuration)
    except yaml.YAMLError:
        document = None
    if not isinstance(document, dict):
        return checks.failed(ROUTE, "Alertmanager shows no configuration", "Read its log")
    webhooks = list(_webhooks(document))
    ours = [name for name, url in webhooks if _same(url, receiver_url)]
    hidden = [name for name, url in webhooks if url == _HIDDEN]
    if not ours and not hidden:
        elsewhere = next((url for _, url in webhooks if url.endswith(_WEBHOOK)), "")
        saw = f"it posts to {elsewhere}, the receiver is at {receiver_url}" if elsewhere else "no webhook of ours"
        return checks.failed(ROUTE, saw, f"Set its webhook's url to {receiver_url}{_WEBHOOK}")
    routed = set(_routed(document.get("route")))
    leads = [name for name in ours or hidden if name in routed]
    if not leads:
        saw = f"no route leads to {', '.join(ours or hidden)}"
        return checks.failed(ROUTE, saw, "Add the routes of deploy/alertmanager.yml")
    where = receiver_url if ours else "an address that it hides"
    return checks.passed(ROUTE, f"{leads[0]} posts to {where}")


def delivery(firing: Sequence[object]) -> Check:
    """Alertmanager delivers what it has, by the rule that watches this."""
    if not firing:
        return checks.passed(DELIVERY, "no delivery to a webhook fails")
    return checks.failed(DELIVERY, "Alertmanager cannot deliver (McpNotificationsFailing)", "Read Alertmanager's log")


def sources(failing: Iterable[tuple[str, str]]) -> Check:
    """Every source that the exporter reads works; ``failing`` are (server, source)."""
    found = sorted(failing)
    if not found:
        return checks.passed(SOURCES, "every source that the exporter reads works")
    listed = ", ".join(f"{source} of {server}" if server else source for server, source in found[:4])
    more = f", and {len(found) - 4} more" if len(found) > 4 else ""
    return checks.failed(SOURCES, f"the exporter cannot read {listed}{more}", "Its log says why")


def freshness(server: str, age: float | None) -> Check:
    """The server's newest sample is no older than a few scrapes."""
    remedy = f"mcp-medic diagnose {server} --tree monitoring"
    if age is None:
        return checks.failed(FRESHNESS, "Prometheus has no sample of it", remedy)
    if age > STALE_SECONDS:
        return checks.failed(FRESHNESS, f"its newest sample is {seconds(age)} old", remedy)
    return checks.passed(FRESHNESS, f"its newest sample is {seconds(age)} old")


def _webhooks(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for receiver in _mappings(document.get("receivers")):
        for webhook in _mappings(receiver.get("webhook_configs")):
            yield str(receiver.get("name")), str(webhook.get("url") or _HIDDEN)


def _routed(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield str(node.get("receiver"))
        for inner in _mappings(node.get("routes")):
            yield from _routed(inner)


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _same(url: str, receiver_url: str) -> bool:
    try:
        found, wanted = urlsplit(url), urlsplit(f"{receiver_url}{_WEBHOOK}")
        places = [(_host(each.hostname), each.port, each.path) for each in (found, wanted)]
    except ValueError:
        return False
    return places[0] == places[1]


def _host(name: str | None) -> str:
    return "127.0.0.1" if name in {"localhost", "::1"} else name or ""
