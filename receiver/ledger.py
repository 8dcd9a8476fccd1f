"""What budgets count: the treatments of the fleet, frozen. ``receiver.book`` keeps it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf

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
    """Automation is stopped: who did it, and when (UNIX seconds). ``stopped``: because the server itself was."""

    by: str
    at: float
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the guards need to know of the fleet.

    ``treatments``: the newest of each server, in the order of their intents. ``under_treatment``: servers whose
    treatment is under way or has no final verdict yet. ``paused``: by server, "" is the whole fleet. ``fell_ill_at``:
    when a signal of a server last began to fire, UNIX seconds. ``fleet_size``: how many servers there are.
    """

    treatments: tuple[Treatment, ...] = ()
    under_treatment: frozenset[str] = frozenset()
    paused: Mapping[str, Pause] = field(default_factory=dict)
    fell_ill_at: Mapping[str, float] = field(default_factory=dict)
    fleet_size: int = 1

    def spent(self, per_seconds: float, now: float, server: str | None = None, *, recovery: bool = False) -> int:
        """How many treatments (or stages of the way back) of ``server``, or of all, began in that time."""
        # From the newest on: of a year's treatments a budget counts those of an hour.
        recent = takewhile(lambda each: each.intended_at + per_seconds > now, reversed(self.treatments))
        return sum(1 for each in recent if each.recovery is recovery and server in {None, each.server})

    def last_begin(self, server: str) -> float | None:
        """When the last treatment of ``server`` began, None without one."""
        return max((each.intended_at for each in self.treatments if each.server == server), default=None)

    def last_end(self, server: str) -> float:
        """When the last treatment of ``server`` ended, or began where it has not; minus infinity without one."""
        of_server = (each for each in self.treatments if each.server == server)
        return max((each.intended_at if each.ended_at is None else each.ended_at for each in of_server), default=-inf)

    def newly_ill(self, now: float, within_seconds: float) -> int:
        """How many servers fell ill in the last ``within_seconds``."""
        return sum(1 for at in self.fell_ill_at.values() if now - at <= within_seconds)
