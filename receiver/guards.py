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
from receiver.events import Denied
from receiver.incident import Incident, SignalState
from receiver.ledger import Ledger, Treatment

MAX_ATTEMPTS: Final = 2
"""Intents of one rung in one incident; a second only after the first was found not to have taken place."""

_REVERSIBLE: Final = frozenset({"reset_cache", "set_config", "apply_profile", "end_sessions"})
"""What a warning allows, unless it comes with a restart."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A treatment that is asked for, and all that guards look at.

    ``signals`` are those that fire, are not healed, and whose ladder names ``action``. ``told`` is the whole rung,
    ``times`` how often the ladder has named it so far. ``restarts`` and ``changes``: what it would do;
    ``has_effect`` is False when that is nothing. ``by_hand``: a person asks.
    """

    action: str
    signals: tuple[SignalState, ...]
    incident: Incident
    server: Server
    limits: Limits
    ledger: Ledger
    now: float
    told: str = ""
    times: int = 1
    restarts: bool = False
    changes: bool = False
    has_effect: bool = True
    by_hand: bool = False

    @property
    def rung(self) -> str:
        """The whole rung by name."""
        return self.told or self.action


@dataclass(frozen=True, slots=True)
class Refusal:
    """``retry_at`` is when the reason ends by itself, UNIX seconds; None when only a new entry can end it."""

    reason: Denied
    retry_at: float | None = None


def refuses(asked: Asked) -> Refusal | None:
    """The first refusal in the order of the guards that apply, None when the act may be done."""
    if asked.action == "recover":
        guards = RECOVERY_BY_HAND if asked.by_hand else RECOVERY_GUARDS
    else:
        guards = BY_HAND if asked.by_hand else GUARDS
    return next((refusal for guard in guards if (refusal := guard(asked)) is not None), None)


def was_tried(incident: Incident, rung: str, times: int = 1) -> bool:
    """True when the rung took place ``times`` times in this incident, may have, or was found undone too often."""
    attempts = [act for act in incident.acts if act.rung == rung]
    done = [act for act in attempts if act.outcome is not Outcome.NOT_DONE]
    return len(done) >= times or len(attempts) >= times + MAX_ATTEMPTS - 1


def already_tried(asked: Asked) -> Refusal | None:
    """What did not help does not help twice, unless the ladder says so and the configuration changed in between."""
    if was_tried(asked.incident, asked.rung, asked.times) or _is_in_vain(asked):
        return Refusal(Denied.ALREADY_TRIED)
    return None


def no_effect(asked: Asked) -> Refusal | None:
    """Nothing of it would take effect on this server."""
    return None if asked.has_effect else Refusal(Denied.NO_EFFECT)


def under_way(asked: Asked) -> Refusal | None:
    """One wish at a time, and none while an act has no outcome yet."""
    busy = asked.incident.unfinished is not None
    return Refusal(Denied.UNDER_WAY) if busy else None


def severity(asked: Asked) -> Refusal | None:
    """What restarts needs a critical signal that asks for it; a warning may still rise."""
    if asked.signals and asked.action in _REVERSIBLE and not asked.restarts:
        return None
    return None if any(signal.severity == Severity.CRITICAL for signal in asked.signals) else Refusal(Denied.SEVERITY)


def no_restart_method(asked: Asked) -> Refusal | None:
    """Nobody is configured who could restart this server."""
    return Refusal(Denied.NO_RESTART_METHOD) if asked.restarts and asked.server.restart is None else None


def server_budget(asked: Asked) -> Refusal | None:
    """At most ``limits.actions`` on this server, over all its incidents."""
    retry_at = _spent_until(_treatments(_of(asked)), asked.limits.actions, asked.now)
    return None if retry_at is None else Refusal(Denied.SERVER_BUDGET, retry_at)


def recovery_budget(asked: Asked) -> Refusal | None:
    """At most ``limits.recovery_actions`` stages on this server; apart from treatment, or undo would never be had."""
    stages = [act for act in _of(asked) if act.recovery]
    retry_at = _spent_until(stages, asked.limits.recovery_actions, asked.now)
    return None if retry_at is None else Refusal(Denied.RECOVERY_BUDGET, retry_at)


def cooldown(asked: Asked) -> Refusal | None:
    """A server needs time to show what the last treatment did."""
    ends = [treatment.intended_at if treatment.ended_at is None else treatment.ended_at for treatment in _of(asked)]
    retry_at = max(ends, default=float("-inf")) + asked.limits.cooldown_seconds
    return Refusal(Denied.COOLDOWN, retry_at) if asked.now < retry_at else None


def fleet_budget(asked: Asked) -> Refusal | None:
    """At most ``limits.fleet_actions`` on all servers together: beyond that the cause is elsewhere."""
    retry_at = _spent_until(_treatments(asked.ledger.treatments), asked.limits.fleet_actions, asked.now)
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
    no_effect,
    severity,
    no_restart_method,
    server_budget,
    cooldown,
    fleet_budget,
    concurrent_treatments,
    suggest,
)
"""In this order; the first refusal counts."""

BY_HAND: Final[tuple[Guard, ...]] = (
    under_way,
    no_effect,
    no_restart_method,
    server_budget,
    cooldown,
    fleet_budget,
    concurrent_treatments,
)
"""A person needs no severity and may act on a server that is only to be advised, but spends the same budgets."""

RECOVERY_GUARDS: Final[tuple[Guard, ...]] = (recovery_budget, concurrent_treatments, suggest)
RECOVERY_BY_HAND: Final[tuple[Guard, ...]] = (under_way, no_effect, recovery_budget, concurrent_treatments)


def _is_in_vain(asked: Asked) -> bool:
    """Whether it was done already, or it is a restart and one was given, with no configuration change since."""
    alike = [
        at
        for at, act in enumerate(asked.incident.acts)
        if act.outcome is not Outcome.NOT_DONE
        and (act.rung == asked.rung or (asked.restarts and not asked.changes and act.restarts))
    ]
    return bool(alike) and not any(act.changed for act in asked.incident.acts[alike[-1] + 1 :])


def _treatments(acts: Iterable[Treatment]) -> list[Treatment]:
    return [act for act in acts if not act.recovery]


def _of(asked: Asked) -> list[Treatment]:
    return [treatment for treatment in asked.ledger.treatments if treatment.server == asked.server.name]


def _spent_until(treatments: Iterable[Treatment], limit: ActionLimit, now: float) -> float | None:
    """When the budget has room again, None when it has room now."""
    ends = sorted(treatment.intended_at + limit.per_seconds for treatment in treatments)
    running = [end for end in ends if end > now]
    if len(running) < limit.count:
        return None
    return running[len(running) - limit.count] if limit.count > 0 else float("inf")
