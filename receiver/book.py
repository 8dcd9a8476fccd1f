"""Incidents are a fold over the journal: ``Book.apply`` of every entry in order. Pure, deterministic, total.

One incident per server. It opens with the first firing alert (known signal, severity warning or critical) of a
configured server without an open incident; later alerts of the server join it. No event sequence makes the fold
fail: what does not fit (an act of an unknown incident, an outcome without an intent) changes no incident.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity, SignalName
from receiver.alerts import identity, is_judged
from receiver.events import (
    RECOVERY,
    TREATMENTS,
    ActDenied,
    ActEnded,
    ActId,
    ActIntended,
    ActionAsked,
    Alert,
    ByHand,
    Changed,
    Closed,
    Delivered,
    Entry,
    Escalated,
    Event,
    IncidentId,
    Inconclusive,
    Judgement,
    RecoveryBegun,
    Verdict,
    VerdictGiven,
)
from receiver.incident import ActRecord, Incident, Moved, SignalState
from receiver.ledger import Ledger, Treatment
from receiver.moves import move

RECENT_CLOSED: Final = 200
"""Closed incidents that are remembered; older ones are in the journal only."""

KEPT_ENTRIES: Final = 1000
KEPT_TREATMENTS: Final = 1000
"""Per server, the newest: more than any budget that still protects a server allows in its time."""

_ORDER: Final = {name: position for position, name in enumerate(SignalName)}
_ILL: Final = frozenset({Verdict.NOT_HEALED, Verdict.WORSE})


class Book:
    """Every open incident, the recent closed ones, and the ledger, folded from the journal.

    ``configured`` are the names of the servers that may have incidents. Changed in place by ``apply`` only; what it
    hands out is frozen, so a reader never sees a change.
    """

    def __init__(self, configured: Collection[str]) -> None:
        self._configured = frozenset(configured)
        self._open: dict[str, Incident] = {}
        self._closed: deque[Incident] = deque(maxlen=RECENT_CLOSED)
        self._treatments: dict[str, dict[ActId, Treatment]] = {}
        self._left: dict[str, Mapping[str, Moved]] = {}
        self._ledger: Ledger | None = None

    def apply(self, entry: Entry) -> tuple[str, ...]:
        """Fold one entry; the servers whose incident it opened or changed (wake their workers). Never raises."""
        event = entry.event
        self._ledger = None
        if isinstance(event, Delivered):
            return self._deliver(entry, event)
        if isinstance(event, ActionAsked):
            return self._ask(entry, event)
        if isinstance(event, ActIntended):
            self._spend(entry, event)
        elif isinstance(event, ActEnded):
            self._settle(entry, event)
        incident = self._addressed(event)
        changed = None if incident is None else _changed(incident, entry.at, event)
        if changed is None:
            return ()
        self._keep(entry, changed)
        return (changed.server,)

    def open_incident(self, server: str) -> Incident | None:
        """The open incident of a server."""
        return self._open.get(server)

    def find(self, incident: str) -> Incident | None:
        """The incident of that id, open or recently closed."""
        return next((each for each in (*self._open.values(), *self._closed) if each.id == incident), None)

    def incidents(self) -> list[Incident]:
        """Open and recently closed ones, newest first."""
        return sorted((*self._open.values(), *self._closed), key=lambda each: (-each.number, each.server))

    def firing_alerts(self) -> list[Alert]:
        """The alerts that the fold takes to be firing: ``receiver.alerts.differences`` compares them."""
        return [
            alert
            for incident in self._open.values()
            for signal in incident.signals.values()
            for alert in signal.firing.values()
        ]

    def ledger(self) -> Ledger:
        """A snapshot for the guards."""
        if self._ledger is None:
            every = [treatment for acts in self._treatments.values() for treatment in acts.values()]
            self._ledger = Ledger(
                tuple(sorted(every, key=lambda each: (each.intended_at, each.server, each.act))),
                frozenset(incident.server for incident in self._open.values() if _is_under_treatment(incident)),
            )
        return self._ledger

    def _deliver(self, entry: Entry, event: Delivered) -> tuple[str, ...]:
        by_server: dict[str, list[Alert]] = {}
        for alert in event.alerts:
            if alert.server in self._configured and is_judged(alert):
                by_server.setdefault(alert.server, []).append(alert)
        touched = []
        for server, alerts in by_server.items():
            incident = self._open.get(server) or self._new(server, entry.seq, entry.at)
            signals = _joined(incident.signals, alerts, entry.at)
            if signals is not incident.signals:
                self._keep(entry, replace(incident, signals=signals))
                touched.append(server)
        return tuple(touched)

    def _new(self, server: str, seq: int, at: float) -> Incident:
        incident = IncidentId(f"{server}-{seq}")
        return Incident(id=incident, number=seq, server=server, opened_at=at, moved=self._left.get(server, {}))

    def imagined(self, server: str) -> Incident:
        """The incident that a person's wish would open now: guards judge the wish by it."""
        return self._new(server, 0, 0.0)

    def _ask(self, entry: Entry, event: ActionAsked) -> tuple[str, ...]:
        if event.refused is not None or event.server not in self._configured:
            return ()
        incident = self._open.get(event.server)
        if incident is None:
            incident = replace(self._new(event.server, entry.seq, entry.at), manual=True, signals=_watched(entry.at))
        self._keep(entry, replace(incident, asked=event.action))
        return (event.server,)

    def _addressed(self, event: Event) -> Incident | None:
        """The open incident that an event speaks of, when both its server and its id fit."""
        if isinstance(event, ActIntended | ActEnded | ActDenied | VerdictGiven | Escalated | RecoveryBegun | Closed):
            incident = self._open.get(event.server)
            return incident if incident is not None and incident.id == event.incident else None
        return None

    def _keep(self, entry: Entry, incident: Incident) -> None:
        incident = replace(incident, entries=(*incident.entries, entry.seq)[-KEPT_ENTRIES:])
        if incident.closed_at is None:
            self._open[incident.server] = incident
        else:
            self._open.pop(incident.server, None)
            self._closed.append(incident)
            self._left[incident.server] = incident.moved

    def _spend(self, entry: Entry, event: ActIntended) -> None:
        # Counted even where no open incident knows the act: a budget must never forget a treatment.
        if event.action in TREATMENTS:
            acts = self._treatments.setdefault(event.server, {})
            acts.setdefault(event.act, Treatment(event.server, event.act, entry.at, recovery=event.action in RECOVERY))
            while len(acts) > KEPT_TREATMENTS:
                del acts[next(iter(acts))]

    def _settle(self, entry: Entry, event: ActEnded) -> None:
        acts = self._treatments.get(event.server, {})
        treatment = acts.get(event.act)
        if treatment is None or treatment.ended_at is not None:
            return
        if _outcome(event) == Outcome.NOT_DONE:
            del acts[event.act]
        else:
            acts[event.act] = replace(treatment, ended_at=_ended_at(event, treatment.intended_at, entry.at))


def _joined(
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
            changed[name] = replace(known, firing=current, fired_at=fired_at, last_change_at=at)
        elif current:
            critical = any(alert.severity == Severity.CRITICAL for alert in current.values())
            opened_with = Severity.CRITICAL if critical else Severity.WARNING
            changed[name] = SignalState(name, opened_with, current, at, at, at)
    if not changed:
        return signals
    return dict(sorted((*signals.items(), *changed.items()), key=lambda item: _ORDER[item[0]]))


def _changed(incident: Incident, at: float, event: Event) -> Incident | None:
    """The incident after an event that speaks of it, None when the event does not fit."""
    match event:
        case ActIntended():
            return _intended(incident, at, event)
        case ActEnded():
            return _ended(incident, at, event)
        case VerdictGiven():
            return _measured(incident, at, event)
        case ActDenied():
            return _denied(incident, event)
        case Escalated() if incident.escalated_at is None:
            return replace(
                incident, escalated_at=at, escalation=event.reason, escalation_detail=event.detail
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
    )
    changed = replace(incident, acts=(*incident.acts, act))
    if event.by_hand and not act.is_recovery:
        changed = replace(changed, asked=None, escalated_at=None, escalation=None)
    # A treatment ends a way back that had not begun to give anything back, or whose stage was taken back.
    begins_anew = act.is_treatment and not act.is_recovery
    return replace(changed, recovering_since=None) if begins_anew else changed


def _denied(incident: Incident, event: ActDenied) -> Incident:
    asked = None if event.by_hand else incident.asked
    return replace(incident, denied=incident.denied | {(event.told or event.action, event.reason)}, asked=asked)


def _ended(incident: Incident, at: float, event: ActEnded) -> Incident | None:
    act = _find(incident, event.act)
    if act is None or act.outcome is not None:
        return None
    ended = replace(
        act,
        outcome=_outcome(event),
        detail=event.detail,
        ended_at=_ended_at(event, act.intended_at, at),
        changed=event.changed is not None and event.changed.before != event.changed.after,
    )
    before = incident.before if act.is_treatment else {**incident.before, **_values(event.findings)}
    changed = replace(incident, acts=_with(incident, ended), before=before)
    return changed if event.changed is None else _with_changes(changed, ended, event.changed)


def _with_changes(incident: Incident, act: ActRecord, done: Changed) -> Incident:
    """The incident after an act that wrote, or looked at, settings."""
    moved, directions = dict(incident.moved), dict(incident.directions)
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
    return replace(incident, acts=_with(incident, act), healed_at=healed_at, moved=moved)


def _consecutive_ill(before: Mapping[str, int], judgements: Iterable[Judgement]) -> Mapping[str, int]:
    """Inconclusive measurements neither add to the count nor end it."""
    counts = dict(before)
    for judgement in judgements:
        if judgement.verdict in _ILL or judgement.reason == Inconclusive.UNCONFIRMED:
            counts[judgement.signal] = counts.get(judgement.signal, 0) + 1
        elif judgement.verdict == Verdict.HEALED:
            counts.pop(judgement.signal, None)
    return counts


def _watched(at: float) -> dict[SignalName, SignalState]:
    """What is measured where no alert says what to look at."""
    names = (SignalName.DOWN, SignalName.ERROR_RATIO, SignalName.RESPONSE_TIME)
    return {name: SignalState(name, Severity.CRITICAL, {}, at, at, at) for name in names}


def _find(incident: Incident, act: ActId) -> ActRecord | None:
    return next((each for each in incident.acts if each.act == act), None)


def _with(incident: Incident, act: ActRecord) -> tuple[ActRecord, ...]:
    return tuple(act if each.act == act.act else each for each in incident.acts)


def _outcome(event: ActEnded) -> Outcome:
    try:
        return Outcome(event.outcome)
    except ValueError:
        return Outcome.UNKNOWN


def _ended_at(event: ActEnded, intended_at: float, written_at: float) -> float:
    # A clock elsewhere may be wrong; a window that starts before the act would prove nothing.
    reported = event.ended_at if math.isfinite(event.ended_at) else written_at
    return max(min(reported, written_at), intended_at)


def _values(findings: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an evidence's ``signals``."""
    signals = findings.get("signals")
    if not isinstance(signals, Mapping):
        return {}
    return {name: value for name, value in signals.items() if isinstance(value, float) and math.isfinite(value)}


def _is_under_treatment(incident: Incident) -> bool:
    last = incident.last_treatment
    if last is None or incident.escalated_at is not None:
        return False
    if last.outcome is None:
        return True
    # A way back without traffic, or a person's own act, may wait for its verdict for hours; it holds nobody up.
    patient = (incident.manual or last.is_recovery) and last.inconclusive_since is not None
    return last.needs_verdict and last.verdict is None and not patient
