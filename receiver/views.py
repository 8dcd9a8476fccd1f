"""Incidents and the journal's entries as the JSON that ``GET /api/v1/incidents`` answers. Pure.

Times are UNIX seconds. Names that others read: see the contract's HTTP section; fields are added, never renamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.events import Entry
    from receiver.incident import ActRecord, Awaited, Incident, SignalState, Suggestion


def incident(of: Incident) -> dict[str, Any]:
    """One incident."""
    return {
        "id": of.id,
        "server": of.server,
        "state": of.state,
        "opened_at": of.opened_at,
        "closed_at": of.closed_at,
        "closed_reason": of.closing,
        "signals": list(of.signals),
        "firing": [_signal(signal) for signal in of.firing],
        "acts": [_act(act) for act in of.acts],
        "denied": [_denied(told, reason) for told, reason in sorted(of.denied)],
        "awaited": None if of.awaited is None else _awaited(of.awaited),
        "suggestions": [_suggestion(each) for each in of.suggestions],
        "advised": of.advised,
        "manual": of.manual,
        "asked": of.asked,
        "moved": {name: {"before": each.before, "after": each.after} for name, each in of.moved.items()},
        "kept": of.kept,
        "recovering_since": of.recovering_since,
        "healed_at": of.healed_at,
        "escalated_at": of.escalated_at,
        "escalated_reason": of.escalation,
        "escalated_detail": of.escalation_detail,
    }


def event(entry: Entry) -> dict[str, Any]:
    """One entry of the journal; ``kind`` is the event's tag, its fields stand beside it."""
    fields: dict[str, Any] = msgspec.to_builtins(entry.event)
    kind = fields.pop("type")
    return {"seq": entry.seq, "at": entry.at, "kind": kind, **fields}


def states(incidents: Iterable[Incident]) -> dict[str, str]:
    """The state of each server's open incident."""
    return {one.server: one.state for one in incidents if one.closed_at is None}


def _signal(state: SignalState) -> dict[str, Any]:
    return {
        "signal": state.name,
        "severity": state.severity,
        "opened_with": state.opened_with,
        "alerts": sorted({alert.alertname for alert in state.firing.values()}),
        "since": state.fired_at,
    }


def _awaited(awaited: Awaited) -> dict[str, Any]:
    return {"told": awaited.told, "signals": list(awaited.signals), "asked_at": awaited.asked_at}


def _suggestion(suggestion: Suggestion) -> dict[str, Any]:
    return {
        "told": suggestion.told,
        "signals": list(suggestion.signals),
        "at": suggestion.at,
        "after": suggestion.after,
        "after_seconds": suggestion.after_seconds,
    }


def _denied(told: str, reason: str) -> dict[str, str]:
    return {"action": told.partition(" ")[0], "told": told, "reason": reason}


def _act(act: ActRecord) -> dict[str, Any]:
    return {
        "act": act.act,
        "action": act.action,
        "told": act.told,
        "by_hand": act.by_hand,
        "restarts": act.restarts,
        "signals": list(act.signals),
        "intended_at": act.intended_at,
        "ended_at": act.ended_at,
        "outcome": act.outcome,
        "detail": act.detail,
        "verdict": act.verdict,
        "verdict_at": act.verdict_at,
    }
