"""Carries out one act, or finds out what became of one that was cut off, and has its outcome kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from fleet.lifecycle.outcome import Outcome
from receiver.actions.act import ActContext, ActResult
from receiver.events import ActEnded, ActIntended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fleet.inventory import Server
    from receiver.actions.act import ActFunction, Action
    from receiver.incident import ActRecord, Incident
    from receiver.prometheus import Prometheus
    from receiver.settings import Settings

log = logging.getLogger(__name__)


class Acting:
    """``keep`` writes an outcome, however long that takes. ``now`` gives UNIX seconds."""

    def __init__(
        self,
        settings: Settings,
        prometheus: Prometheus,
        actions: Mapping[str, Action],
        keep: Callable[[ActEnded], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        self._timing = settings.timing
        self._control_dir = settings.fleet.gateway.control_dir
        self._prometheus = prometheus
        self._actions = actions
        self._keep = keep
        self._now = now
        self._acting = 0
        self._none_acting = asyncio.Event()
        self._none_acting.set()
        self.stopping = False

    async def finish(self, within: float) -> None:
        """Begin no further act and wait at most ``within`` seconds for those under way.

        One that is cut off then keeps its intent in the journal and is verified at the next start.
        """
        self.stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._none_acting.wait()

    async def perform(self, server: Server, intent: ActIntended) -> None:
        """Carry it out and have its outcome kept."""
        self._acting += 1
        self._none_acting.clear()
        try:
            action = self._actions.get(intent.action)
            if action is None:
                result = ActResult(Outcome.FAILED, f"this version knows no action {intent.action}")
            else:
                result = await self._carry_out(action.perform, server, intent)
            await self._keep(self._ended(intent, result))
        finally:
            self._acting -= 1
            if not self._acting:
                self._none_acting.set()

    async def verify(self, server: Server, intent: ActIntended) -> None:
        """Ask what became of an act that has no outcome, again while it may still be under way."""
        timing = self._timing
        clock = asyncio.get_running_loop().time
        deadline = clock() + timing.verify_deadline_seconds
        while True:
            action = self._actions.get(intent.action)
            if action is None:
                result = ActResult(Outcome.UNKNOWN, f"this version knows no action {intent.action}")
                break
            result = await self._carry_out(action.verify, server, intent)
            if result.outcome is not Outcome.UNKNOWN or clock() >= deadline:
                break
            await asyncio.sleep(timing.verify_retry_seconds)
        log.info("verified an act that was cut off", extra={"server": server.name, "outcome": result.outcome})
        await self._keep(self._ended(intent, result))

    async def _carry_out(self, function: ActFunction, server: Server, intent: ActIntended) -> ActResult:
        context = ActContext(server, intent, self._control_dir, self._prometheus)
        try:
            return await function(context)
        except Exception as error:  # whatever an action does, its intent must get an outcome
            log.exception("an action failed in a way that it should not", extra={"server": server.name})
            return ActResult(Outcome.UNKNOWN, f"{type(error).__name__}: {error}")

    def _ended(self, intent: ActIntended, result: ActResult) -> ActEnded:
        return ActEnded(
            incident=intent.incident,
            server=intent.server,
            act=intent.act,
            action=intent.action,
            outcome=result.outcome,
            detail=result.detail,
            ended_at=self._now() if result.ended_at is None else result.ended_at,
            findings=result.findings,
            told=intent.told,
            changed=result.changed,
        )


def intended(incident: Incident, act: ActRecord) -> ActIntended:
    """The intent as it was journalled."""
    return ActIntended(
        incident=incident.id,
        server=incident.server,
        act=act.act,
        action=act.action,
        signals=list(act.signals),
        told=act.told,
        changes=act.changes,
        expected=act.expected,
        restarts=act.restarts,
        by_hand=act.by_hand,
        backup=act.backup,
        until=act.until,
    )
