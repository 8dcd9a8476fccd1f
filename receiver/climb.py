"""The next rung of the merged ladder, or why there is none now. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from fleet.inventory import Rung
from fleet.lifecycle.outcome import Outcome
from fleet.signals import SignalName
from receiver.case import Case, is_critical, names
from receiver.effects import effect_of
from receiver.guards import Refusal, own_treatment, refuses, was_tried
from receiver.incident import SignalState
from receiver.ladder import merged_ladder
from receiver.steps import Act, Deny, Escalate, Step, Wait
from receiver.verdict import ILL
from receiver.vocabulary import Denied, EscalationReason

APPROVAL_SECONDS: Final = 1800.0
"""How long a person has to say yes or no; then people are called."""

_UNGUARDED: Final = frozenset({"evidence"})
"""Actions that change nothing and ask no guard. Whatever is not named here is guarded, unknown actions too."""

_PASSED_OVER: Final = frozenset(
    {
        Denied.ALREADY_TRIED,
        Denied.DENIED,
        Denied.NO_EFFECT,
        Denied.NO_RESTART_METHOD,
        Denied.OWN_TREATMENT,
        Denied.SEVERITY,
    }
)
"""Refusals after which the next rung is looked at; the others are waited for. A precondition that may not come to hold
by itself is passed over too.
"""

_ASKED_AGAIN: Final = frozenset({Denied.CONCURRENT_TREATMENTS, Denied.STALE_FACTS})
"""Reasons that end without an entry of this incident's and at no known time."""

_ADVICE_ONLY: Final = frozenset({SignalName.CACHE_HIT_RATIO})
"""Nobody is called at night for these: their ``escalate`` is said in the incident."""


def climb(case: Case) -> Step:
    """The next rung of what asks for one."""
    asking = case.asking()
    named = Counter[Rung]()
    for rung in merged_ladder(names(asking), case.settings.ladders):
        named[rung] += 1
        signals = tuple(signal for signal in asking if rung in case.ladder(signal))
        step = _take(case, rung, signals, named[rung])
        if step is not None:
            return step
    told = _told_of_suspension(case)
    return told or Wait(None, "no rung is left for what fires" if asking else "no signal asks for more")


def _take(case: Case, rung: Rung, signals: tuple[SignalState, ...], times: int) -> Step | None:
    """What to do about one rung; None when the next one should be looked at."""
    if rung.action == "escalate":
        return _escalate(case, signals)
    if rung.action in _UNGUARDED:
        return None if _is_known(case, rung, signals) else Act(rung.action, names(signals))
    return _treat(case, rung, signals, times)


def _is_known(case: Case, rung: Rung, signals: tuple[SignalState, ...]) -> bool:
    """Whether what is known was gathered about what fires now, and not about something that was long over then."""
    since = max(signal.first_at for signal in signals) - case.limits.healthy_seconds
    recent = (act for act in case.incident.acts if not act.past and act.intended_at >= since)
    return was_tried(recent, rung.action)


def _treat(case: Case, rung: Rung, signals: tuple[SignalState, ...], times: int) -> Step | None:
    """Give the treatment, or say why not; None when the next rung should be looked at."""
    effect = effect_of(rung, case.server, case.around, names(signals), case.allowed(signals))
    asked = case.asked(rung, signals, effect, times=times)
    refusal = refuses(asked)
    if refusal is None and effect is not None:
        told = asked.rung
        return Act(
            rung.action, names(signals), told=told, changes=effect.changes, restarts=effect.restarts,
            backup=effect.backup,
        )  # fmt: skip
    refusal = refusal or Refusal(Denied.NO_EFFECT)
    if not _is_told(case, asked.rung, refusal.reason):
        return Deny(
            rung.action, refusal.reason, refusal.retry_at, asked.rung, signals=names(signals), detail=refusal.detail
        )
    if refusal.reason in _PASSED_OVER or (refusal.reason is Denied.PRECONDITION and refusal.retry_at is None):
        return None
    return _bounded(case, asked.rung, refusal, signals)


def _is_told(case: Case, rung: str, reason: Denied) -> bool:
    if (rung, reason) not in case.incident.denied:
        return False
    awaited = case.incident.awaited
    return reason is not Denied.APPROVAL or (awaited is not None and awaited.told == rung)


def _bounded(case: Case, rung: str, refusal: Refusal, signals: tuple[SignalState, ...]) -> Step:
    """A refusal that is waited for; where waiting helps nobody, people are called."""
    critical, incident, limits = is_critical(signals), case.incident, case.limits
    match refusal.reason:
        case Denied.SERVER_BUDGET if critical:
            budget = f"{limits.actions.count} treatments in {limits.actions.per_seconds:g} s were given"
            return Escalate(EscalationReason.SERVER_BUDGET, f"{rung} is needed, but {budget} already")
        case Denied.STORM if critical:
            return Escalate(EscalationReason.STORM, f"{rung} is held back: {refusal.detail}")
        case Denied.STALE_FACTS if critical and incident.stale_since is not None:
            until = incident.stale_since + limits.verdict_timeout_seconds
            if case.now >= until:
                return Escalate(EscalationReason.STALE_FACTS, f"{rung} is held back: {refusal.detail}")
            return Wait(min(until, case.now + case.pace.scrape_seconds), f"{rung} is refused: {refusal.reason}")
        case Denied.APPROVAL if incident.awaited is not None:
            until = incident.awaited.asked_at + APPROVAL_SECONDS
            if case.now >= until:
                said = f"nobody said yes or no to {rung} within {APPROVAL_SECONDS / 60:g} minutes"
                return Escalate(EscalationReason.UNAPPROVED, said)
            return Wait(until, f"{rung} waits for a person's approval")
        case _:
            return wait_for(case, refusal, rung)


def wait_for(case: Case, refusal: Refusal, what: str) -> Wait:
    """Until the refusal may have ended."""
    until = case.now + case.pace.scrape_seconds if refusal.reason in _ASKED_AGAIN else refusal.retry_at
    return Wait(until, f"{what} is refused: {refusal.reason}")


def _escalate(case: Case, signals: tuple[SignalState, ...]) -> Step | None:
    if all(signal.name in _ADVICE_ONLY for signal in signals):
        detail = f"{', '.join(names(signals))}: {_exhausted(case).detail}"
        return None if case.incident.advised else Escalate(EscalationReason.ADVICE, detail)
    return _exhausted(case) if is_critical(signals) else None


def _exhausted(case: Case) -> Escalate:
    last = case.incident.last_treatment
    if last is not None and last.outcome == Outcome.FAILED:
        return Escalate(EscalationReason.ACT_FAILED, f"{last.rung} failed: {last.detail}")
    if last is not None and last.verdict in ILL:
        return Escalate(EscalationReason.LADDER_EXHAUSTED, f"{last.rung} did not help: {last.verdict}")
    return Escalate(EscalationReason.LADDER_EXHAUSTED, "the ladder has no other rung that may be tried")


def _told_of_suspension(case: Case) -> Step | None:
    """Say once of each signal that an earlier act distorts that it is why nothing is done."""
    for signal in case.suspended():
        for rung in case.ladder(signal):
            if rung.action in _UNGUARDED or rung.action == "escalate":
                continue
            refusal = own_treatment(case.asked(rung, (signal,), None))
            if refusal is not None and (str(rung), refusal.reason) not in case.incident.denied:
                return Deny(rung.action, refusal.reason, told=str(rung), signals=names((signal,)))
            break
    return None
