"""What to do next about one incident: a pure function of the incident, its server, the settings, the ledger, now.

The engine carries a step out, journals it and asks again. It must choose a step and journal the intent of an ``Act``
under one lock over all servers, or two servers could spend the same place of a budget.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.inventory import ReceiverSettings, Server
from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity
from receiver import illness, recovery, suggestions
from receiver.by_hand import Wish, effect_by_hand, wish_of
from receiver.case import Case, Pace
from receiver.climb import climb, wait_for
from receiver.effects import Surroundings
from receiver.events import IllnessEnded
from receiver.guards import Refusal, refuses
from receiver.health import quiet_since
from receiver.incident import ActRecord, Incident
from receiver.ledger import Ledger
from receiver.recovery import StageDue
from receiver.steps import Act, ConfirmHealth, Deny, Escalate, Measure, Note, Step, VerifyAct, Wait
from receiver.vocabulary import ByHand, Denied, EscalationReason, Verdict


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
    """The next step of an open incident. See ``receiver.case.Pace`` for ``scrape_seconds`` and ``lag_seconds``."""
    case = Case(incident, server, settings, ledger, now, Pace(scrape_seconds, lag_seconds), around)
    return _Decision(case).next_step()


def refuses_by_hand(
    wish: Wish,
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
    case = Case(incident, server, settings, ledger, now, Pace(), around)
    if wish.action is ByHand.RECOVER:
        return refuses(case.recovery_asked(by_hand=True))
    return refuses(case.asked(wish.rung, (), effect_by_hand(wish, server, around, now), by_hand=True))


@dataclass(frozen=True, slots=True)
class _Decision:
    """What one case leads to."""

    case: Case

    @property
    def incident(self) -> Incident:
        return self.case.incident

    @property
    def now(self) -> float:
        return self.case.now

    def next_step(self) -> Step:
        if self.incident.unfinished is not None:
            return VerifyAct(self.incident.unfinished)
        noted = self._noted()
        if noted is not None:
            return noted
        step = self._decided()
        return self._no_later_than_notes(step) if isinstance(step, Wait) else step

    def _decided(self) -> Step:
        wish = wish_of(self.incident)
        if wish is not None:
            return self._by_hand(wish)
        if self.incident.escalated_at is not None:
            return self._called()
        act = self.incident.observed
        back = self._way_back()
        if back is not None:
            return back
        if act is not None and act.verdict is None:
            return self._await_verdict(act)
        quiet = self._quiet()
        if quiet is not None:
            return quiet
        return climb(self.case) if act is None else self._watch(act)

    # What is noted as it becomes known

    def _noted(self) -> Note | None:
        limits = self.case.limits
        scored = suggestions.score(self.incident, self.now, limits.verdict_timeout_seconds)
        if scored is not None:
            return Note(scored)
        over = illness.over(self.incident, self.now, limits.healthy_seconds)
        if not over:
            return None
        return Note(IllnessEnded(incident=self.incident.id, server=self.incident.server, signals=list(over)))

    def _no_later_than_notes(self, wait: Wait) -> Wait:
        limits = self.case.limits
        ends = (
            wait.until,
            suggestions.score_at(self.incident, self.now, limits.verdict_timeout_seconds),
            illness.over_at(self.incident, self.now, limits.healthy_seconds),
        )
        return replace(wait, until=min((end for end in ends if end is not None), default=None))

    def _called(self) -> Step:
        """People were called; what they did is measured once it looks well, even while something lesser fires."""
        quiet = self._quiet()
        if quiet is not None:
            return quiet
        act, healthy = self.incident.observed, self.case.limits.healthy_seconds
        quiet_at = illness.to_measure_at(self.incident, healthy)
        if act is None or quiet_at is None:
            return Wait(None, "people were called; nothing more is done to the server")
        due = max(quiet_at, (act.measured_at or 0.0) + healthy)
        if self.now >= due:
            return Measure(act, self.now - max(healthy, self.case.pace.window_seconds))
        return Wait(due, "people were called; it is measured again then")

    # A person's wish

    def _by_hand(self, wish: Wish) -> Step:
        effect = effect_by_hand(wish, self.case.server, self.case.around, self.now)
        asked = self.case.asked(wish.rung, (), effect, by_hand=True)
        refusal = refuses(asked)
        if refusal is not None or effect is None:
            reason = Denied.NO_EFFECT if refusal is None else refusal.reason
            return Deny(asked.action, reason, told=wish.told, by_hand=True)
        return Act(
            asked.action, (), told=wish.told, changes=effect.changes, expected=effect.expected,
            restarts=effect.restarts, by_hand=True, backup=effect.backup, until=effect.until,
        )  # fmt: skip

    # The way back

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
        refusal = refuses(self.case.recovery_asked(by_hand=by_hand, told=stage.told))
        if refusal is None:
            restarts = stage.restarts and self.case.server.restart is not None
            return Act(
                "recover", (), told=stage.told, changes=stage.changes, expected=stage.expected, restarts=restarts,
                by_hand=by_hand,
            )  # fmt: skip
        if (stage.told, refusal.reason) not in self.incident.denied:
            return Deny("recover", refusal.reason, refusal.retry_at, told=stage.told)
        return None if refusal.reason is Denied.SUGGEST else wait_for(self.case, refusal, stage.told)

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
        first = ended_at + max(self.case.limits.verdict_delay_seconds, self.case.pace.window_seconds)
        due = first if act.measured_at is None else self._again_at(act, act.measured_at)
        if self.now >= due:
            return Measure(act, ended_at)
        if self._is_inconclusive_for_long(act):
            return self._unmeasured(act, due)
        return Wait(due, f"the verdict on {act.rung}")

    def _unmeasured(self, act: ActRecord, due: float) -> Step:
        """Nobody could say for long whether the act helped: people are called where it matters, else it is waited."""
        critical = self.case.is_critical
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
        anew = climb(self.case) if any(map(self.case.is_new, self.case.asking())) else None
        if anew is not None and not isinstance(anew, Wait):
            return anew
        judged_at = _judged_at(act)
        period = max(self.case.limits.healthy_seconds, self.case.pace.window_seconds)
        due = judged_at + (self.case.pace.window_seconds if self._has_news(act, judged_at) else period)
        if act.measured_at is not None and act.measured_at > judged_at:
            due = max(due, self._again_at(act, act.measured_at))
        if self.now >= due:
            first_asked = self.now if act.inconclusive_since is None else act.inconclusive_since
            return Measure(act, max(judged_at, first_asked - period))
        critical = self.case.is_critical
        if critical and self._is_inconclusive_for_long(act):
            return self._escalate_inconclusive(act)
        step = climb(self.case)
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
            max(self.case.limits.healthy_seconds, self.case.pace.scrape_seconds)
            if patient
            else self.case.pace.scrape_seconds
        )

    def _is_inconclusive_for_long(self, act: ActRecord) -> bool:
        since = act.inconclusive_since
        return since is not None and self.now - since >= self.case.limits.verdict_timeout_seconds

    def _escalate_inconclusive(self, act: ActRecord) -> Escalate:
        seconds = self.case.limits.verdict_timeout_seconds
        detail = f"whether {act.rung} helped could not be measured for {seconds:g} s"
        return Escalate(EscalationReason.INCONCLUSIVE, detail)

    def _quiet(self) -> Step | None:
        """While nothing fires: wait for the end of the healthy period, then have health confirmed."""
        since = quiet_since(self.incident)
        if since is None:
            return None
        asked = self.incident.asked is ByHand.RECOVER  # a person needs a measurement, and no period before it
        healthy = 0.0 if asked else self.case.limits.healthy_seconds
        due = since + max(healthy, self.case.pace.window_seconds)
        act = self.incident.observed
        if act is not None and act.measured_at is not None and act.measured_at > since:
            due = max(due, act.measured_at + self.case.pace.scrape_seconds)
        if self.now < due:
            return Wait(due, "nothing fires; the healthy period")
        return ConfirmHealth(act, since)


def _ended_at(act: ActRecord) -> float:
    return act.intended_at if act.ended_at is None else act.ended_at


def _judged_at(act: ActRecord) -> float:
    return _ended_at(act) if act.verdict_at is None else act.verdict_at
