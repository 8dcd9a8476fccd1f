"""One incident after one event: what the book's fold does to it. Pure, total: what does not fit changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity, SignalName
from receiver.alerts import identity
from receiver.events import (
    ActDenied,
    ActEnded,
    ActId,
    ActIntended,
    Alert,
    Changed,
    Closed,
    Decided,
    Escalated,
    Event,
    IllnessEnded,
    Judgement,
    RecoveryBegun,
    SuggestionScored,
    VerdictGiven,
)
from receiver.incident import ActRecord, Awaited, Incident, Moved, SignalState, Suggestion
from receiver.moves import move
from receiver.vocabulary import DEBUGGING, RECOVERY, ByHand, Denied, EscalationReason, Inconclusive, Verdict

KEPT_SUGGESTIONS: Final = 100

_KNOWING: Final = frozenset(
    {
        Denied.STORM,
        Denied.SERVER_BUDGET,
        Denied.COOLDOWN,
        Denied.FLEET_BUDGET,
        Denied.CONCURRENT_TREATMENTS,
        Denied.SUGGEST,
        Denied.APPROVAL,
    }
)
"""Refusals that are only come to where the facts are fresh."""

_ORDER: Final = {name: position for position, name in enumerate(SignalName)}
_ILL: Final = frozenset({Verdict.NOT_HEALED, Verdict.WORSE})


def joined(
    signals: Mapping[SignalName, SignalState], alerts: Iterable[Alert], at: float
) -> Mapping[SignalName, SignalState]:
    """The signals after one delivery; the same mapping when nothing changed."""
    firing: dict[SignalName, dict[str, Alert]] = {}
    begun: set[SignalName] = set()
    ended: set[SignalName] = set()
    for alert in alerts:
        name, key = SignalName(alert.signal), identity(alert)
        known = signals.get(name)
        current = firing.setdefault(name, dict(known.firing) if known else {})
        if alert.firing and key not in current:
            current[key] = alert
            begun.add(name)
        elif not alert.firing and current.pop(key, None) is not None:
            ended.add(name)
    changed: dict[SignalName, SignalState] = {}
    for name in begun | ended:
        known, current = signals.get(name), firing[name]
        if known is not None:
            fired_at = at if name in begun else known.fired_at
            state = replace(known, firing=current, fired_at=fired_at, last_change_at=at)
            if current and known.well_since is not None:  # a new illness of the same name
                state = replace(state, opened_with=_severity(current), first_at=at, well_since=None)
            changed[name] = state
        elif current:
            changed[name] = SignalState(name, _severity(current), current, at, at, at)
    if not changed:
        return signals
    return dict(sorted((*signals.items(), *changed.items()), key=lambda item: _ORDER[item[0]]))


def begins_to_fire(before: Mapping[SignalName, SignalState], now: Mapping[SignalName, SignalState]) -> bool:
    """Whether a signal fires now that did not fire before: the server fell ill."""
    return any(state.firing and not (name in before and before[name].firing) for name, state in now.items())


def _severity(firing: Mapping[str, Alert]) -> Severity:
    critical = any(alert.severity == Severity.CRITICAL for alert in firing.values())
    return Severity.CRITICAL if critical else Severity.WARNING


def after(incident: Incident, at: float, event: Event) -> Incident | None:
    """The incident after an event that speaks of it, None when the event does not fit."""
    match event:
        case ActIntended():
            return _intended(incident, at, event)
        case ActEnded():
            return _ended(incident, at, event)
        case VerdictGiven():
            return _measured(incident, at, event)
        case ActDenied():
            return _denied(incident, at, event)
        case Decided():
            return _decided(incident, event)
        case IllnessEnded():
            return _over(incident, at, event)
        case SuggestionScored():
            return _scored(incident, event)
        case Escalated(reason=EscalationReason.ADVICE):
            return replace(incident, advised=event.detail or event.reason)
        case Escalated() if incident.escalated_at is None:
            return replace(
                incident,
                escalated_at=at,
                escalation=event.reason,
                escalation_detail=event.detail,
                escalated_for=_called_for(incident),
                awaited=None,
            )  # fmt: skip
        case RecoveryBegun():
            asked = None if incident.asked == ByHand.RECOVER else incident.asked
            begun = replace(incident, recovering_since=at, recovery_by_hand=event.by_hand, asked=asked)
            return replace(begun, escalated_at=None, escalation=None)
        case Closed():
            return replace(incident, closed_at=at, closing=event.reason)
        case _:
            return None


def _intended(incident: Incident, at: float, event: ActIntended) -> Incident | None:
    if any(act.act == event.act for act in incident.acts):
        return None
    restarts = event.restarts or event.action == "restart"
    act = ActRecord(
        event.act,
        event.action,
        tuple(event.signals),
        at,
        told=event.told,
        changes=event.changes,
        expected=event.expected,
        restarts=restarts,
        by_hand=event.by_hand,
        backup=event.backup,
        until=event.until,
        let_go=incident.approved.get(event.told or event.action),
    )
    if event.by_hand and not act.is_recovery:
        act = replace(act, wish=incident.asked)
    awaited = None if incident.awaited is not None and incident.awaited.told == act.rung else incident.awaited
    known = incident if act.action == "evidence" else _with_facts(incident)
    changed = replace(
        known,
        acts=(*incident.acts, act),
        awaited=awaited,
        # One word of a person is good for one act.
        approved={told: asking for told, asking in incident.approved.items() if told != act.rung},
        denied=known.denied - {(act.rung, Denied.APPROVAL)},
    )
    if event.by_hand and not act.is_recovery:
        changed = replace(changed, asked=None)
        if (
            act.is_treatment and act.action not in DEBUGGING
        ):  # to look closer is no treatment of what people were called for
            changed = replace(changed, escalated_at=None, escalation=None)
    # A treatment ends a way back that had not begun to give anything back, or whose stage was taken back.
    begins_anew = act.is_treatment and not act.is_recovery
    return replace(changed, recovering_since=None) if begins_anew else changed


def _denied(incident: Incident, at: float, event: ActDenied) -> Incident:
    told = event.told or event.action
    asked = None if event.by_hand else incident.asked
    changed = replace(incident, denied=incident.denied | {(told, event.reason)}, asked=asked)
    signals = tuple(event.signals) or tuple(state.name.value for state in incident.firing)
    if event.reason is Denied.STALE_FACTS:
        return replace(changed, stale_since=at)
    if event.reason in _KNOWING:
        changed = _with_facts(changed)
    if event.reason is Denied.APPROVAL and (incident.awaited is None or incident.awaited.told != told):
        return replace(changed, awaited=Awaited(told, signals, at))
    if event.reason is Denied.SUGGEST and not event.by_hand and event.action not in RECOVERY:
        suggestion = Suggestion(told, signals, at, _severities(incident))
        return replace(changed, suggestions=(*incident.suggestions, suggestion)[-KEPT_SUGGESTIONS:])
    return changed


def _with_facts(incident: Incident) -> Incident:
    """Prometheus knows again how the server is doing: the next time that it does not is another one."""
    if incident.stale_since is None:
        return incident
    denied = frozenset(each for each in incident.denied if each[1] is not Denied.STALE_FACTS)
    return replace(incident, stale_since=None, denied=denied)


def _called_for(incident: Incident) -> frozenset[str]:
    """What people were called for: what is critical, or all that fires where nothing is."""
    critical = [state for state in incident.firing if state.severity is Severity.CRITICAL]
    return frozenset(state.name.value for state in critical or incident.firing)


def _severities(incident: Incident) -> dict[str, Severity]:
    return {state.name.value: state.severity for state in incident.firing if state.severity is not None}


def _decided(incident: Incident, event: Decided) -> Incident | None:
    awaited = incident.awaited
    if awaited is None or awaited.told != event.told:
        return None
    if event.approved:
        return replace(incident, awaited=None, approved={**incident.approved, event.told: awaited.signals})
    refused = {**incident.refused, event.told: awaited.signals}
    return replace(incident, awaited=None, refused=refused, denied=incident.denied | {(event.told, Denied.DENIED)})


def _over(incident: Incident, at: float, event: IllnessEnded) -> Incident | None:
    """What treated these signals and nothing else is of the past, with what was said and asked about it."""
    named = set(event.signals)
    signals = {
        name: replace(state, well_since=at) if name in named and not state.firing else state
        for name, state in incident.signals.items()
    }
    well = {name.value for name, state in signals.items() if state.well_since is not None}
    if not named & well:
        return None
    awaited = incident.awaited
    refused = {told: asking for told, asking in incident.refused.items() if not set(asking) <= well}
    is_over = awaited is not None and set(awaited.signals) <= well
    helped = bool(incident.escalated_for) and incident.escalated_for <= well
    return replace(
        incident,
        signals=signals,
        acts=tuple(replace(act, past=act.past or _is_past(act, well)) for act in incident.acts),
        awaited=None if is_over else awaited,
        refused=refused,
        approved={told: asking for told, asking in incident.approved.items() if not set(asking) <= well},
        # Whatever still holds is found, and said, again.
        denied=frozenset((told, Denied.DENIED) for told in refused),
        escalated_at=None if helped else incident.escalated_at,
        escalation=None if helped else incident.escalation,
    )


def _is_past(act: ActRecord, well: set[str]) -> bool:
    return act.outcome is not None and bool(act.signals) and set(act.signals) <= well


def _scored(incident: Incident, event: SuggestionScored) -> Incident | None:
    suggestions = list(incident.suggestions)
    for index, each in enumerate(suggestions):
        if each.told == event.told and each.after is None:
            suggestions[index] = replace(each, after=event.after, after_seconds=event.seconds)
            return replace(incident, suggestions=tuple(suggestions))
    return None


def _ended(incident: Incident, at: float, event: ActEnded) -> Incident | None:
    act = _find(incident, event.act)
    if act is None or act.outcome is not None:
        return None
    ended = replace(
        act,
        outcome=outcome_of(event),
        detail=event.detail,
        ended_at=ended_at(event, act.intended_at, at),
        changed=event.changed is not None and _is_changed(event.changed, act),
    )
    before = incident.before if act.is_treatment else {**incident.before, **_values(event.findings)}
    changed = _given_back(replace(incident, acts=_with(incident, ended), before=before), ended)
    if event.changed is None or act.action in DEBUGGING:  # log levels are no treatment's: the dossier remembers them
        return changed
    return _with_changes(changed, ended, event.changed)


def _given_back(incident: Incident, act: ActRecord) -> Incident:
    """What a person said is spent by an act, not by an intent that nobody carried out."""
    if act.outcome is not Outcome.NOT_DONE:
        return incident
    approved = incident.approved if act.let_go is None else {**incident.approved, act.rung: act.let_go}
    return replace(incident, approved=approved, asked=incident.asked or act.wish)


def _is_changed(done: Changed, act: ActRecord) -> bool:
    """Whether the file is another one; what was put back whole may differ in what is none of our settings."""
    return done.before != done.after or (act.action == "restore" and bool(done.backup))


def _with_changes(incident: Incident, act: ActRecord, done: Changed) -> Incident:
    """The incident after an act that wrote, or looked at, settings."""
    moved, directions = dict(incident.moved), dict(incident.directions)
    if act.action == "restore":  # what stands now is what was healthy: nothing of it is to be given back
        changed = {name for name, raw in done.after.items() if raw != done.before.get(name)}
        return replace(incident, moved={name: each for name, each in moved.items() if name not in changed})
    for name, after in done.after.items():
        known, before = moved.get(name), done.before.get(name)
        if name in done.kept or (known is not None and after == known.before):
            moved.pop(name, None)
        elif before != after:
            # Where a person edited it since our last change, theirs is what is given back.
            first = known.before if known is not None and known.after == before else before
            way = move(name, first, after)
            moved[name] = Moved(first, after, act.act, way, restarted=act.restarts)
            if way is not None and not act.is_recovery:
                directions.setdefault(name, way)
    return replace(incident, moved=moved, directions=directions, kept={**incident.kept, **done.kept})


def _measured(incident: Incident, at: float, event: VerdictGiven) -> Incident | None:
    act = _find(incident, event.act)
    if act is None or act.outcome is None:
        return None
    ill = _consecutive_ill(act.ill, event.judgements)
    if not event.final or event.verdict == Verdict.INCONCLUSIVE:
        since = at if act.inconclusive_since is None else act.inconclusive_since
        return replace(
            incident, acts=_with(incident, replace(act, measured_at=at, inconclusive_since=since, ill=ill))
        )  # fmt: skip
    judged = {judgement.signal: judgement.verdict for judgement in event.judgements}
    act = replace(
        act, verdict=event.verdict, verdict_at=at, measured_at=at, inconclusive_since=None, judged=judged, ill=ill
    )  # fmt: skip
    healed_at = None
    if event.verdict == Verdict.HEALED:
        healed_at = at if incident.healed_at is None else incident.healed_at
    healed = event.verdict == Verdict.HEALED
    moved = {
        name: replace(each, proven=healed) if each.act == act.act else each for name, each in incident.moved.items()
    }
    return replace(_with_facts(incident), acts=_with(incident, act), healed_at=healed_at, moved=moved)


def _consecutive_ill(before: Mapping[str, int], judgements: Iterable[Judgement]) -> Mapping[str, int]:
    """Inconclusive measurements neither add to the count nor end it."""
    counts = dict(before)
    for judgement in judgements:
        if judgement.verdict in _ILL or judgement.reason == Inconclusive.UNCONFIRMED:
            counts[judgement.signal] = counts.get(judgement.signal, 0) + 1
        elif judgement.verdict == Verdict.HEALED:
            counts.pop(judgement.signal, None)
    return counts


def watched(at: float) -> dict[SignalName, SignalState]:
    """What is measured where no alert says what to look at."""
    names = (SignalName.DOWN, SignalName.ERROR_RATIO, SignalName.RESPONSE_TIME)
    return {name: SignalState(name, Severity.CRITICAL, {}, at, at, at) for name in names}


def _find(incident: Incident, act: ActId) -> ActRecord | None:
    return next((each for each in incident.acts if each.act == act), None)


def _with(incident: Incident, act: ActRecord) -> tuple[ActRecord, ...]:
    return tuple(act if each.act == act.act else each for each in incident.acts)


def outcome_of(event: ActEnded) -> Outcome:
    try:
        return Outcome(event.outcome)
    except ValueError:
        return Outcome.UNKNOWN


def ended_at(event: ActEnded, intended_at: float, written_at: float) -> float:
    # A clock elsewhere may be wrong; a window that starts before the act would prove nothing.
    reported = event.ended_at if math.isfinite(event.ended_at) else written_at
    return max(min(reported, written_at), intended_at)


def _values(findings: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an evidence's ``signals``."""
    signals = findings.get("signals")
    if not isinstance(signals, Mapping):
        return {}
    return {name: value for name, value in signals.items() if isinstance(value, float) and math.isfinite(value)}
