"""What to do next about one incident: a pure function of the incident, its server, the settings, the ledger, now.

The engine carries a step out, journals it and asks again. It must choose a step and journal the intent of an ``Act``
under one lock over all servers, or two servers could spend the same place of a budget.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Final

from fleet.inventory import Ladder, ReceiverSettings, Rung, Server
from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity, SignalName
from receiver import recovery
from receiver.effects import Effect, Surroundings, effect_of, wanted
from receiver.events import ByHand, Denied, EscalationReason, Verdict
from receiver.guards import Asked, Refusal, refuses, was_tried
from receiver.health import quiet_since
from receiver.incident import ActRecord, Incident, SignalState
from receiver.ladder import merged_ladder
from receiver.ledger import Ledger
from receiver.moves import Move, move
from receiver.recovery import StageDue
from receiver.steps import Act, ConfirmHealth, Deny, Escalate, Measure, Step, VerifyAct, Wait
from receiver.verdict import ILL, MIN_SCRAPES

_UNGUARDED: Final = frozenset({"evidence"})
"""Actions that change nothing and ask no guard. Whatever is not named here is guarded, unknown actions too."""

_PASSED_OVER: Final = frozenset({Denied.ALREADY_TRIED, Denied.NO_EFFECT, Denied.NO_RESTART_METHOD, Denied.SEVERITY})
"""Refusals after which the next rung is looked at; the others are waited for."""

EMERGENCY: Final = Rung("apply_profile", profile="emergency")

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
    around: Surroundings,
    scrape_seconds: float = 15.0,
    lag_seconds: float = 2.0,
) -> Step:
    """The next step of an open incident. See ``Pace`` for ``scrape_seconds`` and ``lag_seconds``."""
    return _Case(incident, server, settings, ledger, now, Pace(scrape_seconds, lag_seconds), around).next_step()


def refuses_by_hand(
    action: ByHand,
    incident: Incident,
    server: Server,
    *,
    settings: ReceiverSettings,
    ledger: Ledger,
    now: float,
    around: Surroundings,
) -> Refusal | None:
    """Why a person's wish is refused, None when it may begin. ``incident`` is the open one, or what would be opened."""
    if incident.asked is not None:
        return Refusal(Denied.UNDER_WAY)
    case = _Case(incident, server, settings, ledger, now, Pace(), around)
    return refuses(case.by_hand_asked() if action is ByHand.EMERGENCY else case.recovery_asked(by_hand=True))


@dataclass(frozen=True, slots=True)
class _Case:
    """One incident with all that its next step depends on."""

    incident: Incident
    server: Server
    settings: ReceiverSettings
    ledger: Ledger
    now: float
    pace: Pace
    around: Surroundings

    def next_step(self) -> Step:
        if self.incident.unfinished is not None:
            return VerifyAct(self.incident.unfinished)
        if self.incident.asked is ByHand.EMERGENCY:
            return self._by_hand()
        if self.incident.escalated_at is not None:
            return self._quiet() or Wait(None, "people were called; nothing more is done to the server")
        act = self.incident.observed
        back = self._way_back()
        if back is not None:
            return back
        if act is not None and act.verdict is None:
            return self._await_verdict(act)
        quiet = self._quiet()
        if quiet is not None:
            return quiet
        return self._climb() if act is None else self._watch(act)

    # A person's wish

    def by_hand_asked(self) -> Asked:
        """The emergency that a person asks for, as guards see it."""
        effect = effect_of(EMERGENCY, self.server, self.around, (), {})
        return self._asked(EMERGENCY, (), effect, by_hand=True)

    def _by_hand(self) -> Step:
        asked = self.by_hand_asked()
        refusal = refuses(asked)
        effect = effect_of(EMERGENCY, self.server, self.around, (), {})
        if refusal is not None or effect is None:
            reason = Denied.NO_EFFECT if refusal is None else refusal.reason
            return Deny(asked.action, reason, told=asked.rung, by_hand=True)
        return Act(asked.action, (), told=asked.rung, changes=effect.changes, restarts=effect.restarts, by_hand=True)

    # The way back

    def recovery_asked(self, *, by_hand: bool, told: str = "") -> Asked:
        """A stage of the way back, or the whole of it, as guards see it."""
        return Asked(
            "recover", (), self.incident, self.server, self.settings.limits, self.ledger, self.now,
            told=told, has_effect=bool(recovery.due(self.incident)), by_hand=by_hand,
        )  # fmt: skip

    def _way_back(self) -> Step | None:
        """A stage to take back or to give back now; None when there is none, or its verdict is awaited."""
        last = self.incident.last_treatment
        if last is not None and recovery.hurts(last):
            return self._take_back(last, "it hurt")
        if last is not None and last.action == "take_back" and last.outcome is Outcome.FAILED:
            return Escalate(EscalationReason.ACT_FAILED, f"{last.rung} failed: {last.detail}")
        judged = last is None or not last.needs_verdict or last.verdict is not None
        stage = recovery.next_stage(self.incident)
        if stage is None or not judged or self.incident.firing:
            return None
        return self._give_back(stage)

    def _give_back(self, stage: StageDue) -> Step | None:
        by_hand = self.incident.recovery_by_hand
        refusal = refuses(self.recovery_asked(by_hand=by_hand, told=stage.told))
        if refusal is None:
            restarts = stage.restarts and self.server.restart is not None
            return Act(
                "recover", (), told=stage.told, changes=stage.changes, expected=stage.expected, restarts=restarts,
                by_hand=by_hand,
            )  # fmt: skip
        if (stage.told, refusal.reason) not in self.incident.denied:
            return Deny("recover", refusal.reason, refusal.retry_at, told=stage.told)
        return None if refusal.reason is Denied.SUGGEST else self._wait_for(refusal, stage.told)

    def _take_back(self, act: ActRecord, why: str) -> Step:
        """Set again what a stage gave back. No guard is asked: it restores what was measured healthy."""
        told = f"take_back {act.told.removeprefix('recover ')}"
        attempts = [each for each in self.incident.acts if each.told == told and each.intended_at >= act.intended_at]
        if len(attempts) >= recovery.MAX_ATTEMPTS:
            return Escalate(EscalationReason.ACT_FAILED, f"{told} could not be done, and {why}")
        return Act("take_back", (), told=told, changes=act.expected, expected=act.changes, restarts=act.restarts)

    # Verdicts

    def _await_verdict(self, act: ActRecord) -> Step:
        """A treatment without a final verdict: measure until there is one, whatever the alerts say meanwhile."""
        ended_at = _ended_at(act)
        first = ended_at + max(self.settings.limits.verdict_delay_seconds, self.pace.window_seconds)
        due = first if act.measured_at is None else self._again_at(act, act.measured_at)
        if self.now >= due:
            return Measure(act, ended_at)
        if self._is_inconclusive_for_long(act):
            return self._unmeasured(act, due)
        return Wait(due, f"the verdict on {act.rung}")

    def _unmeasured(self, act: ActRecord, due: float) -> Step:
        """Nobody could say for long whether the act helped: people are called where it matters, else it is waited."""
        critical = any(signal.severity == Severity.CRITICAL for signal in self.incident.firing)
        if critical and act.action == "recover":
            return self._take_back(act, "whether it hurt could not be measured")
        # A restart was done for something critical, even where the warning was delivered first and opened the incident.
        opened = act.restarts or any(
            signal.opened_with == Severity.CRITICAL for signal in self.incident.signals.values()
        )
        if critical or (opened and not self.incident.manual and not act.is_recovery):
            return self._escalate_inconclusive(act)
        quiet = self._quiet()
        if quiet is None or isinstance(quiet, Wait):
            until = due if quiet is None or quiet.until is None else min(due, quiet.until)
            return Wait(until, f"the verdict on {act.rung}, which cannot be measured now")
        return quiet

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
        detail = f"whether {act.rung} helped could not be measured for {seconds:g} s"
        return Escalate(EscalationReason.INCONCLUSIVE, detail)

    def _quiet(self) -> Step | None:
        """While nothing fires: wait for the end of the healthy period, then have health confirmed."""
        since = quiet_since(self.incident)
        if since is None:
            return None
        asked = self.incident.asked is ByHand.RECOVER  # a person needs a measurement, and no period before it
        healthy = 0.0 if asked else self.settings.limits.healthy_seconds
        due = since + max(healthy, self.pace.window_seconds)
        act = self.incident.observed
        if act is not None and act.measured_at is not None and act.measured_at > since:
            due = max(due, act.measured_at + self.pace.scrape_seconds)
        if self.now < due:
            return Wait(due, "nothing fires; the healthy period")
        return ConfirmHealth(act, since)

    def _climb(self) -> Step:
        """The next rung of the merged ladder, or why there is none now."""
        asking = self._asking()
        named = Counter[Rung]()
        for rung in merged_ladder([signal.name for signal in asking], self.settings.ladders):
            named[rung] += 1
            signals = tuple(signal for signal in asking if rung in self._ladder(signal))
            if rung.action == "escalate":
                if any(signal.severity == Severity.CRITICAL for signal in signals):
                    return self._call_people()
            elif rung.action in _UNGUARDED:
                if not was_tried(self.incident, rung.action):
                    return Act(rung.action, _names(signals))
            else:
                step = self._treat(rung, signals, named[rung])
                if step is not None:
                    return step
        return Wait(None, "no rung is left for what fires" if asking else "no signal asks for more")

    def _treat(self, rung: Rung, signals: tuple[SignalState, ...], times: int) -> Step | None:
        """Give the treatment, or say why not; None when the next rung should be looked at."""
        effect = effect_of(rung, self.server, self.around, _names(signals), self._allowed(signals))
        asked = self._asked(rung, signals, effect, times=times)
        refusal = refuses(asked)
        if refusal is None and effect is not None:
            told, names = asked.rung, _names(signals)
            return Act(rung.action, names, told=told, changes=effect.changes, restarts=effect.restarts)
        refusal = refusal or Refusal(Denied.NO_EFFECT)
        if (asked.rung, refusal.reason) not in self.incident.denied:
            return Deny(rung.action, refusal.reason, refusal.retry_at, told=asked.rung)
        if refusal.reason in _PASSED_OVER:
            return None
        if refusal.reason == Denied.SERVER_BUDGET:
            if not any(signal.severity == Severity.CRITICAL for signal in signals):
                return self._wait_for(refusal, asked.rung)
            limit = self.settings.limits.actions
            detail = f"{asked.rung} is needed, but {limit.count} treatments in {limit.per_seconds:g} s were given"
            return Escalate(EscalationReason.SERVER_BUDGET, f"{detail} already")
        return self._wait_for(refusal, asked.rung)

    def _asked(
        self,
        rung: Rung,
        signals: tuple[SignalState, ...],
        effect: Effect | None,
        *,
        times: int = 1,
        by_hand: bool = False,
    ) -> Asked:
        return Asked(
            rung.action,
            signals,
            self.incident,
            self.server,
            self.settings.limits,
            self.ledger,
            self.now,
            told=str(rung),
            times=times,
            restarts=effect is not None and effect.restarts,
            changes=effect is not None and bool(effect.changes),
            has_effect=effect is not None,
            by_hand=by_hand,
        )

    def _allowed(self, signals: tuple[SignalState, ...]) -> dict[str, Move]:
        """The direction that a setting may go: as it went in this incident, and as no higher signal forbids."""
        allowed: dict[str, Move] = {}
        for signal in self._asking():
            if signal in signals:
                break
            for rung in self._ladder(signal):
                for name, raw in wanted(rung).items():
                    way = move(name, (self.around.settings or {}).get(name), raw)
                    if way is not None:
                        allowed.setdefault(name, way)
        return allowed | dict(self.incident.directions)

    def _wait_for(self, refusal: Refusal, what: str) -> Wait:
        until = refusal.retry_at
        if refusal.reason == Denied.CONCURRENT_TREATMENTS:
            until = self.now + self.pace.scrape_seconds  # another server's end is not in this incident's entries
        return Wait(until, f"{what} is refused: {refusal.reason}")

    def _call_people(self) -> Escalate:
        last = self.incident.last_treatment
        if last is not None and last.outcome == Outcome.FAILED:
            return Escalate(EscalationReason.ACT_FAILED, f"{last.rung} failed: {last.detail}")
        if last is not None and last.verdict in ILL:
            return Escalate(EscalationReason.LADDER_EXHAUSTED, f"{last.rung} did not help: {last.verdict}")
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
            and (act is None or act.judged.get(signal.name) in ILL)
        )

    def _ladder(self, signal: SignalState) -> Ladder:
        return self.settings.ladders.get(signal.name, ())


def _names(signals: tuple[SignalState, ...]) -> tuple[str, ...]:
    return tuple(signal.name.value for signal in signals)


def _ended_at(act: ActRecord) -> float:
    return act.intended_at if act.ended_at is None else act.ended_at


def _judged_at(act: ActRecord) -> float:
    return _ended_at(act) if act.verdict_at is None else act.verdict_at
