"""Alerts for people: what is active, what fired before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.paper import moment, printable, seconds
from console.reading.alerts import AlertHistory
from console.reading.period import written
from console.views.tables import listing
from console.views.units import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.reading.alerts import Active, Alerts, Episode

_STYLES: Final = {"critical": "bold red", "warning": "yellow"}
_BREAKERS: Final = {"open": "bold red", "half_open": "yellow", "closed": "green"}


def alerts(report: Alerts | AlertHistory) -> RenderableType:
    """The one or the other."""
    return _history(report) if isinstance(report, AlertHistory) else _active(report)


def _active(report: Alerts) -> RenderableType:
    rows = [_row(one, report.at) for one in report.active]
    heads = ("alert", "server", "severity", "since", "value", "threshold", "muted")
    breakers = [
        (f"circuit_breaker {one.server}", Text(one.state, style=_BREAKERS.get(one.state, "dim")))
        for one in report.breakers
    ]
    return Group(
        listing(heads, rows, right=(4, 5)) if rows else _quiet(report),
        *_alerting(report),
        Text(""),
        listing(("breaker", "state"), breakers),
    )


def _quiet(report: Alerts) -> Text:
    if report.alerting is None:
        # Nothing fires in Prometheus either, or it could not be asked: the gaps below say which.
        return Text("no alert is known", style="dim")
    return Text("no alert is active", style="green" if report.alerting else "")


def _alerting(report: Alerts) -> list[Text]:
    if report.alerting is not False:
        return []
    told = "McpWatchdog, which always fires, did not reach Alertmanager: silence means nothing until it does"
    return [Text(told, style="bold red")]


def _row(one: Active, at: float) -> tuple[str | Text, ...]:
    return (
        one.alert,
        one.server,
        Text(printable(one.severity), style=_STYLES.get(one.severity, "")),
        "-" if one.since is None else f"{seconds(max(0.0, at - one.since))} ago",
        "" if one.unit is None else shown(one.unit, one.value),
        "" if one.unit is None or one.threshold is None else shown(one.unit, one.threshold),
        one.muted,
    )


def _history(report: AlertHistory) -> RenderableType:
    every = seconds(report.resolution_seconds)
    head = f"{written(report.period_seconds)} until {moment(report.at)}, looked at every {every}"
    if not report.episodes:
        return Group(Text(head, style="dim"), Text("no alert fired"))
    heads = ("alert", "server", "severity", "from", "for", "what was done")
    rows = [_told(one, report.at, report.resolution_seconds) for one in report.episodes]
    return Group(Text(head, style="dim"), listing(heads, rows, prose=True))


def _told(one: Episode, at: float, every: float) -> tuple[str | Text, ...]:
    lasted = (at if one.end is None else one.end) - one.start
    told = seconds(lasted) if lasted >= 1 else f"< {seconds(every)}"
    return (
        one.alert,
        one.server,
        Text(printable(one.severity), style=_STYLES.get(one.severity, "")),
        moment(one.start)[:16],
        told if one.end is not None else f"{told}, still",
        "; ".join(one.acts) or ("nothing" if not one.incident else f"see {one.incident}"),
    )
