"""Pushes each server's telemetry to the exporter each second, beside the traffic and never in its way.

Figures are cumulative, so a push that fails costs nothing but its moment; failures are counted and logged once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import h11

from fleet.errors import UnreachableError
from fleet.telemetry import Process, encode
from gateway.link import Link
from gateway.processes import measure
from gateway.supervisor import Supervisor
from gateway.vitals import Source, Vitals

log = logging.getLogger(__name__)

PUSH_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 3.0
FINAL_SECONDS: Final = 1.5


@dataclass(frozen=True, slots=True)
class Subject:
    """One server to report of."""

    name: str
    vitals: Vitals
    waiting: Callable[[], int]
    supervisor: Supervisor


class Observer:
    """Reports of all servers over one connection."""

    def __init__(self, exporter_url: str, token: str | None, source: Source, subjects: Sequence[Subject]) -> None:
        self._link = Link(exporter_url, token)
        self._source = source
        self._subjects = subjects
        self.failed = 0
        self._reachable = True

    async def run(self) -> None:
        """Push each second, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PUSH_SECONDS
            for subject in self._subjects:
                subject.vitals.tick()
                await self._push(subject, await _processes(subject), ANSWER_SECONDS, final=False)
            await asyncio.sleep(max(0.05, due - loop.time()))

    async def stop(self) -> None:
        """The last push of every server, marked final, within FINAL_SECONDS in all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINAL_SECONDS):
                for subject in self._subjects:
                    subject.vitals.tick()
                    await self._push(subject, [], FINAL_SECONDS, final=True)
        await self._link.close()

    async def _push(self, subject: Subject, processes: Sequence[Process], within: float, *, final: bool) -> None:
        telemetry = subject.vitals.telemetry(self._source, processes, subject.waiting(), final=final)
        try:
            async with asyncio.timeout(within):
                status = await self._link.post(f"/telemetry/v1/servers/{subject.name}", encode(telemetry))
        except (OSError, TimeoutError, UnreachableError, h11.ProtocolError) as error:
            await self._link.close()
            self._note_failure(str(error) or type(error).__name__)
            return
        if status >= 300:
            self._note_failure(f"it answered {status} for server {subject.name}")
        elif not self._reachable:
            self._reachable = True
            log.info("the exporter takes telemetry again", extra={"failed_pushes": self.failed})

    def _note_failure(self, reason: str) -> None:
        self.failed += 1
        if self._reachable:
            self._reachable = False
            log.warning("the exporter takes no telemetry", extra={"exporter": self._link.url, "reason": reason})


async def _processes(subject: Subject) -> list[Process]:
    child = subject.supervisor.child
    pid = child.pid if child is not None else None
    return [] if pid is None else await asyncio.to_thread(measure, pid)
