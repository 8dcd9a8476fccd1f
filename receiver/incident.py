"""Incidents are a fold over the journal: ``Book.apply`` of every entry in order. Pure, deterministic, total.

One incident per server. It opens with the first firing alert (known signal, severity warning or critical) of a
configured server without an open incident; later alerts of the server join it. No event sequence makes the fold
fail: what does not fit (an act of an unknown incident, an outcome without an intent) changes no incident.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from fleet.lifecycle.outcome import Outcome
from fleet.signals import BY_NAME, Severity, SignalName
from receiver.events import (
    TREATMENTS,
    ActId,
    Alert,
    Closing,
    Denied,
    Entry,
    EscalationReason,
    IncidentId,
    Verdict,
)

RECENT_CLOSED: Final = 200
"""Closed incidents that are remembered, newest first; older ones are in the journal only."""


class IncidentState(enum.StrEnum):
    """The label ``state``. ``awaiting_approval`` and ``recovering`` come with approvals and staged recovery.

    WAITING: open, nothing under way: alerts are weighed, or a guard or the quiet period is waited for.
    ACTING: an act was intended and has no outcome yet.
    OBSERVING: a treatment has ended; its verdict, or the end of the healthy period after it, is awaited.
    ESCALATED: people were called; stays so until closed, and nothing is done to the server any more.
    """

    WAITING = "waiting"
    ACTING = "acting"
    OBSERVING = "observing"
    ESCALATED = "escalated"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SignalState:
    """One signal of an incident.

    Attributes:
        name: the signal.
        opened_with: the severity it joined with: the level that verdicts compare with.
        firing: the alerts that fire, by fingerprint (or by name and severity where there is none).
        first_at: when it joined, UNIX seconds by the journal, as all times here.
        fired_at: when an alert of it last began to fire.
        last_change_at: when ``firing`` last changed.
    """

    name: SignalName
    opened_with: Severity
    firing: Mapping[str, Alert]
    first_at: float
    fired_at: float
    last_change_at: float

    @property
    def severity(self) -> Severity | None:
        """The highest severity that fires, None when nothing does."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class ActRecord:
    """One act of an incident: intent, outcome, verdicts.

    Attributes:
        signals: the signals that asked for it.
        ended_at: None until there is an outcome; never before ``intended_at`` nor after the outcome was written.
        verdict: the newest final verdict; ``verdict_at`` is when it was given.
        measured_at: when it was last measured, conclusive or not.
        inconclusive_since: the first inconclusive measurement after the newest final verdict, if any.
        judged: each signal's verdict in the newest final one.
        ill: consecutive measurements by signal that found it ill.
    """

    act: ActId
    action: str
    signals: tuple[str, ...]
    intended_at: float
    ended_at: float | None = None
    outcome: Outcome | None = None
    detail: str = ""
    verdict: Verdict | None = None
    verdict_at: float | None = None
    measured_at: float | None = None
    inconclusive_since: float | None = None
    judged: Mapping[str, Verdict] = field(default_factory=dict)
    ill: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_treatment(self) -> bool:
        """True for actions that change the server."""
        return self.action in TREATMENTS

    @property
    def needs_verdict(self) -> bool:
        """True for a treatment that took place, or may have: a measurement must say what it did."""
        return self.is_treatment and self.outcome in {Outcome.SUCCEEDED, Outcome.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident of one server. ``number`` is the journal number of the delivery that opened it.

    Attributes:
        signals: by name, every signal that ever fired in it, in the order of ``SignalName``.
        acts: in the order of their intents.
        denied: (action, reason) that were recorded.
        before: the last value of each signal before treatment, from the evidence's ``findings["signals"]``.
        healed_at: when the verdict HEALED was first given and not taken back since.
        entries: numbers of the journal entries that opened or changed it (the newest 1,000).
    """

    id: IncidentId
    number: int
    server: str
    opened_at: float
    signals: Mapping[SignalName, SignalState] = field(default_factory=dict)
    acts: tuple[ActRecord, ...] = ()
    denied: frozenset[tuple[str, Denied]] = frozenset()
    before: Mapping[str, float] = field(default_factory=dict)
    healed_at: float | None = None
    escalated_at: float | None = None
    escalation: EscalationReason | None = None
    escalation_detail: str = ""
    closed_at: float | None = None
    closing: Closing | None = None
    entries: tuple[int, ...] = ()

    @property
    def state(self) -> IncidentState:
        """Where it stands."""
        raise NotImplementedError

    @property
    def firing(self) -> tuple[SignalState, ...]:
        """The signals that fire now, in the order of treatment."""
        raise NotImplementedError

    @property
    def quiet_since(self) -> float | None:
        """Since when nothing fires, None while something does."""
        raise NotImplementedError

    @property
    def unfinished(self) -> ActRecord | None:
        """The newest act without an outcome."""
        raise NotImplementedError

    @property
    def last_treatment(self) -> ActRecord | None:
        """The newest treatment that was not found undone."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Treatment:
    """One treatment as budgets count it; those that were found not done are not in the ledger."""

    server: str
    act: ActId
    intended_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the guards need to know of the fleet.

    ``treatments``: the newest of each server, oldest first. ``under_treatment``: servers whose treatment is under
    way or has no final verdict yet.
    """

    treatments: tuple[Treatment, ...] = ()
    under_treatment: frozenset[str] = frozenset()


class Book:
    """Every open incident, the recent closed ones, and the ledger, folded from the journal.

    ``configured`` are the names of the servers that may have incidents. Changed in place by ``apply`` only; what it
    hands out is frozen, so a reader never sees a change.
    """

    def __init__(self, configured: Collection[str], signals: Collection[str] = tuple(BY_NAME)) -> None:
        raise NotImplementedError

    def apply(self, entry: Entry) -> tuple[str, ...]:
        """Fold one entry; the servers whose incident it opened or changed (wake their workers). Never raises."""
        raise NotImplementedError

    def open_incident(self, server: str) -> Incident | None:
        """The open incident of a server."""
        raise NotImplementedError

    def find(self, incident: str) -> Incident | None:
        """The incident of that id, open or recently closed."""
        raise NotImplementedError

    def incidents(self) -> list[Incident]:
        """Open and recently closed ones, newest first."""
        raise NotImplementedError

    def firing_alerts(self) -> list[Alert]:
        """The alerts that the fold takes to be firing: ``receiver.alerts.differences`` compares them."""
        raise NotImplementedError

    def ledger(self) -> Ledger:
        """A snapshot for the guards."""
        raise NotImplementedError
