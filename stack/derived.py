"""The shipped configuration made fit for one stack: other addresses, every duration divided by one factor.

Pure: texts in, texts out. What is judged and how stays as shipped; a second copy would soon mean something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import yaml

from fleet.errors import PermanentError
from fleet.inventory import Address, Limits
from rules.promql import duration
from rules.scale import scaled, scaled_duration, scaled_limits

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much faster than in production everything goes.

    Attributes:
        factor: what every duration is divided by; 1 leaves them as shipped.
        scrape_seconds: between two scrapes and two evaluations; no range is shorter than four of them.
    """

    factor: float = 15.0
    scrape_seconds: float = 1.0

    @property
    def scrape_duration(self) -> str:
        """``scrape_seconds`` as Prometheus writes it."""
        return duration(round(self.scrape_seconds * 1000))


_DURATION_KEYS: Final = frozenset({"group_wait", "group_interval", "repeat_interval", "resolve_timeout"})
_PACE_KEYS: Final = frozenset({"scrape_interval", "scrape_timeout", "evaluation_interval"})


def rules_of(shipped: str, pace: Pace) -> str:
    """A rule file at this pace."""
    if pace.factor == 1:
        return shipped
    return _dumped(scaled(_loaded(shipped), pace.factor, pace.scrape_seconds))


def prometheus_of(shipped: str, jobs: Mapping[str, Address], rule_files: Sequence[str], pace: Pace) -> str:
    """``deploy/prometheus.yml`` with the jobs' addresses, other rule files, and this pace.

    Raises:
        PermanentError: it scrapes a job, or names something beside them, that is not in ``jobs``.
    """
    document = _loaded(shipped)
    for scrape in document["scrape_configs"]:
        address = jobs.get(scrape["job_name"])
        if address is None:
            raise PermanentError(f"deploy/prometheus.yml scrapes {scrape['job_name']!r}, which this stack does not run")
        _set_targets(scrape["static_configs"], address)
    for alertmanager in document["alerting"]["alertmanagers"]:
        _set_targets(alertmanager["static_configs"], jobs["alertmanager"])
    document["rule_files"] = list(rule_files)
    if pace.factor != 1:
        _each(document, _PACE_KEYS, lambda _: pace.scrape_duration)
    return _dumped(document)


def alertmanager_of(shipped: str, receiver: Address, token_file: str, pace: Pace) -> str:
    """``deploy/alertmanager.yml`` with the receiver's address and token, and its durations at this pace."""
    document = _loaded(shipped)
    for entry in document["receivers"]:
        for webhook in entry.get("webhook_configs", []):
            webhook["url"] = urlunsplit(urlsplit(webhook["url"])._replace(netloc=str(receiver)))
            webhook["http_config"]["authorization"]["credentials_file"] = token_file
    _each(document, _DURATION_KEYS, lambda text: scaled_duration(text, pace.factor))
    return _dumped(document)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of one stack are; files as absolute paths."""

    prometheus: Address
    alertmanager: Address
    gateway: Address
    exporter: Address
    receiver: Address
    server: Address
    python: str
    server_script: str
    server_config: str
    fault_file: str
    control_dir: str
    journal: str
    webhook_token_file: str
    telemetry_token_file: str


def fleet_of(example: str, places: Places, pace: Pace, mode: str, limits: Mapping[str, object]) -> str:
    """``examples/fleet.yml`` with this stack's addresses and files, the limits at this pace, ``limits`` on top."""
    document = _loaded(example)
    document["prometheus"]["url"] = places.prometheus.url
    document["alertmanager"]["url"] = places.alertmanager.url
    document["gateway"] = {"listen": str(places.gateway), "control_dir": places.control_dir}
    document["exporter"] = {"listen": str(places.exporter), "telemetry_token_file": places.telemetry_token_file}
    document["receiver"] |= {
        "listen": str(places.receiver),
        "journal": f"sqlite:{places.journal}",
        "mode": mode,
        "authentication": {"bearer_token_files": [places.webhook_token_file]},
        "limits": {**scaled_limits(asdict(Limits()), pace.factor), **limits},
    }
    (server,) = document["servers"]
    server |= {
        "url": f"{places.server.url}/mcp",
        "command": [places.python, places.server_script, "--port", str(places.server.port)],
        "env": {"EXAMPLE_FAULT_FILE": places.fault_file},
        "config_file": places.server_config,
    }
    return _dumped(document)


def _set_targets(static_configs: list[Document], address: Address) -> None:
    for static in static_configs:
        static["targets"] = [str(address)]


def _each(node: object, keys: frozenset[str], change: Callable[[str], str]) -> None:
    """Replace the text of every such key, however deep."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in keys:
                node[key] = change(str(value))
            else:
                _each(value, keys, change)
    elif isinstance(node, list):
        for item in node:
            _each(item, keys, change)


def _loaded(text: str) -> Document:
    document = yaml.safe_load(text)
    if not isinstance(document, dict):
        raise PermanentError("a configuration file of the project holds no mapping")
    return document


def _dumped(document: Document) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
