"""What may keep a treatment from being given. Pure; each guard sees the same facts and fails closed.

Every refusal has a reason that is a metric label, a log field and the journal's word (``Denied``). Guards know
nothing of ladders beyond the one action they are asked about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fleet.inventory import ActionLimit, Limits, Mode, Server
from fleet.lifecycle.outcome import Outcome
from fleet.maintenance import MaintenanceWindow, work_ends_at
from fleet.security import Approval
from fleet.signals import Severity, SignalName
from receiver.incident import ActRecord, Incident, SignalState
from receiver.ledger import Ledger, Treatment
from receiver.preconditions import Unmet
from receiver.risk import Risk, is_allowed
from receiver.vocabulary import Denied, Verdict

MAX_ATTEMPTS: Final = 2
"""Intents of one rung in one incident; a second only after the first was found not to have taken place."""

STORM_SERVERS: Final = 5
STORM_SHARE: Final = 0.5
STORM_SECONDS: Final = 300.0
"""A storm: so many servers at least, this part of them ill within this time."""

FREE_BY_HAND: Final = frozenset({"evidence", "start", "stop", "end_debug_mode"})
"""What a person may do whatever the budgets say."""

_REVERSIBLE: Final = frozenset({"reset_cache", "set_config", "apply_profile", "end_sessions"})
"""What a warning allows, unless it comes with a restart."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A treatment that is asked for, and all that guards look at.

    ``signals`` are those that fire, are not healed, and whose ladder names ``action``. ``told`` is the whole rung,
    ``times`` how often the ladder has named it so far. ``restarts`` and ``changes``: what it would do;
    ``has_effect`` is False when that is nothing. ``by_hand``: a person asks. ``fresh``: Prometheus knows how the
    server is doing now. ``unmet`` is the precondition that does not hold. ``distorted``: signals whose values earlier
    acts made. ``risk`` and ``approval``: see ``receiver.risk``. ``windows`` and ``suggest_actions`` are the settings'.
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
    fresh: bool = True
    unmet: Unmet | None = None
    distorted: frozenset[SignalName] = frozenset()
    risk: Risk = Risk.LOW
    approval: Approval | None = None
    windows: tuple[MaintenanceWindow, ...] = ()
    suggest_actions: frozenset[str] = frozenset()

    @property
    def rung(self) -> str:
        """The whole rung by name."""
        return self.told or self.action


@dataclass(frozen=True, slots=True)
class Refusal:
    """``retry_at`` is when the reason ends by itself, UNIX seconds; None when only a new entry can end it.

    ``detail`` says more where the reason alone does not say all.
    """

    reason: Denied
    retry_at: float | None = None
    detail: str = ""


def refuses(asked: Asked) -> Refusal | None:
    """The first refusal in the order of the guards that apply, None when the act may be done."""
    if asked.action == "recover":
        guards = RECOVERY_BY_HAND if asked.by_hand else RECOVERY_GUARDS
    elif asked.by_hand:
        guards = FREELY_BY_HAND if asked.action in FREE_BY_HAND else BY_HAND
    else:
        guards = GUARDS
    return next((refusal for guard in guards if (refusal := guard(asked)) is not None), None)


def was_tried(acts: Iterable[ActRecord], rung: str, times: int = 1) -> bool:
    """True when the rung took place ``times`` times among ``acts``, may have, or was found undone too often."""
    attempts = [act for act in acts if act.rung == rung]
    done = [act for act in attempts if act.outcome is not Outcome.NOT_DONE]
    return len(done) >= times or len(attempts) >= times + MAX_ATTEMPTS - 1


def already_tried(asked: Asked) -> Refusal | None:
    """What did not help does not help twice in one illness, unless the ladder says so and the configuration changed in
    between.
    """
    acts = _of_this_illness(asked)
    if was_tried(acts, asked.rung, asked.times) or _is_in_vain(asked, acts):
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
    """A server needs time to show what the last treatment did; one that was measured to be worse has shown it."""
    last = asked.incident.last_treatment
    if last is not None and last.verdict is Verdict.WORSE:
        return None
    retry_at = asked.ledger.last_end(str(asked.server.name)) + asked.limits.cooldown_seconds
    return Refusal(Denied.COOLDOWN, retry_at) if asked.now < retry_at else None


def fleet_budget(asked: Asked) -> Refusal | None:
    """At most ``limits.fleet_actions`` on all servers together: beyond that the cause is elsewhere."""
    retry_at = _spent_until(_treatments(asked.ledger.treatments), asked.limits.fleet_actions, asked.now)
    return None if retry_at is None else Refusal(Denied.FLEET_BUDGET, retry_at)


def concurrent_treatments(asked: Asked) -> Refusal | None:
    """At most ``limits.concurrent_treatments`` servers under treatment, this one included."""
    others = asked.ledger.under_treatment - {str(asked.server.name)}
    return Refusal(Denied.CONCURRENT_TREATMENTS) if len(others) >= asked.limits.concurrent_treatments else None


def denied(asked: Asked) -> Refusal | None:
    """A person said no to this rung, for this illness."""
    return Refusal(Denied.DENIED) if asked.rung in asked.incident.refused else None


def own_treatment(asked: Asked) -> Refusal | None:
    """What an earlier act made of a signal is no reason for another act."""
    suspended = asked.signals and all(signal.name in asked.distorted for signal in asked.signals)
    return Refusal(Denied.OWN_TREATMENT) if suspended else None


def precondition(asked: Asked) -> Refusal | None:
    """What the rung needs on this server does not hold, or not yet."""
    unmet = asked.unmet
    return None if unmet is None or _is_past(unmet, asked.now) else Refusal(Denied.PRECONDITION, unmet.until, unmet.why)


def paused(asked: Asked) -> Refusal | None:
    """A person stopped automation, here or everywhere."""
    pause = asked.ledger.paused.get(str(asked.server.name)) or asked.ledger.paused.get("")
    return None if pause is None else Refusal(Denied.PAUSED, detail=f"by {pause.by}")


def maintenance(asked: Asked) -> Refusal | None:
    """People work on the server."""
    end = work_ends_at(asked.windows, asked.server.name, asked.now)
    return None if end is None else Refusal(Denied.MAINTENANCE, end)


def stale_facts(asked: Asked) -> Refusal | None:
    """Nobody knows how the server is doing now: what the alert said may be long over."""
    return None if asked.fresh else Refusal(Denied.STALE_FACTS, detail="Prometheus has no fresh sample of the server")


def storm(asked: Asked) -> Refusal | None:
    """So much of the fleet fell ill at once that the cause is elsewhere: whatever is done here is wrong."""
    ledger = asked.ledger
    ill = ledger.newly_ill(asked.now, STORM_SECONDS)
    if ledger.fleet_size < STORM_SERVERS or ill < STORM_SHARE * ledger.fleet_size:
        return None
    first = min(at for at in ledger.fell_ill_at.values() if asked.now - at <= STORM_SECONDS)
    detail = f"{ill} of {ledger.fleet_size} servers fell ill within {STORM_SECONDS:g} s"
    return Refusal(Denied.STORM, math.nextafter(first + STORM_SECONDS, math.inf), detail)


def suggest(asked: Asked) -> Refusal | None:
    """The operator wants to be told, not treated. After all others, so that it means: they would have let it pass."""
    kinds = {asked.action, "restart"} if asked.restarts else {asked.action}
    told = asked.server.mode is not Mode.AUTOMATIC or kinds & asked.suggest_actions
    return Refusal(Denied.SUGGEST) if told else None


def approval(asked: Asked) -> Refusal | None:
    """The server's own file wants a person's word for such a risk. The very last: once given, nothing else is asked."""
    if is_allowed(asked.risk, asked.approval) or asked.rung in asked.incident.approved:
        return None
    return Refusal(Denied.APPROVAL, detail=f"{asked.risk} risk")


Guard = Callable[[Asked], Refusal | None]

_BUDGETS: Final[tuple[Guard, ...]] = (server_budget, cooldown, fleet_budget, concurrent_treatments)
_HANDS_OFF: Final[tuple[Guard, ...]] = (paused, maintenance, stale_facts, storm)

GUARDS: Final[tuple[Guard, ...]] = (
    denied,
    already_tried,
    no_effect,
    own_treatment,
    severity,
    no_restart_method,
    precondition,
    *_HANDS_OFF,
    *_BUDGETS,
    suggest,
    approval,
)
"""In this order; the first refusal counts."""

BY_HAND: Final[tuple[Guard, ...]] = (under_way, no_effect, no_restart_method, precondition, *_BUDGETS)
"""A person needs no severity, and may act where automation was told to keep its hands off or only to advise, because
that is whom it was left to. The act spends the same budgets.
"""

FREELY_BY_HAND: Final[tuple[Guard, ...]] = (under_way, no_effect, no_restart_method, precondition)
"""Nobody is kept from looking, from stopping a server, nor from giving back what was taken for a while."""

RECOVERY_GUARDS: Final[tuple[Guard, ...]] = (*_HANDS_OFF, recovery_budget, concurrent_treatments, suggest)
"""No approval: it gives back what the server's own file said before."""

RECOVERY_BY_HAND: Final[tuple[Guard, ...]] = (under_way, no_effect, recovery_budget, concurrent_treatments)


def _is_past(unmet: Unmet, now: float) -> bool:
    return unmet.until is not None and now >= unmet.until


def _of_this_illness(asked: Asked) -> list[ActRecord]:
    """The acts that the newest illness that asks has seen, or that may have caused it; a warning beside something
    critical is no new reason.
    """
    critical = [signal for signal in asked.signals if signal.severity == Severity.CRITICAL]
    newest = max((signal.first_at for signal in critical or asked.signals), default=-math.inf)
    since = newest - asked.limits.healthy_seconds
    return [act for act in asked.incident.acts if not act.past and (act.ended_at is None or act.ended_at > since)]


def _is_in_vain(asked: Asked, acts: list[ActRecord]) -> bool:
    """Whether it was done already, or it is a restart and one was given, or it was found undone as often as may be:
    with no configuration change since.
    """
    last_change = max((at for at, act in enumerate(acts) if act.changed), default=-1)
    if sum(act.rung == asked.rung for act in acts[last_change + 1 :]) >= MAX_ATTEMPTS:
        return True
    alike = [
        at
        for at, act in enumerate(acts)
        if act.outcome is not Outcome.NOT_DONE
        and (act.rung == asked.rung or (asked.restarts and not asked.changes and act.restarts))
    ]
    return bool(alike) and not any(act.changed for act in acts[alike[-1] + 1 :])


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
