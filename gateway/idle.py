"""Ends idle sessions at their server: a DELETE for each legacy one; a modern client is simply forgotten."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from gateway.liveness import ANSWER_SECONDS, Liveness
from gateway.sessions import Idle
from gateway.vitals import Vitals

log = logging.getLogger(__name__)

ALL_SECONDS: Final = 10.0
"""Whoever asked for it waits 15 s for an answer."""

AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Farewell:
    """How many sessions were idle, how many of them ended, and one of the reasons why others did not."""

    idle: int
    ended: int
    reason: str = ""

    def as_json(self) -> dict[str, object]:
        """As the control socket answers it."""
        failed = self.idle > 0 and self.ended == 0
        detail = f"{self.ended} of {self.idle} idle sessions ended" if self.idle else "no session is idle"
        return {
            "outcome": "failed" if failed else "succeeded",
            "detail": f"{detail}; {self.reason}" if self.reason else detail,
            "ended": self.ended,
        }


async def end_idle(server: Liveness, vitals: Vitals) -> Farewell:
    """End every session without a call for half of its time, within ALL_SECONDS; never raises for what it meets."""
    vitals.look_closer()
    vitals.sessions.expire(vitals.clock())
    idle = vitals.sessions.idle(vitals.clock())
    deadline = asyncio.get_running_loop().time() + ALL_SECONDS - ANSWER_SECONDS / 2
    turns = asyncio.Semaphore(AT_ONCE)
    reasons: list[str] = []

    async def end(each: Idle) -> bool:
        async with turns:
            late = asyncio.get_running_loop().time() >= deadline
            reason = "there was no time for more" if late else await _refused(server, each)
        if reason:
            reasons.append(reason)
            return False
        vitals.look_closer()
        vitals.sessions.end(each.key, vitals.clock())
        vitals.cache.session_ended(each.key[1])
        return True

    ends = await asyncio.gather(*(end(each) for each in idle))
    return Farewell(len(idle), sum(ends), reasons[0] if reasons else "")


async def dismiss(server: Liveness, vitals: Vitals) -> None:
    """End the sessions that expired, at their server, too: it frees their places only then."""
    expired = vitals.sessions.expired
    batch = [expired.popleft() for _ in range(min(len(expired), AT_ONCE))]
    for each in batch:
        vitals.cache.session_ended(each.key[1])
    reasons = await asyncio.gather(*(_refused(server, each) for each in batch))
    failed = [reason for reason in reasons if reason]
    if failed:
        log.info("expired sessions could not be ended", extra={"count": len(failed), "reason": failed[0]})


async def _refused(server: Liveness, idle: Idle) -> str:
    """Why the server did not end it, '' when it did or has nothing to end."""
    if idle.key[0] == "modern":
        return ""
    if idle.key[0] == "pair":
        return "an HTTP+SSE session ends only with its client's stream"
    return "its id is not known" if idle.handle is None else await server.end_session(dict(idle.handle.headers))
