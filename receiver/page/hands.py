"""What a person may do to a server, as the page offers it: budgets, switches, acts by hand. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from receiver.page import words
from receiver.page.overview import Badge, card
from receiver.page.words import Tone
from receiver.standing import Standing
from receiver.vocabulary import ByHand

WARNED: Final[Mapping[str, str]] = {
    ByHand.RESTART: "Calls under way may be cut off",
    ByHand.STOP: "It stays stopped, and automation stays paused, until somebody starts it",
    ByHand.EMERGENCY: "Caching, batching and breaker go off, and it is restarted",
    ByHand.RESTORE: "Its configuration becomes the last good one, and it is restarted",
    ByHand.END_SESSIONS: "Idle clients are cut off",
}
"""Acts that are asked for twice, and what they cost."""

_LABELS: Final[Mapping[str, str]] = {ByHand.RECOVER: "Give back what was lowered"}

_ORDER: Final = tuple(ByHand)


@dataclass(frozen=True, slots=True)
class Used:
    """So many of ``count`` acts in ``per_seconds``."""

    used: int
    count: int
    per_seconds: float


@dataclass(frozen=True, slots=True)
class Button:
    """An act by hand. ``warning`` is what must be agreed to first, "" for nothing."""

    name: str
    label: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Bed:
    """One server on the page.

    Attributes:
        name: the server.
        health: where its incident stands; "well" without one.
        incident: the open incident's id, "" for none.
        mode: ``automatic`` or ``suggest``.
        paused: a pause of its own, apart from the fleet's.
        maintenance: a window is open.
        debug_until: when raised log levels are put back, None when they are not raised.
        debug_stuck: that failed, and a person must.
        used, count, per_seconds: its budget.
        gentle, harsh: the acts by hand, the second ones with a warning.
    """

    name: str
    health: Badge
    incident: str
    mode: str
    paused: bool
    maintenance: bool
    debug_until: float | None
    debug_stuck: bool
    used: int
    count: int
    per_seconds: float
    gentle: tuple[Button, ...]
    harsh: tuple[Button, ...]


def bed(standing: Standing, *, own_pause: bool) -> Bed:
    """A server as it stands; ``own_pause``: it is paused apart from the fleet."""
    buttons = [
        Button(action, _LABELS.get(action, words.rung(action)), WARNED.get(action, "")) for action in _offered(standing)
    ]
    return Bed(
        name=standing.server,
        health=_health(standing),
        incident="" if standing.incident is None else standing.incident.id,
        mode=standing.mode,
        paused=own_pause,
        maintenance=standing.maintenance,
        debug_until=standing.debug_until,
        debug_stuck=standing.debug_stuck,
        used=standing.actions.used,
        count=standing.actions.limit.count,
        per_seconds=standing.actions.limit.per_seconds,
        gentle=tuple(button for button in buttons if not button.warning),
        harsh=tuple(button for button in buttons if button.warning),
    )


def _offered(standing: Standing) -> list[str]:
    """What is possible on this server and means something now."""
    hidden = {"debug_mode"} if standing.debug_until is not None else {"end_debug_mode"}
    return [action.value for action in _ORDER if action in standing.by_hand and action not in hidden]


def _health(standing: Standing) -> Badge:
    if standing.incident is None:
        return Badge("no incident", Tone.GOOD)
    return card(standing.incident).state
