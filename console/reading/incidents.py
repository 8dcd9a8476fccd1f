"""``incidents``: what the receiver treated and treats. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from console.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One incident in a list. ``acts`` are what was done, in order, as ``restart: healed``."""

    id: str
    server: str
    state: str
    signals: tuple[str, ...]
    opened_at: float
    closed_at: float | None
    acts: tuple[str, ...]
    awaited: str | None
    escalated: str | None


class Incidents(Report, frozen=True, kw_only=True):
    """The open and the last closed incidents, newest first."""

    incidents: tuple[Line, ...]


class Incident(Report, frozen=True, kw_only=True):
    """One incident: the receiver's own description, and the journal's entries that made it."""

    incident: dict[str, Any]
    events: tuple[dict[str, Any], ...]


STATES: Final = ("waiting", "acting", "observing", "awaiting_approval", "recovering", "escalated", "closed")
"""What an incident can be; a test compares them with the receiver's."""
MOST: Final = 1000
"""As many as the receiver tells at once."""
OPEN: Final = "open"
"""Every state but closed."""


def listed(found: Iterable[Mapping[str, Any]], server: str | None = None, state: str | None = None) -> Incidents:
    """The list out of what the receiver answered: of one server, in one state, where they are named."""
    return Incidents(
        incidents=tuple(_line(one) for one in found if server in {None, one["server"]} and _is_in(one["state"], state))
    )


def _is_in(state: str, wanted: str | None) -> bool:
    return wanted in {None, state} or (wanted == OPEN and state != "closed")


def _line(found: Mapping[str, Any]) -> Line:
    awaited = found.get("awaited")
    return Line(
        id=found["id"],
        server=found["server"],
        state=found["state"],
        signals=tuple(found["signals"]),
        opened_at=found["opened_at"],
        closed_at=found["closed_at"],
        acts=told_acts(found),
        awaited=awaited.get("told") if awaited else None,
        escalated=found.get("escalated_reason"),
    )


def told_acts(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What was done in an incident, in order: ``restart: healed``."""
    return tuple(_act(act) for act in found["acts"])


def _act(act: Mapping[str, Any]) -> str:
    return f"{act['told'] or act.get('action')}: {act['verdict'] or act['outcome'] or 'under way'}"
