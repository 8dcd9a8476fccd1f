"""Incidents for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from console.paper import moment, number, printable, seconds
from console.reading.figures import VITALS, Unit
from console.views.tables import facts, listing, table
from console.views.units import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from console.reading.incidents import Incident, Incidents

_KNOWN = ("outcome", "verdict", "refused", "reason", "detail", "by")
_DIFF = {"+": "green", "-": "red"}
_VITALS = {vital.signal: vital for vital in VITALS if vital.signal is not None}
_STYLES = {"closed": "green", "escalated": "bold red", "awaiting_approval": "bold yellow"}


def incidents(report: Incidents) -> RenderableType:
    """A row an incident."""
    if not report.incidents:
        return Text("no incident: nothing was ill, or its retention is over", style="green")
    rows = [
        (
            line.id,
            line.server,
            Text(line.state, style=_STYLES.get(line.state, "yellow")),
            ", ".join(line.signals),
            moment(line.opened_at),
            "; ".join(line.acts) or "nothing yet",
        )
        for line in report.incidents
    ]
    return listing(("incident", "server", "state", "signals", "opened", "acts"), rows, prose=True)


def incident(report: Incident) -> RenderableType:
    """What it is, then its timeline."""
    one = report.incident
    closed = one["closed_at"]
    head = facts(
        ("incident", one["id"]),
        ("server", one["server"]),
        ("state", one["state"]),
        ("signals", ", ".join(one["signals"])),
        ("opened", moment(one["opened_at"])),
        ("closed", "-" if closed is None else f"{moment(closed)}, {seconds(closed - one['opened_at'])} later"),
    )
    rows = [(f"+{seconds(event['at'] - one['opened_at'])}", event["kind"], _told(event)) for event in report.events]
    return Group(head, table(("after", "event", "what"), rows))


def _told(event: Mapping[str, Any]) -> Text:
    # The rung says it all where it has words of its own, as "apply_profile high_load".
    done = event.get("told") or event.get("action")
    lines = [", ".join([*([str(done)] if done else []), *(str(event[key]) for key in _KNOWN if event.get(key))])]
    lines += [", ".join(map(str, event["stages"]))] if event.get("stages") else []
    lines += [] if "approved" not in event else ["approved" if event["approved"] else "denied"]
    lines += [_alert(one) for one in event.get("alerts") or ()]
    lines += [_judgement(one) for one in event.get("judgements") or ()]
    told = Text("\n".join(printable(line) for line in lines if line))
    for line in _diff(event):
        told.append("\n" + printable(line), style=_DIFF.get(line[:1], "dim"))
    return told


def _alert(of: Mapping[str, Any]) -> str:
    return f"{of.get('alertname')} {of.get('severity')}{'' if of.get('firing') else ', resolved'}"


def _judgement(of: Mapping[str, Any]) -> str:
    """``error_ratio healed: 0.0 %, critical at 5.0 %, of 312 in 1.5 min``."""
    vital = _VITALS.get(of.get("signal", ""))
    unit = Unit.COUNT if vital is None else vital.unit
    parts = [f"{of.get('signal')} {of.get('verdict')}"]
    if of.get("value") is not None:
        parts.append(shown(unit, of["value"]))
    if of.get("threshold") is not None:
        parts.append(f"ill at {shown(unit, of['threshold'])}")
    if of.get("evidence") is not None:
        parts.append(f"of {number(round(of['evidence']))} in {seconds(of.get('window_seconds'))}")
    return ", ".join([*parts, *(str(of[key]) for key in ("reason", "detail") if of.get(key))])


def _diff(event: Mapping[str, Any]) -> list[str]:
    changed = event.get("changed") or {}
    return str(changed.get("diff") or "").splitlines()
