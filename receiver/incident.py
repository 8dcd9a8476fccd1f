"""What an incident is: frozen values. ``receiver.book`` folds them from the journal. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity, SignalName
from receiver.events import ActId, Alert, IncidentId, Raws
from receiver.moves import Move
from receiver.vocabulary import RECOVERY, TREATMENTS, After, ByHand, Closing, Denied, EscalationReason, Verdict


class IncidentState(enum.StrEnum):
    """The label ``state``.

    WAITING: open, nothing under way: alerts are weighed, or a guard or the quiet period is waited for.
    ACTING: an act was intended and has no outcome yet.
    OBSERVING: a treatment has ended; its verdict, or the end of the healthy period after it, is awaited.
    AWAITING_APPROVAL: the next rung is decided, and a person must let it go.
    RECOVERING: the server is healthy, and what treatment changed in its configuration is given back in stages.
    ESCALATED: people were called; nothing is done to the server until it is measured healthy or a person asks.
    """

    WAITING = "waiting"
    ACTING = "acting"
    OBSERVING = "observing"
    AWAITING_APPROVAL = "awaiting_approval"
    RECOVERING = "recovering"
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
        well_since: when its illness was over, by an ``IllnessEnded``, and it has not fired since; None otherwise.
    """

    name: SignalName
    opened_with: Severity
    firing: Mapping[str, Alert]
    first_at: float
    fired_at: float
    last_change_at: float
    well_since: float | None = None

    @property
    def severity(self) -> Severity | None:
        """The highest severity that fires, None when nothing does."""
        if any(alert.severity == Severity.CRITICAL for alert in self.firing.values()):
            return Severity.CRITICAL
        return Severity.WARNING if self.firing else None


@dataclass(frozen=True, slots=True)
class Moved:
    """One setting that treatment changed and that still stands so.

    Attributes:
        before: its TOML text before the first change (None: absent); what recovery gives back.
        after: its TOML text now.
        act: the act that changed it last.
        direction: which way it went from ``before``.
        restarted: the change came with a restart, so giving it back does too.
        proven: the verdict on the act was healed. A setting that was raised and proved itself is no loss: it stays.
    """

    before: str | None
    after: str | None
    act: ActId
    direction: Move | None = None
    restarted: bool = False
    proven: bool = False

    @property
    def is_owed(self) -> bool:
        """True when recovery gives it back."""
        return self.direction is not Move.UP or not self.proven


@dataclass(frozen=True, slots=True)
class Awaited:
    """The rung that waits for a person's word, and who asks for it since when."""

    told: str
    signals: tuple[str, ...]
    asked_at: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rung that would have been taken, had automation been switched on.

    Attributes:
        told: the whole rung.
        signals: what asked for it.
        at: when.
        severities: of each signal that fired then.
        after: what the alerts did next, None while that is not known; ``after_seconds`` how long that took.
    """

    told: str
    signals: tuple[str, ...]
    at: float
    severities: Mapping[str, Severity] = field(default_factory=dict)
    after: After | None = None
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ActRecord:
    """One act of an incident: intent, outcome, verdicts.

    Attributes:
        signals: the signals that asked for it.
        told, changes, expected, restarts, by_hand, backup, until: as in ``ActIntended``.
        changed: true when it changed a setting, false while that is not known.
        wish, let_go: the person's wish that it took up, and the signals that had asked for it when a person let it go:
            where it was found not done, that word still holds.
        past: it treated an illness that is over: what it used may be used again, and it is not measured any more.
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
    told: str = ""
    changes: Raws = field(default_factory=dict)
    expected: Raws = field(default_factory=dict)
    restarts: bool = False
    by_hand: bool = False
    backup: str = ""
    until: float | None = None
    changed: bool = False
    past: bool = False
    wish: ByHand | None = None
    let_go: tuple[str, ...] | None = None

    @property
    def is_treatment(self) -> bool:
        """True for actions that change the server."""
        return self.action in TREATMENTS

    @property
    def is_recovery(self) -> bool:
        """True for a stage of the way back, given or taken back."""
        return self.action in RECOVERY

    @property
    def rung(self) -> str:
        """The whole rung by name: ``restart``, ``apply_profile high_load``."""
        return self.told or self.action

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
        denied: (rung, reason) that were recorded.
        awaited: the rung that waits for a person's word.
        approved: rungs that a person let go and that were not taken yet, with the signals that had asked for them.
        refused: rungs that a person forbade, with the signals that had asked for them.
        stale_since: since when acts are refused because nobody knows how the server is doing now.
        suggestions: what would have been done, oldest first.
        advised: the advice that was given instead of calling people, "" for none.
        before: the last value of each signal before treatment, from the evidence's ``findings["signals"]``.
        healed_at: when the verdict HEALED was first given and not taken back since.
        manual: a person's wish opened it, not an alert.
        asked: what a person asked for and that has not begun; ``asked_seconds`` and ``asked_backup`` belong to it.
        moved: the settings that still stand as treatment set them, in this incident or an earlier one.
        kept: settings that a person changed in between, left alone by the recovery.
        directions: the way in which each setting went in this incident: it may not go the other way.
        escalated_for: the signals for which people were called.
        recovering_since: when health was measured and the way back began; None before, or when a treatment ended it.
        recovery_by_hand: a person asked for that.
        entries: numbers of the journal entries that opened or changed it (the newest 1,000).
    """

    id: IncidentId
    number: int
    server: str
    opened_at: float
    signals: Mapping[SignalName, SignalState] = field(default_factory=dict)
    acts: tuple[ActRecord, ...] = ()
    denied: frozenset[tuple[str, Denied]] = frozenset()
    awaited: Awaited | None = None
    approved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stale_since: float | None = None
    suggestions: tuple[Suggestion, ...] = ()
    advised: str = ""
    manual: bool = False
    asked: ByHand | None = None
    asked_seconds: float = 0.0
    asked_backup: str = ""
    moved: Mapping[str, Moved] = field(default_factory=dict)
    kept: Raws = field(default_factory=dict)
    directions: Mapping[str, Move] = field(default_factory=dict)
    recovering_since: float | None = None
    recovery_by_hand: bool = False
    before: Mapping[str, float] = field(default_factory=dict)
    healed_at: float | None = None
    escalated_at: float | None = None
    escalation: EscalationReason | None = None
    escalation_detail: str = ""
    escalated_for: frozenset[str] = frozenset()
    closed_at: float | None = None
    closing: Closing | None = None
    entries: tuple[int, ...] = ()

    @property
    def state(self) -> IncidentState:
        """Where it stands."""
        if self.closed_at is not None:
            return IncidentState.CLOSED
        if self.escalated_at is not None:
            return IncidentState.ESCALATED
        if self.is_recovering:
            return IncidentState.RECOVERING
        if self.unfinished is not None:
            return IncidentState.ACTING
        if self.awaited is not None and self.firing:
            return IncidentState.AWAITING_APPROVAL
        observed = self.observed
        if observed is not None and observed.verdict in {None, Verdict.HEALED}:
            return IncidentState.OBSERVING
        return IncidentState.WAITING

    @property
    def firing(self) -> tuple[SignalState, ...]:
        """The signals that fire now, in the order of treatment."""
        return tuple(signal for signal in self.signals.values() if signal.firing)

    @property
    def quiet_since(self) -> float | None:
        """Since when nothing fires, None while something does."""
        if self.firing:
            return None
        return max((signal.last_change_at for signal in self.signals.values()), default=self.opened_at)

    @property
    def is_recovering(self) -> bool:
        """True from the beginning of the way back until it is closed, or a stage was taken back."""
        since = self.recovering_since
        taken_back = (act.intended_at for act in self.acts if act.action == "take_back")
        return since is not None and not any(at >= since for at in taken_back)

    @property
    def unfinished(self) -> ActRecord | None:
        """The newest act without an outcome."""
        return next((act for act in reversed(self.acts) if act.outcome is None), None)

    @property
    def last_treatment(self) -> ActRecord | None:
        """The newest treatment, except those of the past and those that were found not to have taken place."""
        return next((act for act in self._newest_first if act.is_treatment and act.outcome != Outcome.NOT_DONE), None)

    @property
    def _newest_first(self) -> Iterator[ActRecord]:
        return (act for act in reversed(self.acts) if not act.past)

    @property
    def observed(self) -> ActRecord | None:
        """The last treatment when it is one that a verdict belongs to."""
        last = self.last_treatment
        return last if last is not None and last.needs_verdict else None
