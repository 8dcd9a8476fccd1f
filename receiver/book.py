"""Incidents are a fold over the journal: ``Book.apply`` of every entry in order. Pure, deterministic, total.

One incident per server. It opens with the first firing alert (known signal, severity warning or critical) of a
configured server without an open incident; later alerts of the server join it. No event sequence makes the fold
fail: what does not fit (an act of an unknown incident, an outcome without an intent) changes no incident.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from fleet.lifecycle.outcome import Outcome
from receiver import fold
from receiver.alerts import is_judged
from receiver.dossier import Dossier, debugged, noted
from receiver.events import (
    OF_AN_INCIDENT,
    ActDenied,
    ActEnded,
    ActId,
    ActIntended,
    ActionAsked,
    Alert,
    Delivered,
    Entry,
    Event,
    IncidentId,
    Paused,
    Quarantined,
    Resumed,
)
from receiver.incident import Incident, Moved
from receiver.ledger import Ledger, Pause, Treatment
from receiver.records import Record
from receiver.vocabulary import RECOVERY, TREATMENTS, ByHand

RECENT_CLOSED: Final = 200
"""Closed incidents that are remembered; older ones are in the journal only."""

RECENT_QUARANTINED: Final = 50

KEPT_ENTRIES: Final = 1000
KEPT_TREATMENTS: Final = 1000
"""Per server, the newest: more than any budget that still protects a server allows in its time."""


class Book:
    """Every open incident, the recent closed ones, and the ledger, folded from the journal.

    ``configured`` are the names of the servers that may have incidents. Changed in place by ``apply`` only; what it
    hands out is frozen, so a reader never sees a change.
    """

    def __init__(self, configured: Collection[str]) -> None:
        self._configured = frozenset(configured)
        self._open: dict[str, Incident] = {}
        self._closed: deque[Incident] = deque(maxlen=RECENT_CLOSED)
        self._quarantined: deque[Entry] = deque(maxlen=RECENT_QUARANTINED)
        self._treatments: dict[str, dict[ActId, Treatment]] = {}
        self._left: dict[str, Mapping[str, Moved]] = {}
        self._paused: dict[str, Pause] = {}
        self._fell_ill_at: dict[str, float] = {}
        self._dossiers: dict[str, Dossier] = {}
        self._ledger: Ledger | None = None

    def apply(self, entry: Entry) -> tuple[str, ...]:
        """Fold one entry; the servers whose incident it opened or changed (wake their workers). Never raises."""
        event = entry.event
        self._ledger = None
        if isinstance(event, Delivered):
            return self._deliver(entry, event)
        if isinstance(event, ActionAsked):
            return self._ask(entry, event)
        if isinstance(event, Paused | Resumed):
            return self._pause(entry, event)
        if isinstance(event, Quarantined):
            self._quarantined.append(entry)
            return ()
        if isinstance(event, Record):
            if event.server in self._configured:
                self._note(event.server, noted(self.dossier(event.server), event, entry.at))
            return ()
        if isinstance(event, ActIntended):
            self._spend(entry, event)
        elif isinstance(event, ActEnded):
            self._settle(entry, event)
        incident = self._addressed(event)
        changed = None if incident is None else fold.after(incident, entry.at, event)
        if changed is None:
            return ()
        if isinstance(event, ActEnded):
            self._keep_levels(entry, event)
        elif isinstance(event, ActDenied):
            self._note(event.server, noted(self.dossier(event.server), event, entry.at))
        self._keep(entry, changed)
        return (changed.server,)

    def open_incident(self, server: str) -> Incident | None:
        """The open incident of a server."""
        return self._open.get(server)

    def dossier(self, server: str) -> Dossier:
        """What is known of a server beyond its incidents."""
        return self._dossiers.get(server, Dossier())

    def left_behind(self, server: str) -> object:
        """What its incidents have left to the next one, to be compared: settings that stand lowered, log levels."""
        return dict(self._left.get(server, {})), self.dossier(server).debugging

    def remembered(self, since: float) -> object:
        """All that is known besides closed incidents, to be compared; of what only ages, the part from ``since`` on."""
        return (
            dict(self._open),
            {server: left for server, left in self._left.items() if left},
            dict(self._paused),
            {server: of for server, of in self._dossiers.items() if of != Dossier()},
            [each for each in self.ledger().treatments if each.intended_at >= since],
            {server: at for server, at in self._fell_ill_at.items() if at >= since},
        )

    def forget(self, incidents: Collection[IncidentId], numbers: Collection[int]) -> None:
        """These closed incidents, and bodies of these numbers that were put aside, are in the journal no more."""
        self._closed = deque((each for each in self._closed if each.id not in incidents), RECENT_CLOSED)
        kept = (each for each in self._quarantined if each.seq not in numbers)
        self._quarantined = deque(kept, RECENT_QUARANTINED)

    def find(self, incident: str) -> Incident | None:
        """The incident of that id, open or recently closed."""
        return next((each for each in (*self._open.values(), *self._closed) if each.id == incident), None)

    def incidents(self) -> list[Incident]:
        """Open and recently closed ones, newest first."""
        return sorted((*self._open.values(), *self._closed), key=lambda each: (-each.number, each.server))

    def quarantined(self) -> list[Entry]:
        """The last bodies that could not be read, newest first."""
        return list(reversed(self._quarantined))

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
                dict(self._paused),
                dict(self._fell_ill_at),
                len(self._configured),
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
            signals = fold.joined(incident.signals, alerts, entry.at)
            if signals is not incident.signals:
                if fold.begins_to_fire(incident.signals, signals):
                    self._fell_ill_at[server] = entry.at
                self._keep(entry, incident, signals=signals)
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
            incident = replace(
                self._new(event.server, entry.seq, entry.at), manual=True, signals=fold.watched(entry.at)
            )
        if event.action is ByHand.STOP:
            self._paused.setdefault(event.server, Pause(event.by, entry.at, stopped=True))
        elif event.action is ByHand.START and self._is_stopped(event.server):
            del self._paused[event.server]
        self._keep(
            entry,
            replace(incident, asked=event.action, asked_seconds=event.seconds, asked_backup=event.backup),
        )
        return (event.server,)

    def _is_stopped(self, server: str) -> bool:
        pause = self._paused.get(server)
        return pause is not None and pause.stopped

    def _keep_levels(self, entry: Entry, event: ActEnded) -> None:
        incident = self._open.get(event.server)
        acts = () if incident is None else incident.acts
        for act in acts:
            if act.act == event.act and act.outcome is None:
                self._note(event.server, debugged(self.dossier(event.server), act, event, entry.at))

    def _note(self, server: str, dossier: Dossier) -> None:
        if dossier != self.dossier(server):
            self._dossiers[server] = dossier

    def _pause(self, entry: Entry, event: Paused | Resumed) -> tuple[str, ...]:
        if event.server and event.server not in self._configured:
            return ()
        if isinstance(event, Paused):
            known = self._paused.get(event.server)
            if known is None or known.stopped:  # who says so beside a stop means it: a start does not end that
                self._paused[event.server] = Pause(event.by, entry.at)
        else:
            self._paused.pop(event.server, None)
        return ()

    def _addressed(self, event: Event) -> Incident | None:
        """The open incident that an event speaks of, when both its server and its id fit."""
        if isinstance(event, OF_AN_INCIDENT):
            incident = self._open.get(event.server)
            return incident if incident is not None and incident.id == event.incident else None
        return None

    def _keep(self, entry: Entry, incident: Incident, **changes: Any) -> None:
        """With ``changes``, in one copy: alerts may pour in, and an incident has many fields."""
        entries = (*incident.entries[1 - KEPT_ENTRIES :], entry.seq)
        incident = replace(incident, entries=entries, **changes)
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
        if fold.outcome_of(event) == Outcome.NOT_DONE:
            del acts[event.act]
        else:
            acts[event.act] = replace(treatment, ended_at=fold.ended_at(event, treatment.intended_at, entry.at))


def _is_under_treatment(incident: Incident) -> bool:
    last = incident.last_treatment
    if last is None or incident.escalated_at is not None:
        return False
    if last.outcome is None:
        return True
    # A way back without traffic, or a person's own act, may wait for its verdict for hours; it holds nobody up.
    patient = (incident.manual or last.is_recovery) and last.inconclusive_since is not None
    return last.needs_verdict and last.verdict is None and not patient
