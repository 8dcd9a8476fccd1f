"""What to do next about one incident: a pure function of the incident, its server, the settings, the ledger, now.

The engine carries a step out, journals it and asks again. It must choose a step and journal the intent of an ``Act``
under one lock over all servers, or two servers could spend the same place of a budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.inventory import Ladder, Limits, ReceiverSettings, Server
from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity, SignalName
from receiver.book import Ledger
from receiver.events import (
    Closed,
    Closing,
    Denied,
    EscalationReason,
    Inconclusive,
    Judgement,
    Verdict,
    VerdictGiven,
)
from receiver.guards import Asked, refuses, was_tried
from receiver.incident import ActRecord, Incident, SignalState
from receiver.verdict import MIN_SCRAPES, overall


@dataclass(frozen=True, slots=True)
class Act:
    """Journal the intent, carry ``action`` out, journal the outcome. ``signals`` asked for it."""

    action: str
    signals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """Journal ``ActDenied`` (once for each action and reason), then ask again."""

    action: str
    reason: Denied
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class VerifyAct:
    """An intent without outcome: find out what became of it and journal the outcome. Never repeat it."""

    act: ActRecord


@dataclass(frozen=True, slots=True)
class Measure:
    """Judge every signal of the incident over the time since ``since``, then journal ``verdict_given(...)``."""

    act: ActRecord
    since: float


@dataclass(frozen=True, slots=True)
class Escalate:
    """Journal ``Escalated``."""

    reason: EscalationReason
    detail: str


@dataclass(frozen=True, slots=True)
class ConfirmHealth:
    """Judge every signal over the time since ``since`` and ask Prometheus whether an alert of the server fires; journal
    what ``confirmed(...)`` returns, or wait ``repeat_seconds`` when it returns None. ``act`` is the last treatment.
    """

    act: ActRecord | None
    since: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until`` (None: before the journal says something new). ``why`` is for logs and people."""

    until: float | None
    why: str


Step = Act | Deny | VerifyAct | Measure | Escalate | ConfirmHealth | Wait

_RANK: Final = {"evidence": 0, "restart": 1, "escalate": 2}
_NOT_BUILT: Final = frozenset({"reset_cache", "set_config", "apply_profile", "end_sessions"})
_UNGUARDED: Final = frozenset({"evidence"})
"""Actions that change nothing and ask no guard. Whatever is not named here is guarded, unknown actions too."""

_ILL: Final = frozenset({Verdict.NOT_HEALED, Verdict.WORSE})
_WINDOW_MARGIN: Final = 0.05
"""Seconds. Windows are floored to whole seconds: one that is short by a rounding error would cost a scrape more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast measurements can follow each other.

    ``scrape_seconds``: the scrape interval. ``lag_seconds``: after an act, until a scrape shows nothing from before.
    """

    scrape_seconds: float = 15.0
    lag_seconds: float = 2.0

    @property
    def window_seconds(self) -> float:
        """The shortest time after which a measurement can say something."""
        return math.ceil(MIN_SCRAPES * self.scrape_seconds) + self.lag_seconds + _WINDOW_MARGIN


def next_step(
    incident: Incident,
    server: Server,
    settings: ReceiverSettings,
    ledger: Ledger,
    now: float,
    *,
    scrape_seconds: float = 15.0,
    lag_seconds: float = 2.0,
) -> Step:
    """The next step of an open incident. See ``Pace`` for ``scrape_seconds`` and ``lag_seconds``."""
    return _Case(incident, server, settings, ledger, now, Pace(scrape_seconds, lag_seconds)).next_step()


def verdict_given(incident: Incident, act: ActRecord, judgements: Sequence[Judgement]) -> VerdictGiven:
    """The event of a measurement; final unless inconclusive."""
    verdict = overall(judgements)
    return VerdictGiven(
        incident=incident.id,
        server=incident.server,
        act=act.act,
        action=act.action,
        verdict=verdict,
        judgements=list(judgements),
        final=verdict != Verdict.INCONCLUSIVE,
    )


def confirmed(
    incident: Incident,
    judgements: Sequence[Judgement],
    alert_fires: bool | None,
    limits: Limits,
    now: float,
) -> Closed | VerdictGiven | None:
    """The event that a ``ConfirmHealth`` leads to, None to ask again later.

    ``alert_fires``: whether Prometheus has a firing alert of the server with a signal; None when it could not be
    asked, and then nothing is ever closed. Only a measured health after a measured verdict closes as HEALED.
    """
    quiet_since = _quiet_since(incident)
    unasked = any(judgement.reason == Inconclusive.ERROR for judgement in judgements)
    if alert_fires is not False or unasked or quiet_since is None or incident.unfinished is not None:
        return None
    act = incident.observed
    helped = act is not None and act.verdict == Verdict.HEALED
    if any(judgement.verdict in _ILL or judgement.reason == Inconclusive.UNCONFIRMED for judgement in judgements):
        return verdict_given(incident, act, judgements) if act is not None and helped else None
    if overall(judgements) == Verdict.HEALED:
        return _closed(incident, Closing.HEALED if helped else Closing.RESOLVED)
    # The alerts ended and nothing contradicts them, but there is too little traffic to measure. What was measured
    # healed gets time to be measured again; the rest ends as its alerts did, and nobody says it was healed.
    patience = limits.healthy_seconds + (limits.verdict_timeout_seconds if helped else 0.0)
    return _closed(incident, Closing.RESOLVED) if now >= quiet_since + patience else None


@dataclass(frozen=True, slots=True)
class _Case:
    """One incident with all that its next step depends on."""

    incident: Incident
    server: Server
    settings: ReceiverSettings
    ledger: Ledger
    now: float
    pace: Pace

    def next_step(self) -> Step:
        if self.incident.unfinished is not None:
            return VerifyAct(self.incident.unfinished)
        if self.incident.escalated_at is not None:
            return self._quiet() or Wait(None, "people were called; nothing more is done to the server")
        act = self.incident.observed
        if act is not None and act.verdict is None:
            return self._await_verdict(act)
        quiet = self._quiet()
        if quiet is not None:
            return quiet
        return self._climb() if act is None else self._watch(act)

    def _await_verdict(self, act: ActRecord) -> Step:
        """A treatment without a final verdict: measure until there is one, whatever the alerts say meanwhile."""
        ended_at = _ended_at(act)
        first = ended_at + max(self.settings.limits.verdict_delay_seconds, self.pace.window_seconds)
        due = first if act.measured_at is None else self._again_at(act, act.measured_at)
        if self.now >= due:
            return Measure(act, ended_at)
        if self._is_inconclusive_for_long(act):
            return self._escalate_inconclusive(act)
        return Wait(due, f"the verdict on {act.action}")

    def _watch(self, act: ActRecord) -> Step:
        """A treatment with a verdict, and alerts fire: leftovers of the time before, or a relapse; measure which."""
        judged_at = _judged_at(act)
        period = max(self.settings.limits.healthy_seconds, self.pace.window_seconds)
        due = judged_at + (self.pace.window_seconds if self._has_news(act, judged_at) else period)
        if act.measured_at is not None and act.measured_at > judged_at:
            due = max(due, self._again_at(act, act.measured_at))
        if self.now >= due:
            first_asked = self.now if act.inconclusive_since is None else act.inconclusive_since
            return Measure(act, max(judged_at, first_asked - period))
        critical = any(signal.severity == Severity.CRITICAL for signal in self.incident.firing)
        if critical and self._is_inconclusive_for_long(act):
            return self._escalate_inconclusive(act)
        step = self._climb()
        if isinstance(step, Wait):
            until = due if step.until is None else min(due, step.until)
            return Wait(until, f"{step.why}; measured again then")
        return step

    def _has_news(self, act: ActRecord, judged_at: float) -> bool:
        """True when a signal fires that the verdict did not speak of, or anew since it was called healed."""
        return any(
            signal.name not in act.judged or (act.judged[signal.name] == Verdict.HEALED and signal.fired_at > judged_at)
            for signal in self.incident.firing
        )

    def _again_at(self, act: ActRecord, measured_at: float) -> float:
        patient = self._is_inconclusive_for_long(act)
        return measured_at + (
            max(self.settings.limits.healthy_seconds, self.pace.scrape_seconds) if patient else self.pace.scrape_seconds
        )

    def _is_inconclusive_for_long(self, act: ActRecord) -> bool:
        since = act.inconclusive_since
        return since is not None and self.now - since >= self.settings.limits.verdict_timeout_seconds

    def _escalate_inconclusive(self, act: ActRecord) -> Escalate:
        seconds = self.settings.limits.verdict_timeout_seconds
        detail = f"whether {act.action} helped could not be measured for {seconds:g} s"
        return Escalate(EscalationReason.INCONCLUSIVE, detail)

    def _quiet(self) -> Step | None:
        """While nothing fires: wait for the end of the healthy period, then have health confirmed."""
        since = _quiet_since(self.incident)
        if since is None:
            return None
        due = since + max(self.settings.limits.healthy_seconds, self.pace.window_seconds)
        act = self.incident.observed
        if act is not None and act.measured_at is not None and act.measured_at > since:
            due = max(due, act.measured_at + self.pace.scrape_seconds)
        if self.now < due:
            return Wait(due, "nothing fires; the healthy period")
        return ConfirmHealth(act, since)

    def _climb(self) -> Step:
        """The next rung of the merged ladder, or why there is none now."""
        asking = self._asking()
        for rung in merged_ladder(asking, self.settings.ladders):
            named = tuple(signal for signal in asking if rung in self._ladder(signal))
            action = rung.action
            if action == "escalate":
                if any(signal.severity == Severity.CRITICAL for signal in named):
                    return self._call_people()
            elif action in _UNGUARDED:
                if not was_tried(self.incident, action):
                    return Act(action, _names(named))
            else:
                step = self._treat(action, named)
                if step is not None:
                    return step
        return Wait(None, "no rung is left for what fires" if asking else "no signal asks for more")

    def _treat(self, action: str, signals: tuple[SignalState, ...]) -> Step | None:
        """Give the treatment, or say why not; None when the next rung should be looked at."""
        asked = Asked(action, signals, self.incident, self.server, self.settings.limits, self.ledger, self.now)
        refusal = refuses(asked)
        if refusal is None:
            return Act(action, _names(signals))
        if (action, refusal.reason) not in self.incident.denied:
            return Deny(action, refusal.reason, refusal.retry_at)
        if refusal.reason in {Denied.ALREADY_TRIED, Denied.NO_RESTART_METHOD}:
            return None
        if refusal.reason == Denied.SERVER_BUDGET:
            limit = self.settings.limits.actions
            detail = f"{action} is needed, but {limit.count} treatments in {limit.per_seconds:g} s were given already"
            return Escalate(EscalationReason.SERVER_BUDGET, detail)
        until = refusal.retry_at
        if refusal.reason == Denied.CONCURRENT_TREATMENTS:
            until = self.now + self.pace.scrape_seconds  # another server's end is not in this incident's entries
        return Wait(until, f"{action} is refused: {refusal.reason}")

    def _call_people(self) -> Escalate:
        last = self.incident.last_treatment
        if last is not None and last.outcome == Outcome.FAILED:
            return Escalate(EscalationReason.ACT_FAILED, f"{last.action} failed: {last.detail}")
        if last is not None and last.verdict in _ILL:
            return Escalate(EscalationReason.LADDER_EXHAUSTED, f"{last.action} did not help: {last.verdict}")
        return Escalate(EscalationReason.LADDER_EXHAUSTED, "the ladder has no other rung that may be tried")

    def _asking(self) -> tuple[SignalState, ...]:
        """The signals that want a rung: they fire, and after a treatment they were measured to be still ill.

        A signal that the treatment distorts is never measured ill, so it asks for nothing until it is undone.
        """
        act, firing = self.incident.observed, self.incident.firing
        # A cold or emptied cache is the companion of every other illness; it is looked at when it is alone.
        alone = all(signal.name == SignalName.CACHE_HIT_RATIO for signal in firing)
        return tuple(
            signal
            for signal in firing
            if (alone or signal.name != SignalName.CACHE_HIT_RATIO)
            and (act is None or act.judged.get(signal.name) in _ILL)
        )

    def _ladder(self, signal: SignalState) -> Ladder:
        return self.settings.ladders.get(signal.name, ())


def merged_ladder(signals: Sequence[SignalState], ladders: Mapping[str, Ladder]) -> Ladder:
    """The rungs of all these signals, each once: cheapest first, then in the order of the signals.

    A rung whose action is not built here yet is passed over.
    """
    named = (rung for signal in signals for rung in ladders.get(signal.name, ()))
    rungs = dict.fromkeys(rung for rung in named if rung.action not in _NOT_BUILT)
    return tuple(sorted(rungs, key=lambda rung: _RANK.get(rung.action, len(_RANK))))


def _names(signals: Sequence[SignalState]) -> tuple[str, ...]:
    return tuple(signal.name.value for signal in signals)


def _closed(incident: Incident, reason: Closing) -> Closed:
    return Closed(incident=incident.id, server=incident.server, reason=reason)


def _quiet_since(incident: Incident) -> float | None:
    """Since when nothing fires, no verdict was given and nobody was called: the start of the healthy period."""
    if incident.quiet_since is None:
        return None
    act = incident.observed
    later = (incident.escalated_at, None if act is None else act.verdict_at)
    return max(incident.quiet_since, *(at for at in later if at is not None), incident.opened_at)


def _ended_at(act: ActRecord) -> float:
    return act.intended_at if act.ended_at is None else act.ended_at


def _judged_at(act: ActRecord) -> float:
    return _ended_at(act) if act.verdict_at is None else act.verdict_at
