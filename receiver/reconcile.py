"""Compares what Alertmanager holds active with what the incidents believe: at start, each minute, and on demand.

Webhooks get lost: Alertmanager was down when an alert ended, a body was too large, a group was truncated. Only
alerts that are neither silenced nor inhibited are asked for, so a person's silence holds here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import aiohttp

from fleet.errors import MedicError, PermanentError, UnreachableError
from receiver.alerts import UnreadableBody, differences, read_active
from receiver.events import Delivered
from receiver.journal.store import JournalUnavailable
from receiver.metrics import ReconcileResult
from receiver.prometheus import read_bounded
from receiver.vocabulary import Via

if TYPE_CHECKING:
    from collections.abc import Collection

    from receiver.chronicle import Chronicle
    from receiver.events import Alert, Entry
    from receiver.metrics import Metrics

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_ACTIVE: Final = "/api/v2/alerts?active=true&silenced=false&inhibited=false"


class Reconciler:
    """An eternal task: ``run``. ``soon`` asks for a reading at once, also from inside a request."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        chronicle: Chronicle,
        metrics: Metrics,
        *,
        servers: Collection[str],
        every_seconds: float,
    ) -> None:
        self._session = session
        self._url = url
        self._chronicle = chronicle
        self._metrics = metrics
        self._servers = servers
        self._every_seconds = every_seconds
        self._asked = asyncio.Event()
        self._reachable = True
        self._touched: set[str] = set()
        self.first_reading = asyncio.Event()
        """Set when Alertmanager was asked for the first time, whether it answered or not."""
        chronicle.subscribe(self._note)

    def soon(self) -> None:
        """Reconcile now instead of when the minute is over."""
        self._asked.set()

    async def run(self) -> None:
        """Reconcile for ever."""
        while True:
            self._asked.clear()
            self._metrics.reconciles.labels(await self.once()).inc()
            self.first_reading.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_seconds):
                    await self._asked.wait()

    async def once(self) -> ReconcileResult:
        """Read Alertmanager once; what differs is written as one delivery, so a crash loses nothing of it."""
        self._touched.clear()
        try:
            active = await self._active()
        except MedicError as error:
            if self._reachable:
                log.warning("Alertmanager cannot be read; nothing is opened or closed", extra={"error": str(error)})
            self._reachable = False
            return ReconcileResult.UNREACHABLE
        if not self._reachable:
            log.info("Alertmanager can be read again", extra={"url": self._url})
            self._reachable = True
        found = differences(self._chronicle.book.firing_alerts(), active, self._servers)
        # A webhook that came in while the answer was under way is newer than the answer: the next minute compares it.
        found = [alert for alert in found if alert.server not in self._touched]
        if not found:
            return ReconcileResult.UNCHANGED
        try:
            await self._chronicle.append(Delivered(via=Via.RECONCILE, alerts=found))
        except JournalUnavailable:
            return ReconcileResult.FAILED
        log.info("Alertmanager knows other alerts than the journal did", extra={"alerts": len(found)})
        return ReconcileResult.CHANGED

    def _note(self, entry: Entry, _servers: tuple[str, ...]) -> None:
        if isinstance(entry.event, Delivered):
            self._touched.update(alert.server for alert in entry.event.alerts)

    async def _active(self) -> list[Alert]:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with self._session.get(f"{self._url}{_ACTIVE}", timeout=timeout, allow_redirects=False) as answer:
                body = await read_bounded(answer, MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise UnreachableError(f"Alertmanager at {self._url} did not answer in {ANSWER_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"Alertmanager at {self._url} cannot be reached: {error}") from error
        if answer.status != 200:
            raise PermanentError(f"Alertmanager at {self._url} answered {answer.status}")
        try:
            return read_active(body)
        except UnreadableBody as error:
            raise PermanentError(f"Alertmanager at {self._url} answered with something else: {error}") from error
