"""``incidents``: what the receiver treated and treats. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def listed(found: Iterable[Mapping[str, Any]]) -> Incidents:
    """The list out of what the receiver answered."""
    return Incidents(incidents=tuple(_line(each) for each in found))


def _line(found: Mapping[str, Any]) -> Line:
    awaited = found.get("awaited")
    return Line(
        id=found["id"],
        server=found["server"],
        state=found["state"],
        signals=tuple(found["signals"]),
        opened_at=found["opened_at"],
        closed_at=found["closed_at"],
        acts=tuple(_act(act) for act in found["acts"]),
        awaited=None if awaited is None else awaited["told"],
        escalated=found["escalated_reason"],
    )


def _act(act: Mapping[str, Any]) -> str:
    return f"{act['told']}: {act['verdict'] or act['outcome'] or 'under way'}"
