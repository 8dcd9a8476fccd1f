"""What may keep a treatment from being given. Pure; each guard sees the same facts and fails closed.

Every refusal has a reason that is a metric label, a log field and the journal's word (``Denied``). Guards know
nothing of ladders beyond the one action they are asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fleet.inventory import ActionLimit, Limits, Mode, Server
from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity
from receiver.book import Ledger, Treatment
from receiver.events import Denied
from receiver.incident import Incident, SignalState

MAX_ATTEMPTS: Final = 2
"""Intents of one action in one incident; a second only after the first was found not to have taken place."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A treatment that is asked for, and all that guards look at.

    ``signals`` are those that fire, are not healed, and whose ladder names ``action``.
    """

    action: str
    signals: tuple[SignalState, ...]
    incident: Incident
    server: Server
    limits: Limits
    ledger: Ledger
    now: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """``retry_at`` is when the reason ends by itself, UNIX seconds; None when only a new entry can end it."""

    reason: Denied
    retry_at: float | None = None


def refuses(asked: Asked) -> Refusal | None:
    """The first refusal in the order of ``GUARDS``, None when the treatment may be given."""
    return next((refusal for guard in GUARDS if (refusal := guard(asked)) is not None), None)


def was_tried(incident: Incident, action: str) -> bool:
    """True when the action took place in this incident, may have, or was found undone too often."""
    attempts = [act for act in incident.acts if act.action == action]
    return len(attempts) >= MAX_ATTEMPTS or any(act.outcome != Outcome.NOT_DONE for act in attempts)


def already_tried(asked: Asked) -> Refusal | None:
    """An action is given once per incident: what did not help once does not help twice."""
    return Refusal(Denied.ALREADY_TRIED) if was_tried(asked.incident, asked.action) else None


def severity(asked: Asked) -> Refusal | None:
    """A treatment needs a critical signal that asks for it; a warning may still rise."""
    return None if any(signal.severity == Severity.CRITICAL for signal in asked.signals) else Refusal(Denied.SEVERITY)


def no_restart_method(asked: Asked) -> Refusal | None:
    """Nobody is configured who could restart this server."""
    impossible = asked.action == "restart" and asked.server.restart is None
    return Refusal(Denied.NO_RESTART_METHOD) if impossible else None


def server_budget(asked: Asked) -> Refusal | None:
    """At most ``limits.actions`` on this server, over all its incidents."""
    retry_at = _spent_until(_of(asked), asked.limits.actions, asked.now)
    return None if retry_at is None else Refusal(Denied.SERVER_BUDGET, retry_at)


def cooldown(asked: Asked) -> Refusal | None:
    """A server needs time to show what the last treatment did."""
    ends = [treatment.intended_at if treatment.ended_at is None else treatment.ended_at for treatment in _of(asked)]
    retry_at = max(ends, default=float("-inf")) + asked.limits.cooldown_seconds
    return Refusal(Denied.COOLDOWN, retry_at) if asked.now < retry_at else None


def fleet_budget(asked: Asked) -> Refusal | None:
    """At most ``limits.fleet_actions`` on all servers together: beyond that the cause is elsewhere."""
    retry_at = _spent_until(asked.ledger.treatments, asked.limits.fleet_actions, asked.now)
    return None if retry_at is None else Refusal(Denied.FLEET_BUDGET, retry_at)


def concurrent_treatments(asked: Asked) -> Refusal | None:
    """At most ``limits.concurrent_treatments`` servers under treatment, this one included."""
    others = asked.ledger.under_treatment - {str(asked.server.name)}
    return Refusal(Denied.CONCURRENT_TREATMENTS) if len(others) >= asked.limits.concurrent_treatments else None


def suggest(asked: Asked) -> Refusal | None:
    """The operator wants to be told, not treated. Last, so that it means: all other guards would have let it pass."""
    return None if asked.server.mode == Mode.AUTOMATIC else Refusal(Denied.SUGGEST)


Guard = Callable[[Asked], Refusal | None]

GUARDS: Final[tuple[Guard, ...]] = (
    already_tried,
    severity,
    no_restart_method,
    server_budget,
    cooldown,
    fleet_budget,
    concurrent_treatments,
    suggest,
)
"""In this order; the first refusal counts."""


def _of(asked: Asked) -> list[Treatment]:
    return [treatment for treatment in asked.ledger.treatments if treatment.server == asked.server.name]


def _spent_until(treatments: Iterable[Treatment], limit: ActionLimit, now: float) -> float | None:
    """When the budget has room again, None when it has room now."""
    ends = sorted(treatment.intended_at + limit.per_seconds for treatment in treatments)
    running = [end for end in ends if end > now]
    if len(running) < limit.count:
        return None
    return running[len(running) - limit.count] if limit.count > 0 else float("inf")
