"""Carries out what ``receiver.policy`` decides: one serial worker for each server, all of them side by side.

Intent before act, outcome after it. A worker that fails is retried with a back-off and never stops another; while
the journal cannot be written no intent can be, so nothing is treated.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fleet.errors import MedicError
from fleet.lifecycle.outcome import Outcome
from receiver import appointments, surroundings, verify
from receiver.acting import Acting, intended
from receiver.actions.table import ACTIONS
from receiver.events import (
    ActDenied,
    ActEnded,
    ActId,
    ActIntended,
    Delivered,
    Escalated,
    Paused,
    Quarantined,
    Resumed,
    SuggestionScored,
    VerdictGiven,
)
from receiver.health import confirmed, verdict_given
from receiver.journal.store import JournalUnavailable
from receiver.policy import next_step
from receiver.steps import Act, ConfirmHealth, Deny, Escalate, Measure, Note, VerifyAct, Wait
from receiver.verdict import MIN_SCRAPES
from receiver.vocabulary import RECOVERY, TREATMENTS, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fleet.inventory import Server
    from fleet.tasks import Tasks
    from fleet.thresholds import Thresholds
    from receiver.actions.act import Action
    from receiver.chronicle import Chronicle
    from receiver.dossier import Dossier
    from receiver.effects import Surroundings
    from receiver.events import Entry, Event, Judgement
    from receiver.incident import ActRecord, Incident
    from receiver.metrics import Metrics
    from receiver.prometheus import Prometheus
    from receiver.settings import Settings
    from receiver.steps import Step
    from receiver.surroundings import Look

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 30.0
"""Facts that are older than this, and than a few scrapes, are no longer those of now."""

_AT_ONCE = 0.0
_SHORTEST_WAIT = 0.02


class StepWithoutEffectError(MedicError):
    """A step that the incident does not show would be chosen again for ever."""


class Engine:
    """The workers. ``start`` once, ``acting.finish`` before the tasks are stopped. ``now`` gives UNIX seconds."""

    def __init__(
        self,
        settings: Settings,
        chronicle: Chronicle,
        prometheus: Prometheus,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
        *,
        choosing: asyncio.Lock | None = None,
        actions: Mapping[str, Action] = ACTIONS,
        look: Look = surroundings.look,
    ) -> None:
        """``choosing`` is held while a step is chosen, and by whoever must not be passed meanwhile."""
        self._settings = settings
        self._servers = settings.fleet.servers
        self._chronicle = chronicle
        self._prometheus = prometheus
        self._metrics = metrics
        self._now = now
        self._wakes = {name: asyncio.Event() for name in map(str, self._servers)}
        self._choosing = choosing or asyncio.Lock()
        self._look = look
        self._looked_at: dict[str, float] = {}
        self._postponed: set[str] = set()
        self._treated: frozenset[str] = chronicle.book.ledger().under_treatment
        self.acting = Acting(settings, prometheus, actions, self._keep_outcome, now)

    def start(self, tasks: Tasks, after: asyncio.Event) -> None:
        """Start a worker for each server; none takes a step before ``after`` is set.

        ``after`` is the first reading of Alertmanager: what the journal believed before a stop may have ended since.
        """
        self._chronicle.subscribe(self._wake)
        for server in self._servers.values():
            tasks.start(f"treat-{server.name}", self._work(server, after))

    def _wake(self, entry: Entry, servers: tuple[str, ...]) -> None:
        if isinstance(entry.event, Delivered):
            for name in servers:
                self._wake_for_alerts(name)
            return
        for name in self._wakes if self._concerns_everyone(entry.event) else servers:
            if name in self._wakes:
                self._wakes[name].set()

    def _wake_for_alerts(self, name: str) -> None:
        """At once, or when the last look is old enough: while alerts pour in, each of them is no reason for a look."""
        loop = asyncio.get_running_loop()
        left = self._looked_at.get(name, -math.inf) + self._settings.timing.look_seconds - loop.time()
        if left <= 0:
            self._wakes[name].set()
        elif name not in self._postponed:
            self._postponed.add(name)
            loop.call_later(left, self._wake_postponed, name)

    def _wake_postponed(self, name: str) -> None:
        self._postponed.discard(name)
        self._wakes[name].set()

    def _concerns_everyone(self, event: Event) -> bool:
        """Whether it gives back what others may be waiting for, or is a person's word.

        Most events do not: with a hundred incidents open, each would let a hundred workers look at their servers.
        """
        if isinstance(event, Delivered | Quarantined):
            return False
        before, self._treated = self._treated, self._chronicle.book.ledger().under_treatment
        undone = isinstance(event, ActEnded) and event.outcome == Outcome.NOT_DONE
        return undone or isinstance(event, Paused | Resumed) or not before <= self._treated

    async def _work(self, server: Server, after: asyncio.Event) -> None:
        await after.wait()
        timing, wake = self._settings.timing, self._wakes[server.name]
        backoff = timing.retry_seconds
        while True:
            wake.clear()
            try:
                pause = await self._advance(server)
            except JournalUnavailable:
                pause = backoff  # the chronicle has said why, and /-/ready says it too
            except Exception:  # one server's fault must not leave the others without their responder
                log.exception("a step failed and is tried again", extra={"server": server.name, "in_seconds": backoff})
                self._metrics.worker_errors.inc()
                pause = backoff
            else:
                backoff = timing.retry_seconds
                await _sleep(wake, self._no_later_than_appointed(server, pause))
                continue
            backoff = min(2 * backoff, timing.retry_longest_seconds)
            await asyncio.sleep(pause)

    async def _advance(self, server: Server) -> float | None:
        """Take one step; the seconds until the next one, None when only a new entry can change anything."""
        if appointments.is_due(self._chronicle.book, server, self._now()):
            await self._keep_appointment(server)
        incident = self._chronicle.book.open_incident(server.name)
        if incident is None:
            return None
        self._looked_at[server.name] = asyncio.get_running_loop().time()
        # Side by side: until all three are known nothing is begun, and seconds of an outage pass.
        scrape_seconds, seen, fresh = await asyncio.gather(
            self._prometheus.scrape_seconds(server.name),
            self._look(server, self._settings.fleet.gateway.control_dir, self._dossier(server).last_good),
            self._is_fresh(server, incident),
        )
        around = replace(seen.with_dossier(self._dossier(server)), fresh=fresh)
        async with self._choosing:
            incident = self._chronicle.book.open_incident(server.name)
            if incident is None:
                return None
            step = self._next_step(incident, server, around, scrape_seconds)
            # Under the same lock as the choice, or two servers could spend the same place of a budget.
            intent = await self._intend(incident, step) if isinstance(step, Act) and not self.acting.stopping else None
        pause = await self._take(step, incident, server, around, intent)
        if pause == _AT_ONCE and self._chronicle.book.open_incident(server.name) is incident:
            raise StepWithoutEffectError(f"{type(step).__name__} left incident {incident.id} as it was")
        return pause

    def _dossier(self, server: Server) -> Dossier:
        return self._chronicle.book.dossier(server.name)

    async def _keep_appointment(self, server: Server) -> None:
        async with self._choosing:
            asked = appointments.due(self._chronicle.book, server, self._settings.fleet.receiver, self._now())
            if asked is not None:
                await self._append(asked)

    def _no_later_than_appointed(self, server: Server, pause: float | None) -> float | None:
        at = appointments.next_at(self._chronicle.book, server)
        if at is None or pause == _AT_ONCE:
            return pause
        # What is due and still stands was not for the moment.
        left = at - self._now()
        seconds = left if left > 0 else self._settings.timing.overdue_seconds
        return seconds if pause is None else min(pause, seconds)

    def _next_step(self, incident: Incident, server: Server, around: Surroundings, scrape_seconds: float) -> Step:
        return next_step(
            incident,
            server,
            self._settings.fleet.receiver,
            self._chronicle.book.ledger(),
            self._now(),
            around=around,
            scrape_seconds=scrape_seconds,
            lag_seconds=self._settings.timing.telemetry_lag_seconds,
        )

    async def _is_fresh(self, server: Server, incident: Incident) -> bool:
        if incident.escalated_at is not None:  # nothing is going to be done that would rest on it
            return True
        within = max(MIN_SCRAPES * self._prometheus.usual_scrape_seconds(server.name), FRESH_SECONDS)
        return await self._prometheus.is_fresh(server.name, within)

    async def _take(
        self, step: Step, incident: Incident, server: Server, around: Surroundings, intent: ActIntended | None
    ) -> float | None:
        levels = around.thresholds(server)
        match step:
            case Act():
                if intent is None:  # stopping: the next start will choose again
                    return None
                await self.acting.perform(server, intent)
            case VerifyAct(act):
                await self.acting.verify(server, intended(incident, act))
            case Measure(act, since):
                given = verdict_given(incident, act, await self._judgements(incident, levels, act, since))
                await self._give(incident, given)
            case ConfirmHealth(act, since):
                judged = await self._judgements(incident, levels, act, since)
                return await self._confirm_health(incident, judged)
            case Deny():
                await self._deny(incident, step)
            case Note(event):
                await self._append(event)
                if isinstance(event, SuggestionScored):
                    self._metrics.suggestions.labels(event.after).inc()
            case Escalate(reason, detail):
                called = Escalated(incident=incident.id, server=server.name, reason=reason, detail=detail)
                await self._append(called)
                self._metrics.escalations.labels(reason).inc()
            case Wait(until):
                return None if until is None else max(_SHORTEST_WAIT, until - self._now())
        return _AT_ONCE

    async def _deny(self, incident: Incident, step: Deny) -> None:
        denied = ActDenied(
            incident=incident.id,
            server=incident.server,
            action=step.action,
            reason=step.reason,
            told=step.told,
            by_hand=step.by_hand,
            signals=list(step.signals),
            detail=step.detail,
        )
        await self._append(denied)
        self._metrics.denied.labels(step.reason).inc()

    async def _intend(self, incident: Incident, step: Act) -> ActIntended:
        intent = ActIntended(
            incident=incident.id,
            server=incident.server,
            act=ActId(str(uuid.uuid4())),
            action=step.action,
            signals=list(step.signals),
            told=step.told,
            changes=step.changes,
            expected=step.expected,
            restarts=step.restarts,
            by_hand=step.by_hand,
            backup=step.backup,
            until=step.until,
        )
        # What a person asked for without an alert was not waited for.
        first = step.action in TREATMENTS - RECOVERY and incident.last_treatment is None and not incident.manual
        await self._append(intent)
        if first:
            self._metrics.time_to_act.observe(max(0.0, self._now() - incident.opened_at))
        return intent

    async def _keep_outcome(self, ended: ActEnded) -> None:
        """Write the outcome, however long the journal takes: what was done must never be done again."""
        timing = self._settings.timing
        backoff = timing.retry_seconds
        while True:
            try:
                await self._append(ended)
            except JournalUnavailable:
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, timing.retry_longest_seconds)
            else:
                break
        self._metrics.actions.labels(ended.server, ended.action, ended.outcome).inc()

    async def _confirm_health(self, incident: Incident, judged: list[Judgement]) -> float | None:
        fires = await verify.alert_fires(self._prometheus, incident)
        found = confirmed(incident, judged, fires, self._settings.fleet.receiver.limits, self._now())
        if found is None:
            return max(1.0, await self._prometheus.scrape_seconds(incident.server))
        if isinstance(found, VerdictGiven):
            await self._give(incident, found)
        else:
            await self._append(found)
        return _AT_ONCE

    async def _judgements(
        self, incident: Incident, thresholds: Thresholds, act: ActRecord | None, since: float
    ) -> list[Judgement]:
        now = self._now()
        # Telemetry of the last moments before ``since`` reaches Prometheus after it; only what is later counts.
        window = now - since - self._settings.timing.telemetry_lag_seconds
        limits = self._settings.fleet.receiver.limits
        return await verify.judgements(
            self._prometheus,
            incident,
            incident.server,
            act,
            window_seconds=window,
            thresholds=thresholds,
            limits=limits,
            at=now,
        )

    async def _give(self, incident: Incident, given: VerdictGiven) -> None:
        await self._append(given)
        for judgement in given.judgements:
            self._metrics.verdicts.labels(judgement.signal, judgement.verdict).inc()
        is_first = given.verdict is Verdict.HEALED and incident.healed_at is None and not incident.manual
        if is_first and given.action not in RECOVERY:
            self._metrics.time_to_heal.observe(max(0.0, self._now() - incident.opened_at))

    async def _append(self, event: Event) -> None:
        await self._chronicle.append(event)
        log.info(type(event).__name__, extra=_fields(event))


def _fields(event: Event) -> dict[str, str]:
    names = ("incident", "server", "action", "told", "outcome", "verdict", "reason", "detail")
    return {name: str(value) for name in names if (value := getattr(event, name, None)) not in {None, ""}}


async def _sleep(wake: asyncio.Event, seconds: float | None) -> None:
    """Until woken, or for ``seconds``; a step that leads straight to the next still lets others run."""
    if seconds == _AT_ONCE:
        await asyncio.sleep(0)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
