"""Keeps the totals durable: nothing is shown that a restart would take back, unless the file fails, which is said.

One write at a time, in a thread of its own, and none when nothing changed. A write that hangs delays a scrape by
``WRITE_SECONDS`` once; until it ends, scrapes are answered without waiting and say that the totals are not kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exporter import durable, state
from exporter.facts import Kept, StateFacts, StateFailure
from exporter.snapshot import Facts, Snapshot
from exporter.state import StateDamagedError, StateFile, StateNotWrittenError, StateUnusableError
from fleet.inventory import ServerName

log = logging.getLogger(__name__)

WRITER_THREAD: Final = "state-writer"
"""How its thread's name begins."""

WRITE_SECONDS: Final = 3.0
"""Longest wait for the disk: well below the usual scrape timeout of 10 s."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The file as it was found at start. ``file`` is None when totals cannot be kept during this run.

    ``saved`` is what stands in the file, ``kept`` what is to be published: more, when it was salvaged.
    """

    file: StateFile | None
    kept: Mapping[ServerName, Kept] = field(default_factory=dict)
    saved: Mapping[ServerName, Kept] = field(default_factory=dict)
    failures: Mapping[StateFailure, int] = field(default_factory=dict)


def opened(file: Path, now: float, wall_now: float) -> Opened:
    """Open ``file`` and read it; whatever is wrong with it is logged, never raised."""
    try:
        return _opened(file, now, wall_now)
    except (StateUnusableError, StateDamagedError) as error:
        log.error(  # noqa: TRY400 - a person can mend it; a traceback says no more
            "totals are not kept over a restart: the state file cannot be used", extra={"reason": str(error)}
        )
        return Opened(None, failures={StateFailure.UNUSABLE: 1})


def _opened(file: Path, now: float, wall_now: float) -> Opened:
    try:
        opened_file = StateFile(file)
    except StateDamagedError as error:
        salvaged = state.salvaged(file, now, wall_now)
        aside = state.set_aside(file, wall_now)
        log.error(  # noqa: TRY400 - the same
            "the state file was damaged and is renamed; sums may go down once",
            extra={"reason": str(error), "renamed": str(aside), "servers_salvaged": len(salvaged)},
        )
        return Opened(StateFile(file), salvaged, {}, {StateFailure.DAMAGED: 1})
    kept, unread = opened_file.load(now, wall_now)
    for problem in unread:
        log.error("a total in the state file cannot be read; its sum may go down", extra={"reason": problem})
    return Opened(opened_file, kept, kept, {StateFailure.DAMAGED: len(unread)} if unread else {})


class Keeper:
    """Writes what changed before it is shown. ``close`` once."""

    def __init__(
        self,
        opened: Opened,
        snapshot: Snapshot,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = opened.file
        self._saved = dict(opened.saved)
        self._failures = dict.fromkeys(StateFailure, 0) | dict(opened.failures)
        self._snapshot = snapshot
        self._clock, self._wall_clock = clock, wall_clock
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=WRITER_THREAD)
        self._turn = asyncio.Lock()
        self._pending: Future[None] | None = None
        self._success = opened.file is not None
        self._problem = ""

    async def facts(self) -> Facts:
        """Everything known now, for a scrape: its totals are durable, or its ``state`` says that they are not."""
        async with self._turn:
            facts = self._snapshot.facts(self._clock())
            if self._file is not None:
                await self._keep(self._file, facts)
            return replace(facts, state=StateFacts(self._success, dict(self._failures)))

    @property
    def stuck(self) -> bool:
        """True while a write hangs whose time is long up."""
        return self._pending is not None and not self._pending.done()

    async def durable(self) -> bool:
        """Make everything known now durable. False when it could not be."""
        return (await self.facts()).state.success

    async def close(self) -> None:
        """Keep what is known once more and close the file; a write that hangs is left behind."""
        await self.durable()
        if self._file is not None and self._pending is None:
            self._file.close()
        self._writer.shutdown(wait=False, cancel_futures=True)

    async def _keep(self, file: StateFile, facts: Facts) -> None:
        if self._pending is not None:
            if not self._pending.done():
                return  # the write before hangs; that was said when its time was up
            self._pending = None
        work = self._writer.submit(self._write, file, facts)
        written = asyncio.wrap_future(work)
        written.add_done_callback(_seen)
        _, late = await asyncio.wait({written}, timeout=WRITE_SECONDS)
        if late:
            self._pending = work
            self._note(f"the state file took no write within {WRITE_SECONDS:g} s")
        else:
            self._note(_problem(work))

    def _write(self, file: StateFile, facts: Facts) -> None:
        """In the writer's thread, which alone touches ``_saved``."""
        after = {name: durable.kept(known) for name, known in facts.servers.items()}
        changes = {name: durable.change(self._saved.get(name, Kept()), kept) for name, kept in after.items()}
        changes = {name: change for name, change in changes.items() if change}
        if changes:
            file.save(changes, facts.now, self._wall_clock())
        self._saved.update(after)

    def _note(self, problem: str) -> None:
        self._success = not problem
        if problem:
            self._failures[StateFailure.NOT_WRITTEN] += 1
        if problem and not self._problem:
            log.error("totals are not kept over a restart", extra={"reason": problem})
        elif self._problem and not problem:
            log.info("totals are kept again")
        self._problem = problem


def _problem(work: Future[None]) -> str:
    error = work.exception()
    if error is None:
        return ""
    # The isolation boundary: a defect here must not take the scrape away.
    return str(error) if isinstance(error, StateNotWrittenError) else f"unexpected: {error!r:.300}"


def _seen(written: asyncio.Future[None]) -> None:
    """Whoever waited may be gone: an error that nobody looks at must not be complained about."""
    if not written.cancelled():
        written.exception()
