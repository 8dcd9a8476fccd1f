"""What budgets count: the treatments of the fleet, frozen. ``receiver.book`` keeps it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from receiver.events import ActId


@dataclass(frozen=True, slots=True)
class Treatment:
    """One treatment as budgets count it; those that were found not done are not in the ledger.

    ``recovery``: it belongs to the way back and to its budget.
    """

    server: str
    act: ActId
    intended_at: float
    ended_at: float | None = None
    recovery: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Automation is stopped: who did it, and when (UNIX seconds)."""

    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the guards need to know of the fleet.

    ``treatments``: the newest of each server, oldest first. ``under_treatment``: servers whose treatment is under
    way or has no final verdict yet. ``paused``: by server, "" is the whole fleet. ``fell_ill_at``: when a signal of a
    server last began to fire, UNIX seconds. ``fleet_size``: how many servers there are.
    """

    treatments: tuple[Treatment, ...] = ()
    under_treatment: frozenset[str] = frozenset()
    paused: Mapping[str, Pause] = field(default_factory=dict)
    fell_ill_at: Mapping[str, float] = field(default_factory=dict)
    fleet_size: int = 1

    def newly_ill(self, now: float, within_seconds: float) -> int:
        """How many servers fell ill in the last ``within_seconds``."""
        return sum(1 for at in self.fell_ill_at.values() if now - at <= within_seconds)
