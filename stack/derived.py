"""The shipped configuration made fit for one stack: other addresses, every duration divided by one factor.

Pure: texts in, texts out. What is judged and how stays as shipped; a second copy would soon mean something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import tomlkit
import yaml

from fleet.errors import PermanentError
from fleet.inventory import Address, Enforced, Limits, Rung, Transport
from fleet.profiles import PROFILES
from fleet.sections.receiver import DEFAULT_LADDERS
from fleet.server_settings import KNOWN, Setting, SettingValue
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
_TOML_TIMEOUTS: Final = (
    Setting("performance", "initial_response_timeout"),
    Setting("performance", "inactivity_timeout"),
    Setting("performance", "circuit_breaker_timeout_ms"),
)
"""What the rules wait for. How long a session or an answer is kept stays: it is the server's business."""

_LEAST_MILLISECONDS: Final = 1000
_LEAST_TIMEOUT: Final = 8000
"""A shorter first answer than this would be asked of a server that a busy machine is just starting."""

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
    state_file: str
    webhook_token_file: str
    telemetry_token_file: str


def server_config_of(shipped: str, pace: Pace, settings: Mapping[str, SettingValue | str]) -> str:
    """``examples/server.toml`` with its timeouts at this pace and ``settings`` (dotted names) on top; comments stay."""
    document = tomlkit.parse(shipped)
    for setting in _TOML_TIMEOUTS:
        table = _table(document, setting.section)
        shipped_value = int(table[setting.key])
        least = _LEAST_TIMEOUT if setting.key == "initial_response_timeout" else _LEAST_MILLISECONDS
        table[setting.key] = _divided(shipped_value, pace, least)
    return with_settings(tomlkit.dumps(document), settings)


def with_settings(text: str, settings: Mapping[str, SettingValue | str]) -> str:
    """A server's TOML with other values, as a deployment writes it; comments and all else stay."""
    document = tomlkit.parse(text)
    for name, value in settings.items():
        section, _, key = name.partition(".")
        _table(document, section)[key] = value
    return tomlkit.dumps(document)


def _table(document: tomlkit.TOMLDocument, section: str) -> Any:
    return document[section]


def ladders_of(pace: Pace) -> Document:
    """The shipped ladders with the durations that their rungs set at this pace."""
    # A signal that only suggests has no ladder, and none may be written for it.
    return {
        str(signal): [_rung_of(rung, pace) for rung in ladder] for signal, ladder in DEFAULT_LADDERS.items() if ladder
    }


def _rung_of(rung: Rung, pace: Pace) -> str | Document:
    changes = dict(rung.changes) or (dict(PROFILES[rung.profile].changes) if rung.profile else {})
    if any(_lasts(setting) for setting in changes):
        # A profile's own numbers are fixed: at another pace the same settings are set one by one.
        return {"set_config": {str(key): _at_pace(key, value, pace) for key, value in changes.items()}}
    if rung.profile:
        return {"apply_profile": rung.profile}
    return {"set_config": {str(key): value for key, value in changes.items()}} if changes else rung.action


def _at_pace(setting: Setting, value: SettingValue, pace: Pace) -> SettingValue:
    return _divided(value, pace) if _lasts(setting) else value


def _lasts(setting: Setting) -> bool:
    return KNOWN[str(setting)][1] is int and setting.key.endswith(("_ms", "_timeout"))


def _divided(milliseconds: int, pace: Pace, least: int = _LEAST_MILLISECONDS) -> int:
    return max(round(milliseconds / pace.factor), min(least, milliseconds))


@dataclass(frozen=True, slots=True)
class Manner:
    """How the receiver treats, how clients reach the server, and which limits the gateway enforces.

    ``limits`` stand on top of the scaled ones, ``entry`` on top of the server's own keys.
    """

    mode: str = "automatic"
    limits: Mapping[str, object] = field(default_factory=dict)
    transport: Transport = Transport.HTTP
    enforce: frozenset[Enforced] = frozenset()
    entry: Mapping[str, object] = field(default_factory=dict)


def fleet_of(example: str, places: Places, pace: Pace, manner: Manner) -> str:
    """``examples/fleet.yml`` with this stack's addresses and files, its limits and ladders at this pace."""
    document = _loaded(example)
    document["prometheus"]["url"] = places.prometheus.url
    document["alertmanager"]["url"] = places.alertmanager.url
    document["gateway"] = {"listen": str(places.gateway), "control_dir": places.control_dir}
    document["exporter"] = {
        "listen": str(places.exporter),
        "telemetry_token_file": places.telemetry_token_file,
        "state_file": places.state_file,
    }
    document["receiver"] |= {
        "listen": str(places.receiver),
        "journal": f"sqlite:{places.journal}",
        "mode": manner.mode,
        "authentication": {"bearer_token_files": [places.webhook_token_file]},
        "limits": {**scaled_limits(asdict(Limits()), pace.factor), **manner.limits},
    }
    if pace.factor != 1:
        document["receiver"]["ladders"] = ladders_of(pace)
    (server,) = document["servers"]
    server |= {
        "url": f"{places.server.url}/mcp",
        "command": [places.python, places.server_script, "--port", str(places.server.port)],
        "env": {"EXAMPLE_FAULT_FILE": places.fault_file, "EXAMPLE_CONFIG_FILE": places.server_config},
        "config_file": places.server_config,
        "enforce": sorted(str(limit) for limit in manner.enforce),
    }
    if manner.transport is Transport.STDIO:
        del server["url"]
        server["transport"] = str(manner.transport)
        server["command"] = [places.python, places.server_script, "--transport", "stdio"]
    server |= manner.entry
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
