"""Incidents and the journal's entries as the JSON that ``GET /api/v1/incidents`` answers, and their filter. Pure.

Times are UNIX seconds. Names that others read: see the contract's HTTP section; fields are added, never renamed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from receiver.incident import IncidentState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from receiver.events import Entry
    from receiver.incident import ActRecord, Awaited, Incident, SignalState, Suggestion
    from receiver.records import BaselineKept
    from receiver.standing import Budget, Standing


MAX_LIMIT: Final = 1000
_FILTERS: Final = ("server", "state", "from", "until", "limit")


class WrongFilterError(ValueError):
    """A filter that cannot be understood; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which incidents are asked for.

    Attributes:
        server, state: only those, "" for all.
        begin, until: only those that were open at any time between the two, UNIX seconds.
        limit: the newest so many.
    """

    server: str = ""
    state: str = ""
    begin: float = -math.inf
    until: float = math.inf
    limit: int = MAX_LIMIT

    def of(self, incidents: Iterable[Incident]) -> list[Incident]:
        """The incidents that it lets through, in the order in which they come."""
        return [each for each in incidents if self._lets(each)][: self.limit]

    def _lets(self, one: Incident) -> bool:
        ended_at = math.inf if one.closed_at is None else one.closed_at
        return (
            self.server in {"", one.server}
            and self.state in {"", one.state}
            and one.opened_at <= self.until
            and ended_at >= self.begin
        )


def read_filter(query: Mapping[str, str], servers: Collection[str]) -> Filter:
    """The filter of a query; what is empty is not asked for.

    Raises:
        WrongFilterError: a name or a value that does not exist.
    """
    asked = {name: value for name, value in query.items() if value}
    unknown = sorted(set(asked) - set(_FILTERS))
    if unknown:
        raise WrongFilterError(f"unknown filter; there are {', '.join(_FILTERS)}")
    server, state = asked.get("server", ""), asked.get("state", "")
    if server and server not in servers:
        raise WrongFilterError("server: fleet.yml names no such server")
    if state and state not in set(IncidentState):
        raise WrongFilterError(f"state: write one of {', '.join(IncidentState)}")
    limit = _number("limit", asked.get("limit"), MAX_LIMIT)
    if not 1 <= limit <= MAX_LIMIT or limit != int(limit):
        raise WrongFilterError(f"limit: write a whole number from 1 to {MAX_LIMIT}")
    begin = _number("from", asked.get("from"), -math.inf)
    until = _number("until", asked.get("until"), math.inf)
    return Filter(server, state, begin, until, int(limit))


def _number(name: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise WrongFilterError(f"{name}: write a number" + (" of UNIX seconds" if name != "limit" else ""))
    return number


def changes(entry: Entry, touched: Mapping[str, Incident | None]) -> list[dict[str, Any]]:
    """What an entry changed, for who is told of changes; ``touched`` are the servers' open incidents after it.

    A delivery that says what was known changes nothing.
    """
    event, kind = entry.event, type(entry.event).__struct_config__.tag
    one = {"seq": entry.seq, "incident": getattr(event, "incident", None), "server": None, "kind": kind}
    if one["incident"] is None and (touched or kind == "delivered"):
        found = touched.items()
        return [{**one, "server": name, "incident": None if of is None else of.id} for name, of in found]
    return [{**one, "server": getattr(event, "server", None) or None}]


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


def budget(of: Budget) -> dict[str, Any]:
    """What is used of a budget."""
    return {"used": of.used, "count": of.limit.count, "per_seconds": of.limit.per_seconds}


def server(of: Standing) -> dict[str, Any]:
    """How one server stands."""
    return {
        "name": of.server,
        "mode": of.mode,
        "paused": of.paused,
        "maintenance": of.maintenance,
        "incident": None if of.incident is None else of.incident.id,
        "state": None if of.incident is None else of.incident.state,
        "cooldown_until": of.cooldown_until,
        "actions": budget(of.actions),
        "recovery_actions": budget(of.recovery),
        "last_action_at": of.last_action_at,
        "debug_until": of.debug_until,
        "debug_stuck": of.debug_stuck,
        "last_good": None if of.dossier.proven is None else of.dossier.proven.backup,
        "actions_by_hand": list(of.by_hand),
    }


def baseline(of: BaselineKept) -> dict[str, Any]:
    """What a server was like."""
    return {
        "server": of.server,
        "from": of.begin,
        "until": of.until,
        "response_time_seconds": of.response_time_seconds,
        "cost_usd_per_hour": of.cost_usd_per_hour,
        "by": of.by,
    }


def put_aside(entry: Entry) -> dict[str, Any]:
    """A body that could not be read; what no screen shows of it is written as Python would (``\\x1b``)."""
    fields = event(entry)
    fields["excerpt"] = visible(str(fields.get("excerpt", "")))
    return fields


def visible(text: str) -> str:
    """The text without a character that a terminal would obey."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


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
