"""What budgets count: the treatments of the fleet, frozen. ``receiver.book`` keeps it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

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
class Ledger:
    """What the guards need to know of the fleet.

    ``treatments``: the newest of each server, oldest first. ``under_treatment``: servers whose treatment is under
    way or has no final verdict yet.
    """

    treatments: tuple[Treatment, ...] = ()
    under_treatment: frozenset[str] = frozenset()
