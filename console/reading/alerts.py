"""``alerts``: what Alertmanager holds now, and what fired before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from console.reading.episodes import Stretch, treating
from console.reading.figures import VITALS, Unit
from console.reading.incidents import told_acts
from console.reading.judgement import levels
from console.report import ServiceReport
from fleet.signals import BY_NAME, Severity

if TYPE_CHECKING:
    from fleet.inventory import Server

WATCHDOG: Final = "McpWatchdog"
_OURS: Final = "Mcp"
_GRAVITY: Final = ("critical", "warning", "info")


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """One alert that is active.

    ``value`` and ``threshold`` are in ``unit``, null where the alert has none or Prometheus was not asked. ``muted``:
    by a silence ("silenced"), by a graver alert ("inhibited"), or empty; "unknown" where only Prometheus could be
    asked, which knows of no muting. ``since`` is UNIX seconds.
    """

    alert: str
    server: str
    signal: str
    severity: str
    since: float | None
    value: float | None
    threshold: float | None
    unit: Unit | None
    muted: str
    summary: str


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """The circuit breaker of one server: closed, half_open, open, or unknown."""

    server: str
    state: str


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One time for which an alert fired, UNIX seconds, as exact as ``resolution_seconds``; ``end`` null: it still does.

    ``incident`` treated it, "" where none did; ``acts`` are what was done, as ``restart: healed``; ``helped`` is the
    verdict on the last act that has one, "" without.
    """

    alert: str
    server: str
    signal: str
    severity: str
    start: float
    end: float | None
    incident: str
    acts: tuple[str, ...]
    helped: str


class Alerts(ServiceReport, frozen=True, kw_only=True):
    """What is active ``at`` that time, and the breakers, which open before an alert fires.

    ``alerting`` says whether McpWatchdog, which always fires, arrived: without it silence means nothing; null where
    Alertmanager could not be asked.
    """

    at: float
    alerting: bool | None
    active: tuple[Active, ...]
    breakers: tuple[Breaker, ...]


class AlertHistory(ServiceReport, frozen=True, kw_only=True):
    """What fired in the ``period_seconds`` before ``at``, newest first, looked at every ``resolution_seconds``."""

    at: float
    period_seconds: int
    resolution_seconds: int
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, slots=True)
class Ward:
    """The servers that a report speaks of, by name.

    ``whole`` where they are the whole fleet: then alerts without a server belong to it too. ``values`` are what the
    signals measure now, by (server, signal).
    """

    servers: Mapping[str, Server]
    whole: bool
    values: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert is one of the shipped rules' that a person looks for here."""
        server, name = labels.get("server", ""), labels.get("alertname", "")
        ours = name.startswith(_OURS) and name != WATCHDOG
        return ours and (server in self.servers or (self.whole and not server))

    def active(self, labels: Mapping[str, str], since: float | None, muted: str, summary: str = "") -> Active:
        """One alert by its labels; they come from outside and only select."""
        server, signal, severity = labels.get("server", ""), labels.get("signal", ""), labels.get("severity", "")
        return Active(
            alert=labels.get("alertname", ""), server=server, signal=signal, severity=severity, since=since,
            value=self.values.get((server, signal)), threshold=self._threshold(server, signal, severity),
            unit=UNITS.get(signal), muted=muted, summary=summary,
        )  # fmt: skip

    def _threshold(self, server: str, signal: str, severity: str) -> float | None:
        if server not in self.servers or signal not in BY_NAME or severity not in set(Severity):
            return None
        return levels(BY_NAME[signal], self.servers[server].thresholds).get(Severity(severity))


def active(found: Iterable[Mapping[str, Any]], ward: Ward) -> tuple[Active, ...]:
    """What Alertmanager answered, gravest first."""
    return ordered(
        ward.active(one["labels"], _seconds(one.get("startsAt", "")), _muted(one), _summary(one))
        for one in found
        if ward.holds(one["labels"])
    )


def ordered(shown: Iterable[Active]) -> tuple[Active, ...]:
    """Gravest first, then by server and name."""
    return tuple(sorted(shown, key=lambda one: (_gravity(one.severity), one.server, one.alert)))


def watched(found: Iterable[Mapping[str, Any]]) -> bool:
    """Whether McpWatchdog is among them."""
    return any(one["labels"].get("alertname") == WATCHDOG for one in found)


UNITS: Final[Mapping[str, Unit]] = {vital.signal: vital.unit for vital in VITALS if vital.signal is not None}


def episode(
    labels: Mapping[str, str], stretch: Stretch, incidents: Iterable[Mapping[str, Any]], slack: float
) -> Episode:
    """One stretch of an alert and the incident that treated it."""
    server, signal = labels.get("server", ""), labels.get("signal", "")
    incident = treating(incidents, server, signal, stretch, slack)
    verdicts = [act["verdict"] for act in incident["acts"] if act["verdict"]] if incident else []
    return Episode(
        alert=labels.get("alertname", ""), server=server, signal=signal, severity=labels.get("severity", ""),
        start=stretch.start, end=stretch.end, incident=incident["id"] if incident else "",
        acts=told_acts(incident) if incident else (), helped=verdicts[-1] if verdicts else "",
    )  # fmt: skip


def _gravity(severity: str) -> int:
    return _GRAVITY.index(severity) if severity in _GRAVITY else len(_GRAVITY)


def _muted(found: Mapping[str, Any]) -> str:
    status = found.get("status") or {}
    if status.get("silencedBy"):
        return "silenced"
    return "inhibited" if status.get("inhibitedBy") else ""


def _summary(found: Mapping[str, Any]) -> str:
    return str((found.get("annotations") or {}).get("summary", ""))


def _seconds(written: str) -> float | None:
    """RFC 3339 to UNIX seconds; None of anything else."""
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        return None
