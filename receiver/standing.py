"""How each server stands with automation at this moment: paused or not, what is left of its budgets. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.inventory import ActionLimit, Limits, Mode, ReceiverSettings, Server
from fleet.maintenance import work_ends_at
from receiver.book import Book
from receiver.by_hand import allowed
from receiver.dossier import Dossier, is_stuck
from receiver.incident import Incident
from receiver.ledger import Ledger
from receiver.vocabulary import ByHand


@dataclass(frozen=True, slots=True)
class Budget:
    """So many of ``limit.count`` are used in the last ``limit.per_seconds``."""

    used: int
    limit: ActionLimit


@dataclass(frozen=True, slots=True)
class Standing:
    """One server's. Times are UNIX seconds; ``cooldown_until`` and ``debug_until`` are None when they are over.

    ``paused``: it, or the whole fleet. ``last_action_at``: when its last treatment began. ``debug_stuck``: the log
    levels could not be put back, and a person must.
    """

    server: str
    mode: Mode
    paused: bool
    maintenance: bool
    incident: Incident | None
    cooldown_until: float | None
    actions: Budget
    recovery: Budget
    dossier: Dossier
    debug_until: float | None
    debug_stuck: bool
    last_action_at: float | None
    by_hand: tuple[ByHand, ...]


def standing(server: Server, settings: ReceiverSettings, book: Book, ledger: Ledger, now: float) -> Standing:
    """How ``server`` stands at ``now``; ``ledger`` is the book's."""
    name, limits = str(server.name), settings.limits
    dossier = book.dossier(name)
    until = ledger.last_end(name) + limits.cooldown_seconds
    return Standing(
        server=name,
        mode=server.mode,
        paused=name in ledger.paused or "" in ledger.paused,
        maintenance=work_ends_at(settings.maintenance_windows, server.name, now) is not None,
        incident=book.open_incident(name),
        cooldown_until=until if until > now else None,
        actions=_budget(ledger, limits.actions, now, name),
        recovery=Budget(ledger.spent(limits.recovery_actions.per_seconds, now, name, recovery=True),
                        limits.recovery_actions),
        dossier=dossier,
        debug_until=None if dossier.debugging is None else dossier.debugging.until,
        debug_stuck=dossier.debugging is not None and is_stuck(dossier.debugging),
        last_action_at=ledger.last_begin(name),
        by_hand=allowed(server),
    )  # fmt: skip


def fleet_budget(ledger: Ledger, limits: Limits, now: float) -> Budget:
    """What all servers together have used."""
    return _budget(ledger, limits.fleet_actions, now)


def _budget(ledger: Ledger, limit: ActionLimit, now: float, server: str | None = None) -> Budget:
    return Budget(ledger.spent(limit.per_seconds, now, server), limit)
